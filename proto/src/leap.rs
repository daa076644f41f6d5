//! Whether a clock that has gone on by days at once, or back, is believed.
//!
//! What goes by a wrong clock cannot be brought back when it is set right: batches that nobody took yet, keys, counted
//! tokens. So whoever destroys by the clock keeps the last day that it believed, and doubts a leap for a day. A clock that
//! has gone back is doubted too: a machine may begin in the past until it hears the time, and one that was in the future
//! has to be watched from the right day on.

use std::time::{Duration, Instant};

use crate::day::Day;

/// Days that a clock may go on or back at once: a machine that was off over a weekend.
const LEAP: u16 = 3;
/// How long a clock must stand by a leap.
const PATIENCE: Duration = Duration::from_secs(86_400);

/// Watches a clock for leaps.
#[derive(Debug, Default)]
pub struct Leap {
    /// Since when the clock stands by which day.
    stands: Option<(Day, Instant)>,
}

/// What a look at the clock shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belief {
    /// It has gone on or back by little, and is believed.
    Steady {
        /// The day to keep: the latest that was believed.
        day: Day,
    },
    /// It has leapt, and is not believed yet.
    Leapt {
        /// The last day that was believed.
        last: Day,
    },
    /// It has leapt some time ago, and is not believed yet.
    Doubted {
        /// The last day that was believed.
        last: Day,
    },
    /// It has stood by its leap for long enough, and is believed.
    Settled {
        /// The last day that was believed before.
        last: Day,
    },
}

impl Leap {
    /// Looks at what the clock shows at an instant of the machine. The caller keeps the day to believe in.
    pub fn look(&mut self, last: Option<Day>, today: Day, instant: Instant) -> Belief {
        let Some(last) = last.filter(|last| !is_near(*last, today)) else {
            self.stands = None;
            return Belief::Steady { day: last.map_or(today, |last| last.max(today)) };
        };
        let known = self.stands.filter(|(day, _)| *day <= today && is_near(*day, today));
        let Some((_, since)) = known else {
            self.stands = Some((today, instant));
            return Belief::Leapt { last };
        };
        if instant.duration_since(since) < PATIENCE {
            return Belief::Doubted { last };
        }
        self.stands = None;
        Belief::Settled { last }
    }
}

fn is_near(one: Day, other: Day) -> bool {
    one.number().abs_diff(other.number()) <= LEAP
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Day = Day::new(20_780);

    #[test]
    fn a_clock_that_goes_on_or_back_by_little_is_believed() {
        let (mut leap, instant) = (Leap::default(), Instant::now());
        for (last, today) in [(None, NOW), (Some(NOW), NOW.plus(3)), (Some(NOW), NOW.minus(3))] {
            let day = last.map_or(today, |last| today.max(last));
            assert_eq!(leap.look(last, today, instant), Belief::Steady { day }, "{last:?} {today}");
        }
        for today in [NOW.plus(4), NOW.minus(4)] {
            assert_eq!(leap.look(Some(NOW), today, instant), Belief::Leapt { last: NOW });
        }
    }

    #[test]
    fn a_leap_is_believed_after_a_day_and_not_at_all_if_the_clock_is_set_right() {
        let (mut leap, start, last) = (Leap::default(), Instant::now(), NOW);
        let mut look = |days, since| leap.look(Some(last), NOW.plus(days), start + since);
        assert_eq!(look(40, Duration::ZERO), Belief::Leapt { last });
        assert_eq!(look(41, PATIENCE / 2), Belief::Doubted { last });
        assert_eq!(look(1, PATIENCE / 2), Belief::Steady { day: NOW.plus(1) }, "set right");
        assert_eq!(look(40, PATIENCE), Belief::Leapt { last }, "patience begins anew");
        assert_eq!(look(49, PATIENCE * 2), Belief::Leapt { last }, "so it does for another leap");
        assert_eq!(look(50, PATIENCE * 3), Belief::Settled { last });
    }
}
