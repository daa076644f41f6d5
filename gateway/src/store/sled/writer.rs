//! Puts records and rows where they belong, in the one order in which a power cut at any point leaves a whole store:
//! segment, sync, index; and before a segment is unlinked, and where no segment says what the index does, sync.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, PoisonError},
};

use bytes::Bytes;
use tracing::warn;

use super::{
    SledOptions,
    layout::failed,
    ledger::Ledger,
    parts::Parts,
    record::{Kind, Label, Record},
    recovery,
    rows::Rows,
    segment::{Active, Place, is_full},
    settler::Settler,
    state::State,
};
use crate::store::StoreError;

/// The one writer of a store; owned by its thread.
#[derive(Debug)]
pub(super) struct Writer {
    parts: Arc<Parts>,
    options: SledOptions,
    active: Active,
    ledger: Ledger,
    settler: Settler,
    /// What the index knows and no segment says, because the disk was full.
    unwritten: State,
}

/// Records to write, and where each will lie.
#[derive(Debug)]
pub(super) struct Draft {
    segment: u32,
    start: u64,
    end: u64,
    records: Vec<Record>,
    places: Vec<Place>,
}

/// What a group does besides its records.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// To the index.
    pub(super) rows: Rows,
    /// What of it no entry and no answer says.
    pub(super) moves: State,
    /// Records that are no longer needed.
    pub(super) released: Vec<(Kind, Place)>,
}

/// Where a power cut leaves what a group did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    /// In a segment, and a start takes it from there.
    Segment,
    /// Nowhere but in the index.
    IndexAlone,
}

impl Draft {
    /// Begins a group behind what is in a segment.
    pub(super) fn begin(segment: u32, start: u64) -> Result<Self, StoreError> {
        let mut draft = Self { segment, start, end: start, records: Vec::new(), places: Vec::new() };
        // Its length is known at the end.
        draft.push(beginning(segment, start, 0)?);
        Ok(draft)
    }

    /// Adds a record behind the others.
    pub(super) fn push(&mut self, record: Record) -> Place {
        let place = Place { segment: self.segment, offset: self.end, length: record.length() };
        self.end += u64::from(place.length);
        self.places.push(place);
        self.records.push(record);
        place
    }

    /// Adds what there was before the group.
    pub(super) fn push_state(&mut self, state: &State) -> Result<(), StoreError> {
        self.push(Record::new(Label::State, Bytes::new(), state.octets())?);
        Ok(())
    }

    /// Ends the group: without its last record it counts for nothing.
    pub(super) fn end(&mut self, moves: &State) -> Result<(), StoreError> {
        self.push(Record::new(Label::Committed, Bytes::new(), moves.octets())?);
        self.records[0] = beginning(self.segment, self.start, self.end - self.start)?;
        Ok(())
    }

    /// The records, in order, and where each lies.
    pub(super) fn records(&self) -> impl Iterator<Item = (&Record, Place)> {
        self.records.iter().zip(self.places.iter().copied())
    }

    /// Its records.
    pub(super) fn into_records(self) -> Vec<Record> {
        self.records
    }

    /// Whether it has no entry and no answer.
    pub(super) fn is_empty(&self) -> bool {
        !self.records.iter().any(|record| matches!(record.kind(), Kind::Entry | Kind::Answer))
    }
}

fn check_free(free: u64, floor: u64) -> Result<(), StoreError> {
    if free < floor { Err(StoreError::Full { free, floor }) } else { Ok(()) }
}

fn beginning(segment: u32, offset: u64, octets: u64) -> Result<Record, StoreError> {
    Record::new(Label::Group { segment, offset, octets }, Bytes::new(), Bytes::new())
}

impl Writer {
    /// Takes what the last group left in the segments, and goes on with the last one.
    pub(super) fn open(parts: Arc<Parts>, options: SledOptions) -> Result<Self, StoreError> {
        let ledger = Ledger::new(parts.index.segments()?);
        let ledger = recovery::recover(&parts, ledger)?;
        parts.cursors.publish(parts.index.cursors()?);
        let active = match ledger.newest() {
            Some((segment, row)) => Active::resume(&parts.segments, segment, row.end)?,
            None => Active::create(&parts.segments, 1)?,
        };
        let settler = Settler::start(Arc::clone(&parts));
        let settler = settler.map_err(failed("start the thread of", &parts.layout.index()))?;
        let writer = Self { parts, options, active, ledger, settler, unwritten: State::default() };
        writer.publish_size();
        Ok(writer)
    }

