//! What a group moved besides its entries and answers, and all that there is when a segment begins.
//!
//! ```text
//! cursors u32, each name 16 | through u64 | link 32
//! tails u32,   each stream 8 | last u64 | link 32
//! purged u32,  each stream 8 | through u64
//! lost u32,    each stream 8 | first u64 | last u64
//! ```

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};

use crate::store::{Cursor, CursorName, Stream, Tail};

/// Stretches of numbers that are known to be lost: stream and first number, and the last one.
pub(super) type Lost = BTreeMap<(Stream, u64), u64>;

/// Cursors, tails, and how far streams were purged; in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Where cursors stand.
    pub(super) cursors: BTreeMap<CursorName, Cursor>,
    /// Where streams end, if no entry says so.
    pub(super) tails: BTreeMap<Stream, Tail>,
    /// The last number that was purged.
    pub(super) purged: BTreeMap<Stream, u64>,
    /// What is known to be lost.
    pub(super) lost: Lost,
}

impl State {
    /// Whether it says nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.cursors.is_empty() && self.tails.is_empty() && self.purged.is_empty() && self.lost.is_empty()
    }

    /// Takes over what a later state says.
    pub(super) fn extend(&mut self, later: Self) {
        self.cursors.extend(later.cursors);
        self.tails.extend(later.tails);
        self.purged.extend(later.purged);
        self.lost.extend(later.lost);
    }

    /// Its octets.
    pub(super) fn octets(&self) -> Bytes {
        let mut octets = Vec::with_capacity(16 + 56 * self.cursors.len() + 48 * self.tails.len());
        put_count(&mut octets, self.cursors.len());
        for (name, Cursor { through, link }) in &self.cursors {
            octets.extend_from_slice(&name.octets());
            octets.extend_from_slice(&through.to_be_bytes());
            octets.extend_from_slice(link);
        }
        put_count(&mut octets, self.tails.len());
        for (stream, Tail { last, link }) in &self.tails {
            octets.extend_from_slice(&stream.octets());
            octets.extend_from_slice(&last.to_be_bytes());
            octets.extend_from_slice(link);
        }
        put_count(&mut octets, self.purged.len());
        for (stream, through) in &self.purged {
            octets.extend_from_slice(&stream.octets());
            octets.extend_from_slice(&through.to_be_bytes());
        }
        put_count(&mut octets, self.lost.len());
        for ((stream, first), last) in &self.lost {
            octets.extend_from_slice(&stream.octets());
            octets.extend_from_slice(&first.to_be_bytes());
            octets.extend_from_slice(&last.to_be_bytes());
        }
        octets.into()
    }

    /// What these octets are, if they are all there.
    pub(super) fn parse(mut octets: Bytes) -> Option<Self> {
        let octets = &mut octets;
        let mut state = Self::default();
        for _ in 0..octets.try_get_u32().ok()? {
            let name = CursorName::new(take(octets)?);
            let cursor = Cursor { through: octets.try_get_u64().ok()?, link: take(octets)? };
            state.cursors.insert(name, cursor);
        }
        for _ in 0..octets.try_get_u32().ok()? {
            let stream = Stream::new(take(octets)?);
            let tail = Tail { last: octets.try_get_u64().ok()?, link: take(octets)? };
            state.tails.insert(stream, tail);
        }
        for _ in 0..octets.try_get_u32().ok()? {
            state.purged.insert(Stream::new(take(octets)?), octets.try_get_u64().ok()?);
        }
        for _ in 0..octets.try_get_u32().ok()? {
            let first = (Stream::new(take(octets)?), octets.try_get_u64().ok()?);
            state.lost.insert(first, octets.try_get_u64().ok()?);
        }
        octets.is_empty().then_some(state)
    }
}

fn put_count(octets: &mut Vec<u8>, count: usize) {
    octets.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
}

fn take<const N: usize>(octets: &mut Bytes) -> Option<[u8; N]> {
    let mut taken = [0; N];
    octets.try_copy_to_slice(&mut taken).ok()?;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_written_and_no_shorter_or_longer() {
        let state = State {
            cursors: [(CursorName::new([1; 16]), Cursor { through: 2, link: [3; 32] })].into(),
            tails: [(Stream::new([4; 8]), Tail { last: 5, link: [6; 32] })].into(),
            purged: [(Stream::new([7; 8]), 8)].into(),
            lost: [((Stream::new([9; 8]), 10), 11)].into(),
        };
        let octets = state.octets();
        assert_eq!(State::parse(octets.clone()), Some(state));
        for end in 0..octets.len() {
            assert_eq!(State::parse(octets.slice(..end)), None);
        }
        assert_eq!(State::parse([&octets[..], &[0]].concat().into()), None);
        assert_eq!(State::parse(State::default().octets()), Some(State::default()));
    }
}
