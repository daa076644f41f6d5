//! How near two phones were, and for how long: an estimate every 30 seconds, summed up in four ranges.

use proto::report::{Minutes, QuarterHour};
use serde::{Deserialize, Serialize};

/// Seconds between two estimates (Herald R33). A contact may be told as longer by no more than this.
pub(super) const EVERY: u64 = 30;

/// Seconds spent with a phone at less than 1 m, 1-2 m, 2-4 m and more than 4 m, and when it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Near {
    first: u64,
    last: u64,
    seconds: [u64; 4],
}

impl Near {
    /// Begins with the first estimate, at a Unix time and a distance in metres; it stands for 30 seconds.
    #[must_use]
    pub fn begin(at: u64, metres: f64) -> Self {
        let mut near = Self { first: at, last: at, seconds: [0; 4] };
        near.seconds[range(metres)] = EVERY;
        near
    }

    /// A time spent at no known distance: it is more than 4 m.
    #[must_use]
    pub fn far(first: u64, last: u64) -> Self {
        Self { first, last, seconds: [0, 0, 0, last.saturating_sub(first)] }
    }

    /// The same so many seconds later, or earlier.
    #[must_use]
    pub fn moved(&self, seconds: i64) -> Self {
        let moved = |at: u64| at.saturating_add_signed(seconds);
        Self { first: moved(self.first), last: moved(self.last), ..*self }
    }

    /// Another estimate. It stands for the time since the one before, 30 seconds at most: what was between is unknown.
    pub fn sample(&mut self, at: u64, metres: f64) {
        self.seconds[range(metres)] += at.saturating_sub(self.last).min(EVERY);
        self.last = self.last.max(at);
    }

    /// The Unix time of the first estimate.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The Unix time of the last estimate.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Minutes in each range, rounded; of more than six hours in all, the nearest six.
    #[must_use]
    pub fn minutes(&self) -> [Minutes; 4] {
        let mut left = u64::from(Minutes::MOST.number());
        self.seconds.map(|seconds| {
            let minutes = Minutes::capped(u64::from(rounded(seconds).number()).min(left));
            left -= u64::from(minutes.number());
            minutes
        })
    }

    /// Minutes in all.
    #[must_use]
    pub fn duration(&self) -> Minutes {
        rounded(self.seconds.iter().sum())
    }

    /// The quarter hour in which it began: as precise as a phone tells anybody.
    #[must_use]
    pub fn start(&self) -> QuarterHour {
        QuarterHour::of_unix(self.first)
    }
}

fn rounded(seconds: u64) -> Minutes {
    Minutes::capped((seconds + 30) / 60)
}

/// Which of the four ranges a distance falls into.
fn range(metres: f64) -> usize {
    [1.0, 2.0, 4.0].iter().filter(|end| metres >= **end).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(near: &Near) -> [u16; 4] {
        near.minutes().map(Minutes::number)
    }

    #[test]
    fn estimates_are_summed_up_by_range() {
        let mut near = Near::begin(900, 0.5);
        for (at, metres) in [(930, 0.9), (960, 1.0), (990, 1.9), (1_020, 3.9), (1_050, 2.0), (1_080, 4.0)] {
            near.sample(at, metres);
        }
        near.sample(1_110, 40.0);
        assert_eq!(numbers(&near), [1, 1, 1, 1]);
        assert_eq!((near.duration().number(), near.start().number()), (4, 1));
    }

    #[test]
    fn of_a_long_contact_the_nearest_six_hours_are_told() {
        let hours = |hours: u64| hours * 3_600;
        let near = Near { first: 0, last: hours(9), seconds: [0, hours(4), hours(3), hours(2)] };
        assert_eq!(numbers(&near), [0, 240, 120, 0]);
        assert_eq!(near.duration(), Minutes::MOST);
        let halves = Near { first: 0, last: 150, seconds: [30, 30, 30, 30] };
        assert_eq!((numbers(&halves), halves.duration().number()), ([1, 1, 1, 1], 2), "rounded one by one");
    }

    #[test]
    fn a_gap_counts_as_30_seconds_and_time_does_not_go_back() {
        let mut near = Near::begin(0, 1.5);
        near.sample(3_600, 1.5);
        near.sample(10, 1.5);
        assert_eq!(numbers(&near), [0, 1, 0, 0]);
        assert_eq!(near.last(), 3_600);
    }
}
