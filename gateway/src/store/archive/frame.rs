//! Frames: what an archive is made of.

use aws_lc_rs::digest::{Context, SHA256};
use bytes::{Buf, Bytes};
use std::io::{ErrorKind, Read, Write};

use super::{ArchiveError, Contents, MAGIC};
use crate::store::{
    Cursor, CursorName, ENTRY_LIMIT, Entry, OnceId, Stream, Tail,
    upkeep::{KeptAnswer, Piece},
};

/// Octets before a frame's content.
const HEADER: usize = 9;
/// The longest content: an entry, and what is said of it.
const LONGEST: usize = ENTRY_LIMIT + 128;

/// Writes frames.
pub(super) struct Writer<W> {
    to: W,
    hash: Context,
    contents: Contents,
}

impl<W: Write> Writer<W> {
    /// Begins an archive.
    pub(super) fn begin(to: W) -> Result<Self, ArchiveError> {
        let mut writer = Self { to, hash: Context::new(&SHA256), contents: Contents::default() };
        writer.put(MAGIC)?;
        Ok(writer)
    }

    /// Adds a piece.
    pub(super) fn piece(&mut self, piece: &Piece) -> Result<(), ArchiveError> {
        count(&mut self.contents, piece);
        let (kind, content) = encode(piece);
        self.frame(kind, &content)
    }

    /// Ends the archive.
    pub(super) fn end(mut self) -> Result<(W, Contents), ArchiveError> {
        let contents = self.contents;
        let hash = self.hash.clone().finish();
        let content = [&counts(contents)[..], hash.as_ref()].concat();
        self.frame(b'Z', &content)?;
        Ok((self.to, contents))
    }

    /// How far it has come.
    pub(super) fn contents(&self) -> Contents {
        self.contents
    }

    fn frame(&mut self, kind: u8, content: &[u8]) -> Result<(), ArchiveError> {
        let length = u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes();
        let crc = checksum(kind, length, content).to_be_bytes();
        self.put(&[&[kind][..], &length, &crc].concat())?;
        self.put(content)
    }

    fn put(&mut self, octets: &[u8]) -> Result<(), ArchiveError> {
        self.hash.update(octets);
        self.to.write_all(octets).map_err(|source| ArchiveError::File { doing: "write", source })
    }
}

/// Reads frames, and checks each before it gives it.
pub(super) struct Reader<R> {
    from: R,
    hash: Context,
    offset: u64,
    contents: Contents,
}

impl<R: Read> Reader<R> {
    /// Begins to read an archive.
    pub(super) fn begin(from: R) -> Result<Self, ArchiveError> {
        let mut reader = Self { from, hash: Context::new(&SHA256), offset: 0, contents: Contents::default() };
        let mut magic = vec![0; MAGIC.len()];
        match reader.take(&mut magic) {
            Ok(()) if magic == MAGIC => Ok(reader),
            Ok(()) | Err(ArchiveError::Truncated { .. }) => Err(ArchiveError::NoArchive),
            Err(error) => Err(error),
        }
    }

    /// The next piece; nothing at the end, once the end was found to be right.
    pub(super) fn piece(&mut self) -> Result<Option<Piece>, ArchiveError> {
        let (offset, before) = (self.offset, self.hash.clone());
        let altered = |what| ArchiveError::Altered { offset, what };
        let mut header = [0; HEADER];
        self.take(&mut header)?;
        let [kind, a, b, c, d, crc @ ..] = header;
        let length = [a, b, c, d];
        let octets = u32::from_be_bytes(length) as usize;
        if octets > LONGEST {
            return Err(altered("a frame is longer than any"));
        }
        let mut content = vec![0; octets];
        self.take(&mut content)?;
        if checksum(kind, length, &content) != u32::from_be_bytes(crc) {
            return Err(altered("a checksum is wrong"));
        }
        if kind == b'Z' {
            return self.end(&content, before, offset).map(|()| None);
        }
        let piece = decode(kind, content.into()).ok_or_else(|| altered("a frame does not parse"))?;
        count(&mut self.contents, &piece);
        Ok(Some(piece))
    }

    /// What was read so far.
    pub(super) fn contents(&self) -> Contents {
        self.contents
    }

    fn end(&mut self, content: &[u8], before: Context, offset: u64) -> Result<(), ArchiveError> {
        let hash = before.finish();
        if content != [&counts(self.contents)[..], hash.as_ref()].concat() {
            return Err(ArchiveError::Altered { offset, what: "its end does not fit what is before it" });
        }
        let end = self.offset;
        match self.take(&mut [0]) {
            Err(ArchiveError::Truncated { .. }) => Ok(()),
            Ok(()) => Err(ArchiveError::Altered { offset: end, what: "something follows its end" }),
            Err(error) => Err(error),
        }
    }

