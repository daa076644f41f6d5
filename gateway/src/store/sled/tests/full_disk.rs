//! A disk with no space left refuses commits, and takes them again when there is some.

use std::{fs, path::PathBuf, process::Command};

use super::*;
use crate::store::{Room, sled::blocks::Blocks};

const OTHER: Stream = Stream::new(*b"receipts");

#[tokio::test]
async fn below_the_floor_nothing_is_written_and_reads_go_on() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    fill(&store, [100, 100]).await;
    close(store).await;
    let floor = u64::MAX;
    let store = SledStore::open(root.path(), SledOptions { free_floor_bytes: floor, ..SMALL }).unwrap();
    let size = store.size();
    let refused = store.commit(contract::appends(1, vec![contract::append(STREAM, "a")])).await;
    assert!(matches!(refused, Err(StoreError::Full { free: 1.., floor: u64::MAX })), "{refused:?}");
    assert_eq!(store.size(), size);
    let small = Change { room: Room::Reserve, ..contract::appends(1, vec![contract::append(OTHER, "r")]) };
    let big = contract::appends(1, vec![contract::append(STREAM, "a")]);
    let (refused, kept) = tokio::join!(store.commit(big), store.commit(small));
    assert!(matches!(refused, Err(StoreError::Full { .. })), "{refused:?}");
    assert_eq!(kept.unwrap(), Committed::Done { sequences: vec![1] }, "what frees space may use the reserve");
    assert_eq!(contract::all(&store, STREAM, 0, 1000).await.len(), 2);
    assert_eq!(store.purge(STREAM, 1).await.unwrap(), 1);
    close(store).await;
    let store = open(root.path());
    fill(&store, [100]).await;
    assert_eq!(store.tail(STREAM).borrow().last, 3);
}

/// A file system of a few megabytes, unmounted at the end.
struct SmallDisk(PathBuf);

/// What kind of file system, which decides how segments are written.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// In memory: through the page cache.
    Tmpfs,
    /// In a file: past the page cache.
    Ext4,
}

impl SmallDisk {
    fn mount(kind: Kind, at: &Path) -> Option<Self> {
        let run = |program: &str, arguments: &[&str]| {
            Command::new(program).args(arguments).status().is_ok_and(|status| status.success())
        };
        let (target, image) = (at.display().to_string(), at.with_extension("img"));
        let mounted = match kind {
            Kind::Tmpfs => run("mount", &["-t", "tmpfs", "-o", "size=24m", "tmpfs", &target]),
            Kind::Ext4 => {
                fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
                let file = image.display().to_string();
                let mounted = run("mkfs.ext4", &["-q", "-F", "-m", "0", &file])
                    && run("mount", &["-o", "loop", &file, &target]);
                // Mounted, it stays until it is unmounted.
                fs::remove_file(&image).unwrap();
                mounted
            }
        };
        if !mounted {
            eprintln!("SKIPPED: only root may mount the small disk ({kind:?}) that this test fills");
        }
        mounted.then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", self.0.display());
    }
}

#[tokio::test]
async fn a_lost_index_is_made_anew_where_the_store_is_a_disk_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(Kind::Tmpfs, root.path()) else { return };
    let store = open(&disk.0);
    fill(&store, [1000; 10]).await;
    close(store).await;
    fs::remove_dir_all(disk.0.join("index")).unwrap();
    let (store, rebuilt) = SledStore::open_or_rebuild(&disk.0, SMALL, "then").unwrap();
    assert!(rebuilt.unwrap().aside.starts_with(&disk.0));
    assert_eq!(contract::all(&store, STREAM, 0, 1000).await.len(), 10);
    fill(&store, [10]).await;
    close(store).await;
}

#[tokio::test]
async fn segments_go_past_the_page_cache_where_the_file_system_takes_that() {
    for (kind, direct) in [(Kind::Tmpfs, false), (Kind::Ext4, true)] {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().join("disk");
        fs::create_dir(&at).unwrap();
        let Some(disk) = SmallDisk::mount(kind, &at) else { continue };
        let file = fs::File::create_new(disk.0.join("file")).unwrap();
        assert_eq!(Blocks::behind(file, 0).unwrap().is_direct(), direct, "{kind:?}");
    }
}

