use std::fs;
use std::io::Cursor as File;
use std::path::Path;

use super::*;
use crate::store::sled::{SledOptions, SledStore};
use crate::store::upkeep::{KeptAnswer, Piece, Upkeep};
use crate::store::{
    Advance, Change, Cursor, CursorName, ENTRY_LIMIT, Entry, Once, OnceId, Store, Stream, Tail, contract,
};

const STREAMS: [Stream; 3] =
    [Stream::new(*b"peer 826"), Stream::new(*b"peer 250"), Stream::new(*b"peer 276")];

fn open(directory: &Path) -> SledStore {
    let options = SledOptions { free_floor_bytes: 0, segment_bytes: 64 << 10, ..SledOptions::default() };
    SledStore::open(directory, options).unwrap()
}

/// Streams of which one has a purged beginning and one is purged to its end; cursors; answers.
async fn filled(directory: &Path) -> SledStore {
    let store = open(directory);
    for n in 0..60_u8 {
        let appends = STREAMS.map(|stream| contract::append(stream, vec![n; usize::from(n) * 20]));
        let advance = Advance {
            cursor: CursorName::new([n; 16]),
            from: Cursor::default(),
            to: Cursor { through: n.into(), link: [n; 32] },
        };
        let change = Change {
            at: 1000 + u64::from(n),
            once: vec![contract::once(&[n, 1], n, b"the answer")],
            advances: vec![advance],
            appends: appends.into(),
            ..Change::default()
        };
        store.commit(change).await.unwrap();
    }
    store.purge(STREAMS[1], 20).await.unwrap();
    store.purge(STREAMS[2], 60).await.unwrap();
    store.forget(1010).await.unwrap();
    store
}

type Everything = (Vec<(Stream, Tail, Vec<Entry>)>, Vec<(CursorName, Cursor)>, Vec<KeptAnswer>);

async fn everything(store: &SledStore) -> Everything {
    let mut streams = Vec::new();
    for stream in store.streams().await.unwrap() {
        let tail = *store.tail(stream).borrow();
        streams.push((stream, tail, contract::all(store, stream, 0, 5000).await));
    }
    let mut cursors = store.cursors().await.unwrap();
    cursors.retain(|(name, _)| *name != MARK);
    let answers = store.answers(None, 1000).await.unwrap();
    (streams, cursors, answers.into_iter().map(Result::unwrap).collect())
}

async fn archived(store: &SledStore) -> Vec<u8> {
    let mut damaged = Vec::new();
    let written = export(store, Vec::new(), &mut |error| damaged.push(error), &mut |_| {}).await;
    assert!(damaged.is_empty());
    written.unwrap().0
}

#[tokio::test]
async fn what_is_exported_and_imported_is_the_same_store() {
    let folder = tempfile::tempdir().unwrap();
    let old = filled(&folder.path().join("old")).await;
    let archive = archived(&old).await;
    let new = open(&folder.path().join("new"));
    let contents = import(File::new(&archive), &new, &mut |_| {}).await.unwrap();
    assert_eq!(contents, Contents { streams: 3, entries: 100, lost: 0, cursors: 60, answers: 50 });
    assert_eq!(everything(&new).await, everything(&old).await);
    assert_eq!(archived(&new).await, archive, "an archive of it is the same octet by octet");
    assert!(!is_unfinished(&new).await.unwrap());
    // It goes on where the old one was.
    for store in [&old, &new] {
        store.commit(contract::appends(1, vec![contract::append(STREAMS[2], "next")])).await.unwrap();
    }
    assert_eq!(everything(&new).await, everything(&old).await);
    assert_eq!(new.verify(&mut |_| {}).unwrap().1, []);
}

#[tokio::test]
async fn an_archive_that_is_cut_or_altered_is_refused_and_nothing_of_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archived(&filled(&folder.path().join("old")).await).await;
    let new = open(&folder.path().join("new"));
    let length = archive.len();
    for at in (0..length).step_by(211).chain(length - 80..length) {
        let cut = import(File::new(&archive[..at]), &new, &mut |_| {}).await.unwrap_err();
        assert!(
            matches!(cut, ArchiveError::Truncated { offset } if offset == at as u64)
                || (at < MAGIC.len() && matches!(cut, ArchiveError::NoArchive)),
            "cut to {at}: {cut}"
        );
        let mut altered = archive.clone();
        altered[at] ^= 0x10;
        let refused = import(File::new(&altered), &new, &mut |_| {}).await.unwrap_err();
        let is_named = match refused {
            ArchiveError::NoArchive => at < MAGIC.len(),
            ArchiveError::Altered { offset, .. } => offset <= at as u64,
            // A length that is wrong leads beyond the end.
            ArchiveError::Truncated { offset } => offset == length as u64,
            _ => false,
        };
        assert!(is_named, "octet {at}: {refused}");
    }
    let longer = [&archive[..], b"x"].concat();
    let refused = import(File::new(&longer), &new, &mut |_| {}).await;
    assert!(matches!(refused, Err(ArchiveError::Altered { offset, .. }) if offset == length as u64));
    assert_eq!(everything(&new).await, (vec![], vec![], vec![]));
    import(File::new(&archive), &new, &mut |_| {}).await.unwrap();
}

