//! A case's upload: taken whole and once, whenever the adapter is killed.
//!
//! 1. `state/uploads/<code>.<upload>.<degree>.<digest>.<day>.upload` appears by a rename: the upload is taken, on that day.
//!    2. Domestic contacts go to the desk, what is for others has been written aside in the spool before. 3. The code is
//!    marked as used: the commit. 4. The spool's file is renamed into place, and the journal goes. What is found after a
//!    kill is finished from where it stands.
//!
//! The journal alone knows which upload is of which code; all else bears the upload's random name.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use pki::disk::DiskError;
use pki::sign::sha256;
use pki::trust::TrustList;
use proto::day::Day;
use proto::report::DateOut;
use tokio::sync::{Notify, watch};
use tracing::{debug, warn};

use super::case_code::{CaseCode, CaseCodes, CodeId, Degree, Known};
use super::split::{OutOfTime, Parted, Stripped};
use super::upload::{Place, Upload, UploadError};
use crate::backend::BackendError;
use crate::clock::Clock;
use crate::diagnosis::held::{Due, Held};
use crate::diagnosis::{self, FanOut, Fanned};
use crate::durable::{self, Disk, PRIVATE, PRIVATE_DIR};
use crate::intake::{Intake, UploadId};
use crate::publish::{Leaving, Spool};

const ENDING: &str = ".upload";
/// The ending of a file that is being written.
const HALF: &str = ".upload.tmp";

/// Takes uploads.
pub struct Cases {
    /// The codes.
    pub codes: CaseCodes,
    /// What is for other authorities goes here.
    pub spool: Arc<Spool>,
    /// What is for this authority goes here.
    pub intake: Arc<Intake>,
    /// Who gets keys.
    pub fan_out: FanOut,
    /// Who answers for which phones.
    pub trust: watch::Receiver<Arc<TrustList>>,
    /// Whether uploads of the second degree are taken.
    pub second_degree: Policy,
    /// Contacts of one case.
    pub contacts_per_case: usize,
    /// The time.
    pub clock: Clock,
    /// Rings when there is something to publish.
    pub wake: Arc<Notify>,
    /// Keys for this authority's own phones, until their time is over.
    own_keys: Held,
    journal: Journal,
}

/// Whether something that a country decides is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// What became of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Contacts with phones of this authority.
    pub domestic: usize,
    /// Contacts with phones of others.
    pub foreign: usize,
    /// Own keys.
    pub keys: usize,
}

/// Why an upload is not taken. Nothing of it is stored.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Nobody made this code, or it was forgotten.
    #[error("no case has this code; look whether it was typed right")]
    UnknownCode,
    /// It can no longer be used.
    #[error("the case code has expired; ask for a new one")]
    ExpiredCode,
    /// It was used.
    #[error("the case code was used")]
    UsedCode {
        /// Whether by an upload of the same octets: then this phone's is in.
        same: bool,
    },
    /// The octets.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// The date of a contact or key.
    #[error("{}: {}", .0.place, .0.out)]
    OutOfTime(OutOfTime),
    /// More contacts than one case may have here.
    #[error("a case has at most {most} contacts here")]
    TooMany {
        /// How many.
        most: usize,
    },
    /// The country does without.
    #[error("this authority takes no contacts of persons who were exposed and are not ill")]
    SecondDegreeOff,
    /// We failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl From<DiskError> for Refused {
    fn from(error: DiskError) -> Self {
        Self::Backend(error.into())
    }
}

/// What cases are made of, beside their directory.
pub struct Parts {
    /// See [`Cases::spool`].
    pub spool: Arc<Spool>,
    /// See [`Cases::intake`].
    pub intake: Arc<Intake>,
    /// See [`Cases::fan_out`].
    pub fan_out: FanOut,
    /// See [`Cases::trust`].
    pub trust: watch::Receiver<Arc<TrustList>>,
    /// See [`Cases::second_degree`].
    pub second_degree: Policy,
    /// See [`Cases::contacts_per_case`].
    pub contacts_per_case: usize,
    /// See [`Cases::clock`].
    pub clock: Clock,
    /// See [`Cases::wake`].
    pub wake: Arc<Notify>,
}

impl Cases {
    /// Opens the directory, and finishes what a kill has interrupted.
    pub fn open(state: &Path, disk: Disk, parts: Parts) -> Result<Self, BackendError> {
        let Parts { spool, intake, fan_out, trust, second_degree, contacts_per_case, clock, wake } = parts;
        let codes = CaseCodes::open(state, disk.clone())?;
        let own = state.join("own-keys");
        let own_keys = Held::open(&own, &own.join(".incoming"), disk.clone())?;
        let journal = Journal::open(state, disk)?;
        let cases = Self {
            codes,
            spool,
            intake,
            fan_out,
            trust,
            second_degree,
            contacts_per_case,
            clock,
            wake,
            own_keys,
            journal,
        };
        cases.resume(|_| true)?;
        cases.spool.discard_staged()?;
        cases.own_keys.discard_all()?;
        Ok(cases)
    }

