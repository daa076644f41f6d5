use proptest::prelude::*;

use super::*;
use crate::extended::{ExtendedData, Recipient};
use crate::ids::{Authority, CountryCode, StateCode};

fn encoded(report: &Report<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    report.encode(&mut out);
    assert_eq!(out.len(), report.encoded_len());
    out
}

fn header(text: &str) -> EnvelopeHeader {
    EnvelopeHeader::parse(&hex::decode(text).unwrap()).unwrap()
}

pub(super) fn contact<'a>(token: &'a [u8], extended: &'a [u8]) -> Contact<'a> {
    Contact {
        token: Token::new(header("10033a0001"), token).unwrap(),
        day: "2026-11-20".parse().unwrap(),
        start: Some(QuarterHour::new(41).unwrap()),
        duration: Minutes::new("duration", 12).unwrap(),
        proximity: [0, 12, 0, 0].map(|minutes| Minutes::new("proximity", minutes).unwrap()),
        risk: Risk { kind: 1, score: Some(Score::new(60).unwrap()), mechanism: 1 },
        extended: ExtendedData::parse(extended).unwrap().leaving(Recipient::Issuer).unwrap(),
    }
}

pub(super) fn diagnosis_key(key: IllKey) -> DiagnosisKey {
    DiagnosisKey {
        destination: (CountryCode::new(250).unwrap(), StateCode::NATIONAL),
        issuer: "826/1".parse().unwrap(),
        key,
        report_type: ReportType::ConfirmedTest,
        onset: Some(OnsetDays::new(-2).unwrap()),
        transmission_risk: TransmissionRisk::new(8).unwrap(),
    }
}

pub(super) fn simple_key() -> IllKey {
    IllKey::Simple(SimpleKey::new([7; 32]).unwrap(), "2026-11-20".parse().unwrap())
}

pub(super) fn gaen_key() -> IllKey {
    IllKey::Gaen(GaenKey::new([9; 16]).unwrap(), RollingWindow::new(2_992_000, 100).unwrap())
}

/// Kind and version 2, then these fields; the offsets of the alterations below.
const CONTACT: &str = concat!(
    "0101",
    "10033a0001",
    "5129",
    "29",
    "000c",
    "0000000c00000000",
    "01",
    "003c",
    "0001",
    "0010",
    "e2cfbeb32de932c9171c658b5f57a337",
    "0006",
    "4001c8",
    "41010c"
);
const SIMPLE_KEY: &str = concat!(
    "0201",
    "1000fa0000",
    "00033a0001",
    "01",
    "0707070707070707070707070707070707070707070707070707070707070707",
    "002da710",
    "90",
    "01",
    "fe",
    "08"
);

fn octets(hex: &str) -> Vec<u8> {
    hex::decode(hex).unwrap()
}

#[test]
fn the_octets_are_those_of_the_page() {
    let token = octets("e2cfbeb32de932c9171c658b5f57a337");
    let report = Report::Contact(contact(&token, &[0x40, 1, 0xc8, 0x41, 1, 12]));
    assert_eq!(hex::encode(encoded(&report)), CONTACT);
    assert_eq!(Report::decode(&octets(CONTACT)), Ok(report));
    let key = Report::DiagnosisKey(diagnosis_key(simple_key()));
    assert_eq!(hex::encode(encoded(&key)), SIMPLE_KEY);
    assert_eq!(Report::decode(&octets(SIMPLE_KEY)), Ok(key));
}

