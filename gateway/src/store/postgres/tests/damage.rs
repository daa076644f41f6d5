//! Rows and pages that are not as they were written: each is named, given to nobody, and mended where that can be.

use std::{
    collections::BTreeSet,
    fs::OpenOptions,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use cluster::Cluster;

use super::*;
use crate::store::{Once, upkeep::Upkeep};

/// Long and not to be compressed, so that it lies on pages of its own.
fn long(seed: u8) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..20_000).map(step).collect()
}

async fn opened(database: &TestDatabase) -> Arc<PostgresStore> {
    Arc::new(PostgresStore::open(options(database)).await.unwrap())
}

/// Ten entries of which each has its number for a body, or a long one.
async fn fill(store: &PostgresStore, body: impl Fn(u8) -> Vec<u8>) {
    for n in 1..=10_u8 {
        store.commit(contract::appends(86_400, vec![contract::append(STREAM, body(n))])).await.unwrap();
    }
}

fn sql(database: &TestDatabase, statement: &str) {
    cluster::shared().unwrap().sql(&database.name, statement).unwrap();
}

fn known(store: &PostgresStore) -> BTreeSet<u64> {
    store.damaged().borrow().keys().map(|(_, sequence)| *sequence).collect()
}

#[tokio::test]
async fn a_row_of_which_any_column_is_altered_is_named_and_never_given() {
    let database = database();
    let store = opened(&database).await;
    fill(&store, |n| vec![n]).await;
    let columns = ["at = at + 1", "link = set_byte(link, 31, get_byte(link, 31) # 1)"];
    let octets =
        ["head = set_byte(head, 3, get_byte(head, 3) # 1)", "body = '\\x00'", "body = ''", "crc = crc # 1"];
    for (sequence, altered) in (2..).zip(columns.iter().chain(&octets)) {
        sql(&database, &format!("UPDATE exchange.entry SET {altered} WHERE sequence = {sequence}"));
        let found = store.find(STREAM, sequence).await;
        let is_named = matches!(found, Err(StoreError::Damaged { stream: STREAM, sequence: named, .. }) if named == sequence);
        assert!(is_named, "{altered}: {found:?}");
    }
    // Two rows in each other's place, with all their columns.
    for (from, to) in [(9, 11), (10, 9), (11, 10)] {
        sql(&database, &format!("UPDATE exchange.entry SET sequence = {to} WHERE sequence = {from}"));
    }
    for sequence in [9, 10] {
        let found = store.find(STREAM, sequence).await;
        assert!(matches!(found, Err(StoreError::Damaged { .. })), "{found:?}");
    }
    assert_eq!(known(&store), [2, 3, 4, 5, 6, 7, 9, 10].into());
    // A page ends before what is damaged, and none begins with it.
    assert_eq!(store.after(STREAM, 0, 10_000).await.unwrap().len(), 1);
    for after in 1..7 {
        let page = store.after(STREAM, after, 10_000).await;
        assert!(
            matches!(page, Err(StoreError::Damaged { sequence, .. }) if sequence == after + 1),
            "{page:?}"
        );
    }
    assert_eq!(store.after(STREAM, 7, 10_000).await.unwrap().len(), 1);
    store.purge(STREAM, 9).await.unwrap();
    assert_eq!(known(&store), [10].into());
}

#[tokio::test]
async fn a_row_that_is_gone_is_never_stepped_over_in_a_page() {
    let database = database();
    let store = opened(&database).await;
    fill(&store, |n| vec![n]).await;
    sql(&database, "DELETE FROM exchange.entry WHERE sequence = 4");
    let numbers = async |after| {
        let page = store.after(STREAM, after, 10_000).await.unwrap();
        page.iter().map(|entry| entry.sequence).collect::<Vec<_>>()
    };
    assert_eq!(numbers(0).await, [1, 2, 3]);
    assert_eq!(numbers(3).await, [5, 6, 7, 8, 9, 10]);
}

