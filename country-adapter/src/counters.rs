//! What has come and gone since the start, for the summary in the log and for progress.

use std::sync::atomic::{AtomicU64, Ordering};

use proto::verdict::Verdict;
use tracing::info;

use crate::backend::Accepted;
use crate::intake;

/// Counts of one run. Relaxed: they are for people.
#[derive(Debug, Default)]
pub struct Counters {
    verdicts: [AtomicU64; Verdict::ALL.len()],
    rejected_here: AtomicU64,
    refused: AtomicU64,
    pushes: AtomicU64,
    works: AtomicU64,
    batches: AtomicU64,
    reports: AtomicU64,
    replayed: AtomicU64,
    quarantined: AtomicU64,
    dropped: AtomicU64,
    bad_reports: AtomicU64,
    gaps: AtomicU64,
    backlog: AtomicU64,
    events: AtomicU64,
    tokens_refused: [AtomicU64; intake::Refused::ALL.len()],
}

/// Counts at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Envelopes that the gateway accepted.
    pub accepted: u64,
    /// Envelopes that it answered in any other way than `accepted` or `no_key_yet`.
    pub not_accepted: u64,
    /// Envelopes that must be pushed again once a key has arrived.
    pub no_key_yet: u64,
    /// Lines that were not sent.
    pub rejected_here: u64,
    /// Envelopes whose push was refused whole.
    pub refused: u64,
    /// Pushes that were answered.
    pub pushes: u64,
    /// Pieces of work that were finished.
    pub works: u64,
    /// Delivered batches that are kept.
    pub batches: u64,
    /// Reports in them.
    pub reports: u64,
    /// Batches that had been delivered before.
    pub replayed: u64,
    /// Batches that were set aside.
    pub quarantined: u64,
    /// Batches that were to be set aside, and for which their country had no room left.
    pub dropped: u64,
    /// Reports in opened batches that do not decode or are not for this authority.
    pub bad_reports: u64,
    /// Positions that the gateway left out.
    pub gaps: u64,
    /// Envelopes that are sealed and not answered yet.
    pub backlog: u64,
    /// Reports that passed the desk.
    pub events: u64,
    /// Reports that did not, in the order of [`intake::Refused::ALL`].
    pub tokens_refused: [u64; intake::Refused::ALL.len()],
}

impl Counters {
    pub(crate) fn verdict(&self, verdict: Verdict) {
        add(&self.verdicts[usize::from(verdict.number()) - 1], 1);
    }

    pub(crate) fn answered(&self, envelopes: usize) {
        add(&self.pushes, 1);
        self.backlog.fetch_sub(count(envelopes).min(load(&self.backlog)), Ordering::Relaxed);
    }

    pub(crate) fn refused(&self, envelopes: usize) {
        add(&self.refused, count(envelopes));
        self.answered(envelopes);
    }

    pub(crate) fn rejected_here(&self, reports: u64) {
        add(&self.rejected_here, reports);
    }

    pub(crate) fn finished(&self) {
        add(&self.works, 1);
    }

    pub(crate) fn has_backlog(&self, envelopes: usize) {
        self.backlog.store(count(envelopes), Ordering::Relaxed);
    }

    pub(crate) fn sealed(&self, envelopes: usize) {
        add(&self.backlog, count(envelopes));
    }

    pub(crate) fn accepted(&self, accepted: &Accepted) {
        add(&self.batches, count(accepted.batches));
        add(&self.reports, count(accepted.reports));
        add(&self.replayed, count(accepted.replayed));
    }

    pub(crate) fn quarantined(&self) {
        add(&self.quarantined, 1);
    }

    pub(crate) fn dropped(&self) {
        add(&self.dropped, 1);
    }

    pub(crate) fn bad_reports(&self, reports: usize) {
        add(&self.bad_reports, count(reports));
    }

    pub(crate) fn assessed(&self, piece: &intake::Piece<'_>) {
        add(&self.events, count(piece.events().len()));
        for (refused, number) in piece.refusals() {
            add(&self.tokens_refused[refused.place()], count(number));
        }
    }

    pub(crate) fn gap(&self, positions: u64) {
        add(&self.gaps, positions);
    }

    /// The counts now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let verdict = |verdict: Verdict| load(&self.verdicts[usize::from(verdict.number()) - 1]);
        let (accepted, no_key_yet) = (verdict(Verdict::Accepted), verdict(Verdict::NoKeyYet));
        let all: u64 = Verdict::ALL.into_iter().map(verdict).sum();
        Snapshot {
            accepted,
            not_accepted: all - accepted - no_key_yet,
            no_key_yet,
            rejected_here: load(&self.rejected_here),
            refused: load(&self.refused),
            pushes: load(&self.pushes),
            works: load(&self.works),
            batches: load(&self.batches),
            reports: load(&self.reports),
            replayed: load(&self.replayed),
            quarantined: load(&self.quarantined),
            dropped: load(&self.dropped),
            bad_reports: load(&self.bad_reports),
            gaps: load(&self.gaps),
            backlog: load(&self.backlog),
            events: load(&self.events),
            tokens_refused: self.tokens_refused.each_ref().map(load),
        }
    }
}

impl Snapshot {
    /// One line in the log.
    pub fn log(&self) {
        info!(
            accepted = self.accepted,
            not_accepted = self.not_accepted,
            no_key_yet = self.no_key_yet,
            rejected_here = self.rejected_here,
            refused = self.refused,
            pushes = self.pushes,
            works = self.works,
            batches = self.batches,
            reports = self.reports,
            replayed = self.replayed,
            quarantined = self.quarantined,
            dropped = self.dropped,
            bad_reports = self.bad_reports,
            gaps = self.gaps,
            backlog = self.backlog,
            events = self.events,
            tokens_refused = self.tokens_refused.iter().sum::<u64>(),
            "since the start"
        );
    }
}

fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
