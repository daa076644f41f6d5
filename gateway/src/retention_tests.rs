//! What is kept for how long, hour by hour, and by which clocks.

use bytes::Bytes;
use proto::batch::Stage;
use proto::ids::CountryCode;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::Clock;
use crate::fixture::{self, Fixture};
use crate::prepare::prepare;
use crate::store::{Once, OnceId, Tail};

const HOURS: i64 = 3_600;

fn france() -> CountryCode {
    CountryCode::new(250).unwrap()
}

async fn append(fixture: &Fixture) {
    let number = Arc::new(|_: Tail| Numbered { head: Bytes::new(), link: [1; 32] });
    let appends = vec![Append { stream: names::outbox(france()), number, body: Bytes::from_static(b"x") }];
    let change = Change { at: fixture.node.clock.now(), appends, ..Change::default() };
    fixture.node.store.commit(change).await.unwrap();
}

async fn acknowledge(fixture: &Fixture, through: u64) {
    let cursor = names::acknowledged(france(), Stage::Delivered);
    let from = fixture.node.store.cursor(cursor).await.unwrap();
    let advances = vec![Advance { cursor, from, to: Cursor { through, link: [1; 32] } }];
    fixture.node.store.commit(Change { advances, ..Change::default() }).await.unwrap();
}

async fn oldest(fixture: &Fixture) -> Option<u64> {
    fixture.node.store.oldest(names::outbox(france())).await.unwrap().map(|(sequence, _)| sequence)
}

/// Looks by a clock that is believed.
async fn look(node: &Arc<Node>) {
    let (retention, instant) = (Retention::new(node.clone(), None, Arc::default()), Instant::now());
    retention.step(instant).await.unwrap();
    retention.step(instant + Duration::from_secs(DAY)).await.unwrap();
}

/// Lets hours pass, as a running gateway sees them.
async fn pass(fixture: &Fixture, hours: i64) {
    for _ in 0..hours {
        fixture.node.clock.turn(HOURS);
        look(&fixture.node).await;
    }
}

#[tokio::test]
async fn what_was_delivered_is_kept_for_24_hours_and_no_more_than_26() {
    let fixture = fixture::node();
    for _ in 0..3 {
        append(&fixture).await;
    }
    look(&fixture.node).await;
    acknowledge(&fixture, 2).await;
    pass(&fixture, 24).await;
    assert_eq!(oldest(&fixture).await, Some(1));
    pass(&fixture, 2).await;
    assert_eq!(oldest(&fixture).await, Some(3), "what was not acknowledged stays");
}

#[tokio::test]
async fn what_nobody_takes_is_kept_for_14_days() {
    let fixture = fixture::node();
    append(&fixture).await;
    pass(&fixture, 24 * 14 - 1).await;
    assert_eq!(oldest(&fixture).await, Some(1));
    pass(&fixture, 2).await;
    assert_eq!(oldest(&fixture).await, None);
}

