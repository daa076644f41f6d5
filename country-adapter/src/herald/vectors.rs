//! Every published value for Simple, venue and BlueTrace frames, by its id.

use std::fs;
use std::path::Path;

use proto::day::Day;
use proto::extended::{ExtendedData, put_section};
use proto::header::Frame;
use proto::ids::{Authority, CountryCode, StateCode};
use proto::octets::Reader;
use proto::report::SimpleKey;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::reference::SourceProfile;
use super::signal::{CallingCard, Detected, Signal, Via};
use super::simple::{self, Chain, Generation, KeySchedule, Period, ScheduleError, Secret};
use super::{bluetrace, reference, split, venue};

const VECTORS: &str = include_str!("../../../proto/vectors/herald-vectors.json");
const EPOCH: Day = Day::new(18_529);

struct Vector {
    id: String,
    inputs: Value,
    expected: Value,
}

impl Vector {
    fn number(&self, field: &str) -> u64 {
        self.inputs[field].as_u64().unwrap_or_else(|| panic!("{}: {field}", self.id))
    }

    fn small(&self, field: &str) -> u16 {
        u16::try_from(self.number(field)).unwrap()
    }

    fn authority(&self) -> Authority {
        Authority::State(
            CountryCode::new(self.small("country")).unwrap(),
            StateCode::new(self.small("state")),
        )
    }

    fn expected_hex(&self) -> Vec<u8> {
        hex::decode(self.expected["hex"].as_str().unwrap()).unwrap()
    }

    fn unix(&self) -> u64 {
        let (date, time) = self.inputs["utc"].as_str().unwrap().split_once('T').unwrap();
        let time = time.trim_end_matches('Z').split(':').map(|part| part.parse::<u64>().unwrap());
        date.parse::<Day>().unwrap().unix() + time.fold(0, |sum, part| sum * 60 + part)
    }
}

/// Checks all vectors whose id begins so, and that none went missing.
fn each(prefix: &str, count: usize, check: impl Fn(&Vector)) {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let all = vectors["vectors"].as_array().unwrap().iter().map(|vector| Vector {
        id: vector["id"].as_str().unwrap().to_owned(),
        inputs: vector["inputs"].clone(),
        expected: vector["expected"].clone(),
    });
    let checked = all.filter(|vector| vector.id.starts_with(prefix)).inspect(|vector| check(vector)).count();
    assert_eq!(checked, count, "{prefix}");
}

fn zero_secret() -> Vec<u8> {
    vec![0; 2048]
}

fn phone() -> KeySchedule {
    KeySchedule::new(Secret::new(zero_secret()).unwrap(), Generation::of(EPOCH).unwrap())
}

fn matching_key(vector: &Vector) -> SimpleKey {
    phone().matching_key(EPOCH.plus(vector.small("day"))).unwrap()
}

/// Beginnings of all ids, how many there are, and the file that tests them by that name.
const TESTED: [(&str, usize, &str); 24] = [
    ("simple-matching-", 5, "country-adapter/src/herald/vectors.rs"),
    ("simple-contact-", 14, "country-adapter/src/herald/vectors.rs"),
    ("simple-digest-", 2, "country-adapter/src/herald/vectors.rs"),
    ("simple-hash-secret", 1, "country-adapter/src/herald/vectors.rs"),
    ("simple-dayperiod-", 9, "country-adapter/src/herald/vectors.rs"),
    ("simple-edge-", 3, "country-adapter/src/herald/vectors.rs"),
    ("simple-frame-", 3, "country-adapter/src/herald/vectors.rs"),
    ("beacon-", 3, "country-adapter/src/herald/vectors.rs"),
    ("bluetrace-", 3, "country-adapter/src/herald/vectors.rs"),
    ("signal-", 5, "country-adapter/src/herald/vectors.rs"),
    ("ref-int-le", 1, "country-adapter/src/herald/vectors.rs"),
    ("ref-string", 1, "country-adapter/src/herald/vectors.rs"),
    ("ext-", 11, "proto/src/extended/tests.rs"),
    ("float16", 1, "country-adapter/src/herald/secured/vectors.rs"),
    ("totp-rfc6238-", 6, "country-adapter/src/herald/secured/totp.rs"),
    ("ours-totp31", 1, "country-adapter/src/herald/secured/totp.rs"),
    ("ours-ect", 1, "country-adapter/src/herald/secured/confirmation.rs"),
    ("ours-est", 1, "country-adapter/src/herald/secured/service_tests.rs"),
    ("ours-secured-response", 1, "country-adapter/src/herald/secured/exchange_tests.rs"),
    ("risk-basic-slices", 1, "country-adapter/src/risk.rs"),
    ("risk-basic", 1, "country-adapter/src/risk.rs"),
    ("distance-fowler", 1, "country-adapter/src/samples.rs"),
    ("exposure-rssi-minutes", 1, "country-adapter/src/samples.rs"),
    ("risk-sample-disease", 1, "country-adapter/src/samples.rs"),
];

