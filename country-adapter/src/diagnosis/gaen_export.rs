//! GAEN's export files, as phones of Apple and Google download them: `export.bin` and `export.sig` in a zip.
//!
//! `export.bin` is 16 octets `EK Export v1    ` and a `TemporaryExposureKeyExport`; `export.sig` a `TEKSignatureList` with an
//! ECDSA P-256 signature in DER over all of `export.bin` (Exposure Key export file format, Apple and Google 2020).

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};

use pki::sign::{SigningKey, VerifyingKey};
use prost::Message;
use proto::ids::CountryCode;
use proto::iso3166;
use proto::report::{GaenKey, IllKey, OnsetDays, ReportType, RollingWindow, TransmissionRisk};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use super::efgs::{Keys, LIMIT, LeftOut, MOST, NotRead};
use crate::phones::upload::UploadedKey;

const HEADER: &[u8; 16] = b"EK Export v1    ";
const BIN: &str = "export.bin";
const SIG: &str = "export.sig";
/// ecdsa-with-SHA256.
const ALGORITHM: &str = "1.2.840.10045.4.3.2";
const WHAT: &str = "GAEN export";

#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(fixed64, optional, tag = "1")]
    start_timestamp: Option<u64>,
    #[prost(fixed64, optional, tag = "2")]
    end_timestamp: Option<u64>,
    #[prost(string, optional, tag = "3")]
    region: Option<String>,
    #[prost(int32, optional, tag = "4")]
    batch_num: Option<i32>,
    #[prost(int32, optional, tag = "5")]
    batch_size: Option<i32>,
    #[prost(message, repeated, tag = "6")]
    signature_infos: Vec<SignatureInfo>,
    #[prost(message, repeated, tag = "7")]
    keys: Vec<ExportKey>,
    #[prost(message, repeated, tag = "8")]
    revised_keys: Vec<ExportKey>,
}

#[derive(Clone, PartialEq, Message)]
struct SignatureInfo {
    #[prost(string, optional, tag = "3")]
    verification_key_version: Option<String>,
    #[prost(string, optional, tag = "4")]
    verification_key_id: Option<String>,
    #[prost(string, optional, tag = "5")]
    signature_algorithm: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct ExportKey {
    #[prost(bytes = "vec", optional, tag = "1")]
    key_data: Option<Vec<u8>>,
    #[prost(int32, optional, tag = "2")]
    transmission_risk_level: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    rolling_start_interval_number: Option<i32>,
    #[prost(int32, optional, tag = "4")]
    rolling_period: Option<i32>,
    #[prost(int32, optional, tag = "5")]
    report_type: Option<i32>,
    #[prost(sint32, optional, tag = "6")]
    days_since_onset_of_symptoms: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct SignatureList {
    #[prost(message, repeated, tag = "1")]
    signatures: Vec<Signature>,
}

#[derive(Clone, PartialEq, Message)]
struct Signature {
    #[prost(message, optional, tag = "1")]
    info: Option<SignatureInfo>,
    #[prost(int32, optional, tag = "2")]
    batch_num: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    batch_size: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "4")]
    signature: Option<Vec<u8>>,
}

/// For which time and country an export is.
#[derive(Debug, Clone, Copy)]
pub struct Period {
    /// The country whose phones download it.
    pub region: CountryCode,
    /// Unix seconds of the first key's arrival.
    pub start: u64,
    /// Unix seconds of the last one's.
    pub end: u64,
}

/// A zip with one signed export of these keys, each once, and their number. They stand in the order of their octets: the
/// order in which they came tells something. A key that anybody has revoked stands among the revised ones, so that phones
/// forget it; of other versions of a key the last one counts.
#[must_use]
pub fn write(keys: &[UploadedKey], period: &Period, key: &SigningKey) -> (Vec<u8>, usize) {
    let mut newest = BTreeMap::<_, ExportKey>::new();
    for key in keys.iter().filter_map(export_key) {
        match newest.get(&key.key_data) {
            Some(known) if is_revoked(known) => {}
            _ => {
                newest.insert(key.key_data.clone(), key);
            }
        }
    }
    let count = newest.len();
    let (revised_keys, keys) = newest.into_values().partition(is_revoked);
    let info = SignatureInfo {
        verification_key_version: Some("v1".into()),
        verification_key_id: Some(period.region.to_string()),
        signature_algorithm: Some(ALGORITHM.into()),
    };
    let export = Export {
        start_timestamp: Some(period.start),
        end_timestamp: Some(period.end),
        region: iso3166::alpha2(period.region.number()).map(str::to_owned),
        batch_num: Some(1),
        batch_size: Some(1),
        signature_infos: vec![info.clone()],
        keys,
        revised_keys,
    };
    let bin = [&HEADER[..], &export.encode_to_vec()].concat();
    let signature = Signature {
        info: Some(info),
        batch_num: Some(1),
        batch_size: Some(1),
        signature: Some(key.sign_der(&bin)),
    };
    let sig = SignatureList { signatures: vec![signature] }.encode_to_vec();
    (zipped(&[(BIN, &bin), (SIG, &sig)]), count)
}

fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        let written = zip.start_file(*name, SimpleFileOptions::default()).map(|()| zip.write_all(content));
        written.expect("a zip in memory has a valid name").expect("memory takes what is written");
    }
    zip.finish().expect("a zip in memory can be finished").into_inner()
}

fn is_revoked(key: &ExportKey) -> bool {
    key.report_type == Some(ReportType::Revoked.number().into())
}

fn export_key(key: &UploadedKey) -> Option<ExportKey> {
    let IllKey::Gaen(gaen, window) = key.key else { return None };
    Some(ExportKey {
        key_data: Some(gaen.octets().to_vec()),
        transmission_risk_level: Some(key.transmission_risk.number().into()),
        rolling_start_interval_number: i32::try_from(window.start()).ok(),
        rolling_period: Some(window.period().into()),
        report_type: Some(key.report_type.number().into()),
        days_since_onset_of_symptoms: key.onset.map(|onset| onset.number().into()),
    })
}

/// Reads an export. With a key its signature must be that key's.
pub fn read(octets: &[u8], key: Option<&VerifyingKey>) -> Result<Keys, NotRead> {
    let not_one = |reason: &str| NotRead::NotOne { what: WHAT, reason: reason.into() };
    if octets.len() > LIMIT {
        return Err(NotRead::TooLong { is: octets.len() });
    }
    let mut zip = ZipArchive::new(Cursor::new(octets)).map_err(|error| not_one(&error.to_string()))?;
    let bin = unzipped(&mut zip, BIN)?;
    let sig = unzipped(&mut zip, SIG)?;
    if let Some(key) = key {
        let list = SignatureList::decode(&*sig).map_err(|error| not_one(&error.to_string()))?;
        let mut signatures = list.signatures.iter().filter_map(|signature| signature.signature.as_deref());
        if !signatures.any(|signature| key.check_der(&bin, signature).is_ok()) {
            return Err(not_one("export.sig holds no signature of the verification key over export.bin"));
        }
    }
    let message =
        bin.strip_prefix(HEADER).ok_or_else(|| not_one("export.bin does not begin with EK Export v1"))?;
    let export = Export::decode(message).map_err(|error| not_one(&error.to_string()))?;
    let count = export.keys.len() + export.revised_keys.len();
    if count > MOST {
        return Err(NotRead::TooMany { is: count });
    }
    let (mut keys, mut left_out) = (Vec::new(), Vec::new());
    for (place, key) in (1..).zip(export.keys.iter().chain(&export.revised_keys)) {
        match checked(key) {
            Ok(key) => keys.push((place, key)),
            Err(reason) => left_out.push(LeftOut { place, reason }),
        }
    }
    Ok((keys, left_out))
}

/// A file of a zip; one that unpacks to more than is read is refused, whatever it says of its length.
fn unzipped(zip: &mut ZipArchive<Cursor<&[u8]>>, name: &str) -> Result<Vec<u8>, NotRead> {
    let not_one = |reason: String| NotRead::NotOne { what: WHAT, reason };
    let file = zip.by_name(name).map_err(|error| not_one(format!("{name}: {error}")))?;
    let mut octets = Vec::new();
    let limit = u64::try_from(LIMIT).unwrap_or(u64::MAX);
    file.take(limit + 1).read_to_end(&mut octets).map_err(|error| not_one(format!("{name}: {error}")))?;
    if octets.len() > LIMIT { Err(NotRead::TooLong { is: octets.len() }) } else { Ok(octets) }
}

