//! `DiagnosisKeyBatch` of the European Federation Gateway Service: GAEN keys as countries have exchanged them.
//!
//! The fields are those of `protocol.md` 6. Each is checked; a key that is wrong is named and left out, the others count.

use std::fmt;

use prost::Message;
use proto::ids::CountryCode;
use proto::iso3166;
use proto::malformed::Malformed;
use proto::report::{GaenKey, IllKey, OnsetDays, ReportType, RollingWindow, TransmissionRisk};

use crate::phones::upload::UploadedKey;

/// Octets of a batch file.
pub const LIMIT: usize = 64 << 20;
/// What EFGS writes of somebody of whom it is not known whether there were symptoms: 4000 days, give or take two weeks.
const UNKNOWN_ONSET: i32 = 4_000;
/// Keys of a batch.
pub const MOST: usize = 500_000;

/// A batch.
#[derive(Clone, PartialEq, Message)]
pub struct DiagnosisKeyBatch {
    /// Its keys.
    #[prost(message, repeated, tag = "1")]
    pub keys: Vec<DiagnosisKey>,
}

/// A key.
#[derive(Clone, PartialEq, Message)]
pub struct DiagnosisKey {
    /// 16 octets.
    #[prost(bytes = "vec", tag = "1")]
    pub key_data: Vec<u8>,
    /// Ten minutes since 1970.
    #[prost(uint32, tag = "2")]
    pub rolling_start_interval_number: u32,
    /// 1 to 144.
    #[prost(uint32, tag = "3")]
    pub rolling_period: u32,
    /// 0 to 8.
    #[prost(int32, tag = "4")]
    pub transmission_risk_level: i32,
    /// ISO 3166-1 alpha-2.
    #[prost(string, repeated, tag = "5")]
    pub visited_countries: Vec<String>,
    /// ISO 3166-1 alpha-2.
    #[prost(string, tag = "6")]
    pub origin: String,
    /// 0 to 5.
    #[prost(int32, tag = "7")]
    pub report_type: i32,
    /// -14 to 14; larger numbers tell other things.
    #[prost(sint32, tag = "8")]
    pub days_since_onset_of_symptoms: i32,
}

/// A key that is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its place, from 1.
    pub place: usize,
    /// Why.
    pub reason: String,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}: {}", self.place, self.reason)
    }
}

/// The keys of a file with their places from 1, and those that are left out.
pub type Keys = (Vec<(usize, UploadedKey)>, Vec<LeftOut>);

/// Why a whole file is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRead {
    /// Too long for what it says it is.
    #[error("the file has {is} octets; at most {LIMIT} are read")]
    TooLong {
        /// Its octets.
        is: usize,
    },
    /// No message of this kind.
    #[error("the file is no {what}: {reason}")]
    NotOne {
        /// What it should be.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// More than anybody sends.
    #[error("the file has {is} keys; at most {MOST} are read")]
    TooMany {
        /// How many.
        is: usize,
    },
}

/// Reads a batch of the own country's keys.
pub fn read(octets: &[u8], own: CountryCode) -> Result<Keys, NotRead> {
    read_of(octets, Some(own))
}

/// Reads a batch of keys of any country.
pub fn read_any(octets: &[u8]) -> Result<Keys, NotRead> {
    read_of(octets, None)
}

fn read_of(octets: &[u8], own: Option<CountryCode>) -> Result<Keys, NotRead> {
    if octets.len() > LIMIT {
        return Err(NotRead::TooLong { is: octets.len() });
    }
    let batch = DiagnosisKeyBatch::decode(octets)
        .map_err(|error| NotRead::NotOne { what: "DiagnosisKeyBatch", reason: error.to_string() })?;
    if batch.keys.len() > MOST {
        return Err(NotRead::TooMany { is: batch.keys.len() });
    }
    let (mut keys, mut left_out) = (Vec::new(), Vec::new());
    for (place, key) in (1..).zip(batch.keys) {
        match checked(&key, own) {
            Ok(key) => keys.push((place, key)),
            Err(reason) => left_out.push(LeftOut { place, reason }),
        }
    }
    Ok((keys, left_out))
}

/// Writes GAEN keys as a batch; of other keys there is none in it.
#[must_use]
pub fn write(keys: &[(proto::report::DiagnosisKey, CountryCode)]) -> Vec<u8> {
    let keys = keys.iter().filter_map(|(key, origin)| {
        let IllKey::Gaen(gaen, window) = key.key else { return None };
        Some(DiagnosisKey {
            key_data: gaen.octets().to_vec(),
            rolling_start_interval_number: window.start(),
            rolling_period: window.period().into(),
            transmission_risk_level: key.transmission_risk.number().into(),
            visited_countries: alpha2(key.destination.0).into_iter().collect(),
            origin: alpha2(*origin).unwrap_or_default(),
            report_type: i32::from(key.report_type as u8),
            days_since_onset_of_symptoms: key.onset.map_or(UNKNOWN_ONSET, |onset| onset.number().into()),
        })
    });
    DiagnosisKeyBatch { keys: keys.collect() }.encode_to_vec()
}

fn alpha2(country: CountryCode) -> Option<String> {
    iso3166::alpha2(country.number()).map(str::to_owned)
}

