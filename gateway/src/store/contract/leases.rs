//! What holds for leases: one holder at a time, and nothing is kept under a lease that somebody else has by now.

use tokio::task::JoinSet;

use super::*;

const LEASE: LeaseName = LeaseName::new(*b"pull 250");
const LONG: Duration = Duration::from_secs(3_600);

pub(super) async fn a_lease_has_one_holder_until_its_time_is_over(store: Arc<dyn Store>) {
    let [first, second] = [(); 2].map(|()| Holder::random());
    let fence = store.lease(LEASE, first, LONG).await.unwrap().unwrap();
    assert_eq!(store.lease(LEASE, second, LONG).await.unwrap(), None);
    assert_eq!(store.lease(LEASE, first, LONG).await.unwrap(), Some(fence), "the same one, for longer");
    assert!(store.lease(LeaseName::new(*b"pull 826"), second, LONG).await.unwrap().is_some());
    assert_eq!(store.lease(LEASE, first, Duration::ZERO).await.unwrap(), Some(fence));
    let taken = store.lease(LEASE, second, LONG).await.unwrap().unwrap();
    assert!(taken.name == LEASE && taken.token != fence.token);
    assert_eq!(store.lease(LEASE, first, LONG).await.unwrap(), None);
    // Who comes too late gives back nothing that is another's.
    store.release(fence).await.unwrap();
    assert_eq!(store.lease(LEASE, first, LONG).await.unwrap(), None);
    store.release(taken).await.unwrap();
    let again = store.lease(LEASE, first, LONG).await.unwrap().unwrap();
    assert!(![fence.token, taken.token].contains(&again.token), "no token is given to two");
}

pub(super) async fn one_of_many_tasks_gets_a_lease(store: Arc<dyn Store>) {
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let store = Arc::clone(&store);
        tasks.spawn(async move { store.lease(LEASE, Holder::random(), LONG).await.unwrap() });
    }
    assert_eq!(tasks.join_all().await.into_iter().flatten().count(), 1);
}

pub(super) async fn nothing_is_kept_under_a_lease_that_another_has_taken(store: Arc<dyn Store>) {
    let [first, second] = [(); 2].map(|()| Holder::random());
    let old = store.lease(LEASE, first, Duration::ZERO).await.unwrap().unwrap();
    let under = |fence, from, to| Change {
        fence: Some(fence),
        appends: vec![append(STREAM, "a")],
        ..advance(from, to)
    };
    store.commit(under(old, 0, 1)).await.expect("its time is over, but nobody else has it");
    let new = store.lease(LEASE, second, LONG).await.unwrap().unwrap();
    assert!(matches!(store.commit(under(old, 1, 2)).await, Err(StoreError::Fenced)));
    let with_id = Change { once: vec![once(b"push", 1, b"kept")], ..under(old, 1, 2) };
    assert!(matches!(store.commit(with_id.clone()).await, Err(StoreError::Fenced)));
    assert_eq!(store.once(&OnceId::new(b"push").unwrap()).await.unwrap(), None);
    assert_eq!(store.cursor(CURSOR).await.unwrap(), cursor(1));
    store.commit(Change { fence: Some(new), ..with_id.clone() }).await.unwrap();
    let repeated = store.commit(with_id).await.unwrap();
    assert!(matches!(repeated, Committed::Before(_)), "what was kept before is said to anybody");
    store.release(new).await.unwrap();
    assert!(matches!(store.commit(under(new, 2, 3)).await, Err(StoreError::Fenced)));
    assert_eq!(store.cursor(CURSOR).await.unwrap(), cursor(2));
    assert_eq!(all(&*store, STREAM, 0, 1000).await.len(), 2);
}

/// Holders that take the lease from each other all the time, each sure that it is the only one.
pub(super) async fn holders_in_turn_move_a_cursor_once_each_step(store: Arc<dyn Store>) {
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let (holder, mut moved) = (Holder::random(), 0);
            while store.cursor(CURSOR).await.unwrap().through < 60 {
                let Some(fence) = store.lease(LEASE, holder, Duration::ZERO).await.unwrap() else { continue };
                let from = store.cursor(CURSOR).await.unwrap().through;
                let appends = vec![append(STREAM, (from + 1).to_be_bytes().to_vec())];
                let change = Change { fence: Some(fence), appends, ..advance(from, from + 1) };
                match store.commit(change).await {
                    Ok(_) => moved += 1,
                    Err(StoreError::Fenced | StoreError::Moved) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            moved
        });
    }
    let moved: u64 = tasks.join_all().await.into_iter().sum();
    assert_eq!(store.cursor(CURSOR).await.unwrap().through, moved);
    let entries = all(&*store, STREAM, 0, 1000).await;
    let steps: Vec<u64> =
        entries.iter().map(|e| u64::from_be_bytes(e.body[..].try_into().unwrap())).collect();
    assert_eq!(steps, (1..=moved).collect::<Vec<_>>());
}
