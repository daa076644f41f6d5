//! What holds for streams: their numbers, their pages, their tails, and what is removed from them.

use std::collections::BTreeSet;

use tokio::task::JoinSet;

use super::*;

pub(super) async fn entries_are_numbered_from_one_and_chained(store: Arc<dyn Store>) {
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

pub(super) async fn concurrent_writers_keep_streams_dense_and_chained(store: Arc<dyn Store>) {
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

pub(super) async fn pages_of_any_size_give_each_entry_once(store: Arc<dyn Store>) {
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

pub(super) async fn a_tail_wakes_who_waits(store: Arc<dyn Store>) {
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

pub(super) async fn purging_removes_a_beginning_and_keeps_the_tail(store: Arc<dyn Store>) {
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
    assert_eq!(store.link(STREAM, 4).await.unwrap(), None);
    for (number, entry) in (5..).zip(all(&*store, STREAM, 0, 1000).await) {
        assert_eq!(store.link(STREAM, number).await.unwrap(), Some(entry.link));
    }
    assert_eq!(store.link(STREAM, 11).await.unwrap(), None);
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

pub(super) async fn times_may_go_back(store: Arc<dyn Store>) {
    for at in [10, 30, 20] {
        store.commit(appends(at, vec![append(STREAM, "a")])).await.unwrap();
    }
    assert_eq!(store.older(STREAM, 25).await.unwrap(), 1);
    assert_eq!(store.older(STREAM, 31).await.unwrap(), 3);
}

pub(super) async fn readers_race_with_a_purge_without_error(store: Arc<dyn Store>) {
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
