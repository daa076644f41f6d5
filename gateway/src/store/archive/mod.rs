//! All of a store in one file, to keep or to put into another store, of whatever kind.
//!
//! ```text
//! "exchange-store-archive 1\n"
//! frames: kind u8 | octets u32 | crc32 of kind, octets and content u32 | content
//! ```
//! Numbers are big endian. Every stream comes before its entries, and an entry in the order of its numbers.
//!
//! | kind | content |
//! |---|---|
//! | `S` stream | stream 8, last u64, link 32, purged u64 |
//! | `E` entry | stream 8, sequence u64, time u64, link 32, octets of head u32, head, body |
//! | `L` lost | stream 8, first u64, last u64: numbers of which nobody has the entries |
//! | `C` cursor | name 16, through u64, link 32 |
//! | `A` answer | octets of id u8, id, time u64, digest 32, answer |
//! | `Z` end | streams u64, entries u64, lost u64, cursors u64, answers u64, SHA-256 of all before this frame 32 |

mod export;
mod frame;
mod import;
#[cfg(test)]
mod tests;

use std::io;

pub use export::export;
pub use import::{import, is_unfinished, verify};

use super::{CursorName, StoreError};

/// What the first line of an archive says.
const MAGIC: &[u8] = b"exchange-store-archive 1\n";

/// Stands at 1 while an archive is put into a store, and at 2 from its end on. It is no part of an archive.
const MARK: CursorName = CursorName::new(*b"Zarchive import ");

/// What is in an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contents {
    /// Streams that have ever had an entry.
    pub streams: u64,
    /// Entries of all of them.
    pub entries: u64,
    /// Numbers between them of which there is no entry.
    pub lost: u64,
    /// Cursors.
    pub cursors: u64,
    /// Answers under once ids.
    pub answers: u64,
}

/// Why a store is not written to an archive, or an archive not taken.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file is none, or of a later release.
    #[error("the file does not begin as an archive of version 1; name one that `gateway store export` wrote")]
    NoArchive,
    /// The file ends too early.
    #[error("the archive ends at offset {offset}, before its end; copy it again, or export again")]
    Truncated {
        /// Octets that are there.
        offset: u64,
    },
    /// Octets of the file are not those that were written.
    #[error("the archive is altered at offset {offset}: {what}; copy it again, or export again")]
    Altered {
        /// Where the frame begins that is wrong.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The store has something already.
    #[error("the store is not empty; name an empty one, so that nothing is mixed")]
    NotEmpty,
    /// An import was begun and did not end.
    #[error(
        "an import into this store did not end, so it is not whole; remove the store (of a database: DROP SCHEMA exchange CASCADE) and import again"
    )]
    Unfinished,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file.
    #[error("cannot {doing} the archive: {source}; check the disk and the permissions")]
    File {
        /// What was tried.
        doing: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}