#[test]
fn every_field_out_of_its_range_is_refused_by_its_name() {
    for (hex, at, put, says) in [
        (CONTACT, 0, &[0][..], "report kind is 0"),
        (CONTACT, 0, &[3], "report kind is 3"),
        (CONTACT, 1, &[2], "report has version 2; this software reads version 1"),
        (CONTACT, 2, &[0x18], "payload code 0x18"),
        (CONTACT, 3, &[0, 0], "country is 0"),
        (CONTACT, 9, &[96], "start is 96"),
        (CONTACT, 10, &[1, 0x69], "duration is 361"),
        (CONTACT, 12, &[1, 0x69], "proximity is 361"),
        (CONTACT, 18, &[0xff, 0xff], "proximity is 65535"),
        (CONTACT, 25, &[0, 15], "token is 15 octets long"),
        (CONTACT, 27, &[0; 16], "contact identifier is all zeros"),
        (CONTACT, 43, &[0, 5], "extended data section 0x41: its length"),
        (CONTACT, 43, &[0, 7], "report is truncated: 1 more"),
        (CONTACT, 45, &[0x80], "section 0x80 (application's own) may not leave a country"),
        (SIMPLE_KEY, 2, &[0x80], "a Simple key goes with payload code 0x10"),
        (SIMPLE_KEY, 2, &[0x00], "a Simple key goes with payload code 0x10"),
        (SIMPLE_KEY, 7, &[2], "authority kind is 2"),
        (SIMPLE_KEY, 8, &[0, 0], "country is 0"),
        (SIMPLE_KEY, 12, &[3], "key family is 3"),
        (SIMPLE_KEY, 13, &[0; 32], "key is all zeros"),
        (SIMPLE_KEY, 45, &[0, 0x2d, 0xa7, 0x11], "a multiple of 144"),
        (SIMPLE_KEY, 45, &[0, 0x90, 0, 0], "rolling start is 9437184"),
        (SIMPLE_KEY, 49, &[143], "a rolling period of 144"),
        (SIMPLE_KEY, 49, &[0], "rolling period is 0"),
        (SIMPLE_KEY, 49, &[145], "rolling period is 145"),
        (SIMPLE_KEY, 50, &[6], "report type is 6"),
        (SIMPLE_KEY, 51, &[22], "days since onset is 22"),
        (SIMPLE_KEY, 51, &[0xf1], "days since onset is -15"),
        (SIMPLE_KEY, 52, &[9], "transmission risk level is 9"),
    ] {
        let mut altered = octets(hex);
        altered[at..at + put.len()].copy_from_slice(put);
        let refused = Report::decode(&altered).unwrap_err().to_string();
        assert!(refused.contains(says), "octet {at}: {refused}");
    }
}

#[test]
fn each_section_that_may_not_leave_makes_a_report_forbidden() {
    let token = [1; 16];
    let plain = encoded(&Report::Contact(contact(&token, &[])));
    for section in [
        &b"\x00\x01\x01"[..],
        b"\x05\x03S41",
        b"\x06\x04\0\0\0\0",
        b"\x10\x01p",
        b"\x13\x09https://a",
        b"\x14\x01a",
        b"\x15\x03ble",
        b"\x17\x011",
        b"\x18\x04\0\0\0\0",
        b"\x20\x04\0\0\0\0",
        b"\x21\x04\0\0\0\0",
        b"\x3e\x01\x01",
        b"\x42\x01m",
        b"\x22\x01\0",
        b"\x43\x01\0",
        b"\x80\x01\0",
        b"\xfe\x01\0",
    ] {
        let mut carrying = plain[..plain.len() - 2].to_vec();
        crate::octets::put_framed(&mut carrying, section);
        let code = format!("{:#04x}", section[0]);
        let refused = Report::decode(&carrying);
        assert!(
            matches!(&refused, Err(Malformed::Forbidden { field }) if field.contains(&code)),
            "{refused:?}"
        );
    }
}

#[test]
fn every_prefix_and_every_tail_is_refused() {
    for hex in [CONTACT, SIMPLE_KEY] {
        let whole = octets(hex);
        for len in 0..whole.len() {
            assert!(matches!(Report::decode(&whole[..len]), Err(Malformed::Truncated { .. })), "{len}");
        }
        let longer = [whole.as_slice(), &[0]].concat();
        assert_eq!(Report::decode(&longer), Err(Malformed::Trailing { what: "report", extra: 1 }));
    }
    assert!(matches!(Report::decode(&[1; 2049]), Err(Malformed::Bounds { is: 2049, .. })));
}

