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

proptest! {
    #[test]
    fn any_beginning_is_an_upload_or_refused(start in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut octets = vec![0; SIZE];
        octets[..start.len()].copy_from_slice(&start);
        if let Ok(upload) = Upload::parse(&octets) {
            prop_assert_eq!(&upload.octets().unwrap()[..], &octets[..]);
        }
    }
}
