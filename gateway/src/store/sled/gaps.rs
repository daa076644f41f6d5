//! Numbers of a stream that are not there: streams are dense.

use super::state::Lost;
use crate::store::Stream;

/// Entries that were committed, were not purged, and are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// Of which stream.
    pub stream: Stream,
    /// The first of them.
    pub first: u64,
    /// The last of them.
    pub last: u64,
}

/// Finds what is missing between numbers that grow.
pub(super) struct Dense<'a> {
    stream: Stream,
    last: u64,
    lost: &'a Lost,
}

impl<'a> Dense<'a> {
    /// Begins behind a number; what is known to be lost is not missing.
    pub(super) fn new(stream: Stream, behind: u64, lost: &'a Lost) -> Self {
        Self { stream, last: behind, lost }
    }

    /// What is missing before this number.
    pub(super) fn step(&mut self, sequence: u64) -> Option<Missing> {
        let (mut first, last) = (self.last + 1, sequence.saturating_sub(1));
        self.last = sequence;
        for ((_, from), to) in self.lost.range((self.stream, 0)..=(self.stream, last)) {
            if (*from..=*to).contains(&first) {
                first = to.saturating_add(1);
            }
        }
        (first <= last).then_some(Missing { stream: self.stream, first, last })
    }
}
