//! What a contact adds to somebody's risk: minutes by distance, weighted by whole numbers.
//!
//! Pure; the transmitter's authority computes it (`herald.md` D12, 8). **Not epidemiologically validated**: the
//! weights and the threshold are a starting point that a country replaces by its own.

use proto::day::Day;
use proto::report::Minutes;

/// Weights of a minute at less than 1 m, 1-2 m, 2-4 m and more than 4 m, under the number that reports name them by.
///
/// Whoever changes a weight takes another number, so that nobody compares what was computed differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mechanism {
    /// Its number in a report's `mechanism`; 0 stands for none.
    pub number: u16,
    /// Tenths of a metre-minute for each minute.
    pub weights: [u16; 4],
}

/// Minutes by which the minutes by distance may be more than those of the contact: four parts are rounded, and the whole.
const ROUNDING: u16 = 2;

/// Whether minutes by distance can be those of one contact.
#[must_use]
pub fn is_possible(duration: Minutes, proximity: &[Minutes; 4]) -> bool {
    let sum: u16 = proximity.iter().map(|minutes| minutes.number()).sum();
    sum <= duration.number() + ROUNDING
}

impl Default for Mechanism {
    /// Number 1: 10, 4, 1, 0. Not epidemiologically validated.
    fn default() -> Self {
        Self { number: 1, weights: [10, 4, 1, 0] }
    }
}

impl Mechanism {
    /// The most that a possible contact adds: all of its minutes at the distance that counts most.
    #[must_use]
    pub fn most(&self) -> Subtotal {
        self.most_of(Minutes::MOST)
    }

    /// The most that a contact of so many minutes adds.
    #[must_use]
    pub fn most_of(&self, duration: Minutes) -> Subtotal {
        let weight = self.weights.into_iter().max().unwrap_or(0);
        Subtotal((duration.number() + ROUNDING).saturating_mul(weight))
    }

    /// What one contact adds.
    #[must_use]
    pub fn subtotal(&self, proximity: &[Minutes; 4]) -> Subtotal {
        let bins = proximity.iter().zip(self.weights);
        Subtotal(
            bins.fold(0, |sum, (minutes, weight)| {
                sum.saturating_add(minutes.number().saturating_mul(weight))
            }),
        )
    }
}

/// The risk of one contact in tenths of a metre-minute, 0-65535; what would be more is 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Subtotal(u16);

impl Subtotal {
    /// The subtotal with this number.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }
}

/// From when on a phone's owner is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// The least sum of subtotals that is told.
    pub least: u16,
    /// Days that are summed up: today and those before it.
    pub days: u16,
}

impl Default for Threshold {
    /// 60 over 14 days: 15 minutes at 1-2 m. Not epidemiologically validated.
    fn default() -> Self {
        Self { least: 60, days: 14 }
    }
}

impl Threshold {
    /// The sum of what falls into the days, and whether it reaches the threshold.
    #[must_use]
    pub fn sum(&self, today: Day, contacts: &[(Day, Subtotal)]) -> (Subtotal, Reached) {
        let counts = |day: &Day| *day <= today && today.number() - day.number() < self.days;
        let counted = contacts.iter().filter(|(day, _)| counts(day));
        let sum = counted.fold(0, |sum: u16, (_, subtotal)| sum.saturating_add(subtotal.0));
        (Subtotal(sum), if sum >= self.least { Reached::Yes } else { Reached::NotYet })
    }
}

/// Whether a threshold is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// The owner is to be told.
    Yes,
    /// There is nothing to tell.
    NotYet,
}

/// `RiskAggregationBasic` of Herald's libraries: a sample by its authors, who do not want it used for epidemiology.
///
/// Here for comparison with phones that report it, and as **not epidemiologically validated** as the rest. Unlike
/// theirs it adds each sample once, however often the sum is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RiskAggregationBasic {
    /// Score for each second.
    pub time_scale: f64,
    /// By which a distance in metres is multiplied.
    pub distance_scale: f64,
    /// The scaled distance up to which the score is the highest.
    pub clamp: f64,
    /// The highest score of a second.
    pub most: f64,
    /// How fast the score falls with the logarithm of the scaled distance.
    pub log_scale: f64,
}

impl Default for RiskAggregationBasic {
    /// The scales of 1 that Herald's tests use, with its own `log_scale`.
    fn default() -> Self {
        Self { time_scale: 1.0, distance_scale: 1.0, clamp: 1.0, most: 1.0, log_scale: 3.359_885_666_2 }
    }
}

impl RiskAggregationBasic {
    /// The score of a second at a distance in metres: 0 to `most`.
    #[must_use]
    pub fn slice(&self, metres: f64) -> f64 {
        let scaled = self.distance_scale * metres;
        if scaled <= self.clamp {
            return self.most;
        }
        (self.most - self.log_scale * scaled.log10()).clamp(0.0, self.most)
    }

