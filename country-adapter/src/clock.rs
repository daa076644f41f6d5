//! Wall time as a value, so that tests can turn it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use proto::course::{Course, Leapt};
use proto::day::Day;

/// Tells the time: the machine's clock, moved by what a test has turned it. Clones turn together.
#[derive(Debug, Clone)]
pub struct Clock {
    /// Seconds that a test lets pass.
    turned: Arc<AtomicI64>,
    /// Seconds that a test sets it ahead.
    set: Arc<AtomicI64>,
    course: Arc<Mutex<Course>>,
}

impl Default for Clock {
    fn default() -> Self {
        let course = Arc::new(Mutex::new(Course::new(machine())));
        Self { turned: Arc::default(), set: Arc::default(), course }
    }
}

impl Clock {
    /// Seconds since 1970.
    #[must_use]
    pub fn now(&self) -> u64 {
        machine()
            .saturating_add_signed(self.turned.load(Ordering::Relaxed) + self.set.load(Ordering::Relaxed))
    }

    /// The same for what cannot be taken back when the clock is set right: to call a report too old.
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
