//! The good callers: a backend that pushes at a steady pace below its quota, and the peer that fetches what it pushes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proto::ids::Authority;
use proto::verdict::Verdict;
use proto::wire;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, interval};

use super::summary::Side;
use crate::direct::{self, Line};
use crate::federation::Federation;
use crate::phones;
use crate::reports::{Contact, today};

/// From one push to the next.
const PACE: Duration = Duration::from_millis(15);
/// Reports in each push. They are for one authority, so each push becomes one batch.
const REPORTS: usize = 20;
/// How long a batch may take.
const ARRIVED: Duration = Duration::from_secs(30);

/// One authority that pushes to the flooded gateway, and one abroad whose gateway pulls from it.
pub(super) struct Good {
    from: Line,
    to: Line,
    contacts: Vec<Contact>,
    /// The last position that has been taken.
    place: AtomicU64,
}

impl Good {
    pub(super) async fn open(federation: &Federation, from: Authority, to: Authority) -> Result<Self> {
        let tokens = phones::met_on(today(), REPORTS)?;
        let contacts = tokens.iter().map(|token| Contact::simple(to, token, today())).collect();
        let to = Line::open(federation, to).await?;
        let place = AtomicU64::new(end(&to).await?);
        Ok(Self { from: Line::open(federation, from).await?, to, contacts, place })
    }

    /// What is measured of each.
    pub(super) fn names(&self) -> [String; 2] {
        [
            format!("backend {}: push answered", self.from.authority()),
            format!("peer of {}: batch there", self.to.authority()),
        ]
    }

    /// Pushes for so long, and waits until all of it has arrived. The times of a push count from when it was due, so
    /// that what a stall does to those behind it is not hidden; nor is what it waits for its quota behind a stall.
    pub(super) async fn run(&self, length: Duration) -> Result<[Side; 2]> {
        let (pushed, arrivals) = unbounded_channel();
        let (one, two) = tokio::try_join!(self.push(length, pushed), self.arrive(arrivals))?;
        Ok([one, two])
    }

    async fn push(&self, length: Duration, pushed: UnboundedSender<Instant>) -> Result<Side> {
        let (begin, mut due) = (Instant::now(), interval(PACE));
        let mut side = Side::default();
        loop {
            let since = due.tick().await;
            if begin.elapsed() >= length {
                side.seconds = begin.elapsed().as_secs_f64();
                return Ok(side);
            }
            let reply =
                self.from.push(self.from.seal(&self.contacts)?).await.context("a good push is taken")?;
            let verdicts = direct::verdicts(&reply)?;
            ensure!(verdicts.iter().all(|verdict| *verdict == Verdict::Accepted), "{verdicts:?}");
            side.took(self.contacts.len(), since.elapsed());
            pushed.send(since)?;
        }
    }

    /// Takes the time of every batch that follows the last one that was taken, in the order of the pushes.
    async fn arrive(&self, mut pushed: UnboundedReceiver<Instant>) -> Result<Side> {
        let (begin, mut side) = (Instant::now(), Side::default());
        while let Some(since) = pushed.recv().await {
            let mut waiting = Some(since);
            while let Some(since) = waiting.take() {
                let place = self.place.load(Ordering::Relaxed);
                let next =
                    tokio::time::timeout(ARRIVED, self.next(place)).await.context("a batch is lost")??;
                ensure!(next.position == place + 1, "{} comes after {place}", next.position);
                self.place.store(next.position, Ordering::Relaxed);
                side.took(self.contacts.len(), since.elapsed());
                waiting = pushed.try_recv().ok();
            }
        }
        side.seconds = begin.elapsed().as_secs_f64();
        Ok(side)
    }

    async fn next(&self, place: u64) -> Result<wire::Delivered> {
        loop {
            // One octet: the next batch alone.
            if let Some(next) = self.to.wait(place, 1).await?.into_iter().next() {
                return Ok(next);
            }
        }
    }
}

/// The last position that is there.
async fn end(line: &Line) -> Result<u64> {
    let mut place = 0;
    while let Some(last) = line.pull(place).await?.last() {
        place = last.position;
    }
    Ok(place)
}
