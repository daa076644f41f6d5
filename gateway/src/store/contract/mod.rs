//! One suite that every store must pass.
//!
//! [`holds`] is given a way to open stores by name; the same name opens the same store again after it was closed.

mod commits;
mod leases;
mod maps;
pub mod model;
mod streams;

use std::hash::{DefaultHasher, Hash, Hasher};

use self::{commits::*, leases::*, streams::*};
use super::*;

const STREAM: Stream = Stream::new(*b"peer 826");
const OTHER: Stream = Stream::new(*b"peer 250");
const CURSOR: CursorName = CursorName::new(*b"inbox of 826 826");
const AT: u64 = 1_700_000_000;

/// Runs all checks, each on a store of its own.
pub async fn holds(open: impl AsyncFn(&str) -> Arc<dyn Store>) {
    entries_are_numbered_from_one_and_chained(open("numbers").await).await;
    concurrent_writers_keep_streams_dense_and_chained(open("writers").await).await;
    an_empty_change_is_kept(open("empty").await).await;
    a_once_id_is_kept_once(open("once").await).await;
    a_change_with_several_ids_is_kept_under_all_or_none(open("several").await).await;
    a_once_id_from_many_tasks_is_kept_once(open("once-tasks").await).await;
    a_cursor_moves_only_from_where_it_stands(open("cursor").await).await;
    one_of_many_tasks_moves_a_cursor(open("cursor-tasks").await).await;
    who_sees_a_cursor_finds_what_was_appended_with_it(open("cursor-seen").await).await;
    a_refused_change_keeps_nothing(open("refused").await).await;
    a_refused_change_spoils_no_neighbour(open("neighbours").await).await;
    a_number_that_panics_fails_its_own_change_alone(open("panics").await).await;
    pages_of_any_size_give_each_entry_once(open("pages").await).await;
    a_tail_wakes_who_waits(open("tail").await).await;
    purging_removes_a_beginning_and_keeps_the_tail(open("purge").await).await;
    times_may_go_back(open("times").await).await;
    readers_race_with_a_purge_without_error(open("race").await).await;
    forgetting_lets_an_id_be_kept_again(open("forget").await).await;
    too_large_is_refused_as_a_whole(open("large").await).await;
    an_answer_and_its_id_have_limits(open("large-answer").await).await;
    a_dropped_commit_is_whole(open("dropped").await).await;
    a_lease_has_one_holder_until_its_time_is_over(open("lease").await).await;
    one_of_many_tasks_gets_a_lease(open("lease-tasks").await).await;
    nothing_is_kept_under_a_lease_that_another_has_taken(open("fence").await).await;
    holders_in_turn_move_a_cursor_once_each_step(open("holders").await).await;
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

async fn reopening_keeps_everything(open: &impl AsyncFn(&str) -> Arc<dyn Store>) {
    let store = open("reopened").await;
    for n in 1..=9_u64 {
        let change = Change { once: vec![once(&[n as u8], 1, b"kept")], ..advance(n - 1, n) };
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
