//! What an adapter needs of a national backend, whatever software that is.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pki::disk::DiskError;
use proto::ids::{CountryCode, Sequence};

use crate::receive::OpenedBatch;
use crate::work::{Answer, Outcome, Outgoing, WorkName};

/// A national backend. Calls block; the adapter makes them on threads that may.
///
/// Outgoing work is claimed, read as often as needed, answered and finished; a piece that was claimed and not finished
/// comes back after a restart, and all calls but [`Backend::outgoing`] may be repeated for it. Delivered batches are
/// accepted once: the backend keeps the position together with them, so that neither is ever without the other.
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

    /// How far the backend has come with what was delivered to it.
    fn cursor(&self) -> Result<Cursor, BackendError>;

    /// Keeps delivered batches and the position through which they go, durably and each batch once.
    fn accept(&self, through: u64, batches: &[OpenedBatch]) -> Result<Accepted, BackendError>;

    /// Goes back to position 0, because the gateway's numbers begin anew. What is known of the origins stays.
    fn rewind(&self) -> Result<(), BackendError>;
}

/// How far a backend has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The last position of the gateway's delivery stream; 0 at the beginning.
    pub position: u64,
    /// The last sequence of each origin. What is not above it has been accepted before.
    pub origins: BTreeMap<CountryCode, Sequence>,
}

/// What became of some delivered batches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Batches that are new.
    pub batches: usize,
    /// Reports in them.
    pub reports: usize,
    /// Batches that had been accepted before.
    pub replayed: usize,
}

/// Why a backend could not do its part. All of these are tried again.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// A file or directory.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A state file that this software did not write so.
    #[error("{path} is damaged: {reason}; restore it from a backup, or move it away to begin anew")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}
