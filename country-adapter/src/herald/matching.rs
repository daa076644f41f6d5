//! A phone's search: which of its contacts advertised what follows from ill persons' keys.
//!
//! Two weeks of ten thousand daily keys are 33.6 million identifiers of two hashes each. Only those of times at which
//! anything was heard are made, two keys side by side, so that one hash need not wait for the other; of a hundred, 99 fail
//! at a filter of 128 KiB, which stays near the processor. Nothing is allocated, and keys are public by now.

use std::collections::HashMap;

use proto::day::Day;
use proto::report::{GaenKey, RollingWindow, SimpleKey};

use super::gaen;
use super::simple::Period;
use super::walk::Walk;

/// Bits of the filter.
const BITS: usize = 1 << 20;
/// Periods of a day.
const PERIODS: usize = 240;
/// Seconds by which two phones' clocks may differ: a period of Simple.
const SKEW: u64 = Period::SECONDS;
/// The same for GAEN, which allows two hours on either side of a key's time.
const GAEN_SKEW: u64 = 2 * 3_600;

/// When an identifier was heard, Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The first time.
    pub first: u64,
    /// The last time.
    pub last: u64,
}

/// The identifiers that a phone has heard, ready to be searched.
pub struct HeardLog {
    filter: Vec<u64>,
    /// By identifier; one that was heard again after its time is there again.
    heard: Vec<([u8; 16], Heard)>,
    days: HashMap<Day, Periods>,
}

/// The periods of a day in which anything was heard, and those beside them.
struct Periods {
    is_asked: [bool; PERIODS],
    lowest: usize,
}

/// A key and where its walk stands.
struct Lane<'a> {
    midnight: u64,
    periods: &'a Periods,
    walk: Walk,
}

impl HeardLog {
    /// Prepares a log. An identifier may be in it more than once, with other times.
    pub fn new(log: impl IntoIterator<Item = ([u8; 16], Heard)>) -> Self {
        let mut heard: Vec<_> = log.into_iter().collect();
        heard.sort_unstable_by_key(|(identifier, times)| (*identifier, times.first));
        let (mut filter, mut days) = (vec![0; BITS / 64], HashMap::new());
        for (identifier, times) in &heard {
            let (word, bit) = place(identifier);
            filter[word] |= bit;
            ask(&mut days, *times);
        }
        Self { filter, heard, days }
    }

    /// Shows every contact that advertised what follows from days' keys of Herald Simple, in its own time or one period
    /// beside it: an identifier that is heard later was replayed.
    pub fn search(&self, keys: &[(SimpleKey, Day)], mut found: impl FnMut(&[u8; 16], Heard)) {
        let mut lanes = keys.iter().filter_map(|(key, day)| {
            let periods = self.days.get(day)?;
            Some(Lane { midnight: day.unix(), periods, walk: Walk::new(key) })
        });
        while let Some(one) = lanes.next() {
            let mut pair = [Some(one), lanes.next()];
            let lowest = pair.iter().flatten().map(|lane| lane.periods.lowest).min().unwrap_or(PERIODS);
            for period in (lowest..PERIODS).rev() {
                for lane in pair.iter_mut().flatten() {
                    self.step(lane, period, &mut found);
                }
            }
        }
    }

    fn step(&self, lane: &mut Lane<'_>, period: usize, found: &mut impl FnMut(&[u8; 16], Heard)) {
        if !lane.periods.is_asked[period] {
            lane.walk.skip();
            return;
        }
        let identifier = lane.walk.identifier();
        let begin = lane.midnight + period as u64 * Period::SECONDS;
        self.heard(&identifier, (begin, begin + Period::SECONDS), SKEW)
            .for_each(|heard| found(&identifier, heard));
    }

    /// The same for a key of GAEN.
    pub fn search_gaen(&self, key: &GaenKey, window: RollingWindow, mut found: impl FnMut(&[u8; 16], Heard)) {
        for (interval, identifier) in gaen::identifiers(key, window) {
            let begin = u64::from(interval) * gaen::INTERVAL;
            let times = self.heard(&identifier, (begin, begin + gaen::INTERVAL), GAEN_SKEW);
            times.for_each(|heard| found(&identifier, heard));
        }
    }

    /// When an identifier was heard while its phone advertised it.
    fn heard(
        &self,
        identifier: &[u8; 16],
        (begin, end): (u64, u64),
        skew: u64,
    ) -> impl Iterator<Item = Heard> {
        let (word, bit) = place(identifier);
        let times = if self.filter[word] & bit == 0 { &[][..] } else { self.times(identifier) };
        let times = times.iter().map(|(_, heard)| *heard);
        times.filter(move |heard| heard.first < end + skew && heard.last + skew >= begin)
    }

    fn times(&self, identifier: &[u8; 16]) -> &[([u8; 16], Heard)] {
        let first = self.heard.partition_point(|(known, _)| known < identifier);
        let count = self.heard[first..].iter().take_while(|(known, _)| known == identifier).count();
        &self.heard[first..first + count]
    }
}

