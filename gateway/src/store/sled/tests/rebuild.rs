//! An index that is made anew from the segments leads to all that was committed, or says what it does not lead to.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::*;
use crate::store::sled::{
    gaps::Missing,
    rebuild::{self, Losses},
    verify::Finding,
};
use crate::store::{
    Advance, Once,
    upkeep::{Piece, Upkeep},
};

const STAMP: &str = "then";
const OTHER: Stream = Stream::new(*b"peer 250");

/// Everything that a store says it has.
#[derive(Debug, PartialEq)]
struct All {
    entries: Vec<(Stream, Entry)>,
    tails: Vec<(Stream, Tail)>,
    cursors: Vec<(CursorName, Cursor)>,
    answers: Vec<crate::store::upkeep::KeptAnswer>,
}

async fn all(store: &SledStore) -> All {
    let (mut entries, mut tails) = (Vec::new(), Vec::new());
    for stream in store.streams().await.unwrap() {
        tails.push((stream, *store.tail(stream).borrow()));
        let kept = contract::all(store, stream, 0, 5000).await;
        entries.extend(kept.into_iter().map(|entry| (stream, entry)));
    }
    let cursors = store.cursors().await.unwrap();
    let answers = store.answers(None, 1000).await.unwrap().into_iter().map(Result::unwrap).collect();
    All { entries, tails, cursors, answers }
}

fn cursor(through: u64) -> Cursor {
    Cursor { through, link: [through as u8; 32] }
}

/// Pushes with ids, cursors that move, purges, and answers that are carried on.
async fn live(store: &SledStore, from: u8, to: u8) {
    for n in from..to {
        let id = OnceId::new(&[n]).unwrap();
        let once = Once { id, digest: [n; 32], answer: vec![n; 50].into() };
        let both = vec![contract::append(STREAM, vec![n; 700]), contract::append(OTHER, vec![n; 10])];
        let at = 100 + u64::from(n);
        let name = CursorName::new([n % 3; 16]);
        let from = store.cursor(name).await.unwrap();
        let advances = vec![Advance { cursor: name, from, to: cursor(n.into()) }];
        store
            .commit(Change { at, once: vec![once], advances, appends: both, ..Change::default() })
            .await
            .unwrap();
        if n % 7 == 6 {
            store.purge(STREAM, u64::from(n) - 5).await.unwrap();
            let alone = Advance {
                cursor: CursorName::new([9; 16]),
                ..Advance {
                    cursor: name,
                    from: store.cursor(CursorName::new([9; 16])).await.unwrap(),
                    to: cursor(n.into()),
                }
            };
            store.commit(Change { advances: vec![alone], ..Change::default() }).await.unwrap();
        }
    }
    store.purge(OTHER, u64::from(to) - 3).await.unwrap();
}

fn lose_index(root: &Path) {
    fs::remove_dir_all(root.join("index")).unwrap();
}

fn aside(root: &Path) -> PathBuf {
    root.join(format!("set-aside-{STAMP}"))
}

#[tokio::test]
async fn a_lost_index_is_made_anew_at_start_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let store = open(&root);
    live(&store, 0, 60).await;
    assert!(store.size().segments > 3);
    let expected = all(&store).await;
    close(store).await;
    lose_index(&root);
    assert!(matches!(SledStore::open(&root, SMALL), Err(StoreError::Corrupt { .. })));
    let (store, rebuilt) = SledStore::open_or_rebuild(&root, SMALL, STAMP).unwrap();
    let rebuilt = rebuilt.unwrap();
    assert!(rebuilt.survey.is_lossless() && rebuilt.aside == aside(&root), "{rebuilt:?}");
    assert_eq!(all(&store).await, expected);
    assert!(aside(&root).join("segments").read_dir().unwrap().count() > 3);
    // It goes on where it was, and can be lost again.
    live(&store, 60, 90).await;
    let expected = all(&store).await;
    close(store).await;
    lose_index(&root);
    let (store, rebuilt) = SledStore::open_or_rebuild(&root, SMALL, "later").unwrap();
    assert!(rebuilt.is_some());
    assert_eq!(all(&store).await, expected);
    close(store).await;
    let (store, rebuilt) = SledStore::open_or_rebuild(&root, SMALL, "never").unwrap();
    assert!(rebuilt.is_none());
    assert_eq!(all(&store).await, expected);
}

