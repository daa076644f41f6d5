//! Numbered entries of bytes, kept until they are purged.
//!
//! A store knows nothing of envelopes, tokens or countries. It keeps streams of entries, cursors, and the answers
//! of what must happen once; a [`Change`] to all three is kept as a whole or not at all. What [`Store::commit`]
//! has answered survives a kill and a power cut.

pub mod archive;
#[cfg(test)]
pub mod contract;
mod damage;
mod error;
pub mod postgres;
pub mod sled;
mod tails;
pub mod upkeep;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

pub use error::StoreError;

/// Octets that head and body of an entry, or an answer, may have together: 16 MiB.
pub const ENTRY_LIMIT: usize = 16 << 20;

/// Names a stream of entries that are numbered densely from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stream([u8; 8]);

impl Stream {
    /// The stream of this name.
    pub const fn new(octets: [u8; 8]) -> Self {
        Self(octets)
    }

    /// Its name.
    pub const fn octets(self) -> [u8; 8] {
        self.0
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// Names a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CursorName([u8; 16]);

impl CursorName {
    /// The cursor of this name.
    pub const fn new(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    /// Its name.
    pub const fn octets(self) -> [u8; 16] {
        self.0
    }
}

/// Names a change that must be kept at most once: 1 to 64 octets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OnceId(Bytes);

impl OnceId {
    /// The longest id, in octets.
    pub const LIMIT: usize = 64;

    /// The id of these octets, or nothing if they are none or more than 64.
    pub fn new(octets: &[u8]) -> Option<Self> {
        (1..=Self::LIMIT).contains(&octets.len()).then(|| Self(Bytes::copy_from_slice(octets)))
    }

    /// Its octets.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

/// Names a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseName([u8; 8]);

impl LeaseName {
    /// The lease of this name.
    pub const fn new(octets: [u8; 8]) -> Self {
        Self(octets)
    }

    /// Its name.
    pub const fn octets(self) -> [u8; 8] {
        self.0
    }
}

/// Who asks for leases: one process, told from every other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Holder([u8; 16]);

impl Holder {
    /// A holder that nobody else is, by chance of 1 to 2^128.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Its octets.
    pub const fn octets(self) -> [u8; 16] {
        self.0
    }
}

/// A lease as it was given. When another holder takes the lease over, the fence no longer stands: a [`Change`]
/// under it is refused as [`StoreError::Fenced`], however late it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// Which lease.
    pub name: LeaseName,
    /// Under which it was given; no other holder ever gets the same.
    pub token: u64,
}

/// Where a stream ends: number and link of its last entry; 0 and zeros before the first one.
///
/// It stays when all entries are purged, so numbers are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tail {
    /// Number of the last entry.
    pub last: u64,
    /// Link of the last entry: a hash that the next entry is chained to.
    pub link: [u8; 32],
}

/// How far a reader has come in a stream; 0 and zeros for a cursor that was never moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// Number of the last entry that is done with.
    pub through: u64,
    /// Link of that entry.
    pub link: [u8; 32],
}

/// What the number of an entry decides about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// Goes before the body: a signed manifest.
    pub head: Bytes,
    /// The entry's link.
    pub link: [u8; 32],
}

/// Gives head and link of the entry that follows a tail.
///
/// Called at commit and in commit order, by whoever commits: it must be fast and must not wait. It is called
/// again if a commit is retried, so it has no effects of its own.
pub type Number = Arc<dyn Fn(Tail) -> Numbered + Send + Sync>;

/// One entry to append.
#[derive(Clone)]
pub struct Append {
    /// Where to.
    pub stream: Stream,
    /// Gives its head and link, once its number is known.
    pub number: Number,
    /// Its body; with the head at most [`ENTRY_LIMIT`] octets.
    pub body: Bytes,
}

impl fmt::Debug for Append {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Append").field("stream", &self.stream).field("octets", &self.body.len()).finish()
    }
}