    /// What is known of a code, before its upload is read.
    pub fn check_code(&self, code: &CaseCode, digest: Option<[u8; 8]>) -> Result<Degree, Refused> {
        match self.codes.known(code.id(), self.clock.now())? {
            Known::Open(degree) => Ok(degree),
            Known::Unknown => Err(Refused::UnknownCode),
            Known::Expired => Err(Refused::ExpiredCode),
            Known::Used(by) => Err(Refused::UsedCode { same: digest == Some(by) }),
        }
    }

    /// Takes an upload with a code. Blocks.
    pub fn take(&self, code: &CaseCode, octets: &[u8]) -> Result<Accepted, Refused> {
        let digest = digest(octets);
        let degree = self.check_code(code, Some(digest))?;
        if degree == Degree::Second && self.second_degree == Policy::Off {
            return Err(Refused::SecondDegreeOff);
        }
        let upload = self.parse(octets)?;
        let today = self.clock.today();
        let parted = self.part(&upload, today).map_err(Refused::OutOfTime)?;
        let accepted = Accepted {
            domestic: parted.domestic.len(),
            foreign: if degree == Degree::First { parted.foreign.len() } else { 0 },
            keys: if degree == Degree::First { upload.keys.len() } else { 0 },
        };
        // One after the other: of two uploads with one code the second finds it used.
        let _turn = self.journal.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // What an earlier attempt has begun is finished first: it was the first.
        self.resume(|entry| entry.code == code.id())?;
        self.check_code(code, Some(digest))?;
        let entry = Entry { code: code.id(), id: UploadId::random(), degree, digest, day: today };
        self.journal.write(&entry, octets)?;
        self.finish(&entry, &upload, &parted)?;
        debug!("case taken");
        Ok(accepted)
    }

    fn part<'a>(&self, upload: &'a Upload<'a>, day: Day) -> Result<Parted<'a>, OutOfTime> {
        let trust = self.trust.borrow().clone();
        Parted::new(upload, (self.intake.authority(), &trust), day)
    }

    fn parse<'a>(&self, octets: &'a [u8]) -> Result<Upload<'a>, Refused> {
        let upload = Upload::parse(octets)?;
        let most = self.contacts_per_case;
        if upload.contacts.len() > most {
            return Err(Refused::TooMany { most });
        }
        Ok(upload)
    }

    /// Does what follows the journal's entry. May be done again from any point.
    fn finish(&self, entry: &Entry, upload: &Upload<'_>, parted: &Parted<'_>) -> Result<(), BackendError> {
        let Entry { code, id, digest, .. } = *entry;
        let known = self.codes.known(code, 0)?;
        if !matches!(known, Known::Used(_)) {
            // What the desk has taken is not parted again: trust list and clock may have moved on meanwhile.
            if !self.intake.has(id)? {
                self.hand_on(entry, upload, parted)?;
            }
            self.codes.mark(code, self.clock.today(), digest)?;
        }
        self.spool.publish(id)?;
        self.own_keys.publish(&id.to_string())?;
        self.codes.close(code)?;
        self.journal.remove(entry)?;
        self.wake.notify_one();
        Ok(())
    }

    /// Writes aside what is for others and what is for later, and gives the desk the rest.
    fn hand_on(&self, entry: &Entry, upload: &Upload<'_>, parted: &Parted<'_>) -> Result<(), BackendError> {
        let Entry { id, degree, .. } = *entry;
        let mut here: Vec<_> = parted.domestic.iter().map(Stripped::report).collect();
        let (mut leaving, mut fanned) = (Leaving::default(), Fanned::default());
        if degree == Degree::First {
            fanned = self.fan_out.reports(&self.trust.borrow().clone(), &upload.keys, self.clock.now());
            leaving.due.extend(parted.foreign.iter().map(Stripped::report));
            leaving.due.extend(fanned.others.due.iter().map(diagnosis::report));
            leaving.held = diagnosis::reports(&fanned.others.held);
            here.extend(fanned.own.due.iter().map(diagnosis::report));
        } else if !parted.foreign.is_empty() {
            warn!("contacts of the second degree for other authorities stay with their own; dropped");
        }
        self.spool.stage(id, &leaving)?;
        self.own_keys.discard(&id.to_string())?;
        for (from, keys) in &fanned.own.held {
            self.own_keys.stage(&id.to_string(), *from, keys.iter().map(diagnosis::report))?;
        }
        self.intake.take(id, degree, &here)?;
        Ok(())
    }

    /// Gives the desk the keys for this authority's own phones whose time is over. A file that is damaged keeps no other
    /// waiting; gives the first that failed.
    pub fn release(&self, now: u64) -> Result<(), BackendError> {
        let due = self.own_keys.due(now)?;
        due.iter().map(|due| self.release_one(due)).fold(Ok(()), Result::and)
    }

    fn release_one(&self, due: &Due) -> Result<(), BackendError> {
        let json = self.own_keys.read(due)?;
        let reports = json.iter().filter_map(|json| json.report().ok()).collect::<Vec<_>>();
        // The desk takes a name once: a kill before the file is gone doubles nothing.
        let name = sha256(&[&b"own keys"[..], due.file().as_bytes()].concat());
        let id = UploadId::from(*name.first_chunk().expect("a hash has 32 octets"));
        self.intake.take(id, Degree::First, &reports)?;
        Ok(self.own_keys.remove(due)?)
    }

    /// Finishes what a disk that was full, or a kill, has interrupted: its phone may never come again.
    pub fn resume_all(&self) -> Result<(), BackendError> {
        let _turn = self.journal.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.resume(|_| true)
    }

    /// Each entry by itself; gives the first that failed.
    fn resume(&self, of: impl Fn(&Entry) -> bool) -> Result<(), BackendError> {
        let mut all = Ok(());
        for (entry, octets) in self.journal.entries()?.into_iter().filter(|(entry, _)| of(entry)) {
            let upload = Upload::parse(&octets);
            // All of it was in time on the day on which it was taken, whatever day it is now.
            match upload.as_ref().map(|upload| (upload, self.part(upload, entry.day))) {
                Ok((upload, Ok(parted))) => all = all.and(self.finish(&entry, upload, &parted)),
                Ok((_, Err(_))) | Err(_) => {
                    warn!("a journal that does not parse is dropped: its upload was not answered");
                    self.journal.remove(&entry)?;
                }
            }
        }
        all
    }
}