#[tokio::test]
async fn a_push_is_known_for_as_long_as_its_reports_could_be_taken_again() {
    let fixture = fixture::node();
    let id = OnceId::new(b"push").unwrap();
    let once = Once { id: id.clone(), digest: [1; 32], answer: Bytes::from_static(b"answer") };
    let change = Change { at: fixture.node.clock.now(), once: vec![once], ..Change::default() };
    fixture.node.store.commit(change).await.unwrap();
    pass(&fixture, 24 * 17 - 1).await;
    assert!(fixture.node.store.once(&id).await.unwrap().is_some());
    pass(&fixture, 2).await;
    assert!(fixture.node.store.once(&id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_clock_that_is_set_back_purges_nothing_before_its_time() {
    let fixture = fixture::node();
    append(&fixture).await;
    acknowledge(&fixture, 1).await;
    fixture.node.clock.turn(15 * 24 * HOURS);
    acknowledged_long_ago(&fixture.node, (names::outbox(france()), None), 1, fixture.node.clock.now())
        .await
        .unwrap();
    fixture.node.clock.turn(-15 * 24 * HOURS);
    look(&fixture.node).await;
    assert_eq!(oldest(&fixture).await, Some(1));
}

#[tokio::test]
async fn a_clock_that_has_leapt_purges_nothing_until_it_has_stood_by_it_for_a_day() {
    let (fixture, instant) = (fixture::node(), Instant::now());
    append(&fixture).await;
    look(&fixture.node).await;
    fixture.node.clock.turn(15 * 24 * HOURS);
    // A restart believes it no sooner.
    for _ in 0..2 {
        let retention = Retention::new(fixture.node.clone(), None, Arc::default());
        retention.step(instant).await.unwrap();
        retention.step(instant + Duration::from_secs(DAY - 1)).await.unwrap();
        assert_eq!(oldest(&fixture).await, Some(1));
    }
    look(&fixture.node).await;
    assert_eq!(oldest(&fixture).await, None);
}

#[tokio::test]
async fn a_clock_that_is_set_by_less_than_days_purges_nothing_within_an_hour() {
    let fixture = fixture::node();
    append(&fixture).await;
    pass(&fixture, 24 * 12).await;
    for set in [60 * HOURS, -60 * HOURS, 60 * HOURS] {
        fixture.node.clock.set_ahead(set);
        look(&fixture.node).await;
        assert_eq!(oldest(&fixture).await, Some(1), "{set}");
    }
    pass(&fixture, 2).await;
    assert_eq!(oldest(&fixture).await, None);
}

#[tokio::test]
async fn a_clock_that_is_set_right_is_watched_from_there() {
    let (fixture, instant) = (fixture::node(), Instant::now());
    append(&fixture).await;
    // The first day that it ever saw is a wrong one.
    fixture.node.clock.turn(1_000 * 24 * HOURS);
    let first = Retention::new(fixture.node.clone(), None, Arc::default());
    first.is_believed(fixture.node.clock.now(), instant).await.unwrap();
    fixture.node.clock.turn(-1_000 * 24 * HOURS);
    look(&fixture.node).await;
    fixture.node.clock.turn(15 * 24 * HOURS);
    Retention::new(fixture.node.clone(), None, Arc::default()).step(instant).await.unwrap();
    assert_eq!(oldest(&fixture).await, Some(1));
}

#[tokio::test]
async fn the_patience_with_a_leap_outlives_the_lease() {
    let (fixture, instant, leap) = (fixture::node(), Instant::now(), Arc::<Mutex<Leap>>::default());
    append(&fixture).await;
    look(&fixture.node).await;
    fixture.node.clock.turn(15 * 24 * HOURS);
    for since in [0, DAY] {
        let held = Retention::new(fixture.node.clone(), None, leap.clone());
        held.step(instant + Duration::from_secs(since)).await.unwrap();
    }
    assert_eq!(oldest(&fixture).await, None);
}

#[tokio::test]
async fn a_replica_whose_clock_is_not_the_databases_purges_nothing() {
    let database = cluster::shared().unwrap().database().unwrap();
    let (_folder, config) = fixture::config(Some(&database), |config| config);
    let node = Arc::new(prepare(config, Clock::default(), CancellationToken::new()).await.unwrap().0);
    let number = Arc::new(|_: Tail| Numbered { head: Bytes::new(), link: [1; 32] });
    let stream = names::outbox(france());
    let appends = vec![Append { stream, number, body: Bytes::from_static(b"x") }];
    // Long ago for whoever has the right time.
    let at = node.clock.now() - 15 * DAY;
    node.store.commit(Change { at, appends, ..Change::default() }).await.unwrap();
    for wrong in [-2 * HOURS, 2 * HOURS] {
        node.clock.turn(wrong);
        look(&node).await;
        assert!(node.store.oldest(stream).await.unwrap().is_some());
        node.clock.turn(-wrong);
    }
    look(&node).await;
    assert_eq!(node.store.oldest(stream).await.unwrap(), None);
}

#[tokio::test]
async fn a_pause_of_days_purges_nothing_that_was_acknowledged_just_now() {
    let fixture = fixture::node();
    append(&fixture).await;
    append(&fixture).await;
    acknowledge(&fixture, 1).await;
    look(&fixture.node).await;
    // The process was down for three days; then the second one is acknowledged.
    fixture.node.clock.turn(72 * HOURS);
    acknowledge(&fixture, 2).await;
    look(&fixture.node).await;
    assert_eq!(oldest(&fixture).await, Some(2));
}

#[tokio::test]
async fn of_key_lists_and_receipts_the_last_one_stays_and_does_not_grow_old() {
    let fixture = fixture::node();
    let (node, start) = (&fixture.node, fixture.node.clock.now());
    let stream = names::receipts(france(), Stage::Delivered);
    let cursor = names::acknowledged(france(), Stage::Delivered);
    for through in 1..=3 {
        let number = Arc::new(move |_: Tail| Numbered { head: Bytes::new(), link: [through as u8; 32] });
        let appends = vec![Append { stream, number, body: vec![through as u8].into() }];
        let from = node.store.cursor(cursor).await.unwrap();
        let to = Cursor { through, link: [through as u8; 32] };
        let advances = vec![Advance { cursor, from, to }];
        node.store.commit(Change { at: start, advances, appends, ..Change::default() }).await.unwrap();
    }
    look(node).await;
    assert_eq!(node.store.oldest(stream).await.unwrap(), Some((3, start)));
    node.clock.turn(15 * 24 * HOURS);
    look(node).await;
    let kept = node.store.after(stream, 0, 1_000).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].sequence, &kept[0].body[..], kept[0].link), (4, &[3][..], [3; 32]));
    assert!(kept[0].at > start);
    assert_eq!(node.store.cursor(cursor).await.unwrap().through, 3, "nothing more is acknowledged");
}
