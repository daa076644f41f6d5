//! Who has signed off what: a line for each sign-off, chained by hashes, and the advice that goes with it.
//!
//! 1. The entry is written aside, `advice-<candidate>-<time>.pending`; 2. the line in `sign-offs.log` commits it; 3. the
//!    seal in `sign-offs.head`, over the number of lines and the last one, is made anew; 4. the entry is renamed into the
//!    queue of the lists. What a kill has interrupted behind the line is finished by whoever opens the log next, and
//!    what it has interrupted before is dropped: advice that nobody has signed off is not given.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use pki::disk::DiskError;
use pki::sign::sha256;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use sha2::Sha256;

use super::advice::{NotSignedOff, SignOff};
use crate::durable::{self, Disk, PRIVATE, PRIVATE_DIR};
use crate::lists::{Entry, ListKind, queue};

const LOG: &str = "sign-offs.log";
const HEAD: &str = "sign-offs.head";
const PENDING: &str = ".pending";

/// The log, open for one at a time.
pub(super) struct SignOffs {
    disk: Disk,
    folder: PathBuf,
    queue: PathBuf,
    key: [u8; 32],
    lines: Vec<SignOff>,
    /// Octets of whole lines.
    length: u64,
    _lock: File,
}

impl SignOffs {
    /// Checks the log that somebody has locked, and finishes what a kill has interrupted. `key` makes the seal.
    pub(super) fn open(state: &Path, disk: Disk, key: [u8; 32], lock: File) -> Result<Self, NotSignedOff> {
        let folder = folder(state);
        let path = folder.join(LOG);
        let text = durable::read_if_there(&path)?.unwrap_or_default();
        let (whole, torn) =
            text.split_at(text.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1));
        let (lines, length) = (parse(&path, whole)?, u64::try_from(whole.len()).unwrap_or(u64::MAX));
        let queue = queue::folder(state);
        let log = Self { disk, folder, queue, key, lines, length, _lock: lock };
        log.check(!torn.is_empty())?;
        if !torn.is_empty() {
            // Before its entry is dropped, with which nobody could tell it from one that was altered.
            log.disk.append(&path, PRIVATE, length, &[])?;
        }
        log.finish()?;
        Ok(log)
    }

    /// An empty log for a new key, unless there is one.
    pub(super) fn begin(state: &Path, disk: &Disk, key: &[u8; 32]) -> Result<(), DiskError> {
        disk.replace(&folder(state).join(HEAD), PRIVATE, seal(key, &[]).as_bytes())
    }

    /// Everything that was signed off, oldest first.
    pub(super) fn lines(&self) -> &[SignOff] {
        &self.lines
    }

    /// SHA-256 of the last line, in hex; zeros if there is none.
    pub(super) fn last_hash(&self) -> String {
        last_hash(&self.lines)
    }

    /// Adds a line, and puts the advice down for the lists.
    pub(super) fn add(&mut self, line: SignOff, entry: &Entry) -> Result<(), DiskError> {
        let pending = self.pending(&line);
        self.disk.write(&pending, PRIVATE, &queue::record(ListKind::Advice, entry))?;
        self.disk.sync_dir(&self.folder)?;
        let text = format!("{}\n", line.text());
        self.disk.append(&self.folder.join(LOG), PRIVATE, self.length, text.as_bytes())?;
        self.length += u64::try_from(text.len()).unwrap_or_default();
        self.lines.push(line);
        self.finish()
    }

    /// Only the last line may be without its seal, and then its advice is still pending; so with a torn one.
    fn check(&self, is_torn: bool) -> Result<(), NotSignedOff> {
        let head = durable::read_if_there(&self.folder.join(HEAD))?.unwrap_or_default();
        let sealed = |lines: &[SignOff]| seal(&self.key, lines).as_bytes() == head;
        let good = match self.lines.split_last() {
            _ if sealed(&self.lines) => !is_torn || self.any_pending()?,
            Some((last, before)) => !is_torn && sealed(before) && durable::is_there(&self.pending(last))?,
            None => false,
        };
        let altered = || NotSignedOff::Altered { path: self.folder.join(LOG), line: self.lines.len().max(1) };
        good.then_some(()).ok_or_else(altered)
    }

    /// Seals the lines, gives the advice of the last one if it was not given, and drops what nobody has signed off.
    fn finish(&self) -> Result<(), DiskError> {
        let Some(last) = self.lines.last() else { return self.drop_pending() };
        let pending = self.pending(last);
        if durable::is_there(&pending)? {
            self.disk.replace(&self.folder.join(HEAD), PRIVATE, seal(&self.key, &self.lines).as_bytes())?;
            self.disk.create_dir(&self.queue, PRIVATE_DIR)?;
            self.disk.rename(&pending, &self.queue.join(format!("{}{}", name(last), queue::ENDING)))?;
        }
        self.drop_pending()
    }

    fn drop_pending(&self) -> Result<(), DiskError> {
        let names = durable::names(&self.folder)?;
        let mut pending = names.iter().filter(|name| name.ends_with(PENDING));
        pending.try_for_each(|name| self.disk.remove(&self.folder.join(name)))
    }

    fn any_pending(&self) -> Result<bool, DiskError> {
        Ok(durable::names(&self.folder)?.iter().any(|name| name.ends_with(PENDING)))
    }

    fn pending(&self, line: &SignOff) -> PathBuf {
        self.folder.join(format!("{}{PENDING}", name(line)))
    }
}