fn checked(key: &DiagnosisKey, own: Option<CountryCode>) -> Result<UploadedKey, String> {
    let said = |malformed: Malformed| malformed.to_string();
    let octets: [u8; GaenKey::LEN] = key
        .key_data
        .as_slice()
        .try_into()
        .map_err(|_| format!("keyData has {} octets; it must have 16", key.key_data.len()))?;
    let known = |code: &String| iso3166::number(code).and_then(|number| CountryCode::new(number).ok());
    let origin = known(&key.origin);
    if let Some(own) = own.filter(|own| origin != Some(*own)) {
        return Err(format!("origin must be this country, {}", alpha2(own).unwrap_or_default()));
    }
    let small =
        |name: &str, number: i64| u8::try_from(number).map_err(|_| format!("{name} {number} is none"));
    let period = small("rollingPeriod", key.rolling_period.into())?;
    let window = RollingWindow::new(key.rolling_start_interval_number, period).map_err(said)?;
    let risk = small("transmissionRiskLevel", key.transmission_risk_level.into())?;
    let report_type = small("reportType", key.report_type.into())?;
    let country = |code: &String| {
        known(code).ok_or_else(|| "visitedCountries must be ISO 3166-1 alpha-2 codes".to_owned())
    };
    Ok(UploadedKey {
        key: IllKey::Gaen(GaenKey::new(octets).map_err(said)?, window),
        report_type: ReportType::from_number(report_type).map_err(said)?,
        // Numbers beyond two weeks tell that the onset is not known.
        onset: i8::try_from(key.days_since_onset_of_symptoms).ok().and_then(|days| OnsetDays::new(days).ok()),
        transmission_risk: TransmissionRisk::new(risk).map_err(said)?,
        visited: key.visited_countries.iter().map(country).collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proto::ids::StateCode;

    use super::*;

    fn country(code: u16) -> CountryCode {
        CountryCode::new(code).unwrap()
    }

    fn key() -> DiagnosisKey {
        DiagnosisKey {
            key_data: vec![7; 16],
            rolling_start_interval_number: 20_700 * 144,
            rolling_period: 144,
            transmission_risk_level: 3,
            visited_countries: vec!["FR".into(), "DE".into()],
            origin: "AT".into(),
            report_type: 1,
            days_since_onset_of_symptoms: -2,
        }
    }

    fn read_one(key: DiagnosisKey) -> Result<UploadedKey, String> {
        let octets = DiagnosisKeyBatch { keys: vec![key] }.encode_to_vec();
        let (mut keys, left_out) = read(&octets, country(40)).unwrap();
        keys.pop().map(|(_, key)| key).ok_or_else(|| left_out[0].to_string())
    }

    #[test]
    fn the_octets_are_those_of_the_public_fields() {
        let octets =
            DiagnosisKeyBatch { keys: vec![DiagnosisKey { visited_countries: vec!["FR".into()], ..key() }] };
        // Derived by country-adapter/vectors/second_implementation.py from the table of fields: tag and value of each.
        let expected = "0a280a100707070707070707070707070707070710c0f7b50118900120032a0246523202415438014003";
        assert_eq!(hex::encode(octets.encode_to_vec()), expected);
    }

    #[test]
    fn a_good_key_is_read_with_all_that_it_says() {
        let read = read_one(key()).unwrap();
        assert_eq!(read.visited, [country(250), country(276)]);
        assert_eq!((read.onset, read.report_type), (OnsetDays::new(-2).ok(), ReportType::ConfirmedTest));
        let unknown = read_one(DiagnosisKey { days_since_onset_of_symptoms: 2_000, ..key() }).unwrap();
        assert_eq!(unknown.onset, None);
    }

    #[test]
    fn every_wrong_field_is_named_and_the_other_keys_count() {
        for (wrong, says) in [
            (DiagnosisKey { key_data: vec![7; 15], ..key() }, "keyData has 15 octets"),
            (DiagnosisKey { key_data: vec![0; 16], ..key() }, "key"),
            (DiagnosisKey { rolling_period: 0, ..key() }, "rolling period"),
            (DiagnosisKey { rolling_period: 300, ..key() }, "rollingPeriod 300"),
            (DiagnosisKey { rolling_start_interval_number: u32::MAX, ..key() }, "rolling start"),
            (DiagnosisKey { transmission_risk_level: 9, ..key() }, "transmission risk level"),
            (DiagnosisKey { transmission_risk_level: -1, ..key() }, "transmissionRiskLevel -1"),
            (DiagnosisKey { report_type: 6, ..key() }, "report type"),
            (DiagnosisKey { origin: "FR".into(), ..key() }, "origin must be this country, AT"),
            (DiagnosisKey { visited_countries: vec!["XX".into()], ..key() }, "visitedCountries"),
        ] {
            let octets = DiagnosisKeyBatch { keys: vec![key(), wrong, key()] }.encode_to_vec();
            let (keys, left_out) = read(&octets, country(40)).unwrap();
            assert_eq!((keys.len(), left_out.len(), left_out[0].place), (2, 1, 2), "{says}");
            assert!(left_out[0].reason.contains(says), "{}", left_out[0]);
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let uploaded = read_one(key()).unwrap();
        let report = proto::report::DiagnosisKey {
            destination: (country(250), StateCode::NATIONAL),
            issuer: "40/0".parse().unwrap(),
            key: uploaded.key,
            report_type: uploaded.report_type,
            onset: uploaded.onset,
            transmission_risk: uploaded.transmission_risk,
        };
        let (keys, left_out) = read(&write(&[(report, country(40))]), country(40)).unwrap();
        assert!(left_out.is_empty());
        assert_eq!(keys, [(1, UploadedKey { visited: vec![country(250)], ..uploaded.clone() })]);
        let unknown = proto::report::DiagnosisKey { onset: None, ..report };
        let (keys, _) = read_any(&write(&[(unknown, country(40))])).unwrap();
        assert_eq!(keys[0].1.onset, None, "a day that nobody knows is not the day of the onset");
    }

    proptest! {
        #[test]
        fn any_octets_are_a_batch_or_refused(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&octets, country(40));
        }
    }
}
