//! The authority's own desk: what arrives is assessed, counted and put where it is needed, once.
//!
//! Batches from abroad and contacts of the authority's own cases take the same way. What comes of one piece is kept
//! by one commit: written aside for every outlet, then the claims on its tokens, then the mark that says it is
//! done, then renamed into place. A kill between any two of these steps loses nothing and doubles nothing. A backend
//! with a database of its own is one more [`Outlet`], if it takes a piece by its name at most once.

mod assess;
mod lines;
mod outlet;
mod piece;
mod postings;
mod quota;
mod seen;
mod state;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pki::disk::DiskError;
use proto::day::Day;
use proto::ids::Authority;
use proto::report::Report;

pub use assess::{Contact, Event, KeySource, Refused, Rules, Unopened};
pub use lines::Lines;
pub use outlet::{Folder, Modes, Outlet};
pub use piece::{Piece, PieceName, Source, UploadId};
pub use postings::Postings;

use crate::backend::{Accepted, BackendError, Cursor, Mark};
use crate::counters::Counters;
use crate::durable::Disk;
use crate::phones::case_code::Degree;
use crate::receive::ReadBatch;
use crate::steady::SteadyClock;
use assess::{Moment, OfKey};
pub use quota::Quotas;
use quota::{Allowed, Used};
use seen::{Claims, Seen};
use state::State;

/// Takes what arrives. Calls block; one piece is committed after the other.
pub struct Intake {
    rules: Rules,
    clock: Arc<SteadyClock>,
    counters: Arc<Counters>,
    outlets: Vec<Box<dyn Outlet>>,
    desk: Mutex<Desk>,
}

/// What only one caller at a time may touch.
struct Desk {
    state: State,
    seen: Seen,
    used: Used,
}

/// What an intake is made of, beside its directory.
pub struct Parts {
    /// How reports are assessed.
    pub rules: Rules,
    /// The time by which reports are too old: the one by which what was counted is forgotten.
    pub clock: Arc<SteadyClock>,
    /// For people.
    pub counters: Arc<Counters>,
    /// Where events go.
    pub outlets: Vec<Box<dyn Outlet>>,
    /// What is taken of each other country in a day.
    pub quotas: Quotas,
}

/// What became of the contacts of one case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// They are kept now.
    Now,
    /// They had been kept before.
    Before,
}

impl Intake {
    /// Opens the desk in the adapter's directory, and finishes what a kill has interrupted.
    pub fn open(state: &Path, disk: Disk, parts: Parts) -> Result<Self, BackendError> {
        let Parts { rules, clock, counters, outlets, quotas } = parts;
        let seen = Seen::open(&state.join("seen"), disk.clone())?;
        let state = State::open(state, disk)?;
        let desk = Mutex::new(Desk { state, seen, used: Used::new(quotas) });
        let intake = Self { rules, clock, counters, outlets, desk };
        intake.settle(&intake.desk())?;
        Ok(intake)
    }

    /// How far the delivery stream was taken.
    pub fn cursor(&self) -> Result<Cursor, BackendError> {
        self.desk().state.cursor()
    }

    /// Goes back to position 0, because the gateway's numbers begin anew. What is known of the origins stays.
    pub fn rewind(&self) -> Result<(), BackendError> {
        let desk = self.desk();
        // What was committed at the old positions is told by them.
        self.settle(&desk)?;
        desk.state.rewind()
    }