#[test]
fn every_vector_has_a_test() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let vectors = vectors["vectors"].as_array().unwrap();
    let mut counts = [0; TESTED.len()];
    for vector in vectors {
        let id = vector["id"].as_str().unwrap();
        let known = TESTED.iter().position(|(beginning, ..)| id.starts_with(beginning));
        counts[known.unwrap_or_else(|| panic!("no test knows {id}"))] += 1;
    }
    for ((beginning, count, file), found) in TESTED.iter().zip(counts) {
        assert_eq!(found, *count, "{beginning}");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(&format!("\"{beginning}\"")), "{file} does not test {beginning}");
    }
}

/// Integers as they stand behind a type's name, as `uint16 1`.
#[test]
fn integers_of_the_libraries_are_ours_in_the_other_order() {
    each("ref-int-le", 1, |vector| {
        let values = vector.inputs["values"].as_array().unwrap();
        let expected = vector.expected["hex"].as_array().unwrap();
        assert_eq!(values.len(), expected.len());
        for (value, hex_text) in values.iter().zip(expected) {
            let (kind, number) = value.as_str().unwrap().split_once(' ').unwrap();
            let mut octets = hex::decode(hex_text.as_str().unwrap()).unwrap();
            octets.reverse();
            let mut reader = Reader::new("integer", &octets);
            let found: i128 = match kind {
                "uint16" => reader.u16().unwrap().into(),
                "int16" => reader.u16().unwrap().cast_signed().into(),
                "uint32" => reader.u32().unwrap().into(),
                "int32" => reader.u32().unwrap().cast_signed().into(),
                "uint64" => reader.u64().unwrap().into(),
                other => panic!("no test knows {other}"),
            };
            assert_eq!((found.to_string().as_str(), reader.is_done()), (number, true));
        }
    });
}

/// Strings have the form of a section's value: a length in one octet, and UTF-8. A section is never empty.
#[test]
fn strings_of_the_libraries_are_values_of_sections() {
    const PREMISES: u8 = 0x10;
    each("ref-string", 1, |vector| {
        let values = vector.inputs["values"].as_array().unwrap();
        let expected = vector.expected["hex"].as_array().unwrap();
        assert_eq!(values.len(), expected.len());
        for (value, octets) in values.iter().zip(expected) {
            let (text, octets) = (value.as_str().unwrap(), hex::decode(octets.as_str().unwrap()).unwrap());
            let section = [&[PREMISES], &octets[..]].concat();
            let read = ExtendedData::parse(&section);
            assert_eq!(
                read.is_ok_and(|read| read.value(PREMISES) == Some(text.as_bytes())),
                !text.is_empty()
            );
        }
    });
}

#[test]
fn signals_have_the_published_octets() {
    each("signal-", 5, |vector| {
        let octets = vector.expected_hex();
        let signal = Signal::parse(&octets).unwrap();
        let hex_of = |field: &str| hex::decode(vector.inputs[field].as_str().unwrap()).unwrap();
        let rssi = || i16::try_from(vector.inputs["rssi"].as_i64().unwrap()).unwrap();
        match vector.id.as_str() {
            "signal-rssi" => assert_eq!(signal, Signal::Rssi(rssi())),
            "signal-payload" => assert_eq!(signal, Signal::Payload(&hex_of("payload"))),
            "signal-immediate" => assert_eq!(signal, Signal::Immediate(&hex_of("data"))),
            "signal-sharing-empty" => {
                assert_eq!(signal, Signal::CallingCard(CallingCard::new(None, &[]).unwrap()));
            }
            "signal-sharing" => {
                let payloads = vector.inputs["payloads"].as_array().unwrap();
                let payloads: Vec<_> =
                    payloads.iter().flat_map(|hex| hex::decode(hex.as_str().unwrap()).unwrap()).collect();
                assert_eq!(signal, Signal::CallingCard(CallingCard::new(Some(rssi()), &payloads).unwrap()));
                let unpacked = signal.detected(SourceProfile::Libraries);
                assert!(matches!(&unpacked[..], [Ok(Detected { via: Via::Shared, .. })]), "the same twice");
            }
            other => panic!("no test knows {other}"),
        }
        assert_eq!(signal.octets(), octets, "{}", vector.id);
    });
}

#[test]
fn the_matching_keys_are_the_published_ones() {
    each("simple-matching-", 5, |vector| {
        let (seed, key) = Chain::from(&zero_secret()).link(2000 - vector.small("day"));
        assert_eq!(hex::encode(*seed), vector.expected["matching_key_seed"], "{}", vector.id);
        assert_eq!(hex::encode(*key), vector.expected["matching_key"], "{}", vector.id);
        assert_eq!(matching_key(vector).octets(), &*key);
    });
}

