//! How an entry or an answer lies in a segment.
//!
//! ```text
//! kind u8 | octets of head u32 | octets of body u32 | crc32 of all else u32 | head | body
//! ```
//! Numbers are big endian. An entry's head and body are the caller's; an answer has its once id as head, so that
//! a segment alone tells whose answers it holds.

use bytes::Bytes;

use crate::store::{ENTRY_LIMIT, OnceId, StoreError};

/// Octets before a record's head.
pub(super) const HEADER: usize = 13;
/// The longest record: the limit and an id come on top of each other only for an answer.
pub(super) const LONGEST: usize = HEADER + ENTRY_LIMIT + OnceId::LIMIT;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An entry of a stream.
    Entry,
    /// The answer under a once id.
    Answer,
    /// The first record of what was committed together, without head and body. It tells that everything before it
    /// was committed, so a start can see that an index has lost commits.
    Group,
}

impl Kind {
    const fn octet(self) -> u8 {
        match self {
            Self::Entry => b'E',
            Self::Answer => b'A',
            Self::Group => b'G',
        }
    }
}

/// One record, to write or as read.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) header: [u8; HEADER],
    pub(super) head: Bytes,
    pub(super) body: Bytes,
}

impl Record {
    /// A record to write, unless head and body are over the limit.
    pub(super) fn new(kind: Kind, head: Bytes, body: Bytes) -> Result<Self, StoreError> {
        let counted = if kind == Kind::Answer { body.len() } else { head.len().saturating_add(body.len()) };
        let too_large = StoreError::TooLarge { found: counted, limit: ENTRY_LIMIT };
        if counted > ENTRY_LIMIT {
            return Err(too_large);
        }
        let (Ok(head_length), Ok(body_length)) = (u32::try_from(head.len()), u32::try_from(body.len()))
        else {
            return Err(too_large);
        };
        let mut header = [0; HEADER];
        header[0] = kind.octet();
        header[1..5].copy_from_slice(&head_length.to_be_bytes());
        header[5..9].copy_from_slice(&body_length.to_be_bytes());
        let crc = checksum(&header, &[&head, &body]);
        header[9..13].copy_from_slice(&crc.to_be_bytes());
        Ok(Self { kind, header, head, body })
    }

    /// The record that these octets are, or nothing if they are not what was written.
    pub(super) fn parse(octets: Vec<u8>) -> Option<Self> {
        let octets = Bytes::from(octets);
        let header: [u8; HEADER] = *octets.first_chunk()?;
        let (head_length, _, crc) = fields(&header);
        let intact = length_of(&header).is_some_and(|length| length as usize == octets.len())
            && checksum(&header, &[&octets[HEADER..]]) == crc;
        if !intact {
            return None;
        }
        let body_start = HEADER + head_length as usize;
        let kind = kind_of(&header)?;
        Some(Self { kind, header, head: octets.slice(HEADER..body_start), body: octets.slice(body_start..) })
    }

    /// Octets that it takes up.
    pub(super) fn length(&self) -> u32 {
        length_of(&self.header).unwrap_or(u32::MAX)
    }
}

/// What the record that has this header is, unless it is none.
pub(super) fn kind_of(header: &[u8; HEADER]) -> Option<Kind> {
    [Kind::Entry, Kind::Answer, Kind::Group].into_iter().find(|kind| kind.octet() == header[0])
}

/// Octets of the record that has this header, unless no record is as long.
pub(super) fn length_of(header: &[u8; HEADER]) -> Option<u32> {
    let (head, body, _) = fields(header);
    let length = (HEADER as u32).checked_add(head)?.checked_add(body)?;
    (length as usize <= LONGEST).then_some(length)
}

fn fields(header: &[u8; HEADER]) -> (u32, u32, u32) {
    let [_, a, b, c, d, e, f, g, h, crc @ ..] = *header;
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]), u32::from_be_bytes(crc))
}

fn checksum(header: &[u8; HEADER], rest: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..9]);
    rest.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(record: &Record) -> Vec<u8> {
        [&record.header[..], &record.head, &record.body].concat()
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record =
            Record::new(Kind::Entry, Bytes::from_static(b"head"), Bytes::from_static(b"body")).unwrap();
        assert_eq!(octets(&record), b"E\0\0\0\x04\0\0\0\x04\x72\x24\x42\xcfheadbody");
        let read = Record::parse(octets(&record)).unwrap();
        assert_eq!((&read.head[..], &read.body[..]), (&b"head"[..], &b"body"[..]));
    }

    #[test]
    fn no_altered_octet_and_no_other_length_is_read() {
        let record =
            Record::new(Kind::Answer, Bytes::from_static(b"id"), Bytes::from_static(b"answer")).unwrap();
        let whole = octets(&record);
        for at in 0..whole.len() {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            assert!(Record::parse(altered).is_none(), "octet {at}");
            assert!(Record::parse(whole[..at].to_vec()).is_none(), "cut to {at}");
        }
        assert!(Record::parse([whole, vec![0]].concat()).is_none());
    }

    #[test]
    fn the_limit_holds_for_head_and_body_together() {
        let body = Bytes::from(vec![0; ENTRY_LIMIT]);
        assert!(Record::new(Kind::Entry, Bytes::new(), body.clone()).is_ok());
        assert!(Record::new(Kind::Answer, Bytes::from_static(b"id"), body.clone()).is_ok());
        let refused = Record::new(Kind::Entry, Bytes::from_static(b"h"), body);
        assert!(
            matches!(refused, Err(StoreError::TooLarge { found, limit: ENTRY_LIMIT }) if found == ENTRY_LIMIT + 1)
        );
    }
}
