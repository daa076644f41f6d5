//! Batches that do not pass: kept, sealed as they came, so that they delay nobody and a person can look.
//!
//! A gateway whose store was restored delivers other batches at the same positions, so the name says which batch it
//! is, and nothing that is here is overwritten. A batch stays 15 days: its reports are too old then. What one country
//! fills in a day is bounded, so that none fills the disk; it takes no room of another's.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use pki::disk::DiskError;
use pki::sign::sha256;
use prost::Message;
use proto::batch::Manifest;
use proto::day::Day;
use proto::report::Report;
use proto::wire;

use crate::durable::{self, Disk, PRIVATE, PRIVATE_DIR};

const BATCH: &str = ".batch";
const REASON: &str = ".reason";

/// The directory `state/quarantine`, and `state/replay` for those that a person wants taken again.
pub struct Quarantine {
    disk: Disk,
    dir: PathBuf,
    replay: PathBuf,
    /// Octets of batches that one country may fill in a day.
    room: u64,
    today: Mutex<Today>,
}

/// What was kept on one day.
#[derive(Default)]
struct Today {
    day: Option<Day>,
    /// Octets by the origin in a batch's name.
    filled: HashMap<String, u64>,
}

/// What became of a batch that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is kept now.
    Now,
    /// It had been kept before.
    Before,
    /// Its country has filled its room of the day: it is dropped.
    NoRoom,
}

/// A batch in quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InQuarantine {
    /// `POSITION-ORIGIN-HASH`.
    pub name: String,
    /// On which day it was put there.
    pub since: Day,
    /// How large it is.
    pub octets: u64,
    /// Why, a line each.
    pub reason: String,
    /// Whether it is to be taken again.
    pub is_asked: bool,
}

/// A batch that is to be taken again.
pub struct Asked {
    name: String,
    batch: wire::SignedBatch,
}

impl Asked {
    /// `POSITION-ORIGIN-HASH`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it stood in the delivery stream.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.name.split('-').next().and_then(|position| position.parse().ok()).unwrap_or_default()
    }

    /// It, as it came.
    #[must_use]
    pub fn batch(&self) -> &wire::SignedBatch {
        &self.batch
    }
}

impl Quarantine {
    /// Octets of batches that one country may fill in a day: 64 MiB, so 15 days of one are 960 MiB at most.
    pub const ROOM: u64 = 64 << 20;

    /// Opens the directories, or makes them.
    pub fn open(state: &Path, disk: Disk) -> Result<Self, DiskError> {
        let (dir, replay) = (state.join("quarantine"), state.join("replay"));
        disk.create_dir(&dir, PRIVATE_DIR)?;
        disk.create_dir(&replay, PRIVATE_DIR)?;
        Ok(Self { disk, dir, replay, room: Self::ROOM, today: Mutex::default() })
    }

    /// Keeps a batch as `POSITION-ORIGIN-HASH.batch`, the message `exchange.v1.SignedBatch`, and why as
    /// `POSITION-ORIGIN-HASH.reason`. The origin is a country number, or `unknown` if the manifest does not parse; the
    /// hash is the first 8 octets of the manifest's SHA-256, in hex. Ciphertext only. The same again changes nothing;
    /// another batch of the same name gets `-2` behind it, and so on.
    pub fn keep(&self, position: u64, batch: &wire::SignedBatch, reason: &str) -> Result<Kept, DiskError> {
        let octets = batch.encode_to_vec();
        let stem = self.free_stem(&stem(position, batch), &octets)?;
        if self.read(&format!("{stem}{BATCH}"))?.is_some() {
            self.keep_file(&format!("{stem}{REASON}"), format!("{reason}\n").as_bytes())?;
            return Ok(Kept::Before);
        }
        let mut today = self.today();
        let filled = today.filled.entry(origin(&stem).into()).or_default();
        let after = filled.saturating_add(length(&octets));
        if after > self.room {
            return Ok(Kept::NoRoom);
        }
        self.keep_file(&format!("{stem}{BATCH}"), &octets)?;
        self.keep_file(&format!("{stem}{REASON}"), format!("{reason}\n").as_bytes())?;
        *filled = after;
        Ok(Kept::Now)
    }

    /// Removes what is older than 15 days, once a day.
    pub fn forget(&self, day: Day) -> Result<(), DiskError> {
        let mut today = self.today();
        if today.day == Some(day) {
            return Ok(());
        }
        let mut filled = HashMap::<String, u64>::new();
        for batch in self.list()? {
            if batch.since < day.minus(Report::MAX_AGE) {
                self.remove(&batch.name)?;
            } else if batch.since >= day {
                *filled.entry(origin(&batch.name).into()).or_default() += batch.octets;
            }
        }
        *today = Today { day: Some(day), filled };
        Ok(())
    }

