//! How long something took: by the clock on the wall, and of the core that did it, whatever else the machine had to do.

use std::fs;
use std::time::{Duration, Instant};

/// Runs from its start, for the thread that started it.
pub(crate) struct Watch {
    began: Instant,
    spent: Option<Duration>,
}

impl Watch {
    pub(crate) fn start() -> Self {
        Self { began: Instant::now(), spent: spent() }
    }

    /// Seconds on the wall.
    pub(crate) fn wall(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Seconds in which a core ran this thread, system calls among them. Where the system does not tell, those on the
    /// wall.
    pub(crate) fn core(&self) -> f64 {
        let spent = self.spent.zip(spent()).and_then(|(before, now)| now.checked_sub(before));
        spent.map_or_else(|| self.wall(), |spent| spent.as_secs_f64())
    }
}

fn spent() -> Option<Duration> {
    let statistics = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    statistics.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}
