//! Files that are not as the store left them.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::FileExt,
    path::PathBuf,
};

use super::*;
use crate::store::sled::{
    blocks::BLOCK,
    walk::{Found, Stretch, Walk},
};

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
async fn a_snapshot_of_the_index_that_was_not_finished_is_not_taken_for_one() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    fill(&store, [100]).await;
    close(store).await;
    let unfinished = root.path().join("index/snap.FFFFFFFFFFFFFFFF.generating");
    fs::write(&unfinished, b"").unwrap();
    let store = open(root.path());
    assert!(!unfinished.exists());
    assert_eq!(contract::all(&store, STREAM, 0, 1000).await.len(), 1);
}

/// As a power cut leaves a group whose first octets never came to the disk, behind one that the index has not yet.
#[tokio::test]
async fn a_group_without_its_beginning_spoils_none_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let (root, cut) = (folder.path().join("store"), folder.path().join("cut"));
    let store = open(&root);
    fill(&store, [100, 200]).await;
    for part in ["", "index", "segments"] {
        copy(&root.join(part), &cut.join(part));
    }
    close(store).await;
    let index = Index::open(cut.join("index"), 1 << 20, Arc::default()).unwrap();
    assert_eq!(index.tails().unwrap(), [], "the index had it already");
    drop(index);
    let mut last = OpenOptions::new().append(true).open(segment(&cut, 1)).unwrap();
    last.write_all(&[0; 512]).unwrap();
    let store = open(&cut);
    fill(&store, [300]).await;
    let lengths: Vec<usize> =
        contract::all(&store, STREAM, 0, 1000).await.iter().map(|entry| entry.body.len()).collect();
    assert_eq!(lengths, [100, 200, 300]);
    close(store).await;
}

/// Every record of a segment file, and every stretch that is none.
fn walk(path: &Path) -> (usize, Vec<Stretch>) {
    let segments = Segments::new(path.parent().unwrap().to_owned());
    let mut walk = Walk::new(&segments, 1).unwrap();
    let (mut records, mut damaged) = (0, Vec::new());
    while let Some(found) = walk.step().unwrap() {
        match found {
            Found::Record(..) => records += 1,
            Found::Damaged(stretch) => damaged.push(stretch),
        }
    }
    (records, damaged)
}

#[tokio::test]
async fn what_fills_the_last_block_up_is_neither_a_record_nor_damage() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    fill(&store, [100, 200]).await;
    close(store).await;
    let path = segment(root.path(), 1);
    let whole = fs::read(&path).unwrap();
    let (records, damaged) = walk(&path);
    assert_eq!((records, &damaged[..]), (7, &[][..]));

    let filled = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut octets = whole.clone();
        octets.resize(BLOCK, 0);
        change(&mut octets);
        fs::write(&path, octets).unwrap();
        walk(&path)
    };
    let (start, count) = (whole.len() as u64, (BLOCK - whole.len()) as u64);
    let stretch = |offset, octets| vec![Stretch { segment: 1, offset, octets }];
    assert_eq!(filled(&|_| {}), (7, vec![]));
    assert_eq!(filled(&|octets| octets[whole.len() - 1] ^= 1), (6, stretch(start - END as u64, END as u64)));
    assert_eq!(filled(&|octets| octets[BLOCK - 1] = 1), (7, stretch(start, count)));
    assert_eq!(filled(&|octets| octets.truncate(BLOCK - 1)), (7, stretch(start, count - 1)));
    assert_eq!(filled(&|octets| octets.resize(2 * BLOCK, 0)), (7, stretch(start, count + BLOCK as u64)));
}

/// The records behind one whose length is wrong are found although that length leads into what fills the last block up.
#[tokio::test]
async fn a_wrong_length_that_leads_behind_all_records_hides_none() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    fill(&store, [100, 200, 300]).await;
    close(store).await;
    let path = segment(root.path(), 1);
    let mut octets = fs::read(&path).unwrap();
    let first = GROUP + STATE;
    // The length of the body, two octets before the checksum.
    octets[first + 7] = 9;
    let second = first + entry(100) + END;
    assert!(first + 9 * 256 > octets.len(), "it leads behind all records");
    octets.resize(BLOCK, 0);
    fs::write(&path, octets).unwrap();
    let (offset, count) = (first as u64, (second - first) as u64);
    assert_eq!(walk(&path), (8, vec![Stretch { segment: 1, offset, octets: count }]));
}

