//! One suite that every store must pass.
//!
//! [`holds`] is given a way to open stores by name; the same name opens the same store again after it was closed.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use tokio::task::JoinSet;

use super::*;

const STREAM: Stream = Stream::new(*b"peer 826");
const OTHER: Stream = Stream::new(*b"peer 250");
const CURSOR: CursorName = CursorName::new(*b"inbox of 826 826");
const AT: u64 = 1_700_000_000;

/// Runs all checks, each on a store of its own.
pub async fn holds(open: impl AsyncFn(&'static str) -> Arc<dyn Store>) {
    entries_are_numbered_from_one_and_chained(open("numbers").await).await;
    concurrent_writers_keep_streams_dense_and_chained(open("writers").await).await;
    an_empty_change_is_kept(open("empty").await).await;
    a_once_id_is_kept_once(open("once").await).await;
    a_once_id_from_many_tasks_is_kept_once(open("once-tasks").await).await;
    a_cursor_moves_only_from_where_it_stands(open("cursor").await).await;
    one_of_many_tasks_moves_a_cursor(open("cursor-tasks").await).await;
    a_refused_change_keeps_nothing(open("refused").await).await;
    a_refused_change_spoils_no_neighbour(open("neighbours").await).await;
    pages_of_any_size_give_each_entry_once(open("pages").await).await;
    a_tail_wakes_who_waits(open("tail").await).await;
    purging_removes_a_beginning_and_keeps_the_tail(open("purge").await).await;
    times_may_go_back(open("times").await).await;
    readers_race_with_a_purge_without_error(open("race").await).await;
    forgetting_lets_an_id_be_kept_again(open("forget").await).await;
    too_large_is_refused_as_a_whole(open("large").await).await;
    a_dropped_commit_is_whole(open("dropped").await).await;
    reopening_keeps_everything(&open).await;
    a_closed_store_says_so(open("closed").await).await;
}

/// An entry whose head tells its number and the link before it.
pub fn append(stream: Stream, body: impl Into<Bytes>) -> Append {
    let number = |tail: Tail| Numbered { head: head(tail), link: link(tail) };
    Append { stream, number: Arc::new(number), body: body.into() }
}

/// A change that only appends.
pub fn appends(at: u64, appends: Vec<Append>) -> Change {
    Change { at, appends, ..Change::default() }
}

/// A change under an id.
pub fn once(id: &[u8], digest: u8, answer: &'static [u8]) -> Once {
    let answer = Bytes::from_static(answer);
    Once { id: OnceId::new(id).expect("a short id"), digest: [digest; 32], answer }
}

/// All entries that follow a number.
pub async fn all(store: &dyn Store, stream: Stream, mut after: u64, max_bytes: usize) -> Vec<Entry> {
    let mut entries = Vec::new();
    loop {
        let page = store.after(stream, after, max_bytes).await.unwrap();
        let Some(last) = page.last() else { return entries };
        after = last.sequence;
        entries.extend(page);
    }
}

fn head(tail: Tail) -> Bytes {
    [&tail.link[..], &(tail.last + 1).to_be_bytes()].concat().into()
}

fn link(tail: Tail) -> [u8; 32] {
    let mut link = [0; 32];
    for (part, octets) in link.chunks_exact_mut(8).enumerate() {
        let mut hasher = DefaultHasher::new();
        (part, tail.link, tail.last).hash(&mut hasher);
        octets.copy_from_slice(&hasher.finish().to_be_bytes());
    }
    link
}

fn assert_chained(entries: &[Entry], mut tail: Tail) {
    for entry in entries {
        assert_eq!((entry.sequence, &entry.head, entry.link), (tail.last + 1, &head(tail), link(tail)));
        tail = Tail { last: entry.sequence, link: entry.link };
    }
}

fn done(committed: Committed) -> Vec<u64> {
    match committed {
        Committed::Done { sequences } => sequences,
        Committed::Before(answered) => panic!("kept before: {answered:?}"),
    }
}

const fn cursor(through: u64) -> Cursor {
    Cursor { through, link: [through as u8; 32] }
}

fn advance(from: u64, to: u64) -> Change {
    let from = if from == 0 { Cursor::default() } else { cursor(from) };
    Change { at: AT, advances: vec![Advance { cursor: CURSOR, from, to: cursor(to) }], ..Change::default() }
}

async fn entries_are_numbered_from_one_and_chained(store: Arc<dyn Store>) {
    assert!(store.after(STREAM, 0, 1000).await.unwrap().is_empty());
    assert_eq!(store.find(STREAM, 1).await.unwrap(), None);
    let three = vec![append(STREAM, "a"), append(OTHER, "b"), append(STREAM, "c")];
    assert_eq!(done(store.commit(appends(AT, three)).await.unwrap()), [1, 1, 2]);
    assert_eq!(done(store.commit(appends(AT + 1, vec![append(STREAM, "")])).await.unwrap()), [3]);
    let entries = all(&*store, STREAM, 0, usize::MAX).await;
    assert_chained(&entries, Tail::default());
    let bodies: Vec<&[u8]> = entries.iter().map(|entry| &entry.body[..]).collect();
    assert_eq!(bodies, [&b"a"[..], b"c", b""]);
    assert_eq!(entries.iter().map(|entry| entry.at).collect::<Vec<_>>(), [AT, AT, AT + 1]);
    assert_eq!(store.find(STREAM, 2).await.unwrap().as_ref(), Some(&entries[1]));
    assert_eq!(store.find(STREAM, 4).await.unwrap(), None);
    assert_eq!(store.find(STREAM, 0).await.unwrap(), None);
    assert!(store.after(STREAM, u64::MAX, 1000).await.unwrap().is_empty());
    assert_eq!(store.streams().await.unwrap(), [OTHER, STREAM]);
}

async fn concurrent_writers_keep_streams_dense_and_chained(store: Arc<dyn Store>) {
    let mut writers = JoinSet::new();
    for writer in 0..8_u64 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let mut numbers = Vec::new();
            for n in 0..25_u64 {
                let body = (writer * 25 + n).to_be_bytes().to_vec();
                let both = vec![append(STREAM, body.clone()), append(OTHER, body)];
                numbers.push(done(store.commit(appends(AT, both)).await.unwrap())[0]);
            }
            numbers
        });
    }
    let numbers: BTreeSet<u64> = writers.join_all().await.into_iter().flatten().collect();
    assert_eq!(numbers, (1..=200).collect());
    for stream in [STREAM, OTHER] {
        let entries = all(&*store, stream, 0, 500).await;
        assert_chained(&entries, Tail::default());
        assert_eq!(entries.iter().map(|entry| &entry.body).collect::<BTreeSet<_>>().len(), 200);
        assert_eq!(*store.tail(stream).borrow(), Tail { last: 200, link: entries[199].link });
    }
}

