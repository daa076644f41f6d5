//! A phone's search: which of its contacts advertised what follows from an ill person's keys.
//!
//! Two weeks of ten thousand daily keys are 33.6 million identifiers. Each costs two hashes; nearly all of them fail at
//! a filter of 32 KiB, which stays in the processor's first cache. Nothing is allocated, and keys are public by now.

use std::collections::HashMap;

use proto::day::Day;
use proto::report::SimpleKey;
use sha2::{Digest, Sha256};

use super::gaen;
use super::simple::Period;
use proto::report::{GaenKey, RollingWindow};

/// Bits of the filter.
const BITS: usize = 1 << 18;
/// Periods of a day.
const PERIODS: u8 = 240;
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
    heard: HashMap<[u8; 16], Heard>,
}

impl HeardLog {
    /// Prepares a log; of an identifier that is in it twice, the times are joined.
    pub fn new(log: impl IntoIterator<Item = ([u8; 16], Heard)>) -> Self {
        let (mut filter, mut heard) = (vec![0; BITS / 64], HashMap::<_, Heard>::new());
        for (identifier, times) in log {
            let (word, bit) = place(&identifier);
            filter[word] |= bit;
            heard
                .entry(identifier)
                .and_modify(|known| {
                    known.first = known.first.min(times.first);
                    known.last = known.last.max(times.last);
                })
                .or_insert(times);
        }
        Self { filter, heard }
    }

    /// Shows every contact that advertised what follows from a day's key of Herald Simple, in its own time or one period
    /// beside it: an identifier that is heard later was replayed.
    pub fn search(&self, key: &SimpleKey, day: Day, mut found: impl FnMut(&[u8; 16], Heard)) {
        let mut seed: [u8; 32] = Sha256::digest(key.octets()).into();
        // The root is for no period.
        seed = Sha256::digest(&seed[..16]).into();
        for period in (0..PERIODS).rev() {
            let previous: [u8; 32] = Sha256::digest(&seed[..16]).into();
            let mut combined = seed;
            combined.iter_mut().zip(previous).for_each(|(octet, other)| *octet ^= other);
            let contact_key: [u8; 32] = Sha256::digest(combined).into();
            let identifier = half(&contact_key);
            let begin = day.unix() + u64::from(period) * Period::SECONDS;
            if let Some(heard) = self.heard(&identifier, begin, begin + Period::SECONDS, SKEW) {
                found(&identifier, heard);
            }
            seed = previous;
        }
    }

    /// The same for a key of GAEN.
    pub fn search_gaen(&self, key: &GaenKey, window: RollingWindow, mut found: impl FnMut(&[u8; 16], Heard)) {
        for (interval, identifier) in gaen::identifiers(key, window) {
            let begin = u64::from(interval) * gaen::INTERVAL;
            if let Some(heard) = self.heard(&identifier, begin, begin + gaen::INTERVAL, GAEN_SKEW) {
                found(&identifier, heard);
            }
        }
    }

    fn heard(&self, identifier: &[u8; 16], begin: u64, end: u64, skew: u64) -> Option<Heard> {
        let (word, bit) = place(identifier);
        if self.filter[word] & bit == 0 {
            return None;
        }
        let heard = self.heard.get(identifier)?;
        (heard.first < end + skew && heard.last + skew >= begin).then_some(*heard)
    }
}

/// Word and bit of the filter. Identifiers are halves of hashes: their first bits are as good as any.
fn place(identifier: &[u8; 16]) -> (usize, u64) {
    let [a, b, c, ..] = *identifier;
    let number = usize::from(a) << 10 | usize::from(b) << 2 | usize::from(c >> 6);
    (number / 64, 1 << (number % 64))
}

fn half(key: &[u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&key[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::super::simple::identifiers;
    use super::*;

    const DAY: Day = Day::new(20_700);

    fn key() -> SimpleKey {
        SimpleKey::new([7; 32]).unwrap()
    }

    fn found(log: &HeardLog, day: Day) -> usize {
        let mut count = 0;
        log.search(&key(), day, |_, _| count += 1);
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
    fn an_identifier_that_was_heard_twice_is_one_contact() {
        let identifier = *identifiers(&key())[0].octets();
        let log = HeardLog::new([(identifier, at(DAY.unix() + 9)), (identifier, at(DAY.unix() + 200))]);
        let mut times = Vec::new();
        log.search(&key(), DAY, |_, heard| times.push(heard));
        assert_eq!(times, [Heard { first: DAY.unix() + 9, last: DAY.unix() + 200 }]);
    }

    #[test]
    fn strangers_are_not_found() {
        let strangers = (0..10_000_u32).map(|number| {
            let hash: [u8; 32] = Sha256::digest(number.to_be_bytes()).into();
            (half(&hash), at(DAY.unix()))
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
