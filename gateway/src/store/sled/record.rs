//! How entries, answers and what holds them together lie in a segment.
//!
//! ```text
//! kind u8 | octets of head u32 | octets of body u32 | crc32 of all else u32 | label | head | body
//! ```
//! Numbers are big endian. What was committed together is a group: it begins with a record that names its own place
//! and length, and ends with what it moved. Labels and the states in between say all that the index knows, so that an index
//! can be made from segments alone.
//!
//! | kind | label | head | body |
//! |---|---|---|---|
//! | `g` a group begins | segment u32, offset u64, octets u64 of the group | | |
//! | `s` state when the segment began | | | a [`super::state::State`] |
//! | `e` entry | stream 8, sequence u64, time u64, link 32 | the caller's | the caller's |
//! | `a` answer | time u64, digest 32 | once id | the caller's |
//! | `c` the group ends | | | the `State` that it moved |
//!
//! Zeros up to a multiple of [`super::blocks::BLOCK`] fill the last block of the file up that is written to.
//!
//! `G`, `E` and `A` are what the first format had: the same without labels.

use bytes::{Buf, Bytes};

use crate::store::{ENTRY_LIMIT, OnceId, StoreError, Stream};

/// Octets before a record's label.
pub(super) const HEADER: usize = 13;
/// Octets of an entry's label, the longest.
pub(super) const LABEL: usize = 56;
/// Octets of a record that begins a group.
pub(super) const GROUP: usize = HEADER + 20;
/// The longest record: the limit and an id come on top of each other only for an answer.
pub(super) const LONGEST: usize = HEADER + LABEL + ENTRY_LIMIT + OnceId::LIMIT;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An entry of a stream.
    Entry,
    /// The answer under a once id.
    Answer,
    /// The first record of what was committed together. It tells that everything before it was committed, so a start
    /// can see that an index has lost commits.
    Group,
    /// All cursors and tails as they were before the segment's first group.
    State,
    /// The last record of what was committed together.
    Committed,
}

/// What a record says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    /// Of an entry.
    Entry { stream: Stream, sequence: u64, at: u64, link: [u8; 32] },
    /// Of an answer.
    Answer { at: u64, digest: [u8; 32] },
    /// Of the beginning of a group: where it is, and how long it is with this record.
    Group { segment: u32, offset: u64, octets: u64 },
    /// Of a state: nothing.
    State,
    /// Of the end of a group: nothing.
    Committed,
    /// Of records of the first format: nothing.
    Bare(Kind),
}

impl Label {
    /// What the record is.
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Entry { .. } => Kind::Entry,
            Self::Answer { .. } => Kind::Answer,
            Self::Group { .. } => Kind::Group,
            Self::State => Kind::State,
            Self::Committed => Kind::Committed,
            Self::Bare(kind) => *kind,
        }
    }

    const fn octet(&self) -> u8 {
        match self {
            Self::Entry { .. } => b'e',
            Self::Answer { .. } => b'a',
            Self::Group { .. } => b'g',
            Self::State => b's',
            Self::Committed => b'c',
            Self::Bare(Kind::Entry) => b'E',
            Self::Bare(Kind::Answer) => b'A',
            Self::Bare(_) => b'G',
        }
    }

    fn octets(&self) -> Bytes {
        match self {
            Self::Entry { stream, sequence, at, link } => {
                [&stream.octets()[..], &sequence.to_be_bytes(), &at.to_be_bytes(), link].concat().into()
            }
            Self::Answer { at, digest } => [&at.to_be_bytes()[..], digest].concat().into(),
            Self::Group { segment, offset, octets } => {
                [&segment.to_be_bytes()[..], &offset.to_be_bytes(), &octets.to_be_bytes()].concat().into()
            }
            Self::State | Self::Committed | Self::Bare(_) => Bytes::new(),
        }
    }

    /// Reads the label of a record of this kind; the octets are as many as [`label_length`] says.
    fn read(kind: u8, mut octets: Bytes) -> Option<Self> {
        Some(match kind {
            b'e' => Self::Entry {
                stream: Stream::new(octets.try_get_u64().ok()?.to_be_bytes()),
                sequence: octets.try_get_u64().ok()?,
                at: octets.try_get_u64().ok()?,
                link: octets.as_ref().try_into().ok()?,
            },
            b'a' => Self::Answer { at: octets.try_get_u64().ok()?, digest: octets.as_ref().try_into().ok()? },
            b'g' => Self::Group {
                segment: octets.try_get_u32().ok()?,
                offset: octets.try_get_u64().ok()?,
                octets: octets.try_get_u64().ok()?,
            },
            b's' => Self::State,
            b'c' => Self::Committed,
            b'E' => Self::Bare(Kind::Entry),
            b'A' => Self::Bare(Kind::Answer),
            b'G' => Self::Bare(Kind::Group),
            _ => return None,
        })
    }
}

/// One record, to write or as read.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) label: Label,
    pub(super) head: Bytes,
    pub(super) body: Bytes,
    header: [u8; HEADER],
    labelled: Bytes,
}

impl Record {
    /// A record to write, unless head and body are over the limit.
    pub(super) fn new(label: Label, head: Bytes, body: Bytes) -> Result<Self, StoreError> {
        let counted =
            if label.kind() == Kind::Answer { body.len() } else { head.len().saturating_add(body.len()) };
        let too_large = StoreError::TooLarge { found: counted, limit: ENTRY_LIMIT };
        if counted > ENTRY_LIMIT {
            return Err(too_large);
        }
        let (Ok(head_length), Ok(body_length)) = (u32::try_from(head.len()), u32::try_from(body.len()))
        else {
            return Err(too_large);
        };
        let labelled = label.octets();
        let mut header = [0; HEADER];
        header[0] = label.octet();
        header[1..5].copy_from_slice(&head_length.to_be_bytes());
        header[5..9].copy_from_slice(&body_length.to_be_bytes());
        let crc = checksum(&header, &[&labelled, &head, &body]);
        header[9..13].copy_from_slice(&crc.to_be_bytes());
        Ok(Self { label, head, body, header, labelled })
    }