#[tokio::test]
async fn a_last_group_that_was_torn_is_no_loss_and_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let store = open(&root);
    live(&store, 0, 5).await;
    let expected = all(&store).await;
    let file = root.join(format!("segments/{:010}.seg", store.size().segments));
    close(store).await;
    let before = fs::metadata(&file).unwrap().len();
    let store = open(&root);
    live(&store, 5, 6).await;
    close(store).await;
    let whole = fs::read(&file).unwrap();
    // Only the push: what `live` purges behind it is a group of its own.
    let group = usize::try_from(before).unwrap() + 900;
    for end in (usize::try_from(before).unwrap()..group).step_by(37) {
        let _ = fs::remove_dir_all(root.join("index"));
        let _ = fs::remove_dir_all(aside(&root));
        for segment in fs::read_dir(root.join("segments")).unwrap() {
            let path = segment.unwrap().path();
            if path > file {
                fs::remove_file(path).unwrap();
            }
        }
        fs::write(&file, &whole[..end]).unwrap();
        let (store, rebuilt) = SledStore::open_or_rebuild(&root, SMALL, STAMP).unwrap();
        let torn = rebuilt.unwrap().survey.torn;
        assert_eq!(torn.is_some(), end > usize::try_from(before).unwrap(), "cut to {end}");
        assert_eq!(all(&store).await, expected, "cut to {end}");
        close(store).await;
    }
}

#[tokio::test]
async fn an_index_is_not_made_anew_by_itself_if_a_record_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let store = open(&root);
    live(&store, 0, 30).await;
    let expected = all(&store).await;
    close(store).await;
    lose_index(&root);
    let newest = fs::read_dir(root.join("segments")).unwrap().map(|item| item.unwrap().path()).max().unwrap();
    let file = OpenOptions::new().read(true).write(true).open(&newest).unwrap();
    // Every seventh octet of the last segment in turn: whatever is hit, it is refused, and nothing is touched; unless it is
    // what is left of an entry that was purged.
    let (length, mut purged) = (file.metadata().unwrap().len(), 0);
    for at in (0..length).step_by(7) {
        let mut old = [0];
        file.read_exact_at(&mut old, at).unwrap();
        file.write_all_at(&[old[0] ^ 1], at).unwrap();
        if rebuild::survey(&root).unwrap().is_lossless() {
            purged += 1;
        } else {
            let refused = SledStore::open_or_rebuild(&root, SMALL, STAMP);
            let Err(StoreError::Corrupt { what }) = refused else { panic!("octet {at}: {refused:?}") };
            assert!(what.contains("1 places are damaged"), "octet {at}: {what}");
        }
        assert!(!aside(&root).exists());
        file.write_all_at(&old, at).unwrap();
    }
    // How much of a purged entry lies in the last segment depends on how commits were grouped.
    assert!(purged < length / 7 / 2, "{purged} of {length}");
    let (store, _) = SledStore::open_or_rebuild(&root, SMALL, STAMP).unwrap();
    assert_eq!(all(&store).await, expected);
}

/// Nothing of it is needed but its number, which nothing else tells.
#[tokio::test]
async fn a_damaged_last_entry_is_a_loss_also_when_it_was_purged() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let store = open(&root);
    fill(&store, [500]).await;
    store.purge(STREAM, 1).await.unwrap();
    let file = OpenOptions::new().write(true).open(root.join("segments/0000000001.seg")).unwrap();
    file.write_all_at(&[0xff; 4], (GROUP + STATE + entry(500) - 8) as u64).unwrap();
    let found = store.verify(&mut |_| {}).unwrap().1;
    assert!(!found.iter().all(Finding::is_harmless), "{found:?}");
    close(store).await;
    lose_index(&root);
    let survey = rebuild::survey(&root).unwrap();
    assert!(!survey.is_lossless() && survey.damaged.len() == 1, "{survey}");
}

