//! A phone expands and matches two weeks of ten thousand daily keys on one core.

use std::time::Instant;

use country_adapter::herald::matching::{Heard, HeardLog};
use country_adapter::herald::simple::identifiers;
use proto::day::Day;
use proto::report::SimpleKey;

use crate::{Figure, Limit};

const DAYS: u16 = 14;
const KEYS: u32 = 10_000;
const CONTACTS: u32 = 10_000;
const FIRST: Day = Day::new(20_700);

pub(crate) fn run() -> Vec<Figure> {
    // One contact in a hundred days' keys is a true one.
    let keys: Vec<_> =
        (0..u32::from(DAYS) * KEYS).map(|number| (key(number), FIRST.plus(day(number)))).collect();
    let heard = |seconds| Heard { first: seconds, last: seconds };
    let met = keys.iter().step_by(100).map(|(key, day)| {
        let identifier = *identifiers(key)[120].octets();
        (identifier, heard(day.unix() + 43_200))
    });
    let met: Vec<_> = met.collect();
    let strangers = (0..CONTACTS).map(|number| {
        let mut identifier = [0; 16];
        identifier[..4].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
        identifier[4..8].copy_from_slice(&number.to_be_bytes());
        (identifier, heard(FIRST.unix()))
    });
    let strangers = strangers.take(usize::try_from(CONTACTS).unwrap_or_default() - met.len());
    let expected = met.len();
    let log = HeardLog::new(met.into_iter().chain(strangers));
    let (from, mut found) = (Instant::now(), 0);
    for (key, day) in &keys {
        log.search(key, *day, |_, _| found += 1);
    }
    let seconds = from.elapsed().as_secs_f64();
    assert_eq!(found, expected, "every true contact and no other one is found");
    vec![
        Figure {
            name: "matching 14 days x 10,000 daily keys on 10,000 contacts",
            value: seconds,
            unit: "s",
            limit: Some(Limit::AtMost(10.0)),
        },
        Figure {
            name: "identifiers expanded and looked up",
            value: f64::from(u32::from(DAYS) * KEYS) * 240.0 / seconds,
            unit: "1/s",
            limit: None,
        },
    ]
}

fn key(number: u32) -> SimpleKey {
    let mut octets = [1; 32];
    octets[..4].copy_from_slice(&number.to_be_bytes());
    SimpleKey::new(octets).expect("it is not all zeros")
}

fn day(number: u32) -> u16 {
    u16::try_from(number / KEYS).expect("there are fourteen days")
}
