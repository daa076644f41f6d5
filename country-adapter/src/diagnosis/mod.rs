//! Ill persons' own keys: fanned out to countries, held back until their time is over.
//!
//! One key becomes one report for each country that should have it, so that routing stays a matter of the header. A
//! key that is still in use would tell who is ill now: it is held until its phone advertises something else.

pub mod efgs;
pub mod exports;
pub mod gaen_export;

use std::collections::{BTreeMap, BTreeSet};

use proto::day::Day;
use proto::ids::{Authority, CountryCode, StateCode};
use proto::report::{DiagnosisKey, IllKey, Report, RollingWindow};

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
    /// Its country: its own phones get keys another way.
    pub own: CountryCode,
    /// Countries that get every key.
    pub subscribers: Vec<CountryCode>,
}

/// Keys that may leave at some Unix time.
pub type Held = BTreeMap<u64, Vec<DiagnosisKey>>;

impl FanOut {
    /// One report a key and destination: what may leave now, and what may leave later.
    #[must_use]
    pub fn reports(&self, keys: &[UploadedKey], now: u64) -> (Vec<DiagnosisKey>, Held) {
        let (mut due, mut held) = (Vec::new(), Held::new());
        for key in keys {
            let from = over(&key.key);
            let reports =
                self.destinations(&key.visited).into_iter().map(|country| self.report(key, country));
            if from <= now {
                due.extend(reports);
            } else {
                held.entry(from).or_default().extend(reports);
            }
        }
        (due, held)
    }

    /// Visited and subscribed countries, each once, without the own one.
    #[must_use]
    pub fn destinations(&self, visited: &[CountryCode]) -> BTreeSet<CountryCode> {
        let all = visited.iter().chain(&self.subscribers).copied();
        all.filter(|country| *country != self.own).collect()
    }

    fn report(&self, key: &UploadedKey, country: CountryCode) -> DiagnosisKey {
        DiagnosisKey {
            destination: (country, StateCode::NATIONAL),
            issuer: self.issuer,
            key: key.key,
            report_type: key.report_type,
            onset: key.onset,
            transmission_risk: key.transmission_risk,
        }
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

fn end_of(window: RollingWindow) -> u64 {
    (u64::from(window.start()) + u64::from(window.period())) * INTERVAL
}

/// The report of a key.
#[must_use]
pub fn report<'a>(key: &DiagnosisKey) -> Report<'a> {
    Report::DiagnosisKey(*key)
}

#[cfg(test)]
mod tests {
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
    fn each_visited_and_subscribed_country_gets_a_key_once_and_the_own_one_not_at_all() {
        let (due, held) = fan_out(&[250, 826]).reports(&[key(simple(19_990), &[826, 276, 36, 276])], NOON);
        let destinations: Vec<_> = due.iter().map(|report| report.destination.0.number()).collect();
        assert_eq!(destinations, [250, 276, 826]);
        assert!(held.is_empty() && due.iter().all(|report| report.header().code() == 0x10));
        assert!(fan_out(&[]).reports(&[key(simple(19_990), &[])], NOON).0.is_empty());
    }

    #[test]
    fn a_key_that_is_in_use_is_held_until_two_hours_after_its_time() {
        let over_at = 20_001 * 86_400 + 7_200;
        for (now, leaves) in [(NOON, false), (over_at - 1, false), (over_at, true)] {
            let (due, held) = fan_out(&[]).reports(&[key(simple(20_000), &[826])], now);
            assert_eq!((due.len(), held.len()), (usize::from(leaves), usize::from(!leaves)), "{now}");
        }
        let window = RollingWindow::new(20_000 * 144, 36).unwrap();
        let gaen = IllKey::Gaen(GaenKey::new([1; 16]).unwrap(), window);
        assert_eq!(over(&gaen), 20_000 * 86_400 + 6 * 3_600 + 7_200);
        let (_, held) =
            fan_out(&[]).reports(&[key(gaen, &[826]), key(simple(20_000), &[826])], 20_000 * 86_400);
        assert_eq!(held.keys().copied().collect::<Vec<_>>(), [over(&gaen), over_at]);
    }
}
