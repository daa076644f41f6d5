//! A phone expands and matches two weeks of ten thousand daily keys on one core.

use country_adapter::herald::matching::{Heard, HeardLog};
use country_adapter::herald::simple::{Period, identifiers};
use proto::day::Day;
use proto::report::SimpleKey;

use crate::timing::Watch;
use crate::{Figure, Limit};

const DAYS: u16 = 14;
const KEYS: u32 = 10_000;
const CONTACTS: u32 = 10_000;
const FIRST: Day = Day::new(20_700);

pub(crate) fn run() -> Vec<Figure> {
    let keys: Vec<_> =
        (0..u32::from(DAYS) * KEYS).map(|number| (key(number), FIRST.plus(day(number)))).collect();
    let all_day = searched(&keys, 0..240);
    // From seven in the morning to eleven at night.
    let awake = searched(&keys, 70..230);
    let identifiers = f64::from(u32::from(DAYS) * KEYS) * 240.0;
    let most = Some(Limit::AtMost(10.0));
    let figure = |name, value, unit, limit| Figure { name, value, unit, limit };
    vec![
        figure("matching 14 days x 10,000 daily keys on 10,000 contacts", all_day.0, "s", most),
        figure("the same by the clock on the wall", all_day.1, "s", None),
        figure("identifiers expanded and looked up", identifiers / all_day.0, "1/s", None),
        figure("the same keys, contacts from 7 to 23 h only", awake.0, "s", None),
    ]
}

/// Seconds of one core, and on the wall. Contacts are spread evenly over these periods of all days.
fn searched(keys: &[(SimpleKey, Day)], periods: std::ops::Range<u32>) -> (f64, f64) {
    let length = periods.end - periods.start;
    let heard = |number: u32| {
        let midnight = FIRST.plus(u16::try_from(number % u32::from(DAYS)).expect("fourteen")).unix();
        let period = periods.start + number / u32::from(DAYS) % length;
        let seconds = midnight + u64::from(period) * Period::SECONDS;
        (period, Heard { first: seconds, last: seconds })
    };
    // One contact in a hundred keys is a true one.
    let met = keys.iter().zip(0..).step_by(100).map(|((key, day), number)| {
        let (period, Heard { first, .. }) = heard(number);
        let first = day.unix() + first % Day::SECONDS;
        let place = usize::try_from(period).expect("a day has 240");
        (*identifiers(key)[place].octets(), Heard { first, last: first })
    });
    let met: Vec<_> = met.collect();
    let strangers = (0..CONTACTS).map(|number| {
        let mut identifier = [0; 16];
        identifier[..4].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
        identifier[4..8].copy_from_slice(&number.to_be_bytes());
        (identifier, heard(number).1)
    });
    let strangers = strangers.take(usize::try_from(CONTACTS).unwrap_or_default() - met.len());
    let expected = met.len();
    let log = HeardLog::new(met.into_iter().chain(strangers));
    let (watch, mut found) = (Watch::start(), 0);
    log.search(keys, |_, _| found += 1);
    let times = (watch.core(), watch.wall());
    assert_eq!(found, expected, "every true contact and no other one is found");
    times
}

fn key(number: u32) -> SimpleKey {
    let mut octets = [1; 32];
    octets[..4].copy_from_slice(&number.to_be_bytes());
    SimpleKey::new(octets).expect("it is not all zeros")
}

fn day(number: u32) -> u16 {
    u16::try_from(number / KEYS).expect("there are fourteen days")
}