#[tokio::test]
async fn a_disk_that_fills_up_keeps_what_was_answered_and_recovers_after_a_purge() {
    on_each_kind(fill_up).await;
}

/// Tests a disk of each kind.
async fn on_each_kind(test: impl AsyncFn(&Path)) {
    for kind in [Kind::Tmpfs, Kind::Ext4] {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().join("disk");
        fs::create_dir(&at).unwrap();
        let Some(disk) = SmallDisk::mount(kind, &at) else { continue };
        test(&disk.0).await;
    }
}

async fn fill_up(disk: &Path) {
    let options = SledOptions { segment_bytes: 1 << 20, ..SMALL };
    let store = SledStore::open(disk, options).unwrap();
    let mut kept = 0_u8;
    let big = |n: u8| contract::appends(1, vec![contract::append(STREAM, vec![n; 2 << 20])]);
    let error = loop {
        match store.commit(big(kept)).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(kept > 5, "{kept}");
    assert!(matches!(store.commit(big(kept)).await, Err(StoreError::Full { .. })));
    let entries = contract::all(&store, STREAM, 0, 1).await;
    assert!(
        entries.iter().enumerate().all(|(n, entry)| entry.body[0] == n as u8 && entry.body.len() == 2 << 20)
    );
    assert_eq!(entries.len(), usize::from(kept));
    let half = u64::from(kept) / 2;
    assert_eq!(store.purge(STREAM, half).await.unwrap(), half);
    store.commit(big(kept)).await.unwrap();
    close(store).await;
    let store = SledStore::open(disk, options).unwrap();
    let last = store.find(STREAM, u64::from(kept) + 1).await.unwrap().unwrap();
    assert_eq!((last.body[0], last.body.len()), (kept, 2 << 20));
}

#[tokio::test]
async fn a_disk_that_is_full_to_its_last_octet_keeps_what_was_answered() {
    on_each_kind(fill_to_the_last_octet).await;
}

async fn fill_to_the_last_octet(disk: &Path) {
    // What else is on the disk, and is removed at the end.
    fs::write(disk.join("ballast"), vec![0; 2 << 20]).unwrap();
    let options = SledOptions { segment_bytes: 1 << 20, ..SMALL };
    let store = SledStore::open(disk, options).unwrap();
    let (mut answered, mut ended) = (Vec::new(), None);
    for octets in [1 << 20, 64 << 10, 4096, 100, 0] {
        while ended.is_none() {
            match store.commit(contract::appends(1, vec![contract::append(STREAM, vec![1; octets])])).await {
                Ok(_) => answered.push(octets),
                Err(StoreError::Full { .. }) => break,
                // The index met the end of the disk, and the process ends.
                Err(StoreError::Broken) => ended = Some(StoreError::Broken),
                Err(error) => panic!("{octets} octets: {error}"),
            }
        }
    }
    let free = store.parts.layout.free().unwrap();
    assert!(free < 16 << 10, "{free} octets are free behind {answered:?}; {ended:?}");
    let _ = store.close().await;
    drop(store);
    // Whether it opens now depends on what sled has to write; what it says must not be that anything is damaged.
    match SledStore::open_or_rebuild(disk, options, "full") {
        Ok((store, rebuilt)) => {
            assert!(rebuilt.is_none());
            let _ = store.close().await;
        }
        Err(StoreError::Io { .. } | StoreError::Full { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    fs::remove_file(disk.join("ballast")).unwrap();
    let (store, rebuilt) = SledStore::open_or_rebuild(disk, options, "space").unwrap();
    assert!(rebuilt.is_none());
    let entries = contract::all(&store, STREAM, 0, 1 << 20).await;
    let lengths: Vec<usize> = entries.iter().map(|entry| entry.body.len()).collect();
    assert!(lengths.len() <= answered.len() + 1 && lengths.starts_with(&answered), "{}", answered.len());
    store.commit(contract::appends(1, vec![contract::append(STREAM, "a")])).await.unwrap();
    assert_eq!(store.verify(&mut |_| {}).unwrap().1, []);
    close(store).await;
}