    /// An error if the disk is too full to take more.
    pub(super) fn check_space(&self) -> Result<(), StoreError> {
        check_free(self.parts.layout.free()?, self.options.free_floor_bytes)
    }

    /// An empty draft; goes on to a new segment if the last one is full.
    pub(super) fn draft(&mut self) -> Result<Draft, StoreError> {
        if self.active.end() >= self.options.segment_bytes {
            let next = Active::create(&self.parts.segments, self.active.number + 1);
            let next = next.map_err(|error| self.named(error))?;
            let full = mem::replace(&mut self.active, next);
            full.trim();
            self.ledger.reconsider(full.number);
        }
        self.draft_here()
    }

    /// An empty draft behind what is there.
    fn draft_here(&self) -> Result<Draft, StoreError> {
        let mut draft = Draft::begin(self.active.number, self.active.end())?;
        if self.active.end() == 0 {
            draft.push_state(&self.state()?)?;
        }
        Ok(draft)
    }

    /// Keeps all records and effects on disk, or nothing.
    pub(super) fn keep(&mut self, mut draft: Draft, mut effects: Effects) -> Result<(), StoreError> {
        let mut moves = self.unwritten.clone();
        moves.extend(mem::take(&mut effects.moves));
        if draft.is_empty() && moves.is_empty() {
            return self.index(effects, Says::IndexAlone);
        }
        let only_moves = draft.is_empty();
        draft.end(&moves)?;
        match self.active.append(&draft.records) {
            Ok(()) => self.unwritten = State::default(),
            // What lets a full disk be purged must not need space: the index has it, and the next group says it.
            Err(error) if only_moves && is_full(&error) => {
                self.unwritten = moves;
                return self.index(effects, Says::IndexAlone);
            }
            Err(error) => return Err(self.named(error)),
        }
        for (record, place) in draft.records() {
            self.ledger.add(record.kind(), place);
        }
        self.index(effects, Says::Segment)
    }

    /// Keeps effects that need no records.
    pub(super) fn keep_effects(&mut self, effects: Effects) -> Result<(), StoreError> {
        let draft = self.draft_here()?;
        self.keep(draft, effects)
    }

    /// Keeps rows, and unlinks the segments that are dead by them.
    fn index(&mut self, effects: Effects, says: Says) -> Result<(), StoreError> {
        let Effects { mut rows, released, moves: _ } = effects;
        released.iter().for_each(|(kind, place)| self.ledger.release(*kind, *place));
        let dead = self.ledger.settle(self.active.number, &mut rows);
        if says == Says::IndexAlone || !dead.is_empty() {
            self.parts.index.apply(rows)?;
        } else if !self.settler.note(self.parts.index.note(rows)) {
            self.parts.index.settle()?;
        }
        self.publish_size();
        for segment in dead {
            // The index has forgotten it already: if it stays now, the next start removes it.
            if let Err(error) = self.parts.segments.unlink(segment) {
                warn!(%error, segment, "cannot remove a segment that nobody needs");
            }
        }
        Ok(())
    }

    /// What the index knows of a segment.
    pub(super) fn end_of(&self, segment: u32) -> u64 {
        self.ledger.row(segment).map_or(0, |row| row.end)
    }

    /// The first segment behind `behind` that is worth emptying; see [`Ledger::sparse`].
    pub(super) fn sparse(&self, behind: u32) -> Option<u32> {
        self.ledger.sparse(behind, self.active.number)
    }

    /// Everything but entries and answers: a segment begins with it, so that older ones can go.
    fn state(&self) -> Result<State, StoreError> {
        let tails: BTreeMap<_, _> = self.parts.tails.all_known();
        let mut purged = BTreeMap::new();
        for (stream, tail) in &tails {
            let first = self.parts.index.entries(*stream, 1, tail.last).next().transpose()?;
            purged.insert(*stream, first.map_or(tail.last, |(sequence, _)| sequence - 1));
        }
        let lost = self.parts.index.lost()?.into_iter();
        let lost = lost.filter(|((stream, _), last)| purged.get(stream).is_none_or(|purged| last > purged));
        let lost = lost.collect();
        Ok(State { cursors: self.parts.cursors.all(), tails, purged, lost })
    }

    /// Leaves the segments as long as what is in them.
    pub(super) fn trim(&self) {
        self.active.trim();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_may_be_as_little_as_the_floor_and_no_octet_less() {
        assert!(check_free(100, 100).is_ok());
        assert!(matches!(check_free(99, 100), Err(StoreError::Full { free: 99, floor: 100 })));
        assert!(check_free(0, 0).is_ok());
    }
}
