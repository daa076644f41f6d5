//! Whether the store still works. Once broken or closed it stays so.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::store::StoreError;

const RUNNING: u8 = 0;
const CLOSED: u8 = 1;
const BROKEN: u8 = 2;

/// How often somebody who waits for the end looks whether the store's thread still moves.
const LOOK: Duration = Duration::from_millis(500);

/// Shared by all parts of one store.
#[derive(Debug, Default)]
pub(super) struct Health {
    state: AtomicU8,
    failed: CancellationToken,
    /// Since when the store's thread is at one piece of work.
    at_work: Mutex<Option<Instant>>,
}

impl Health {
    /// An error if the store no longer works.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self.state.load(Ordering::Acquire) {
            RUNNING => Ok(()),
            CLOSED => Err(StoreError::Closed),
            _ => Err(StoreError::Broken),
        }
    }

    /// Why the store's thread gave no answer: unless it was closed, it is just panicking.
    pub(super) fn reason(&self) -> StoreError {
        self.check().err().unwrap_or(StoreError::Broken)
    }

    /// From now on every call says that the store is broken.
    pub(super) fn fail(&self) {
        self.state.store(BROKEN, Ordering::Release);
        self.failed.cancel();
    }

    /// From now on every call says that the store is closed, unless it is broken.
    pub(super) fn close(&self) {
        self.state.fetch_max(CLOSED, Ordering::AcqRel);
    }

    /// The store's thread begins a piece of work.
    pub(super) fn work(&self) {
        *self.at_work.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// The store's thread waits for work.
    pub(super) fn rest(&self) {
        *self.at_work.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Waits until the store is broken. It is, too, if its thread has been at one piece of work for as long as `patience`: a
    /// disk that does not answer, or a thread of sled that died and left others waiting, gives no error.
    pub(super) async fn broken(&self, patience: Duration) {
        while !self.failed.is_cancelled() {
            let since = *self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
            if since.is_some_and(|since| since.elapsed() >= patience) {
                error!(seconds = patience.as_secs(), "the store's thread does not come back from the disk");
                self.fail();
            }
            let _ = tokio::time::timeout(LOOK.min(patience), self.failed.cancelled()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_store_stays_broken_when_it_is_closed() {
        let health = Health::default();
        assert!(health.check().is_ok());
        health.close();
        assert!(matches!(health.check(), Err(StoreError::Closed)));
        health.fail();
        health.close();
        assert!(matches!(health.check(), Err(StoreError::Broken)));
    }

    #[tokio::test]
    async fn who_waits_for_the_end_hears_of_a_failure_and_of_a_thread_that_hangs() {
        let (failing, hanging) = (Health::default(), Health::default());
        hanging.rest();
        let patience = Duration::from_millis(20);
        assert!(tokio::time::timeout(patience * 3, hanging.broken(patience)).await.is_err());
        tokio::join!(failing.broken(Duration::from_secs(60)), async { failing.fail() });
        hanging.work();
        hanging.broken(patience).await;
        assert!(matches!(hanging.check(), Err(StoreError::Broken)));
    }
}
