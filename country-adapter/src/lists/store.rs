//! The increments on disk, and what is served of them.
//!
//! `state/lists/<list>/<number>.inc`, for 15 days. The chain goes on when all are gone: `head` beside them has number
//! and hash of the last one that was removed. Names are `<number:010>.inc`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pki::disk::DiskError;
use proto::report::Report;

use super::entry::ListKind;
use super::increment;
use crate::durable::{self, Disk, PRIVATE, PRIVATE_DIR};

const ENDING: &str = ".inc";
const HEAD: &str = "head";
/// Octets of an answer after which no further increment is added; the phone asks again.
const PART: u64 = 64 << 20;
/// Seconds for which an increment is kept.
const KEPT: u64 = Report::MAX_AGE as u64 * 86_400;

/// All lists of an authority.
pub struct Store {
    disk: Disk,
    dir: PathBuf,
    lists: Mutex<BTreeMap<ListKind, Kept>>,
}

/// What is kept of one list.
#[derive(Debug, Clone, Default)]
struct Kept {
    /// Number, time and hash of each increment that is there.
    there: BTreeMap<u32, (u64, [u8; 32])>,
    /// Where the chain ends.
    tail: Tail,
}

/// Where a list's chain ends; 0 and zeros before the first increment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tail {
    pub(super) number: u32,
    pub(super) hash: [u8; 32],
}

/// The increments that follow a number. They stay on the disk until they are sent.
#[derive(Debug, Clone)]
pub struct Part {
    /// Each increment's file and its octets.
    pub files: Vec<(PathBuf, u32)>,
    /// The number of the last one in it, or the one that was asked for.
    pub last: u32,
    /// A strong validator for HTTP.
    pub etag: String,
}

impl Part {
    /// Octets of the answer: each increment with a `u32` length before it.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.files.iter().map(|(_, length)| u64::from(*length) + 4).sum()
    }

    /// The whole answer.
    pub fn read(&self) -> Result<Vec<u8>, DiskError> {
        let mut octets = Vec::new();
        for (path, length) in &self.files {
            octets.extend_from_slice(&length.to_be_bytes());
            octets.extend(durable::read_if_there(path)?.unwrap_or_default());
        }
        Ok(octets)
    }
}

/// Why nothing can be given.
#[derive(Debug, thiserror::Error)]
pub enum SinceError {
    /// The phone knows more than there ever was: this list was begun anew.
    #[error("the list ends at number {last}, so it was begun anew; begin at 0")]
    Restarted {
        /// Its last number.
        last: u32,
    },
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A file that this software did not write so.
#[derive(Debug, thiserror::Error)]
pub enum Damaged {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Its content.
    #[error("{path} is damaged: {reason}; restore it from a backup or from the static copy of the lists")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Store {
    /// Opens the lists in a folder, or begins them.
    pub fn open(dir: &Path, disk: Disk) -> Result<Self, Damaged> {
        let mut lists = BTreeMap::new();
        for kind in ListKind::ALL {
            let folder = dir.join(kind.name());
            disk.create_dir(&folder, PRIVATE_DIR)?;
            lists.insert(kind, Kept::read(&folder)?);
        }
        Ok(Self { disk, dir: dir.into(), lists: Mutex::new(lists) })
    }

    /// Reads all lists anew: a posting may have ended otherwise than it was told.
    pub(super) fn reload(&self) -> Result<(), Damaged> {
        for kind in ListKind::ALL {
            let kept = Kept::read(&self.dir.join(kind.name()))?;
            self.lists().insert(kind, kept);
        }
        Ok(())
    }

    /// The number of a list's last increment.
    #[must_use]
    pub fn last(&self, kind: ListKind) -> u32 {
        self.tail(kind).number
    }

    pub(super) fn tail(&self, kind: ListKind) -> Tail {
        self.lists().get(&kind).map(|kept| kept.tail).unwrap_or_default()
    }

    /// Where an increment is kept.
    pub(super) fn path(&self, kind: ListKind, number: u32) -> PathBuf {
        self.dir.join(kind.name()).join(format!("{number:010}{ENDING}"))
    }

    /// An increment has come into its place.
    pub(super) fn added(&self, kind: ListKind, number: u32, (posted_at, hash): (u64, [u8; 32])) {
        if let Some(kept) = self.lists().get_mut(&kind) {
            kept.there.insert(number, (posted_at, hash));
            kept.tail = Tail { number, hash };
        }
    }