/// Notes the periods in which what was heard then may have been advertised.
fn ask(days: &mut HashMap<Day, Periods>, heard: Heard) {
    let first = heard.first.saturating_sub(SKEW) / Period::SECONDS;
    // No day is later than the last one that a report can name.
    let last = ((heard.last + SKEW) / Period::SECONDS).min(u64::from(u16::MAX) * PERIODS as u64);
    for number in first..=last {
        let day = Day::of_unix(number * Period::SECONDS);
        let period = usize::from(Period::of_unix(number * Period::SECONDS).number());
        let none = || Periods { is_asked: [false; PERIODS], lowest: PERIODS };
        let periods = days.entry(day).or_insert_with(none);
        periods.is_asked[period] = true;
        periods.lowest = periods.lowest.min(period);
    }
}

/// Word and bit of the filter. Identifiers are halves of hashes: their first bits are as good as any.
fn place(identifier: &[u8; 16]) -> (usize, u64) {
    let [a, b, c, ..] = *identifier;
    let number = usize::from(a) << 12 | usize::from(b) << 4 | usize::from(c >> 4);
    (number / 64, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::super::simple::identifiers;
    use super::*;

    const DAY: Day = Day::new(20_700);

    fn key() -> SimpleKey {
        SimpleKey::new([7; 32]).unwrap()
    }

    fn found(log: &HeardLog, day: Day) -> usize {
        let mut count = 0;
        log.search(&[(key(), day)], |_, _| count += 1);
        count
    }

    fn at(seconds: u64) -> Heard {
        Heard { first: seconds, last: seconds }
    }

    #[test]
    fn every_identifier_of_a_key_is_found_in_its_own_period() {
        let all = identifiers(&key());
        let log =
            HeardLog::new(all.iter().zip(0_u64..).map(|(identifier, period)| {
                (*identifier.octets(), at(DAY.unix() + period * Period::SECONDS))
            }));
        assert_eq!(found(&log, DAY), 240);
        assert_eq!(found(&log, DAY.plus(1)), 0, "the same key under another day");
    }

    #[test]
    fn one_period_of_clock_skew_is_allowed_and_a_replay_is_not() {
        let identifier = *identifiers(&key())[100].octets();
        let begin = DAY.unix() + 100 * Period::SECONDS;
        for (heard, expected) in [
            (begin, 1),
            (begin - Period::SECONDS, 1),
            (begin - Period::SECONDS - 1, 0),
            (begin + 2 * Period::SECONDS - 1, 1),
            (begin + 2 * Period::SECONDS, 0),
        ] {
            let log = HeardLog::new([(identifier, at(heard))]);
            assert_eq!(found(&log, DAY), expected, "{heard}");
        }
    }

    #[test]
    fn of_an_identifier_that_is_heard_again_hours_later_only_the_first_time_counts() {
        let identifier = *identifiers(&key())[0].octets();
        let (then, replayed) = (at(DAY.unix() + 9), at(DAY.unix() + 7_200));
        let log = HeardLog::new([(identifier, replayed), (identifier, then)]);
        let mut times = Vec::new();
        log.search(&[(key(), DAY)], |_, heard| times.push(heard));
        assert_eq!(times, [then]);
    }

    #[test]
    fn every_key_of_many_is_searched_whatever_its_day() {
        let keys: Vec<_> = (0..9_u8)
            .map(|number| (SimpleKey::new([number + 1; 32]).unwrap(), DAY.plus(u16::from(number / 2))))
            .collect();
        let heard = keys.iter().zip(0_usize..).map(|((key, day), number)| {
            // Some early and some late, so that neighbours end at other periods.
            let period = number * 29 % PERIODS;
            (*identifiers(key)[period].octets(), at(day.unix() + period as u64 * Period::SECONDS))
        });
        let log = HeardLog::new(heard);
        for count in 0..=keys.len() {
            let mut found = 0;
            log.search(&keys[..count], |_, _| found += 1);
            assert_eq!(found, count);
        }
    }

    #[test]
    fn over_midnight_a_contact_belongs_to_either_day() {
        let identifiers = identifiers(&key());
        let last = *identifiers[239].octets();
        let tomorrow = HeardLog::new([(last, at(DAY.plus(1).unix() + 359))]);
        assert_eq!(found(&tomorrow, DAY), 1);
        let first = *identifiers[0].octets();
        assert_eq!(found(&HeardLog::new([(first, at(DAY.unix() - 360))]), DAY), 1);
        assert_eq!(found(&HeardLog::new([(first, at(DAY.unix() - 361))]), DAY), 0);
    }

    #[test]
    fn strangers_are_not_found() {
        let strangers = (0..10_000_u32).map(|number| {
            let hash: [u8; 32] = Sha256::digest(number.to_be_bytes()).into();
            (*hash.first_chunk().unwrap(), at(DAY.unix()))
        });
        assert_eq!(found(&HeardLog::new(strangers), DAY), 0);
    }

    #[test]
    fn a_key_of_gaen_is_found_in_its_window() {
        let key = GaenKey::new([3; 16]).unwrap();
        let window = RollingWindow::new(20_700 * 144 + 10, 3).unwrap();
        let all: Vec<_> = gaen::identifiers(&key, window).collect();
        assert_eq!(all.len(), 3);
        let log = HeardLog::new(
            all.iter().map(|(interval, identifier)| (*identifier, at(u64::from(*interval) * gaen::INTERVAL))),
        );
        let mut count = 0;
        log.search_gaen(&key, window, |_, _| count += 1);
        assert_eq!(count, 3);
        let late = HeardLog::new([(all[0].1, at(u64::from(all[0].0) * gaen::INTERVAL + 3 * 3_600))]);
        late.search_gaen(&key, window, |_, _| panic!("a replay is no contact"));
    }
}
