//! Keys and values of the index. All are short: sled keeps them in pages, and large pages would go to files that
//! it never puts on disk.
//!
//! | key | value |
//! |---|---|
//! | `e` stream 8, sequence u64 | an entry: place, time, link |
//! | `t` stream 8 | a tail: last, link |
//! | `c` name 16 | a cursor: through, link |
//! | `o` once id | an answer: place, time, digest |
//! | `w` time u64, once id | nothing: finds the answers by their time |
//! | `l` stream 8, first u64 | the last number of a stretch that is known to be lost |
//! | `s` segment u32 | live entries u64, live answers u64, octets of live answers u64, end u64 |
//!
//! A place is segment u32, offset u64, length u32. Numbers are big endian, so keys are in the order of numbers.

use super::{record::Kind, segment::Place};
use crate::store::{Cursor, CursorName, OnceId, Stream, Tail};

/// The key of an entry.
pub(super) fn entry_key(stream: Stream, sequence: u64) -> [u8; 17] {
    joined(b'e', &stream.octets(), &sequence.to_be_bytes())
}

/// The key of a stream's tail.
pub(super) fn tail_key(stream: Stream) -> [u8; 9] {
    joined(b't', &stream.octets(), &[])
}

/// The key of a cursor.
pub(super) fn cursor_key(name: CursorName) -> [u8; 17] {
    joined(b'c', &name.octets(), &[])
}

/// The key of the answer under a once id.
pub(super) fn once_key(id: &[u8]) -> Vec<u8> {
    [b"o", id].concat()
}

/// The key that finds a once id by its time.
pub(super) fn when_key(at: u64, id: &[u8]) -> Vec<u8> {
    [b"w", &at.to_be_bytes()[..], id].concat()
}

/// The key of a stretch that is lost.
pub(super) fn lost_key(stream: Stream, first: u64) -> [u8; 17] {
    joined(b'l', &stream.octets(), &first.to_be_bytes())
}

/// The stream and the first number in a key made by [`lost_key`].
pub(super) fn lost_of(key: &[u8]) -> Option<(Stream, u64)> {
    stream_of(key).zip(sequence_of(key))
}

/// The key of a segment.
pub(super) fn segment_key(segment: u32) -> [u8; 5] {
    joined(b's', &segment.to_be_bytes(), &[])
}

/// The name in a key made by [`cursor_key`].
pub(super) fn name_of(key: &[u8]) -> Option<CursorName> {
    key.get(1..)?.try_into().ok().map(CursorName::new)
}

/// The once id in a key made by [`once_key`].
pub(super) fn once_of(key: &[u8]) -> Option<OnceId> {
    OnceId::new(key.get(1..)?)
}

/// The number at the end of the key of an entry.
pub(super) fn sequence_of(key: &[u8]) -> Option<u64> {
    key.last_chunk().copied().map(u64::from_be_bytes)
}

/// The once id in a key made by [`when_key`].
pub(super) fn id_of(key: &[u8]) -> Option<&[u8]> {
    key.get(9..)
}

/// The stream in a key made by [`tail_key`].
pub(super) fn stream_of(key: &[u8]) -> Option<Stream> {
    key.get(1..)?.first_chunk().copied().map(Stream::new)
}

/// The segment in a key made by [`segment_key`].
pub(super) fn segment_of(key: &[u8]) -> Option<u32> {
    key.get(1..)?.first_chunk().copied().map(u32::from_be_bytes)
}

/// A value of the index.
pub(super) trait Row: Sized {
    /// Its octets.
    fn octets(&self) -> Vec<u8>;
    /// What these octets are, if they are all there.
    fn parse(octets: &[u8]) -> Option<Self>;
}

/// Where an entry lies, and what is known without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntryRow {
    pub(super) place: Place,
    pub(super) at: u64,
    pub(super) link: [u8; 32],
}

/// Where an answer lies, and what it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OnceRow {
    pub(super) place: Place,
    pub(super) at: u64,
    pub(super) digest: [u8; 32],
}

/// What of a segment is still needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct SegmentRow {
    /// Entries that are not purged.
    pub(super) entries: u64,
    /// Answers that are not forgotten.
    pub(super) answers: u64,
    /// Octets of their records.
    pub(super) answer_octets: u64,
    /// Where the last record ends.
    pub(super) end: u64,
}

impl SegmentRow {
    /// Whether anything in it is needed.
    pub(super) fn is_live(&self) -> bool {
        self.entries + self.answers > 0
    }

    /// Counts a record that is needed from now on.
    pub(super) fn add(&mut self, kind: Kind, length: u32) {
        match kind {
            Kind::Entry => self.entries += 1,
            Kind::Answer => {
                self.answers += 1;
                self.answer_octets += u64::from(length);
            }
            Kind::Group | Kind::State | Kind::Committed => {}
        }
    }

    /// Counts a record that is no longer needed.
    pub(super) fn release(&mut self, kind: Kind, length: u32) {
        match kind {
            Kind::Entry => self.entries = self.entries.saturating_sub(1),
            Kind::Answer => {
                self.answers = self.answers.saturating_sub(1);
                self.answer_octets = self.answer_octets.saturating_sub(u64::from(length));
            }
            Kind::Group | Kind::State | Kind::Committed => {}
        }
    }
}

