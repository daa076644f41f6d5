//! 4: a manifest signed, and what a commit of a push costs that is synced to the disk: one alone, and 16 that wait.
//!
//! The store lies in the folder for temporary files (`TMPDIR`): its disk is what is measured.

use std::sync::Arc;

use bytes::Bytes;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use gateway::names;
use gateway::store::sled::{SledOptions, SledStore};
use gateway::store::{Append, Change, Numbered, Once, OnceId, Store, Tail};
use pki::fixture::now;
use pki::sign::{SigningKey, sha256};
use proto::batch::{BatchHeader, Manifest};
use proto::body;
use proto::ids::{BatchId, CountryCode, PushId, Sequence};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::{PUSHES, world};

#[divan::bench]
fn sign_manifest(bencher: Bencher<'_, '_>) {
    let key = SigningKey::from_pkcs8(&SigningKey::generate()).unwrap();
    let manifest = Manifest {
        header: BatchHeader {
            origin: CountryCode::new(826).unwrap(),
            destination: "250/0".parse().unwrap(),
            key: [7; 8].into(),
            id: BatchId::random(),
            sealed_at: u32::try_from(now() / 60).unwrap(),
        },
        sequence: Sequence::FIRST,
        previous: [4; 32],
        sealed_hash: [5; 32],
        sealed_len: 200_000,
        enc: vec![9; 1_120].into(),
    };
    bencher.bench(|| {
        let octets = black_box(&manifest).octets();
        (sha256(&octets), key.sign(Manifest::DOMAIN, &octets))
    });
}

#[divan::bench(args = PUSHES, sample_count = 30, sample_size = 1)]
fn commit_one(bencher: Bencher<'_, '_>, reports: usize) {
    let disk = Disk::new();
    bencher
        .counter(ItemsCount::new(reports))
        .with_inputs(|| change(reports))
        .bench_values(|change| disk.runtime.block_on(disk.store.commit(change)).unwrap());
}

#[divan::bench(args = PUSHES, sample_count = 10, sample_size = 1)]
fn commit_16_at_once(bencher: Bencher<'_, '_>, reports: usize) {
    let disk = Disk::new();
    bencher
        .counter(ItemsCount::new(16 * reports))
        .with_inputs(|| (0..16).map(|_| change(reports)).collect::<Vec<_>>())
        .bench_values(|changes| disk.runtime.block_on(disk.commit_all(changes)));
}

/// A store in a folder of its own.
struct Disk {
    runtime: Runtime,
    store: Arc<SledStore>,
    _folder: TempDir,
}

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = SledOptions { free_floor_bytes: 0, ..SledOptions::default() };
        let store = Arc::new(SledStore::open(folder.path(), options).unwrap());
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, store, _folder: folder }
    }

    async fn commit_all(&self, changes: Vec<Change>) {
        let mut commits = JoinSet::new();
        for change in changes {
            let store = self.store.clone();
            commits.spawn(async move { store.commit(change).await });
        }
        while let Some(committed) = commits.join_next().await {
            committed.unwrap().unwrap();
        }
    }
}

/// What a push of so many reports for one country leaves to be kept.
fn change(reports: usize) -> Change {
    let body = Bytes::from(vec![0x5a; body::bucket(reports * body::framed_len(200)) + 16]);
    let numbered = Numbered { head: vec![9; 1_300].into(), link: [3; 32] };
    let number = Arc::new(move |_: Tail| numbered.clone());
    let id = OnceId::new(PushId::random().octets()).unwrap();
    let once = Once { id, digest: [1; 32], answer: vec![1; reports + 2].into() };
    let appends = vec![Append { stream: names::outbox(world::first()), number, body }];
    Change { at: now(), once: vec![once], appends, ..Change::default() }
}