    /// What is kept, by name.
    pub fn list(&self) -> Result<Vec<InQuarantine>, DiskError> {
        let mut found = Vec::new();
        for dir in [&self.dir, &self.replay] {
            for name in durable::names(dir)? {
                let Some(name) = name.strip_suffix(BATCH) else { continue };
                // One that has gone meanwhile is none.
                let Ok(file) = std::fs::metadata(dir.join(format!("{name}{BATCH}"))) else { continue };
                let written = file.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                found.push(InQuarantine {
                    name: name.into(),
                    since: Day::of_unix(written.map_or(0, |since| since.as_secs())),
                    octets: file.len(),
                    reason: self.reason(name)?,
                    is_asked: dir == &self.replay,
                });
            }
        }
        found.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// A batch as it came; nothing if none has this name.
    pub fn batch(&self, name: &str) -> Result<Option<wire::SignedBatch>, DiskError> {
        for dir in [&self.dir, &self.replay] {
            if let Some(octets) = durable::read_if_there(&dir.join(format!("{name}{BATCH}")))? {
                return Ok(wire::SignedBatch::decode(&*octets).ok());
            }
        }
        Ok(None)
    }

    /// Asks the adapter to take a batch again.
    pub fn ask(&self, name: &str) -> Result<(), DiskError> {
        let file = format!("{name}{BATCH}");
        self.disk.rename(&self.dir.join(&file), &self.replay.join(&file))
    }

    /// Removes a batch and its reason.
    pub fn remove(&self, name: &str) -> Result<(), DiskError> {
        for dir in [&self.dir, &self.replay] {
            self.disk.remove(&dir.join(format!("{name}{BATCH}")))?;
        }
        self.disk.remove(&self.dir.join(format!("{name}{REASON}")))?;
        self.disk.sync_dir(&self.replay)?;
        self.disk.sync_dir(&self.dir)
    }

    /// What the adapter was asked to take again. What is no batch stays as it is.
    pub fn asked(&self) -> Result<Vec<Asked>, DiskError> {
        let mut asked = Vec::new();
        for name in durable::names(&self.replay)? {
            let Some(name) = name.strip_suffix(BATCH) else { continue };
            if let Some(batch) = self.batch(name)? {
                asked.push(Asked { name: name.into(), batch });
            }
        }
        Ok(asked)
    }

    /// What was asked for was taken.
    pub fn done(&self, asked: &Asked) -> Result<(), DiskError> {
        self.remove(&asked.name)
    }

    /// What was asked for is still refused, or a part of it.
    pub fn put_back(&self, asked: &Asked, reason: &str) -> Result<(), DiskError> {
        let (file, why) = (format!("{}{BATCH}", asked.name), format!("{}{REASON}", asked.name));
        self.disk.replace(&self.dir.join(why), PRIVATE, format!("{reason}\n").as_bytes())?;
        self.disk.rename(&self.replay.join(&file), &self.dir.join(&file))
    }

    fn reason(&self, name: &str) -> Result<String, DiskError> {
        let octets = self.read(&format!("{name}{REASON}"))?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&octets).trim_end().to_owned())
    }

    fn today(&self) -> MutexGuard<'_, Today> {
        self.today.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first stem that no other batch has.
    fn free_stem(&self, stem: &str, octets: &[u8]) -> Result<String, DiskError> {
        let mut free = stem.to_owned();
        let mut copies = 1;
        while self.read(&format!("{free}{BATCH}"))?.is_some_and(|kept| kept != octets) {
            copies += 1;
            free = format!("{stem}-{copies}");
        }
        Ok(free)
    }

    fn keep_file(&self, name: &str, octets: &[u8]) -> Result<(), DiskError> {
        match self.read(name)? {
            Some(_) => Ok(()),
            None => self.disk.replace(&self.dir.join(name), PRIVATE, octets),
        }
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
        durable::read_if_there(&self.dir.join(name))
    }
}

fn length(octets: &[u8]) -> u64 {
    u64::try_from(octets.len()).unwrap_or(u64::MAX)
}

/// The origin in a batch's name.
fn origin(name: &str) -> &str {
    name.split('-').nth(1).unwrap_or_default()
}