    /// The score after each sample, a Unix time and a distance in metres, in the order of their times.
    ///
    /// The time between two samples counts at the distance of the later one; the first adds nothing.
    #[must_use]
    pub fn cumulative(&self, samples: &[(u32, f64)]) -> Vec<f64> {
        let mut before = None;
        let added = samples.iter().scan(0.0, |sum, (time, metres)| {
            let seconds = before.replace(*time).map_or(0, |before| time.saturating_sub(before));
            *sum += self.slice(*metres) * self.time_scale * f64::from(seconds);
            Some(*sum)
        });
        added.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::herald::secured::vectors::one;

    fn minutes(minutes: [u64; 4]) -> [Minutes; 4] {
        minutes.map(Minutes::capped)
    }

    #[test]
    fn a_minute_counts_as_its_distance_says() {
        let mechanism = Mechanism::default();
        for (proximity, subtotal) in [
            ([0, 0, 0, 0], 0),
            ([1, 0, 0, 0], 10),
            ([0, 1, 0, 0], 4),
            ([0, 0, 1, 0], 1),
            ([0, 0, 0, 360], 0),
            ([0, 15, 0, 0], 60),
            ([2, 12, 3, 0], 71),
            ([360, 360, 360, 360], 5_400),
        ] {
            assert_eq!(mechanism.subtotal(&minutes(proximity)), Subtotal(subtotal), "{proximity:?}");
        }
        assert_eq!(mechanism.number, 1);
    }

    #[test]
    fn the_parts_of_a_contact_are_no_longer_than_all_of_it_but_for_rounding() {
        for (duration, proximity, possible) in [
            (20, [2, 12, 6, 0], true),
            (2, [1, 1, 1, 1], true),
            (2, [1, 1, 1, 2], false),
            (20, [0, 0, 0, 0], true),
            (1, [360, 360, 360, 360], false),
            (360, [0, 2, 0, 360], true),
            (360, [0, 3, 0, 360], false),
        ] {
            let is_so = is_possible(Minutes::capped(duration), &minutes(proximity));
            assert_eq!(is_so, possible, "{duration} {proximity:?}");
        }
        assert_eq!(Mechanism::default().most(), Subtotal(3_620));
        assert_eq!(Mechanism::default().most_of(Minutes::capped(20)), Subtotal(220));
        assert_eq!(Mechanism { number: 2, weights: [1, u16::MAX, 0, 0] }.most(), Subtotal(u16::MAX));
    }

    #[test]
    fn a_subtotal_saturates_in_one_bin_and_in_the_sum() {
        let heavy = |weights| Mechanism { number: 2, weights };
        assert_eq!(heavy([u16::MAX, 0, 0, 0]).subtotal(&minutes([2, 0, 0, 0])), Subtotal(u16::MAX));
        assert_eq!(heavy([100, 100, 0, 0]).subtotal(&minutes([360, 360, 0, 0])), Subtotal(u16::MAX));
        assert_eq!(heavy([100, 82, 0, 0]).subtotal(&minutes([360, 360, 0, 0])), Subtotal(65_520));
    }

    #[test]
    fn fifteen_minutes_at_one_to_two_metres_reach_the_threshold() {
        let today = Day::new(20_000);
        let stay = |minutes_there| Mechanism::default().subtotal(&minutes([0, minutes_there, 0, 0]));
        let told = |contacts: &[(Day, Subtotal)]| Threshold::default().sum(today, contacts).1;
        assert_eq!(told(&[(today, stay(15))]), Reached::Yes);
        assert_eq!(told(&[(today, stay(14))]), Reached::NotYet);
        assert_eq!(told(&[(today, stay(7)), (today.minus(3), stay(8))]), Reached::Yes);
        assert_eq!(told(&[]), Reached::NotYet);
    }

    #[test]
    fn only_the_last_fourteen_days_are_summed() {
        let today = Day::new(20_000);
        let sum = |day| Threshold::default().sum(today, &[(day, Subtotal(60))]).0;
        assert_eq!(sum(today), Subtotal(60));
        assert_eq!(sum(today.minus(13)), Subtotal(60));
        assert_eq!(sum(today.minus(14)), Subtotal(0));
        assert_eq!(sum(today.plus(1)), Subtotal(0), "no contact of tomorrow");
    }

    #[test]
    fn a_sum_saturates() {
        let today = Day::new(20_000);
        let contacts = [(today, Subtotal(u16::MAX)), (today, Subtotal(1))];
        assert_eq!(Threshold::default().sum(today, &contacts), (Subtotal(u16::MAX), Reached::Yes));
    }

    #[test]
    fn the_sample_gives_the_published_sums() {
        let vector = one("risk-basic");
        let samples: Vec<_> = vector.inputs["samples"]
            .as_array()
            .unwrap()
            .iter()
            .map(|sample| (u32::try_from(sample[0].as_u64().unwrap()).unwrap(), sample[1].as_f64().unwrap()))
            .collect();
        let sums = RiskAggregationBasic::default().cumulative(&samples);
        let expected = vector.expected["cumulative"].as_array().unwrap();
        assert_eq!(sums.len(), expected.len());
        for (sum, expected) in sums.iter().zip(expected) {
            assert!((sum - expected.as_f64().unwrap()).abs() < 1e-11, "{sum}, not {expected}");
        }
        let last = vector.expected["final"].as_f64().unwrap();
        assert!(sums.last().is_some_and(|sum| (sum - last).abs() < 1e-11));
    }

    #[test]
    fn the_sample_gives_the_published_slices() {
        let vector = one("risk-basic-slices");
        let sample = RiskAggregationBasic::default();
        let expected = vector.expected["slices"].as_array().unwrap();
        let distances = vector.inputs["distances"].as_array().unwrap();
        assert_eq!(distances.len(), expected.len());
        for (distance, expected) in distances.iter().zip(expected) {
            let slice = sample.slice(distance.as_f64().unwrap());
            assert!(
                (slice - expected.as_f64().unwrap()).abs() < 1e-11,
                "{distance}: {slice}, not {expected}"
            );
        }
        let end = vector.expected["zero_beyond_metres"].as_f64().unwrap();
        assert!(sample.slice(end - 1e-9) > 0.0);
        assert!(sample.slice(end + 1e-9) <= 0.0);
    }
}
