//! Leases of one process: nobody else can have the store open, so they are kept in memory only.
//!
//! The contract is that of every store, because the stages that ask for leases do not know where they run.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock, RwLockReadGuard},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::store::{Fence, Holder, LeaseName};

/// Who holds what.
#[derive(Debug)]
pub(super) struct Leases {
    held: RwLock<Held>,
    elsewhere: watch::Sender<u64>,
}

/// All leases; held for reading while a group is staged and written.
pub(super) type Held = HashMap<LeaseName, Lease>;

/// Whether nobody took the lease over since this fence was given.
pub(super) fn stands(held: &Held, fence: Fence) -> bool {
    held.get(&fence.name).is_some_and(|lease| lease.token == fence.token)
}

/// One lease.
#[derive(Debug)]
pub(super) struct Lease {
    holder: Holder,
    token: u64,
    until: Instant,
}

impl Default for Leases {
    fn default() -> Self {
        Self { held: RwLock::default(), elsewhere: watch::Sender::new(0) }
    }
}

impl Leases {
    /// Gives a lease to `holder`, or leaves it longer to it, unless another has it.
    pub(super) fn take(&self, name: LeaseName, holder: Holder, time: Duration) -> Option<Fence> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let until = now + time;
        // At random, so that a token from before a restart fits none of today's.
        let lease = held.entry(name).or_insert_with(|| Lease { holder, token: rand::random(), until });
        if lease.holder != holder {
            if lease.until > now {
                return None;
            }
            lease.token = lease.token.wrapping_add(1);
        }
        (lease.holder, lease.until) = (holder, until);
        Some(Fence { name, token: lease.token })
    }

    /// Gives a lease back, if it is still held under this token.
    pub(super) fn release(&self, fence: Fence) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if stands(&held, fence) {
            held.remove(&fence.name);
        }
    }

    /// Keeps every lease where it is.
    pub(super) fn hold(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never rings: there is no other process.
    pub(super) fn elsewhere(&self) -> watch::Receiver<u64> {
        self.elsewhere.subscribe()
    }
}
