//! What a commit costs on this machine's disk.

use std::time::Instant;

use bytes::Bytes;

use super::*;

fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status
        .lines()
        .filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS"))
        .collect::<Vec<_>>()
        .join(" ")
}

async fn read_all(store: &SledStore) -> usize {
    let (mut after, mut octets) = (0, 0);
    loop {
        let page = store.after(STREAM, after, 1 << 20).await.unwrap();
        let Some(last) = page.last() else { return octets };
        after = last.sequence;
        octets += page.iter().map(|entry| entry.body.len()).sum::<usize>();
    }
}

async fn commits(tasks: u32, each: u32, octets: usize) {
    let root = tempfile::tempdir().unwrap();
    let store = Arc::new(SledStore::open(root.path(), SledOptions::default()).unwrap());
    let body = Bytes::from(vec![7; octets]);
    let start = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let (store, body) = (Arc::clone(&store), body.clone());
        writers.spawn(async move {
            for n in 0..each {
                let id = (u64::from(task) << 32 | u64::from(n)).to_be_bytes();
                let change = contract::appends(1, vec![contract::append(STREAM, body.clone())]);
                let change = Change { once: vec![contract::once(&id, 1, &[7; 100])], ..change };
                store.commit(change).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let (took, count) = (start.elapsed().as_secs_f64(), f64::from(tasks * each));
    let megabytes = count * octets as f64 / 1e6;
    println!("{tasks} tasks, {octets} octets: {:.0} commits/s, {:.0} MB/s", count / took, megabytes / took);
    let start = Instant::now();
    let read = read_all(&store).await;
    println!("  read back at {:.0} MB/s; {}", read as f64 / 1e6 / start.elapsed().as_secs_f64(), resident());
    let start = Instant::now();
    store.purge(STREAM, u64::MAX).await.unwrap();
    store.forget(u64::MAX).await.unwrap();
    println!("  purged in {:.0} ms; {:?}", start.elapsed().as_secs_f64() * 1e3, store.size());
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measurement, run by hand: cargo test -p gateway --release store::sled::tests::measure -- --ignored --nocapture"]
async fn commits_a_second() {
    commits(8, 125, 200_000).await;
    commits(1, 300, 200_000).await;
    commits(64, 100, 2_000).await;
    commits(1, 300, 2_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measurement, run by hand: cargo test -p gateway --release store::sled::tests::measure -- --ignored --nocapture"]
async fn memory_of_two_gigabytes_in_small_and_large_entries() {
    commits(64, 1_000, 2_000).await;
    commits(8, 1_250, 200_000).await;
}
