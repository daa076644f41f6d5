//! Several processes on one database: each test opens it more than once.

use std::collections::BTreeSet;

use tokio::{task::JoinSet, time::timeout};

use super::*;
use crate::store::{Advance, Once};

const SOON: Duration = Duration::from_secs(10);
const CURSOR: CursorName = CursorName::new([7; 16]);
const LEASE: LeaseName = LeaseName::new([7; 8]);

async fn replicas<const N: usize>(database: &TestDatabase) -> [Arc<dyn Store>; N] {
    let mut opened = Vec::new();
    for _ in 0..N {
        opened.push(open(database).await);
    }
    opened.try_into().ok().expect("as many as were opened")
}

/// One that knows of others' commits only by notification.
pub(super) async fn told_only(database: &TestDatabase) -> Arc<dyn Store> {
    let never = PostgresOptions { poll: Duration::from_secs(3_600), ..options(database) };
    Arc::new(PostgresStore::open(never).await.unwrap())
}

fn move_cursor(from: u64, to: u64) -> Vec<Advance> {
    let at = |through| Cursor { through, link: [0; 32] };
    vec![Advance { cursor: CURSOR, from: at(from), to: at(to) }]
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_on_many_replicas_keep_streams_dense_and_nobody_is_shown_a_gap() {
    let database = database();
    let stores = replicas::<3>(&database).await;
    let mut writers = JoinSet::new();
    for (n, store) in (0_u8..).zip(&stores) {
        for task in 0..4_u8 {
            let store = Arc::clone(store);
            writers.spawn(async move {
                for turn in 0..25_u8 {
                    // Streams in either order: two transactions must not wait for each other.
                    let mut both = vec![
                        contract::append(STREAM, vec![n, task, turn]),
                        contract::append(OTHER, vec![n, task, turn]),
                    ];
                    if task % 2 == 0 {
                        both.reverse();
                    }
                    store.commit(contract::appends(1, both)).await.unwrap();
                }
            });
        }
    }
    let mut readers = JoinSet::new();
    for store in &stores {
        let store = Arc::clone(store);
        readers.spawn(async move {
            let (mut tail, mut seen) = (store.tail(STREAM), Vec::<Entry>::new());
            while seen.len() < 300 {
                let shown = tail.borrow_and_update().last;
                let page = store.after(STREAM, seen.len() as u64, 300).await.unwrap();
                if page.is_empty() {
                    assert!(shown <= seen.len() as u64, "a tail without its entry");
                    tail.wait_for(|tail| tail.last > seen.len() as u64).await.unwrap();
                }
                seen.extend(page);
            }
            seen
        });
    }
    writers.join_all().await;
    for seen in timeout(SOON, readers.join_all()).await.unwrap() {
        assert!(seen.iter().zip(1..).all(|(entry, number)| entry.sequence == number));
        assert_eq!(seen.iter().map(|entry| &entry.body).collect::<BTreeSet<_>>().len(), 300);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_comes_to_every_replica_is_kept_once() {
    let database = database();
    let stores = replicas::<3>(&database).await;
    for push in 0..20_u8 {
        let mut tasks = JoinSet::new();
        for (n, store) in (0_u8..).zip(&stores) {
            let store = Arc::clone(store);
            let id = OnceId::new(&[push]).unwrap();
            // Each goes to streams of its own, so that only the id is in the way.
            let stream = Stream::new([n; 8]);
            tasks.spawn(async move {
                let once = Once { id, digest: [n; 32], answer: vec![n].into() };
                let appends = vec![contract::append(stream, vec![push])];
                store.commit(Change { once: vec![once], appends, ..Change::default() }).await.unwrap()
            });
        }
        let outcomes = tasks.join_all().await;
        let kept = outcomes.iter().filter(|outcome| matches!(outcome, Committed::Done { .. })).count();
        assert_eq!(kept, 1, "{outcomes:?}");
    }
    let mut entries = 0;
    for n in 0..3_u8 {
        entries += stores[0].latest(Stream::new([n; 8])).await.unwrap().last;
    }
    assert_eq!(entries, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_in_turn_move_a_cursor_once_each_step() {
    let database = database();
    let stores = replicas::<3>(&database).await;
    let mut tasks = JoinSet::new();
    for store in stores.clone() {
        tasks.spawn(async move {
            let (holder, mut moved) = (Holder::random(), 0);
            while store.cursor(CURSOR).await.unwrap().through < 100 {
                let given = store.lease(LEASE, holder, Duration::from_millis(3)).await.unwrap();
                let Some(fence) = given else { continue };
                let from = store.cursor(CURSOR).await.unwrap().through;
                let appends = vec![contract::append(STREAM, (from + 1).to_be_bytes().to_vec())];
                let advances = move_cursor(from, from + 1);
                let change = Change { fence: Some(fence), advances, appends, ..Change::default() };
                match store.commit(change).await {
                    Ok(_) => moved += 1,
                    Err(StoreError::Fenced | StoreError::Moved) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            moved
        });
    }
    let moved: u64 = timeout(6 * SOON, tasks.join_all()).await.unwrap().into_iter().sum();
    let entries = contract::all(&*stores[0], STREAM, 0, 1_000).await;
    let steps: Vec<u64> =
        entries.iter().map(|e| u64::from_be_bytes(e.body[..].try_into().unwrap())).collect();
    assert_eq!(steps, (1..=moved).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_holder_that_was_away_too_long_keeps_nothing_any_more() {
    let database = database();
    let [slow, quick] = replicas::<2>(&database).await;
    let fence = slow.lease(LEASE, Holder::random(), Duration::from_millis(50)).await.unwrap();
    let successor = Holder::random();
    let taken = async {
        loop {
            if let Some(fence) = quick.lease(LEASE, successor, SOON).await.unwrap() {
                return fence;
            }
        }
    };
    let taken = timeout(SOON, taken).await.expect("the database's clock goes on");
    let late = Change { fence, advances: move_cursor(0, 1), ..Change::default() };
    assert!(matches!(slow.commit(late).await, Err(StoreError::Fenced)));
    let good = Change { fence: Some(taken), advances: move_cursor(0, 1), ..Change::default() };
    quick.commit(good).await.unwrap();
    assert_eq!(slow.cursor(CURSOR).await.unwrap().through, 1);
}

#[tokio::test]
async fn a_commit_rings_on_the_other_replicas_and_moves_their_tails() {
    let database = database();
    let (here, there) = (open(&database).await, told_only(&database).await);
    // It has asked for everything once when it began to listen: from then on it knows what it is told.
    let mut elsewhere = there.elsewhere();
    timeout(SOON, elsewhere.wait_for(|asked| *asked > 0)).await.unwrap().unwrap();
    let (mut tail, mut elsewhere) = (there.tail(STREAM), there.elsewhere());
    elsewhere.mark_unchanged();
    here.commit(contract::appends(1, vec![contract::append(STREAM, "a")])).await.unwrap();
    timeout(SOON, tail.wait_for(|tail| tail.last == 1)).await.unwrap().unwrap();
    timeout(SOON, elsewhere.changed()).await.unwrap().unwrap();
    assert_eq!(there.find(STREAM, 1).await.unwrap().unwrap().body, "a");
    here.commit(Change { advances: move_cursor(0, 1), ..Change::default() }).await.unwrap();
    timeout(SOON, elsewhere.changed()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_tail_can_be_asked_anew_before_it_was_told() {
    let database = database();
    let (here, there) = (open(&database).await, told_only(&database).await);
    for last in 1..=20 {
        here.commit(contract::appends(1, vec![contract::append(STREAM, "a")])).await.unwrap();
        assert_eq!(there.latest(STREAM).await.unwrap().last, last);
        assert_eq!(there.tail(STREAM).borrow().last, last);
    }
    assert_eq!(there.latest(OTHER).await.unwrap(), Tail::default());
}

#[tokio::test]
async fn a_tail_goes_back_with_the_database_and_never_for_older_news() {
    let database = database();
    let (asked, polled) = (told_only(&database).await, open(&database).await);
    for _ in 1..=5 {
        asked.commit(contract::appends(1, vec![contract::append(STREAM, "a")])).await.unwrap();
    }
    let (before, mut tail) = (asked.latest(STREAM).await.unwrap(), polled.tail(STREAM));
    timeout(SOON, tail.wait_for(|tail| *tail == before)).await.unwrap().unwrap();
    let lagging = "DELETE FROM exchange.entry WHERE sequence > 3; UPDATE exchange.stream SET last = 3";
    cluster::shared().unwrap().sql(&database.name, lagging).unwrap();
    assert_eq!(asked.latest(STREAM).await.unwrap().last, 3);
    assert_eq!(asked.tail(STREAM).borrow().last, 3);
    timeout(SOON, tail.wait_for(|tail| tail.last == 3)).await.expect("it is asked for").unwrap();
    let next = asked.commit(contract::appends(1, vec![contract::append(STREAM, "b")])).await.unwrap();
    assert_eq!(next, Committed::Done { sequences: vec![4] });
    timeout(SOON, tail.wait_for(|tail| tail.last == 4)).await.unwrap().unwrap();
    let (tails, at) = (Tails::new(Vec::new()), |last| Tail { last, ..Tail::default() });
    tails.publish([(STREAM, at(7))]);
    tails.found(STREAM, at(6), at(5));
    assert_eq!(tails.now(STREAM).last, 7, "it has moved since it was asked");
}

#[tokio::test]
async fn news_that_nobody_tells_is_asked_for() {
    let database = database();
    let [here, there] = replicas::<2>(&database).await;
    here.commit(contract::appends(1, vec![contract::append(STREAM, "a")])).await.unwrap();
    let mut tail = there.tail(STREAM);
    timeout(SOON, tail.wait_for(|tail| tail.last == 1)).await.unwrap().unwrap();
    append_untold(&database);
    timeout(SOON, tail.wait_for(|tail| tail.last == 2)).await.unwrap().unwrap();
}

/// As a commit whose notification is lost.
pub(super) fn append_untold(database: &TestDatabase) {
    let statement = "INSERT INTO exchange.entry SELECT day, stream, 2, at, link, head, body FROM exchange.entry \
         WHERE stream = 'peer 826'; UPDATE exchange.stream SET last = 2 WHERE name = 'peer 826'";
    cluster::shared().unwrap().sql(&database.name, statement).unwrap();
}

#[tokio::test]
async fn whoever_asks_rings_only_if_another_process_has_committed() {
    let database = database();
    let store = open(&database).await;
    store.commit(contract::appends(1, vec![contract::append(STREAM, "a")])).await.unwrap();
    let (mut tail, mut elsewhere) = (store.tail(STREAM), store.elsewhere());
    // Once when it begins to listen, and once when it has asked for the first time.
    timeout(SOON, elsewhere.wait_for(|rung| *rung == 2)).await.unwrap().unwrap();
    for last in 2..=4 {
        let statement = format!("UPDATE exchange.stream SET last = {last} WHERE name = 'peer 826'");
        cluster::shared().unwrap().sql(&database.name, &statement).unwrap();
        timeout(SOON, tail.wait_for(|tail| tail.last == last)).await.expect("it has asked").unwrap();
    }
    assert!(!elsewhere.has_changed().unwrap());
    let committed = "INSERT INTO exchange.writer (process, kept) VALUES ('another process!', 1)";
    cluster::shared().unwrap().sql(&database.name, committed).unwrap();
    timeout(SOON, elsewhere.changed()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn news_that_nobody_tells_is_asked_for_also_while_much_is_told() {
    let database = database();
    let store = open(&database).await;
    store.commit(contract::appends(1, vec![contract::append(STREAM, "a")])).await.unwrap();
    let mut tail = store.tail(STREAM);
    let busy = async {
        loop {
            store.commit(contract::appends(1, vec![contract::append(OTHER, "b")])).await.unwrap();
        }
    };
    let asked = async {
        append_untold(&database);
        timeout(SOON, tail.wait_for(|tail| tail.last == 2)).await.unwrap().unwrap();
    };
    tokio::select! {
        () = busy => {}
        () = asked => {}
    }
}
