//! Reports that may not be used before their time: `<Unix time>.<name>.ndjson`, one file for each time.
//!
//! They are written aside, and shown by a rename once what they belong to is committed.

use std::path::{Path, PathBuf};

use pki::disk::DiskError;
use proto::report::{JsonReport, Report};

use crate::backend::BackendError;
use crate::durable::{self, Disk, PRIVATE, PRIVATE_DIR};

const ENDING: &str = ".ndjson";

/// A folder of such files.
pub struct Held {
    disk: Disk,
    dir: PathBuf,
    aside: PathBuf,
}

/// One of them, whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    file: String,
}

impl Due {
    /// Its name, which no other has.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }
}

impl Held {
    /// Opens the folder and the one beside it, or makes them.
    pub fn open(dir: &Path, aside: &Path, disk: Disk) -> Result<Self, DiskError> {
        disk.create_dir(dir, PRIVATE_DIR)?;
        disk.create_dir(aside, PRIVATE_DIR)?;
        Ok(Self { disk, dir: dir.into(), aside: aside.into() })
    }

    /// Writes reports aside that may be used from some Unix time on; nothing if there are none.
    pub fn stage<'a>(
        &self,
        name: &str,
        from: u64,
        reports: impl Iterator<Item = Report<'a>>,
    ) -> Result<(), DiskError> {
        write(&self.disk, &self.aside.join(format!("{from}.{name}{ENDING}")), reports)?;
        self.disk.sync_dir(&self.aside)
    }

    /// Removes what stands aside under a name.
    pub fn discard(&self, name: &str) -> Result<(), DiskError> {
        staged(&self.aside, name)?.iter().try_for_each(|file| self.disk.remove(&self.aside.join(file)))
    }

    /// Shows what stands aside under a name; it may have been shown before. Gives the number of files that it has shown.
    pub fn publish(&self, name: &str) -> Result<usize, DiskError> {
        let files = staged(&self.aside, name)?;
        files.iter().try_for_each(|file| self.disk.rename(&self.aside.join(file), &self.dir.join(file)))?;
        Ok(files.len())
    }

    /// Whether something is held under a name.
    pub fn has(&self, name: &str) -> Result<bool, DiskError> {
        Ok(!staged(&self.dir, name)?.is_empty())
    }

    /// Files whose time has come.
    pub fn due(&self, now: u64) -> Result<Vec<Due>, DiskError> {
        let files = durable::names(&self.dir)?.into_iter();
        Ok(files.filter(|file| from(file).is_some_and(|from| from <= now)).map(|file| Due { file }).collect())
    }

    /// The reports of a file.
    pub fn read(&self, due: &Due) -> Result<Vec<JsonReport>, BackendError> {
        let path = self.dir.join(&due.file);
        let octets = durable::read_if_there(&path)?.unwrap_or_default();
        let lines = octets.split(|octet| *octet == b'\n').filter(|line| !line.is_empty());
        let whole = |line| JsonReport::parse(line).and_then(|json| json.report().map(drop).map(|()| json));
        let reports = lines.map(whole).collect::<Result<_, _>>();
        reports.map_err(|problem| BackendError::Damaged { path, reason: problem.to_string() })
    }

    /// Moves a file to another folder.
    pub fn release(&self, due: &Due, to: &Path) -> Result<(), DiskError> {
        self.disk.rename(&self.dir.join(&due.file), &to.join(&due.file))
    }

    /// Removes a file.
    pub fn remove(&self, due: &Due) -> Result<(), DiskError> {
        self.disk.remove(&self.dir.join(&due.file))?;
        self.disk.sync_dir(&self.dir)
    }

    /// Removes all that stands aside.
    pub fn discard_all(&self) -> Result<(), DiskError> {
        let files = durable::names(&self.aside)?;
        files.iter().try_for_each(|file| self.disk.remove(&self.aside.join(file)))
    }
}

/// Writes reports as lines; no file if there are none.
pub(crate) fn write<'a>(
    disk: &Disk,
    path: &Path,
    reports: impl Iterator<Item = Report<'a>>,
) -> Result<(), DiskError> {
    let mut reports = reports.peekable();
    if reports.peek().is_none() {
        return Ok(());
    }
    disk.write_with(path, PRIVATE, |file| {
        reports.try_for_each(|report| {
            serde_json::to_writer(&mut *file, &JsonReport::from_report(&report))?;
            file.write_all(b"\n")
        })
    })
}

fn from(file: &str) -> Option<u64> {
    file.strip_suffix(ENDING)?.split_once('.')?.0.parse().ok()
}

/// Files of a name, whatever their time.
fn staged(dir: &Path, name: &str) -> Result<Vec<String>, DiskError> {
    let rest = format!("{name}{ENDING}");
    let is_named =
        |file: &String| from(file).is_some() && file.split_once('.').is_some_and(|(_, after)| after == rest);
    Ok(durable::names(dir)?.into_iter().filter(is_named).collect())
}