impl Row for EntryRow {
    fn octets(&self) -> Vec<u8> {
        placed(self.place, self.at, &self.link)
    }

    fn parse(mut octets: &[u8]) -> Option<Self> {
        let row = Self { place: place(&mut octets)?, at: number(&mut octets)?, link: take(&mut octets)? };
        octets.is_empty().then_some(row)
    }
}

impl Row for OnceRow {
    fn octets(&self) -> Vec<u8> {
        placed(self.place, self.at, &self.digest)
    }

    fn parse(mut octets: &[u8]) -> Option<Self> {
        let row = Self { place: place(&mut octets)?, at: number(&mut octets)?, digest: take(&mut octets)? };
        octets.is_empty().then_some(row)
    }
}

impl Row for SegmentRow {
    fn octets(&self) -> Vec<u8> {
        [self.entries, self.answers, self.answer_octets, self.end].map(u64::to_be_bytes).concat()
    }

    fn parse(mut octets: &[u8]) -> Option<Self> {
        let row = Self {
            entries: number(&mut octets)?,
            answers: number(&mut octets)?,
            answer_octets: number(&mut octets)?,
            end: number(&mut octets)?,
        };
        octets.is_empty().then_some(row)
    }
}

impl Row for u64 {
    fn octets(&self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }

    fn parse(octets: &[u8]) -> Option<Self> {
        octets.try_into().ok().map(Self::from_be_bytes)
    }
}

impl Row for Tail {
    fn octets(&self) -> Vec<u8> {
        [&self.last.to_be_bytes()[..], &self.link].concat()
    }

    fn parse(mut octets: &[u8]) -> Option<Self> {
        let row = Self { last: number(&mut octets)?, link: take(&mut octets)? };
        octets.is_empty().then_some(row)
    }
}

impl Row for Cursor {
    fn octets(&self) -> Vec<u8> {
        [&self.through.to_be_bytes()[..], &self.link].concat()
    }

    fn parse(mut octets: &[u8]) -> Option<Self> {
        let row = Self { through: number(&mut octets)?, link: take(&mut octets)? };
        octets.is_empty().then_some(row)
    }
}

/// The octets of an id, for a batch that outlives the change.
pub(super) fn once_keys(id: &OnceId, at: u64) -> (Vec<u8>, Vec<u8>) {
    (once_key(id.octets()), when_key(at, id.octets()))
}

fn placed(place: Place, at: u64, last: &[u8; 32]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(56);
    octets.extend_from_slice(&place.segment.to_be_bytes());
    octets.extend_from_slice(&place.offset.to_be_bytes());
    octets.extend_from_slice(&place.length.to_be_bytes());
    octets.extend_from_slice(&at.to_be_bytes());
    octets.extend_from_slice(last);
    octets
}

fn place(octets: &mut &[u8]) -> Option<Place> {
    let segment = u32::from_be_bytes(take(octets)?);
    let offset = number(octets)?;
    let length = u32::from_be_bytes(take(octets)?);
    Some(Place { segment, offset, length })
}

fn number(octets: &mut &[u8]) -> Option<u64> {
    take(octets).map(u64::from_be_bytes)
}

fn take<const N: usize>(octets: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = octets.split_first_chunk()?;
    *octets = rest;
    Some(*first)
}

fn joined<const N: usize>(kind: u8, first: &[u8], second: &[u8]) -> [u8; N] {
    let mut key = [0; N];
    let octets = std::iter::once(&kind).chain(first).chain(second);
    key.iter_mut().zip(octets).for_each(|(to, from)| *to = *from);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { segment: 1, offset: 2, length: 3 };

    fn holds<R: Row + PartialEq + std::fmt::Debug>(row: &R) {
        let octets = row.octets();
        assert_eq!(R::parse(&octets).as_ref(), Some(row));
        assert!(R::parse(&octets[1..]).is_none());
        assert!(R::parse(&[&octets[..], &[0]].concat()).is_none());
        assert!(octets.len() < 200);
    }

    #[test]
    fn rows_are_read_as_they_were_written_and_no_shorter_or_longer() {
        holds(&EntryRow { place: PLACE, at: 4, link: [5; 32] });
        holds(&OnceRow { place: PLACE, at: 4, digest: [5; 32] });
        holds(&SegmentRow { entries: 1, answers: 2, answer_octets: 3, end: 4 });
        holds(&Tail { last: 1, link: [2; 32] });
        holds(&Cursor { through: 1, link: [2; 32] });
    }

    #[test]
    fn keys_give_back_what_they_are_made_of_and_sort_by_number() {
        let stream = Stream::new(*b"peer 826");
        assert_eq!(sequence_of(&entry_key(stream, 300)), Some(300));
        assert_eq!(stream_of(&tail_key(stream)), Some(stream));
        assert_eq!(id_of(&when_key(9, b"id")), Some(&b"id"[..]));
        assert_eq!(segment_of(&segment_key(7)), Some(7));
        assert!(entry_key(stream, 255) < entry_key(stream, 256));
        assert!(when_key(255, b"z") < when_key(256, b"a"));
    }
}
