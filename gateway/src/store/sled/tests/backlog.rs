//! A backlog of many batches: what it takes of the memory and the disk, and how long a start takes with it.
//!
//! Memory is measured in a process of its own: this test binary, started anew with one test and a folder.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    process::{Command, Stdio},
    time::Instant,
};

use super::*;

/// Names folder, entries and octets of each entry to the process that is measured.
const ASKED: &str = "BACKLOG";
const MEASURED: &str = "store::sled::tests::backlog::a_backlog_is_kept_and_opened_again";

const MEMORY: u64 = 150 << 20;
const START_MS: u128 = 3_000;

/// What a process that opened a backlog says of itself.
#[derive(Debug)]
struct Measured {
    filled_peak: u64,
    start_ms: u128,
    peak: u64,
}

fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
}

fn options() -> SledOptions {
    SledOptions { free_floor_bytes: 0, ..SledOptions::default() }
}

/// Fills a folder that has no store yet; opens one that is there, reads its first pages, and takes one more entry.
async fn work(folder: &Path, entries: u64, octets: usize) {
    let is_new = !folder.join("FORMAT").exists();
    let start = Instant::now();
    let store = SledStore::open(folder, options()).unwrap();
    let start_ms = start.elapsed().as_millis();
    if is_new {
        // As many together as a push of several destinations and its neighbours bring.
        let together = (4 << 20) / octets.max(4096) as u64;
        let mut left = entries;
        while left > 0 {
            let some = left.min(together.max(1));
            let appends = (0..some).map(|_| contract::append(STREAM, vec![7; octets])).collect();
            store.commit(contract::appends(1, appends)).await.unwrap();
            left -= some;
        }
    } else {
        assert_eq!(store.tail(STREAM).borrow().last, entries);
        let mut after = 0;
        for _ in 0..20 {
            let page = store.after(STREAM, after, 2 << 20).await.unwrap();
            after = page.last().map_or(after, |entry| entry.sequence);
        }
        store.oldest(STREAM).await.unwrap().unwrap();
        fill(&store, [octets]).await;
    }
    close(store).await;
    println!("measured {start_ms} {}", peak());
}

#[tokio::test]
async fn a_backlog_is_kept_and_opened_again() {
    if let Ok(asked) = std::env::var(ASKED) {
        let mut words = asked.split(' ');
        let (folder, entries, octets) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        work(Path::new(folder), entries.parse().unwrap(), octets.parse().unwrap()).await;
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        work(folder.path(), 100, 100).await;
    }
}

/// Runs the work in a process of its own; gives its start-up time and its greatest memory.
fn run(folder: &Path, entries: u64, octets: usize) -> (u128, u64) {
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", MEASURED, "--nocapture"])
        .env(ASKED, format!("{} {entries} {octets}", folder.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    let line = said.lines().find_map(|line| line.split_once("measured ")).unwrap().1;
    let (start, peak) = line.split_once(' ').unwrap();
    (start.parse().unwrap(), peak.trim().parse().unwrap())
}

fn measured(entries: u64, octets: usize) -> Measured {
    let folder = tempfile::tempdir().unwrap();
    let (_, filled_peak) = run(folder.path(), entries, octets);
    let (start_ms, peak) = run(folder.path(), entries, octets);
    Measured { filled_peak, start_ms, peak }
}

#[test]
fn memory_and_start_stay_small_with_a_backlog() {
    for (entries, octets) in [(200, 200_000), (50_000, 100)] {
        let measured = measured(entries, octets);
        println!("{entries} entries of {octets} octets: {measured:?}");
        assert!(measured.filled_peak < MEMORY && measured.peak < MEMORY, "{measured:?}");
        assert!(measured.start_ms < START_MS, "{measured:?}");
    }
}

#[test]
#[ignore = "measurement, run by hand: cargo test -p gateway --release store::sled::tests::backlog -- --ignored --nocapture"]
fn ten_million_tokens_of_backlog() {
    for (entries, octets) in [(10_000, 200_000), (1_000_000, 2_000)] {
        let measured = measured(entries, octets);
        println!("{entries} entries of {octets} octets: {measured:?}");
    }
}

/// Octets that the files of a folder take up on disk.
fn taken(folder: &Path) -> u64 {
    let items = fs::read_dir(folder).unwrap().map(Result::unwrap);
    items
        .map(
            |item| {
                if item.path().is_dir() {
                    taken(&item.path())
                } else {
                    item.metadata().unwrap().blocks() * 512
                }
            },
        )
        .sum()
}

#[tokio::test]
async fn space_stays_bounded_when_ten_times_the_live_data_is_written_and_purged() {
    const LIVE: u64 = 32 << 20;
    const BODY: usize = 512 << 10;
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open(folder.path(), options()).unwrap();
    let kept = LIVE / BODY as u64;
    let mut most = 0;
    for n in 1..=10 * kept {
        let id = n.to_be_bytes();
        let once = crate::store::Once {
            id: OnceId::new(&id).unwrap(),
            digest: [1; 32],
            answer: vec![1; 100].into(),
        };
        let change = contract::appends(n, vec![contract::append(STREAM, vec![n as u8; BODY])]);
        store.commit(Change { once: Some(once), ..change }).await.unwrap();
        if n % 8 == 0 {
            store.purge(STREAM, n.saturating_sub(kept)).await.unwrap();
            store.forget(n.saturating_sub(kept)).await.unwrap();
            most = most.max(taken(folder.path()));
        }
    }
    let bound = LIVE * 3 / 2 + (128 << 20);
    assert!(most < bound, "{most} octets were taken, of {bound}");
    assert_eq!(contract::all(&store, STREAM, 0, 1 << 20).await.len() as u64, kept);
    close(store).await;
}