#[test]
fn the_contact_identifiers_are_the_published_ones() {
    each("simple-contact-", 14, |vector| {
        let matching_key = matching_key(vector);
        assert_eq!(hex::encode(matching_key.octets()), vector.expected["matching_key"], "{}", vector.id);
        let (seed, key) = Chain::from(matching_key.octets()).link(240 - vector.small("period"));
        assert_eq!(hex::encode(*seed), vector.expected["contact_key_seed"], "{}", vector.id);
        assert_eq!(hex::encode(*key), vector.expected["contact_key"], "{}", vector.id);
        let identifier = &vector.expected["contact_identifier"];
        assert_eq!(hex::encode(&key[..16]), *identifier, "{}", vector.id);
        check_advertised(vector, &matching_key, identifier);
    });
}

/// The public functions give the same, except for period 240, which no phone advertises.
fn check_advertised(vector: &Vector, key: &SimpleKey, identifier: &Value) {
    let (day, period) = (EPOCH.plus(vector.small("day")), vector.number("period"));
    let expanded = simple::identifiers(key);
    let Some(found) = expanded.get(usize::try_from(period).unwrap()) else {
        assert_eq!((period, expanded.len()), (240, 240));
        return;
    };
    assert_eq!(hex::encode(found.octets()), *identifier, "{}", vector.id);
    let unix = day.unix() + period * Period::SECONDS;
    assert_eq!(phone().contact_identifier(unix).unwrap(), *found, "{}", vector.id);
    assert_eq!(simple::identifier(key, Period::of_unix(unix)), *found, "{}", vector.id);
}

#[test]
fn the_whole_reference_tables_have_the_published_digests() {
    each("simple-digest-", 2, |vector| {
        let table = match vector.id.as_str() {
            "simple-digest-contact" => (0..=10).flat_map(contact_table).collect(),
            "simple-digest-matching" => matching_table(),
            other => panic!("no test knows {other}"),
        };
        assert_eq!(table.len() as u64, vector.expected["length"], "{}", vector.id);
        assert_eq!(hex::encode(Sha256::digest(&table)), vector.expected["sha256"], "{}", vector.id);
    });
}

fn contact_table(day: u16) -> Vec<u8> {
    let key = phone().matching_key(EPOCH.plus(day)).unwrap();
    let mut identifiers: Vec<_> =
        Chain::from(key.octets()).take(241).map(|(_, key)| key[..16].to_vec()).collect();
    identifiers.reverse();
    identifiers.concat()
}

fn matching_table() -> Vec<u8> {
    Chain::from(&zero_secret()).take(2001).flat_map(|(_, key)| *key).collect()
}

#[test]
fn the_root_is_the_hash_of_the_secret() {
    each("simple-hash-secret", 1, |vector| {
        let (seed, _) = Chain::from(&zero_secret()).link(0);
        assert_eq!(hex::encode(*seed), vector.expected["sha256"]);
    });
}

#[test]
fn times_fall_on_their_days_and_periods() {
    each("simple-dayperiod-", 9, |vector| {
        let day = Day::of_unix(vector.unix()).number() - EPOCH.number();
        assert_eq!(day, vector.expected["day"], "{}", vector.id);
        assert_eq!(Period::of_unix(vector.unix()).number(), vector.expected["period"], "{}", vector.id);
        assert!(phone().contact_identifier(vector.unix()).is_ok(), "{}", vector.id);
    });
}

#[test]
fn times_outside_of_the_chain_are_errors_and_never_zeros() {
    each("simple-edge-", 3, |vector| {
        let refused = phone().contact_identifier(vector.unix()).unwrap_err();
        match vector.expected["ours"].as_str().unwrap() {
            "error: before epoch" => {
                assert!(matches!(refused, ScheduleError::BeforeEpoch { .. }), "{refused}");
            }
            "error: chain exhausted" => {
                assert!(matches!(refused, ScheduleError::ChainExhausted { .. }), "{refused}");
            }
            other => panic!("no test knows {other}"),
        }
    });
}

