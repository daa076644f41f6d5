//! Reading segments without an index: every record that is whole, and every stretch of which nothing can be made.

use bytes::Bytes;

use super::{
    record::{GROUP, HEADER, Kind, Label, Record},
    segment::{Place, Segments},
};
use crate::store::StoreError;

/// Octets that are searched at once for the next group.
const CHUNK: u64 = 1 << 20;

/// Octets of a segment that are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Number of the segment.
    pub segment: u32,
    /// Where it begins, and its octets.
    pub offset: u64,
    /// How long it is.
    pub octets: u64,
}

/// What a walk comes upon.
#[derive(Debug)]
pub(super) enum Found {
    /// A whole record.
    Record(Record, Place),
    /// Octets that are none.
    Damaged(Stretch),
}

/// A walk from the beginning of a segment to its end.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    segments: &'a Segments,
    segment: u32,
    offset: u64,
    end: u64,
}

impl<'a> Walk<'a> {
    /// A walk through a segment, as far as its file goes.
    pub(super) fn new(segments: &'a Segments, segment: u32) -> Result<Self, StoreError> {
        Self::behind(segments, segment, 0)
    }

    /// A walk through what lies behind an offset.
    pub(super) fn behind(segments: &'a Segments, segment: u32, offset: u64) -> Result<Self, StoreError> {
        let end = segments.length(segment)?.unwrap_or(0);
        Ok(Self { segments, segment, offset, end })
    }

    /// The next thing, until the end.
    pub(super) fn step(&mut self) -> Result<Option<Found>, StoreError> {
        if self.is_end(self.offset)? {
            return Ok(None);
        }
        if let Some((record, place)) = self.record(self.offset)? {
            self.offset += u64::from(place.length);
            return Ok(Some(Found::Record(record, place)));
        }
        let offset = self.offset;
        self.offset = self.resume()?;
        let octets = self.offset - offset;
        Ok(Some(Found::Damaged(Stretch { segment: self.segment, offset, octets })))
    }

    /// How far it has come.
    pub(super) const fn reached(&self) -> u64 {
        self.offset
    }

    fn is_end(&self, offset: u64) -> Result<bool, StoreError> {
        Ok(offset >= self.end || self.segments.is_padding(self.segment, offset, self.end)?)
    }

    fn record(&self, offset: u64) -> Result<Option<(Record, Place)>, StoreError> {
        let read = || match self.segments.glance(self.segment, offset)? {
            Some((_, place)) => Ok(self.segments.read(place)?.map(|record| (record, place))),
            None => Ok(None),
        };
        match read() {
            Err(StoreError::Corrupt { .. }) => Ok(None),
            read => read,
        }
    }

    /// Where the first record behind a damaged one is: where its length says, or else where a group says that it
    /// begins. Octets from outside may look like a record anywhere, but cannot know where they will lie.
    pub(super) fn resume(&self) -> Result<u64, StoreError> {
        let Ok(Some((_, place))) = self.segments.glance(self.segment, self.offset) else {
            return self.next_group(self.offset + 1);
        };
        let next = self.offset + u64::from(place.length);
        if next == self.end || (next < self.end && self.record(next)?.is_some()) {
            return Ok(next);
        }
        let group = self.next_group(self.offset + 1)?;
        // A length that is wrong may lead into what fills the last block up, past whole groups.
        let is_last = group == self.end && next < self.end && self.is_end(next)?;
        Ok(if is_last { next } else { group })
    }

    fn next_group(&self, mut from: u64) -> Result<u64, StoreError> {
        while from + GROUP as u64 <= self.end {
            let chunk = self.segments.octets(self.segment, from, CHUNK.min(self.end - from))?;
            for (at, window) in chunk.windows(HEADER).enumerate() {
                if window[0] != b'g' || window[1..9] != [0; 8] {
                    continue;
                }
                let offset = from + at as u64;
                let is_here = |(record, _): (Record, Place)| matches!(record.label, Label::Group { segment, offset: at, .. } if (segment, at) == (self.segment, offset));
                if self.record(offset)?.is_some_and(is_here) {
                    return Ok(offset);
                }
            }
            // The next chunk begins with what is too short for a window here.
            from += (chunk.len() as u64).saturating_sub(HEADER as u64 - 1).max(1);
        }
        Ok(self.end)
    }
}

/// What one group brought, as far as it can be read.
#[derive(Debug, Default)]
pub(super) struct Brought {
    /// Its entries and answers, and the once ids of the answers.
    pub(super) records: Vec<(Label, Bytes, Place)>,
    /// What there was before it, if it is the first of its segment.
    pub(super) before: Option<Record>,
    /// What it moved.
    pub(super) moves: Option<Record>,
    /// Where it begins.
    pub(super) begins: Option<(Place, u64)>,
    /// Whether it was written where it lies.
    is_here: bool,
    /// Where its last record ends, if that is there.
    pub(super) end: u64,
    /// What of it cannot be read.
    pub(super) damaged: Vec<Stretch>,
    /// Records of the first format: they do not say what they are.
    pub(super) bare: u64,
}

impl Brought {
    /// Takes in a record of it.
    pub(super) fn take(&mut self, record: Record, place: Place) {
        match (record.kind(), record.label) {
            (_, Label::Bare(_)) => self.bare += 1,
            (Kind::State, _) => self.before = Some(record),
            (Kind::Committed, _) => {
                self.end = place.offset + u64::from(place.length);
                self.moves = Some(record);
            }
            (Kind::Entry, label) => self.records.push((label, Bytes::new(), place)),
            // Copied, so that the body is not held with it.
            (Kind::Answer, label) => {
                self.records.push((label, Bytes::copy_from_slice(&record.head), place));
            }
            (Kind::Group, Label::Group { segment, offset, octets }) => {
                self.begins = Some((place, octets));
                self.is_here = (segment, offset) == (place.segment, place.offset);
            }
            (Kind::Group, _) => {}
        }
    }

    /// Whether all of it is there, from where its first record says that it begins to where that says that it ends.
    pub(super) fn is_whole(&self) -> bool {
        self.begins.is_some_and(|(place, octets)| self.is_here && place.offset + octets == self.end)
            && self.moves.is_some()
            && self.damaged.is_empty()
    }

    /// Whether nothing was taken in.
    pub(super) fn is_nothing(&self) -> bool {
        self.begins.is_none() && self.records.is_empty() && self.damaged.is_empty() && self.bare == 0
    }
}
