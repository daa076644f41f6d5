//! What can go wrong in a store, and what then helps.

use std::{io, path::PathBuf, sync::Arc};

use super::Stream;

/// Why a store did not do what it was asked. Nothing of the request was kept, unless the variant says otherwise.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// There is too little space left; reads, purges and forgetting still work.
    #[error(
        "the store is full: {free} octets are free and {floor} stay reserved; free some space or move the store to a larger disk"
    )]
    Full {
        /// Octets that are free on the store's file system.
        free: u64,
        /// Octets that have to stay free.
        floor: u64,
    },
    /// The store on disk was made by a later release.
    #[error(
        "the store has format {found} and this release knows {known}; run the release that made it, or a later one"
    )]
    Newer {
        /// Format number of the store on disk.
        found: u32,
        /// Highest format number that this release reads.
        known: u32,
    },
    /// Losses were accepted, and what has to follow from them is not done.
    #[error(
        "losses of this store were accepted, and what follows from them is not done: going on would use numbers again; finish it with `gateway store rebuild CONFIG --accept-losses`, or remove {path} if a whole and newer copy was put in the store's place since"
    )]
    Owed {
        /// The file that says so.
        path: PathBuf,
    },
    /// Another process, or another part of this one, holds the store.
    #[error("the store is in use by another process; stop that one first")]
    InUse,
    /// A cursor does not stand where the change expects it.
    #[error("the cursor has moved; read it again and retry")]
    Moved,
    /// A change would move a cursor backwards.
    #[error("a cursor cannot move backwards; read it again")]
    Backwards,
    /// Another holder has taken the lease over.
    #[error("another process has taken over what this change belongs to; stop, and take the lease again")]
    Fenced,
    /// What is on disk is not what was written there.
    #[error("the store is damaged at {what}; deploy/runbooks/restore-store.md says what can be done")]
    Corrupt {
        /// The file, with the offset or key that is wrong.
        what: String,
    },
    /// What is kept of one entry is not what was written; its neighbours are whole.
    #[error(
        "entry {sequence} of stream {stream} is damaged at {what}; deploy/runbooks/restore-store.md says what can be done"
    )]
    Damaged {
        /// Of which stream.
        stream: Stream,
        /// Its number.
        sequence: u64,
        /// The file, with the offset.
        what: String,
    },
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}; check the disk and the permissions", path.display())]
    Io {
        /// What was tried, as a verb: `open`, `write to`.
        doing: &'static str,
        /// The file or directory it was tried on.
        path: PathBuf,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// An earlier failure left it unknown what is on disk. The change may turn out to be kept: repeat it under its once id.
    #[error("the store failed earlier and has stopped; restart the process, and see its log for the cause")]
    Broken,
    /// What gives an entry its number panicked. Nothing of this change is kept; others are not touched.
    #[error("a defect of the gateway ended the change; its log says where")]
    Defect,
    /// The database does not answer, or is not let do what is asked.
    #[error(
        "the database {database} does not serve us: {cause}; check that it runs, its address, `postgres.ca` and `postgres.password_file`"
    )]
    Unreachable {
        /// Which, without options.
        database: String,
        /// What the driver says.
        cause: String,
    },
    /// The database answers, and other transactions or limits of its own are in the way for too long.
    #[error(
        "the database did not get to it, however often it was asked: {cause}; see its log, and deploy/runbooks/postgres.md"
    )]
    Busy {
        /// What it said last.
        cause: String,
    },
    /// The database's disk is full.
    #[error("the database has no space left: {cause}; free some, or move it to a larger disk")]
    NoSpace {
        /// What it says.
        cause: String,
    },
    /// The database went away while it committed. The change may turn out to be kept: repeat it under its once id,
    /// or read its cursor again.
    #[error("the database went away during a commit, and whether it is kept is not known; repeat it")]
    Unknown,
    /// The database refuses a statement.
    #[error("the database refused: {cause}; see its log, and deploy/runbooks/postgres.md")]
    Database {
        /// What it says.
        cause: String,
    },
    /// The database is none that this release can trust with entries.
    #[error("the database cannot be used: {why}")]
    Unfit {
        /// What is wrong, and what would do.
        why: String,
    },
    /// The store was closed.
    #[error("the store is closed; open it again")]
    Closed,
    /// An entry or an answer is over the store's limit.
    #[error("{found} octets are over the limit of {limit} for one entry; split it")]
    TooLarge {
        /// Octets of head and body, or of the answer.
        found: usize,
        /// Octets that are allowed: [`super::ENTRY_LIMIT`].
        limit: usize,
    },
}