    /// When the first increment behind a number was posted, Unix seconds; nothing if none follows.
    pub(super) fn posted_after(&self, kind: ListKind, number: u32) -> Option<u64> {
        self.lists().get(&kind)?.there.range(number.saturating_add(1)..).next().map(|(_, (at, _))| *at)
    }

    /// What follows a number: as many increments as fit. One that was removed after its time is stepped over.
    pub fn since(&self, kind: ListKind, number: u32) -> Result<Part, SinceError> {
        let kept = self.lists().get(&kind).cloned().unwrap_or_default();
        let last = kept.tail.number;
        if number > last {
            return Err(SinceError::Restarted { last });
        }
        let (mut files, mut octets, mut through) = (Vec::new(), 0_u64, number);
        for following in kept.there.range(number + 1..).map(|(number, _)| *number) {
            let path = self.path(kind, following);
            let length = size(&path)?;
            if !files.is_empty() && octets + u64::from(length) > PART {
                break;
            }
            octets += u64::from(length);
            files.push((path, length));
            through = following;
        }
        // Not the numbers alone: a list that was begun anew has the same ones, and one whose beginning is over fewer.
        let first = kept.there.range(number + 1..).next().map_or(through, |(first, _)| *first);
        let hash = kept.there.get(&through).map_or(kept.tail.hash, |(_, hash)| *hash);
        let etag = format!("\"{}-{number}-{first}-{through}-{}\"", kind.name(), hex::encode(&hash[..6]));
        Ok(Part { files, last: through, etag })
    }

    /// Removes increments after their time.
    pub fn forget(&self, now: u64) -> Result<(), DiskError> {
        let oldest = now.saturating_sub(KEPT);
        for kind in ListKind::ALL {
            let kept = self.lists().get(&kind).cloned().unwrap_or_default();
            // From the beginning on, without a hole, whatever a wrong clock has written into one of them.
            let over = kept.there.iter().take_while(|(_, (posted_at, _))| *posted_at < oldest);
            for number in over.map(|(number, _)| *number) {
                if number == kept.tail.number {
                    let head = self.dir.join(kind.name()).join(HEAD);
                    self.disk.replace(&head, PRIVATE, kept.tail.text().as_bytes())?;
                }
                self.disk.remove(&self.path(kind, number))?;
                if let Some(kept) = self.lists().get_mut(&kind) {
                    kept.there.remove(&number);
                }
            }
        }
        Ok(())
    }

    fn lists(&self) -> MutexGuard<'_, BTreeMap<ListKind, Kept>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn read(folder: &Path) -> Result<Self, Damaged> {
        let mut kept = Self::default();
        if let Some(text) = durable::read_if_there(&folder.join(HEAD))? {
            let damaged = || damaged(&folder.join(HEAD), "it is no number and hash");
            kept.tail = Tail::parse(&text).ok_or_else(damaged)?;
        }
        for name in durable::names(folder)? {
            let Some(number) = name.strip_suffix(ENDING).and_then(|number| number.parse().ok()) else {
                continue;
            };
            let path = folder.join(&name);
            let octets = durable::read_if_there(&path)?.unwrap_or_default();
            let (head, hash) =
                increment::summary(&octets).map_err(|malformed| damaged(&path, malformed.to_string()))?;
            let is_first = kept.there.is_empty();
            if head.number != number || (!is_first && kept.tail.number + 1 != number) {
                return Err(damaged(&path, format!("number {} follows {}", head.number, kept.tail.number)));
            }
            if !is_first && head.previous != kept.tail.hash {
                return Err(damaged(&path, "it does not follow the increment before it"));
            }
            if number > kept.tail.number {
                kept.tail = Tail { number, hash };
            }
            kept.there.insert(number, (head.posted_at, hash));
        }
        Ok(kept)
    }
}

impl Tail {
    fn text(self) -> String {
        format!("{} {}\n", self.number, hex::encode(self.hash))
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (number, hash) = std::str::from_utf8(text).ok()?.trim_end().split_once(' ')?;
        let mut tail = Self { number: number.parse().ok()?, hash: [0; 32] };
        hex::decode_to_slice(hash, &mut tail.hash).ok()?;
        Some(tail)
    }
}

fn damaged(path: &Path, reason: impl Into<String>) -> Damaged {
    Damaged::File { path: path.into(), reason: reason.into() }
}

fn size(path: &Path) -> Result<u32, DiskError> {
    let failed = |source| DiskError::Read { path: path.into(), source };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    u32::try_from(length).map_err(|_| failed(std::io::Error::other("it is longer than any increment")))
}
