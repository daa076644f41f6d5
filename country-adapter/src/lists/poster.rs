//! Makes increments of what the desk has put down: every entry once, whenever the adapter is killed.
//!
//! 1. The increments are written into `state/lists/.posting.tmp`, with the names of the queue's files they were made of;
//!    2. a rename to `.posting` commits them; 3. they are copied to the static folder and renamed into their lists, the
//!    queue's files are removed, then `.posting`. What is found after a kill is finished if it was committed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pki::disk::DiskError;
use pki::sign::SigningKey;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::entry::{Entry, ListKind};
use super::increment::{Head, Parameters};
use super::store::{Damaged, Store};
use super::{dummies, queue, remembered};
use crate::blocking::blocking;
use crate::clock::Clock;
use crate::durable::{self, Disk, PRIVATE, PRIVATE_DIR};
use crate::outage::{self, Outage};
use crate::steady::SteadyClock;

const TAKEN: &str = "taken";
/// Beside a list's static files: number and hash of the newest.
const LATEST: &str = "latest";
/// Entries of one posting; more wait for the next one.
const MOST: usize = 2_000_000;
/// Entries of one increment, 2.6 MB: a phone checks and drops one before it reads the next, and goes on behind the last
/// good one if the line breaks. A multiple of what they are filled up to.
const EACH: usize = 65_536;

/// Posts what is in the queue.
pub struct Poster {
    disk: Disk,
    store: Arc<Store>,
    key: SigningKey,
    parameters: Parameters,
    queue: PathBuf,
    posting: PathBuf,
    /// The static copy.
    public: Option<PathBuf>,
    clock: Clock,
}

/// Where a poster works.
pub struct Places<'a> {
    /// The adapter's directory.
    pub state: &'a Path,
    /// The folder of the static copy.
    pub public: Option<&'a Path>,
}

/// The names of files, and the entries in them by list.
type Queued = (Vec<String>, BTreeMap<ListKind, Vec<Entry>>);

/// What one posting did: for each list its last increment's number and how many entries went into all, without dummies.
pub type Posted = BTreeMap<ListKind, (u32, usize)>;

impl Poster {
    /// Opens the lists, and finishes a posting that a kill has interrupted.
    pub fn open(
        places: &Places<'_>,
        (disk, clock): (Disk, Clock),
        key: SigningKey,
        parameters: Parameters,
    ) -> Result<Self, Damaged> {
        let lists = places.state.join("lists");
        disk.create_dir(&lists, PRIVATE_DIR)?;
        let queue = queue::folder(places.state);
        disk.create_dir(&queue, PRIVATE_DIR)?;
        let posting = lists.join(".posting");
        finish_renames(&disk, &lists, &posting)?;
        let public = places.public.map(|folder| folder.join("v1"));
        let store = Arc::new(Store::open(&lists, disk.clone())?);
        let known = remembered::read(&lists, parameters)?;
        let mut poster = Self { disk, store, key, parameters: known, queue, posting, public, clock };
        // What waits was computed with the weights of the last start, and is posted under their number.
        while known != parameters && !poster.post_queue()?.is_empty() {}
        remembered::write(&poster.disk, &lists, parameters)?;
        poster.parameters = parameters;
        poster.publish_all()?;
        Ok(poster)
    }

    /// The lists.
    #[must_use]
    pub fn store(&self) -> Arc<Store> {
        self.store.clone()
    }

    /// Posts all that is in the queue now. The static folder comes last, and each time: one that could not be written
    /// is made good although nothing new is in the queue, and keeps no list from going on.
    pub fn post(&self) -> Result<Posted, Damaged> {
        self.complete()?;
        let posted = self.post_queue()?;
        self.publish_all()?;
        Ok(posted)
    }

