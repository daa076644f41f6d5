//! The thread that commits for all who wait.
//!
//! It takes every change that is waiting into one group, so that a thousand small commits cost as few syncs as
//! one. Between groups it removes what is no longer needed, a step at a time.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error, warn};

use super::{
    group::{Group, Staged},
    parts::Parts,
    restore::{self, Mend},
    sweep::{self, Carry, Step, Sweep, What},
    writer::Writer,
};
use crate::store::{Change, Committed, Room, StoreError, upkeep::Piece};

/// A group takes no more changes when it has this many octets; each entry counts for [`ENTRY_COST`] at least.
const GROUP_OCTETS: usize = 32 << 20;
const ENTRY_COST: usize = 4096;

/// Who waits for a job.
pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the thread is asked to do.
pub(super) enum Job {
    /// To keep a change.
    Commit(Change, Reply<Committed>),
    /// To remove something.
    Sweep(Sweep),
    /// To write an entry again whose octets are damaged.
    Mend(Mend, Reply<()>),
    /// To take over what another store had.
    Restore(Vec<Piece>, Reply<()>),
    /// To finish what was asked for before, and stop.
    Close(Reply<()>),
}

/// The state of the thread.
pub(super) struct Committer {
    parts: Arc<Parts>,
    writer: Writer,
    jobs: mpsc::Receiver<Job>,
    sweeps: VecDeque<Sweep>,
    carry: Option<Carry>,
}

/// Whether there may be more to do.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    More,
    Stop,
}

impl Committer {
    /// A committer with nothing to do yet.
    pub(super) fn new(parts: Arc<Parts>, writer: Writer, jobs: mpsc::Receiver<Job>) -> Self {
        Self { parts, writer, jobs, sweeps: VecDeque::new(), carry: None }
    }

    /// Works until the store is closed, dropped or broken.
    pub(super) fn run(mut self) {
        let health = Arc::clone(&self.parts.health);
        let stopped = catch_unwind(AssertUnwindSafe(|| while self.turn() == Next::More {}));
        if stopped.is_err() {
            error!("the store's thread panicked");
            health.fail();
        }
        // If it was only dropped. What is not settled would come back from the segments, at the cost of a slower start.
        let _ = self.parts.index.settle();
        self.writer.trim();
        // From here on callers learn from the health why they get no answer.
        health.close();
        health.rest();
    }

