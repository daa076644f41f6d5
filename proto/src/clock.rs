//! Wall time as a value, so that tests can turn it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::course::{Course, Leapt};
use crate::day::Day;

/// Minutes since 1970, as batches carry them.
#[must_use]
pub fn minute(second: u64) -> u32 {
    u32::try_from(second / 60).unwrap_or(u32::MAX)
}

/// Tells the time: the machine's clock, moved by what a test has turned it. Clones turn together.
#[derive(Debug, Clone)]
pub struct Clock {
    /// Seconds since 1970 at which it stands, in place of the machine's clock.
    still: Option<u64>,
    /// Seconds that a test lets pass.
    turned: Arc<AtomicI64>,
    /// Seconds that a test sets it ahead.
    set: Arc<AtomicI64>,
    course: Arc<Mutex<Course>>,
}

impl Default for Clock {
    fn default() -> Self {
        Self::of(None)
    }
}

impl Clock {
    /// A clock that stands at this second, and moves when it is turned. For tests.
    #[must_use]
    pub fn still(at: u64) -> Self {
        Self::of(Some(at))
    }

    fn of(still: Option<u64>) -> Self {
        let course = Arc::new(Mutex::new(Course::new(still.unwrap_or_else(machine))));
        Self { still, turned: Arc::default(), set: Arc::default(), course }
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn now(&self) -> u64 {
        let real = self.still.unwrap_or_else(machine);
        real.saturating_add_signed(self.turned.load(Ordering::Relaxed) + self.set.load(Ordering::Relaxed))
    }

    /// The same for what cannot be taken back when the clock is set right: to call a report too old, or to seal ahead of the
    /// time, which holds up all that follows.
    pub fn steady(&self) -> Result<u64, Leapt> {
        let mut course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        course.look(now, self.turned.load(Ordering::Relaxed)).map(|()| now)
    }

    /// Today in UTC.
    #[must_use]
    pub fn today(&self) -> Day {
        Day::of_unix(self.now())
    }

    /// Lets some seconds pass for this clock and all its clones. For tests.
    pub fn turn(&self, seconds: i64) {
        self.turned.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Sets this clock and all its clones ahead by some seconds. For tests.
    pub fn set_ahead(&self, seconds: i64) {
        self.set.fetch_add(seconds, Ordering::Relaxed);
    }
}

fn machine() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