/// A kill while the next segment was begun can leave the last block of the one before filled up as well.
#[tokio::test]
async fn a_killed_store_goes_on_behind_its_last_records() {
    let folder = tempfile::tempdir().unwrap();
    let (root, left) = (folder.path().join("store"), folder.path().join("left"));
    let store = open(&root);
    fill(&store, [100, 5000, 200]).await;
    for part in ["", "index", "segments"] {
        copy(&root.join(part), &left.join(part));
    }
    let kept = store.size().bytes;
    close(store).await;
    let index = Index::open(left.join("index"), 1 << 20, Arc::default()).unwrap();
    assert_eq!(index.tails().unwrap(), [], "the index had it already");
    drop(index);
    for number in [1, 2] {
        let file = OpenOptions::new().write(true).open(segment(&left, number)).unwrap();
        file.set_len(file.metadata().unwrap().len().next_multiple_of(BLOCK as u64)).unwrap();
    }
    let store = open(&left);
    let length = |number| fs::metadata(segment(&left, number)).unwrap().len();
    assert_eq!((store.size().bytes, length(1) + length(2)), (kept, kept));
    assert_eq!(store.verify(&mut |_| {}).unwrap().1, []);
    fill(&store, [300]).await;
    let lengths: Vec<usize> =
        contract::all(&store, STREAM, 0, 1000).await.iter().map(|entry| entry.body.len()).collect();
    assert_eq!(lengths, [100, 5000, 200, 300]);
    close(store).await;
}

/// Cut at every octet of its last group, with an index that knows nothing of it: as a kill between the two syncs.
#[tokio::test]
async fn a_push_that_was_torn_is_there_with_its_id_and_its_cursor_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let (root, name) = (folder.path().join("store"), CursorName::new([7; 16]));
    let store = open(&root);
    fill(&store, [100]).await;
    close(store).await;
    let before = folder.path().join("before");
    for part in ["", "index", "segments"] {
        copy(&root.join(part), &before.join(part));
    }
    let store = open(&root);
    let advance = crate::store::Advance {
        cursor: name,
        from: Cursor::default(),
        to: Cursor { through: 1, link: [1; 32] },
    };
    let both = vec![contract::append(STREAM, "a"), contract::append(Stream::new([9; 8]), "b")];
    let once = contract::once(b"push", 1, b"answer");
    let change = Change { once: vec![once.clone()], advances: vec![advance], ..contract::appends(1, both) };
    store.commit(change).await.unwrap();
    close(store).await;
    let whole = fs::read(segment(&root, 1)).unwrap();
    let start = fs::metadata(segment(&before, 1)).unwrap().len() as usize;
    for end in start..=whole.len() {
        let left = folder.path().join(end.to_string());
        for part in ["", "index", "segments"] {
            copy(&before.join(part), &left.join(part));
        }
        fs::write(segment(&left, 1), &whole[..end]).unwrap();
        let store = open(&left);
        let there = [
            store.once(&once.id).await.unwrap().is_some(),
            store.find(STREAM, 2).await.unwrap().is_some(),
            store.find(Stream::new([9; 8]), 1).await.unwrap().is_some(),
            store.cursor(name).await.unwrap().through == 1,
        ];
        assert_eq!(there, [end == whole.len(); 4], "cut to {end} of {}", whole.len());
    }
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
    let second = (GROUP + STATE + entry(100) + END + GROUP) as u64;
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
    let change = Change { once: vec![once.clone()], ..Change::default() };
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
async fn a_damaged_format_is_healed_from_the_segments() {
    let folder = tempfile::tempdir().unwrap();
    let (root, format) = (folder.path().join("store"), folder.path().join("store/FORMAT"));
    let store = open(&root);
    fill(&store, [100; 5]).await;
    let expected = contract::all(&store, STREAM, 0, 1000).await;
    close(store).await;
    for (nth, wrong) in ["", "exchange-store", "exchange-store 0", "\0\0\0\0", "gone"].into_iter().enumerate()
    {
        if wrong == "gone" {
            fs::remove_file(&format).unwrap();
        } else {
            fs::write(&format, wrong).unwrap();
        }
        let opened = SledStore::open_or_rebuild(&root, SMALL, &nth.to_string());
        if wrong == "gone" {
            assert!(matches!(opened, Err(StoreError::Io { doing: "read", .. })), "{opened:?}");
            continue;
        }
        let (store, rebuilt) = opened.unwrap();
        assert!(rebuilt.is_some(), "{wrong:?}");
        assert_eq!(contract::all(&store, STREAM, 0, 1000).await, expected);
        close(store).await;
        assert_eq!(fs::read_to_string(&format).unwrap(), "exchange-store 2\n");
    }
}

#[tokio::test]
async fn an_index_without_a_format_is_not_taken_for_a_new_store() {
    let root = tempfile::tempdir().unwrap();
    close(open(root.path())).await;
    fs::remove_file(root.path().join("FORMAT")).unwrap();
    assert!(matches!(SledStore::open(root.path(), SMALL), Err(StoreError::Io { doing: "read", .. })));
}

