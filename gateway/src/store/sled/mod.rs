//! A store on one machine.
//!
//! Heads, bodies and answers lie in append-only segment files; sled keeps what is small: where they lie, tails,
//! cursors and once ids. One thread commits for all who wait, and nobody is answered before the segment is on disk.
//! It says all that the index does, so the index follows on a thread of its own, and never points at octets that are
//! not on disk.

mod blocks;
mod committer;
mod cursors;
pub mod gaps;
mod group;
mod health;
mod index;
mod layout;
mod leases;
mod ledger;
mod parts;
pub mod rebuild;
mod recent;
mod record;
mod recovery;
mod restore;
mod row;
mod rows;
mod segment;
mod settler;
mod state;
pub mod survey;
mod sweep;
#[cfg(test)]
mod tests;
mod upkeep;
pub mod verify;
pub mod walk;
mod writer;

use std::{
    mem,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};

use self::{
    committer::{Committer, Job, Reply},
    cursors::Cursors,
    health::Health,
    index::Index,
    layout::{Layout, failed},
    leases::Leases,
    parts::Parts,
    recent::Recent,
    segment::Segments,
    sweep::{Sweep, What},
    writer::Writer,
};
use super::{
    Answered, Change, Committed, Cursor, CursorName, Entry, Fence, Holder, LeaseName, OnceId, Store,
    StoreError, StoreSize, Stream, Tail, damage::Damage, tails::Tails, upkeep::Upkeep,
};

/// Jobs that may wait for the thread; more wait in their callers.
const QUEUE: usize = 256;
/// How long the thread may be at one group: it has at most some dozens of megabytes to write, and two syncs to wait for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the thread of a broken store is waited for: it may never come back from the disk.
const STRAGGLING: Duration = Duration::from_secs(2);

/// How a store behaves on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SledOptions {
    /// Octets after which a new segment is begun: space is given back a segment at a time. 64 MiB.
    pub segment_bytes: u64,
    /// Octets that stay free on the store's file system: below it commits are refused. 256 MiB.
    pub free_floor_bytes: u64,
    /// Octets of the index that are kept in memory. 16 MiB.
    pub cache_bytes: u64,
    /// Octets of the newest entries that are kept in memory. 16 MiB.
    pub recent_bytes: usize,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            free_floor_bytes: 256 << 20,
            cache_bytes: 16 << 20,
            recent_bytes: 16 << 20,
        }
    }
}

/// A store in a directory of its own.
#[derive(Debug)]
pub struct SledStore {
    parts: Arc<Parts>,
    jobs: mpsc::Sender<Job>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl SledStore {
    /// Opens the store in `directory`, or makes one. It blocks while the index is read.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if it is open elsewhere, [`StoreError::Newer`] if a later release made it,
    /// [`StoreError::Owed`] if losses were accepted and not dealt with, [`StoreError::Corrupt`] if files are missing or
    /// too short, [`StoreError::Io`] if the system refuses.
    pub fn open(directory: &Path, options: SledOptions) -> Result<Self, StoreError> {
        Self::open_in(Layout::open(directory)?, options)
    }

    fn open_in(layout: Layout, options: SledOptions) -> Result<Self, StoreError> {
        let health = Arc::new(Health::default());
        let index = Index::open(layout.index(), options.cache_bytes, Arc::clone(&health))?;
        let segments = Segments::new(layout.segments());
        let (tails, cursors) = (Tails::new(index.tails()?), Cursors::default());
        let (leases, damage) = (Leases::default(), Damage::default());
        let (size, recent) = (Mutex::default(), Recent::new(options.recent_bytes));
        let parts =
            Arc::new(Parts { index, segments, tails, cursors, recent, leases, size, damage, health, layout });
        let writer = Writer::open(Arc::clone(&parts), options)?;
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let committer = Committer::new(Arc::clone(&parts), writer, waiting);
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || committer.run())
            .map_err(failed("start the thread of", parts.layout.root()))?;
        Ok(Self { parts, jobs, thread: Mutex::new(Some(thread)) })
    }

    /// Hands a job to the thread, and waits for its answer. From the hand-over on the job is done either way.
    async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, StoreError> {
        self.parts.health.check()?;
        let (reply, answer) = oneshot::channel();
        self.jobs.send(job(reply)).await.map_err(|_| self.parts.health.reason())?;
        answer.await.unwrap_or_else(|_| Err(self.parts.health.reason()))
    }

    /// Reads on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Parts) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.parts.health.check()?;
        let parts = Arc::clone(&self.parts);
        tokio::task::spawn_blocking(move || read(&parts)).await.unwrap_or(Err(StoreError::Broken))
    }

    async fn sweep(&self, what: What) -> Result<u64, StoreError> {
        self.ask(|reply| Job::Sweep(Sweep { what, removed: 0, reply })).await
    }

    fn thread(&self) -> Option<JoinHandle<()>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Waits until the thread has ended; not for ever, if the store is broken.