#[tokio::test]
async fn only_an_empty_store_takes_an_archive() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archived(&filled(&folder.path().join("old")).await).await;
    let changes = [
        contract::appends(1, vec![contract::append(STREAMS[0], "a")]),
        Change { once: vec![contract::once(b"id", 1, b"")], ..Change::default() },
        Change {
            advances: vec![Advance {
                cursor: CursorName::new([1; 16]),
                from: Cursor::default(),
                to: Cursor { through: 1, link: [0; 32] },
            }],
            ..Change::default()
        },
    ];
    for (nth, change) in changes.into_iter().enumerate() {
        let store = open(&folder.path().join(nth.to_string()));
        store.commit(change).await.unwrap();
        let before = everything(&store).await;
        let refused = import(File::new(&archive), &store, &mut |_| {}).await;
        assert!(matches!(refused, Err(ArchiveError::NotEmpty)), "{refused:?}");
        assert_eq!(everything(&store).await, before);
    }
}

#[tokio::test]
async fn what_is_damaged_is_left_out_and_named_and_all_else_is_exported() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("old");
    let old = filled(&root).await;
    let segment = root.join("segments/0000000001.seg");
    let mut octets = fs::read(&segment).unwrap();
    let answers: Vec<usize> = octets
        .windows(10)
        .enumerate()
        .filter_map(|(at, found)| (found == b"the answer").then_some(at))
        .collect();
    octets[answers[20]] ^= 1;
    fs::write(&segment, octets).unwrap();
    let mut damaged = Vec::new();
    let written = export(&old, Vec::new(), &mut |error| damaged.push(error.to_string()), &mut |_| {}).await;
    let (archive, contents) = written.unwrap();
    assert_eq!((contents.entries, contents.answers), (100, 49));
    assert!(damaged.len() == 1 && damaged[0].contains("the answer under id 1401"), "{damaged:?}");
    let new = open(&folder.path().join("new"));
    assert_eq!(import(File::new(&archive), &new, &mut |_| {}).await.unwrap(), contents);
}

/// A file that is whole when it is read first, and breaks when it is read again.
struct Failing<'a>(File<&'a [u8]>, u32);

impl io::Read for Failing<'_> {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        if self.1 > 0 && self.0.position() > 30_000 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.0.read(octets)
    }
}

impl io::Seek for Failing<'_> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.1 += 1;
        self.0.seek(to)
    }
}

#[tokio::test]
async fn an_import_that_broke_off_is_never_taken_for_a_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archived(&filled(&folder.path().join("old")).await).await;
    let root = folder.path().join("new");
    let store = open(&root);
    let broken = import(Failing(File::new(&archive), 0), &store, &mut |_| {}).await;
    assert!(matches!(broken, Err(ArchiveError::File { .. })), "{broken:?}");
    assert!(is_unfinished(&store).await.unwrap());
    store.close().await.unwrap();
    drop(store);
    let store = open(&root);
    assert!(is_unfinished(&store).await.unwrap());
    let again = import(File::new(&archive), &store, &mut |_| {}).await;
    assert!(matches!(again, Err(ArchiveError::Unfinished)), "{again:?}");
}

#[tokio::test]
async fn the_longest_frames_are_taken_and_one_octet_more_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let old = open(&folder.path().join("old"));
    let once =
        Once { id: OnceId::new(&[7; 64]).unwrap(), digest: [1; 32], answer: vec![2; ENTRY_LIMIT].into() };
    let longest = contract::append(STREAMS[0], vec![3; ENTRY_LIMIT - 40]);
    old.commit(Change { once: vec![once], ..contract::appends(1, vec![longest]) }).await.unwrap();
    let archive = archived(&old).await;
    let new = open(&folder.path().join("new"));
    import(File::new(&archive), &new, &mut |_| {}).await.unwrap();
    assert_eq!(everything(&new).await, everything(&old).await);
    let frame = |octets: usize| [MAGIC, b"E", &(octets as u32).to_be_bytes(), &[0; 4]].concat();
    let (longest, longer) = (frame(ENTRY_LIMIT + 128), frame(ENTRY_LIMIT + 129));
    let ends = verify(&longest[..]);
    assert!(matches!(ends, Err(ArchiveError::Truncated { .. })), "{ends:?}");
    let refused = verify(&longer[..]);
    assert!(
        matches!(refused, Err(ArchiveError::Altered { what: "a frame is longer than any", .. })),
        "{refused:?}"
    );
}

#[test]
fn an_archive_that_says_more_is_lost_than_can_be_counted_is_read_without_a_panic() {
    let mut writer = frame::Writer::begin(Vec::new()).unwrap();
    for first in [1, 0] {
        let lost = Piece::Lost { stream: STREAMS[0], first, last: u64::MAX - 1 };
        writer.piece(&lost).unwrap();
    }
    let (archive, _) = writer.end().unwrap();
    assert_eq!(verify(&archive[..]).unwrap().lost, u64::MAX);
}