fn stem(position: u64, batch: &wire::SignedBatch) -> String {
    let hash = hex::encode(&sha256(&batch.manifest)[..8]);
    match Manifest::parse(&batch.manifest) {
        Ok(manifest) => format!("{position}-{}-{hash}", manifest.header.origin),
        Err(_) => format!("{position}-unknown-{hash}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn batch(manifest: &'static [u8], signature: &'static [u8]) -> wire::SignedBatch {
        wire::SignedBatch {
            manifest: manifest.into(),
            signature: signature.into(),
            ..wire::SignedBatch::default()
        }
    }

    #[test]
    fn what_is_in_quarantine_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::open(dir.path(), Disk::default()).unwrap();
        let batches = [batch(b"one", b""), batch(b"two", b""), batch(b"one", b"another")];
        for reason in ["first", "second"] {
            for batch in &batches {
                quarantine.keep(7, batch, reason).unwrap();
            }
        }
        let one = hex::encode(&sha256(b"one")[..8]);
        let two = hex::encode(&sha256(b"two")[..8]);
        let stems = [format!("7-unknown-{one}"), format!("7-unknown-{two}"), format!("7-unknown-{one}-2")];
        for (stem, batch) in stems.iter().zip(&batches) {
            let read = |ending: &str| quarantine.read(&format!("{stem}.{ending}")).unwrap().unwrap();
            assert_eq!(
                (read("batch"), read("reason")),
                (batch.encode_to_vec(), b"first\n".to_vec()),
                "{stem}"
            );
        }
        assert_eq!(durable::names(&dir.path().join("quarantine")).unwrap().len(), 6);
    }

    fn opened(dir: &Path, room: u64) -> Quarantine {
        Quarantine { room, ..Quarantine::open(dir, Disk::default()).unwrap() }
    }

    #[test]
    fn a_country_fills_its_own_room_of_a_day_and_no_more_whether_the_adapter_restarts_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let today = Clock::default().today();
        let (one, two, three) = (batch(b"one", b""), batch(b"two", b""), batch(b"three", b""));
        let room = length(&one.encode_to_vec()) + length(&two.encode_to_vec());
        let quarantine = opened(dir.path(), room);
        quarantine.forget(today).unwrap();
        let keep = |quarantine: &Quarantine, batch| quarantine.keep(7, batch, "why").unwrap();
        assert_eq!([keep(&quarantine, &one), keep(&quarantine, &two)], [Kept::Now; 2]);
        assert_eq!([keep(&quarantine, &three), keep(&quarantine, &one)], [Kept::NoRoom, Kept::Before]);
        let again = opened(dir.path(), room);
        again.forget(today).unwrap();
        assert_eq!(keep(&again, &three), Kept::NoRoom);
        again.forget(today.plus(1)).unwrap();
        assert_eq!(keep(&again, &three), Kept::Now, "tomorrow there is room");
        assert_eq!(again.list().unwrap().len(), 3);
    }

    #[test]
    fn a_batch_leaves_after_15_days_with_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let (quarantine, today) = (opened(dir.path(), 1_000), Clock::default().today());
        quarantine.keep(7, &batch(b"one", b""), "why").unwrap();
        for (after, left) in [(15, 2), (16, 0)] {
            quarantine.forget(today.plus(after)).unwrap();
            assert_eq!(durable::names(&dir.path().join("quarantine")).unwrap().len(), left, "{after}");
        }
    }

    #[test]
    fn a_batch_that_is_asked_for_is_shown_as_such_and_is_gone_when_it_was_taken() {
        let dir = tempfile::tempdir().unwrap();
        let quarantine = opened(dir.path(), 1_000);
        quarantine.keep(7, &batch(b"one", b"signature"), "why").unwrap();
        let [kept] = <[_; 1]>::try_from(quarantine.list().unwrap()).unwrap();
        assert_eq!((kept.reason.as_str(), kept.is_asked), ("why", false));
        assert!(quarantine.asked().unwrap().is_empty());
        quarantine.ask(&kept.name).unwrap();
        assert!(quarantine.list().unwrap()[0].is_asked);
        let asked = |quarantine: &Quarantine| quarantine.asked().unwrap().pop().unwrap();
        assert_eq!(
            (asked(&quarantine).position(), &*asked(&quarantine).batch().signature),
            (7, &b"signature"[..])
        );
        quarantine.put_back(&asked(&quarantine), "still").unwrap();
        assert_eq!(quarantine.list().unwrap(), [InQuarantine { reason: "still".into(), ..kept.clone() }]);
        quarantine.ask(&kept.name).unwrap();
        quarantine.done(&asked(&quarantine)).unwrap();
        assert!(quarantine.list().unwrap().is_empty() && quarantine.batch(&kept.name).unwrap().is_none());
        assert!(durable::names(&dir.path().join("quarantine")).unwrap().is_empty());
    }
}
