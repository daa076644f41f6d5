//! Ill persons' own keys: fanned out to countries, held back until their time is over.
//!
//! One key becomes one report for each authority that should have it, so that routing stays a matter of the header; the
//! own authority's desk gets it too, for the phones of its own list. A
//! key that is still in use would tell who is ill now: it is held until its phone advertises something else.

pub mod efgs;
pub mod exports;
pub mod gaen_export;
pub mod held;

use std::collections::{BTreeMap, BTreeSet};

use pki::trust::TrustList;
use proto::day::Day;
use proto::ids::{Authority, CountryCode, StateCode};
use proto::report::{DateOut, DiagnosisKey, IllKey, Report, RollingWindow};

use crate::phones::upload::UploadedKey;

/// Seconds of GAEN's intervals.
const INTERVAL: u64 = 600;
/// Seconds that a key is held beyond its time: phones whose clocks are late still use it.
const TOLERANCE: u64 = 2 * 3_600;

/// Who gets the keys of this authority's ill persons.
#[derive(Debug, Clone)]
pub struct FanOut {
    /// The authority that confirms the cases.
    pub issuer: Authority,
    /// Its country: all of its authorities get every key.
    pub own: CountryCode,
    /// Other countries that get every key.
    pub subscribers: Vec<CountryCode>,
}

/// What becomes of some keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fanned {
    /// For other authorities.
    pub others: Timed,
    /// For the own authority's desk.
    pub own: Timed,
}

/// Reports of keys by when they may be used.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Timed {
    /// Now.
    pub due: Vec<DiagnosisKey>,
    /// From some Unix time on.
    pub held: BTreeMap<u64, Vec<DiagnosisKey>>,
}

impl Timed {
    fn add(&mut self, report: DiagnosisKey, now: u64) {
        match over(&report.key) {
            from if from <= now => self.due.push(report),
            from => self.held.entry(from).or_default().push(report),
        }
    }
}

impl FanOut {
    /// One report a key and destination.
    #[must_use]
    pub fn reports(&self, trust: &TrustList, keys: &[UploadedKey], now: u64) -> Fanned {
        let mut fanned = Fanned::default();
        for key in keys {
            for destination in self.destinations(trust, &key.visited) {
                fanned.others.add(self.report(key, destination), now);
            }
            fanned.own.add(self.report(key, self.home()), now);
        }
        fanned
    }

    /// The authorities of the visited, subscribed and own countries, each once, without the own one. Of a country that
    /// has none in the trust list it is the national one: the gateway says that there is no way to it.
    #[must_use]
    pub fn destinations(
        &self,
        trust: &TrustList,
        visited: &[CountryCode],
    ) -> BTreeSet<(CountryCode, StateCode)> {
        let countries: BTreeSet<_> = visited.iter().chain(&self.subscribers).chain([&self.own]).collect();
        let destinations = countries.into_iter().flat_map(|country| {
            let listed = trust.country(*country).into_iter().flat_map(|country| country.authorities.keys());
            let mut states: Vec<_> = listed.filter_map(|authority| state(*authority)).collect();
            if states.is_empty() && *country != self.own {
                states.push((*country, StateCode::NATIONAL));
            }
            states
        });
        destinations.filter(|destination| Some(*destination) != state(self.issuer)).collect()
    }

    fn home(&self) -> (CountryCode, StateCode) {
        state(self.issuer).unwrap_or((self.own, StateCode::NATIONAL))
    }

    fn report(&self, key: &UploadedKey, destination: (CountryCode, StateCode)) -> DiagnosisKey {
        DiagnosisKey {
            destination,
            issuer: self.issuer,
            key: key.key,
            report_type: key.report_type,
            onset: key.onset,
            transmission_risk: key.transmission_risk,
        }
    }
}

fn state(authority: Authority) -> Option<(CountryCode, StateCode)> {
    match authority {
        Authority::State(country, state) => Some((country, state)),
        Authority::Opaque(_) => None,
    }
}

/// From when on a key may leave: its time, and two hours.
#[must_use]
pub fn over(key: &IllKey) -> u64 {
    let end = match key {
        IllKey::Simple(_, day) => day.unix() + Day::SECONDS,
        IllKey::Gaen(_, window) => end_of(*window),
    };
    end + TOLERANCE
}

/// Whether phones may be given a key at a Unix time: it is over, and no more than 15 days old.
#[must_use]
pub fn may_be_shown(key: &IllKey, now: u64) -> bool {
    DateOut::check(key.day(), Day::of_unix(now)).is_ok() && over(key) <= now
}

fn end_of(window: RollingWindow) -> u64 {
    (u64::from(window.start()) + u64::from(window.period())) * INTERVAL
}