#[test]
fn the_longest_report_fits_its_limit() {
    let extended = [&[0x01, 1, 0, 0x02, 1, 0, 0x40, 1, 0, 0x41, 1, 0, 0x3f, 255][..], &[7; 255]].concat();
    let token = [7; 505];
    let longest =
        Contact { token: Token::new(header("00000000ff"), &token).unwrap(), ..contact(&[1; 16], &extended) };
    assert!(encoded(&Report::Contact(longest)).len() <= limits::REPORT_LEN);
}

#[test]
fn the_header_is_the_issuers_for_a_contact_and_the_destination_for_a_key() {
    let token = [1; 16];
    assert_eq!(Report::Contact(contact(&token, &[])).header(), header("10033a0001"));
    assert_eq!(Report::DiagnosisKey(diagnosis_key(simple_key())).header(), header("1000fa0000"));
    assert_eq!(Report::DiagnosisKey(diagnosis_key(gaen_key())).header(), header("8000fa0000"));
}

#[test]
fn a_report_is_taken_from_15_days_ago_to_tomorrow() {
    let token = [1; 16];
    let report = Report::Contact(contact(&token, &[]));
    let day = report.day();
    assert_eq!(report.check_age(day.plus(15)), Ok(()));
    assert_eq!(report.check_age(day.plus(16)), Err(DateOut::TooOld));
    assert_eq!(report.check_age(day.minus(1)), Ok(()));
    assert_eq!(report.check_age(day.minus(2)), Err(DateOut::FromTheFuture));
    let key = Report::DiagnosisKey(diagnosis_key(gaen_key()));
    assert_eq!(key.day().number(), 20_777);
}

#[test]
fn neither_token_nor_key_nor_signal_is_printed() {
    let report = Report::Contact(contact(&[0x5a; 16], &[0x40, 1, 0x5a]));
    let shown = format!("{report:?}");
    assert!(shown.contains("token: 16 octets") && shown.contains("extended data: 3 octets"), "{shown}");
    assert!(!shown.contains("90") && !shown.contains("5a"), "{shown}");
    for (key, len) in [(simple_key(), 32), (gaen_key(), 16)] {
        let shown = format!("{:?}", Report::DiagnosisKey(diagnosis_key(key)));
        assert!(
            shown.contains(&format!("key: {len} octets")) && !shown.contains("[7") && !shown.contains("[9")
        );
    }
}

proptest! {
    #[test]
    fn a_contact_reads_back(report in contacts()) {
        let octets = report.encoded();
        let read = Report::decode(&octets).unwrap();
        prop_assert_eq!(read, report.report());
        prop_assert_eq!(encoded(&read), octets);
    }

    #[test]
    fn a_diagnosis_key_reads_back(key in diagnosis_keys()) {
        let octets = encoded(&Report::DiagnosisKey(key));
        prop_assert_eq!(Report::decode(&octets), Ok(Report::DiagnosisKey(key)));
    }

    #[test]
    fn an_altered_report_is_refused_or_is_another_report(report in contacts(), key in diagnosis_keys(), by in 1..=255_u8) {
        for octets in [report.encoded(), encoded(&Report::DiagnosisKey(key))] {
            for at in 0..octets.len() {
                let mut altered = octets.clone();
                altered[at] ^= by;
                if let Ok(other) = Report::decode(&altered) {
                    prop_assert_eq!(encoded(&other), altered);
                }
            }
        }
    }

    #[test]
    fn any_octets_are_decoded_or_refused(octets in prop::collection::vec(any::<u8>(), 0..300), kind in 1..=2_u8) {
        let octets = [&[kind, 1][..], &octets].concat();
        if let Ok(report) = Report::decode(&octets) {
            prop_assert_eq!(encoded(&report), octets);
        }
    }
}

/// A contact that owns its octets.
#[derive(Debug)]
pub(super) struct OwnedContact {
    header: EnvelopeHeader,
    token: Vec<u8>,
    extended: Vec<u8>,
    numbers: (u16, Option<u8>, u16, [u16; 4], u8, Option<u16>, u16),
}