#[tokio::test]
async fn what_is_mended_is_read_by_every_replica_and_goes_with_its_purge() {
    let database = database();
    let (store, other) = (opened(&database).await, opened(&database).await);
    fill(&store, |n| vec![n]).await;
    let whole = contract::all(&*store, STREAM, 0, 10_000).await;
    sql(&database, "UPDATE exchange.entry SET body = '\\xff' WHERE sequence IN (4, 5)");
    for store in [&store, &other] {
        assert!(store.find(STREAM, 4).await.is_err() && store.find(STREAM, 5).await.is_err());
    }
    let damaged = store.damaged().borrow()[&(STREAM, 4)].clone();
    assert_eq!((damaged.at, damaged.link), (86_400, whole[3].link));
    assert_eq!(damaged.head.as_ref(), Some(&whole[3].head));
    for sequence in [4, 5] {
        let Entry { head, body, .. } = whole[sequence - 1].clone();
        store.mend(STREAM, sequence as u64, (head, body)).await.unwrap();
    }
    assert_eq!(known(&store), [].into());
    for store in [&store, &other] {
        assert_eq!(contract::all(&**store, STREAM, 0, 10_000).await, whole);
        assert_eq!(store.find(STREAM, 4).await.unwrap().as_ref(), Some(&whole[3]));
        assert_eq!(known(store), [].into(), "whoever reads it notices");
    }
    // What was mended may be damaged as well.
    sql(&database, "UPDATE exchange.mended SET body = '\\xfe' WHERE sequence = 4");
    assert!(matches!(other.find(STREAM, 4).await, Err(StoreError::Damaged { sequence: 4, .. })));
    other.mend(STREAM, 4, (whole[3].head.clone(), whole[3].body.clone())).await.unwrap();
    assert_eq!(store.find(STREAM, 4).await.unwrap().as_ref(), Some(&whole[3]));
    store.purge(STREAM, 4).await.unwrap();
    let left = cluster::shared().unwrap().sql(&database.name, "SELECT sequence FROM exchange.mended");
    assert_eq!(left.unwrap(), "5");
    assert_eq!(store.find(STREAM, 4).await.unwrap(), None);
    store.mend(STREAM, 4, (Bytes::new(), Bytes::new())).await.expect("it was purged meanwhile");
    assert_eq!(store.find(STREAM, 4).await.unwrap(), None);
}

fn push(n: u8, answer: Vec<u8>) -> Change {
    let once = Once { id: OnceId::new(&[n]).unwrap(), digest: [n; 32], answer: answer.into() };
    Change { once: vec![once], ..contract::appends(86_400, vec![contract::append(STREAM, vec![n])]) }
}

