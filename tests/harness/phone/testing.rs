//! Phones without an authority that answers, for tests.

use country_adapter::herald::secured::service::DailyKey;
use pki::seal::{PrivateKey, Suite};
use proto::day::Day;

use super::{Home, Phone};

/// 2026-11-24T10:30:00Z, on which a period of Simple begins.
pub(crate) const NOW: u64 = 1_795_516_200;

pub(crate) fn home(authority: &str) -> Home {
    Home::unreachable(crate::authority(authority))
}

pub(crate) fn simple(authority: &str) -> Phone {
    Phone::simple("Gwen", home(authority), NOW).unwrap()
}

/// A phone on Secured with its authority's key of the day.
pub(crate) fn secured(authority: &str) -> Phone {
    let mut phone = Phone::secured("Alice", home(authority), *b"S41\0", [2; 8]).unwrap();
    let day = Day::of_unix(NOW);
    let key = PrivateKey::parse(Suite::P256, &PrivateKey::generate(Suite::P256)).unwrap().public().clone();
    phone.in_secured_mut().unwrap().take_keys(vec![DailyKey { number: 7, days: day..=day, key }]);
    phone
}
