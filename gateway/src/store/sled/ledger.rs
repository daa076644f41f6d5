//! Counts what is still needed of each segment, so that a segment is unlinked when nothing is.
//!
//! Its rows change in the same batch as the records they count: a start reads them, and scans nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    record::Kind,
    row::{Row, SegmentRow, segment_key},
    rows::Rows,
    segment::Place,
};
use crate::store::StoreSize;

/// One row a segment: a few hundred for some tens of gigabytes.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    rows: BTreeMap<u32, SegmentRow>,
    changed: BTreeSet<u32>,
}

impl Ledger {
    /// What the index knows.
    pub(super) fn new(rows: impl IntoIterator<Item = (u32, SegmentRow)>) -> Self {
        Self { rows: rows.into_iter().collect(), changed: BTreeSet::new() }
    }

    /// Counts a record that is needed from now on.
    pub(super) fn add(&mut self, kind: Kind, place: Place) {
        let row = self.rows.entry(place.segment).or_default();
        row.add(kind, place.length);
        row.end = row.end.max(place.offset + u64::from(place.length));
        self.changed.insert(place.segment);
    }

    /// Notes that a segment goes as far as this, whatever lies there.
    pub(super) fn reaches(&mut self, segment: u32, end: u64) {
        let row = self.rows.entry(segment).or_default();
        row.end = row.end.max(end);
        self.changed.insert(segment);
    }

    /// Counts a record that is no longer needed.
    pub(super) fn release(&mut self, kind: Kind, place: Place) {
        if let Some(row) = self.rows.get_mut(&place.segment) {
            row.release(kind, place.length);
            self.changed.insert(place.segment);
        }
    }

    /// Looks at a segment again that is no longer written to: it may have been dead before.
    pub(super) fn reconsider(&mut self, segment: u32) {
        if self.rows.contains_key(&segment) {
            self.changed.insert(segment);
        }
    }

    /// Adds the rows that changed to a batch; gives the segments to unlink once the batch is on disk.
    pub(super) fn settle(&mut self, active: u32, batch: &mut Rows) -> Vec<u32> {
        let mut dead = Vec::new();
        for segment in std::mem::take(&mut self.changed) {
            let Some(row) = self.rows.get(&segment) else { continue };
            if row.is_live() || segment == active {
                batch.insert(&segment_key(segment), row.octets());
            } else {
                batch.remove(&segment_key(segment));
                self.rows.remove(&segment);
                dead.push(segment);
            }
        }
        dead
    }

    /// The first segment behind number `behind` and before `active` that holds no entries any more, and only few
    /// answers: less than a quarter.
    pub(super) fn sparse(&self, behind: u32, active: u32) -> Option<u32> {
        let sparse =
            |row: &SegmentRow| row.entries == 0 && row.answers > 0 && row.answer_octets < row.end / 4;
        let older = self.rows.iter().filter(|(segment, _)| (behind + 1..active).contains(segment));
        older.filter(|(_, row)| sparse(row)).map(|(segment, _)| *segment).next()
    }

    /// What is known of a segment.
    pub(super) fn row(&self, segment: u32) -> Option<SegmentRow> {
        self.rows.get(&segment).copied()
    }

    /// The segment with the highest number.
    pub(super) fn newest(&self) -> Option<(u32, SegmentRow)> {
        self.rows.last_key_value().map(|(segment, row)| (*segment, *row))
    }

    /// All segments.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, SegmentRow)> {
        self.rows.iter().map(|(segment, row)| (*segment, *row))
    }

    /// What they take up.
    pub(super) fn size(&self) -> StoreSize {
        StoreSize { bytes: self.rows.values().map(|row| row.end).sum(), segments: self.rows.len() as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn place(segment: u32, offset: u64, length: u32) -> Place {
        Place { segment, offset, length }
    }

    #[test]
    fn a_segment_is_dead_when_its_last_record_is_released_unless_it_is_written_to() {
        let mut ledger = Ledger::default();
        ledger.add(Kind::Entry, place(1, 0, 100));
        ledger.add(Kind::Answer, place(1, 100, 50));
        ledger.add(Kind::Entry, place(2, 0, 10));
        assert_eq!(ledger.settle(2, &mut Rows::default()), Vec::<u32>::new());
        ledger.release(Kind::Entry, place(1, 0, 100));
        assert_eq!(ledger.settle(2, &mut Rows::default()), Vec::<u32>::new());
        ledger.release(Kind::Answer, place(1, 100, 50));
        ledger.release(Kind::Entry, place(2, 0, 10));
        assert_eq!(ledger.settle(2, &mut Rows::default()), [1]);
        assert_eq!(ledger.size(), StoreSize { bytes: 10, segments: 1 });
        ledger.reconsider(2);
        assert_eq!(ledger.settle(3, &mut Rows::default()), [2]);
        assert_eq!(ledger.size(), StoreSize::default());
    }

    #[test]
    fn a_segment_with_few_answers_and_no_entries_is_sparse() {
        let mut ledger = Ledger::default();
        ledger.add(Kind::Answer, place(1, 0, 20));
        ledger.add(Kind::Entry, place(1, 20, 80));
        assert_eq!(ledger.sparse(0, 2), None);
        ledger.release(Kind::Entry, place(1, 20, 80));
        assert_eq!(ledger.sparse(0, 2), Some(1));
        assert_eq!(ledger.sparse(0, 1), None);
        assert_eq!(ledger.sparse(1, 2), None);
        ledger.add(Kind::Answer, place(1, 100, 20));
        assert_eq!(ledger.sparse(0, 2), None);
    }
}
