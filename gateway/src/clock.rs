//! Wall time as a value, so that tests can turn it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use proto::day::Day;

/// Tells the time: the machine's clock, moved by what a test has turned it.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// Seconds since 1970 at which it stands, in place of the machine's clock.
    still: Option<u64>,
    /// Seconds to add.
    turned: Arc<AtomicI64>,
}

impl Clock {
    /// A clock that stands at this second, and moves when it is turned. For tests.
    #[must_use]
    pub fn still(at: u64) -> Self {
        Self { still: Some(at), turned: Arc::default() }
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn now(&self) -> u64 {
        let machine = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let real = self.still.unwrap_or_else(machine);
        real.saturating_add_signed(self.turned.load(Ordering::Relaxed))
    }

    /// Minutes since 1970, as batches carry them.
    #[must_use]
    pub fn minute(&self) -> u32 {
        u32::try_from(self.now() / 60).unwrap_or(u32::MAX)
    }

    /// Today in UTC.
    #[must_use]
    pub fn today(&self) -> Day {
        Day::of_unix(self.now())
    }

    /// Turns this clock and all its clones by some seconds. For tests.
    pub fn turn(&self, seconds: i64) {
        self.turned.fetch_add(seconds, Ordering::Relaxed);
    }
}
