//! Advice that a person signs off: for one phone, by a token that it gave, on a list that its own authority signs.
//!
//! Works while the adapter runs: it reads what the desk has kept, and puts an entry down for the lists. Every sign-off is
//! a line of `state/second-degree/sign-offs.log`, each chained to the one before by its hash.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use pki::disk::DiskError;
use pki::sign::sha256;
use proto::day::Day;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::edges::edge_folder;
use super::graph::{Candidate, CandidateNumber, ContactGraph, Overview};
use crate::durable::{self, Disk, PRIVATE, PRIVATE_DIR};
use crate::herald::secured::random;
use crate::lists::{Advice, Entry, ListKind, queue};

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
    #[error("{path} was altered at line {line}; restore it from a backup before anything is signed off")]
    Altered {
        /// The log.
        path: PathBuf,
        /// The first line that does not follow the one before.
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
        let folder = state.join("second-degree");
        disk.create_dir(&folder, PRIVATE_DIR)?;
        disk.create_dir(&edge_folder(state), PRIVATE_DIR)?;
        let path = folder.join("candidates.key");
        let key = match durable::read_if_there(&path)?.and_then(|octets| octets.try_into().ok()) {
            Some(key) => key,
            None => {
                let key = random::<32>();
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
        let (mut log, lines) = self.log()?;
        let today = Day::of_unix(now);
        let recently = lines.iter().rev().filter(|line| Day::of_unix(line.at) > today.minus(super::DAYS));
        if let Some(line) = recently.into_iter().find(|line| line.candidate == number.to_string()) {
            return Err(NotSignedOff::Already { candidate: number, by: line.by.clone() });
        }
        let graph = ContactGraph::read(&self.state, today, self.key)?;
        let candidates = graph.candidates(self.cases);
        let candidate = candidates.iter().find(|candidate| candidate.number == number);
        let (candidate, newest) =
            candidate.zip(graph.newest(number, self.cases)).ok_or(NotSignedOff::NoCandidate(number))?;
        let previous = lines.last().map_or([0; 32], |line| sha256(line.text().as_bytes()));
        let signed = SignOff {
            at: now,
            by: by.into(),
            candidate: number.to_string(),
            advice,
            cases: candidate.cases,
            previous: hex::encode(previous),
        };
        // First the line: advice that nobody has signed off must not be given.
        log.append(&signed)?;
        let entry = Entry::advice(newest.token, newest.code, newest.day, advice.into());
        self.put_down(&format!("advice-{number}-{now}"), &entry)?;
        Ok(signed)
    }

    /// Everything that was signed off, oldest first.
    pub fn signed_off(&self) -> Result<Vec<SignOff>, NotSignedOff> {
        Ok(self.log()?.1)
    }

    fn put_down(&self, name: &str, entry: &Entry) -> Result<(), DiskError> {
        let folder = queue::folder(&self.state);
        self.disk.create_dir(&folder, PRIVATE_DIR)?;
        let path = folder.join(format!("{name}{}", queue::ENDING));
        self.disk.replace(&path, PRIVATE, &queue::record(ListKind::Advice, entry))
    }

    /// The log, locked for one operator at a time, and its lines.
    fn log(&self) -> Result<(Log, Vec<SignOff>), NotSignedOff> {
        let path = self.state.join("second-degree").join("sign-offs.log");
        let failed = |source| DiskError::Write { path: path.clone(), source };
        let file = OpenOptions::new().read(true).append(true).create(true).mode(PRIVATE).open(&path);
        let mut file = file.map_err(failed)?;
        flock(&file, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        let lines = parse(&path, &text)?;
        Ok((Log { file, path }, lines))
    }
}

struct Log {
    file: File,
    path: PathBuf,
}

impl Log {
    fn append(&mut self, line: &SignOff) -> Result<(), DiskError> {
        let text = format!("{}\n", line.text());
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_all());
        written.map_err(|source| DiskError::Write { path: self.path.clone(), source })
    }
}

fn parse(path: &Path, text: &str) -> Result<Vec<SignOff>, NotSignedOff> {
    let (mut lines, mut previous) = (Vec::new(), [0; 32]);
    for (number, line) in (1..).zip(text.lines()) {
        let altered = || NotSignedOff::Altered { path: path.into(), line: number };
        let parsed: SignOff = serde_json::from_str(line).map_err(|_| altered())?;
        if parsed.previous != hex::encode(previous) {
            return Err(altered());
        }
        previous = sha256(line.as_bytes());
        lines.push(parsed);
    }
    Ok(lines)
}

impl SignOff {
    fn text(&self) -> String {
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
