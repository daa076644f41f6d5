//! Files on their way out: claimed by a rename, read, answered, put away by another rename.
//!
//! `x.ndjson` -> `.working/x.<8 hex>.ndjson` -> `answers/x.<8 hex>.ndjson` beside `published/` or `failed/`.
//! Only regular files count: a link could name a file that only the adapter may read, a pipe would never end.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use pki::disk::DiskError;
use proto::verdict::Verdict;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::fs::OFlags;
use tracing::warn;

use super::line;
use super::lines::{LONGEST, Line, Lines};
use crate::backend::BackendError;
use crate::durable::{self, Disk, SHARED, SHARED_DIR};
use crate::herald::reference::SourceProfile;
use crate::work::{Answer, Outcome, Outgoing, Rejected, WorkName};

const ENDING: &str = ".ndjson";
/// Octets that are left of a file's name, so that what is added to it still makes a name.
const LONGEST_STEM: usize = 200;

/// Files that do not go out, and why.
pub(super) type Ignored = BTreeMap<OsString, &'static str>;

/// The outgoing folder.
pub(super) struct Outbound {
    disk: Disk,
    dir: PathBuf,
    profile: SourceProfile,
    /// As it was told.
    ignored: Mutex<Ignored>,
}

impl Outbound {
    pub(super) fn open(dir: &Path, disk: Disk, profile: SourceProfile) -> Result<Self, DiskError> {
        for made in [".working", "answers", "published", "failed"] {
            disk.create_dir(&dir.join(made), SHARED_DIR)?;
        }
        Ok(Self { disk, dir: dir.into(), profile, ignored: Mutex::default() })
    }

    /// Files that were claimed and are not put away.
    pub(super) fn claimed(&self) -> Result<Vec<WorkName>, DiskError> {
        let working = self.dir.join(".working");
        let names = durable::names(&working)?;
        // A claim may have failed on its way: nothing is sealed of a file that could come back under its old name.
        self.disk.sync_dir(&working)?;
        self.disk.sync_dir(&self.dir)?;
        Ok(names.iter().filter_map(|name| WorkName::new(name.strip_suffix(ENDING)?)).collect())
    }

    /// Files that nobody has claimed, by name. Those still being written are left alone: dot files and other endings.
    pub(super) fn waiting(&self) -> Result<Vec<String>, DiskError> {
        let (mut names, mut ignored) = (Vec::new(), BTreeMap::new());
        for (name, kind) in durable::entries(&self.dir)? {
            if !name.as_bytes().ends_with(ENDING.as_bytes()) || name.as_bytes().starts_with(b".") {
                continue;
            }
            match (obstacle(kind), name.into_string()) {
                (None, Ok(name)) => names.push(name),
                (Some(why), Ok(name)) => drop(ignored.insert(name.into(), why)),
                (_, Err(name)) => drop(ignored.insert(name, "the name is no UTF-8 text; rename it")),
            }
        }
        self.tell(ignored);
        names.sort_unstable();
        Ok(names)
    }

    fn tell(&self, ignored: Ignored) {
        for (name, reason) in self.untold(&ignored) {
            warn!(file = ?name, reason, "does not go out");
        }
        *self.ignored.lock().unwrap_or_else(PoisonError::into_inner) = ignored;
    }

    /// Those that were not told the last time.
    pub(super) fn untold(&self, ignored: &Ignored) -> Ignored {
        let told = self.ignored();
        let new = ignored.iter().filter(|(name, reason)| told.get(*name) != Some(*reason));
        new.map(|(name, reason)| (name.clone(), *reason)).collect()
    }

    /// What lies in the folder and does not go out.
    pub(super) fn ignored(&self) -> Ignored {
        self.ignored.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Claims the first file.
    pub(super) fn claim(&self) -> Result<Option<WorkName>, DiskError> {
        let waiting = self.waiting()?;
        let Some(file) = waiting.first() else { return Ok(None) };
        let work = claimed_name(file.strip_suffix(ENDING).unwrap_or(file));
        self.disk.rename(&self.dir.join(file), &self.working(&work))?;
        Ok(Some(work))
    }

    /// Shows every line of a claimed file.
    pub(super) fn read(
        &self,
        work: &WorkName,
        visit: &mut dyn FnMut(Outgoing) -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        let path = self.working(work);
        let unreadable = |source| BackendError::Unreadable { path: path.clone(), source };
        let mut lines = Lines::new(open_regular(&path).map_err(unreadable)?);
        while let Some((number, line)) = lines.read().map_err(unreadable)? {
            let report = match line {
                Line::Text(text) => line::parse(text, self.profile),
                Line::TooLong => Err(too_long()),
            };
            #[cfg(test)]
            report.iter().for_each(|report| crate::testing::set_off(report.octets()));
            visit(Outgoing { line: number, report })?;
        }
        Ok(())
    }

    /// Writes the answers; the file appears whole.
    pub(super) fn answer(
        &self,
        work: &WorkName,
        answers: &mut dyn Iterator<Item = &Answer>,
    ) -> Result<(), DiskError> {
        let path = self.dir.join("answers").join(file_name(work));
        let written = self.dir.join("answers").join(format!(".{work}.tmp"));
        self.disk.write_with(&written, SHARED, |file| write_lines(file, answers))?;
        self.disk.rename(&written, &path)
    }

    /// Puts a claimed file away. One that is away already is fine.
    pub(super) fn finish(&self, work: &WorkName, outcome: Outcome) -> Result<(), DiskError> {
        let working = self.working(work);
        if !durable::is_there(&working)? {
            return Ok(());
        }
        let away = match outcome {
            Outcome::Answered => "published",
            Outcome::SetAside => "failed",
        };
        self.disk.rename(&working, &self.dir.join(away).join(file_name(work)))
    }

    fn working(&self, work: &WorkName) -> PathBuf {
        self.dir.join(".working").join(file_name(work))
    }
}

fn file_name(work: &WorkName) -> String {
    format!("{work}{ENDING}")
}

/// Why something of this kind does not go out.
fn obstacle(kind: FileType) -> Option<&'static str> {
    if kind.is_file() {
        None
    } else if kind.is_symlink() {
        Some("is a link; copy the file itself here")
    } else if kind.is_dir() {
        Some("is a directory; put its files here")
    } else {
        Some("is no regular file; write one here")
    }
}

/// Opens a file, but no link, and nothing that could make us wait.
fn open_regular(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    match obstacle(file.metadata()?.file_type()) {
        None => Ok(file),
        Some(why) => Err(io::Error::other(why)),
    }
}

/// A file of the same name may come again, and each time it is another piece of work.
fn claimed_name(stem: &str) -> WorkName {
    let cut = stem.floor_char_boundary(LONGEST_STEM);
    let name = format!("{}.{:08x}", &stem[..cut], StdRng::from_os_rng().random::<u32>());
    WorkName::new(&name).expect("a file's name without a leading dot is one, and so is what follows it")
}

fn too_long() -> Rejected {
    let message = format!("the line is longer than {LONGEST} octets; no report is");
    Rejected { verdict: Verdict::Malformed, message }
}

fn write_lines(file: &mut dyn Write, answers: &mut dyn Iterator<Item = &Answer>) -> io::Result<()> {
    for answer in answers {
        serde_json::to_writer(&mut *file, answer)?;
        file.write_all(b"\n")?;
    }
    Ok(())
}