#[tokio::test]
async fn a_rebuild_on_request_keeps_what_is_whole_and_names_what_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let store = open(&root);
    fill(&store, [500; 30]).await;
    let expected = all(&store).await;
    close(store).await;
    lose_index(&root);
    fs::remove_file(root.join("segments/0000000002.seg")).unwrap();
    let first = root.join("segments/0000000001.seg");
    let file = OpenOptions::new().write(true).open(&first).unwrap();
    // In the length of the third entry, so that the next group has to be searched.
    let third = (GROUP + STATE + 2 * (entry(500) + END + GROUP)) as u64;
    file.write_all_at(&[0xff; 4], third + 1).unwrap();
    let survey = rebuild::survey(&root).unwrap();
    let lost = |first, last| Missing { stream: STREAM, first, last };
    assert_eq!(survey.missing, [lost(3, 3), lost(8, 13)]);
    assert_eq!((survey.entries, survey.damaged.len()), (23, 1));
    assert!(rebuild::rebuild(&root, Losses::Refuse, STAMP).unwrap().is_err());
    rebuild::rebuild(&root, Losses::Accept, STAMP).unwrap().unwrap();
    let store = open(&root);
    let mut left = expected;
    left.entries.retain(|(_, entry)| entry.sequence != 3 && !(8..=13).contains(&entry.sequence));
    assert_eq!(all(&store).await, left);
    assert!(aside(&root).join("segments/0000000001.seg").exists());
    fill(&store, [1]).await;
    assert_eq!(store.tail(STREAM).borrow().last, 31);
}

#[tokio::test]
async fn octets_that_look_like_a_record_are_not_taken_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let other = open(&folder.path().join("other"));
    fill(&other, [10; 3]).await;
    close(other).await;
    // A peer that has seen a store sends one as the body of a batch.
    let forged = fs::read(folder.path().join("other/segments/0000000001.seg")).unwrap();
    let store = open(&root);
    store.commit(contract::appends(1, vec![contract::append(OTHER, forged)])).await.unwrap();
    store.commit(contract::appends(1, vec![contract::append(OTHER, "b")])).await.unwrap();
    close(store).await;
    lose_index(&root);
    let file = OpenOptions::new().write(true).open(root.join("segments/0000000001.seg")).unwrap();
    file.write_all_at(&[0xff; 8], (GROUP + STATE + 1) as u64).unwrap();
    rebuild::rebuild(&root, Losses::Accept, STAMP).unwrap().unwrap();
    let store = open(&root);
    assert_eq!(store.streams().await.unwrap(), [OTHER]);
    assert_eq!(all(&store).await.entries.len(), 1);
}

#[tokio::test]
async fn pieces_of_a_store_make_the_same_store_again() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (open(&folder.path().join("old")), open(&folder.path().join("new")));
    live(&old, 0, 40).await;
    let All { entries, tails, cursors, answers } = all(&old).await;
    let mut pieces = Vec::new();
    for (stream, tail) in &tails {
        let purged = old.oldest(*stream).await.unwrap().map_or(tail.last, |(first, _)| first - 1);
        pieces.push(Piece::Stream { stream: *stream, tail: *tail, purged });
    }
    pieces.extend(entries.into_iter().map(|(stream, entry)| Piece::Entry { stream, entry }));
    pieces.extend(cursors.into_iter().map(|(name, cursor)| Piece::Cursor { name, cursor }));
    pieces.extend(answers.into_iter().map(Piece::Answer));
    for some in pieces.chunks(10) {
        new.restore(some.to_vec()).await.unwrap();
    }
    let expected = all(&old).await;
    assert_eq!(all(&new).await, expected);
    close(new).await;
    let root = folder.path().join("new");
    lose_index(&root);
    let (new, _) = SledStore::open_or_rebuild(&root, SMALL, STAMP).unwrap();
    assert_eq!(all(&new).await, expected);
    live(&new, 40, 45).await;
}

/// A kill at any moment between the first note and the last leaves a store that nobody uses as if nothing were lost.
#[tokio::test]
async fn a_store_that_owes_is_opened_by_nobody_but_who_pays() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let store = open(&root);
    fill(&store, [2000; 9]).await;
    close(store).await;
    fs::remove_file(root.join("segments/0000000002.seg")).unwrap();
    lose_index(&root);
    rebuild::owe(&root, "250 17\n").unwrap();
    let refused = |root: &Path| {
        assert!(matches!(SledStore::open(root, SMALL), Err(StoreError::Owed { path }) if path.is_file()));
        let refused = SledStore::open_or_rebuild(root, SMALL, STAMP);
        assert!(matches!(refused, Err(StoreError::Owed { .. })), "{refused:?}");
        assert_eq!(rebuild::owed(root).unwrap().unwrap(), "250 17\n");
    };
    refused(&root);
    assert!(SledStore::open_owing(&root, SMALL, STAMP).is_err(), "losses are accepted on request alone");
    rebuild::rebuild(&root, Losses::Accept, STAMP).unwrap().unwrap();
    refused(&root);
    // As if the new index had not come to its place.
    lose_index(&root);
    refused(&root);
    assert!(rebuild::survey(&root).unwrap().is_lossless(), "it shows no loss");
    let store = SledStore::open_owing(&root, SMALL, "again").unwrap();
    let expected = all(&store).await;
    close(store).await;
    rebuild::paid(&root).unwrap();
    assert_eq!(rebuild::owed(&root).unwrap(), None);
    assert_eq!(all(&open(&root)).await, expected);
}

