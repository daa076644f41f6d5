//! The adapter's own outgoing folder: what uploads of cases have for other countries.
//!
//! A second source of work beside the backend's folder, in the same form. Its files are written aside and shown by a
//! rename; those that wait for their time stand in `held/<Unix time>.<name>.ndjson`. What was answered is removed: it
//! is nobody's archive.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pki::disk::DiskError;
use proto::report::{JsonReport, Report};

use crate::backend::{Backend, BackendError};
use crate::backends::folder::FolderBackend;
use crate::durable::{self, Disk, PRIVATE, PRIVATE_DIR};
use crate::herald::reference::SourceProfile;
use crate::intake::UploadId;
use crate::work::{Answer, Outcome, Outgoing, WorkName};

const ENDING: &str = ".ndjson";

/// The folder `state/spool`.
pub struct Spool {
    disk: Disk,
    dir: PathBuf,
    folder: FolderBackend,
}

impl Spool {
    /// Opens the folder, or makes it.
    pub fn open(state: &Path, disk: Disk) -> Result<Self, DiskError> {
        let dir = state.join("spool");
        for made in [".incoming", "held"] {
            disk.create_dir(&dir.join(made), PRIVATE_DIR)?;
        }
        let folder = FolderBackend::open(&dir, disk.clone(), SourceProfile::Specification)?;
        Ok(Self { disk, dir, folder })
    }

    /// Writes what a case has for others aside; nothing if it has nothing.
    pub fn stage<'a>(
        &self,
        id: UploadId,
        reports: impl Iterator<Item = Report<'a>>,
    ) -> Result<(), DiskError> {
        self.write(&self.aside(id), reports)?;
        self.disk.sync_dir(&self.dir.join(".incoming"))
    }

    /// Keeps reports that may leave from some Unix time on.
    pub fn hold<'a>(
        &self,
        id: UploadId,
        from: u64,
        reports: impl Iterator<Item = Report<'a>>,
    ) -> Result<(), DiskError> {
        let held = self.dir.join("held");
        let staged = self.dir.join(".incoming").join(format!("held-{from}.{id}{ENDING}"));
        self.write(&staged, reports)?;
        if durable::is_there(&staged)? {
            self.disk.rename(&staged, &held.join(format!("{from}.{id}{ENDING}")))?;
        }
        Ok(())
    }

    /// Shows what was written aside; it may have been shown before.
    pub fn publish(&self, id: UploadId) -> Result<(), DiskError> {
        let aside = self.aside(id);
        if durable::is_there(&aside)? {
            self.disk.rename(&aside, &self.dir.join(format!("case-{id}{ENDING}")))?;
        }
        Ok(())
    }

    /// Shows what is held and whose time has come; whether there was any.
    pub fn release(&self, now: u64) -> Result<bool, DiskError> {
        let held = self.dir.join("held");
        let mut released = false;
        for name in durable::names(&held)? {
            let from: Option<u64> = name.split_once('.').and_then(|(from, _)| from.parse().ok());
            if from.is_some_and(|from| from <= now) {
                self.disk.rename(&held.join(&name), &self.dir.join(&name))?;
                released = true;
            }
        }
        Ok(released)
    }

    /// Removes what stands aside of uploads that were never committed: they come again.
    pub fn discard_staged(&self) -> Result<(), BackendError> {
        let aside = self.dir.join(".incoming");
        for name in durable::names(&aside)? {
            self.disk.remove(&aside.join(name))?;
        }
        Ok(())
    }

    fn write<'a>(&self, path: &Path, reports: impl Iterator<Item = Report<'a>>) -> Result<(), DiskError> {
        let mut reports = reports.peekable();
        if reports.peek().is_none() {
            return Ok(());
        }
        self.disk.write_with(path, PRIVATE, |file| {
            reports.try_for_each(|report| {
                serde_json::to_writer(&mut *file, &JsonReport::from_report(&report))?;
                file.write_all(b"\n")
            })
        })
    }

    fn aside(&self, id: UploadId) -> PathBuf {
        self.dir.join(".incoming").join(format!("case-{id}{ENDING}"))
    }

    fn has(&self, work: &WorkName) -> Result<bool, DiskError> {
        durable::is_there(&self.dir.join(".working").join(format!("{work}{ENDING}")))
    }
}

/// Two sources of work: the spool, which is asked first, and the national backend.
pub struct Sources {
    spool: Arc<Spool>,
    backend: Arc<dyn Backend>,
}

impl Sources {
    /// Both.
    #[must_use]
    pub fn new(spool: Arc<Spool>, backend: Arc<dyn Backend>) -> Self {
        Self { spool, backend }
    }

    fn of(&self, work: &WorkName) -> Result<&dyn Backend, BackendError> {
        Ok(if self.spool.has(work)? { &self.spool.folder } else { &*self.backend })
    }
}

impl Backend for Sources {
    fn claimed(&self) -> Result<Vec<WorkName>, BackendError> {
        let mut claimed = self.spool.folder.claimed()?;
        claimed.extend(self.backend.claimed()?);
        Ok(claimed)
    }

    fn outgoing(&self) -> Result<Option<WorkName>, BackendError> {
        match self.spool.folder.outgoing()? {
            Some(work) => Ok(Some(work)),
            None => self.backend.outgoing(),
        }
    }

    fn waiting(&self) -> Result<usize, BackendError> {
        Ok(self.spool.folder.waiting()? + self.backend.waiting()?)
    }

    fn read(
        &self,
        work: &WorkName,
        visit: &mut dyn FnMut(Outgoing) -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        self.of(work)?.read(work, visit)
    }

    fn answer(
        &self,
        work: &WorkName,
        answers: &mut dyn Iterator<Item = &Answer>,
    ) -> Result<(), BackendError> {
        self.of(work)?.answer(work, answers)
    }

    fn finish(&self, work: &WorkName, outcome: Outcome) -> Result<(), BackendError> {
        let of_spool = self.spool.has(work)?;
        self.of(work)?.finish(work, outcome)?;
        if of_spool && outcome == Outcome::Answered {
            for folder in ["published", "answers"] {
                self.spool.disk.remove(&self.spool.dir.join(folder).join(format!("{work}{ENDING}")))?;
            }
        }
        Ok(())
    }
}