    /// One group and one step of what there is to remove.
    fn turn(&mut self) -> Next {
        let (mut group, mut octets, mut next) = (Vec::new(), 0, Next::More);
        let mut closing = None;
        while octets < GROUP_OCTETS {
            match self.job(group.is_empty()) {
                Ok(Job::Commit(change, reply)) => {
                    octets += cost(&change);
                    group.push((change, reply));
                }
                Ok(Job::Sweep(sweep)) => self.sweeps.push_back(sweep),
                Ok(Job::Mend(mend, reply)) => drop(reply.send(self.mend(mend))),
                Ok(Job::Restore(pieces, reply)) => drop(reply.send(self.restore(pieces))),
                Ok(Job::Close(reply)) => {
                    closing = Some(reply);
                    break;
                }
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    next = Next::Stop;
                    break;
                }
            }
        }
        self.commit(group);
        self.clean();
        if let Some(reply) = closing {
            self.finish(reply);
            next = Next::Stop;
        }
        if self.parts.health.check().is_err() { Next::Stop } else { next }
    }

    /// The next job; waits for it if there is nothing else to do.
    fn job(&mut self, idle: bool) -> Result<Job, mpsc::error::TryRecvError> {
        let job = if idle && self.sweeps.is_empty() && self.carry.is_none() {
            self.parts.health.rest();
            self.jobs.blocking_recv().ok_or(mpsc::error::TryRecvError::Disconnected)
        } else {
            self.jobs.try_recv()
        };
        self.parts.health.work();
        job
    }

    /// Keeps a group, and answers each who waits. Whoever no longer waits loses only the answer.
    fn commit(&mut self, group: Vec<(Change, Reply<Committed>)>) {
        if group.is_empty() {
            return;
        }
        let (changes, replies): (Vec<Change>, Vec<_>) = group.into_iter().unzip();
        match self.keep(changes) {
            Ok(staged) => {
                for (reply, staged) in replies.into_iter().zip(staged) {
                    let _ = reply.send(staged.and_then(|staged| self.committed(staged)));
                }
            }
            Err(error) => {
                debug!(%error, changes = replies.len(), "nothing of a group was kept");
                replies.into_iter().for_each(|reply| drop(reply.send(Err(error.clone()))));
            }
        }
    }

    fn keep(&mut self, changes: Vec<Change>) -> Result<Vec<Result<Staged, StoreError>>, StoreError> {
        self.parts.health.check()?;
        // Moving a cursor takes next to nothing, and is what lets a full store be purged.
        let full = changes.iter().any(needs_space).then(|| self.writer.check_space().err()).flatten();
        // No lease changes hands between the look at a fence and the disk.
        let held = self.parts.leases.hold();
        let mut group = Group::new(&self.parts, &held, self.writer.draft()?);
        let staged = changes.into_iter().map(|change| match &full {
            Some(full) if needs_space(&change) => Err(full.clone()),
            // A number that panics is a defect of one stage, and spoils no other change: nothing of it is staged yet.
            _ => catch_unwind(AssertUnwindSafe(|| group.stage(change))).unwrap_or(Err(StoreError::Defect)),
        });
        let staged = staged.collect();
        if let Some(plan) = group.plan() {
            self.writer.keep(plan.draft, plan.effects)?;
            self.parts.recent.add(plan.entries);
            self.parts.publish(plan.tails, plan.cursors);
        }
        Ok(staged)
    }

    fn mend(&mut self, mend: Mend) -> Result<(), StoreError> {
        self.writer.check_space()?;
        mend.keep(&self.parts, &mut self.writer)
    }

    fn restore(&mut self, pieces: Vec<Piece>) -> Result<(), StoreError> {
        self.writer.check_space()?;
        restore::restore(&self.parts, &mut self.writer, pieces)
    }

    fn committed(&self, staged: Staged) -> Result<Committed, StoreError> {
        match staged {
            Staged::Done { sequences } => Ok(Committed::Done { sequences }),
            // Read here, where no segment is unlinked meanwhile.
            Staged::Before(row) => self.parts.answered(row).map(Committed::Before),
        }
    }

    /// One step of the sweep that waits longest or, when none waits, of what is left to carry.
    fn clean(&mut self) {
        let Some(mut sweep) = self.sweeps.pop_front() else {
            if let Some(carry) = self.carry.take() {
                self.carry = carry.step(&self.parts, &mut self.writer).unwrap_or_else(|error| {
                    warn!(%error, "cannot free a segment of which little is needed");
                    None
                });
            }
            return;
        };
        match sweep::step(&self.parts, &mut self.writer, sweep.what) {
            Ok(Step { removed, more }) => {
                sweep.removed += removed as u64;
                if let What::Entries { stream, through } = sweep.what {
                    self.parts.damage.forget(stream, 1, through);
                }
                if more {
                    self.sweeps.push_back(sweep);
                } else {
                    let _ = sweep.reply.send(Ok(sweep.removed));
                    self.carry = self.carry.take().or_else(|| Carry::next(&self.writer, 0));
                }
            }
            Err(error) => drop(sweep.reply.send(Err(error))),
        }
    }

    /// Finishes every sweep that was asked for, and lets nobody in any more.
    fn finish(&mut self, reply: Reply<()>) {
        self.jobs.close();
        while !self.sweeps.is_empty() {
            self.clean();
        }
        let settled = self.parts.index.settle();
        self.parts.health.close();
        let _ = reply.send(settled);
    }
}

fn needs_space(change: &Change) -> bool {
    change.room == Room::Common && (!change.once.is_empty() || !change.appends.is_empty())
}

fn cost(change: &Change) -> usize {
    let entries: usize = change.appends.iter().map(|append| ENTRY_COST.max(append.body.len())).sum();
    let answers: usize = change.once.iter().map(|once| once.answer.len()).sum();
    ENTRY_COST + entries + answers
}