async fn an_empty_change_is_kept(store: Arc<dyn Store>) {
    assert!(done(store.commit(Change::default()).await.unwrap()).is_empty());
    assert!(store.streams().await.unwrap().is_empty());
}

async fn a_once_id_is_kept_once(store: Arc<dyn Store>) {
    let id = OnceId::new(b"push").unwrap();
    assert_eq!(store.once(&id).await.unwrap(), None);
    let change = |digest, answer| Change {
        once: Some(once(b"push", digest, answer)),
        ..appends(AT, vec![append(STREAM, "a")])
    };
    assert_eq!(done(store.commit(change(1, b"kept")).await.unwrap()), [1]);
    let first = Answered { digest: [1; 32], answer: Bytes::from_static(b"kept") };
    assert_eq!(store.commit(change(1, b"kept")).await.unwrap(), Committed::Before(first.clone()));
    assert_eq!(store.commit(change(2, b"other")).await.unwrap(), Committed::Before(first.clone()));
    assert_eq!(store.once(&id).await.unwrap(), Some(first));
    assert_eq!(store.tail(STREAM).borrow().last, 1);
    let alone = Change { at: AT, once: Some(once(&[7; 64], 1, b"")), ..Change::default() };
    assert!(done(store.commit(alone.clone()).await.unwrap()).is_empty());
    assert!(matches!(store.commit(alone).await.unwrap(), Committed::Before(_)));
}

async fn a_once_id_from_many_tasks_is_kept_once(store: Arc<dyn Store>) {
    let mut tasks = JoinSet::new();
    for task in 0..16_u8 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let change =
                Change { once: Some(once(b"push", task, b"yes")), ..appends(AT, vec![append(STREAM, "a")]) };
            (task, store.commit(change).await.unwrap())
        });
    }
    let (kept, before): (Vec<_>, Vec<_>) = tasks
        .join_all()
        .await
        .into_iter()
        .partition(|(_, committed)| matches!(committed, Committed::Done { .. }));
    let [(winner, _)] = kept[..] else { panic!("kept {} times", kept.len()) };
    let first = Answered { digest: [winner; 32], answer: Bytes::from_static(b"yes") };
    assert!(before.into_iter().all(|(_, committed)| committed == Committed::Before(first.clone())));
    assert_eq!(all(&*store, STREAM, 0, 1000).await.len(), 1);
}

