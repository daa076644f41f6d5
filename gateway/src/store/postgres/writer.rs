//! The task that commits for all who wait, as the store on one machine does: every change that is waiting goes into
//! one transaction, so that a thousand small commits cost as few syncs as one.
//!
//! When the answer to a COMMIT is lost, a row that the same transaction wrote tells what became of it: nothing is
//! ever applied twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use super::{
    database::{Database, Used},
    failure::{Failure, Patience},
    group::{Outcomes, Touched},
    partitions, space,
    transaction::{self, Mark},
};
use crate::store::{Change, Committed, Room, StoreError, Stream, Tail, tails::Tails};

/// A group takes no more changes when it has this many octets; each entry counts for [`ENTRY_COST`] at least.
const GROUP_OCTETS: usize = 16 << 20;
const ENTRY_COST: usize = 4096;
/// How long a group is tried again, and how long it is asked what became of one.
const PATIENCE: Duration = Duration::from_secs(8);

/// Who waits for a job.
pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the task is asked to do.
pub(super) enum Job {
    /// To keep a change.
    Commit(Change, Reply<Committed>),
    /// To finish what was asked for before, and stop.
    Close(Reply<()>),
}

/// The state of the task.
pub(super) struct Writer {
    database: Arc<Database>,
    tails: Arc<Tails>,
    jobs: mpsc::Receiver<Job>,
    mark: Mark,
    /// Days that have a partition, as far as is known.
    days: BTreeSet<i32>,
    /// The day of the last entry, if it found no space.
    starved: Option<i32>,
}

/// What one try came to.
enum Tried {
    Kept(Outcomes),
    /// Whether it is kept is to be found out.
    Unanswered(Failure, BTreeMap<Stream, Tail>, Outcomes),
}

/// What became of a transaction.
enum Fate {
    Kept,
    Gone,
}

impl Writer {
    /// A writer with nothing to do yet; `process` has its row in the database.
    pub(super) fn new(
        database: Arc<Database>,
        tails: Arc<Tails>,
        jobs: mpsc::Receiver<Job>,
        process: [u8; 16],
    ) -> Self {
        let (mark, days) = (Mark { process, group: 0 }, BTreeSet::new());
        Self { database, tails, jobs, mark, days, starved: None }
    }

    /// Works until the store is closed or dropped.
    pub(super) async fn run(mut self) {
        while let Some(job) = self.jobs.recv().await {
            let (changes, replies, closing) = self.waiting(job);
            self.commit(changes, replies).await;
            if let Some(reply) = closing {
                self.jobs.close();
                let _ = reply.send(Ok(()));
                return;
            }
        }
    }

