//! What leaves, and what stays.

use pki::fixture::Federation;
use proto::header::EnvelopeHeader;
use proto::report::{IllKey, Minutes, QuarterHour, ReportType, SimpleKey, Token, TransmissionRisk};

use super::super::upload::{UploadedContact, UploadedKey};
use super::*;
use crate::herald::secured::ModelHash;
use crate::herald::secured::block::Readings;
use crate::herald::secured::client_id::ClientId;

const TODAY: Day = Day::new(20_781);

fn contact<'a>(issuer: &str, token: &'a [u8; 16], extended: &'a [u8]) -> UploadedContact<'a> {
    let header = EnvelopeHeader::new(0x10, issuer.parse().unwrap()).unwrap();
    UploadedContact {
        token: Token::new(header, token).unwrap(),
        day: TODAY,
        start: QuarterHour::new(41).ok(),
        duration: Minutes::capped(20),
        proximity: [2, 12, 6, 0].map(Minutes::capped),
        readings: Readings { rssi: Half::nearest(-55.4), power: Half::nearest(12.0) },
        model: ModelHash::new(*b"CANARYmh"),
        extended: ExtendedData::parse(extended).unwrap(),
    }
}

fn upload(contacts: Vec<UploadedContact<'_>>) -> Upload<'_> {
    Upload { client: ClientId::new(*b"CANARYclientidxx"), contacts, keys: vec![] }
}

fn own() -> Authority {
    "826/0".parse().unwrap()
}

fn trust() -> TrustList {
    Federation::of(&["826/0", "826/1", "250/0", "36/2"]).trust_list()
}

#[test]
fn a_report_has_readings_and_coarse_times_and_nothing_that_names_anybody() {
    let extended = b"\x01\x01\x00\x05\x06CANARY\x10\x06CANARY\x42\x06CANARY\x3e\x06CANARY";
    let upload = upload(vec![contact("250/0", &[7; 16], extended)]);
    let trust = trust();
    let parted = Parted::new(&upload, (own(), &trust), TODAY).unwrap();
    let mut octets = Vec::new();
    parted.foreign[0].report().encode(&mut octets);
    assert!(!octets.windows(6).any(|window| window == b"CANARY"));
    let Report::Contact(report) = parted.foreign[0].report() else { panic!("a contact") };
    assert_eq!(report.extended.octets(), b"\x01\x01\x00\x40\x01\xc9\x41\x01\x0c");
    assert_eq!((report.day, report.duration, report.risk), (TODAY, Minutes::capped(20), Risk::default()));
}

#[test]
fn a_reading_that_the_phone_reported_itself_is_not_said_twice() {
    let upload = upload(vec![contact("250/0", &[7; 16], b"\x40\x01\xc8")]);
    let trust = trust();
    let parted = Parted::new(&upload, (own(), &trust), TODAY).unwrap();
    let Report::Contact(report) = parted.foreign[0].report() else { panic!("a contact") };
    assert_eq!(report.extended.octets(), b"\x40\x01\xc8\x41\x01\x0c");
}

#[test]
fn what_is_closed_for_the_issuer_goes_to_nobody_who_stands_in_for_it() {
    let closed = b"\x3f\x01\x07";
    let upload =
        upload(["250/0", "250/7", "826/0", "826/7"].map(|issuer| contact(issuer, &[7; 16], closed)).into());
    let trust = trust();
    let parted = Parted::new(&upload, (own(), &trust), TODAY).unwrap();
    let goes = |part: &[Stripped<'_>]| -> Vec<_> {
        let octets = |contact: &Stripped<'_>| match contact.report() {
            Report::Contact(report) => report.extended.octets().starts_with(closed),
            Report::DiagnosisKey(_) => panic!("a contact"),
        };
        part.iter().map(octets).collect()
    };
    assert_eq!((goes(&parted.foreign), goes(&parted.domestic)), (vec![true, false], vec![true, false]));
}

#[test]
fn contacts_are_parted_as_the_gateway_routes_and_the_same_one_counts_once() {
    let (issuers, trust) = (["826/0", "250/0", "826/7", "36/2", "250/0", "826/1"], trust());
    let upload = upload(issuers.iter().map(|issuer| contact(issuer, &[7; 16], b"")).collect());
    let parted = |own: &str| {
        let parted = Parted::new(&upload, (own.parse().unwrap(), &trust), TODAY).unwrap();
        let issuers = |part: &[Stripped<'_>]| {
            part.iter().map(|contact| contact.report().header().authority().to_string()).collect::<Vec<_>>()
        };
        (issuers(&parted.domestic), issuers(&parted.foreign))
    };
    let (domestic, foreign) = parted("826/0");
    assert_eq!(domestic, ["826/0", "826/7"], "a state without an authority is the national one's");
    assert_eq!(foreign, ["250/0", "36/2", "826/1"], "a state with an authority is not");
    let (domestic, foreign) = parted("826/1");
    assert_eq!((domestic.as_slice(), foreign.len()), (&["826/1".to_owned()][..], 4));
}

#[test]
fn a_contact_out_of_time_is_named_with_its_place() {
    let (trust, upload) =
        (trust(), upload(vec![contact("250/0", &[6; 16], b""), contact("250/0", &[7; 16], b"")]));
    for (today, expected) in [
        (TODAY.plus(15), None),
        (TODAY.plus(16), Some(OutOfTime { place: Place::Contact(1), out: DateOut::TooOld })),
        (TODAY.minus(1), None),
        (TODAY.minus(2), Some(OutOfTime { place: Place::Contact(1), out: DateOut::FromTheFuture })),
    ] {
        assert_eq!(Parted::new(&upload, (own(), &trust), today).err(), expected);
    }
}

#[test]
fn a_key_out_of_time_is_named_with_its_place() {
    let (trust, mut upload) = (trust(), upload(vec![contact("250/0", &[7; 16], b"")]));
    let key = |day| UploadedKey {
        key: IllKey::Simple(SimpleKey::new([1; 32]).unwrap(), day),
        report_type: ReportType::ConfirmedTest,
        onset: None,
        transmission_risk: TransmissionRisk::default(),
        visited: vec![],
    };
    for (day, expected) in [
        (TODAY.minus(15), None),
        (TODAY.minus(16), Some(OutOfTime { place: Place::Key(2), out: DateOut::TooOld })),
        (TODAY.plus(1), None),
        (TODAY.plus(2), Some(OutOfTime { place: Place::Key(2), out: DateOut::FromTheFuture })),
    ] {
        upload.keys = vec![key(TODAY), key(day)];
        assert_eq!(Parted::new(&upload, (own(), &trust), TODAY).err(), expected);
    }
}
