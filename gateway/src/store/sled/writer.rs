//! Puts records and rows on disk, in the one order in which a power cut at any point leaves a whole store:
//! segment, sync, index, sync, unlink.

use std::{
    mem,
    sync::{Arc, PoisonError},
};

use bytes::Bytes;
use sled::Batch;
use tracing::warn;

use super::{
    SledOptions,
    ledger::Ledger,
    parts::Parts,
    record::{Kind, Record},
    recovery,
    segment::{Active, Place, is_full},
};
use crate::store::StoreError;

/// The one writer of a store; owned by its thread.
#[derive(Debug)]
pub(super) struct Writer {
    parts: Arc<Parts>,
    options: SledOptions,
    active: Active,
    ledger: Ledger,
}

/// Records to write, and where each will lie.
#[derive(Debug)]
pub(super) struct Draft {
    segment: u32,
    end: u64,
    records: Vec<Record>,
    places: Vec<Place>,
}

impl Draft {
    /// Adds a record behind the others.
    pub(super) fn push(&mut self, record: Record) -> Place {
        let place = Place { segment: self.segment, offset: self.end, length: record.length() };
        self.end += u64::from(place.length);
        self.places.push(place);
        self.records.push(record);
        place
    }

    /// Whether there is nothing to write: only the record that begins a group.
    pub(super) fn is_empty(&self) -> bool {
        self.records.len() <= 1
    }
}

impl Writer {
    /// Cuts the segments to what the index knows of them, and goes on with the last.
    pub(super) fn open(parts: Arc<Parts>, options: SledOptions) -> Result<Self, StoreError> {
        let ledger = Ledger::new(parts.index.segments()?);
        recovery::trim(&parts, &ledger)?;
        let active = match ledger.newest() {
            Some((segment, row)) => Active::resume(&parts.segments, segment, row.end)?,
            None => Active::create(&parts.segments, 1)?,
        };
        let writer = Self { parts, options, active, ledger };
        writer.publish_size();
        Ok(writer)
    }

    /// An error if the disk is too full to take more.
    pub(super) fn check_space(&self) -> Result<(), StoreError> {
        let (free, floor) = (self.parts.layout.free()?, self.options.free_floor_bytes);
        if free < floor { Err(StoreError::Full { free, floor }) } else { Ok(()) }
    }

    /// An empty draft; goes on to a new segment if the last one is full.
    pub(super) fn draft(&mut self) -> Result<Draft, StoreError> {
        if self.active.end >= self.options.segment_bytes {
            let next = Active::create(&self.parts.segments, self.active.number + 1);
            let next = next.map_err(|error| self.named(error))?;
            let full = mem::replace(&mut self.active, next);
            self.ledger.reconsider(full.number);
        }
        let (segment, end) = (self.active.number, self.active.end);
        let mut draft = Draft { segment, end, records: Vec::new(), places: Vec::new() };
        draft.push(Record::new(Kind::Group, Bytes::new(), Bytes::new())?);
        Ok(draft)
    }

    /// Keeps all records and rows on disk, or nothing; the answers at `moved` are no longer needed then.
    pub(super) fn keep(&mut self, draft: Draft, rows: Batch, moved: &[Place]) -> Result<(), StoreError> {
        if draft.is_empty() {
            return self.settle(rows);
        }
        self.active.append(&draft.records).map_err(|error| self.named(error))?;
        for (record, place) in draft.records.iter().zip(&draft.places) {
            self.ledger.add(record.kind, *place);
        }
        moved.iter().for_each(|place| self.ledger.release(Kind::Answer, *place));
        self.settle(rows)
    }

    /// Keeps rows that need no records, and unlinks the segments that are dead by them.
    pub(super) fn settle(&mut self, mut rows: Batch) -> Result<(), StoreError> {
        let dead = self.ledger.settle(self.active.number, &mut rows);
        self.parts.index.apply(rows)?;
        self.publish_size();
        for segment in dead {
            // The index has forgotten it already: if it stays now, the next start removes it.
            if let Err(error) = self.parts.segments.unlink(segment) {
                warn!(%error, segment, "cannot remove a segment that nobody needs");
            }
        }
        Ok(())
    }

    /// Says what becomes of records that are no longer needed, at the next [`Self::settle`] or [`Self::keep`].
    pub(super) fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// The first segment behind `behind` that is worth emptying; see [`Ledger::sparse`].
    pub(super) fn sparse(&self, behind: u32) -> Option<u32> {
        self.ledger.sparse(behind, self.active.number)
    }

    fn named(&self, error: StoreError) -> StoreError {
        if !is_full(&error) {
            return error;
        }
        let free = self.parts.layout.free().unwrap_or_default();
        StoreError::Full { free, floor: self.options.free_floor_bytes }
    }

    fn publish_size(&self) {
        *self.parts.size.lock().unwrap_or_else(PoisonError::into_inner) = self.ledger.size();
    }
}