async fn a_cursor_moves_only_from_where_it_stands(store: Arc<dyn Store>) {
    assert_eq!(store.cursor(CURSOR).await.unwrap(), Cursor::default());
    store.commit(advance(0, 5)).await.unwrap();
    assert_eq!(store.cursor(CURSOR).await.unwrap(), cursor(5));
    assert!(matches!(store.commit(advance(0, 6)).await, Err(StoreError::Moved)));
    assert!(matches!(store.commit(advance(5, 4)).await, Err(StoreError::Backwards)));
    let other_link = Advance { cursor: CURSOR, from: Cursor { through: 5, link: [9; 32] }, to: cursor(6) };
    let forked = Change { advances: vec![other_link], ..Change::default() };
    assert!(matches!(store.commit(forked).await, Err(StoreError::Moved)));
    assert_eq!(store.cursor(CURSOR).await.unwrap(), cursor(5));
    let twice =
        Change { advances: [advance(5, 6).advances, advance(6, 9).advances].concat(), ..Change::default() };
    store.commit(twice).await.unwrap();
    assert_eq!(store.cursor(CURSOR).await.unwrap(), cursor(9));
    assert_eq!(store.cursor(CursorName::new([0; 16])).await.unwrap(), Cursor::default());
}

async fn one_of_many_tasks_moves_a_cursor(store: Arc<dyn Store>) {
    let mut tasks = JoinSet::new();
    for to in 1..=16 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let change = Change { appends: vec![append(STREAM, vec![to as u8])], ..advance(0, to) };
            store.commit(change).await.is_ok().then_some(to)
        });
    }
    let won: Vec<u64> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(won.len(), 1);
    assert_eq!(store.cursor(CURSOR).await.unwrap(), cursor(won[0]));
    let entries = all(&*store, STREAM, 0, 1000).await;
    assert_eq!((entries.len(), entries[0].body[0]), (1, won[0] as u8));
}

async fn a_refused_change_keeps_nothing(store: Arc<dyn Store>) {
    let good = Advance { cursor: CursorName::new([1; 16]), from: Cursor::default(), to: cursor(1) };
    let bad = Advance { cursor: CURSOR, from: cursor(1), to: cursor(2) };
    let change = Change {
        at: AT,
        once: Some(once(b"push", 1, b"kept")),
        advances: vec![good, bad],
        appends: vec![append(STREAM, "a")],
    };
    assert!(matches!(store.commit(change.clone()).await, Err(StoreError::Moved)));
    assert_eq!(store.once(&OnceId::new(b"push").unwrap()).await.unwrap(), None);
    assert_eq!(store.cursor(good.cursor).await.unwrap(), Cursor::default());
    assert_eq!(*store.tail(STREAM).borrow(), Tail::default());
    assert!(store.streams().await.unwrap().is_empty());
    let repaired = Change { advances: vec![good], ..change };
    assert_eq!(done(store.commit(repaired).await.unwrap()), [1]);
}

async fn a_refused_change_spoils_no_neighbour(store: Arc<dyn Store>) {
    let mut tasks = JoinSet::new();
    for task in 0..64_u64 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let advances = if task % 2 == 0 { vec![] } else { advance(7, 8).advances };
            let change = Change { at: AT, once: None, advances, appends: vec![append(STREAM, "a")] };
            (task % 2 == 0, store.commit(change).await.is_ok())
        });
    }
    assert!(tasks.join_all().await.into_iter().all(|(expected, kept)| expected == kept));
    let entries = all(&*store, STREAM, 0, 1000).await;
    assert_eq!(entries.len(), 32);
    assert_chained(&entries, Tail::default());
}

async fn pages_of_any_size_give_each_entry_once(store: Arc<dyn Store>) {
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for n in 0..60_usize {
                store
                    .commit(appends(AT, vec![append(STREAM, vec![0; n]), append(OTHER, "x")]))
                    .await
                    .unwrap();
            }
        })
    };
    let mut readers = JoinSet::new();
    for max_bytes in [1, 40, 41, 99, 500, 100_000] {
        let store = Arc::clone(&store);
        readers.spawn(async move {
            let (mut tail, mut seen) = (store.tail(STREAM), Vec::<Entry>::new());
            while seen.len() < 60 {
                let page = store.after(STREAM, seen.len() as u64, max_bytes).await.unwrap();
                let octets: usize = page.iter().map(|entry| entry.head.len() + entry.body.len()).sum();
                assert!(page.len() <= 1 || octets <= max_bytes);
                if page.is_empty() {
                    tail.wait_for(|tail| tail.last > seen.len() as u64).await.unwrap();
                }
                seen.extend(page);
            }
            assert_chained(&seen, Tail::default());
        });
    }
    readers.join_all().await;
    writer.await.unwrap();
    let two = store.after(STREAM, 0, 81).await.unwrap();
    assert_eq!(two.len(), 2, "heads of 40 octets, bodies of 0 and 1");
    assert_eq!(store.after(STREAM, 0, 80).await.unwrap().len(), 1);
    assert_eq!(store.after(STREAM, 0, 0).await.unwrap().len(), 1);
}

