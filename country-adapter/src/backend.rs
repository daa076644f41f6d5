//! What an adapter needs of a national backend, whatever software that is.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use pki::disk::DiskError;
use proto::ids::{CountryCode, Sequence};

use crate::work::{Answer, Outcome, Outgoing, WorkName};

/// A national backend. Calls block; the adapter makes them on threads that may.
///
/// Outgoing work is claimed, read as often as needed, answered and finished; a piece that was claimed and not finished
/// comes back after a restart, and all calls but [`Backend::outgoing`] may be repeated for it. What arrives goes the
/// other way, through an [`Outlet`](crate::intake::Outlet).
pub trait Backend: Send + Sync + 'static {
    /// Pieces that were claimed before and are not finished.
    fn claimed(&self) -> Result<Vec<WorkName>, BackendError>;

    /// Claims the next piece of work, if there is one.
    fn outgoing(&self) -> Result<Option<WorkName>, BackendError>;

    /// How many pieces are waiting to be claimed.
    fn waiting(&self) -> Result<usize, BackendError>;

    /// Shows every report of a claimed piece in its order; the same ones at each call.
    fn read(
        &self,
        work: &WorkName,
        visit: &mut dyn FnMut(Outgoing) -> Result<(), BackendError>,
    ) -> Result<(), BackendError>;

    /// Keeps the answers of a piece durably; one for each report, by line.
    fn answer(&self, work: &WorkName, answers: &mut dyn Iterator<Item = &Answer>)
    -> Result<(), BackendError>;

    /// Puts an answered piece out of the way. A piece that is gone already is fine.
    fn finish(&self, work: &WorkName, outcome: Outcome) -> Result<(), BackendError>;
}

/// How far the desk has come with what was delivered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The last batch taken from the gateway's delivery stream.
    pub at: Mark,
    /// The last sequence of each origin. What is not above it has been accepted before.
    pub origins: BTreeMap<CountryCode, Sequence>,
}

/// A place in the gateway's delivery stream. The hash tells whether the position still means the same batch: a store
/// that was restored from a backup gives its positions to other ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    /// The position; 0 at the beginning.
    pub position: u64,
    /// SHA-256 of the manifest there; nothing if the batch there was never seen.
    pub manifest_hash: Option<[u8; 32]>,
}

impl Mark {
    /// The hash as it goes over the wire: empty if there is none.
    #[must_use]
    pub fn hash_octets(&self) -> Bytes {
        self.manifest_hash.map_or_else(Bytes::new, |hash| Bytes::copy_from_slice(&hash))
    }
}

/// What became of some delivered batches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Batches that are new.
    pub batches: usize,
    /// Reports in them.
    pub reports: usize,
    /// Batches that had been accepted before.
    pub replayed: usize,
    /// By position: reports of a batch that were refused because their country has used its quota of the day.
    pub over_quota: BTreeMap<u64, usize>,
}

/// Why a backend could not do its part. All of these are tried again; only a piece that stays unreadable is set aside
/// in the end.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// A file or directory.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A piece of work that was claimed.
    #[error("the claimed file {path} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A defect of this software that a piece of work sets off.
    #[error("a defect of this software was set off; the log says where, please report it")]
    Defect,
    /// A state file that this software did not write so.
    #[error("{path} is damaged: {reason}; restore it from a backup, or move it away to begin anew")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}
