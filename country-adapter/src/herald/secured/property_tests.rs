//! Every layout of this folder reads back whatever is in it, and whatever else comes is refused or is what it says.

use pki::seal::{PrivateKey, Suite};
use proptest::prelude::*;
use proto::extended::{ExtendedData, put_section};

use super::block::{Block, Readings};
use super::exchange::{Answering, Asking, Request};
use super::float16::Half;
use super::report::ReportToken;
use super::service::{DailyKey, ServiceContents, open};
use super::testing::{header, public};
use super::totp::Step;
use super::{Area, ConfirmationToken, ModelHash, Receipt, ServiceToken, Uuid};

fn readings() -> impl Strategy<Value = Readings> {
    let reading =
        || prop::option::of(-65_504.0..65_504.0_f64).prop_map(|number| number.and_then(Half::nearest));
    (reading(), reading()).prop_map(|(rssi, power)| Readings { rssi, power })
}

/// What a block is made of.
type Parts = (Readings, Vec<u8>, [u8; 16], [u8; 8], Vec<Vec<u8>>);

fn parts() -> impl Strategy<Value = Parts> {
    let service = prop::collection::vec(any::<u8>(), ServiceToken::LEN);
    let sections = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..150), 0..3);
    (readings(), service, any::<[u8; 16]>(), any::<[u8; 8]>(), sections)
}

fn block((readings, service, confirmation, model, sections): Parts) -> Block {
    let tokens = (ServiceToken::new(service.try_into().unwrap()), ConfirmationToken::new(confirmation));
    let mut extended = Vec::new();
    for (code, value) in (0x80..).zip(&sections) {
        put_section(&mut extended, code, value).unwrap();
    }
    let extended = ExtendedData::parse(&extended).unwrap();
    Block::new(readings, tokens, ModelHash::new(model), extended).unwrap()
}

fn exchange() -> (Asking, Answering) {
    let asking = Asking::new("250/3".parse().unwrap()).unwrap();
    let answering = Answering::new(asking.request().clone(), "826/4".parse().unwrap()).unwrap();
    (asking, answering)
}

proptest! {
    #[test]
    fn any_block_reads_back_through_an_exchange(parts in parts()) {
        let block = block(parts);
        prop_assert!(Block::parse(&block.octets()).is_ok_and(|read| read == block));
        let (asking, answering) = exchange();
        let frame = answering.close(&block).unwrap().frame;
        prop_assert!(asking.open(&frame).is_ok_and(|heard| heard.block == block));
    }

    #[test]
    fn any_octets_of_its_length_are_a_block_or_refused(
        octets in prop::collection::vec(any::<u8>(), Block::FIXED_LEN..Block::FIXED_LEN + 8),
    ) {
        if let Ok(block) = Block::parse(&octets) {
            prop_assert_eq!(&block.octets()[..], &octets[..]);
        }
    }

    #[test]
    fn an_altered_request_is_refused_or_is_another_request(at in 0..Request::LEN, by in 1..=255_u8) {
        let (asking, _) = exchange();
        let mut octets = *asking.request().octets();
        prop_assert!(Request::parse(&octets).is_ok_and(|read| read == *asking.request()));
        octets[at] ^= by;
        if let Ok(other) = Request::parse(&octets) {
            prop_assert_eq!(other.octets(), &octets);
            prop_assert!(other != *asking.request());
        }
    }

    #[test]
    fn any_octets_behind_a_header_are_no_response(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let (asking, _) = exchange();
        prop_assert!(asking.open(&[&header().octets()[..], &body].concat()).is_err());
    }

    #[test]
    fn any_151_octets_are_a_token_of_a_report(octets in prop::collection::vec(any::<u8>(), ReportToken::LEN)) {
        prop_assert_eq!(&ReportToken::parse(&octets).unwrap().octets()[..], &octets[..]);
    }
}

proptest! {
    // Each case seals and opens.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_contents_read_back_at_their_authority(
        (uuid, area, model) in (any::<[u8; 16]>(), "[A-Z0-9]{1,4}", any::<[u8; 8]>()),
        (confirmation, step, number) in (any::<[u8; 16]>(), any::<u32>(), any::<u16>()),
    ) {
        let mut padded = [0; 4];
        padded[..area.len()].copy_from_slice(area.as_bytes());
        let step = Step::new(step);
        let contents =
            ServiceContents::new(Uuid::new(uuid), Area::new(padded).unwrap(), ModelHash::new(model), step);
        let key = PrivateKey::parse(Suite::P256, &PrivateKey::generate(Suite::P256)).unwrap();
        let key = DailyKey { number, days: step.day()..=step.day(), key };
        let confirmation = ConfirmationToken::new(confirmation);
        let service = contents.seal(&public(&key), header(), &confirmation).unwrap();
        let token = ReportToken { service, confirmation, receipt: Receipt::new([5; 16]) };
        let opened = open(&token, header(), &[key]).unwrap().contents;
        prop_assert_eq!(opened.uuid().octets(), &uuid);
        prop_assert!(opened.area() == contents.area() && opened.model() == contents.model());
        prop_assert_eq!((opened.code, opened.step()), (contents.code, step));
    }
}