impl OwnedContact {
    pub(super) fn report(&self) -> Report<'_> {
        let (day, start, duration, proximity, kind, score, mechanism) = self.numbers;
        Report::Contact(Contact {
            token: Token::new(self.header, &self.token).unwrap(),
            day: Day::new(day),
            start: start.map(|start| QuarterHour::new(start).unwrap()),
            duration: Minutes::new("duration", duration).unwrap(),
            proximity: proximity.map(|minutes| Minutes::new("proximity", minutes).unwrap()),
            risk: Risk { kind, score: score.map(|score| Score::new(score).unwrap()), mechanism },
            extended: ExtendedData::parse(&self.extended).unwrap().leaving(Recipient::Issuer).unwrap(),
        })
    }

    fn encoded(&self) -> Vec<u8> {
        encoded(&self.report())
    }
}

pub(super) fn contacts() -> impl Strategy<Value = OwnedContact> {
    let codes_and_lengths = prop_oneof![
        (0..=15_u8, 1..=505_usize),
        Just((0x10, 16)),
        Just((0x20, 151)),
        (Just(0x30), 4..=5_usize),
        (Just(0x80), 16..=20_usize),
        (Just(0x91), 1..=503_usize),
        Just((0xa0, 28)),
    ];
    let token =
        codes_and_lengths.prop_flat_map(|(code, len)| (Just(code), prop::collection::vec(1..=255_u8, len)));
    let numbers = (
        any::<u16>(),
        prop::option::of(0..96_u8),
        0..=360_u16,
        prop::array::uniform4(0..=360_u16),
        any::<u8>(),
        prop::option::of(0..u16::MAX),
        any::<u16>(),
    );
    (token, 1..=65_535_u16, any::<u16>(), sections(), numbers).prop_map(
        |((code, token), country, state, extended, numbers)| {
            let mut octets = vec![code];
            octets.extend_from_slice(&country.to_be_bytes());
            octets.extend_from_slice(&state.to_be_bytes());
            OwnedContact { header: EnvelopeHeader::parse(&octets).unwrap(), token, extended, numbers }
        },
    )
}

fn sections() -> impl Strategy<Value = Vec<u8>> {
    let section = prop_oneof![
        (prop::sample::select(vec![0x01, 0x02, 0x40, 0x41]), prop::collection::vec(any::<u8>(), 1)),
        (Just(0x3f), prop::collection::vec(any::<u8>(), 1..256)),
    ];
    prop::collection::btree_map(section.clone().prop_map(|(code, _)| code), section, 0..5).prop_map(
        |sections| {
            let mut out = Vec::new();
            let by_code: std::collections::BTreeMap<u8, Vec<u8>> = sections.into_values().collect();
            for (code, value) in by_code {
                crate::extended::put_section(&mut out, code, &value).unwrap();
            }
            out
        },
    )
}

pub(super) fn diagnosis_keys() -> impl Strategy<Value = DiagnosisKey> {
    let simple = (prop::array::uniform32(1..=255_u8), any::<u16>())
        .prop_map(|(key, day)| IllKey::Simple(SimpleKey::new(key).unwrap(), Day::new(day)));
    let gaen = (prop::array::uniform16(1..=255_u8), 0..=9_437_183_u32, 1..=144_u8).prop_map(
        |(key, start, period)| {
            IllKey::Gaen(GaenKey::new(key).unwrap(), RollingWindow::new(start, period).unwrap())
        },
    );
    let rest = (0..=5_u8, prop::option::of(-14..=21_i8), 0..=8_u8, any::<u32>());
    (prop_oneof![simple, gaen], 1..=65_535_u16, any::<u16>(), rest).prop_map(|(key, country, state, rest)| {
        let (report_type, onset, level, opaque) = rest;
        DiagnosisKey {
            destination: (CountryCode::new(country).unwrap(), StateCode::new(state)),
            issuer: Authority::Opaque(opaque),
            key,
            report_type: ReportType::from_number(report_type).unwrap(),
            onset: onset.map(|days| OnsetDays::new(days).unwrap()),
            transmission_risk: TransmissionRisk::new(level).unwrap(),
        }
    })
}