/// The segments of a store, and how long they are.
fn lengths(root: &Path) -> BTreeMap<PathBuf, u64> {
    let files = fs::read_dir(root.join("segments")).unwrap().map(|item| item.unwrap().path());
    files.map(|path| (path.clone(), fs::metadata(path).unwrap().len())).collect()
}

/// Those that are shorter than they were: what is set aside are the same files.
fn cut(before: &BTreeMap<PathBuf, u64>, after: &BTreeMap<PathBuf, u64>) -> Vec<PathBuf> {
    let cut = before.iter().filter(|(path, length)| after.get(*path).is_some_and(|now| now < length));
    cut.map(|(path, _)| path.clone()).collect()
}

#[tokio::test]
async fn segments_keep_their_length_when_the_index_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let store = open(&root);
    live(&store, 0, 30).await;
    close(store).await;
    let before = lengths(&root);
    lose_index(&root);
    let (store, _) = SledStore::open_or_rebuild(&root, SMALL, STAMP).unwrap();
    close(store).await;
    assert_eq!(cut(&before, &lengths(&root)), Vec::<PathBuf>::new());
}

/// With the end of one segment's last group and the beginning of the next one's both damaged, neither is taken for a part
/// of the other, and what is whole in both is there.
#[tokio::test]
async fn damage_on_both_sides_of_a_segments_end_loses_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let store = open(&root);
    fill(&store, [1000; 12]).await;
    let expected = all(&store).await.entries;
    close(store).await;
    let path = |number: u32| root.join(format!("segments/{number:010}.seg"));
    for damaged in [[true, true], [true, false], [false, true]] {
        let copied = folder.path().join("copied");
        let _ = fs::remove_dir_all(&copied);
        copy(&root, &copied);
        copy(&root.join("segments"), &copied.join("segments"));
        let flip = |number: u32, at: u64| {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .open(copied.join("segments").join(path(number).file_name().unwrap()))
                .unwrap();
            let mut octet = [0];
            file.read_exact_at(&mut octet, at).unwrap();
            file.write_all_at(&[octet[0] ^ 1], at).unwrap();
        };
        if damaged[0] {
            flip(1, fs::metadata(path(1)).unwrap().len() - 1);
        }
        if damaged[1] {
            flip(2, GROUP as u64 - 1);
        }
        let before = lengths(&copied);
        rebuild::rebuild(&copied, Losses::Accept, STAMP).unwrap().unwrap();
        let store = open(&copied);
        assert_eq!(all(&store).await.entries, expected, "{damaged:?}");
        close(store).await;
        assert_eq!(cut(&before, &lengths(&copied)), Vec::<PathBuf>::new(), "{damaged:?}");
    }
}

#[tokio::test]
async fn a_damaged_entry_is_mended_in_place_and_stays_mended() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let store = open(&root);
    // The last one fills the block of the others: what is hit there is not written again with what follows.
    fill(&store, [500, 500, 500, 500, 500, 5000]).await;
    let expected = all(&store).await;
    let file = OpenOptions::new().write(true).open(root.join("segments/0000000001.seg")).unwrap();
    let second = (GROUP + STATE + entry(500) + END + GROUP) as u64;
    file.write_all_at(&[0xff; 100], second + 300).unwrap();
    let damaged = store.damaged();
    assert!(damaged.borrow().is_empty());
    assert_eq!(store.after(STREAM, 0, 10_000).await.unwrap().len(), 1);
    let found = damaged.borrow().values().next().unwrap().clone();
    let right = &expected.entries[1].1;
    assert_eq!((found.sequence, found.link, found.at), (2, right.link, right.at));
    assert_eq!(found.head.as_ref(), Some(&right.head), "the head is not what was hit");
    store.mend(STREAM, 2, (right.head.clone(), right.body.clone())).await.unwrap();
    assert!(damaged.borrow().is_empty());
    assert_eq!(all(&store).await, expected);
    store.mend(STREAM, 9, (right.head.clone(), right.body.clone())).await.unwrap();
    close(store).await;
    let store = open(&root);
    assert_eq!(all(&store).await, expected);
    // Nobody needs the damaged octets any more, and they hold up no rebuild.
    let found = store.verify(&mut |_| {}).unwrap().1;
    assert!(matches!(found.as_slice(), [Finding::Waste(_)]), "{found:?}");
    close(store).await;
    lose_index(&root);
    let (store, rebuilt) = SledStore::open_or_rebuild(&root, SMALL, STAMP).unwrap();
    assert!(rebuilt.is_some());
    assert_eq!(all(&store).await, expected);
}

