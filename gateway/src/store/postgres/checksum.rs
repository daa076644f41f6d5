//! The checksum that is kept beside a row, of all that the row says: also of its name, so that a row that took the
//! place of another one is found as well.

use crc32fast::Hasher;

use super::rows::wide;
use crate::store::{Answered, Entry, OnceId, Stream};

/// Of an entry.
pub(super) fn of_entry(stream: Stream, entry: &Entry) -> u32 {
    let mut hasher = Hasher::new();
    let Entry { sequence, at, link, head, body } = entry;
    let (sequence, at) = (sequence.to_be_bytes(), wide(*at).to_be_bytes());
    let parts = [&stream.octets()[..], &sequence, &at, link, &length(head), head, body];
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// Of an answer.
pub(super) fn of_answer(id: &OnceId, at: u64, kept: &Answered) -> u32 {
    let mut hasher = Hasher::new();
    let Answered { digest, answer } = kept;
    let parts = [&length(id.octets())[..], id.octets(), &wide(at).to_be_bytes(), digest, answer];
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

fn length(octets: &[u8]) -> [u8; 8] {
    (octets.len() as u64).to_be_bytes()
}
