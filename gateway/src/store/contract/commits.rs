//! What holds for a change: it is kept once, as a whole, and only from where its cursors stand.

use tokio::task::JoinSet;

use super::*;

pub(super) async fn an_empty_change_is_kept(store: Arc<dyn Store>) {
    assert!(done(store.commit(Change::default()).await.unwrap()).is_empty());
    assert!(store.streams().await.unwrap().is_empty());
}

pub(super) async fn a_once_id_is_kept_once(store: Arc<dyn Store>) {
    let id = OnceId::new(b"push").unwrap();
    assert_eq!(store.once(&id).await.unwrap(), None);
    let change = |digest, answer| Change {
        once: vec![once(b"push", digest, answer)],
        ..appends(AT, vec![append(STREAM, "a")])
    };
    assert_eq!(done(store.commit(change(1, b"kept")).await.unwrap()), [1]);
    let first = Answered { digest: [1; 32], answer: Bytes::from_static(b"kept") };
    assert_eq!(store.commit(change(1, b"kept")).await.unwrap(), Committed::Before(first.clone()));
    assert_eq!(store.commit(change(2, b"other")).await.unwrap(), Committed::Before(first.clone()));
    assert_eq!(store.once(&id).await.unwrap(), Some(first));
    assert_eq!(store.tail(STREAM).borrow().last, 1);
    let alone = Change { at: AT, once: vec![once(&[7; 64], 1, b"")], ..Change::default() };
    assert!(done(store.commit(alone.clone()).await.unwrap()).is_empty());
    assert!(matches!(store.commit(alone).await.unwrap(), Committed::Before(_)));
}

pub(super) async fn a_change_with_several_ids_is_kept_under_all_or_none(store: Arc<dyn Store>) {
    let change = |ids: &[&'static [u8]], digest| Change {
        once: ids.iter().map(|id| once(id, digest, id)).collect(),
        ..appends(AT, vec![append(STREAM, "a")])
    };
    assert_eq!(done(store.commit(change(&[b"one", b"two"], 1)).await.unwrap()), [1]);
    let kept = |answer: &'static [u8]| Answered { digest: [1; 32], answer: Bytes::from_static(answer) };
    for (ids, first) in [([&b"two"[..], b"new"], &b"two"[..]), ([b"new", b"one"], b"one")] {
        assert_eq!(store.commit(change(&ids, 2)).await.unwrap(), Committed::Before(kept(first)));
    }
    for (id, answered) in [(&b"one"[..], Some(kept(b"one"))), (b"two", Some(kept(b"two"))), (b"new", None)] {
        assert_eq!(store.once(&OnceId::new(id).unwrap()).await.unwrap(), answered);
    }
    assert_eq!(store.tail(STREAM).borrow().last, 1);
}

pub(super) async fn a_once_id_from_many_tasks_is_kept_once(store: Arc<dyn Store>) {
    let mut tasks = JoinSet::new();
    for task in 0..16_u8 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let change =
                Change { once: vec![once(b"push", task, b"yes")], ..appends(AT, vec![append(STREAM, "a")]) };
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

pub(super) async fn a_cursor_moves_only_from_where_it_stands(store: Arc<dyn Store>) {
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

pub(super) async fn one_of_many_tasks_moves_a_cursor(store: Arc<dyn Store>) {
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

pub(super) async fn who_sees_a_cursor_finds_what_was_appended_with_it(store: Arc<dyn Store>) {
    const STEPS: u64 = 200;
    let stream = |step: u64| Stream::new(step.to_be_bytes());
    let reader = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut seen = 0;
            while seen < STEPS {
                seen = store.cursor(CURSOR).await.unwrap().through;
                if seen > 0 {
                    assert!(store.streams().await.unwrap().contains(&stream(seen)), "step {seen}");
                    assert_eq!(store.after(stream(seen), 0, 1_000).await.unwrap().len(), 1, "step {seen}");
                }
            }
        })
    };
    for step in 1..=STEPS {
        let change = Change { appends: vec![append(stream(step), "a")], ..advance(step - 1, step) };
        store.commit(change).await.unwrap();
    }
    reader.await.unwrap();
}

