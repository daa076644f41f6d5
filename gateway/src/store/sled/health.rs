//! Whether the store still works. Once broken or closed it stays so.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::store::StoreError;

const RUNNING: u8 = 0;
const CLOSED: u8 = 1;
const BROKEN: u8 = 2;

/// Shared by all parts of one store.
#[derive(Debug, Default)]
pub(super) struct Health(AtomicU8);

impl Health {
    /// An error if the store no longer works.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self.0.load(Ordering::Acquire) {
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
        self.0.store(BROKEN, Ordering::Release);
    }

    /// From now on every call says that the store is closed, unless it is broken.
    pub(super) fn close(&self) {
        self.0.fetch_max(CLOSED, Ordering::AcqRel);
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
}
