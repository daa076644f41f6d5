//! What the database refuses: tried again if that may help, as long as there is patience, and named as what it is.

use std::time::Instant;

use bytes::Bytes;
use tonic::Code;

use super::*;
use crate::store::{Once, Room};

const LEASE: LeaseName = LeaseName::new([7; 8]);

/// Lets the next writes to a table of leases or of streams fail: so many, each with a state.
fn failing(database: &TestDatabase, table: &str, state: &str, times: u32) {
    let statements = format!(
        "CREATE SEQUENCE IF NOT EXISTS exchange.tries; GRANT ALL ON SEQUENCE exchange.tries TO exchange; \
         ALTER SEQUENCE exchange.tries RESTART; \
         CREATE OR REPLACE FUNCTION exchange.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF nextval('exchange.tries') <= {times} THEN RAISE EXCEPTION 'not now' USING ERRCODE = '{state}'; END IF; \
         RETURN NEW; END $$; \
         CREATE OR REPLACE TRIGGER fail BEFORE INSERT OR UPDATE ON exchange.{table} \
         FOR EACH ROW EXECUTE FUNCTION exchange.fail()"
    );
    cluster::shared().unwrap().sql(&database.name, &statements).unwrap();
}

fn tries(database: &TestDatabase) -> u64 {
    let statement = "SELECT last_value FROM exchange.tries";
    cluster::shared().unwrap().sql(&database.name, statement).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_transactions_are_in_the_way_of_is_tried_again_and_kept_once() {
    let database = database();
    let store = open(&database).await;
    // Serialization failure, deadlock, lock timeout, cancelled, unique violation, and a server that goes away.
    for (turn, state) in (1..).zip(["40001", "40P01", "55P03", "57014", "23505", "57P01"]) {
        failing(&database, "entry", state, 3);
        let kept = store.commit(contract::appends(1, vec![contract::append(STREAM, state)])).await;
        assert_eq!(kept.unwrap(), Committed::Done { sequences: vec![turn] }, "{state}");
        assert_eq!(tries(&database), 4, "{state}");
        failing(&database, "lease", state, 3);
        let given = store.lease(LEASE, Holder::random(), Duration::ZERO).await.unwrap();
        assert!(given.is_some(), "{state}");
    }
    assert_eq!(contract::all(&*store, STREAM, 0, 10_000).await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_have_an_end_and_the_error_says_what_was_in_the_way() {
    let database = database();
    let store = open(&database).await;
    failing(&database, "entry", "40001", u32::MAX);
    let (begin, change) = (Instant::now(), contract::appends(1, vec![contract::append(STREAM, "a")]));
    let failed = store.commit(change.clone()).await.unwrap_err();
    let took = begin.elapsed().as_secs();
    assert!(
        (6..15).contains(&took) && (10..200).contains(&tries(&database)),
        "{took} s, {} tries",
        tries(&database)
    );
    let text = failed.to_string();
    assert!(matches!(failed, StoreError::Busy { .. }) && text.contains("not now (SQLSTATE 40001)"), "{text}");
    assert!(text.contains("deploy/runbooks/postgres.md") && !text.contains("postgres.ca"), "{text}");
    assert_eq!(tonic::Status::from(failed).code(), Code::Unavailable);
    failing(&database, "entry", "40001", 0);
    assert_eq!(store.commit(change).await.unwrap(), Committed::Done { sequences: vec![1] });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_is_said_at_once_and_is_no_other_error() {
    let database = database();
    let store = open(&database).await;
    failing(&database, "entry", "53100", u32::MAX);
    let change = contract::appends(1, vec![contract::append(STREAM, "a")]);
    let failed = store.commit(change.clone()).await.unwrap_err();
    assert_eq!(tries(&database), 1);
    let text = failed.to_string();
    assert!(matches!(failed, StoreError::NoSpace { .. }) && text.contains("SQLSTATE 53100"), "{text}");
    assert_eq!(tonic::Status::from(failed).code(), Code::ResourceExhausted);
    failing(&database, "entry", "53100", 0);
    assert_eq!(store.commit(change).await.unwrap(), Committed::Done { sequences: vec![1] });
}

/// A row of a cursor still finds room in a page that is there.
#[tokio::test(flavor = "multi_thread")]
async fn once_an_entry_has_found_no_space_whoever_asks_for_space_is_told_so_until_there_is_some() {
    let database = database();
    let store = open(&database).await;
    let asks = || {
        let once = Once { id: OnceId::new(b"probe").unwrap(), digest: [0; 32], answer: Bytes::new() };
        store.commit(Change { once: vec![once], ..Change::default() })
    };
    asks().await.unwrap();
    failing(&database, "entry", "53100", u32::MAX);
    asks().await.unwrap();
    let entry = contract::appends(1, vec![contract::append(STREAM, "a")]);
    store.commit(entry.clone()).await.unwrap_err();
    let told = asks().await;
    assert!(matches!(told, Err(StoreError::NoSpace { .. })), "{told:?}");
    let frees = Change { room: Room::Reserve, ..Change::default() };
    store.commit(frees).await.expect("what frees space needs none");
    failing(&database, "entry", "53100", 0);
    asks().await.unwrap();
    assert_eq!(store.commit(entry).await.unwrap(), Committed::Done { sequences: vec![1] });
    let names = contract::all(&*store, Stream::new(*b"no space"), 0, 10_000).await;
    assert!(names.is_empty(), "what was tried is not kept");
}
