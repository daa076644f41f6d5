//! Files on their way out: claimed by a rename, read, answered, put away by another rename.
//!
//! `x.ndjson` -> `.working/x.<8 hex>.ndjson` -> `answers/x.<8 hex>.ndjson` beside `published/` or `failed/`.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use pki::disk::DiskError;
use proto::verdict::Verdict;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::line;
use super::lines::{LONGEST, Line, Lines};
use crate::backend::BackendError;
use crate::durable::{self, Disk, SHARED};
use crate::work::{Answer, Outcome, Outgoing, Rejected, WorkName};

const ENDING: &str = ".ndjson";
/// Octets that are left of a file's name, so that what is added to it still makes a name.
const LONGEST_STEM: usize = 200;

/// The outgoing folder.
pub(super) struct Outbound {
    disk: Disk,
    dir: PathBuf,
}

impl Outbound {
    pub(super) fn open(dir: &Path, disk: Disk) -> Result<Self, DiskError> {
        for made in [".working", "answers", "published", "failed"] {
            disk.create_dir(&dir.join(made))?;
        }
        Ok(Self { disk, dir: dir.into() })
    }

    /// Files that were claimed and are not put away.
    pub(super) fn claimed(&self) -> Result<Vec<WorkName>, DiskError> {
        let names = durable::names(&self.dir.join(".working"))?;
        Ok(names.iter().filter_map(|name| WorkName::new(name.strip_suffix(ENDING)?)).collect())
    }

    /// Files that nobody has claimed, by name. Those still being written are left alone: dot files and other endings.
    pub(super) fn waiting(&self) -> Result<Vec<String>, DiskError> {
        let mut names = durable::names(&self.dir)?;
        names
            .retain(|name| name.ends_with(ENDING) && !name.starts_with('.') && self.dir.join(name).is_file());
        Ok(names)
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
        let unreadable = |source| DiskError::Read { path: path.clone(), source };
        let mut lines = Lines::new(File::open(&path).map_err(unreadable)?);
        while let Some((number, line)) = lines.read().map_err(unreadable)? {
            let report = match line {
                Line::Text(text) => line::parse(text),
                Line::TooLong => Err(too_long()),
            };
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
        if !working.exists() {
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
