//! An upload reads back, and nothing else is one.

use proptest::prelude::*;
use proto::report::{GaenKey, RollingWindow, SimpleKey};

use super::*;

const TOKEN: [u8; 16] = [7; 16];

fn contact() -> UploadedContact<'static> {
    let header = EnvelopeHeader::new(0x10, "250/0".parse().unwrap()).unwrap();
    UploadedContact {
        token: Token::new(header, &TOKEN).unwrap(),
        day: Day::new(20_781),
        start: QuarterHour::new(41).ok(),
        duration: Minutes::capped(20),
        proximity: [2, 12, 6, 0].map(Minutes::capped),
        readings: Readings { rssi: Half::nearest(-55.0), power: None },
        model: ModelHash::new([9; 8]),
        extended: ExtendedData::parse(&[0x40, 1, 0xc8]).unwrap(),
    }
}

fn key(visited: &[u16]) -> UploadedKey {
    UploadedKey {
        key: IllKey::Simple(SimpleKey::new([5; 32]).unwrap(), Day::new(20_780)),
        report_type: ReportType::ConfirmedTest,
        onset: OnsetDays::new(-2).ok(),
        transmission_risk: TransmissionRisk::new(3).unwrap(),
        visited: visited.iter().map(|code| CountryCode::new(*code).unwrap()).collect(),
    }
}

fn upload(contacts: usize) -> Upload<'static> {
    Upload {
        client: ClientId::new([1; 16]),
        contacts: vec![contact(); contacts],
        keys: vec![key(&[826, 250])],
    }
}

#[test]
fn an_upload_has_one_size_and_the_documented_octets() {
    let octets = upload(1).octets().unwrap();
    assert_eq!(octets.len(), SIZE);
    let used = octets.iter().rposition(|octet| *octet != 0).unwrap() + 1;
    let text = hex::encode(&octets[..used]);
    let readme = include_str!("../../README.md");
    let documented: String = readme
        .split("```hex upload\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap()
        .lines()
        .flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace())
        .collect();
    assert_eq!(text, documented);
}

#[test]
fn an_upload_reads_back() {
    let mut written = upload(3);
    let window = RollingWindow::new(20_780 * 144 + 6, 100).unwrap();
    written.keys.push(UploadedKey { key: IllKey::Gaen(GaenKey::new([6; 16]).unwrap(), window), ..key(&[]) });
    let octets = written.octets().unwrap();
    let read = Upload::parse(&octets).unwrap();
    assert!(read.client == written.client && read.contacts == written.contacts && read.keys == written.keys);
}

#[test]
fn one_size_is_the_only_size_and_padding_is_zeros() {
    let octets = upload(1).octets().unwrap();
    let refusal = |octets: &[u8]| Upload::parse(octets).err().unwrap();
    assert_eq!(refusal(&octets[..SIZE - 1]), UploadError::Size { is: SIZE - 1 });
    assert_eq!(refusal(&[&octets[..], &[0]].concat()), UploadError::Size { is: SIZE + 1 });
    let mut other = octets.clone();
    other[SIZE - 1] = 1;
    assert!(refusal(&other).to_string().contains("padding"));
}

#[test]
fn five_thousand_contacts_fit_and_one_more_is_too_many() {
    let header = EnvelopeHeader::new(0x20, "250/0".parse().unwrap()).unwrap();
    let token = [7; 151];
    let secured = UploadedContact { token: Token::new(header, &token).unwrap(), ..contact() };
    let with = |contacts| Upload { contacts: vec![secured.clone(); contacts], ..upload(0) };
    let octets = with(MOST_CONTACTS).octets().expect("the most contacts of the longest common kind fit");
    assert_eq!(Upload::parse(&octets).unwrap().contacts.len(), MOST_CONTACTS);
    assert!(with(MOST_CONTACTS + 1).octets().is_none());
    let mut many = octets.clone();
    many[17..19].copy_from_slice(&5_001_u16.to_be_bytes());
    let refused = Upload::parse(&many).err().unwrap();
    assert_eq!(refused, UploadError::TooMany { what: "contacts", most: 5_000 });
    assert_eq!(refused.to_string(), "an upload has at most 5000 contacts");
    let keys = Upload { keys: vec![key(&[]); MOST_KEYS + 1], ..upload(0) };
    assert!(keys.octets().is_none());
}

#[test]
fn a_wrong_field_is_named_with_its_place() {
    let octets = upload(2).octets().unwrap();
    let contact_len = usize::from(u16::from_be_bytes([octets[19], octets[20]]));
    let second = 19 + 2 + contact_len + 2;
    for (at, value, says) in [
        (0, 2, "upload: "),
        (second, 0x18, "contact 2: payload code"),
        (second + 7, 96, "contact 2: start"),
        (second + 8, 0xff, "contact 2: duration"),
        // 20 minutes, of which 15 instead of 12 are said to be at 1-2 m.
        (second + 13, 15, "contact 2: proximity: its minutes are more than"),
    ] {
        let mut altered = octets.clone();
        altered[at] = value;
        let refused = Upload::parse(&altered).err().unwrap().to_string();
        assert!(refused.starts_with(says), "{refused}");
    }
}

