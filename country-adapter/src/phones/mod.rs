//! HTTPS for phones: a case's contacts come in, lists go out.
//!
//! `listen` accepts connections, `routes` answers them with `problem` documents where something is wrong, `upload` reads
//! what a phone sends, `split` says what of it leaves the country, and `cases` takes it once. Nothing here logs an
//! address, a code, or anything of an upload.

pub mod case_code;
pub mod cases;
mod listen;
pub mod problem;
mod routes;
mod split;
mod unread;
pub mod upload;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use case_code::CodeId;
pub use cases::Cases;
pub use listen::{Certificate, CertificateError, Limits, serve};
pub use routes::router;
pub use split::{Parted, Stripped};

use crate::lists::Store;
use crate::service_keys::ServiceKeys;
use std::num::NonZeroU32;
use std::time::Duration;

/// Uploads that are read and worked on at once: one mebibyte each, and what is made of it.
const UPLOADS: usize = 16;
/// Wrong codes a second that are answered as such, and how many at once.
const WRONG_CODES: NonZeroU32 = NonZeroU32::new(10).unwrap();
const WRONG_AT_ONCE: NonZeroU32 = NonZeroU32::new(100).unwrap();

/// What phones are served from.
pub struct Phones {
    /// Takes uploads.
    pub cases: Arc<Cases>,
    /// Has the lists.
    pub lists: Arc<Store>,
    /// Has the keys for service tokens, if they are opened here.
    pub service_keys: Option<Arc<ServiceKeys>>,
    /// How often lists change, at most: for how long they may be cached.
    pub interval: Duration,
    uploads: Arc<Semaphore>,
    /// Codes that somebody is uploading with: one at a time, so that one code takes one place.
    under_way: Arc<Mutex<HashSet<CodeId>>>,
    wrong_codes: DefaultDirectRateLimiter,
}

impl Phones {
    /// Serves phones from these.
    #[must_use]
    pub fn new(
        cases: Arc<Cases>,
        lists: Arc<Store>,
        service_keys: Option<Arc<ServiceKeys>>,
        interval: Duration,
    ) -> Self {
        let quota = Quota::per_second(WRONG_CODES).allow_burst(WRONG_AT_ONCE);
        let (uploads, wrong_codes) = (Arc::new(Semaphore::new(UPLOADS)), RateLimiter::direct(quota));
        let under_way = Arc::default();
        Self { cases, lists, service_keys, interval, uploads, under_way, wrong_codes }
    }

    /// A place for an upload with a code, unless there is none, or the code has one already.
    fn place(&self, id: CodeId) -> Option<Place> {
        let permit = self.uploads.clone().try_acquire_owned().ok()?;
        let is_first = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        is_first.then(|| Place { id, under_way: self.under_way.clone(), _permit: permit })
    }
}

/// An upload that is read and worked on.
struct Place {
    id: CodeId,
    under_way: Arc<Mutex<HashSet<CodeId>>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}
