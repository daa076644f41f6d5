//! What readers share with the store's thread, and how they read.
//!
//! A reader takes no lock that a commit holds while it waits for the disk, but for answers. It may race
//! with a purge: then it sees an entry or its absence, never an error.

use std::sync::{Arc, Mutex};

use super::{
    cursors::Cursors,
    health::Health,
    index::Index,
    layout::Layout,
    leases::Leases,
    recent::Recent,
    record::{HEADER, Kind, LABEL, Label, Record},
    row::{EntryRow, OnceRow},
    segment::Segments,
};
use crate::store::{
    Answered, Cursor, CursorName, Entry, OnceId, StoreError, StoreSize, Stream, Tail,
    damage::Damage,
    tails::Tails,
    upkeep::{Damaged, KeptAnswer},
};

/// All of an open store but its writer.
#[derive(Debug)]
pub(super) struct Parts {
    // Dropped in this order: the lock goes last.
    pub(super) index: Index,
    pub(super) segments: Segments,
    pub(super) tails: Tails,
    pub(super) cursors: Cursors,
    pub(super) recent: Recent,
    pub(super) leases: Leases,
    pub(super) size: Mutex<StoreSize>,
    pub(super) damage: Damage,
    pub(super) health: Arc<Health>,
    pub(super) layout: Layout,
}

impl Parts {
    /// Shows what a commit has put on disk. Cursors come last: whoever sees one finds the streams that it moved with.
    pub(super) fn publish(
        &self,
        tails: impl IntoIterator<Item = (Stream, Tail)>,
        cursors: impl IntoIterator<Item = (CursorName, Cursor)>,
    ) {
        self.tails.publish(tails);
        self.cursors.publish(cursors);
    }

    /// The entry of this number.
    pub(super) fn find(&self, stream: Stream, sequence: u64) -> Result<Option<Entry>, StoreError> {
        if sequence > self.tails.now(stream).last {
            return Ok(None);
        }
        match self.index.entry(stream, sequence)? {
            Some(row) => self.entry(stream, sequence, row),
            None => Ok(None),
        }
    }

    /// The entries that follow number `after` without a gap, up to the first that is damaged.
    pub(super) fn after(
        &self,
        stream: Stream,
        after: u64,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        // What is behind the tail may not be on disk yet.
        let last = self.tails.now(stream).last;
        let (mut page, mut octets) = (Vec::<Entry>::new(), 0);
        for row in self.index.entries(stream, after.saturating_add(1), last) {
            let (sequence, row) = row?;
            octets += (row.place.length as usize).saturating_sub(HEADER + LABEL);
            let follows = page.last().is_none_or(|entry| entry.sequence + 1 == sequence);
            if !page.is_empty() && (octets > max_bytes || !follows) {
                break;
            }
            match self.entry(stream, sequence, row) {
                Ok(Some(entry)) => page.push(entry),
                Ok(None) if page.is_empty() => octets = 0,
                Err(error) if page.is_empty() => return Err(error),
                Ok(None) | Err(_) => break,
            }
        }
        Ok(page)
    }

    /// Number and time of the first entry that is kept.
    pub(super) fn oldest(&self, stream: Stream) -> Result<Option<(u64, u64)>, StoreError> {
        let last = self.tails.now(stream).last;
        let first = self.index.entries(stream, 1, last).next().transpose()?;
        Ok(first.map(|(sequence, row)| (sequence, row.at)))
    }

    /// The last of the first entries that are all from before a time.
    pub(super) fn older(&self, stream: Stream, before: u64) -> Result<u64, StoreError> {
        let mut older = 0;
        for row in self.index.entries(stream, 1, self.tails.now(stream).last) {
            let (sequence, row) = row?;
            if row.at >= before {
                break;
            }
            older = sequence;
        }
        Ok(older)
    }

    /// The answer under `id`.
    pub(super) fn once(&self, id: &OnceId) -> Result<Option<Answered>, StoreError> {
        let mut row = self.index.settled_once(id)?;
        while let Some(known) = row {
            if let Some(record) = self.segments.read(known.place)? {
                return Ok(Some(Answered { digest: known.digest, answer: record.body }));
            }
            // The answer went to another segment, or was forgotten, between the two reads.
            row = self.index.settled_once(id)?;
            if row == Some(known) {
                return Err(self.segments.corrupt(known.place));
            }
        }
        Ok(None)
    }

    /// All that is kept under `id`, unless it was forgotten.
    pub(super) fn kept_answer(&self, id: OnceId) -> Result<Option<KeptAnswer>, StoreError> {
        // The answer may go to another segment meanwhile, but its time and digest stay.
        let Some(answered) = self.once(&id)? else { return Ok(None) };
        let row = self.index.settled_once(&id)?;
        Ok(row.map(|row| KeptAnswer { id, at: row.at, digest: answered.digest, answer: answered.answer }))
    }

    /// The answer of a row that cannot change meanwhile.
    pub(super) fn answered(&self, row: OnceRow) -> Result<Answered, StoreError> {
        let record = self.segments.read(row.place)?.ok_or_else(|| self.segments.corrupt(row.place))?;
        Ok(Answered { digest: row.digest, answer: record.body })
    }

    fn entry(&self, stream: Stream, sequence: u64, row: EntryRow) -> Result<Option<Entry>, StoreError> {
        let EntryRow { place, at, link } = row;
        match self.segments.read(place) {
            Ok(Some(Record { label, head, body, .. })) if belongs(label, stream, sequence, row) => {
                Ok(Some(Entry { sequence, at, link, head, body }))
            }
            Ok(Some(_)) | Err(StoreError::Corrupt { .. }) => self.damaged(stream, sequence, row),
            // Purged between the two reads, or mended.
            Ok(None) => match self.index.entry(stream, sequence)? {
                None => Ok(None),
                Some(now) if now != row => self.entry(stream, sequence, now),
                Some(_) => self.damaged(stream, sequence, row),
            },
            Err(error) => Err(error),
        }
    }

    fn damaged(&self, stream: Stream, sequence: u64, row: EntryRow) -> Result<Option<Entry>, StoreError> {
        match self.index.entry(stream, sequence)? {
            None => return Ok(None),
            Some(now) if now != row => return self.entry(stream, sequence, now),
            Some(_) => {}
        }
        let damaged = self.describe(stream, sequence, row);
        self.damage.note(&damaged);
        let Damaged { stream, sequence, what, .. } = damaged;
        Err(StoreError::Damaged { stream, sequence, what })
    }

    /// What is known of an entry whose record is not as it was written.
    fn describe(&self, stream: Stream, sequence: u64, row: EntryRow) -> Damaged {
        let EntryRow { place, at, link } = row;
        let head = self.segments.remains(place).filter(|record| record.kind() == Kind::Entry);
        let head = head.map(|record| record.head);
        Damaged { stream, sequence, at, link, head, what: self.segments.at(place) }
    }
}

/// Whether a record is the one that a row is about; those of the first format do not say.
fn belongs(label: Label, stream: Stream, sequence: u64, row: EntryRow) -> bool {
    let expected = Label::Entry { stream, sequence, at: row.at, link: row.link };
    label == expected || label == Label::Bare(Kind::Entry)
}