pub(super) async fn a_refused_change_keeps_nothing(store: Arc<dyn Store>) {
    let good = Advance { cursor: CursorName::new([1; 16]), from: Cursor::default(), to: cursor(1) };
    let bad = Advance { cursor: CURSOR, from: cursor(1), to: cursor(2) };
    let change = Change {
        at: AT,
        once: vec![once(b"push", 1, b"kept")],
        advances: vec![good, bad],
        appends: vec![append(STREAM, "a")],
        ..Change::default()
    };
    assert!(matches!(store.commit(change.clone()).await, Err(StoreError::Moved)));
    assert_eq!(store.once(&OnceId::new(b"push").unwrap()).await.unwrap(), None);
    assert_eq!(store.cursor(good.cursor).await.unwrap(), Cursor::default());
    assert_eq!(*store.tail(STREAM).borrow(), Tail::default());
    assert!(store.streams().await.unwrap().is_empty());
    let repaired = Change { advances: vec![good], ..change };
    assert_eq!(done(store.commit(repaired).await.unwrap()), [1]);
}

pub(super) async fn a_refused_change_spoils_no_neighbour(store: Arc<dyn Store>) {
    let mut tasks = JoinSet::new();
    for task in 0..64_u64 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let advances = if task % 2 == 0 { vec![] } else { advance(7, 8).advances };
            let change = Change { at: AT, advances, appends: vec![append(STREAM, "a")], ..Change::default() };
            (task % 2 == 0, store.commit(change).await.is_ok())
        });
    }
    assert!(tasks.join_all().await.into_iter().all(|(expected, kept)| expected == kept));
    let entries = all(&*store, STREAM, 0, 1000).await;
    assert_eq!(entries.len(), 32);
    assert_chained(&entries, Tail::default());
}

pub(super) async fn a_number_that_panics_fails_its_own_change_alone(store: Arc<dyn Store>) {
    let bomb = Append { number: Arc::new(|_| panic!("no key to sign with")), ..append(STREAM, "a") };
    let bad = Change {
        at: AT,
        once: vec![once(b"push", 1, b"kept")],
        appends: vec![append(OTHER, "b"), bomb],
        ..advance(0, 1)
    };
    let (before, failed, behind) = tokio::join!(
        store.commit(appends(AT, vec![append(STREAM, "a")])),
        store.commit(bad.clone()),
        store.commit(appends(AT, vec![append(STREAM, "b")])),
    );
    assert!(matches!(failed, Err(StoreError::Defect)), "{failed:?}");
    assert_eq!((done(before.unwrap()), done(behind.unwrap())), (vec![1], vec![2]));
    assert_eq!(store.once(&OnceId::new(b"push").unwrap()).await.unwrap(), None);
    assert_eq!(store.cursor(CURSOR).await.unwrap(), Cursor::default());
    assert_chained(&all(&*store, STREAM, 0, 1000).await, Tail::default());
    assert!(all(&*store, OTHER, 0, 1000).await.is_empty());
    let repaired = Change { appends: vec![append(OTHER, "b")], ..bad };
    assert_eq!(done(store.commit(repaired).await.unwrap()), [1]);
}

pub(super) async fn forgetting_lets_an_id_be_kept_again(store: Arc<dyn Store>) {
    let change = |at, id: &[u8]| Change { at, once: vec![once(id, 1, b"kept")], ..Change::default() };
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

pub(super) async fn too_large_is_refused_as_a_whole(store: Arc<dyn Store>) {
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

pub(super) async fn an_answer_and_its_id_have_limits(store: Arc<dyn Store>) {
    assert_eq!([0, 65].map(|length| OnceId::new(&vec![1; length])), [None, None]);
    for length in [1, OnceId::LIMIT] {
        let id = OnceId::new(&vec![1; length]).unwrap();
        let change = |answer: usize| Change {
            once: vec![Once { id: id.clone(), digest: [1; 32], answer: vec![7; answer].into() }],
            ..appends(AT, vec![append(STREAM, "a")])
        };
        let refused = store.commit(change(ENTRY_LIMIT + 1)).await;
        assert!(matches!(refused, Err(StoreError::TooLarge { limit: ENTRY_LIMIT, .. })), "{refused:?}");
        assert_eq!(store.once(&id).await.unwrap(), None);
        done(store.commit(change(ENTRY_LIMIT)).await.unwrap());
        let kept = store.once(&id).await.unwrap().unwrap().answer;
        assert!(kept.len() == ENTRY_LIMIT && kept.iter().all(|octet| *octet == 7));
        assert!(matches!(store.commit(change(1)).await.unwrap(), Committed::Before(_)));
    }
    assert_eq!(store.tail(STREAM).borrow().last, 2, "nothing of what was refused");
}

pub(super) async fn a_dropped_commit_is_whole(store: Arc<dyn Store>) {
    for n in 0..20_u8 {
        let change = Change {
            once: vec![once(&[n], n, b"")],
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
