//! A backend that is a folder: files of newline-delimited JSON reports go out of it.
//!
//! Any software can write them. What arrives appears in another folder, see `intake::lines`.

mod line;
mod lines;
mod outgoing;

#[cfg(test)]
mod tests;

use std::path::Path;

use pki::disk::DiskError;

use crate::backend::{Backend, BackendError};
use crate::durable::Disk;
use crate::herald::reference::SourceProfile;
use crate::work::{Answer, Outcome, Outgoing, WorkName};
#[cfg(test)]
pub(crate) use line::parse as parse_line;
use outgoing::Outbound;

/// The folder backend.
pub struct FolderBackend {
    outbound: Outbound,
}

impl FolderBackend {
    /// Opens the folder, or makes it. The profile says how frames in it are written.
    pub fn open(outgoing: &Path, disk: Disk, profile: SourceProfile) -> Result<Self, DiskError> {
        Ok(Self { outbound: Outbound::open(outgoing, disk, profile)? })
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
}