async fn a_tail_wakes_who_waits(store: Arc<dyn Store>) {
    let mut tail = store.tail(STREAM);
    assert_eq!(*tail.borrow_and_update(), Tail::default());
    let waiter = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            tail.changed().await.unwrap();
            let last = tail.borrow_and_update().last;
            store.find(STREAM, last).await.unwrap()
        })
    };
    store.commit(appends(AT, vec![append(OTHER, "b")])).await.unwrap();
    store.commit(appends(AT, vec![append(STREAM, "a")])).await.unwrap();
    assert_eq!(waiter.await.unwrap().unwrap().body, "a");
}

async fn purging_removes_a_beginning_and_keeps_the_tail(store: Arc<dyn Store>) {
    assert_eq!(store.oldest(STREAM).await.unwrap(), None);
    assert_eq!(store.purge(STREAM, 10).await.unwrap(), 0);
    for n in 1..=10 {
        store.commit(appends(AT + n, vec![append(STREAM, "a"), append(OTHER, "b")])).await.unwrap();
    }
    assert_eq!(store.oldest(STREAM).await.unwrap(), Some((1, AT + 1)));
    assert_eq!(store.older(STREAM, AT + 1).await.unwrap(), 0);
    assert_eq!(store.older(STREAM, AT + 5).await.unwrap(), 4);
    assert_eq!(store.older(STREAM, u64::MAX).await.unwrap(), 10);
    assert_eq!(store.purge(STREAM, 4).await.unwrap(), 4);
    assert_eq!(store.purge(STREAM, 4).await.unwrap(), 0);
    assert_eq!(store.oldest(STREAM).await.unwrap(), Some((5, AT + 5)));
    assert_eq!(store.find(STREAM, 4).await.unwrap(), None);
    assert_eq!(store.after(STREAM, 0, 1000).await.unwrap()[0].sequence, 5);
    assert_eq!(store.older(STREAM, AT + 5).await.unwrap(), 0);
    let tail = *store.tail(STREAM).borrow();
    assert_eq!(store.purge(STREAM, u64::MAX).await.unwrap(), 6);
    assert_eq!(*store.tail(STREAM).borrow(), tail);
    assert_eq!(store.oldest(STREAM).await.unwrap(), None);
    assert_eq!(store.older(STREAM, u64::MAX).await.unwrap(), 0);
    assert_eq!(done(store.commit(appends(AT, vec![append(STREAM, "c")])).await.unwrap()), [11]);
    assert_chained(&all(&*store, STREAM, 0, 1000).await, tail);
    assert_eq!(all(&*store, OTHER, 0, 1000).await.len(), 10);
    assert_eq!(store.streams().await.unwrap(), [OTHER, STREAM]);
}

async fn times_may_go_back(store: Arc<dyn Store>) {
    for at in [10, 30, 20] {
        store.commit(appends(at, vec![append(STREAM, "a")])).await.unwrap();
    }
    assert_eq!(store.older(STREAM, 25).await.unwrap(), 1);
    assert_eq!(store.older(STREAM, 31).await.unwrap(), 3);
}

async fn readers_race_with_a_purge_without_error(store: Arc<dyn Store>) {
    for _ in 0..20 {
        let many = (0..20).map(|_| append(STREAM, vec![1; 500])).collect();
        store.commit(appends(AT, many)).await.unwrap();
    }
    let reader = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            while store.oldest(STREAM).await.unwrap().is_some() {
                let page = store.after(STREAM, 0, 5_000).await.unwrap();
                assert!(page.is_sorted_by(|a, b| a.sequence + 1 == b.sequence));
                store.find(STREAM, 200).await.unwrap();
            }
        })
    };
    for through in (0..=400).step_by(10) {
        store.purge(STREAM, through).await.unwrap();
    }
    reader.await.unwrap();
}