/// Makes a change happen at most once.
#[derive(Debug, Clone)]
pub struct Once {
    /// Under which the change is known.
    pub id: OnceId,
    /// SHA-256 of what was asked for: tells a repetition from another request under the same id.
    pub digest: [u8; 32],
    /// What to answer to a repetition; at most [`ENTRY_LIMIT`] octets.
    pub answer: Bytes,
}

/// Moves a cursor that stands at `from`; refused as [`StoreError::Moved`] if it stands elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Advance {
    /// Which one.
    pub cursor: CursorName,
    /// Where it has to stand.
    pub from: Cursor,
    /// Where it goes; not before `from`, or it is refused as [`StoreError::Backwards`].
    pub to: Cursor,
}

/// What a change does to a disk that is nearly full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Room {
    /// It is refused as [`StoreError::Full`] below the floor, if it keeps an entry or an answer.
    #[default]
    Common,
    /// It is small, and lets more be removed than it takes: it may use what is kept free.
    Reserve,
}

/// What is kept as a whole, or not at all.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// When: Unix seconds by the caller's clock.
    pub at: u64,
    /// Refuses it, unless the lease is still held as it was given.
    pub fence: Option<Fence>,
    /// Whether it may use what is kept free on the disk.
    pub room: Room,
    /// Keep it from happening twice, each under an id of its own: if one of them is known, nothing is kept.
    pub once: Vec<Once>,
    /// The cursors it moves, in this order.
    pub advances: Vec<Advance>,
    /// The entries it appends, in this order.
    pub appends: Vec<Append>,
}

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// The change is kept.
    Done {
        /// Numbers of the new entries, in the order of [`Change::appends`].
        sequences: Vec<u64>,
    },
    /// Another change was kept under one of the ids, the first of those that are known, so this one was not.
    Before(Answered),
}

/// What was kept with a once id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// [`Once::digest`] of the change that was kept.
    pub digest: [u8; 32],
    /// [`Once::answer`] of the change that was kept.
    pub answer: Bytes,
}

/// One entry of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number, from 1.
    pub sequence: u64,
    /// [`Change::at`] of the change that appended it.
    pub at: u64,
    /// Its link.
    pub link: [u8; 32],
    /// What was made when it got its number.
    pub head: Bytes,
    /// What was appended.
    pub body: Bytes,
}

/// What a store takes up on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreSize {
    /// Octets of all segment files; the index comes on top.
    pub bytes: u64,
    /// Count of segment files.
    pub segments: u64,
}

