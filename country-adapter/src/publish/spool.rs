//! The adapter's own outgoing folder: what uploads of cases have for other authorities.
//!
//! A second source of work beside the backend's folder, in the same form. Its files are written aside and shown by a
//! rename; those that wait for their time stand in `held/<Unix time>.<name>.ndjson`. What was accepted is removed: it
//! is nobody's archive. What a suspended country should have is held for an hour and pushed again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use pki::disk::DiskError;
use pki::sign::sha256;
use proto::day::Day;
use proto::report::{JsonProblem, JsonReport, Report};
use proto::verdict::Verdict;

use crate::backend::{Backend, BackendError};
use crate::backends::folder::FolderBackend;
use crate::clock::Clock;
use crate::diagnosis::held::{self, Held};
use crate::durable::{self, Disk, PRIVATE_DIR, SHARED};
use crate::herald::reference::SourceProfile;
use crate::intake::UploadId;
use crate::work::{Answer, Outcome, WorkName};

const ENDING: &str = ".ndjson";
/// Seconds after which reports for a suspended country are pushed again.
const AGAIN: u64 = 3_600;
/// Seconds for which answers are kept that say why something did not go out.
const KEPT: u64 = Report::MAX_AGE as u64 * Day::SECONDS;

/// The folder `state/spool`.
pub struct Spool {
    disk: Disk,
    clock: Clock,
    dir: PathBuf,
    held: Held,
    pub(super) folder: FolderBackend,
}

/// What a case, or a file of keys, has for other authorities.
#[derive(Default)]
pub struct Leaving<'a> {
    /// May go now.
    pub due: Vec<Report<'a>>,
    /// May go from some Unix time on.
    pub held: BTreeMap<u64, Vec<Report<'a>>>,
}

impl Spool {
    /// Opens the folder, or makes it.
    pub fn open(state: &Path, disk: Disk, clock: Clock) -> Result<Self, DiskError> {
        let dir = state.join("spool");
        disk.create_dir(&dir.join(".incoming"), PRIVATE_DIR)?;
        let held = Held::open(&dir.join("held"), &dir.join(".incoming"), disk.clone())?;
        let folder = FolderBackend::open(&dir, disk.clone(), SourceProfile::Specification)?;
        Ok(Self { disk, clock, dir, held, folder })
    }

    /// Writes what a case has for others aside, in the place of what an earlier attempt may have left.
    pub fn stage(&self, id: UploadId, leaving: &Leaving<'_>) -> Result<(), DiskError> {
        self.disk.remove(&self.aside(id))?;
        self.held.discard(&id.to_string())?;
        held::write(&self.disk, &self.aside(id), leaving.due.iter().copied())?;
        for (from, reports) in &leaving.held {
            self.held.stage(&id.to_string(), *from, reports.iter().copied())?;
        }
        self.disk.sync_dir(&self.dir.join(".incoming"))
    }

    /// Shows what was written aside; it may have been shown before. Gives the number of files that it has shown.
    pub fn publish(&self, id: UploadId) -> Result<usize, DiskError> {
        let aside = self.aside(id);
        let is_due = durable::is_there(&aside)?;
        if is_due {
            self.disk.rename(&aside, &self.dir.join(format!("case-{id}{ENDING}")))?;
        }
        Ok(usize::from(is_due) + self.held.publish(&id.to_string())?)
    }

    /// Shows what is held and whose time has come; whether there was any.
    pub fn release(&self, now: u64) -> Result<bool, DiskError> {
        let due = self.held.due(now)?;
        due.iter().try_for_each(|due| self.held.release(due, &self.dir))?;
        Ok(!due.is_empty())
    }

    /// Removes what stands aside of uploads that were never committed: they come again.
    pub fn discard_staged(&self) -> Result<(), DiskError> {
        self.held.discard_all()
    }

    /// Removes answers, and pieces that were set aside, which are older than any report that could be sent again.
    pub fn forget(&self, now: u64) -> Result<(), DiskError> {
        for folder in ["answers", "failed"].map(|folder| self.dir.join(folder)) {
            for name in durable::names(&folder)? {
                let modified = fs::metadata(folder.join(&name)).and_then(|file| file.modified()).ok();
                let since = modified.and_then(|modified| modified.duration_since(UNIX_EPOCH).ok());
                if since.is_some_and(|since| since.as_secs() + KEPT < now) {
                    self.disk.remove(&folder.join(&name))?;
                }
            }
        }
        Ok(())
    }

