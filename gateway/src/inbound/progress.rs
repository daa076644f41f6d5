//! Wakes whoever tells an origin how far its batches have come.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::ids::CountryCode;
use tokio::sync::Notify;

/// A bell for each origin, for the one loop that sends it receipts: rung while nobody waits, the next wait hears it.
#[derive(Debug, Default)]
pub struct Progress(Mutex<HashMap<CountryCode, Arc<Notify>>>);

impl Progress {
    /// What to wait at.
    #[must_use]
    pub fn bell(&self, origin: CountryCode) -> Arc<Notify> {
        self.bells().entry(origin).or_default().clone()
    }

    /// A cursor moved that a receipt to this origin tells of.
    pub fn ring(&self, origin: CountryCode) {
        self.bell(origin).notify_one();
    }

    /// One of any origin may have moved.
    pub fn ring_all(&self) {
        self.bells().values().for_each(|bell| bell.notify_one());
    }

    fn bells(&self) -> MutexGuard<'_, HashMap<CountryCode, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn is_rung(progress: &Progress, origin: CountryCode) -> bool {
        tokio::time::timeout(Duration::from_millis(20), progress.bell(origin).notified()).await.is_ok()
    }

    #[tokio::test]
    async fn what_an_origin_is_not_told_of_wakes_nobody() {
        let (progress, [one, two]) = (Progress::default(), [250, 276].map(|n| CountryCode::new(n).unwrap()));
        progress.ring(one);
        progress.ring(one);
        assert!(is_rung(&progress, one).await, "also if it was rung before the wait");
        assert!(!is_rung(&progress, one).await && !is_rung(&progress, two).await);
        progress.ring_all();
        assert!(is_rung(&progress, one).await && is_rung(&progress, two).await);
    }
}
