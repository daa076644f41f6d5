//! The published exchange, and every octet of it altered in turn.

use proto::registry;

use super::super::testing::{block, published_exchange};
use super::super::vectors::one;
use super::*;

fn asking() -> Asking {
    Asking::with(EphemeralKey::fixed(&[1; 32]), "250/3".parse().unwrap()).unwrap()
}

fn answering(request: &Request) -> Answering {
    Answering::with(EphemeralKey::fixed(&[2; 32]), request.clone(), "826/4".parse().unwrap()).unwrap()
}

fn refusal(opened: Result<Heard, ExchangeError>) -> ExchangeError {
    opened.err().unwrap()
}

#[test]
fn the_exchange_has_the_published_octets() {
    let vector = one("ours-secured-response");
    let (receiver, transmitter) = published_exchange();
    let request = vector.octets("request");
    assert_eq!(receiver.request().octets()[..], request);
    assert!(Request::parse(&request).is_ok_and(|parsed| parsed == *receiver.request()));

    let shared = transmitter.key.0.diffie_hellman(&transmitter.transcript.request.point);
    assert_eq!(shared.raw_secret_bytes()[..], vector.expected_octets("shared_x"));
    let keys = Derived::from_x(&vector.expected_octets("shared_x"), &transmitter.transcript.octets());
    assert_eq!(keys.key[..], vector.expected_octets("key"));
    assert_eq!(keys.iv[..], vector.expected_octets("iv"));
    assert_eq!(keys.receipt.octets()[..], vector.expected_octets("receipt"));

    let block = Block::parse(&vector.octets("plaintext_block")).unwrap();
    assert_eq!(block.readings.rssi.map(|half| half.value()), vector.inputs["rssi"].as_f64());
    assert_eq!(block.readings.power.map(|half| half.value()), vector.inputs["txpower"].as_f64());
    assert_eq!(block.extended().octets(), vector.octets("ext"));
    let answered = transmitter.close(&block).unwrap();
    assert_eq!(hex::encode(&answered.frame), vector.expected["frame"]);
    assert_eq!(answered.frame.len() as u64, vector.expected["length"]);

    let heard = receiver.open(&answered.frame).unwrap();
    assert!(heard.block == block);
    assert_eq!((heard.receipt, heard.header), (keys.receipt, issuer()));
    assert_eq!(answered.receipt, keys.receipt);
}

fn issuer() -> EnvelopeHeader {
    EnvelopeHeader::new(0x20, "826/4".parse().unwrap()).unwrap()
}

#[test]
fn two_phones_that_draw_their_keys_agree() {
    for _ in 0..8 {
        let asking = Asking::new("250/3".parse().unwrap()).unwrap();
        let request = Request::parse(asking.request().octets()).unwrap();
        let answering = Answering::new(request, "826/4".parse().unwrap()).unwrap();
        let answered = answering.close(&block(&[])).unwrap();
        let heard = asking.open(&answered.frame).unwrap();
        assert!(heard.block == block(&[]));
        assert_eq!(heard.receipt, answered.receipt);
    }
}

#[test]
fn every_exchange_has_another_key_and_receipt() {
    let receipts = [(); 2].map(|()| {
        let asking = Asking::new("250/3".parse().unwrap()).unwrap();
        let answering = Answering::new(asking.request().clone(), "826/4".parse().unwrap()).unwrap();
        answering.close(&block(&[])).unwrap().receipt
    });
    assert_ne!(receipts[0], receipts[1]);
}

#[test]
fn a_response_with_any_bit_altered_does_not_open() {
    let frame = answering(asking().request()).close(&block(&[])).unwrap().frame;
    for bit in 0..frame.len() * 8 {
        let mut altered = frame.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(asking().open(&altered).is_err(), "bit {bit}");
    }
    for len in 0..frame.len() {
        assert!(asking().open(&frame[..len]).is_err(), "cut at {len}");
    }
    assert_eq!(refusal(asking().open(&[&frame[..], &[0]].concat())), ExchangeError::Closed);
}

#[test]
fn a_response_to_another_request_does_not_open() {
    let frame = answering(asking().request()).close(&block(&[])).unwrap().frame;
    let other = Asking::with(EphemeralKey::fixed(&[3; 32]), "250/3".parse().unwrap()).unwrap();
    assert_eq!(refusal(other.open(&frame)), ExchangeError::Closed);
    let same_key = Asking::with(EphemeralKey::fixed(&[1; 32]), "250/4".parse().unwrap()).unwrap();
    assert_eq!(refusal(same_key.open(&frame)), ExchangeError::Closed, "the request's header is bound too");
}

#[test]
fn a_key_off_the_curve_is_refused_in_either_message() {
    let mut request = *asking().request().octets();
    request[69] ^= 1;
    assert_eq!(Request::parse(&request).err(), Some(ExchangeError::OffCurve { message: "request" }));
    request[5] = 0x02;
    assert_eq!(Request::parse(&request).err(), Some(ExchangeError::OffCurve { message: "request" }));

    let mut frame = answering(asking().request()).close(&block(&[])).unwrap().frame;
    // Not below the field's prime, so no x-coordinate.
    frame[5..37].fill(0xff);
    assert_eq!(refusal(asking().open(&frame)), ExchangeError::OffCurve { message: "response" });
}

#[test]
fn messages_of_other_lengths_and_payloads_are_malformed() {
    let request = asking().request().octets().to_vec();
    for len in [0, 5, 69] {
        assert!(matches!(Request::parse(&request[..len]), Err(ExchangeError::Malformed(_))), "{len}");
    }
    assert!(matches!(Request::parse(&[&request[..], &[0]].concat()), Err(ExchangeError::Malformed(_))));
    let custom = [&[0x08][..], &request[1..]].concat();
    assert!(registry::assignment(0x08).is_ok());
    assert!(matches!(Request::parse(&custom), Err(ExchangeError::Malformed(_))));

    let mut frame = answering(asking().request()).close(&block(&[])).unwrap().frame;
    assert!(matches!(refusal(asking().open(&frame[..199])), ExchangeError::Malformed(_)));
    frame[0] = 0x08;
    assert!(matches!(refusal(asking().open(&frame)), ExchangeError::Malformed(_)));
}

#[test]
fn the_longest_block_fills_the_longest_frame() {
    let extended = [&[0x80, 255][..], &[7; 255], &[0x81, 51], &[7; 51]].concat();
    let answered = answering(asking().request()).close(&block(&extended)).unwrap();
    assert_eq!(answered.frame.len(), Frame::MAX_LEN);
    assert!(asking().open(&answered.frame).is_ok_and(|heard| heard.block == block(&extended)));
}

#[test]
fn a_block_that_does_not_parse_is_refused_though_its_tag_is_good() {
    let good = block(b"\x40\x01\xc8").octets();
    let infinity = [&[0x7c, 0][..], &good[2..]].concat();
    let zero_section = [&good[..], &[0x41, 0]].concat();
    for text in [&good[..good.len() - 1], &infinity, &zero_section] {
        let Answering { key, transcript } = answering(asking().request());
        let keys = Derived::new(&key.0.diffie_hellman(&transcript.request.point), &transcript);
        let (sealed, tag) = keys.close(&transcript.octets(), Zeroizing::new(text.to_vec()));
        let frame = frame(transcript.header, &[&transcript.x, &sealed, &tag]).unwrap();
        assert!(matches!(refusal(asking().open(&frame)), ExchangeError::Malformed(_)));
    }
}
