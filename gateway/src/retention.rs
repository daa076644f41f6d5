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
        if self.node.clock.steady().is_err()
            || self.is_apart(now).await?
            || !self.is_believed(now, instant).await?
        {
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
#[path = "retention_tests.rs"]
mod tests;
