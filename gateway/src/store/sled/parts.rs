//! What readers share with the store's thread, and how they read.
//!
//! A reader takes no lock that a commit holds while it waits for the disk, but for cursors and answers. It may race
//! with a purge: then it sees an entry or its absence, never an error.

use std::sync::{Arc, Mutex};

use super::{
    health::Health,
    index::Index,
    layout::Layout,
    leases::Leases,
    record::{HEADER, Record},
    row::{EntryRow, OnceRow},
    segment::Segments,
};
use crate::store::{Answered, Entry, OnceId, StoreError, StoreSize, Stream, tails::Tails};

/// All of an open store but its writer.
#[derive(Debug)]
pub(super) struct Parts {
    // Dropped in this order: the lock goes last.
    pub(super) index: Index,
    pub(super) segments: Segments,
    pub(super) tails: Tails,
    pub(super) leases: Leases,
    pub(super) size: Mutex<StoreSize>,
    pub(super) health: Arc<Health>,
    pub(super) layout: Layout,
}

impl Parts {
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

    /// The entries that follow number `after` without a gap.
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
            octets += (row.place.length as usize).saturating_sub(HEADER);
            let follows = page.last().is_none_or(|entry| entry.sequence + 1 == sequence);
            if !page.is_empty() && (octets > max_bytes || !follows) {
                break;
            }
            match self.entry(stream, sequence, row)? {
                Some(entry) => page.push(entry),
                None if page.is_empty() => octets = 0,
                None => break,
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

    /// The answer of a row that cannot change meanwhile.
    pub(super) fn answered(&self, row: OnceRow) -> Result<Answered, StoreError> {
        let record = self.segments.read(row.place)?.ok_or_else(|| self.segments.corrupt(row.place))?;
        Ok(Answered { digest: row.digest, answer: record.body })
    }

    fn entry(&self, stream: Stream, sequence: u64, row: EntryRow) -> Result<Option<Entry>, StoreError> {
        let EntryRow { place, at, link } = row;
        match self.segments.read(place)? {
            Some(Record { head, body, .. }) => Ok(Some(Entry { sequence, at, link, head, body })),
            None if self.index.entry(stream, sequence)?.is_none() => Ok(None),
            None => Err(self.segments.corrupt(place)),
        }
    }
}