    fn post_queue(&self) -> Result<Posted, Damaged> {
        let (names, entries) = self.read_queue()?;
        let mut posted = Posted::new();
        if names.is_empty() {
            return Ok(posted);
        }
        let mut made = Vec::new();
        let staging = self.staging();
        self.disk.remove_dir(&staging)?;
        self.disk.create_dir(&staging, PRIVATE_DIR)?;
        for (kind, mut entries) in entries {
            let (tail, real) = (self.store.tail(kind), entries.len());
            let (mut number, mut previous, posted_at) = (tail.number, tail.hash, self.clock.now());
            dummies::fill(kind, &mut entries);
            for part in entries.chunks(EACH) {
                number += 1;
                let head = Head { kind, number, posted_at, previous, parameters: self.parameters };
                let sealed = head.seal(part, &self.key);
                self.disk.write(&staging.join(staged_name(kind, number)), PRIVATE, &sealed.octets)?;
                previous = sealed.hash;
                made.push((kind, number, (posted_at, previous)));
            }
            posted.insert(kind, (number, real));
        }
        self.disk.write(&staging.join(TAKEN), PRIVATE, names.join("\n").as_bytes())?;
        self.disk.sync_dir(&staging)?;
        self.disk.rename(&staging, &self.posting)?;
        self.finish()?;
        made.into_iter().for_each(|(kind, number, known)| self.store.added(kind, number, known));
        Ok(posted)
    }

    /// How long the oldest entry has been waiting to be posted, on the static folder too.
    #[must_use]
    pub fn oldest_waiting(&self) -> Option<Duration> {
        self.oldest_in_queue().max(self.oldest_unpublished())
    }

    fn oldest_in_queue(&self) -> Option<Duration> {
        let names = durable::names(&self.queue).unwrap_or_default();
        let ages = names.iter().filter(|name| name.ends_with(queue::ENDING)).filter_map(|name| {
            let put_down = std::fs::metadata(self.queue.join(name)).and_then(|file| file.modified()).ok()?;
            Some(SystemTime::now().duration_since(put_down).unwrap_or_default())
        });
        ages.max()
    }

    /// The age of the oldest increment that the static folder does not have.
    fn oldest_unpublished(&self) -> Option<Duration> {
        let public = self.public.as_ref()?;
        let ages = ListKind::ALL.into_iter().filter_map(|kind| {
            // What cannot be read is not known to be there.
            let known = known_number(&public.join(kind.name())).unwrap_or(0);
            let posted_at = self.store.posted_after(kind, known)?;
            Some(Duration::from_secs(self.clock.now().saturating_sub(posted_at)))
        });
        ages.max()
    }

    /// The oldest files of the queue, as many as one posting has room for, and their entries by list. One that cannot
    /// be used keeps none of the others waiting.
    fn read_queue(&self) -> Result<Queued, DiskError> {
        let (mut names, mut entries) = (Vec::new(), BTreeMap::<_, Vec<_>>::new());
        let mut room = MOST;
        for name in durable::names(&self.queue)?.into_iter().filter(|name| name.ends_with(queue::ENDING)) {
            let Some(records) = self.read_queued(&name)? else { continue };
            if records.len() > room && !names.is_empty() {
                break;
            }
            room = room.saturating_sub(records.len());
            records.into_iter().for_each(|(kind, entry)| entries.entry(kind).or_default().push(entry));
            names.push(name);
        }
        Ok((names, entries))
    }

    /// The records of a file. One with other records than ours is set aside for a person; one that cannot be read now
    /// is left for the next posting.
    fn read_queued(&self, name: &str) -> Result<Option<Vec<(ListKind, Entry)>>, DiskError> {
        let path = self.queue.join(name);
        let octets = match durable::read_if_there(&path) {
            Ok(octets) => octets.unwrap_or_default(),
            Err(cause) => {
                error!(error = %outage::chain(&cause), "not posted; it is tried again");
                return Ok(None);
            }
        };
        let records = queue::parse(&octets);
        if records.is_none() {
            let aside = self.queue.join(format!("{name}{}", queue::ASIDE));
            self.disk.rename(&path, &aside)?;
            error!(file = %aside.display(), "it has other records than ours, and is set aside; nothing of it is posted");
        }
        Ok(records)
    }

    /// Does what follows a commit. May be done again.
    fn finish(&self) -> Result<(), DiskError> {
        let lists = self.posting.parent().unwrap_or(&self.posting);
        finish_renames(&self.disk, lists, &self.posting)
    }

    /// Finishes a posting that was committed and whose end the disk refused.
    fn complete(&self) -> Result<(), Damaged> {
        if durable::is_there(&self.posting)? {
            self.finish()?;
            self.store.reload()?;
        }
        Ok(())
    }