    /// Pieces that were claimed and are not put away.
    #[cfg(test)]
    pub(crate) fn claimed(&self) -> Vec<WorkName> {
        self.folder.claimed().unwrap_or_default()
    }

    /// Whether a piece of work is one of these. One that was put away has nothing but its name left to tell.
    pub(super) fn has(&self, work: &WorkName, of_others: &dyn Backend) -> Result<bool, BackendError> {
        if durable::is_there(&self.path(".working", work))? {
            return Ok(true);
        }
        Ok(is_made_here(work) && !of_others.claimed()?.contains(work))
    }

    /// Puts a piece away. A kill at any step leaves the sealed piece, with which the publisher comes here again.
    pub(super) fn finish(&self, work: &WorkName, outcome: Outcome) -> Result<(), BackendError> {
        self.folder.finish(work, outcome)?;
        if outcome == Outcome::SetAside {
            return Ok(());
        }
        let path = self.path("answers", work);
        let answers = answers(&path)?;
        let (again, told): (Vec<_>, Vec<_>) = answers
            .into_iter()
            .filter(|answer| answer.verdict != Verdict::Accepted.name())
            .partition(|answer| answer.verdict == Verdict::Suspended.name());
        self.hold_again(work, &again)?;
        if told.is_empty() {
            self.disk.remove(&path)?;
        } else {
            self.disk.replace(&path, SHARED, &lines(&told))?;
        }
        Ok(self.disk.remove(&self.path("published", work))?)
    }

    fn hold_again(&self, work: &WorkName, again: &[Answer]) -> Result<(), BackendError> {
        let name = format!("again-{}", hex::encode(&sha256(work.as_str().as_bytes())[..16]));
        let published = durable::read_if_there(&self.path("published", work))?;
        let (Some(octets), false, false) = (published, again.is_empty(), self.held.has(&name)?) else {
            return Ok(());
        };
        let path = self.path("published", work);
        let damaged =
            |problem: JsonProblem| BackendError::Damaged { path: path.clone(), reason: problem.to_string() };
        let numbers: BTreeSet<_> = again.iter().map(|answer| answer.line).collect();
        let lines = (1_u32..).zip(octets.split(|octet| *octet == b'\n'));
        let lines = lines.filter(|(number, _)| numbers.contains(number));
        let json = lines.map(|(_, line)| JsonReport::parse(line)).collect::<Result<Vec<_>, _>>();
        let json = json.map_err(&damaged)?;
        let reports = json.iter().map(JsonReport::report).collect::<Result<Vec<_>, _>>().map_err(&damaged)?;
        // Of an attempt that failed, under an earlier time.
        self.held.discard(&name)?;
        self.held.stage(&name, self.clock.now() + AGAIN, reports.into_iter())?;
        Ok(self.held.publish(&name).map(drop)?)
    }

    fn aside(&self, id: UploadId) -> PathBuf {
        self.dir.join(".incoming").join(format!("case-{id}{ENDING}"))
    }

    fn path(&self, folder: &str, work: &WorkName) -> PathBuf {
        self.dir.join(folder).join(format!("{work}{ENDING}"))
    }
}

fn answers(path: &Path) -> Result<Vec<Answer>, BackendError> {
    let octets = durable::read_if_there(path)?.unwrap_or_default();
    let lines = octets.split(|octet| *octet == b'\n').filter(|line| !line.is_empty());
    let answers = lines.map(serde_json::from_slice).collect::<Result<_, _>>();
    answers.map_err(|error| BackendError::Damaged { path: path.into(), reason: error.to_string() })
}

fn lines(answers: &[Answer]) -> Vec<u8> {
    let mut octets = Vec::new();
    for answer in answers {
        serde_json::to_writer(&mut octets, answer).expect("numbers and strings always serialise");
        octets.push(b'\n');
    }
    octets
}

/// Whether a name is one that the spool gives: `case-<id>.<8 hex>`, or `<Unix time>.<name>.<8 hex>`.
fn is_made_here(work: &WorkName) -> bool {
    let Some((file, _)) = work.as_str().rsplit_once('.') else { return false };
    let of_time =
        || file.split_once('.').filter(|(from, _)| from.parse::<u64>().is_ok()).map(|(_, name)| name);
    let named = file.strip_prefix("case-").or_else(of_time);
    named.is_some_and(|name| name.strip_prefix("again-").unwrap_or(name).parse::<UploadId>().is_ok())
}
