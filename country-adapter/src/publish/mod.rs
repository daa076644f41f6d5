//! Backend -> report -> seal -> push: a loop that takes one piece of work after the other.
//!
//! Pieces that wait for a destination's key stand aside meanwhile, and take turns with new work. A gateway that is down
//! is asked again until it answers. A piece whose file cannot be read is tried again while others go on, and set aside after some
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
#[cfg(test)]
mod waiting_tests;

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
    /// Whether new work comes before a piece that has waited.
    is_new_works_turn: bool,
    /// Whether a claim has failed, which may have moved its file all the same.
    is_claim_uncertain: bool,
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
            this.count_backlog()?;
            let sealed = this.pending.works()?;
            Ok::<_, BackendError>(this.backend.claimed()?.into_iter().chain(sealed).collect::<BTreeSet<_>>())
        });
        let pieces = left.await?.into_iter().map(Piece::new).collect();
        Ok(Self { publisher, pieces, is_new_works_turn: false, is_claim_uncertain: false })
    }

    /// Goes on with a piece that is due, or claims the next one.
    pub async fn step(&mut self) -> Result<Step, PublishError> {
        if let Some(at) = self.pieces.iter().position(|piece| piece.rounds == 0) {
            return self.go_on(at).await;
        }
        // However many pieces wait for a country that has no keys, the others' work goes out between them.
        self.is_new_works_turn = !self.is_new_works_turn;
        if self.is_new_works_turn && self.claim().await? {
            return Ok(Step::Busy);
        }
        let now = Instant::now();
        let waited_longest = (0..self.pieces.len()).min_by_key(|at| self.pieces[*at].due);
        match waited_longest.filter(|at| self.pieces[*at].due <= now) {
            Some(at) => self.go_on(at).await,
            None if !self.is_new_works_turn && self.claim().await? => Ok(Step::Busy),
            None => Ok(Step::Idle(waited_longest.map(|at| self.pieces[at].due))),
        }
    }

    /// Claims the next piece of work; whether there was one.
    async fn claim(&mut self) -> Result<bool, PublishError> {
        if std::mem::replace(&mut self.is_claim_uncertain, true) {
            let this = self.publisher.clone();
            let claimed = blocking(move || this.backend.claimed()).await?;
            let lost = claimed.into_iter().filter(|work| self.pieces.iter().all(|piece| piece.work != *work));
            let lost: Vec<_> = lost.map(Piece::new).collect();
            self.pieces.extend(lost);
        }
        let this = self.publisher.clone();
        let claimed = blocking(move || this.backend.outgoing()).await?;
        self.is_claim_uncertain = false;
        self.pieces.extend(claimed.map(Piece::new));
        Ok(self.pieces.last().is_some_and(|piece| piece.rounds == 0))
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
            Err(error) if error.is_of_all() => return Err(error),
            Err(error) if piece.is_lost(&error) => {
                self.publisher.set_aside(&piece.work, &outage::chain(&error)).await?;
                drop(self.pieces.remove(at));
            }
            Err(error) => {
                error!(work = %piece.work, error = %outage::chain(&error), "stands aside for now");
                piece.wait();
                // What has failed may have been done all the same.
                let this = self.publisher.clone();
                blocking(move || this.count_backlog()).await?;
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
        if std::mem::replace(&mut self.next, Next::Advance) == Next::PushAgain {
            // Whatever becomes of it: what it has kept must go out before anything is sealed once more.
            publisher.push_again(&self.work).await?;
        }
        publisher.advance(&self.work).await
    }

    /// Counts a failure; whether the piece's file will never be read, or always sets off a defect.
    fn is_lost(&mut self, error: &PublishError) -> bool {
        let unreadable =
            matches!(error, PublishError::Backend(BackendError::Unreadable { .. } | BackendError::Defect));
        self.unreadable = if unreadable { self.unreadable + 1 } else { 0 };
        self.unreadable >= UNREADABLE
    }

    fn wait(&mut self) {
        let doubled = Duration::from_secs(1).saturating_mul(2_u32.saturating_pow(self.rounds.min(16)));
        self.due = Instant::now() + doubled.min(LONGEST_WAIT_FOR_KEYS);
        self.rounds = self.rounds.saturating_add(1);
    }
}