    /// The record that these octets are, or nothing if they are not what was written.
    pub(super) fn parse(octets: Vec<u8>) -> Option<Self> {
        let octets = Bytes::from(octets);
        let header: [u8; HEADER] = *octets.first_chunk()?;
        let (_, _, crc) = fields(&header);
        let intact = length_of(&header).is_some_and(|length| length as usize == octets.len())
            && checksum(&header, &[&octets[HEADER..]]) == crc;
        if intact { Self::unchecked(octets) } else { None }
    }

    /// What octets look like whose checksum may be wrong: for who has another proof of a part of them.
    pub(super) fn unchecked(octets: Bytes) -> Option<Self> {
        let header: [u8; HEADER] = *octets.first_chunk()?;
        let head_start = HEADER + label_length(header[0])?;
        let body_start = head_start.checked_add(fields(&header).0 as usize)?;
        if length_of(&header)? as usize != octets.len() {
            return None;
        }
        let labelled = octets.slice(HEADER..head_start);
        let label = Label::read(header[0], labelled.clone())?;
        let (head, body) = (octets.slice(head_start..body_start), octets.slice(body_start..));
        Some(Self { label, head, body, header, labelled })
    }

    /// What it is.
    pub(super) const fn kind(&self) -> Kind {
        self.label.kind()
    }

    /// Octets that it takes up.
    pub(super) fn length(&self) -> u32 {
        length_of(&self.header).unwrap_or(u32::MAX)
    }

    /// Its octets, in order.
    pub(super) fn parts(&self) -> [&[u8]; 4] {
        [&self.header, &self.labelled, &self.head, &self.body]
    }
}

/// What the record that has this header is, unless it is none.
pub(super) fn kind_of(header: &[u8; HEADER]) -> Option<Kind> {
    Some(match header[0] {
        b'e' | b'E' => Kind::Entry,
        b'a' | b'A' => Kind::Answer,
        b'g' | b'G' => Kind::Group,
        b's' => Kind::State,
        b'c' => Kind::Committed,
        _ => return None,
    })
}

/// Octets of the record that has this header, unless no record is as long.
pub(super) fn length_of(header: &[u8; HEADER]) -> Option<u32> {
    let (head, body, _) = fields(header);
    let before = HEADER + label_length(header[0])?;
    let length = u32::try_from(before).ok()?.checked_add(head)?.checked_add(body)?;
    (length as usize <= LONGEST).then_some(length)
}

fn label_length(kind: u8) -> Option<usize> {
    Some(match kind {
        b'e' => LABEL,
        b'a' => 40,
        b'g' => 20,
        b's' | b'c' | b'E' | b'A' | b'G' => 0,
        _ => return None,
    })
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

    const LABELS: [Label; 5] = [
        Label::Entry { stream: Stream::new(*b"peer 826"), sequence: 1, at: 2, link: [3; 32] },
        Label::Answer { at: 4, digest: [5; 32] },
        Label::Group { segment: 6, offset: 7, octets: 8 },
        Label::State,
        Label::Committed,
    ];

    fn record(label: Label) -> Record {
        Record::new(label, Bytes::from_static(b"head"), Bytes::from_static(b"body")).unwrap()
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for label in LABELS.into_iter().chain([Kind::Entry, Kind::Answer, Kind::Group].map(Label::Bare)) {
            let read = Record::parse(record(label).parts().concat()).unwrap();
            assert_eq!((read.label, &read.head[..], &read.body[..]), (label, &b"head"[..], &b"body"[..]));
            let length = read.length() as usize;
            assert_eq!(length, read.parts().concat().len());
        }
    }

    #[test]
    fn a_record_of_the_first_format_is_read() {
        let octets = b"E\0\0\0\x04\0\0\0\x04\x72\x24\x42\xcfheadbody".to_vec();
        let read = Record::parse(octets).unwrap();
        assert_eq!((read.label, &read.head[..]), (Label::Bare(Kind::Entry), &b"head"[..]));
    }

    #[test]
    fn no_altered_octet_and_no_other_length_is_read() {
        for label in LABELS {
            let whole = record(label).parts().concat();
            for at in 0..whole.len() {
                let mut altered = whole.clone();
                altered[at] ^= 1;
                assert!(Record::parse(altered).is_none(), "octet {at}");
                assert!(Record::parse(whole[..at].to_vec()).is_none(), "cut to {at}");
            }
            assert!(Record::parse([whole, vec![0]].concat()).is_none());
        }
    }

    #[test]
    fn the_limit_holds_for_head_and_body_together() {
        let body = Bytes::from(vec![0; ENTRY_LIMIT]);
        let [entry, answer, ..] = LABELS;
        assert!(Record::new(entry, Bytes::new(), body.clone()).is_ok());
        assert!(Record::new(answer, Bytes::from_static(b"id"), body.clone()).is_ok());
        let refused = Record::new(entry, Bytes::from_static(b"h"), body);
        assert!(
            matches!(refused, Err(StoreError::TooLarge { found, limit: ENTRY_LIMIT }) if found == ENTRY_LIMIT + 1)
        );
    }
}
