//! Wall time as a value, so that tests can turn it; and whether it has leapt.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use proto::day::Day;
use tracing::{error, info};

/// Seconds that the clock may go on or back at once: the hour of summer time, or of a time zone, taken for UTC. Peers hold up
/// what was sealed more than 75 minutes ahead of them.
const STEP: i64 = 2 * 3_600;
/// How long it must stand by a longer leap, seconds.
const PATIENCE: i64 = 3_600;

/// Minutes since 1970, as batches carry them.
#[must_use]
pub fn minute(second: u64) -> u32 {
    u32::try_from(second / 60).unwrap_or(u32::MAX)
}

/// Tells the time: the machine's clock, moved by what a test has turned it.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// Seconds since 1970 at which it stands, in place of the machine's clock.
    still: Option<u64>,
    /// Seconds that a test lets pass.
    turned: Arc<AtomicI64>,
    /// Seconds that a test sets it ahead.
    set: Arc<AtomicI64>,
    course: Arc<Mutex<Course>>,
}

/// The clock has gone on or back at once by more than what explains itself, and nobody knows yet whether it is right now or
/// was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the clock has {} {} minutes at once: what goes by it waits until it is set right, or has stood by it for an hour; if it is right now, restart the gateway", if *.seconds > 0 { "gone on by" } else { "gone back by" }, .seconds.unsigned_abs() / 60)]
pub struct Leapt {
    /// By how much; less than zero if it has gone back.
    pub seconds: i64,
}

/// How the clock goes beside the time that the process runs, which nobody sets.
#[derive(Debug)]
struct Course {
    started: Instant,
    /// Seconds that it is ahead of that, when it was believed last.
    believed: Option<i64>,
    /// Seconds that it is ahead since it has leapt, and when that was seen.
    doubted: Option<(i64, i64)>,
}

impl Clock {
    /// A clock that stands at this second, and moves when it is turned. For tests.
    #[must_use]
    pub fn still(at: u64) -> Self {
        Self { still: Some(at), ..Self::default() }
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn now(&self) -> u64 {
        let machine = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let real = self.still.unwrap_or_else(machine);
        let moved = self.turned.load(Ordering::Relaxed) + self.set.load(Ordering::Relaxed);
        real.saturating_add_signed(moved)
    }

    /// Seconds since 1970 for what cannot be taken back when the clock is set right: to call a report too old, or to seal
    /// ahead of the time, which holds up all that follows.
    pub fn steady(&self) -> Result<u64, Leapt> {
        let mut course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        let uptime = course.started.elapsed().as_secs() as i64 + self.turned.load(Ordering::Relaxed);
        course.look(now as i64 - uptime, uptime).map(|()| now)
    }

    /// Today in UTC.
    #[must_use]
    pub fn today(&self) -> Day {
        Day::of_unix(self.now())
    }

    /// Lets some seconds pass, for this clock and all its clones. For tests.
    pub fn turn(&self, seconds: i64) {
        self.turned.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Sets this clock and all its clones ahead by some seconds. For tests.
    pub fn set_ahead(&self, seconds: i64) {
        self.set.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Default for Course {
    fn default() -> Self {
        Self { started: Instant::now(), believed: None, doubted: None }
    }
}

impl Course {
    fn look(&mut self, ahead: i64, uptime: i64) -> Result<(), Leapt> {
        let is_near = |other: i64| (ahead - other).abs() <= STEP;
        let believed = *self.believed.get_or_insert(ahead);
        let leapt = Leapt { seconds: ahead - believed };
        let known = self.doubted.filter(|(doubted, _)| is_near(*doubted));
        if is_near(believed) {
            if self.doubted.is_some() {
                info!("the clock is set right again");
            }
        } else if let Some((_, since)) = known {
            if uptime - since < PATIENCE {
                return Err(leapt);
            }
            info!(seconds = leapt.seconds, "the clock has stood by its leap for an hour, and is believed");
        } else {
            error!(
                seconds = leapt.seconds,
                "the clock has leapt: pushes wait until it is set right, or has stood by it for an hour"
            );
            self.doubted = Some((ahead, uptime));
            return Err(leapt);
        }
        (self.believed, self.doubted) = (Some(ahead), None);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600;
    const DAY: i64 = 24 * HOUR;

    #[test]
    fn a_clock_that_goes_on_is_believed_and_so_is_one_that_is_set_by_little() {
        let clock = Clock::default();
        for (passes, set) in [(0, 0), (40 * DAY, 0), (1, 2 * HOUR - 1), (1, HOUR), (1, -2 * HOUR + 1)] {
            clock.turn(passes);
            clock.set_ahead(set);
            assert_eq!(clock.steady(), Ok(clock.now()), "{passes} {set}");
        }
    }

    #[test]
    fn a_leap_is_believed_after_an_hour_and_not_at_all_if_the_clock_is_set_right() {
        for leap in [10 * DAY, 3 * HOUR, -3 * HOUR] {
            let clock = Clock::default();
            clock.steady().unwrap();
            let leapt =
                |seconds: i64| clock.steady().is_err_and(|leapt| (leapt.seconds - seconds).abs() <= 1);
            clock.set_ahead(leap);
            assert!(leapt(leap));
            clock.turn(HOUR - 2);
            assert!(leapt(leap));
            clock.set_ahead(-leap);
            assert_eq!(clock.steady(), Ok(clock.now()), "set right");
            clock.set_ahead(leap);
            assert!(leapt(leap), "patience begins anew");
            clock.turn(HOUR - 2);
            clock.set_ahead(leap);
            assert!(leapt(2 * leap), "so it does for another leap");
            clock.turn(HOUR + 1);
            assert_eq!(clock.steady(), Ok(clock.now()));
        }
    }

    #[test]
    fn words_say_which_way_it_leapt_and_what_to_do() {
        let words = |seconds| Leapt { seconds }.to_string();
        assert!(words(3 * HOUR).starts_with("the clock has gone on by 180 minutes at once: "));
        assert!(words(-3 * HOUR).starts_with("the clock has gone back by 180 minutes at once: "));
        assert!(words(-3 * HOUR).ends_with("if it is right now, restart the gateway"));
    }
}