/// Pushes at once, of which 1 to 4 are repetitions; what became of each.
async fn repeated(store: &Arc<PostgresStore>, first: u8) -> Vec<Result<Committed, StoreError>> {
    let mut tasks = tokio::task::JoinSet::new();
    for n in (1..=4).chain(first..first + 4) {
        let store = Arc::clone(store);
        tasks.spawn(async move { (n, store.commit(push(n, vec![n])).await) });
    }
    let mut outcomes = tasks.join_all().await;
    outcomes.sort_by_key(|(n, _)| *n);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn assert_only_the_second_fails(outcomes: &[Result<Committed, StoreError>]) {
    for (nth, outcome) in outcomes.iter().enumerate() {
        match nth {
            1 => assert!(matches!(outcome, Err(StoreError::Corrupt { .. })), "{outcome:?}"),
            0..=3 => assert!(matches!(outcome, Ok(Committed::Before(_))), "{outcome:?}"),
            _ => assert!(matches!(outcome, Ok(Committed::Done { .. })), "{outcome:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_altered_fails_its_own_push_alone() {
    let database = database();
    let store = opened(&database).await;
    for n in 1..=4 {
        store.commit(push(n, vec![n])).await.unwrap();
    }
    let altered = ["at = at + 1", "digest = set_byte(digest, 0, 9)", "answer = '\\x09'", "crc = crc # 1"];
    for (turn, altered) in (0..).zip(altered) {
        sql(
            &database,
            &format!(
                "CREATE TABLE whole AS SELECT * FROM exchange.once WHERE id = '\\x02'; \
             UPDATE exchange.once SET {altered} WHERE id = '\\x02'"
            ),
        );
        let known = store.once(&OnceId::new(&[2]).unwrap()).await;
        assert!(matches!(known, Err(StoreError::Corrupt { .. })), "{altered}: {known:?}");
        assert_only_the_second_fails(&repeated(&store, 10 + 4 * turn).await);
        sql(
            &database,
            "DELETE FROM exchange.once WHERE id = '\\x02'; \
             INSERT INTO exchange.once SELECT * FROM whole; DROP TABLE whole",
        );
    }
    assert!(repeated(&store, 100).await.iter().all(Result::is_ok));
}

/// Spoils a page on the disk as a bad disk would, while the server is down.
pub(crate) fn spoil(cluster: &Cluster, database: &TestDatabase, relation: &str) {
    let statement = format!("CHECKPOINT; SELECT pg_relation_filepath({relation})");
    let file = cluster.sql(&database.name, &statement).unwrap();
    cluster.stop_at_once().unwrap();
    let path: PathBuf = Path::new(cluster.folder()).join("data").join(file);
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut octet = [0];
    file.read_exact_at(&mut octet, 6_000).unwrap();
    file.write_all_at(&[octet[0] ^ 1], 6_000).unwrap();
    file.sync_all().unwrap();
    cluster.resume().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_on_a_page_that_the_disk_has_spoiled_is_named_and_mended_and_goes_with_its_day() {
    let cluster = Cluster::start().unwrap();
    let database = cluster.database().unwrap();
    let store = opened(&database).await;
    fill(&store, long).await;
    let whole = contract::all(&*store, STREAM, 0, 1 << 20).await;
    spoil(&cluster, &database, "(SELECT reltoastrelid FROM pg_class WHERE relname = 'entry_1')");
    let mut found = Vec::new();
    for entry in &whole {
        match store.find(STREAM, entry.sequence).await {
            Ok(read) => assert_eq!(read.as_ref(), Some(entry)),
            Err(StoreError::Damaged { sequence, what, .. }) => {
                assert!(what.contains("XX001"), "{what}");
                found.push(sequence);
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(!found.is_empty() && found.len() < 5, "{found:?}");
    let before = store.after(STREAM, 0, 1 << 20).await;
    match before {
        Ok(page) => assert!(page.iter().all(|entry| !found.contains(&entry.sequence))),
        Err(StoreError::Damaged { sequence, .. }) => assert_eq!(sequence, found[0]),
        Err(other) => panic!("{other}"),
    }
    for sequence in found {
        let damaged = store.damaged().borrow()[&(STREAM, sequence)].clone();
        let entry = &whole[sequence as usize - 1];
        assert_eq!((damaged.link, damaged.head.as_ref()), (entry.link, Some(&entry.head)));
        store.mend(STREAM, sequence, (entry.head.clone(), entry.body.clone())).await.unwrap();
    }
    assert_eq!(contract::all(&*store, STREAM, 0, 1 << 20).await, whole);
    store.commit(contract::appends(2 * 86_400, vec![contract::append(STREAM, "next day")])).await.unwrap();
    store.purge(STREAM, 10).await.unwrap();
    store.forget(0).await.unwrap();
    let days = "SELECT string_agg(relname, ' ') FROM pg_class WHERE relname LIKE 'entry_%' AND relkind = 'r'";
    assert_eq!(cluster.sql(&database.name, days).unwrap(), "entry_2");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_on_a_page_that_the_disk_has_spoiled_fails_its_own_push_alone() {
    let cluster = Cluster::start().unwrap();
    let database = cluster.database().unwrap();
    let store = opened(&database).await;
    for n in 1..=4 {
        store.commit(push(n, if n == 2 { long(n) } else { vec![n] })).await.unwrap();
    }
    spoil(&cluster, &database, "(SELECT reltoastrelid FROM pg_class WHERE oid = 'exchange.once'::regclass)");
    for turn in 0..4 {
        assert_only_the_second_fails(&repeated(&store, 10 + 4 * turn).await);
    }
    for (id, is_known) in [(1, true), (2, true), (9, false)] {
        assert_eq!(store.knows(&OnceId::new(&[id]).unwrap()).await.unwrap(), is_known, "{id}");
    }
}