fn checked(key: &ExportKey) -> Result<UploadedKey, String> {
    let data = key.key_data.as_deref().unwrap_or_default();
    let octets: [u8; GaenKey::LEN] =
        data.try_into().map_err(|_| format!("key_data has {} octets; it must have 16", data.len()))?;
    let start = key.rolling_start_interval_number.and_then(|start| u32::try_from(start).ok());
    let start = start.ok_or("rolling_start_interval_number is missing or negative")?;
    let small =
        |name: &str, number: i32| u8::try_from(number).map_err(|_| format!("{name} {number} is none"));
    let period = small("rolling_period", key.rolling_period.unwrap_or(RollingWindow::DAY.into()))?;
    let said = |malformed: proto::malformed::Malformed| malformed.to_string();
    let onset = key.days_since_onset_of_symptoms.and_then(|days| i8::try_from(days).ok());
    Ok(UploadedKey {
        key: IllKey::Gaen(
            GaenKey::new(octets).map_err(said)?,
            RollingWindow::new(start, period).map_err(said)?,
        ),
        report_type: ReportType::from_number(small("report_type", key.report_type.unwrap_or(0))?)
            .map_err(said)?,
        onset: onset.and_then(|days| OnsetDays::new(days).ok()),
        transmission_risk: TransmissionRisk::new(small(
            "transmission_risk_level",
            key.transmission_risk_level.unwrap_or(0),
        )?)
        .map_err(said)?,
        visited: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signing() -> SigningKey {
        SigningKey::from_pkcs8(&SigningKey::generate()).unwrap()
    }

    fn key(number: u8) -> UploadedKey {
        UploadedKey {
            key: IllKey::Gaen(
                GaenKey::new([number; 16]).unwrap(),
                RollingWindow::new(20_700 * 144, 100).unwrap(),
            ),
            report_type: ReportType::ConfirmedTest,
            onset: OnsetDays::new(-3).ok(),
            transmission_risk: TransmissionRisk::new(5).unwrap(),
            visited: Vec::new(),
        }
    }

    fn period() -> Period {
        Period { region: CountryCode::new(276).unwrap(), start: 1, end: 2 }
    }

    #[test]
    fn an_export_reads_back_in_the_order_of_its_keys() {
        let signing = signing();
        let (zip, count) = write(&[key(9), key(2), key(5), key(2)], &period(), &signing);
        let (keys, left_out) = read(&zip, Some(signing.public())).unwrap();
        assert_eq!((keys, left_out.len()), (vec![(1, key(2)), (2, key(5)), (3, key(9))], 0));
        assert_eq!(count, 3, "each key once");
    }

    #[test]
    fn a_key_that_was_revoked_is_a_revised_one_whenever_that_was_said() {
        let signing = signing();
        let of = |number, report_type| UploadedKey { report_type, ..key(number) };
        let (test, revoked) = (ReportType::ConfirmedTest, ReportType::Revoked);
        for versions in [[of(2, test), of(2, revoked)], [of(2, revoked), of(2, test)]] {
            let [one, other] = versions;
            let (zip, count) = write(&[one, of(7, test), other], &period(), &signing);
            assert_eq!(count, 2);
            let mut zip = ZipArchive::new(Cursor::new(&*zip)).unwrap();
            let bin = unzipped(&mut zip, BIN).unwrap();
            let export = Export::decode(&bin[HEADER.len()..]).unwrap();
            assert_eq!(export.keys, [export_key(&of(7, test)).unwrap()]);
            assert_eq!(export.revised_keys, [export_key(&of(2, revoked)).unwrap()]);
        }
    }

    #[test]
    fn of_two_versions_of_a_key_the_last_one_is_exported() {
        let signing = signing();
        let of = |report_type| UploadedKey { report_type, ..key(2) };
        let (clinical, test) = (of(ReportType::ConfirmedClinical), of(ReportType::ConfirmedTest));
        for (first, last) in [(&clinical, &test), (&test, &clinical)] {
            let (zip, _) = write(&[first.clone(), last.clone()], &period(), &signing);
            assert_eq!(read(&zip, None).unwrap().0, [(1, last.clone())]);
        }
    }

    /// Two keys, as `vectors/second_implementation.py` has them.
    fn exported() -> [UploadedKey; 2] {
        let ill = |octet, day: u32, period| {
            let window = RollingWindow::new(day * 144, period).unwrap();
            IllKey::Gaen(GaenKey::new([octet; 16]).unwrap(), window)
        };
        let first = UploadedKey { key: ill(0x11, 20_700, 144), ..key(0x11) };
        let (onset, transmission_risk) = (None, TransmissionRisk::default());
        let report_type = ReportType::ConfirmedClinical;
        let second = UploadedKey {
            key: ill(0x22, 20_701, 60),
            report_type,
            onset,
            transmission_risk,
            ..first.clone()
        };
        [first, second]
    }

    #[test]
    fn exports_are_those_of_the_second_implementation_and_it_reads_ours() {
        // That script checks both zips in turn; the first was written by this code.
        let ours = (
            &include_bytes!("../../vectors/gaen-export.zip")[..],
            include_str!("../../vectors/gaen-export.pub.hex"),
        );
        let pythons = (
            &include_bytes!("../../vectors/gaen-export-python.zip")[..],
            include_str!("../../vectors/gaen-export-python.pub.hex"),
        );
        let bin = |zip: &[u8]| unzipped(&mut ZipArchive::new(Cursor::new(zip)).unwrap(), BIN).unwrap();
        let period = Period { start: 1_788_480_000, end: 1_789_689_600, ..period() };
        let (written, _) = write(&exported(), &period, &signing());
        for (zip, public) in [ours, pythons] {
            let public = VerifyingKey::parse(&hex::decode(public).unwrap()).unwrap();
            let (keys, left_out) = read(zip, Some(&public)).unwrap();
            let [first, second] = exported();
            assert_eq!((keys, left_out.len()), (vec![(1, first), (2, second)], 0));
            assert_eq!(bin(zip), bin(&written));
        }
        let other = VerifyingKey::parse(&hex::decode(pythons.1).unwrap()).unwrap();
        assert!(read(ours.0, Some(&other)).is_err());
    }

    #[test]
    fn anothers_signature_and_an_altered_export_are_refused() {
        let (signing, other) = (signing(), signing());
        let (zip, _) = write(&[key(1)], &period(), &other);
        let refused = read(&zip, Some(signing.public())).unwrap_err().to_string();
        assert!(refused.contains("no signature of the verification key"), "{refused}");
        assert!(read(&zip, None).is_ok());
        let bin = [&HEADER[..], &[0x3a, 0]].concat();
        let sig = SignatureList { signatures: vec![] }.encode_to_vec();
        assert!(read(&zipped(&[(BIN, &bin), (SIG, &sig)]), Some(signing.public())).is_err());
    }

    #[test]
    fn what_is_no_export_is_told() {
        for (zip, says) in [
            (vec![1, 2, 3], "no GAEN export"),
            (zipped(&[(BIN, b"x")]), "export.sig"),
            (zipped(&[(BIN, b"EK Export v2    "), (SIG, b"")]), "EK Export v1"),
            (zipped(&[(BIN, b"EK Export v1    \xff"), (SIG, b"")]), "no GAEN export"),
        ] {
            let refused = read(&zip, None).unwrap_err().to_string();
            assert!(refused.contains(says), "{refused}");
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let bomb = zipped(&[(BIN, &vec![0; LIMIT + 1]), (SIG, b"")]);
        assert!(bomb.len() < LIMIT / 100);
        assert!(matches!(read(&bomb, None), Err(NotRead::TooLong { .. })));
    }

    #[test]
    fn a_wrong_key_is_named_and_the_others_count() {
        let good = export_key(&key(1)).unwrap();
        for (wrong, says) in [
            (ExportKey { key_data: None, ..good.clone() }, "key_data has 0 octets"),
            (
                ExportKey { rolling_start_interval_number: None, ..good.clone() },
                "rolling_start_interval_number",
            ),
            (
                ExportKey { rolling_start_interval_number: Some(-1), ..good.clone() },
                "rolling_start_interval_number",
            ),
            (ExportKey { rolling_period: Some(145), ..good.clone() }, "rolling period"),
            (ExportKey { report_type: Some(9), ..good.clone() }, "report type"),
            (ExportKey { transmission_risk_level: Some(300), ..good.clone() }, "transmission_risk_level 300"),
        ] {
            let export = Export { keys: vec![good.clone(), wrong], ..Export::default() };
            let bin = [&HEADER[..], &export.encode_to_vec()].concat();
            let (keys, left_out) = read(&zipped(&[(BIN, &bin), (SIG, b"")]), None).unwrap();
            assert_eq!((keys.len(), left_out.len(), left_out[0].place), (1, 1, 2), "{says}");
            assert!(left_out[0].reason.contains(says), "{}", left_out[0]);
        }
        let whole = Export { keys: vec![ExportKey { rolling_period: None, ..good }], ..Export::default() };
        let bin = [&HEADER[..], &whole.encode_to_vec()].concat();
        let (keys, _) = read(&zipped(&[(BIN, &bin), (SIG, b"")]), None).unwrap();
        let IllKey::Gaen(_, window) = keys[0].1.key else { panic!("a key of GAEN") };
        assert_eq!(window.period(), 144, "the default");
    }

    proptest! {
        #[test]
        fn any_octets_are_an_export_or_refused(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let zip = zipped(&[(BIN, &[&HEADER[..], &octets].concat()), (SIG, &octets)]);
            let _ = read(&zip, None);
            let _ = read(&octets, None);
        }
    }
}