    fn take(&mut self, octets: &mut [u8]) -> Result<(), ArchiveError> {
        let mut read = 0;
        while read < octets.len() {
            match self.from.read(&mut octets[read..]) {
                Ok(0) => return Err(ArchiveError::Truncated { offset: self.offset + read as u64 }),
                Ok(some) => read += some,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(ArchiveError::File { doing: "read", source }),
            }
        }
        self.offset += read as u64;
        self.hash.update(octets);
        Ok(())
    }
}

fn count(contents: &mut Contents, piece: &Piece) {
    match piece {
        Piece::Stream { .. } => contents.streams += 1,
        Piece::Entry { .. } => contents.entries += 1,
        Piece::Lost { first, last, .. } => {
            contents.lost = contents.lost.saturating_add((last - first).saturating_add(1));
        }
        Piece::Cursor { .. } => contents.cursors += 1,
        Piece::Answer(_) => contents.answers += 1,
    }
}

fn counts(contents: Contents) -> Vec<u8> {
    let Contents { streams, entries, lost, cursors, answers } = contents;
    [streams, entries, lost, cursors, answers].map(u64::to_be_bytes).concat()
}

fn checksum(kind: u8, length: [u8; 4], content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(&length);
    hasher.update(content);
    hasher.finalize()
}

fn encode(piece: &Piece) -> (u8, Vec<u8>) {
    match piece {
        Piece::Stream { stream, tail, purged } => {
            let numbers = (tail.last.to_be_bytes(), purged.to_be_bytes());
            (b'S', [&stream.octets()[..], &numbers.0, &tail.link, &numbers.1].concat())
        }
        Piece::Entry { stream, entry: Entry { sequence, at, link, head, body } } => {
            let length = u32::try_from(head.len()).unwrap_or(u32::MAX).to_be_bytes();
            let numbers = (sequence.to_be_bytes(), at.to_be_bytes());
            let parts = [&stream.octets()[..], &numbers.0, &numbers.1, link, &length, head, body];
            (b'E', parts.concat())
        }
        Piece::Lost { stream, first, last } => {
            (b'L', [stream.octets(), first.to_be_bytes(), last.to_be_bytes()].concat())
        }
        Piece::Cursor { name, cursor } => {
            (b'C', [&name.octets()[..], &cursor.through.to_be_bytes(), &cursor.link].concat())
        }
        Piece::Answer(KeptAnswer { id, at, digest, answer }) => {
            let length = [u8::try_from(id.octets().len()).unwrap_or(u8::MAX)];
            (b'A', [&length[..], id.octets(), &at.to_be_bytes(), digest, answer].concat())
        }
    }
}

fn decode(kind: u8, mut content: Bytes) -> Option<Piece> {
    let from = &mut content;
    let piece = match kind {
        b'S' => Piece::Stream {
            stream: Stream::new(array(from)?),
            tail: Tail { last: number(from)?, link: array(from)? },
            purged: number(from)?,
        },
        b'E' => {
            let (stream, sequence, at, link) =
                (Stream::new(array(from)?), number(from)?, number(from)?, array(from)?);
            let length = from.try_get_u32().ok()? as usize;
            let head = (length <= from.len()).then(|| from.split_to(length))?;
            let body = from.split_to(from.len());
            Piece::Entry { stream, entry: Entry { sequence, at, link, head, body } }
        }
        b'L' => {
            let (stream, first, last) = (Stream::new(array(from)?), number(from)?, number(from)?);
            if first > last || last == u64::MAX {
                return None;
            }
            Piece::Lost { stream, first, last }
        }
        b'C' => Piece::Cursor {
            name: CursorName::new(array(from)?),
            cursor: Cursor { through: number(from)?, link: array(from)? },
        },
        b'A' => {
            let length = usize::from(from.try_get_u8().ok()?);
            let id = (length <= from.len()).then(|| from.split_to(length))?;
            let (id, at, digest) = (OnceId::new(&id)?, number(from)?, array(from)?);
            Piece::Answer(KeptAnswer { id, at, digest, answer: from.split_to(from.len()) })
        }
        _ => return None,
    };
    content.is_empty().then_some(piece)
}

fn number(from: &mut Bytes) -> Option<u64> {
    from.try_get_u64().ok()
}

fn array<const N: usize>(from: &mut Bytes) -> Option<[u8; N]> {
    let mut octets = [0; N];
    from.try_copy_to_slice(&mut octets).ok()?;
    Some(octets)
}
