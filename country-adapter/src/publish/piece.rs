//! One piece of work, step by step: seal, send, push again, answer, finish, forget.
//!
//! What a step has done is on the disk before the next one begins, so a piece goes on wherever it was, and the
//! gateway sees the same push id with the same octets until it has answered.

use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use pki::disk::DiskError;
use pki::seal::PublicKey;
use proto::course::Leapt;
use proto::ids::Authority;
use proto::verdict::Verdict;
use proto::wire;
use tokio::task::JoinSet;
use tracing::{error, info};

use super::answers::Answers;
use super::ingress::{Ingress, IngressError};
use super::pending::{Pending, PendingPush, Reply};
use super::sealing::{Gate, Sealer};
use crate::backend::{Backend, BackendError};
use crate::blocking::blocking;
use crate::clock::Clock;
use crate::counters::Counters;
use crate::gateway::{CallError, Gateway};
use crate::work::{Answer, Outcome, WorkName};

/// Pushes of one piece that are under way at the same time.
const AT_ONCE: usize = 4;

/// Everything that a piece of work needs on its way out.
pub struct Publisher {
    /// Where pieces come from and answers go.
    pub backend: Arc<dyn Backend>,
    /// Sealed pushes.
    pub pending: Pending,
    /// What they are sealed to.
    pub ingress: Ingress,
    /// Whom they are handed to.
    pub gateway: Gateway,
    /// In whose name.
    pub authority: Authority,
    /// For dates.
    pub clock: Clock,
    /// For people.
    pub counters: Arc<Counters>,
}

/// How far a piece has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Answered and out of the way.
    Finished,
    /// Some destinations' keys have not arrived yet.
    WaitsForKeys,
}

