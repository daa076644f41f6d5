//! What is kept for how long: nothing that was not acknowledged goes before its time, and all goes at its time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use proto::day::Day;
use proto::leap::{Belief, Leap};
use proto::report::Report;
use tracing::{error, info, warn};

use crate::backlog::acknowledged;
use crate::names::{self, Newest};
use crate::node::Node;
use crate::store::{Advance, Append, Change, Cursor, Fence, Numbered, Room, StoreError, Stream};

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
/// Push ids are known at least for so long: a report that is dated tomorrow is taken until it is 15 days old. If its
/// push were forgotten earlier, a repetition would be kept a second time.
const PUSH_IDS: u64 = (Report::MAX_AGE as u64 + 2) * DAY;
/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(60);

/// Purges until it is dropped, under the lease for it. What is known of a leap outlives the lease.
pub async fn run(node: Arc<Node>, fence: Fence, leap: Arc<Mutex<Leap>>) {
    let retention = Retention::new(node, Some(fence), leap);
    loop {
        if let Err(cause) = retention.step(Instant::now()).await {
            error!(%cause, "retention failed; it is tried again");
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Looks at all streams, if the clock is believed.
pub struct Retention {
    node: Arc<Node>,
    fence: Option<Fence>,
    leap: Arc<Mutex<Leap>>,
}

impl Retention {
    /// Of a node that holds the lease for it, if somebody else might.
    #[must_use]
    pub fn new(node: Arc<Node>, fence: Option<Fence>, leap: Arc<Mutex<Leap>>) -> Self {
        Self { node, fence, leap }
    }

    /// One look at every stream, at an instant of the machine.
    pub async fn step(&self, instant: Instant) -> Result<(), StoreError> {
        let now = self.node.clock.now();
        // What is purged is gone for every replica, so by a clock that may be wrong nothing is.
        if self.is_apart(now).await? || !self.is_believed(now, instant).await? {
            return Ok(());
        }
        let node = &self.node;
        let oldest = now.saturating_sub(node.config.retention.unacknowledged_days * DAY);
        for stream in node.store.streams().await? {
            // One stream that fails keeps no other from its purge.
            if let Err(cause) = look_at(node, stream, (now, oldest), self.fence).await {
                error!(?stream, %cause, "retention of a stream failed; it is tried again");
            }
        }
        node.store.forget(oldest.min(now.saturating_sub(PUSH_IDS))).await?;
        Ok(())
    }

    /// Whether our clock is not the one that all replicas can see.
    async fn is_apart(&self, now: u64) -> Result<bool, StoreError> {
        let theirs = self.node.store.clock().await?.filter(|theirs| now.abs_diff(*theirs) > HOUR);
        if let Some(theirs) = theirs {
            error!(
                now,
                theirs,
                "nothing is purged: the clocks of this machine and of the database differ by more than an hour; set them"
            );
        }
        Ok(theirs.is_some())
    }

    /// Whether the clock goes on as it did. The day on which it was believed last is kept in the store.
    async fn is_believed(&self, now: u64, instant: Instant) -> Result<bool, StoreError> {
        let (cursor, today) = (names::purged_on(), Day::of_unix(now));
        let from = self.node.store.cursor(cursor).await?;
        let last = u16::try_from(marked(&from)).ok().filter(|day| *day > 0).map(Day::new);
        let belief = self.leap.lock().unwrap_or_else(PoisonError::into_inner).look(last, today, instant);
        let day = match belief {
            Belief::Steady { day } => day,
            Belief::Leapt { last } => {
                error!(%last, %today, "the clock has leapt: nothing is purged until it is set right, or has stood by it for a day");
                return Ok(false);
            }
            Belief::Doubted { .. } => return Ok(false),
            Belief::Settled { last } => {
                info!(%last, %today, "the clock has stood by its leap for a day, and is believed");
                today
            }
        };
        if last != Some(day) {
            let to = Cursor { through: from.through + 1, link: mark(day.number().into()) };
            let (fence, advances) = (self.fence, vec![Advance { cursor, from, to }]);
            let room = Room::Reserve;
            self.node.store.commit(Change { at: now, fence, room, advances, ..Change::default() }).await?;
        }
        Ok(true)
    }
}

async fn look_at(
    node: &Node,
    stream: Stream,
    (now, oldest): (u64, u64),
    fence: Option<Fence>,
) -> Result<(), StoreError> {
    if let Some(newest) = names::newest_only(stream) {
        return keep_newest(node, stream, newest, fence).await;
    }
    let Some(acknowledged) = acknowledged(node, stream).await? else { return Ok(()) };
    let done = acknowledged_long_ago(node, (stream, fence), acknowledged.through, now).await?;
    let expired = node.store.older(stream, oldest).await?;
    if expired > acknowledged.through {
        warn!(stream = ?stream, through = expired, "batches are given up: nobody took them in time");
    }
    let purged = node.store.purge(stream, done.max(expired)).await?;
    node.metrics.purged(purged);
    if purged > 0 {
        info!(batches = purged, "batches purged after their time");
    }
    Ok(())
}

/// Of a key list or a receipt only the last one counts. One that has been kept for a day is appended again: else it
/// would hold on disk what lies beside it, a segment or a whole day.
async fn keep_newest(
    node: &Node,
    stream: Stream,
    newest: Newest,
    fence: Option<Fence>,
) -> Result<(), StoreError> {
    let (now, last) = (node.clock.now(), node.store.latest(stream).await?.last);
    let found = match node.store.find(stream, last).await {
        // It stays until a newer one takes its place.
        Err(StoreError::Damaged { .. }) => return node.store.purge(stream, last - 1).await.map(drop),
        found => found?,
    };
    let Some(entry) = found else { return Ok(()) };
    if now.abs_diff(entry.at) >= DAY {
        let (Newest::KeyList(cursor) | Newest::Receipt(cursor)) = newest;
        let from = node.store.cursor(cursor).await?;
        let to = match newest {
            Newest::KeyList(_) => Cursor { through: last + 1, ..from },
            Newest::Receipt(_) => from,
        };
        // Another one came between our reads: it is younger than a day.
        if from.link != entry.link {
            return Ok(());
        }
        let numbered = Numbered { head: entry.head, link: entry.link };
        let append = Append { stream, number: Arc::new(move |_| numbered.clone()), body: entry.body };
        let advances = vec![Advance { cursor, from, to }];
        let (appends, room) = (vec![append], Room::Reserve);
        node.store.commit(Change { at: now, fence, room, advances, appends, ..Change::default() }).await?;
        return node.store.purge(stream, last).await.map(drop);
    }
    node.store.purge(stream, last.saturating_sub(1)).await.map(drop)
}

/// What was acknowledged at least as many hours ago as it is to be kept.
///
/// A ring of marks, one an hour: each says how far the acknowledgement had come when its hour began. The slot that
/// is about to be written again holds an older mark than any that is still needed.
async fn acknowledged_long_ago(
    node: &Node,
    (stream, fence): (Stream, Option<Fence>),
    through: u64,
    now: u64,
) -> Result<u64, StoreError> {
    let kept = u64::from(node.config.retention.acknowledged_hours);
    // A mark may be made late in its hour, so an hour more than is kept has to pass.
    let slots = kept + 2;
    let hour = now / HOUR;
    let slot = |hour: u64| names::acknowledged_at(stream, u8::try_from(hour % slots).unwrap_or_default());
    let current = node.store.cursor(slot(hour)).await?;
    // The link of a mark carries its hour, so that a mark from a former round is told apart.
    if marked(&current) != hour {
        let to = Cursor { through: through.max(current.through), link: mark(hour) };
        let advances = vec![Advance { cursor: slot(hour), from: current, to }];
        node.store
            .commit(Change { at: now, fence, room: Room::Reserve, advances, ..Change::default() })
            .await?;
    }
    let mut done = 0;
    for age in 1..slots {
        let old = node.store.cursor(slot(hour - age.min(hour))).await?;
        // A clock that was set back makes marks of the future: they are not due.
        let age = hour.checked_sub(marked(&old)).filter(|_| marked(&old) != 0);
        done = if age.is_some_and(|age| age > kept) { done.max(old.through) } else { done };
    }
    Ok(done)
}

/// A link that carries an hour or a day.
fn mark(number: u64) -> [u8; 32] {
    let mut link = [0; 32];
    link[..8].copy_from_slice(&number.to_be_bytes());
    link
}

fn marked(cursor: &Cursor) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = cursor.link;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
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
        let appends =
            vec![Append { stream: names::outbox(france()), number, body: Bytes::from_static(b"x") }];
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
}