/// Keeps streams of entries, cursors and answers.
///
/// Reads show only what would survive a power cut. Every call may fail with [`StoreError::Broken`] or
/// [`StoreError::Closed`], every read of an entry with [`StoreError::Damaged`], and every read of an answer with
/// [`StoreError::Corrupt`].
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Keeps all of `change`, or nothing, and returns when it is on disk.
    ///
    /// Who drops the future does not stop a commit that has begun: it is then kept as a whole.
    ///
    /// # Errors
    /// [`StoreError::Moved`] and [`StoreError::Backwards`] for a cursor, [`StoreError::Fenced`] for a lease that
    /// another holder has taken over, [`StoreError::TooLarge`] for an entry, [`StoreError::Full`] and
    /// [`StoreError::NoSpace`] for the disk.
    async fn commit(&self, change: Change) -> Result<Committed, StoreError>;

    /// The answer that was kept under `id`, unless it was forgotten.
    async fn once(&self, id: &OnceId) -> Result<Option<Answered>, StoreError>;

    /// Whether an answer is kept under `id`, damaged or not.
    async fn knows(&self, id: &OnceId) -> Result<bool, StoreError> {
        match self.once(id).await {
            Err(StoreError::Corrupt { .. }) => Ok(true),
            answered => answered.map(|answered| answered.is_some()),
        }
    }

    /// The entry of this number, unless it was purged or does not exist yet.
    async fn find(&self, stream: Stream, sequence: u64) -> Result<Option<Entry>, StoreError>;

    /// The link of an entry: known also if its octets are damaged, and of a stream's last one if it was purged. Costs far
    /// less than the entry.
    async fn link(&self, stream: Stream, sequence: u64) -> Result<Option<[u8; 32]>, StoreError>;

    /// The entries that follow number `after`, in order: one if there is one, then as many as fit into
    /// `max_bytes` octets of heads and bodies; a store may end a page of 1,000 entries and more earlier. Purged
    /// entries are skipped, damaged ones never: a page ends before one.
    async fn after(&self, stream: Stream, after: u64, max_bytes: usize) -> Result<Vec<Entry>, StoreError>;

    /// Where a cursor stands.
    async fn cursor(&self, name: CursorName) -> Result<Cursor, StoreError>;

    /// The stream's tail as far as this process knows, and every later one. [`Store::after`] shows an entry before
    /// this does. What another process appends shows soon after its commit.
    fn tail(&self, stream: Stream) -> watch::Receiver<Tail>;

    /// The stream's tail, asked anew: with all that any process has committed before. [`Store::tail`] then shows
    /// no less.
    async fn latest(&self, stream: Stream) -> Result<Tail, StoreError>;

    /// Number and time of the first entry that is still kept.
    async fn oldest(&self, stream: Stream) -> Result<Option<(u64, u64)>, StoreError>;

    /// The highest number such that its entry and all before it that are still kept have a time before `before`
    /// (Unix seconds); 0 if there is none.
    async fn older(&self, stream: Stream, before: u64) -> Result<u64, StoreError>;

    /// Removes the entries up to number `through`; gives how many.
    async fn purge(&self, stream: Stream, through: u64) -> Result<u64, StoreError>;

    /// Removes the once ids, with their answers, of changes with a time before `before` (Unix seconds); gives
    /// how many. A change under such an id is then kept again.
    async fn forget(&self, before: u64) -> Result<u64, StoreError>;

    /// The streams that have ever had an entry, in order.
    async fn streams(&self) -> Result<Vec<Stream>, StoreError>;

    /// What mends and moves this store, if it can be.
    fn upkeep(&self) -> Option<&dyn upkeep::Upkeep> {
        None
    }

    /// Gives a lease to `holder` for `time`, or leaves it longer to it; gives nothing if another holder has it and
    /// its time is not over. The store's clock decides, and no holder's. Who asks again while it holds the lease
    /// gets the same fence.
    async fn lease(
        &self,
        name: LeaseName,
        holder: Holder,
        time: Duration,
    ) -> Result<Option<Fence>, StoreError>;

    /// Gives a lease back before its time; no effect if it is held under another fence by now.
    async fn release(&self, fence: Fence) -> Result<(), StoreError>;

    /// The time that all who share this store go by, Unix seconds; nothing if this process has it alone.
    async fn clock(&self) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    /// Changes when another process may have committed something.
    fn elsewhere(&self) -> watch::Receiver<u64>;

    /// What the store takes up; from memory, so it costs nothing to ask.
    fn size(&self) -> StoreSize;

    /// Waits until the store is broken: whatever it is asked then fails, and only a new process helps. A store that
    /// comes back by itself never is.
    async fn broken(&self) {
        std::future::pending::<()>().await;
    }

    /// Finishes what was asked for before, and stops. Later calls get [`StoreError::Closed`].
    async fn close(&self) -> Result<(), StoreError>;
}

/// Refuses what is too large before it waits for its turn; heads are not known yet.
fn check_lengths(change: &Change) -> Result<(), StoreError> {
    let bodies = change.appends.iter().map(|append| append.body.len());
    let answers = change.once.iter().map(|once| once.answer.len());
    match bodies.chain(answers).max() {
        Some(found) if found > ENTRY_LIMIT => Err(StoreError::TooLarge { found, limit: ENTRY_LIMIT }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_once_id_has_at_least_one_octet_and_at_most_64() {
        assert_eq!([&[][..], &[7; 65]].map(OnceId::new), [None, None]);
        assert_eq!(OnceId::new(&[7; 1]).unwrap().octets(), [7]);
        assert_eq!(OnceId::new(&[7; 64]).unwrap().octets(), [7; 64]);
    }
}