#[tokio::test]
async fn an_index_that_lost_commits_gets_them_back_from_the_segments() {
    for more in [1, 2, 10, 500] {
        let root = tempfile::tempdir().unwrap();
        let (index, old) = (root.path().join("index"), root.path().join("old"));
        let store = open(root.path());
        fill(&store, [1000; 3]).await;
        close(store).await;
        copy(&index, &old);
        let store = open(root.path());
        fill(&store, vec![1000; more]).await;
        store.purge(STREAM, 2).await.unwrap();
        let (size, expected) = (store.size(), contract::all(&store, STREAM, 0, 1000).await);
        close(store).await;
        fs::remove_dir_all(&index).unwrap();
        fs::rename(&old, &index).unwrap();
        let store = open(root.path());
        assert_eq!(store.size(), size);
        assert_eq!(contract::all(&store, STREAM, 0, 1000).await, expected);
        assert_eq!(store.verify(&mut |_| {}).unwrap().1, []);
        fill(&store, [10]).await;
        assert_eq!(store.tail(STREAM).borrow().last, 4 + more as u64);
    }
}

/// Random damage to sled's files: it gives an error, panics, or takes its log for a shorter one.
#[tokio::test]
async fn whatever_happens_to_the_index_no_panic_comes_through_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let store = open(&whole);
    for n in 0..40_u8 {
        let some = (0..100).map(|_| contract::append(STREAM, vec![n; 30])).collect();
        let change = contract::appends(1, some);
        store.commit(Change { once: vec![contract::once(&[n], n, b"answer")], ..change }).await.unwrap();
    }
    store.purge(STREAM, 5).await.unwrap();
    let expected = contract::all(&store, STREAM, 0, 1000).await;
    close(store).await;
    // A start writes a snapshot; from then on sled believes in what is before it, and finds damage when it reads.
    close(open(&whole)).await;
    let data = fs::read(whole.join("index/db")).unwrap();
    let used = data.iter().rposition(|octet| *octet != 0).unwrap();
    let (mut seed, mut rebuilt, mut broken) = (1_usize, 0, 0);
    let mut others_hit = BTreeSet::new();
    for round in 0..300 {
        if round >= 60 && broken > 0 {
            break;
        }
        let root = folder.path().join(round.to_string());
        for part in ["", "index", "segments"] {
            copy(&whole.join(part), &root.join(part));
        }
        let mut damaged = data.clone();
        match round {
            0 => damaged.fill(0x5a),
            1 => damaged.clear(),
            2..20 => damaged.truncate(used * round / 20),
            _ => {
                for _ in 0..round % 7 + 1 {
                    seed =
                        seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    damaged[(seed >> 20) % used] ^= 1 << (round % 8);
                }
            }
        }
        fs::write(root.join("index/db"), damaged).unwrap();
        if round >= 20 && round % 3 == 0 {
            others_hit.insert(hit_another(&root.join("index"), round, seed));
        }
        // What is found only when it is read is mended by the next start.
        let mut tries = 0;
        let found = loop {
            tries += 1;
            assert!(tries < 4, "round {round}");
            let (store, made) = SledStore::open_or_rebuild(&root, SMALL, &tries.to_string()).unwrap();
            rebuilt += usize::from(made.is_some());
            match read_all(&store).await {
                Ok(found) => break found,
                Err(StoreError::Broken) => {
                    tokio::time::timeout(Duration::from_secs(1), store.broken()).await.unwrap();
                    broken += 1;
                }
                Err(other) => panic!("round {round}: {other}"),
            }
        };
        assert_eq!(found, expected, "round {round}");
    }
    assert!(others_hit.len() >= 2, "{others_hit:?}");
    assert!(rebuilt > 5 && broken > 0, "{rebuilt} times made anew, {broken} times broken while it was read");
}

/// Alters one of sled's small files in its turn; gives its name.
fn hit_another(index: &Path, round: usize, seed: usize) -> OsString {
    let mut others: Vec<_> = fs::read_dir(index).unwrap().map(|item| item.unwrap().path()).collect();
    others.retain(|path| path.is_file() && !path.ends_with("db"));
    others.sort();
    let other = &others[round / 3 % others.len()];
    let mut octets = fs::read(other).unwrap();
    match round / 3 % 4 {
        0 => octets.clear(),
        1 => octets.truncate(octets.len() / 2),
        _ => {
            let at = (seed >> 30) % octets.len().max(1);
            octets.iter_mut().skip(at).take(1).for_each(|octet| *octet ^= 1 << (round % 8));
        }
    }
    fs::write(other, octets).unwrap();
    other.file_name().unwrap().to_owned()
}

/// Everything, if the index can be read.
async fn read_all(store: &SledStore) -> Result<Vec<Entry>, StoreError> {
    let (mut after, mut entries) = (0, Vec::new());
    loop {
        let page = store.after(STREAM, after, 1000).await?;
        let Some(last) = page.last() else { break };
        after = last.sequence;
        entries.extend(page);
    }
    for n in 0..40 {
        let answered = store.once(&OnceId::new(&[n]).unwrap()).await?;
        assert_eq!(answered.map(|answered| answered.digest), Some([n; 32]));
    }
    let findings = store.verify(&mut |_| {})?.1;
    assert_eq!(findings, []);
    Ok(entries)
}
