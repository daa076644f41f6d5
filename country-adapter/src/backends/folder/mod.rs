//! A backend that is two folders: newline-delimited JSON reports go out of one and come in at the other.
//!
//! Any software can write and read them. A file appears whole, by a rename, and each report once, whenever the
//! adapter is killed.

mod delivered;
mod line;
mod lines;
mod outgoing;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use pki::disk::DiskError;

use crate::backend::{Accepted, Backend, BackendError, Cursor, Mark};
use crate::durable::Disk;
use crate::receive::OpenedBatch;
use crate::work::{Answer, Outcome, Outgoing, WorkName};
use delivered::Incoming;
#[cfg(test)]
pub(crate) use line::parse as parse_line;
use outgoing::Outbound;

/// Where the folders are.
#[derive(Debug, Clone)]
pub struct Folders {
    /// `*.ndjson` files that appear here go out.
    pub outgoing: PathBuf,
    /// Delivered reports appear here, one file a batch.
    pub delivered: PathBuf,
}

/// The folder backend.
pub struct FolderBackend {
    outbound: Outbound,
    incoming: Incoming,
}

impl FolderBackend {
    /// Opens the folders, or makes them. `state` is the adapter's own directory.
    pub fn open(folders: &Folders, state: &Path, disk: Disk) -> Result<Self, DiskError> {
        Ok(Self {
            outbound: Outbound::open(&folders.outgoing, disk.clone())?,
            incoming: Incoming::open(&folders.delivered, state, disk)?,
        })
    }
}

impl Backend for FolderBackend {
    fn claimed(&self) -> Result<Vec<WorkName>, BackendError> {
        Ok(self.outbound.claimed()?)
    }

    fn outgoing(&self) -> Result<Option<WorkName>, BackendError> {
        Ok(self.outbound.claim()?)
    }

    fn waiting(&self) -> Result<usize, BackendError> {
        Ok(self.outbound.waiting()?.len())
    }

    fn read(
        &self,
        work: &WorkName,
        visit: &mut dyn FnMut(Outgoing) -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        self.outbound.read(work, visit)
    }

    fn answer(
        &self,
        work: &WorkName,
        answers: &mut dyn Iterator<Item = &Answer>,
    ) -> Result<(), BackendError> {
        Ok(self.outbound.answer(work, answers)?)
    }

    fn finish(&self, work: &WorkName, outcome: Outcome) -> Result<(), BackendError> {
        Ok(self.outbound.finish(work, outcome)?)
    }

    fn cursor(&self) -> Result<Cursor, BackendError> {
        self.incoming.cursor()
    }

    fn accept(&self, through: Mark, batches: &[OpenedBatch]) -> Result<Accepted, BackendError> {
        self.incoming.accept(through, batches)
    }

    fn rewind(&self) -> Result<(), BackendError> {
        self.incoming.rewind()
    }
}
