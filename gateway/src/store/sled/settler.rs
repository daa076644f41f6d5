//! Puts the index on disk now and then, on a thread of its own.
//!
//! Segments say all that is in the index, so no commit waits for it: a start takes from them what the index has not.
//! That is no more than what a pause and one sync of a disk have let in.

use std::{
    io, mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{index::TOGETHER, parts::Parts};

/// From what is first in memory alone to its way to the disk.
const PAUSE: Duration = Duration::from_secs(1);
/// With so many rows in memory alone the disk is too slow for what comes, or the thread hangs: commits wait for it then,
/// and who looks after the store's thread sees it wait.
const MOST: usize = 4_000;

/// The thread, and how it is told.
#[derive(Debug)]
pub(super) struct Settler {
    told: Arc<Told>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Told {
    what: Mutex<What>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct What {
    /// Rows that are in memory alone.
    rows: usize,
    closing: bool,
}

impl Settler {
    /// Starts it.
    pub(super) fn start(parts: Arc<Parts>) -> io::Result<Self> {
        let told = Arc::new(Told::default());
        let thread = thread::Builder::new().name("index".to_owned()).spawn({
            let told = Arc::clone(&told);
            move || while told.wait() && parts.index.settle().is_ok() {}
        })?;
        Ok(Self { told, thread: Some(thread) })
    }

    /// So many rows are in memory alone now. Gives whether there may be more.
    pub(super) fn note(&self, rows: usize) -> bool {
        let before = mem::replace(&mut self.told.what().rows, rows);
        if before == 0 || (before < TOGETHER && rows >= TOGETHER) {
            self.told.changed.notify_one();
        }
        rows < MOST
    }
}

impl Drop for Settler {
    /// Waits until it comes back from the disk. Whatever it has not settled is left to who ends it.
    fn drop(&mut self) {
        self.told.what().closing = true;
        self.told.changed.notify_one();
        // A panic of sled is contained by the index.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Told {
    /// Waits until something is to be settled, and a pause more; false when there is nobody left to settle for.
    fn wait(&self) -> bool {
        let idle = |what: &mut What| what.rows == 0 && !what.closing;
        let what = self.changed.wait_while(self.what(), idle).unwrap_or_else(PoisonError::into_inner);
        let paused =
            self.changed.wait_timeout_while(what, PAUSE, |what| what.rows < TOGETHER && !what.closing);
        let (mut what, _) = paused.unwrap_or_else(PoisonError::into_inner);
        what.rows = 0;
        !what.closing
    }

    fn what(&self) -> MutexGuard<'_, What> {
        self.what.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
