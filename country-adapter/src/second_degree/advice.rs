//! Advice that a person signs off: for one phone, by a token that it gave, on a list that its own authority signs.
//!
//! Works while the adapter runs: it reads what the desk has kept, and puts an entry down for the lists, once for each
//! sign-off, whenever it is killed.

use std::fs::File;
use std::path::{Path, PathBuf};

use pki::disk::DiskError;
use proto::day::Day;
use serde::{Deserialize, Serialize};
use tracing::error;

use super::edges::edge_folder;
use super::graph::{Candidate, CandidateNumber, ContactGraph, Overview};
use super::sign_offs::{self, SignOffs};
use crate::durable::{self, Disk, PRIVATE, PRIVATE_DIR};
use crate::herald::secured::random;
use crate::lists::{Advice, Entry};

/// What an operator may advise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Advise {
    /// To be tested, and to keep away from others, without symptoms.
    AsymptomaticCarrier,
    /// The same, more urgently.
    SuperSpreader,
}

/// What was signed off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignOff {
    /// Unix seconds.
    pub at: u64,
    /// Who decided, in their own words.
    pub by: String,
    /// The candidate.
    pub candidate: String,
    /// What the phone is advised.
    pub advice: Advise,
    /// Cases that met it.
    pub cases: usize,
    /// SHA-256 of the line before, in hex; zeros in the first.
    pub previous: String,
}

/// Why nothing was signed off.
#[derive(Debug, thiserror::Error)]
pub enum NotSignedOff {
    /// Nobody with this number, or no longer.
    #[error("no candidate has the number {0} now; `advice candidates` shows those there are")]
    NoCandidate(CandidateNumber),
    /// It was done.
    #[error("candidate {candidate} was signed off by {by} within the last 14 days")]
    Already {
        /// The candidate.
        candidate: CandidateNumber,
        /// Who did.
        by: String,
    },
    /// A name that fits no line.
    #[error("--by takes a name of 1 to 100 printable characters")]
    Name,
    /// The log does not hold together.
    #[error(
        "{path} was altered at line {line}; restore its folder from a backup before anything is signed off"
    )]
    Altered {
        /// The log.
        path: PathBuf,
        /// The first line that does not follow the one before, or the last one if it is not the sealed one.
        line: usize,
    },
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What an operator works with.
pub struct Desk {
    state: PathBuf,
    disk: Disk,
    cases: usize,
    key: [u8; 32],
}

impl Desk {
    /// Opens what the adapter keeps. `cases` is how many distinct ones make a candidate, at least 5.
    pub fn open(state: &Path, cases: usize, disk: Disk) -> Result<Self, DiskError> {
        let folder = sign_offs::folder(state);
        disk.create_dir(&folder, PRIVATE_DIR)?;
        disk.create_dir(&edge_folder(state), PRIVATE_DIR)?;
        let lock = sign_offs::lock(&folder)?;
        Self::under(&lock, (state, disk), cases)
    }

    /// The same once the log is locked.
    fn under(_lock: &File, (state, disk): (&Path, Disk), cases: usize) -> Result<Self, DiskError> {
        let path = sign_offs::folder(state).join("candidates.key");
        let key = match durable::read_if_there(&path)?.and_then(|octets| octets.try_into().ok()) {
            Some(key) => key,
            None => {
                let key = random::<32>();
                SignOffs::begin(state, &disk, &key)?;
                disk.replace(&path, PRIVATE, &*key)?;
                *key
            }
        };
        Ok(Self { state: state.into(), disk, cases, key })
    }

    /// Phones that enough cases met, and what may be told of all.
    pub fn candidates(&self, today: Day) -> Result<(Vec<Candidate>, Overview), DiskError> {
        let graph = ContactGraph::read(&self.state, today, self.key)?;
        Ok((graph.candidates(self.cases), graph.overview()))
    }

    /// Puts advice for a candidate on the list.
    pub fn sign_off(
        &self,
        number: CandidateNumber,
        advice: Advise,
        by: &str,
        now: u64,
    ) -> Result<SignOff, NotSignedOff> {
        if by.is_empty() || by.chars().count() > 100 || by.chars().any(char::is_control) {
            return Err(NotSignedOff::Name);
        }
        let mut log = self.log()?;
        let today = Day::of_unix(now);
        let recently =
            log.lines().iter().rev().filter(|line| Day::of_unix(line.at) > today.minus(super::DAYS));
        if let Some(line) = recently.into_iter().find(|line| line.candidate == number.to_string()) {
            return Err(NotSignedOff::Already { candidate: number, by: line.by.clone() });
        }
        let graph = ContactGraph::read(&self.state, today, self.key)?;
        let candidates = graph.candidates(self.cases);
        let candidate = candidates.iter().find(|candidate| candidate.number == number);
        let (candidate, newest) =
            candidate.zip(graph.newest(number, self.cases)).ok_or(NotSignedOff::NoCandidate(number))?;
        let signed = SignOff {
            at: now,
            by: by.into(),
            candidate: number.to_string(),
            advice,
            cases: candidate.cases,
            previous: log.last_hash(),
        };
        let entry = Entry::advice(newest.token, newest.code, newest.day, advice.into());
        log.add(signed.clone(), &entry)?;
        Ok(signed)
    }

    /// Everything that was signed off, oldest first.
    pub fn signed_off(&self) -> Result<Vec<SignOff>, NotSignedOff> {
        Ok(self.log()?.lines().to_vec())
    }

    fn log(&self) -> Result<SignOffs, NotSignedOff> {
        let lock = sign_offs::lock(&sign_offs::folder(&self.state))?;
        SignOffs::open(&self.state, self.disk.clone(), self.key, lock)
    }
}

/// Finishes a sign-off that a kill has interrupted, if there is one. While an operator works with the log, that is for
/// the operator's command to do, and nobody waits for it.
pub(super) fn finish(state: &Path, disk: &Disk) -> Result<(), DiskError> {
    if !sign_offs::is_interrupted(state)? {
        return Ok(());
    }
    let Some(lock) = sign_offs::try_lock(&sign_offs::folder(state))? else { return Ok(()) };
    // How many cases make a candidate matters for new ones only.
    let desk = Desk::under(&lock, (state, disk.clone()), super::LEAST)?;
    match SignOffs::open(state, disk.clone(), desk.key, lock) {
        Err(NotSignedOff::Disk(cause)) => Err(cause),
        Err(cause) => {
            error!(error = %cause, "a sign-off was interrupted, and is not finished");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

impl SignOff {
    /// Its line of the log.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings always serialise")
    }
}

impl From<Advise> for Advice {
    fn from(advise: Advise) -> Self {
        match advise {
            Advise::AsymptomaticCarrier => Self::AsymptomaticCarrier,
            Advise::SuperSpreader => Self::SuperSpreader,
        }
    }
}
