//! The store on one machine, on real files.

mod backlog;
mod damage;
mod full_disk;
mod measure;
mod model;
mod power_cut;
mod rebuild;
mod space;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use crate::store::contract;

use super::*;

/// Small segments, so that every test sees several, and nothing that is read from memory.
const SMALL: SledOptions =
    SledOptions { segment_bytes: 4096, free_floor_bytes: 0, cache_bytes: 1 << 20, recent_bytes: 0 };

/// Octets of the records around entries: of one that begins a group, of an empty state, of one that ends a group.
const GROUP: usize = 13 + 20;
const STATE: usize = 13 + 16;
const END: usize = 13 + 16;

/// Octets of the record of an entry.
const fn entry(body: usize) -> usize {
    13 + 56 + 40 + body
}

const STREAM: Stream = Stream::new(*b"peer 826");

fn open(directory: &Path) -> SledStore {
    SledStore::open(directory, SMALL).unwrap()
}

async fn close(store: SledStore) {
    store.close().await.unwrap();
}

/// Copies the files of a folder.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        if item.path().is_file() {
            std::fs::copy(item.path(), to.join(item.file_name())).unwrap();
        }
    }
}

/// Appends bodies of these lengths, a commit each.
async fn fill(store: &SledStore, lengths: impl IntoIterator<Item = usize>) {
    for length in lengths {
        let body = vec![length as u8; length];
        store.commit(contract::appends(1, vec![contract::append(STREAM, body)])).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_with_small_segments() {
    let root = tempfile::tempdir().unwrap();
    contract::holds(async |name: &str| Arc::new(open(&root.path().join(name))) as Arc<dyn Store>).await;
}

/// Stores by name, each in the folder that its last kill has left.
#[derive(Default)]
struct Folders(Mutex<BTreeMap<String, u32>>);

impl Folders {
    fn of(&self, root: &Path, name: &str) -> PathBuf {
        root.join(format!("{name}.{}", self.0.lock().unwrap().get(name).copied().unwrap_or_default()))
    }

    /// Copies the files of a store that is at work, as they are at one moment: as often as they change meanwhile.
    fn kill(&self, root: &Path, name: &str) {
        let from = self.of(root, name);
        let mut known = files(&from);
        let left = loop {
            let again = files(&from);
            if again == known {
                break again;
            }
            known = again;
        };
        *self.0.lock().unwrap().entry(name.to_owned()).or_default() += 1;
        let to = self.of(root, name);
        for (path, octets) in left {
            std::fs::create_dir_all(to.join(&path).parent().unwrap()).unwrap();
            std::fs::write(to.join(path), octets).unwrap();
        }
    }
}

/// All files below a folder with their octets; a file that goes meanwhile is not there.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for part in ["", "index", "segments"] {
        for item in std::fs::read_dir(folder.join(part)).unwrap().flatten() {
            if let Ok(octets) = std::fs::read(item.path()) {
                files.insert(Path::new(part).join(item.file_name()), octets);
            }
        }
    }
    files
}

#[test]
fn random_operations_do_what_they_do_to_maps_in_memory() {
    let (root, folders) = (tempfile::tempdir().unwrap(), Folders::default());
    let kill = async |name: &str| folders.kill(root.path(), name);
    // Some entries are read from memory, and most from the disk.
    let options = SledOptions { recent_bytes: 3_000, ..SMALL };
    let open = async |name: &str| {
        Arc::new(SledStore::open(&folders.of(root.path(), name), options).unwrap()) as Arc<dyn Store>
    };
    contract::model::holds(48, open, kill);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_with_segments_of_usual_size() {
    let root = tempfile::tempdir().unwrap();
    let options = SledOptions { free_floor_bytes: 0, ..SledOptions::default() };
    let open = async |name: &str| {
        Arc::new(SledStore::open(&root.path().join(name), options).unwrap()) as Arc<dyn Store>
    };
    contract::holds(open).await;
}

#[tokio::test]
async fn a_second_open_is_refused_until_the_first_is_gone() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    assert!(matches!(SledStore::open(root.path(), SMALL), Err(StoreError::InUse)));
    drop(store);
    close(open(root.path())).await;
}

#[tokio::test]
async fn a_store_that_is_dropped_and_not_closed_keeps_what_it_answered() {
    let root = tempfile::tempdir().unwrap();
    for expected in 0..5 {
        let store = open(root.path());
        assert_eq!(store.tail(STREAM).borrow().last, expected);
        fill(&store, [100]).await;
    }
}

#[tokio::test]
async fn only_the_owner_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt;

    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("store");
    let store = open(&directory);
    fill(&store, [100]).await;
    let mode = |name: &str| directory.join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!([mode(""), mode("index"), mode("segments")], [0o700; 3]);
    assert_eq!([mode("FORMAT"), mode("LOCK"), mode("index/db"), mode("segments/0000000001.seg")], [0o600; 4]);
    assert_eq!(std::fs::read_to_string(directory.join("FORMAT")).unwrap(), "exchange-store 2\n");
}

#[tokio::test]
async fn a_thread_that_does_not_come_back_breaks_the_store_and_holds_nobody() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    fill(&store, [1]).await;
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    let stuck = crate::store::Append {
        // As a disk that does not answer holds it.
        number: Arc::new(move |_| {
            let _ = held.lock().unwrap().recv();
            panic!("released")
        }),
        ..contract::append(STREAM, "a")
    };
    let parts = Arc::clone(&store.parts);
    let commit = store.commit(contract::appends(1, vec![stuck]));
    tokio::select! {
        done = commit => panic!("{done:?}"),
        () = parts.health.broken(Duration::from_millis(50)) => {}
    }
    assert!(matches!(store.commit(Change::default()).await, Err(StoreError::Broken)));
    assert!(matches!(store.find(STREAM, 1).await, Err(StoreError::Broken)));
    assert!(matches!(store.close().await, Err(StoreError::Broken)));
    drop(release);
    drop(store);
    while Arc::strong_count(&parts) > 1 {
        tokio::task::yield_now().await;
    }
    drop(parts);
    let store = open(root.path());
    fill(&store, [1]).await;
    assert_eq!(store.tail(STREAM).borrow().last, 2);
}
