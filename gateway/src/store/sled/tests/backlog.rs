//! A backlog of many batches: what it takes of the memory and the disk, and how long a start takes with it.
//!
//! Memory is measured in a process of its own: this test binary, started anew with one test and a folder.

use std::{
    fs,
    os::unix::{fs::MetadataExt, process::ExitStatusExt},
    process::{Command, Stdio},
    time::Instant,
};

use super::*;

/// Names folder, entries and octets of each entry to the process that is measured.
const ASKED: &str = "BACKLOG";
const MEASURED: &str = "store::sled::tests::backlog::a_backlog_is_kept_and_opened_again";

const MEMORY: u64 = 150 << 20;
const START_MS: u128 = 3_000;

/// What processes say of themselves that filled a backlog and were killed, that opened it then, that opened it after a
/// clean end, and that opened it without its index.
#[derive(Debug)]
struct Measured {
    filled_peak: u64,
    start_ms: u128,
    clean_start_ms: u128,
    peak: u64,
    rebuilt_peak: u64,
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Close,
    /// At once: nothing is closed, dropped or written.
    Kill,
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
async fn work(folder: &Path, (entries, octets): (u64, usize), end: End) {
    let is_new = !folder.join("FORMAT").exists();
    let is_without_index = !is_new && !folder.join("index").exists();
    let start = Instant::now();
    let (store, rebuilt) = SledStore::open_or_rebuild(folder, options(), "aside").unwrap();
    let start_ms = start.elapsed().as_millis();
    assert_eq!(rebuilt.is_some(), is_without_index);
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
        assert!(store.tail(STREAM).borrow().last >= entries);
        let mut after = 0;
        for _ in 0..20 {
            let page = store.after(STREAM, after, 2 << 20).await.unwrap();
            after = page.last().map_or(after, |entry| entry.sequence);
        }
        store.oldest(STREAM).await.unwrap().unwrap();
        fill(&store, [octets]).await;
    }
    println!("measured {start_ms} {}", peak());
    if end == End::Kill {
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    }
    close(store).await;
}

#[tokio::test]
async fn a_backlog_is_kept_and_opened_again() {
    if let Ok(asked) = std::env::var(ASKED) {
        let mut words = asked.split(' ');
        let (end, entries, octets) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let (end, folder) = (if end == "Kill" { End::Kill } else { End::Close }, words.next().unwrap());
        work(Path::new(folder), (entries.parse().unwrap(), octets.parse().unwrap()), end).await;
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        work(folder.path(), (100, 100), End::Close).await;
    }
}

/// Runs the work in a process of its own; gives its start-up time and its greatest memory.
fn run(folder: &Path, (entries, octets): (u64, usize), end: End) -> (u128, u64) {
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", MEASURED, "--nocapture"])
        .env(ASKED, format!("{end:?} {entries} {octets} {}", folder.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let ended = if end == End::Kill { ran.status.signal() == Some(9) } else { ran.status.success() };
    assert!(ended, "{said}{}", String::from_utf8_lossy(&ran.stderr));
    let line = said.lines().find_map(|line| line.split_once("measured ")).unwrap().1;
    let (start, peak) = line.split_once(' ').unwrap();
    (start.parse().unwrap(), peak.trim().parse().unwrap())
}

fn measured(entries: u64, octets: usize) -> Measured {
    let folder = tempfile::tempdir().unwrap();
    let (_, filled_peak) = run(folder.path(), (entries, octets), End::Kill);
    let (start_ms, peak) = run(folder.path(), (entries, octets), End::Close);
    let (clean_start_ms, clean_peak) = run(folder.path(), (entries, octets), End::Close);
    fs::remove_dir_all(folder.path().join("index")).unwrap();
    let (_, rebuilt_peak) = run(folder.path(), (entries, octets), End::Close);
    Measured { filled_peak, start_ms, clean_start_ms, peak: peak.max(clean_peak), rebuilt_peak }
}

/// Measures backlogs of so many entries and octets each, and holds them to the limits.
fn hold(backlogs: impl IntoIterator<Item = (u64, usize)>) {
    for (entries, octets) in backlogs {
        let measured = measured(entries, octets);
        println!("{entries} entries of {octets} octets: {measured:?}");
        let peak = measured.filled_peak.max(measured.peak).max(measured.rebuilt_peak);
        assert!(peak < MEMORY, "{measured:?}");
        assert!(measured.start_ms < START_MS && measured.clean_start_ms < START_MS, "{measured:?}");
    }
}

#[test]
fn memory_and_start_stay_small_with_a_backlog() {
    hold([(200, 200_000), (200_000, 100)]);
}

#[test]
#[ignore = "minutes and gigabytes, run by hand: cargo test -p gateway --release store::sled::tests::backlog -- --ignored --nocapture"]
fn ten_million_tokens_of_backlog() {
    hold([(10_000, 200_000), (1_000_000, 2_000)]);
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

/// Bodies of a load that is ten times what of it is live at once.
struct Load {
    body: usize,
    /// Entries of one commit.
    together: usize,
    /// Whether answers are kept for as long as entries, or to the end.
    forgets: bool,
}

/// Bodies so large that the index counts for nothing, and so small that it does; answers that go with their entries, and
/// answers that stay, as those of pushes do for two weeks and more.
#[tokio::test]
async fn space_stays_bounded_when_ten_times_the_live_data_is_written_and_purged() {
    let large = Load { body: 512 << 10, together: 1, forgets: true };
    let small = Load { body: 2 << 10, together: 64, forgets: false };
    for load in [large, small] {
        written_and_purged(load).await;
    }
}

async fn written_and_purged(Load { body, together, forgets }: Load) {
    const LIVE: u64 = 32 << 20;
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open(folder.path(), options()).unwrap();
    let kept = LIVE / (body * together) as u64;
    let mut most = 0;
    for n in 1..=10 * kept {
        let id = n.to_be_bytes();
        let once = crate::store::Once {
            id: OnceId::new(&id).unwrap(),
            digest: [1; 32],
            answer: vec![1; 100].into(),
        };
        let appends = (0..together).map(|_| contract::append(STREAM, vec![n as u8; body])).collect();
        store.commit(Change { once: vec![once], ..contract::appends(n, appends) }).await.unwrap();
        if n % 8 == 0 {
            store.purge(STREAM, n.saturating_sub(kept) * together as u64).await.unwrap();
            if forgets {
                store.forget(n.saturating_sub(kept)).await.unwrap();
            }
            most = most.max(taken(folder.path()));
        }
    }
    let bound = LIVE * 3 / 2 + (128 << 20);
    assert!(most < bound, "{most} octets were taken by bodies of {body}, of {bound}");
    assert_eq!(contract::all(&store, STREAM, 0, 1 << 20).await.len() as u64, kept * together as u64);
    for n in 1..=10 * kept {
        let answered = store.once(&OnceId::new(&n.to_be_bytes()).unwrap()).await.unwrap();
        assert!(answered.is_some() || (forgets && n < 9 * kept), "answer {n}");
    }
    close(store).await;
}
