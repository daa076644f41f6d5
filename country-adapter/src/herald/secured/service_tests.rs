//! The published token, and every part that it is bound to altered in turn.

use super::super::testing::{CONFIRMATION, STEP, contents, daily_key, header, published_daily_key, reported};
use super::super::vectors::one;
use super::*;

fn refusal(opened: Result<OpenedServiceToken, NotOpened>) -> NotOpened {
    opened.err().unwrap()
}

#[test]
fn the_published_token_opens_to_the_published_contents() {
    let vector = one("ours-est");
    let service = vector.expected_octets("hex");
    assert_eq!(service.len() as u64, vector.expected["length"]);
    let confirmation = ConfirmationToken::new(vector.array("aad"));
    let token = ReportToken {
        service: ServiceToken::new(service.try_into().unwrap()),
        confirmation,
        receipt: Receipt::new([0; 16]),
    };
    let key = published_daily_key();
    assert_eq!(key.key.public().octets(), vector.octets("authority_public_key"));
    let opened = open(&token, header(), &[key]).unwrap();
    assert_eq!(opened.contents.octets()[..], vector.octets("plaintext"));
    let fields = &vector.inputs["fields"];
    let made = ServiceContents::new(
        Uuid::new(hex::decode(fields["uuid"].as_str().unwrap()).unwrap().try_into().unwrap()),
        opened.contents.area,
        opened.contents.model,
        Step::new(1_888_889),
    );
    assert_eq!(made.octets()[..], vector.octets("plaintext"));
    assert_eq!(hex::encode(made.area.octets()), fields["geo"]);
    assert_eq!(hex::encode(made.model.octets()), fields["model_hash"]);
    assert_eq!(hex::encode(made.code.number().to_be_bytes()), fields["totp"]);
}

#[test]
fn what_a_phone_seals_its_authority_opens() {
    let key = daily_key();
    let token = reported(&contents(STEP), &key, header());
    let opened = open(&token, header(), &[daily_key_numbered(7), key]).unwrap();
    assert_eq!(opened.contents.octets(), contents(STEP).octets());
    assert_eq!((opened.header, opened.confirmation), (header(), CONFIRMATION));
}

fn daily_key_numbered(number: u16) -> DailyKey<PrivateKey> {
    DailyKey { number, ..daily_key() }
}

#[test]
fn a_token_with_any_octet_altered_does_not_open() {
    let keys = [daily_key()];
    let token = reported(&contents(STEP), &keys[0], header());
    for at in 0..ServiceToken::LEN {
        let mut service = *token.service.octets();
        service[at] ^= 1;
        let altered = ReportToken { service: ServiceToken::new(service), ..token };
        assert!(open(&altered, header(), &keys).is_err(), "octet {at}");
    }
    for at in 0..ConfirmationToken::LEN {
        let mut confirmation = *CONFIRMATION.octets();
        confirmation[at] ^= 1;
        let altered = ReportToken { confirmation: ConfirmationToken::new(confirmation), ..token };
        assert_eq!(refusal(open(&altered, header(), &keys)), NotOpened::Seal(SealError::Open), "octet {at}");
    }
}

#[test]
fn a_token_does_not_open_under_another_header_key_or_number() {
    let key = daily_key();
    let token = reported(&contents(STEP), &key, header());
    let abroad = EnvelopeHeader::new(0x20, "826/5".parse().unwrap()).unwrap();
    let closed = NotOpened::Seal(SealError::Open);
    assert_eq!(refusal(open(&token, abroad, std::slice::from_ref(&key))), closed);
    assert_eq!(refusal(open(&token, header(), &[daily_key()])), closed);
    assert_eq!(
        refusal(open(&token, header(), &[daily_key_numbered(7)])),
        NotOpened::UnknownKey { number: 0x0102 }
    );
    assert_eq!(refusal(open(&token, header(), &[])), NotOpened::UnknownKey { number: 0x0102 });
    let simple = EnvelopeHeader::new(0x10, "826/4".parse().unwrap()).unwrap();
    assert!(matches!(refusal(open(&token, simple, &[key])), NotOpened::Malformed(_)));
}

#[test]
fn contents_that_no_phone_would_seal_are_malformed() {
    let good = contents(STEP).octets();
    for (at, octet) in [(16, b'\n'), (28, 0x80)] {
        let mut octets = good.to_vec();
        octets[at] = octet;
        assert!(ServiceContents::parse(&octets).is_err(), "octet {at}");
    }
    for len in 0..good.len() {
        assert!(ServiceContents::parse(&good[..len]).is_err(), "{len}");
    }
    assert!(ServiceContents::parse(&[&good[..], &[0]].concat()).is_err());
}

// Sealed by somebody who knows the public key and not the layout: it opens, and is refused then.
#[test]
fn sealed_junk_opens_and_is_malformed() {
    let key = daily_key();
    let context =
        ServiceTokenContext { issuer: header(), key: key.number, confirmation: *CONFIRMATION.octets() };
    let mut text = vec![0xff; ServiceContents::LEN];
    let enc = seal::seal_service_token(key.key.public(), &context, &mut text).unwrap();
    let service = [&key.number.to_be_bytes()[..], &enc, &text].concat().try_into().unwrap();
    let token = ReportToken {
        service: ServiceToken::new(service),
        confirmation: CONFIRMATION,
        receipt: Receipt::new([5; 16]),
    };
    assert!(matches!(refusal(open(&token, header(), &[key])), NotOpened::Malformed(_)));
}