/// Whatever octet is hit: only if the index could be made anew without loss is nothing wrong.
#[tokio::test]
async fn what_is_called_good_can_be_made_anew_from_its_segments() {
    let folder = tempfile::tempdir().unwrap();
    let (root, copied) = (folder.path().join("store"), folder.path().join("copy"));
    let store = open(&root);
    live(&store, 0, 40).await;
    // What is left to carry on waits for the next purge.
    close(store).await;
    let store = open(&root);
    copy(&root.join("segments"), &copied.join("segments"));
    let (mut good, mut frames) = (0, 0);
    for item in fs::read_dir(root.join("segments")).unwrap() {
        let path = item.unwrap().path();
        let whole = fs::read(&path).unwrap();
        let other = copied.join("segments").join(path.file_name().unwrap());
        for at in (0..whole.len()).step_by(97) {
            let mut hit = whole.clone();
            hit[at] ^= 4;
            fs::write(&other, &hit).unwrap();
            // In place: the store has the file open.
            OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&hit, 0).unwrap();
            let found = store.verify(&mut |_| {}).unwrap().1;
            let is_good = found.iter().all(Finding::is_harmless);
            let survey = rebuild::survey(&copied).unwrap();
            assert_eq!(is_good, survey.is_lossless(), "{} octet {at}: {found:?}; {survey}", path.display());
            assert!(!found.is_empty(), "{} octet {at} is not noticed", path.display());
            good += usize::from(is_good);
            frames += usize::from(found.iter().any(|found| matches!(found, Finding::Frame(_))));
        }
        fs::write(&other, &whole).unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&whole, 0).unwrap();
    }
    assert!(good > 10 && frames > 10, "{good} good, {frames} frames");
    assert_eq!(store.verify(&mut |_| {}).unwrap().1, []);
}

/// A start of sled that lost rows, as far as one can make it: the row is taken out, and the segment's counter with it.
#[tokio::test]
async fn rows_that_are_missing_at_the_beginning_of_a_stream_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let store = open(&root);
    live(&store, 0, 20).await;
    // A segment that is begun later takes what is not there for purged.
    close(store).await;
    let store = open(&root);
    assert_eq!(store.verify(&mut |_| {}).unwrap().1, []);
    let (first, _) = store.oldest(OTHER).await.unwrap().unwrap();
    let mut rows = rows::Rows::default();
    rows.remove(&row::entry_key(OTHER, first));
    store.parts.index.apply(rows).unwrap();
    let found = store.verify(&mut |_| {}).unwrap().1;
    assert!(found.contains(&Finding::Missing { stream: OTHER, first, last: first }), "{found:?}");
}

#[tokio::test]
async fn what_was_given_up_once_is_no_loss_of_the_next_rebuild() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let store = open(&root);
    fill(&store, [500; 30]).await;
    close(store).await;
    lose_index(&root);
    fs::remove_file(root.join("segments/0000000002.seg")).unwrap();
    assert!(SledStore::open_or_rebuild(&root, SMALL, "first").is_err());
    rebuild::rebuild(&root, Losses::Accept, "first").unwrap().unwrap();
    let store = open(&root);
    assert_eq!(store.verify(&mut |_| {}).unwrap().1, []);
    fill(&store, [500; 30]).await;
    let expected = all(&store).await;
    close(store).await;
    lose_index(&root);
    let (store, rebuilt) = SledStore::open_or_rebuild(&root, SMALL, "second").unwrap();
    assert_eq!(rebuilt.unwrap().survey.missing, []);
    assert_eq!(all(&store).await, expected);
    // And of an archive.
    let archive = crate::store::archive::export(&store, Vec::new(), &mut |_| {}, &mut |_| {}).await;
    let (archive, contents) = archive.unwrap();
    assert_eq!((contents.entries, contents.lost), (54, 6));
    let other = folder.path().join("other");
    let moved = open(&other);
    crate::store::archive::import(std::io::Cursor::new(archive), &moved, &mut |_| {}).await.unwrap();
    assert_eq!(all(&moved).await.entries, expected.entries);
    assert_eq!(moved.verify(&mut |_| {}).unwrap().1, []);
}