    /// Takes delivered batches and the mark through which they go, durably and each batch once. `before` is called when
    /// all is assessed and nothing committed: what it fails to keep comes again.
    pub fn accept(
        &self,
        through: Mark,
        batches: &[ReadBatch<'_>],
        before: impl FnOnce(&Accepted) -> Result<(), DiskError>,
    ) -> Result<Accepted, BackendError> {
        let mut desk = self.desk();
        self.settle(&desk)?;
        let mut cursor = desk.state.cursor()?;
        let (mut accepted, mut pieces) = (Accepted::default(), Vec::new());
        let (mut used, moment) = (desk.used.clone(), self.moment()?);
        for ReadBatch { batch, good: reports, .. } in batches {
            let known = cursor.origins.get(&batch.origin()).copied();
            if known.is_some_and(|known| batch.sequence() <= known) {
                accepted.replayed += 1;
                continue;
            }
            cursor.origins.insert(batch.origin(), batch.sequence());
            accepted.batches += 1;
            accepted.reports += reports.len();
            let source = Source::batch(batch);
            let tokens = |within| self.service_tokens(&reports[..within]);
            let allowed = used.take(source.origin(), Day::of_unix(moment.now), reports.len(), tokens);
            let piece = self.assess(&mut desk.seen, (source, moment), reports, allowed);
            let over = piece.refused(Refused::OverQuota);
            if over > 0 {
                accepted.over_quota.insert(batch.position(), over);
            }
            self.stage(&piece)?;
            pieces.push(piece);
        }
        cursor.at = through;
        before(&accepted)?;
        desk.seen.settle()?;
        desk.state.put(&cursor)?;
        // Before this nothing has happened: what comes again is counted once.
        desk.used = used;
        pieces.iter().for_each(|piece| self.counters.assessed(piece));
        pieces.iter().try_for_each(|piece| self.publish(piece.name()))?;
        Ok(accepted)
    }

    /// Takes the contacts of a case whose tokens this authority issued itself, durably and once for each upload.
    pub fn take(
        &self,
        upload: UploadId,
        degree: Degree,
        reports: &[Report<'_>],
    ) -> Result<Taken, BackendError> {
        self.once(upload, Source::Upload { id: upload, origin: self.rules.country, degree }, reports)
    }

    /// Takes a batch that a person has looked at, once more: what was taken of it before comes to nothing, and for the
    /// rest no quota holds.
    pub fn again(&self, read: &ReadBatch<'_>) -> Result<Taken, BackendError> {
        let (id, source) = Source::again(read.batch);
        self.once(id, source, &read.good)
    }

    /// The day by which what is old is forgotten.
    pub fn day(&self) -> Result<Day, DiskError> {
        Ok(self.moment()?.forgotten_by)
    }

    fn once(&self, id: UploadId, source: Source, reports: &[Report<'_>]) -> Result<Taken, BackendError> {
        let mut desk = self.desk();
        self.settle(&desk)?;
        if desk.state.has(id)? {
            return Ok(Taken::Before);
        }
        let moment = self.moment()?;
        let piece = self.assess(&mut desk.seen, (source, moment), reports, Allowed::ALL);
        self.stage(&piece)?;
        desk.seen.settle()?;
        desk.state.mark(id, Day::of_unix(moment.now))?;
        self.counters.assessed(&piece);
        self.publish(piece.name())?;
        Ok(Taken::Now)
    }

    /// Whether an upload was taken: all of it is where it belongs then.
    pub fn has(&self, upload: UploadId) -> Result<bool, BackendError> {
        let desk = self.desk();
        self.settle(&desk)?;
        Ok(desk.state.has(upload)?)
    }

    /// Forgets tokens and uploads that nobody can bring again, and finishes what a full disk has interrupted.
    pub fn forget(&self, today: Day) -> Result<(), BackendError> {
        let mut desk = self.desk();
        self.settle(&desk)?;
        desk.seen.forget(today)?;
        Ok(desk.state.forget(today)?)
    }

    /// Whose desk it is.
    #[must_use]
    pub fn authority(&self) -> Authority {
        self.rules.own
    }

    fn assess<'a>(
        &self,
        seen: &mut Seen,
        (source, moment): (Source, Moment),
        reports: &[Report<'a>],
        allowed: Allowed,
    ) -> Piece<'a> {
        let (reports, over) = reports.split_at(allowed.reports.min(reports.len()));
        let opened = self.rules.open_all(reports, allowed.tokens);
        let mut piece = Piece::new(source);
        let mut claims = Claims::new(source);
        for (report, opened) in reports.iter().zip(opened) {
            let claim = claims.next(report);
            let assessed = self.rules.assess(*report, opened, (source, moment)).and_then(|event| {
                let ((token, day), degree) = (event.counts_once(source), source.degree());
                if let Some(OfKey { sent, taken_back, is_revocation }) = event.of_key(source) {
                    if is_revocation && !seen.has((sent, degree)) {
                        seen.claim((taken_back, degree), day, claim);
                        return Err(Refused::NothingToRevoke);
                    }
                    if !is_revocation && seen.has((taken_back, degree)) {
                        return Err(Refused::TakenBack);
                    }
                    seen.claim((sent, degree), day, claim);
                }
                let is_new = seen.claim((token, degree), day, claim);
                if is_new { Ok(event) } else { Err(Refused::AlreadySeen) }
            });
            match assessed {
                Ok(event) => piece.push(event),
                Err(refused) => piece.refuse(refused),
            }
        }
        over.iter().for_each(|_| piece.refuse(Refused::OverQuota));
        piece
    }

    fn moment(&self) -> Result<Moment, DiskError> {
        let forgotten_by = Day::of_unix(self.clock.now()?);
        Ok(Moment { now: self.clock.clock().now(), forgotten_by })
    }

    fn service_tokens(&self, reports: &[Report<'_>]) -> usize {
        reports.iter().filter(|report| self.rules.opens(report)).count()
    }

    /// Writes a piece aside for every outlet.
    fn stage(&self, piece: &Piece<'_>) -> Result<(), DiskError> {
        self.outlets.iter().try_for_each(|outlet| outlet.stage(piece))
    }

    fn publish(&self, name: &PieceName) -> Result<(), DiskError> {
        self.outlets.iter().try_for_each(|outlet| outlet.publish(name))
    }

    /// Finishes what was committed, and drops what was not: it comes again.
    fn settle(&self, desk: &Desk) -> Result<(), BackendError> {
        let cursor = desk.state.cursor()?;
        for outlet in &self.outlets {
            for name in outlet.staged()? {
                let committed = match name.what() {
                    Some(piece::What::Position(position)) => position <= cursor.at.position,
                    Some(piece::What::Upload(id)) => desk.state.has(id)?,
                    None => false,
                };
                if committed { outlet.publish(&name)? } else { outlet.discard(&name)? }
            }
        }
        Ok(())
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        // A panic leaves nothing half done: all that counts is on disk, and is settled first.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
