//! A store that can be killed at any commit, and the image that is then on the disk.
//!
//! A kill leaves what the process had written. Between two commits nothing is being written, so a copy of the folder
//! made there is what a kill at that moment leaves; a kill inside of a commit leaves one or the other, which the
//! store's own tests show. What a power cut leaves is theirs too; a kill of a whole process is what `faults` makes.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use gateway::store::{
    Answered, Change, Committed, Cursor, CursorName, Entry, Fence, Holder, LeaseName, OnceId, Store,
    StoreError, StoreSize, Stream, Tail,
};
use tokio::sync::{RwLock, watch};

use super::operations::Moment;
use super::small_disk::BALLAST;

/// Copies what is on the disk now to where the next life finds it.
pub(super) type Image = Box<dyn Fn() -> io::Result<()> + Send + Sync>;

/// A real store, with a fuse in front of its commits.
pub(super) struct Fuse {
    store: Arc<dyn Store>,
    image: Image,
    /// What is still to come before the kill.
    armed: Mutex<Option<Moment>>,
    /// Whether an image was taken already. Writing takes the lock for reading, an image for writing.
    gate: RwLock<Taken>,
    died: watch::Sender<Died>,
    /// Whether it only says that it purges.
    hoards: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Not,
    Yes,
}

/// Whether the process was killed, or the image could not be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Died {
    /// It lives.
    Not,
    /// It was killed.
    Killed,
    /// The harness failed: the disk says why.
    NoImage(String),
}

impl Fuse {
    /// Puts a fuse in front of a store.
    pub(super) fn new(store: Arc<dyn Store>, image: Image) -> Self {
        let (died, _) = watch::channel(Died::Not);
        let (armed, gate) = (Mutex::default(), RwLock::new(Taken::Not));
        Self { store, image, armed, gate, died, hoards: AtomicBool::new(false) }
    }

    /// The store behind it.
    pub(super) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Follows its death.
    pub(super) fn watch(&self) -> watch::Receiver<Died> {
        self.died.subscribe()
    }

    /// Kills at a later commit.
    pub(super) fn arm(&self, moment: Moment) {
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = Some(moment);
    }

    /// Purges nothing from now on, and says that it does.
    pub(super) fn hoard(&self) {
        self.hoards.store(true, Ordering::Relaxed);
    }

    /// Takes the image that the next kill leaves, and lives on.
    pub(super) async fn take_image(&self) -> io::Result<()> {
        let mut taken = self.gate.write().await;
        tokio::task::block_in_place(|| (self.image)())?;
        *taken = Taken::Yes;
        Ok(())
    }

    /// Kills now, unless it is dead. Nothing that has begun ends any more.
    pub(super) async fn blow(&self) {
        let mut taken = self.gate.write().await;
        if *self.died.borrow() != Died::Not {
            return;
        }
        let imaged = match *taken {
            Taken::Not => tokio::task::block_in_place(|| (self.image)()),
            Taken::Yes => Ok(()),
        };
        *taken = Taken::Yes;
        let died = imaged.map_or_else(|cause| Died::NoImage(cause.to_string()), |()| Died::Killed);
        self.died.send_replace(died);
    }

    /// Whether this commit is the one to die at.
    fn strikes(&self) -> Option<Moment> {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let next = match (*armed)? {
            Moment::Before(1) | Moment::After(1) | Moment::Now => return armed.take(),
            Moment::Before(left) => Moment::Before(left - 1),
            Moment::After(left) => Moment::After(left - 1),
        };
        *armed = Some(next);
        None
    }

    /// Nobody hears of anything after the kill.
    async fn dead<T>(&self) -> T {
        self.blow().await;
        std::future::pending().await
    }

    /// Changes the store, unless it is dead.
    async fn change<T>(&self, change: impl Future<Output = T>) -> T {
        let gate = self.gate.read().await;
        if *self.died.borrow() != Died::Not {
            drop(gate);
            return std::future::pending().await;
        }
        change.await
    }
}

#[async_trait]
impl Store for Fuse {
    async fn commit(&self, change: Change) -> Result<Committed, StoreError> {
        let moment = self.strikes();
        if matches!(moment, Some(Moment::Before(_) | Moment::Now)) {
            return self.dead().await;
        }
        let done = self.change(self.store.commit(change)).await;
        if moment.is_some() { self.dead().await } else { done }
    }

    async fn once(&self, id: &OnceId) -> Result<Option<Answered>, StoreError> {
        self.store.once(id).await
    }

    async fn find(&self, stream: Stream, sequence: u64) -> Result<Option<Entry>, StoreError> {
        self.store.find(stream, sequence).await
    }

    async fn link(&self, stream: Stream, sequence: u64) -> Result<Option<[u8; 32]>, StoreError> {
        self.store.link(stream, sequence).await
    }

    async fn after(&self, stream: Stream, after: u64, max_bytes: usize) -> Result<Vec<Entry>, StoreError> {
        self.store.after(stream, after, max_bytes).await
    }

    async fn cursor(&self, name: CursorName) -> Result<Cursor, StoreError> {
        self.store.cursor(name).await
    }

    fn tail(&self, stream: Stream) -> watch::Receiver<Tail> {
        self.store.tail(stream)
    }

    async fn latest(&self, stream: Stream) -> Result<Tail, StoreError> {
        self.store.latest(stream).await
    }

    async fn oldest(&self, stream: Stream) -> Result<Option<(u64, u64)>, StoreError> {
        self.store.oldest(stream).await
    }

    async fn older(&self, stream: Stream, before: u64) -> Result<u64, StoreError> {
        self.store.older(stream, before).await
    }

    async fn purge(&self, stream: Stream, through: u64) -> Result<u64, StoreError> {
        if self.hoards.load(Ordering::Relaxed) {
            return Ok(0);
        }
        self.change(self.store.purge(stream, through)).await
    }

    async fn forget(&self, before: u64) -> Result<u64, StoreError> {
        self.change(self.store.forget(before)).await
    }

    async fn streams(&self) -> Result<Vec<Stream>, StoreError> {
        self.store.streams().await
    }

    async fn lease(
        &self,
        name: LeaseName,
        holder: Holder,
        time: Duration,
    ) -> Result<Option<Fence>, StoreError> {
        self.change(self.store.lease(name, holder, time)).await
    }

    async fn release(&self, fence: Fence) -> Result<(), StoreError> {
        self.change(self.store.release(fence)).await
    }

    fn elsewhere(&self) -> watch::Receiver<u64> {
        self.store.elsewhere()
    }

    fn size(&self) -> StoreSize {
        self.store.size()
    }

    async fn broken(&self) {
        self.store.broken().await;
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}

/// Copies a folder, without what fills a small disk. A file that is renamed away meanwhile was never finished.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name() == BALLAST {
            continue;
        }
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let copied = match entry.file_type()?.is_dir() {
            true => copy(&source, &target),
            false => fs::copy(&source, &target).map(drop),
        };
        match copied {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            copied => copied?,
        }
    }
    Ok(())
}
