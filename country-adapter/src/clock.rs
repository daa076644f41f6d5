//! Wall time as a value, so that tests can turn it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use proto::day::Day;

/// Tells the time: the machine's clock, moved by what a test has turned it. Clones turn together.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// Seconds to add.
    turned: Arc<AtomicI64>,
}

impl Clock {
    /// Seconds since 1970.
    #[must_use]
    pub fn now(&self) -> u64 {
        let real = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        real.saturating_add_signed(self.turned.load(Ordering::Relaxed))
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