/// The report of a key.
#[must_use]
pub fn report<'a>(key: &DiagnosisKey) -> Report<'a> {
    Report::DiagnosisKey(*key)
}

/// The reports of keys by their time.
#[must_use]
pub fn reports<'a>(keys: &BTreeMap<u64, Vec<DiagnosisKey>>) -> BTreeMap<u64, Vec<Report<'a>>> {
    keys.iter().map(|(from, keys)| (*from, keys.iter().map(report).collect())).collect()
}

#[cfg(test)]
mod tests {
    use pki::fixture::Federation;
    use proto::report::{GaenKey, ReportType, SimpleKey, TransmissionRisk};

    use super::*;

    const NOON: u64 = 20_000 * 86_400 + 43_200;

    fn country(code: u16) -> CountryCode {
        CountryCode::new(code).unwrap()
    }

    fn fan_out(subscribers: &[u16]) -> FanOut {
        let subscribers = subscribers.iter().map(|code| country(*code)).collect();
        FanOut { issuer: "36/2".parse().unwrap(), own: country(36), subscribers }
    }

    fn trust() -> TrustList {
        Federation::of(&["36/2", "36/3", "826/0", "826/1", "250/0", "554/7"]).trust_list()
    }

    fn destinations(keys: &[DiagnosisKey]) -> Vec<String> {
        keys.iter().map(|key| key.header().authority().to_string()).collect()
    }

    fn key(key: IllKey, visited: &[u16]) -> UploadedKey {
        UploadedKey {
            key,
            report_type: ReportType::ConfirmedTest,
            onset: None,
            transmission_risk: TransmissionRisk::default(),
            visited: visited.iter().map(|code| country(*code)).collect(),
        }
    }

    fn simple(day: u16) -> IllKey {
        IllKey::Simple(SimpleKey::new([1; 32]).unwrap(), Day::new(day))
    }

    #[test]
    fn every_authority_of_a_visited_subscribed_or_the_own_country_gets_a_key_once() {
        let (trust, keys) = (trust(), [key(simple(19_990), &[826, 276, 36, 276, 554])]);
        let Fanned { others, own } = fan_out(&[250, 826]).reports(&trust, &keys, NOON);
        let expected = ["36/3", "250/0", "276/0", "554/7", "826/0", "826/1"];
        assert_eq!(destinations(&others.due), expected, "276 is in no list: the gateway says so");
        assert_eq!(destinations(&own.due), ["36/2"], "for the own authority's phones");
        assert!(others.held.is_empty() && own.held.is_empty());
        assert!(others.due.iter().all(|report| report.header().code() == 0x10));
        let alone = FanOut { issuer: "x/0000abcd".parse().unwrap(), ..fan_out(&[]) };
        let Fanned { others, own } = alone.reports(&trust, &[key(simple(19_990), &[])], NOON);
        assert_eq!(destinations(&others.due), ["36/2", "36/3"]);
        assert_eq!(destinations(&own.due), ["36/0"]);
    }

    #[test]
    fn a_key_that_is_in_use_is_held_until_two_hours_after_its_time() {
        let trust = trust();
        let over_at = 20_001 * 86_400 + 7_200;
        for (now, leaves) in [(NOON, false), (over_at - 1, false), (over_at, true)] {
            let Fanned { others, own } = fan_out(&[]).reports(&trust, &[key(simple(20_000), &[250])], now);
            let expected = if leaves { (2, 0, 1, 0) } else { (0, 1, 0, 1) };
            let found = (others.due.len(), others.held.len(), own.due.len(), own.held.len());
            assert_eq!(found, expected, "{now}");
        }
        let window = RollingWindow::new(20_000 * 144, 36).unwrap();
        let gaen = IllKey::Gaen(GaenKey::new([1; 16]).unwrap(), window);
        assert_eq!(over(&gaen), 20_000 * 86_400 + 6 * 3_600 + 7_200);
        let keys = [key(gaen, &[250]), key(simple(20_000), &[250])];
        let held = fan_out(&[]).reports(&trust, &keys, 20_000 * 86_400).others.held;
        assert_eq!(held.keys().copied().collect::<Vec<_>>(), [over(&gaen), over_at]);
    }

    #[test]
    fn a_key_is_shown_from_two_hours_after_its_day_until_it_is_15_days_old() {
        let over = 20_001 * 86_400 + 7_200;
        for (now, shown) in [(NOON, false), (over - 1, false), (over, true)] {
            assert_eq!(may_be_shown(&simple(20_000), now), shown, "{now}");
        }
        let last = 20_016 * 86_400 - 1;
        assert!(may_be_shown(&simple(20_000), last) && !may_be_shown(&simple(20_000), last + 1));
    }
}
