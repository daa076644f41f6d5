//! Backend -> report -> seal -> push: a loop that takes one piece of work after the other.
//!
//! Pieces that wait for a destination's key stand aside meanwhile. A gateway that is down is asked again
//! until it answers. A piece whose file cannot be read is tried again while others go on, and set aside after some
//! tries.

mod answers;
mod ingress;
mod pending;
mod piece;
mod sealing;
mod sources;
mod spool;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::error;

pub use ingress::{Ingress, IngressError};
pub use pending::{Pending, PendingPush};
pub use piece::{Progress, PublishError, Publisher};
pub use sealing::{Sealer, Sink};
pub use sources::Sources;
pub use spool::{Leaving, Spool};

use crate::backend::BackendError;
use crate::blocking::blocking;
use crate::outage::{self, Outage};
use crate::work::WorkName;

/// The longest wait before envelopes without a key are pushed again.
const LONGEST_WAIT_FOR_KEYS: Duration = Duration::from_secs(300);
/// How often in a row a piece's file may be unreadable, with growing pauses: two minutes in all.
const UNREADABLE: u32 = 8;

/// The pieces of work under way.
pub struct Queue {
    publisher: Arc<Publisher>,
    pieces: Vec<Piece>,
}

struct Piece {
    work: WorkName,
    due: Instant,
    /// How often it has waited for keys, or failed, in a row.
    rounds: u32,
    /// How often its file could not be read, in a row.
    unreadable: u32,
    next: Next,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Advance,
    PushAgain,
}

/// What one step found to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Something was done; there may be more.
    Busy,
    /// Nothing is due before this.
    Idle(Option<Instant>),
}

/// Publishes until the stop, looking for work at an interval and whenever it is woken. What is in flight at the stop is
/// sent again after the next start.
pub async fn run(publisher: Arc<Publisher>, (poll, wake): (Duration, Arc<Notify>), stop: CancellationToken) {
    let mut outage = Outage::new("publish");
    let mut queue = None;
    while !stop.is_cancelled() {
        let stepped = stop.run_until_cancelled(step(&mut queue, &publisher)).await;
        match stepped {
            None => return,
            Some(Ok(Step::Busy)) => outage.over(),
            Some(Ok(Step::Idle(due))) => {
                let poll_at = Instant::now() + poll;
                let until = due.map_or(poll_at, |due| due.min(poll_at));
                tokio::select! {
                    () = tokio::time::sleep_until(until) => {}
                    () = wake.notified() => {}
                    () = stop.cancelled() => {}
                }
            }
            Some(Err(error)) => {
                outage.failed(&error);
                outage.pause(error.pause(), &stop).await;
            }
        }
    }
}

async fn step(queue: &mut Option<Queue>, publisher: &Arc<Publisher>) -> Result<Step, PublishError> {
    match queue {
        Some(queue) => queue.step().await,
        None => {
            *queue = Some(Queue::resume(publisher.clone()).await?);
            Ok(Step::Busy)
        }
    }
}

impl Queue {
    /// Takes up what an earlier run has left.
    pub async fn resume(publisher: Arc<Publisher>) -> Result<Self, BackendError> {
        let this = publisher.clone();
        let left = blocking(move || {
            let sealed = this.pending.works()?;
            for work in &sealed {
                this.counters.sealed(this.pending.unanswered_envelopes(work)?);
            }
            Ok::<_, BackendError>(this.backend.claimed()?.into_iter().chain(sealed).collect::<BTreeSet<_>>())
        });
        let pieces = left.await?.into_iter().map(Piece::new).collect();
        Ok(Self { publisher, pieces })
    }

    /// Goes on with the first piece that is due, or claims the next one.
    pub async fn step(&mut self) -> Result<Step, PublishError> {
        let now = Instant::now();
        if let Some(at) = self.pieces.iter().position(|piece| piece.due <= now) {
            return self.go_on(at).await;
        }
        let this = self.publisher.clone();
        let claimed = blocking(move || this.backend.outgoing()).await?;
        match claimed {
            Some(work) => self.pieces.push(Piece::new(work)),
            None => return Ok(Step::Idle(self.pieces.iter().map(|piece| piece.due).min())),
        }
        Ok(Step::Busy)
    }

    async fn go_on(&mut self, at: usize) -> Result<Step, PublishError> {
        let piece = &mut self.pieces[at];
        match piece.go_on(&self.publisher).await {
            Ok(Progress::Finished) => drop(self.pieces.remove(at)),
            Ok(Progress::WaitsForKeys) => {
                piece.unreadable = 0;
                piece.wait();
                piece.next = Next::PushAgain;
            }
            Err(error) if error.is_the_gateways() => return Err(error),
            Err(error) if piece.is_lost(&error) => {
                self.publisher.set_aside(&piece.work, &outage::chain(&error)).await?;
                drop(self.pieces.remove(at));
            }
            Err(error) => {
                error!(work = %piece.work, error = %outage::chain(&error), "stands aside for now");
                piece.wait();
            }
        }
        Ok(Step::Busy)
    }
}

impl Piece {
    fn new(work: WorkName) -> Self {
        Self { work, due: Instant::now(), rounds: 0, unreadable: 0, next: Next::Advance }
    }

    async fn go_on(&mut self, publisher: &Arc<Publisher>) -> Result<Progress, PublishError> {
        if self.next == Next::PushAgain {
            publisher.push_again(&self.work).await?;
            self.next = Next::Advance;
        }
        publisher.advance(&self.work).await
    }

    /// Counts a failure; whether the piece's file will never be read.
    fn is_lost(&mut self, error: &PublishError) -> bool {
        let unreadable = matches!(error, PublishError::Backend(BackendError::Unreadable { .. }));
        self.unreadable = if unreadable { self.unreadable + 1 } else { 0 };
        self.unreadable >= UNREADABLE
    }

    fn wait(&mut self) {
        let doubled = Duration::from_secs(1).saturating_mul(2_u32.saturating_pow(self.rounds.min(16)));
        self.due = Instant::now() + doubled.min(LONGEST_WAIT_FOR_KEYS);
        self.rounds = self.rounds.saturating_add(1);
    }
}
