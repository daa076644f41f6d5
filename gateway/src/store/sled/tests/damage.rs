//! Files that are not as the store left them.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::FileExt,
    path::PathBuf,
};

use super::*;

fn segment(root: &Path, number: u32) -> PathBuf {
    root.join(format!("segments/{number:010}.seg"))
}

fn text_of(error: StoreError) -> String {
    match error {
        StoreError::Corrupt { what } => what,
        other => panic!("not corrupt: {other}"),
    }
}

#[tokio::test]
async fn a_torn_end_is_cut_off_at_start_and_never_read() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    fill(&store, [100, 200]).await;
    close(store).await;
    let path = segment(root.path(), 1);
    let whole = fs::read(&path).unwrap();
    // Whole records that were never committed, and the beginning of another.
    let group = &whole[..GROUP + STATE + entry(100) + END];
    let torn = [group, b"e\0\0\0\0"].concat();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(&torn).unwrap();
    let store = open(root.path());
    assert_eq!(fs::read(&path).unwrap(), whole);
    assert_eq!(store.size().bytes, whole.len() as u64);
    fill(&store, [300]).await;
    let lengths: Vec<usize> =
        contract::all(&store, STREAM, 0, 1000).await.iter().map(|entry| entry.body.len()).collect();
    assert_eq!(lengths, [100, 200, 300]);
}

#[tokio::test]
async fn a_segment_of_which_nothing_was_committed_is_removed_at_start() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    fill(&store, [100]).await;
    close(store).await;
    fs::write(segment(root.path(), 2), b"never committed").unwrap();
    let store = open(root.path());
    assert!(!segment(root.path(), 2).exists());
    assert_eq!(store.size().segments, 1);
}

#[tokio::test]
async fn a_flipped_bit_is_corrupt_and_names_file_and_offset() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    fill(&store, [100, 100]).await;
    let path = segment(root.path(), 1);
    let file = OpenOptions::new().write(true).read(true).open(&path).unwrap();
    let length = entry(100) as u64;
    let second = file.metadata().unwrap().len() - length - END as u64;
    for octet in 0..length {
        let mut old = [0];
        file.read_exact_at(&mut old, second + octet).unwrap();
        file.write_all_at(&[old[0] ^ 4], second + octet).unwrap();
        let Err(StoreError::Damaged { stream: STREAM, sequence: 2, what }) = store.find(STREAM, 2).await
        else {
            panic!("octet {octet} is not noticed")
        };
        assert_eq!(what, format!("{} offset {second}", path.display()));
        assert!(store.find(STREAM, 1).await.unwrap().is_some());
        assert!(matches!(store.after(STREAM, 1, 1).await, Err(StoreError::Damaged { sequence: 2, .. })));
        assert_eq!(store.after(STREAM, 0, 1000).await.unwrap().len(), 1, "a page ends before it");
        file.write_all_at(&old, second + octet).unwrap();
    }
    assert!(store.find(STREAM, 2).await.unwrap().is_some());
    fill(&store, [1]).await;
}

#[tokio::test]
async fn a_flipped_bit_in_an_answer_is_corrupt() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let once = contract::once(b"push", 1, b"the answer");
    let change = Change { once: Some(once.clone()), ..Change::default() };
    store.commit(change.clone()).await.unwrap();
    let file = OpenOptions::new().write(true).open(segment(root.path(), 1)).unwrap();
    let offset = GROUP + STATE;
    file.write_all_at(b"!", (offset + 13 + 40 + once.id.octets().len()) as u64).unwrap();
    let what = text_of(store.once(&once.id).await.unwrap_err());
    assert!(what.ends_with(&format!("0000000001.seg offset {offset}")), "{what}");
    text_of(store.commit(change).await.unwrap_err());
}

#[tokio::test]
async fn a_segment_that_is_missing_or_too_short_is_corrupt_at_start() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    fill(&store, [100]).await;
    let end = store.size().bytes;
    close(store).await;
    let path = segment(root.path(), 1);
    OpenOptions::new().write(true).open(&path).unwrap().set_len(end - 1).unwrap();
    let what = text_of(SledStore::open(root.path(), SMALL).unwrap_err());
    assert_eq!(what, format!("{} offset {}: the file ends before offset {end}", path.display(), end - 1));
    fs::remove_file(&path).unwrap();
    let what = text_of(SledStore::open(root.path(), SMALL).unwrap_err());
    assert_eq!(what, format!("{}: the file is missing", path.display()));
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_alone() {
    let root = tempfile::tempdir().unwrap();
    close(open(root.path())).await;
    let format = root.path().join("FORMAT");
    fs::write(&format, "exchange-store 3\n").unwrap();
    assert!(matches!(SledStore::open(root.path(), SMALL), Err(StoreError::Newer { found: 3, known: 2 })));
    assert_eq!(fs::read_to_string(&format).unwrap(), "exchange-store 3\n");
    fs::write(&format, "exchange-store 1\n").unwrap();
    close(open(root.path())).await;
    assert_eq!(fs::read_to_string(&format).unwrap(), "exchange-store 2\n");
    for wrong in ["", "exchange-store", "exchange-store 0", "exchange-store one", "other 1"] {
        fs::write(&format, wrong).unwrap();
        text_of(SledStore::open(root.path(), SMALL).unwrap_err());
    }
}

#[tokio::test]
async fn an_index_without_a_format_is_not_taken_for_a_new_store() {
    let root = tempfile::tempdir().unwrap();
    close(open(root.path())).await;
    fs::remove_file(root.path().join("FORMAT")).unwrap();
    assert!(matches!(SledStore::open(root.path(), SMALL), Err(StoreError::Io { doing: "read", .. })));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        if item.path().is_file() {
            fs::copy(item.path(), to.join(item.file_name())).unwrap();
        }
    }
}

#[tokio::test]
async fn an_index_that_lost_commits_is_corrupt_and_nothing_is_removed() {
    let root = tempfile::tempdir().unwrap();
    let (index, old) = (root.path().join("index"), root.path().join("old"));
    for more in [2, 10] {
        let store = open(root.path());
        fill(&store, [1000; 3]).await;
        close(store).await;
        copy(&index, &old);
        let store = open(root.path());
        fill(&store, vec![1000; more]).await;
        let size = store.size();
        close(store).await;
        let (right, lost) = (root.path().join("right"), root.path().join("lost"));
        fs::rename(&index, &right).unwrap();
        fs::rename(&old, &index).unwrap();
        assert!(
            text_of(SledStore::open(root.path(), SMALL).unwrap_err())
                .ends_with("has lost commits that the segments hold")
        );
        fs::rename(&index, &lost).unwrap();
        text_of(SledStore::open(root.path(), SMALL).unwrap_err());
        fs::remove_dir_all(&lost).unwrap();
        fs::rename(&right, &index).unwrap();
        let store = open(root.path());
        assert_eq!(store.size(), size);
        close(store).await;
    }
}

#[tokio::test]
async fn a_damaged_index_is_an_error_and_no_panic() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    fill(&store, [10; 20]).await;
    close(store).await;
    for item in fs::read_dir(root.path().join("index")).unwrap() {
        let path = item.unwrap().path();
        if path.is_file() && path.file_name().unwrap() != "conf" {
            let length = path.metadata().unwrap().len() as usize;
            fs::write(path, vec![0x5a; length]).unwrap();
        }
    }
    text_of(SledStore::open(root.path(), SMALL).unwrap_err());
}