/// The files of uploads that are under way.
struct Journal {
    disk: Disk,
    dir: PathBuf,
    turn: Mutex<()>,
}

/// What the name of a journal's file says.
struct Entry {
    code: CodeId,
    id: UploadId,
    degree: Degree,
    digest: [u8; 8],
    /// On which it was taken.
    day: Day,
}

impl Journal {
    fn open(state: &Path, disk: Disk) -> Result<Self, DiskError> {
        let dir = state.join("uploads");
        disk.create_dir(&dir, PRIVATE_DIR)?;
        Ok(Self { disk, dir, turn: Mutex::default() })
    }

    fn write(&self, entry: &Entry, octets: &[u8]) -> Result<(), DiskError> {
        self.disk.replace(&self.path(entry), PRIVATE, octets)
    }

    fn remove(&self, entry: &Entry) -> Result<(), DiskError> {
        self.disk.remove(&self.path(entry))?;
        self.disk.sync_dir(&self.dir)
    }

    /// What is under way. What was only half written is dropped: it was not answered, and has no name that comes again.
    fn entries(&self) -> Result<Vec<(Entry, Vec<u8>)>, DiskError> {
        let mut entries = Vec::new();
        for name in durable::names(&self.dir)? {
            if name.ends_with(HALF) {
                self.disk.remove(&self.dir.join(&name))?;
            }
            let Some(entry) = Entry::parse(&name) else { continue };
            if let Some(octets) = durable::read_if_there(&self.dir.join(&name))? {
                entries.push((entry, octets));
            }
        }
        Ok(entries)
    }

    fn path(&self, entry: &Entry) -> PathBuf {
        let Entry { code, id, degree, digest, day } = entry;
        let (degree, digest, day) = (degree.number(), hex::encode(digest), day.number());
        self.dir.join(format!("{code}.{id}.{degree}.{digest}.{day}{ENDING}"))
    }
}

impl Entry {
    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(ENDING)?.split('.');
        let code = parts.next()?.parse().ok()?;
        let id = parts.next()?.parse().ok()?;
        let degree = Degree::from_number(parts.next()?)?;
        let mut digest = [0; 8];
        hex::decode_to_slice(parts.next()?, &mut digest).ok()?;
        let day = Day::new(parts.next()?.parse().ok()?);
        Some(Self { code, id, degree, digest, day })
    }
}

/// By which a repetition of an upload is known.
#[must_use]
pub fn digest(octets: &[u8]) -> [u8; 8] {
    let mut digest = [0; 8];
    digest.copy_from_slice(&sha256(octets)[..8]);
    digest
}

impl Refused {
    /// Where in the upload something is wrong.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        match self {
            Self::Upload(UploadError::Malformed { place, .. }) => Some(*place),
            Self::OutOfTime(OutOfTime { place, .. }) => Some(*place),
            Self::Upload(UploadError::Size { .. } | UploadError::TooMany { .. })
            | Self::UnknownCode
            | Self::ExpiredCode
            | Self::UsedCode { .. }
            | Self::TooMany { .. }
            | Self::SecondDegreeOff
            | Self::Backend(_) => None,
        }
    }

    /// Whether a contact or key is too old, or from the future.
    #[must_use]
    pub fn date(&self) -> Option<DateOut> {
        match self {
            Self::OutOfTime(OutOfTime { out, .. }) => Some(*out),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "cases_tests.rs"]
mod tests;
