//! Whether a clock was set while the process runs, by more than anybody sets a clock that is right.
//!
//! Some of what goes by a wrong clock cannot be taken back when it is set right: a report that was called too old, a batch
//! that was sealed ahead of the time. So it waits for an hour, in which somebody can see to the clock. The time that a
//! process runs is nobody's to set, and tells.

use std::time::Instant;

/// Seconds that a clock may go on or back in all: the hour of summer time, or of a time zone, taken for UTC. It is less than
/// what a peer may be ahead, so that nothing which is sealed meanwhile is held up.
pub const STEP: i64 = 70 * 60;
/// How long it must stand by a longer leap, seconds.
const PATIENCE: i64 = 3_600;

/// How a clock goes beside the time that the process runs.
#[derive(Debug)]
pub struct Course {
    began: Instant,
    /// Seconds that it is ahead of that if it is right.
    believed: i64,
    /// Seconds that it is ahead since it has leapt, and when that was seen.
    doubted: Option<(i64, i64)>,
}

/// The clock has leapt, and nobody knows yet whether it is right now or was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the clock has gone {} by {} minutes at once: pushes wait until it is set right, or has stood by it for an hour; if it is right now, restart the process",
    if *.seconds > 0 { "on" } else { "back" },
    // Two clocks that tell whole seconds are one apart now and then.
    (.seconds.unsigned_abs() + 30) / 60
)]
pub struct Leapt {
    /// By how much; less than zero if it has gone back.
    pub seconds: i64,
}

impl Course {
    /// Of a clock that shows this second since 1970 now, and is believed.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self { began: Instant::now(), believed: now as i64, doubted: None }
    }

    /// Looks at the second that the clock shows. `passed` are seconds that a test has let pass besides.
    pub fn look(&mut self, now: u64, passed: i64) -> Result<(), Leapt> {
        let uptime = self.began.elapsed().as_secs() as i64 + passed;
        let ahead = now as i64 - uptime;
        let is_near = |other: i64| (ahead - other).abs() <= STEP;
        if is_near(self.believed) {
            self.doubted = None;
            return Ok(());
        }
        let known = self.doubted.filter(|(doubted, _)| is_near(*doubted));
        let (doubted, since) = known.unwrap_or((ahead, uptime));
        self.doubted = Some((doubted, since));
        if uptime - since < PATIENCE {
            return Err(Leapt { seconds: ahead - self.believed });
        }
        (self.believed, self.doubted) = (ahead, None);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const HOUR: i64 = 3_600;
    const DAY: i64 = 24 * HOUR;

    /// A clock that a test sets, and the time that it lets pass.
    struct World {
        course: Course,
        set: i64,
        passed: i64,
    }

    impl World {
        fn new() -> Self {
            Self { course: Course::new(NOW), set: 0, passed: 0 }
        }

        fn look(&mut self) -> Result<(), Leapt> {
            self.course.look(NOW.checked_add_signed(self.set + self.passed).unwrap(), self.passed)
        }

        /// Whether it is seen to have leapt by so much; a second may pass meanwhile.
        fn has_leapt(&mut self, by: i64) -> bool {
            self.look().is_err_and(|leapt| (leapt.seconds - by).abs() <= 2)
        }
    }

    #[test]
    fn a_clock_that_goes_on_is_believed_and_so_is_one_that_is_set_by_little() {
        let mut world = World::new();
        for (passes, set) in [(0, 0), (40 * DAY, 0), (1, HOUR), (1, -HOUR), (DAY, HOUR)] {
            world.passed += passes;
            world.set = set;
            assert_eq!(world.look(), Ok(()), "{passes} {set}");
        }
        world.set = 2 * HOUR;
        assert!(world.has_leapt(2 * HOUR), "two small steps are a large one");
    }

    #[test]
    fn a_leap_is_believed_after_an_hour_and_not_at_all_if_the_clock_is_set_right() {
        for leap in [10 * DAY, 3 * HOUR, -3 * HOUR] {
            let mut world = World::new();
            world.set = leap;
            assert!(world.has_leapt(leap));
            world.passed += HOUR - 9;
            assert!(world.has_leapt(leap));
            world.set = 0;
            assert_eq!(world.look(), Ok(()), "set right");
            world.set = leap;
            assert!(world.has_leapt(leap), "patience begins anew");
            world.passed += HOUR - 9;
            world.set = 2 * leap;
            assert!(world.has_leapt(2 * leap), "so it does for another leap");
            world.passed += HOUR - 9;
            assert!(world.has_leapt(2 * leap));
            world.passed += 19;
            assert_eq!(world.look(), Ok(()));
            assert_eq!(world.look(), Ok(()), "for good");
        }
    }

    #[test]
    fn words_say_which_way_it_leapt_and_by_how_much() {
        let words = |seconds| Leapt { seconds }.to_string();
        assert!(words(3 * HOUR).starts_with("the clock has gone on by 180 minutes at once: "));
        assert!(words(-3 * HOUR).starts_with("the clock has gone back by 180 minutes at once: "));
    }
}