async fn forgetting_lets_an_id_be_kept_again(store: Arc<dyn Store>) {
    let change = |at, id: &[u8]| Change { at, once: Some(once(id, 1, b"kept")), ..Change::default() };
    for at in 1..=5_u8 {
        store.commit(change(u64::from(at), &[at])).await.unwrap();
    }
    assert_eq!(store.forget(1).await.unwrap(), 0);
    assert_eq!(store.forget(4).await.unwrap(), 3);
    assert_eq!(store.once(&OnceId::new(&[3]).unwrap()).await.unwrap(), None);
    assert!(store.once(&OnceId::new(&[4]).unwrap()).await.unwrap().is_some());
    assert!(matches!(store.commit(change(9, &[3])).await.unwrap(), Committed::Done { .. }));
    assert!(matches!(store.commit(change(9, &[4])).await.unwrap(), Committed::Before(_)));
    assert_eq!(store.forget(u64::MAX).await.unwrap(), 3);
}

async fn too_large_is_refused_as_a_whole(store: Arc<dyn Store>) {
    let fits = Bytes::from(vec![0; ENTRY_LIMIT - 40]);
    let body = Bytes::from(vec![0; ENTRY_LIMIT - 39]);
    let change = appends(AT, vec![append(OTHER, "a"), append(STREAM, body)]);
    assert!(matches!(store.commit(change).await, Err(StoreError::TooLarge { limit: ENTRY_LIMIT, .. })));
    let alone = appends(AT, vec![append(STREAM, vec![0; ENTRY_LIMIT + 1])]);
    assert!(matches!(store.commit(alone).await, Err(StoreError::TooLarge { .. })));
    assert!(store.streams().await.unwrap().is_empty());
    store.commit(appends(AT, vec![append(STREAM, fits.clone())])).await.unwrap();
    assert_eq!(store.find(STREAM, 1).await.unwrap().unwrap().body, fits);
}

async fn a_dropped_commit_is_whole(store: Arc<dyn Store>) {
    for n in 0..20_u8 {
        let change = Change {
            once: Some(once(&[n], n, b"")),
            ..appends(AT, vec![append(STREAM, "a"), append(OTHER, "b")])
        };
        tokio::select! {
            biased;
            _ = store.commit(change) => {}
            () = std::future::ready(()) => {}
        }
    }
    store.commit(Change::default()).await.unwrap();
    let mut kept = 0;
    for n in 0..20_u8 {
        kept += usize::from(store.once(&OnceId::new(&[n]).unwrap()).await.unwrap().is_some());
    }
    assert_eq!(all(&*store, STREAM, 0, 1000).await.len(), kept);
    assert_eq!(all(&*store, OTHER, 0, 1000).await.len(), kept);
}

async fn reopening_keeps_everything(open: &impl AsyncFn(&'static str) -> Arc<dyn Store>) {
    let store = open("reopened").await;
    for n in 1..=9_u64 {
        let change = Change { once: Some(once(&[n as u8], 1, b"kept")), ..advance(n - 1, n) };
        let both = vec![append(STREAM, n.to_string()), append(OTHER, n.to_string())];
        store.commit(Change { appends: both, at: AT + n, ..change }).await.unwrap();
    }
    store.purge(STREAM, 3).await.unwrap();
    store.purge(OTHER, 9).await.unwrap();
    store.forget(AT + 3).await.unwrap();
    let (entries, tail) = (all(&*store, STREAM, 0, 50).await, *store.tail(OTHER).borrow());
    store.close().await.unwrap();
    drop(store);
    let store = open("reopened").await;
    assert_eq!(all(&*store, STREAM, 0, 1000).await, entries);
    assert_eq!(*store.tail(OTHER).borrow(), tail);
    assert_eq!(store.streams().await.unwrap(), [OTHER, STREAM]);
    assert_eq!(store.cursor(CURSOR).await.unwrap(), cursor(9));
    assert_eq!(store.once(&OnceId::new(&[2]).unwrap()).await.unwrap(), None);
    assert_eq!(store.once(&OnceId::new(&[3]).unwrap()).await.unwrap().unwrap().answer, "kept");
    assert_eq!(store.oldest(STREAM).await.unwrap(), Some((4, AT + 4)));
    assert_eq!(done(store.commit(appends(AT, vec![append(OTHER, "z")])).await.unwrap()), [10]);
    assert_chained(&all(&*store, OTHER, 0, 1000).await, tail);
}

async fn a_closed_store_says_so(store: Arc<dyn Store>) {
    store.commit(appends(AT, vec![append(STREAM, "a")])).await.unwrap();
    store.close().await.unwrap();
    store.close().await.unwrap();
    assert!(matches!(store.commit(Change::default()).await, Err(StoreError::Closed)));
    assert!(matches!(store.find(STREAM, 1).await, Err(StoreError::Closed)));
    assert!(matches!(store.purge(STREAM, 1).await, Err(StoreError::Closed)));
}