#[test]
fn simple_frames_have_the_published_octets() {
    let canonical = hex::decode("10033a0001e2cfbeb32de932c9171c658b5f57a337").unwrap();
    let identifier = phone().contact_identifier(EPOCH.unix()).unwrap();
    each("simple-frame-", 3, |vector| {
        assert_eq!(hex::encode(identifier.octets()), vector.inputs["contact_identifier"], "{}", vector.id);
        let octets = vector.expected_hex();
        assert_eq!(octets.len() as u64, vector.expected["length"], "{}", vector.id);
        match vector.id.as_str() {
            "simple-frame-be" => {
                let built = simple::advert(vector.authority(), &identifier, ExtendedData::default());
                assert_eq!(built.as_ref(), Ok(&octets));
                assert_eq!(octets, canonical);
                assert_eq!(split(&Frame::parse(&octets).unwrap()).unwrap().token, identifier.octets());
            }
            "simple-frame-le" => {
                assert_eq!(reference::from_little_endian(&octets), Ok(canonical.clone()));
                let as_it_is = Frame::parse(&octets).unwrap().header;
                assert_eq!(as_it_is.looks_byte_swapped().map(CountryCode::number), Some(826));
            }
            "simple-frame-cpp" => {
                let refused = SourceProfile::CppLibrary.frame(octets).unwrap_err().to_string();
                assert!(refused.contains("C++ library"), "{refused}");
            }
            other => panic!("no test knows {other}"),
        }
    });
}

#[test]
fn beacon_frames_have_the_published_octets() {
    each("beacon-", 3, |vector| match vector.id.as_str() {
        "beacon-be" => check_beacon(vector, "code", &[]),
        "beacon-doc-example" => {
            check_beacon(vector, "location", &sections(vector));
            assert_eq!(vector.expected_hex().len() as u64, vector.expected["length"]);
        }
        "beacon-ios-le" => {
            let converted = reference::from_little_endian(&vector.expected_hex()).unwrap();
            let location = u32::try_from(vector.number("code")).unwrap();
            assert_eq!(venue::beacon(vector.authority(), location, ExtendedData::default()), Ok(converted));
        }
        other => panic!("no test knows {other}"),
    });
}

fn sections(vector: &Vector) -> Vec<u8> {
    let mut extended = Vec::new();
    for section in vector.inputs["sections"].as_array().unwrap() {
        let code = u8::from_str_radix(section[0].as_str().unwrap(), 16).unwrap();
        put_section(&mut extended, code, section[1].as_str().unwrap().as_bytes()).unwrap();
    }
    extended
}

fn check_beacon(vector: &Vector, field: &str, extended: &[u8]) {
    let location = u32::try_from(vector.number(field)).unwrap();
    let extended = ExtendedData::parse(extended).unwrap();
    let octets = venue::beacon(vector.authority(), location, extended).unwrap();
    assert_eq!(octets, vector.expected_hex(), "{}", vector.id);
    let frame = Frame::parse(&octets).unwrap();
    assert_eq!(venue::parse(frame.body).unwrap(), (&location.to_be_bytes()[..], extended));
    let parts = split(&frame).unwrap();
    assert_eq!(
        (parts.token, parts.extended),
        (&location.to_be_bytes()[..], Vec::new()),
        "names stay at home"
    );
}

#[test]
fn bluetrace_frames_have_the_published_octets() {
    each("bluetrace-", 3, |vector| {
        let octets = vector.expected_hex();
        let frame = Frame::parse(&octets).unwrap();
        assert_eq!(frame.header.authority(), vector.authority());
        assert_eq!(u16::from_be_bytes([frame.body[0], frame.body[1]]), vector.expected["inner_length"]);
        let parts = split(&frame).unwrap();
        match vector.id.as_str() {
            "bluetrace-90" => {
                let text = vector.inputs["base64"].as_str().unwrap();
                let built = bluetrace::text_frame(vector.authority(), text, ExtendedData::default());
                assert_eq!(built.as_ref(), Ok(&octets));
                assert_eq!((parts.token, parts.extended), (text.as_bytes(), Vec::new()));
            }
            "bluetrace-91-u8" | "bluetrace-91-u16" => {
                assert_eq!(octets.len() as u64, vector.expected["total"], "{}", vector.id);
                assert_eq!(
                    (parts.token, &parts.extended[..]),
                    (&b"AB123456"[..], &b"\x40\x01\xc8\x41\x01\x0c"[..])
                );
                check_binary(vector, &octets);
            }
            other => panic!("no test knows {other}"),
        }
    });
}

/// We build the form with one octet of transmit power; the other reads as the same.
fn check_binary(vector: &Vector, octets: &[u8]) {
    let frame = Frame::parse(octets).unwrap();
    let identity = bluetrace::parse_binary(frame.body).unwrap();
    let extended = identity.extended().unwrap();
    assert_eq!(extended.value(0x42), Some(vector.inputs["model"].as_str().unwrap().as_bytes()));
    let built = bluetrace::binary_frame(vector.authority(), identity.id, extended).unwrap();
    assert_eq!(built == octets, vector.id == "bluetrace-91-u8");
    assert_eq!(bluetrace::parse_binary(Frame::parse(&built).unwrap().body), Ok(identity));
}
