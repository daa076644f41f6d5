//! What keeps a store in order besides its daily work: mending single entries, and moving all of it elsewhere.

use std::{collections::BTreeMap, fmt};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::{Cursor, CursorName, Entry, OnceId, Store, StoreError, Stream, Tail};

/// An entry of which not all octets are what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Of which stream.
    pub stream: Stream,
    /// Its number.
    pub sequence: u64,
    /// When it was appended, by its caller's clock.
    pub at: u64,
    /// Its link, which is kept apart from it.
    pub link: [u8; 32],
    /// What its head looks like, if that much is left; whoever uses it compares it with the link.
    pub head: Option<Bytes>,
    /// The file, with the offset.
    pub what: String,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} of stream {} at {}", self.sequence, self.stream, self.what)
    }
}

/// What is kept of a change that may happen once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// Under which id.
    pub id: OnceId,
    /// When the change was kept, by its caller's clock.
    pub at: u64,
    /// What was asked for.
    pub digest: [u8; 32],
    /// What is answered.
    pub answer: Bytes,
}

/// An answer of which not all octets are what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedAnswer {
    /// Under which id.
    pub id: OnceId,
    /// The file, with the offset.
    pub what: String,
}

impl fmt::Display for DamagedAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, the answer under id ", self.what)?;
        self.id.octets().iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// One thing that a store keeps, with everything about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A stream, before its entries.
    Stream {
        /// Its name.
        stream: Stream,
        /// Where it ends.
        tail: Tail,
        /// The last number that was purged.
        purged: u64,
    },
    /// An entry, with the number that it had.
    Entry {
        /// Of which stream.
        stream: Stream,
        /// All of it.
        entry: Entry,
    },
    /// Numbers of a stream whose entries are lost: nobody looks for them again.
    Lost {
        /// Of which stream.
        stream: Stream,
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// A cursor.
    Cursor {
        /// Its name.
        name: CursorName,
        /// Where it stands.
        cursor: Cursor,
    },
    /// An answer.
    Answer(KeptAnswer),
}

/// A store whose entries can be mended, and whose pieces can be listed and put into another store.
#[async_trait]
pub trait Upkeep: Store {
    /// The damaged entries that reads have found and nobody has mended, now and later.
    fn damaged(&self) -> watch::Receiver<BTreeMap<(Stream, u64), Damaged>>;

    /// Puts head and body in place of those that are damaged; number, time and link stay. Who mends has compared
    /// them with the link.
    ///
    /// # Errors
    /// [`StoreError::Full`] for the disk. An entry that was purged meanwhile is no error.
    async fn mend(&self, stream: Stream, sequence: u64, octets: (Bytes, Bytes)) -> Result<(), StoreError>;

    /// All cursors that were ever moved.
    async fn cursors(&self) -> Result<Vec<(CursorName, Cursor)>, StoreError>;

    /// Up to `limit` answers whose ids follow `after`, in the order of their ids; in place of one whose octets are
    /// damaged, its id and where they lie.
    async fn answers(
        &self,
        after: Option<OnceId>,
        limit: usize,
    ) -> Result<Vec<Result<KeptAnswer, DamagedAnswer>>, StoreError>;

    /// Puts pieces of another store into this one, which is in no other use, and returns when they are on disk: a
    /// stream before its entries, an entry not behind its tail. A cursor or a stream that is there already is set anew.
    async fn restore(&self, pieces: Vec<Piece>) -> Result<(), StoreError>;
}