/// Header and token, day, start, minutes by distance, readings, and an RSSI in extended data.
type Met = (usize, u16, Option<u8>, [u16; 4], (Option<f64>, Option<f64>), Option<i8>);

fn met() -> impl Strategy<Value = Met> {
    let reading = || prop::option::of(-65_504.0..65_504.0_f64);
    let minutes = [0..=90_u16, 0..=90, 0..=90, 0..=90];
    let readings = (reading(), reading());
    (0..3_usize, any::<u16>(), prop::option::of(0..=95_u8), minutes, readings, prop::option::of(any::<i8>()))
}

/// Whose keys, days, report type, days since onset, transmission risk, and countries.
type Own = (bool, u16, u8, Option<i8>, u8, Vec<u16>);

fn own() -> impl Strategy<Value = Own> {
    let onset = prop::option::of(-14..=14_i8);
    (any::<bool>(), any::<u16>(), 1..=3_u8, onset, 0..=8_u8, prop::collection::vec(1..=999_u16, 0..6))
}

fn own_key((simple, day, report_type, onset, risk, visited): &Own) -> UploadedKey {
    let key = if *simple {
        IllKey::Simple(SimpleKey::new([5; 32]).unwrap(), Day::new(*day))
    } else {
        let window = RollingWindow::new(u32::from(*day) * 144, 144).unwrap();
        IllKey::Gaen(GaenKey::new([6; 16]).unwrap(), window)
    };
    UploadedKey {
        key,
        report_type: ReportType::from_number(*report_type).unwrap(),
        onset: onset.map(|days| OnsetDays::new(days).unwrap()),
        transmission_risk: TransmissionRisk::new(*risk).unwrap(),
        visited: visited.iter().map(|code| CountryCode::new(*code).unwrap()).collect(),
    }
}

proptest! {
    // Each case writes and reads a mebibyte.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_upload_reads_back_and_altered_it_is_refused_or_another_one(
        contacts in prop::collection::vec(met(), 0..12),
        keys in prop::collection::vec(own(), 0..4),
        (at, by) in (any::<prop::sample::Index>(), 1..=255_u8),
    ) {
        let tokens = [(0x10, vec![7; 16]), (0x20, vec![8; 151]), (0x30, vec![0, 0, 0, 9])];
        let extended: Vec<_> =
            contacts.iter().map(|met| met.5.map_or(Vec::new(), |rssi| [&[0x40, 1][..], &rssi.to_be_bytes()].concat())).collect();
        let contacts = contacts.iter().zip(&extended).map(|((kind, day, start, minutes, readings, _), extended)| {
            let (code, token) = &tokens[*kind];
            let header = EnvelopeHeader::new(*code, "250/0".parse().unwrap()).unwrap();
            let half = |reading: Option<f64>| reading.and_then(Half::nearest);
            UploadedContact {
                token: Token::new(header, token).unwrap(),
                day: Day::new(*day),
                start: start.map(|start| QuarterHour::new(start).unwrap()),
                duration: Minutes::capped(minutes.iter().copied().map(u64::from).sum()),
                proximity: minutes.map(|minutes| Minutes::capped(minutes.into())),
                readings: Readings { rssi: half(readings.0), power: half(readings.1) },
                model: ModelHash::new([9; 8]),
                extended: ExtendedData::parse(extended).unwrap(),
            }
        });
        let keys = keys.iter().map(own_key).collect();
        let written = Upload { client: ClientId::new([1; 16]), contacts: contacts.collect(), keys };
        let mut octets = written.octets().unwrap();
        let read = Upload::parse(&octets).unwrap();
        prop_assert!(read.client == written.client && read.contacts == written.contacts);
        prop_assert_eq!(&read.keys, &written.keys);

        let used = octets.iter().rposition(|octet| *octet != 0).unwrap() + 1;
        octets[at.index(used)] ^= by;
        if let Ok(other) = Upload::parse(&octets) {
            prop_assert_eq!(&other.octets().unwrap()[..], &octets[..]);
        }
    }

    #[test]
    fn any_contacts_are_an_upload_or_refused(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..4),
    ) {
        let mut octets = vec![VERSION];
        octets.extend_from_slice(&[1; 16]);
        octets.extend_from_slice(&u16::try_from(parts.len()).unwrap().to_be_bytes());
        for part in parts {
            octets.extend_from_slice(&u16::try_from(part.len()).unwrap().to_be_bytes());
            octets.extend_from_slice(&part);
        }
        octets.resize(SIZE, 0);
        if let Ok(upload) = Upload::parse(&octets) {
            prop_assert_eq!(&upload.octets().unwrap()[..], &octets[..]);
        }
    }
}