    /// Copies what is missing in the static folder, and says which is the newest.
    fn publish_all(&self) -> Result<(), DiskError> {
        let Some(public) = &self.public else { return Ok(()) };
        for kind in ListKind::ALL {
            let folder = public.join(kind.name());
            self.disk.create_public_dir(public)?;
            self.disk.create_public_dir(&folder)?;
            let known = known_number(&folder)?;
            let tail = self.store.tail(kind);
            for number in known.min(tail.number) + 1..=tail.number {
                if let Some(octets) = durable::read_if_there(&self.store.path(kind, number))? {
                    self.disk.replace_public(&folder.join(format!("{number:010}.inc")), &octets)?;
                }
            }
            if known != tail.number {
                let text = format!("{} {}\n", tail.number, hex::encode(tail.hash));
                self.disk.replace_public(&folder.join(LATEST), text.as_bytes())?;
            }
        }
        Ok(())
    }

    /// How many files were set aside, because they have other records than ours.
    #[must_use]
    pub fn set_aside(&self) -> usize {
        let names = durable::names(&self.queue).unwrap_or_default();
        names.iter().filter(|name| name.ends_with(queue::ASIDE)).count()
    }

    /// Removes what is over after 15 days, here and in the static folder. The time is that of a clock that does not leap:
    /// nobody can post again what is removed.
    pub fn forget(&self, now: u64) -> Result<(), DiskError> {
        self.store.forget(now)?;
        let Some(public) = &self.public else { return Ok(()) };
        for kind in ListKind::ALL {
            let folder = public.join(kind.name());
            for name in durable::names(&folder)? {
                let number = name.strip_suffix(".inc").and_then(|number| number.parse().ok());
                let Some(number) = number else { continue };
                if !durable::is_there(&self.store.path(kind, number))? {
                    self.disk.remove(&folder.join(&name))?;
                }
            }
        }
        Ok(())
    }

    fn staging(&self) -> PathBuf {
        self.posting.with_extension("tmp")
    }
}

/// Posts at a fixed interval until the stop, and soon again when it has failed.
pub async fn run(poster: Arc<Poster>, steady: Arc<SteadyClock>, interval: Duration, stop: CancellationToken) {
    let mut outage = Outage::new("posting");
    while !stop.is_cancelled() {
        let (poster, steady) = (poster.clone(), steady.clone());
        match blocking(move || step(&poster, &steady)).await {
            Ok(posted) => {
                outage.over();
                for (kind, (number, _)) in posted {
                    info!(list = kind.name(), number, "posted");
                }
                stop.run_until_cancelled(tokio::time::sleep(interval)).await;
            }
            Err(cause) => {
                outage.failed(&cause);
                outage.pause(Duration::ZERO, &stop).await;
            }
        }
    }
}

fn step(poster: &Poster, steady: &SteadyClock) -> Result<Posted, Damaged> {
    let posted = poster.post()?;
    poster.forget(steady.now()?)?;
    Ok(posted)
}

/// The number that a static folder says is the newest; 0 if it says none.
fn known_number(folder: &Path) -> Result<u32, DiskError> {
    let text = durable::read_if_there(&folder.join(LATEST))?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    Ok(text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0))
}

fn staged_name(kind: ListKind, number: u32) -> String {
    format!("{}.{number:010}.inc", kind.name())
}

/// Puts committed increments into their lists, and removes what they were made of.
fn finish_renames(disk: &Disk, lists: &Path, posting: &Path) -> Result<(), DiskError> {
    let Some(taken) = durable::read_if_there(&posting.join(TAKEN))? else {
        // Without it the removal at the end had begun.
        return disk.remove_dir(posting);
    };
    for name in durable::names(posting)? {
        let Some((list, file)) = name.split_once('.').filter(|_| name != TAKEN) else { continue };
        let folder = lists.join(list);
        disk.create_dir(&folder, PRIVATE_DIR)?;
        disk.rename(&posting.join(&name), &folder.join(file))?;
    }
    let queue = lists.parent().map(queue::folder).unwrap_or_default();
    for name in String::from_utf8_lossy(&taken).lines() {
        disk.remove(&queue.join(name))?;
    }
    disk.sync_dir(&queue)?;
    disk.remove(&posting.join(TAKEN))?;
    disk.remove_dir(posting)
}

#[cfg(test)]
#[path = "poster_tests.rs"]
mod tests;