/// Why a piece does not go on for now.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The gateway: no other piece would fare better.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The same.
    #[error(transparent)]
    Ingress(#[from] IngressError),
    /// By a clock that may be wrong no report is called too old.
    #[error(transparent)]
    Leapt(#[from] Leapt),
    /// This piece only.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl From<DiskError> for PublishError {
    fn from(error: DiskError) -> Self {
        Self::Backend(error.into())
    }
}

impl PublishError {
    /// The least pause before the next try.
    #[must_use]
    pub fn pause(&self) -> Duration {
        match self {
            Self::Call(error) | Self::Ingress(IngressError::Call(error)) => error.pause(),
            Self::Ingress(_) | Self::Leapt(_) | Self::Backend(_) => Duration::ZERO,
        }
    }

    /// Whether it is of all pieces, so that it is no use to try another one.
    #[must_use]
    pub fn is_of_all(&self) -> bool {
        match self {
            Self::Call(_) | Self::Ingress(_) | Self::Leapt(_) => true,
            Self::Backend(_) => false,
        }
    }
}

impl Publisher {
    /// Brings a claimed piece as far as it can go.
    pub async fn advance(self: &Arc<Self>, work: &WorkName) -> Result<Progress, PublishError> {
        if !self.pending.holds(work) {
            let (now, key) = (self.clock.steady()?, self.ingress.key().await?);
            self.off(work, move |this, work| this.seal(work, &key, now)).await?;
        }
        self.send_all(work).await?;
        let answers = self.off(work, |this, work| Answers::read(&this.pending, work)).await?;
        if !answers.without_key().is_empty() {
            return Ok(Progress::WaitsForKeys);
        }
        self.off(work, move |this, work| this.close(work, &answers)).await?;
        Ok(Progress::Finished)
    }

    /// Makes new pushes of the envelopes whose destinations had no key. They go out with [`Publisher::advance`].
    pub async fn push_again(self: &Arc<Self>, work: &WorkName) -> Result<(), PublishError> {
        let key = self.ingress.key().await?;
        Ok(self.off(work, move |this, work| this.seal_without_key(work, &key)).await?)
    }

    /// Gives up a piece whose file cannot be read: what is known is answered, the rest is refused.
    pub async fn set_aside(self: &Arc<Self>, work: &WorkName, reason: &str) -> Result<(), BackendError> {
        error!(%work, reason, "set aside: its file cannot be read");
        let reason = reason.to_owned();
        self.off(work, move |this, work| this.close_unread(work, &reason)).await
    }

    /// Counts anew what waits for an answer.
    pub(super) fn count_backlog(&self) -> Result<(), BackendError> {
        let works = self.pending.works()?;
        let envelopes =
            works.iter().map(|work| self.pending.unanswered_envelopes(work)).sum::<Result<_, _>>()?;
        self.counters.has_backlog(envelopes);
        Ok(())
    }

    async fn off<T: Send + 'static>(
        self: &Arc<Self>,
        work: &WorkName,
        step: impl FnOnce(&Self, &WorkName) -> Result<T, BackendError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let (this, work) = (self.clone(), work.clone());
        // A defect that a piece sets off is that piece's alone: the others go on.
        let contained = move || panic::catch_unwind(AssertUnwindSafe(|| step(&this, &work)));
        blocking(contained).await.unwrap_or(Err(BackendError::Defect))
    }

    /// Reads the piece and keeps its pushes and its local verdicts, all at once.
    fn seal(&self, work: &WorkName, key: &PublicKey, now: u64) -> Result<(), BackendError> {
        // Both sinks write to the draft, but never at the same time.
        let draft = std::cell::RefCell::new(self.pending.begin(work)?);
        let (mut envelopes, mut rejected_here) = (0, 0);
        let mut sink = |push: PendingPush| {
            envelopes += push.lines.len();
            Ok(draft.borrow_mut().push(&push)?)
        };
        let mut sealer = Sealer::new(key, self.authority, &mut sink);
        let mut gate = Gate::new(now);
        self.backend.read(work, &mut |outgoing| {
            let line = outgoing.line;
            match outgoing.report.and_then(|report| gate.check(&report).map(|()| report)) {
                Ok(report) => sealer.add(line, &report),
                Err(rejected) => {
                    rejected_here += 1;
                    draft.borrow_mut().local(&Answer::local(line, rejected));
                    Ok(())
                }
            }
        })?;
        sealer.finish()?;
        let pushes = draft.into_inner().commit()?;
        // Not before: what fails on its way is sealed once more.
        self.counters.sealed(envelopes);
        self.counters.rejected_here(rejected_here);
        info!(%work, pushes, "sealed");
        Ok(())
    }

    fn seal_without_key(&self, work: &WorkName, key: &PublicKey) -> Result<(), BackendError> {
        let answers = Answers::read(&self.pending, work)?;
        self.pending.forget_pushes(work, answers.superseded())?;
        let lines = answers.without_key();
        let mut number = self.pending.pushes(work)?.last().map_or(0, |last| last + 1);
        self.seal_lines(work, key, &lines, &mut |push| {
            self.pending.put_push(work, number, &push)?;
            self.counters.sealed(push.lines.len());
            number += 1;
            Ok(())
        })
    }

    /// Puts a push under a new id and key in the place of one that the gateway can no longer open.
    fn seal_anew(&self, work: &WorkName, number: u32, key: &PublicKey) -> Result<(), BackendError> {
        let lines: BTreeSet<u32> = self.pending.push(work, number)?.lines.into_iter().collect();
        let mut pushes = Vec::new();
        self.seal_lines(work, key, &lines, &mut |push| {
            pushes.push(push);
            Ok(())
        })?;
        // The same lines fill one push as before, unless the working file was changed behind our back.
        if let [push] = pushes.as_slice()
            && push.lines.len() == lines.len()
        {
            return Ok(self.pending.put_push(work, number, push)?);
        }
        let message =
            "the gateway has changed its keys, and the working file has changed since it was claimed".into();
        self.keep_reply(work, number, lines.len(), &Reply::Refused { message })
    }

    fn keep_reply(
        &self,
        work: &WorkName,
        number: u32,
        envelopes: usize,
        reply: &Reply,
    ) -> Result<(), BackendError> {
        self.pending.put_reply(work, number, reply)?;
        // Not before: what is not kept is asked for once more.
        match reply {
            Reply::Answered { verdicts, .. } => {
                let verdicts = verdicts.iter().filter_map(|number| Verdict::from_number(*number));
                verdicts.for_each(|verdict| self.counters.verdict(verdict));
                self.counters.answered(envelopes);
            }
            Reply::Refused { .. } => self.counters.refused(envelopes),
        }
        Ok(())
    }

    fn seal_lines(
        &self,
        work: &WorkName,
        key: &PublicKey,
        lines: &BTreeSet<u32>,
        sink: &mut super::sealing::Sink<'_>,
    ) -> Result<(), BackendError> {
        let mut sealer = Sealer::new(key, self.authority, sink);
        self.backend.read(work, &mut |outgoing| match outgoing.report {
            Ok(report) if lines.contains(&outgoing.line) => sealer.add(outgoing.line, &report),
            _ => Ok(()),
        })?;
        sealer.finish()
    }

    async fn send_all(self: &Arc<Self>, work: &WorkName) -> Result<(), PublishError> {
        let mut numbers = self.off(work, |this, work| Ok(this.pending.unanswered(work)?)).await?.into_iter();
        let (mut calls, mut failure) = (JoinSet::new(), None::<PublishError>);
        loop {
            // A push that cannot be sealed anew does not hold up the others.
            while failure.as_ref().is_none_or(|failure| !failure.is_of_all())
                && calls.len() < AT_ONCE
                && let Some(number) = numbers.next()
            {
                let (this, work) = (self.clone(), work.clone());
                calls.spawn(async move { this.send(&work, number).await });
            }
            // All calls are awaited even after a failure: two senders of one push would write the same reply file.
            match calls.join_next().await {
                None => return failure.map_or(Ok(()), Err),
                Some(Ok(Err(error))) if failure.is_none() || error.is_of_all() => failure = Some(error),
                Some(Ok(_)) => {}
                Some(Err(error)) => panic::resume_unwind(error.into_panic()),
            }
        }
    }

    /// Sends a push and keeps the answer.
    async fn send(self: Arc<Self>, work: &WorkName, number: u32) -> Result<(), PublishError> {
        let push = self.off(work, move |this, work| this.pending.push(work, number)).await?;
        let envelopes = push.lines.len();
        let reply = match self.gateway.push(push.request).await {
            Ok(reply) => read_reply(reply, envelopes)?,
            Err(CallError::UnknownIngressKey) => {
                self.ingress.forget();
                let key = self.ingress.key().await?;
                self.off(work, move |this, work| this.seal_anew(work, number, &key)).await?;
                return Err(CallError::UnknownIngressKey.into());
            }
            Err(refused @ CallError::Refused { .. }) => {
                error!(%work, push = number, error = %refused, "push refused");
                Reply::Refused { message: refused.to_string() }
            }
            Err(again) => return Err(again.into()),
        };
        Ok(self.off(work, move |this, work| this.keep_reply(work, number, envelopes, &reply)).await?)
    }

    fn close_unread(&self, work: &WorkName, reason: &str) -> Result<(), BackendError> {
        if self.pending.holds(work) {
            for number in self.pending.unanswered(work)? {
                let envelopes = self.pending.push(work, number)?.lines.len();
                let message = format!("the gateway must be sent it anew, and {reason}");
                self.keep_reply(work, number, envelopes, &Reply::Refused { message })?;
            }
            let answers = Answers::read(&self.pending, work)?;
            self.backend.answer(work, &mut answers.all())?;
        }
        self.backend.finish(work, Outcome::SetAside)?;
        self.pending.forget(work)?;
        self.counters.finished();
        Ok(())
    }

    /// Answers the backend, puts the piece out of its way, and only then forgets the pushes.
    fn close(&self, work: &WorkName, answers: &Answers) -> Result<(), BackendError> {
        self.backend.answer(work, &mut answers.all())?;
        self.backend.finish(work, answers.outcome())?;
        self.pending.forget(work)?;
        self.counters.finished();
        match answers.outcome() {
            Outcome::Answered => info!(%work, reports = answers.all().count(), "published"),
            Outcome::SetAside => error!(%work, "set aside: the gateway refuses some of its pushes"),
        }
        Ok(())
    }
}

fn read_reply(reply: wire::PushReply, envelopes: usize) -> Result<Reply, CallError> {
    let is_known = |number: &u8| Verdict::from_number(*number).is_some();
    if reply.verdicts.len() != envelopes || !reply.verdicts.iter().all(is_known) {
        return Err(CallError::Again {
            code: tonic::Code::Internal,
            reason: String::new(),
            message: "the answer does not have one known verdict for each envelope".into(),
            pause: Duration::ZERO,
        });
    }
    let problems = reply.problems.into_iter().map(|problem| (problem.index, problem.message));
    Ok(Reply::Answered { verdicts: reply.verdicts.to_vec(), problems: problems.collect() })
}