/// Whether a sign-off was interrupted.
pub(super) fn is_interrupted(state: &Path) -> Result<bool, DiskError> {
    let folder = folder(state);
    Ok(durable::is_there(&folder)? && durable::names(&folder)?.iter().any(|name| name.ends_with(PENDING)))
}

/// Where the log lies.
pub(super) fn folder(state: &Path) -> PathBuf {
    state.join("second-degree")
}

/// One operator at a time: waits for the one before.
pub(super) fn lock(folder: &Path) -> Result<File, DiskError> {
    let (path, file) = lockable(folder)?;
    let failed = |error: Errno| DiskError::Write { path, source: error.into() };
    flock(&file, FlockOperation::LockExclusive).map_err(failed)?;
    Ok(file)
}

/// The same without a wait; nothing if an operator works with it.
pub(super) fn try_lock(folder: &Path) -> Result<Option<File>, DiskError> {
    let (path, file) = lockable(folder)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(DiskError::Write { path, source: error.into() }),
    }
}

fn lockable(folder: &Path) -> Result<(PathBuf, File), DiskError> {
    let path = folder.join(LOG);
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(PRIVATE).open(&path);
    match opened {
        Ok(file) => Ok((path, file)),
        Err(source) => Err(DiskError::Write { path, source }),
    }
}

fn name(line: &SignOff) -> String {
    format!("advice-{}-{}", line.candidate, line.at)
}

/// What nobody can make without the adapter's key.
fn seal(key: &[u8; 32], lines: &[SignOff]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(b"exchange/v1 sign-offs");
    mac.update(&u64::try_from(lines.len()).unwrap_or(u64::MAX).to_be_bytes());
    mac.update(last_hash(lines).as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

fn last_hash(lines: &[SignOff]) -> String {
    hex::encode(lines.last().map_or([0; 32], |line| sha256(line.text().as_bytes())))
}

fn parse(path: &Path, text: &[u8]) -> Result<Vec<SignOff>, NotSignedOff> {
    let (mut lines, mut previous) = (Vec::new(), [0; 32]);
    for (number, line) in (1..).zip(text.split(|octet| *octet == b'\n').filter(|line| !line.is_empty())) {
        let altered = || NotSignedOff::Altered { path: path.into(), line: number };
        let parsed: SignOff = serde_json::from_slice(line).map_err(|_| altered())?;
        if parsed.previous != hex::encode(previous) || parsed.text().as_bytes() != line {
            return Err(altered());
        }
        previous = sha256(line);
        lines.push(parsed);
    }
    Ok(lines)
}
