//! The time by which things are destroyed and let go: the clock's, unless the clock has leapt.
//!
//! A machine that wakes up with a wrong clock would destroy every daily key, forget every token that was counted, remove
//! every list that was posted, and let go keys that are in use; none of that can be undone when the clock is set right. So the last day is kept in
//! `state/day`, and a leap is doubted for a day (`proto::leap`).

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use pki::disk::DiskError;
use proto::day::Day;
use proto::leap::{Belief, Leap};
use tracing::{error, info};

use crate::clock::Clock;
use crate::durable::{self, Disk, PRIVATE};

/// A clock that does not leap.
pub struct SteadyClock {
    clock: Clock,
    disk: Disk,
    path: PathBuf,
    leap: Mutex<Leap>,
}

impl SteadyClock {
    /// A clock whose last day is kept in the adapter's directory.
    #[must_use]
    pub fn new(state: &Path, disk: Disk, clock: Clock) -> Self {
        Self { clock, disk, path: state.join("day"), leap: Mutex::default() }
    }

    /// The clock that it watches.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Seconds since 1970: now, or the end of the last day before a leap if that is earlier.
    pub fn now(&self) -> Result<u64, DiskError> {
        self.at(self.clock.now(), Instant::now())
    }

    /// The same for a time that the clock shows at an instant of the machine.
    fn at(&self, now: u64, instant: Instant) -> Result<u64, DiskError> {
        let mut leap = self.leap.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, today) = (self.last()?, Day::of_unix(now));
        let day = match leap.look(last, today, instant) {
            Belief::Steady { day } => day,
            Belief::Leapt { last } => {
                error!(%last, %today, "the clock has leapt: nothing is destroyed or let go until it is set right, or has stood by it for a day");
                return Ok(now.min(end(last)));
            }
            Belief::Doubted { last } => return Ok(now.min(end(last))),
            Belief::Settled { last } => {
                info!(%last, %today, "the clock has stood by its leap for a day, and is believed");
                today
            }
        };
        if last != Some(day) {
            self.disk.replace(&self.path, PRIVATE, day.number().to_string().as_bytes())?;
        }
        Ok(now)
    }

    /// The last day that was believed. A file that says none is as good as no file.
    fn last(&self) -> Result<Option<Day>, DiskError> {
        let text = durable::read_if_there(&self.path)?.unwrap_or_default();
        Ok(std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).map(Day::new))
    }
}

/// The last second of a day.
fn end(day: Day) -> u64 {
    day.unix() + Day::SECONDS - 1
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: u64 = 20_780 * 86_400 + 7;
    const DAY: u64 = 86_400;
    const PATIENCE: Duration = Duration::from_secs(DAY);

    struct Place(tempfile::TempDir);

    impl Place {
        fn open(&self) -> SteadyClock {
            SteadyClock::new(self.0.path(), Disk::default(), Clock::default())
        }
    }

    #[test]
    fn a_clock_that_goes_on_is_believed_and_one_that_steps_back_too() {
        let (place, start) = (Place(tempfile::tempdir().unwrap()), Instant::now());
        let steady = place.open();
        for now in [NOW, NOW + 1, NOW + DAY, NOW + 4 * DAY, NOW - 9 * DAY, NOW + 7 * DAY] {
            assert_eq!(steady.at(now, start).unwrap(), now, "{now}");
        }
    }

    #[test]
    fn a_leap_is_believed_after_a_day_and_not_at_all_if_the_clock_is_set_right() {
        let (place, start) = (Place(tempfile::tempdir().unwrap()), Instant::now());
        place.open().at(NOW, start).unwrap();
        // After a restart as before it.
        let steady = place.open();
        let (leapt, last) = (NOW + 40 * DAY, NOW - 7 + DAY - 1);
        assert_eq!(steady.at(leapt, start).unwrap(), last);
        let later = start + PATIENCE / 2;
        assert_eq!(steady.at(leapt + DAY / 2, later).unwrap(), last);
        assert_eq!(steady.at(NOW + DAY, later).unwrap(), NOW + DAY, "set right");
        assert_eq!(steady.at(leapt, start + PATIENCE).unwrap(), last + DAY, "patience begins anew");
        assert_eq!(
            steady.at(leapt + 9 * DAY, start + 2 * PATIENCE).unwrap(),
            last + DAY,
            "so it does for another leap"
        );
        let believed = leapt + 10 * DAY;
        assert_eq!(steady.at(believed, start + 3 * PATIENCE).unwrap(), believed);
        assert_eq!(place.open().at(believed, start).unwrap(), believed);
    }

    #[test]
    fn a_clock_that_was_in_the_future_is_watched_from_the_right_day_on() {
        let (place, start) = (Place(tempfile::tempdir().unwrap()), Instant::now());
        place.open().at(NOW + 1_000 * DAY, start).unwrap();
        let steady = place.open();
        assert_eq!(steady.at(NOW, start).unwrap(), NOW);
        assert_eq!(steady.at(NOW + DAY, start + PATIENCE).unwrap(), NOW + DAY);
        let leapt = steady.at(NOW + 20 * DAY, start + PATIENCE).unwrap();
        assert_eq!(leapt, NOW - 7 + 2 * DAY - 1, "the end of the day before");
    }
}