fn join(thread: JoinHandle<()>, health: &Health) {
    let start = Instant::now();
    while matches!(health.check(), Err(StoreError::Broken)) && !thread.is_finished() {
        if start.elapsed() > STRAGGLING {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    // A panic of the thread has marked the store as broken already.
    let _ = thread.join();
}

#[async_trait]
impl Store for SledStore {
    async fn commit(&self, change: Change) -> Result<Committed, StoreError> {
        super::check_lengths(&change)?;
        self.ask(|reply| Job::Commit(change, reply)).await
    }

    async fn once(&self, id: &OnceId) -> Result<Option<Answered>, StoreError> {
        let id = id.clone();
        self.read(move |parts| parts.once(&id)).await
    }

    async fn find(&self, stream: Stream, sequence: u64) -> Result<Option<Entry>, StoreError> {
        self.read(move |parts| parts.find(stream, sequence)).await
    }

    async fn link(&self, stream: Stream, sequence: u64) -> Result<Option<[u8; 32]>, StoreError> {
        let tail = self.latest(stream).await?;
        if sequence >= tail.last {
            return Ok((sequence == tail.last && sequence > 0).then_some(tail.link));
        }
        self.read(move |parts| Ok(parts.index.entry(stream, sequence)?.map(|row| row.link))).await
    }

    async fn after(&self, stream: Stream, after: u64, max_bytes: usize) -> Result<Vec<Entry>, StoreError> {
        self.parts.health.check()?;
        match self.parts.recent.after(stream, after, max_bytes) {
            Some(page) => Ok(page),
            None => self.read(move |parts| parts.after(stream, after, max_bytes)).await,
        }
    }

    async fn cursor(&self, name: CursorName) -> Result<Cursor, StoreError> {
        self.parts.health.check()?;
        Ok(self.parts.cursors.now(name))
    }

    fn tail(&self, stream: Stream) -> watch::Receiver<Tail> {
        self.parts.tails.watch(stream)
    }

    async fn latest(&self, stream: Stream) -> Result<Tail, StoreError> {
        self.parts.health.check()?;
        Ok(self.parts.tails.now(stream))
    }

    async fn oldest(&self, stream: Stream) -> Result<Option<(u64, u64)>, StoreError> {
        self.read(move |parts| parts.oldest(stream)).await
    }

    async fn older(&self, stream: Stream, before: u64) -> Result<u64, StoreError> {
        self.read(move |parts| parts.older(stream, before)).await
    }

    async fn purge(&self, stream: Stream, through: u64) -> Result<u64, StoreError> {
        self.sweep(What::Entries { stream, through }).await
    }

    async fn forget(&self, before: u64) -> Result<u64, StoreError> {
        self.sweep(What::Answers { before }).await
    }

    async fn streams(&self) -> Result<Vec<Stream>, StoreError> {
        self.parts.health.check()?;
        Ok(self.parts.tails.streams())
    }

    fn upkeep(&self) -> Option<&dyn Upkeep> {
        Some(self)
    }

    async fn lease(
        &self,
        name: LeaseName,
        holder: Holder,
        time: Duration,
    ) -> Result<Option<Fence>, StoreError> {
        self.read(move |parts| Ok(parts.leases.take(name, holder, time))).await
    }

    async fn release(&self, fence: Fence) -> Result<(), StoreError> {
        let release = move |parts: &Parts| {
            parts.leases.release(fence);
            Ok(())
        };
        self.read(release).await
    }

    fn elsewhere(&self) -> watch::Receiver<u64> {
        self.parts.leases.elsewhere()
    }

    fn size(&self) -> StoreSize {
        *self.parts.size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn close(&self) -> Result<(), StoreError> {
        let closed = match self.ask(Job::Close).await {
            Err(StoreError::Closed) => Ok(()),
            closed => closed,
        };
        if let Some(thread) = self.thread() {
            let parts = Arc::clone(&self.parts);
            let _ = tokio::task::spawn_blocking(move || join(thread, &parts.health)).await;
        }
        closed
    }

    async fn broken(&self) {
        self.parts.health.broken(PATIENCE).await;
    }
}

impl Drop for SledStore {
    /// Waits for the group in progress, so that the directory is free again for who opens it next.
    fn drop(&mut self) {
        drop(mem::replace(&mut self.jobs, mpsc::channel(1).0));
        if let Some(thread) = self.thread()
            && thread.thread().id() != thread::current().id()
        {
            join(thread, &self.parts.health);
        }
    }
}