    /// All that waits, as far as it fits into a group.
    fn waiting(&mut self, first: Job) -> (Vec<Change>, Vec<Reply<Committed>>, Option<Reply<()>>) {
        let (mut changes, mut replies, mut octets) = (Vec::new(), Vec::new(), 0);
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Commit(change, reply) => {
                    octets += cost(&change);
                    changes.push(change);
                    replies.push(reply);
                }
                Job::Close(reply) => return (changes, replies, Some(reply)),
            }
            next = if octets < GROUP_OCTETS { self.jobs.try_recv().ok() } else { None };
        }
        (changes, replies, None)
    }

    /// Keeps a group, and answers each who waits. Whoever no longer waits loses only the answer.
    async fn commit(&mut self, changes: Vec<Change>, replies: Vec<Reply<Committed>>) {
        if changes.is_empty() {
            return;
        }
        let changes: Arc<[Change]> = changes.into();
        match self.keep(Arc::clone(&changes)).await {
            Ok(outcomes) => {
                replies.into_iter().zip(outcomes).for_each(|(reply, outcome)| drop(reply.send(outcome)));
            }
            // A row that cannot be read fails only who needs it.
            Err(StoreError::Corrupt { .. }) if changes.len() > 1 => {
                for (change, reply) in changes.iter().zip(replies) {
                    let kept = self.keep(Arc::new([change.clone()])).await;
                    let outcome =
                        kept.and_then(|mut outcomes| outcomes.pop().unwrap_or(Err(StoreError::Broken)));
                    let _ = reply.send(outcome);
                }
            }
            Err(error) => {
                warn!(%error, changes = replies.len(), "a group of changes was not answered as kept");
                replies.into_iter().for_each(|reply| drop(reply.send(Err(error.clone()))));
            }
        }
    }

    async fn keep(&mut self, changes: Arc<[Change]>) -> Result<Outcomes, StoreError> {
        let touched = Touched::by(&changes);
        if changes.iter().all(|change| change.appends.is_empty() && matches!(change.room, Room::Common)) {
            self.find_space().await?;
        }
        let kept = self.keep_touched(&touched, changes).await;
        match (&kept, touched.days.last()) {
            (Err(StoreError::NoSpace { .. }), Some(day)) => self.starved = Some(*day),
            (Ok(_), Some(_)) => self.starved = None,
            _ => {}
        }
        kept
    }

    /// Small changes are told what an entry was told, until one finds space again.
    async fn find_space(&mut self) -> Result<(), StoreError> {
        let Some(day) = self.starved else { return Ok(()) };
        let checked = self.database.within(space::check(&self.database, day)).await;
        if let Err(failure) = checked {
            return Patience::of(Duration::ZERO).again(failure, self.database.name()).await;
        }
        self.starved = None;
        Ok(())
    }

    async fn keep_touched(
        &mut self,
        touched: &Touched,
        changes: Arc<[Change]>,
    ) -> Result<Outcomes, StoreError> {
        let mut patience = Patience::of(PATIENCE);
        loop {
            self.mark.group += 1;
            let failure = match self.attempt(touched, changes.clone()).await {
                Ok(Tried::Kept(outcomes)) => return Ok(outcomes),
                Ok(Tried::Unanswered(failure, tails, outcomes)) => {
                    warn!(?failure, "a commit was not answered; asking what became of it");
                    if let Fate::Kept = self.settle().await? {
                        self.tails.publish(tails);
                        return Ok(outcomes);
                    }
                    failure
                }
                Err(failure) => failure,
            };
            debug!(?failure, "a group of changes is tried again");
            // A partition that we believed in may be gone.
            self.days.clear();
            patience.again(failure, self.database.name()).await?;
        }
    }

    /// One transaction. A failure means that nothing is kept.
    async fn attempt(&mut self, touched: &Touched, changes: Arc<[Change]>) -> Result<Tried, Failure> {
        let database = Arc::clone(&self.database);
        if !touched.days.is_subset(&self.days) {
            database.within(partitions::make(&database, &touched.days)).await?;
            self.days.extend(&touched.days);
        }
        let mut used = Used::new(database.connection().await?);
        let transaction = database.within(async { Ok(used.get().transaction().await?) }).await?;
        let work = transaction::run(&transaction, (touched, changes), self.mark);
        let (plan, outcomes) = database.within(work).await?;
        if plan.is_empty() {
            database.within(async { Ok(transaction.rollback().await?) }).await?;
        } else if let Err(failure) = database.within(async { Ok(transaction.commit().await?) }).await {
            return Ok(Tried::Unanswered(failure, plan.tails, outcomes));
        }
        used.give_back();
        self.tails.publish(plan.tails);
        Ok(Tried::Kept(outcomes))
    }

    /// What became of a commit that was not answered: whether the row that it wrote is there.
    ///
    /// The old connection holds that row until its transaction is over, also if it has just made it: so whoever gets it
    /// knows the end.
    async fn settle(&self) -> Result<Fate, StoreError> {
        let statement = "INSERT INTO writer (process) VALUES ($1) \
             ON CONFLICT (process) DO UPDATE SET seen = clock_timestamp() RETURNING kept";
        let mut patience = Patience::of(PATIENCE);
        loop {
            let failure = match self.database.ask(statement, &[&self.mark.process.as_slice()]).await {
                Ok(rows) => {
                    let kept = rows.first().and_then(|row| row.try_get::<_, i64>(0).ok());
                    let kept = kept.ok_or(StoreError::Unknown)?;
                    return Ok(if kept == self.mark.group { Fate::Kept } else { Fate::Gone });
                }
                Err(StoreError::Unreachable { cause, .. }) => Failure::Away(cause),
                Err(StoreError::Busy { cause }) => Failure::Busy(cause),
                Err(other) => Failure::Lasting(other),
            };
            // Any other error would say that nothing is kept.
            patience.again(failure, self.database.name()).await.map_err(|error| {
                warn!(%error, "what became of a commit cannot be asked");
                StoreError::Unknown
            })?;
        }
    }
}

fn cost(change: &Change) -> usize {
    let entries: usize = change.appends.iter().map(|append| ENTRY_COST.max(append.body.len())).sum();
    let answers: usize = change.once.iter().map(|once| once.answer.len()).sum();
    ENTRY_COST + entries + answers
}
