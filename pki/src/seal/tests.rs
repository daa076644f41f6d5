//! Known answers, and every part of a sealed format altered in turn.

use proto::header::EnvelopeHeader;
use proto::ids::{BatchId, CountryCode, Sequence};

use super::*;

fn key(suite: Suite) -> PrivateKey {
    PrivateKey::parse(suite, &PrivateKey::generate(suite)).unwrap()
}

fn octets(hex: &str) -> Vec<u8> {
    hex::decode(hex).unwrap()
}

const INFO: &str = "4f6465206f6e2061204772656369616e2055726e";
const TEXT: &str = "4265617574792069732074727574682c20747275746820626561757479";

/// RFC 9180 A.1.1 and A.3.1, sequence number 0: private key, encapsulated key, ciphertext.
const RFC_9180: [(Suite, &str, &str, &str); 2] = [
    (
        Suite::X25519,
        "4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8",
        "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431",
        "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a",
    ),
    (
        Suite::P256,
        "f3ce7fdae57e1a310d87f1ebbde6f328be0a99cdbcadf4d6589cf29de4b8ffd2",
        "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac98536d7b61a1af4b78e5b7f951c0900be863c403ce65c9bfcb9382657222d18c4",
        "5ad590bb8baa577f8619db35a36311226a896e7342a6d836d8b7bcd2f20b6c7f9076ac232e3ab2523f39513434",
    ),
];

#[test]
fn rfc_9180_known_answers_open() {
    for (suite, private, enc, sealed) in RFC_9180 {
        let key = PrivateKey::parse(suite, &Secret::new(octets(private))).unwrap();
        let text = key.open(&octets(enc), &octets(INFO), b"Count-0", &octets(sealed)).unwrap();
        assert_eq!(hex::encode(&*text), TEXT, "{suite}");
    }
}

#[test]
fn what_is_sealed_opens_again_for_every_suite() {
    for suite in Suite::ALL {
        let key = key(suite);
        let mut text = b"a report".to_vec();
        let enc = key.public().seal(PUSH, b"aad", &mut text).unwrap();
        assert_eq!(text.len(), 8 + overhead());
        assert_eq!(&**key.open(&enc, PUSH, b"aad", &text).unwrap(), b"a report");
    }
}

#[test]
fn another_key_info_aad_or_octet_does_not_open() {
    for suite in Suite::ALL {
        let right = key(suite);
        let mut sealed = b"a report".to_vec();
        let enc = right.public().seal(PUSH, b"aad", &mut sealed).unwrap();
        let opens = |key: &PrivateKey, enc: &[u8], info: &[u8], aad: &[u8], sealed: &[u8]| {
            key.open(enc, info, aad, sealed).is_ok()
        };
        assert!(opens(&right, &enc, PUSH, b"aad", &sealed));
        assert!(!opens(&key(suite), &enc, PUSH, b"aad", &sealed), "{suite}: another key");
        assert!(!opens(&right, &enc, BATCH, b"aad", &sealed), "{suite}: another info");
        assert!(!opens(&right, &enc, PUSH, b"aae", &sealed), "{suite}: another AAD");
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(!opens(&right, &enc, PUSH, b"aad", &altered), "{suite}: octet {at}");
            assert!(!opens(&right, &enc, PUSH, b"aad", &sealed[..at]), "{suite}: cut at {at}");
        }
        let mut altered = enc.clone();
        altered[3] ^= 1;
        assert!(!opens(&right, &altered, PUSH, b"aad", &sealed), "{suite}: encapsulated key");
        assert!(!opens(&right, &enc[1..], PUSH, b"aad", &sealed), "{suite}: short encapsulated key");
    }
}

#[test]
fn a_key_of_the_wrong_length_is_refused() {
    for suite in Suite::ALL {
        assert_eq!(PublicKey::parse(suite, &[1; 31]).err(), Some(SealError::Key(suite)));
        assert!(PrivateKey::parse(suite, &Secret::new(vec![1; 31])).is_err());
    }
    let off_curve = [&[4][..], &[9; 64]].concat();
    assert_eq!(PublicKey::parse(Suite::P256, &off_curve).err(), Some(SealError::Key(Suite::P256)));
}

#[test]
fn a_key_to_which_nothing_can_be_sealed_is_refused() {
    for suite in [Suite::XWing, Suite::X25519] {
        let mut octets = key(suite).public().octets().to_vec();
        let x25519 = octets.len() - 32;
        octets[x25519..].fill(0);
        assert_eq!(PublicKey::parse(suite, &octets).err(), Some(SealError::Key(suite)));
    }
}

// Invariant 1: the header is the AAD.
#[test]
fn an_edited_route_cannot_be_opened() {
    let key = key(Suite::XWing);
    let pusher: Authority = "826/1".parse().unwrap();
    let headers = [[0x10, 0, 250, 0, 0], [0x10, 0, 36, 0, 2]].concat();
    let sealed = seal_push(key.public(), pusher, headers.clone(), b"reports".to_vec().into()).unwrap();
    let opens = |message: proto::wire::PushRequest, pusher| {
        Push::parse(message).is_ok_and(|push| key.open_push(&push, pusher).is_ok())
    };
    assert!(opens(sealed.clone(), pusher));
    assert!(!opens(sealed.clone(), "826/2".parse().unwrap()), "another authority's push");
    for bit in 0..headers.len() * 8 {
        let mut altered = headers.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let edited = proto::wire::PushRequest { headers: altered.into(), ..sealed.clone() };
        assert!(!opens(edited, pusher), "bit {bit}");
    }
    let longer = [headers.as_slice(), &[0x10, 0, 250, 0, 0]].concat();
    assert!(!opens(proto::wire::PushRequest { headers: longer.into(), ..sealed.clone() }, pusher));
    assert!(!opens(proto::wire::PushRequest { push_id: vec![0; 16].into(), ..sealed.clone() }, pusher));
    assert!(!opens(proto::wire::PushRequest { key_id: vec![0; 8].into(), ..sealed }, pusher));
    assert_eq!(EnvelopeHeader::parse(&headers[..5]).unwrap().authority().to_string(), "250/0");
}

#[test]
fn a_batch_opens_under_its_own_header_only() {
    let key = key(Suite::P256);
    let header = BatchHeader {
        origin: CountryCode::new(826).unwrap(),
        destination: "250/0".parse().unwrap(),
        key: key.id(),
        id: BatchId::random(),
        sealed_at: 29_000_000,
    };
    let mut sealed = b"reports and padding".to_vec();
    let enc = seal_batch(key.public(), &header, &mut sealed).unwrap();
    let opens = |header: BatchHeader| {
        let (enc, sealed_len) = (enc.clone().into(), u32::try_from(sealed.len()).unwrap());
        let (previous, sealed_hash) = ([0; 32], [0; 32]);
        let manifest = Manifest { header, sequence: Sequence::FIRST, previous, sealed_hash, sealed_len, enc };
        key.open_batch(&manifest, &sealed).is_ok()
    };
    assert!(opens(header));
    assert!(!opens(BatchHeader { origin: CountryCode::new(36).unwrap(), ..header }));
    assert!(!opens(BatchHeader { destination: "250/1".parse().unwrap(), ..header }));
    assert!(!opens(BatchHeader { key: [0; 8].into(), ..header }));
    assert!(!opens(BatchHeader { id: BatchId::random(), ..header }));
    assert!(!opens(BatchHeader { sealed_at: 29_000_001, ..header }));
}

#[test]
fn a_service_token_opens_for_its_own_issuer_key_number_and_contact_only() {
    let key = key(Suite::P256);
    let issuer = EnvelopeHeader::new(0x20, "826/4".parse().unwrap()).unwrap();
    let context = ServiceTokenContext { issuer, key: 0x0102, confirmation: [7; 16] };
    let mut sealed = vec![1; 36];
    let enc = seal_service_token(key.public(), &context, &mut sealed).unwrap();
    assert_eq!((enc.len(), sealed.len()), (65, 52));
    let opens = |context| key.open_service_token(&context, &enc, &sealed).is_ok();
    assert!(opens(context));
    let abroad = EnvelopeHeader::new(0x20, "826/5".parse().unwrap()).unwrap();
    assert!(!opens(ServiceTokenContext { issuer: abroad, ..context }));
    assert!(!opens(ServiceTokenContext { key: 0x0103, ..context }));
    assert!(!opens(ServiceTokenContext { confirmation: [8; 16], ..context }));
}

#[test]
fn a_service_token_is_for_p256_keys_only() {
    let issuer = EnvelopeHeader::new(0x20, "826/4".parse().unwrap()).unwrap();
    let context = ServiceTokenContext { issuer, key: 1, confirmation: [7; 16] };
    for suite in [Suite::XWing, Suite::X25519] {
        let key = key(suite);
        let refused = SealError::Key(Suite::P256);
        assert_eq!(seal_service_token(key.public(), &context, &mut vec![1; 36]), Err(refused));
        assert_eq!(key.open_service_token(&context, &[0; 32], &[0; 52]).err(), Some(refused));
    }
}

/// Gives what Herald's vectors give as the ephemeral key's seed.
struct Seed(&'static [u8]);

impl hpke::rand_core::TryRng for Seed {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        unreachable!("HPKE asks for octets")
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        unreachable!("HPKE asks for octets")
    }

    fn try_fill_bytes(&mut self, octets: &mut [u8]) -> Result<(), Self::Error> {
        octets.copy_from_slice(self.0);
        Ok(())
    }
}

impl hpke::rand_core::TryCryptoRng for Seed {}

#[test]
fn a_service_token_sealed_from_the_published_seed_has_the_published_octets() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../proto/vectors/herald-vectors.json")).unwrap();
    let all = vectors["vectors"].as_array().unwrap();
    let vector = all.iter().find(|vector| vector["id"] == "ours-est").unwrap();
    let input = |field: &str| octets(vector["inputs"][field].as_str().unwrap());
    let to = Deserializable::from_bytes(&input("authority_public_key")).unwrap();
    let context = ServiceTokenContext {
        issuer: EnvelopeHeader::new(0x20, "826/4".parse().unwrap()).unwrap(),
        key: 0x0102,
        confirmation: input("aad").try_into().unwrap(),
    };
    assert_eq!(context.info(), input("info"));
    let (enc, mut sender) = hpke::setup_sender_with_rng::<Aes128Gcm, HkdfSha256, DhP256HkdfSha256>(
        &OpModeS::Base,
        &to,
        &context.info(),
        &mut Seed(b"hgw test est hpke ephemeral seed"),
    )
    .unwrap();
    let sealed = sender.seal(&input("plaintext"), &context.confirmation).unwrap();
    let token = [&[1, 2][..], &enc.to_bytes(), &sealed].concat();
    assert_eq!(hex::encode(token), vector["expected"]["hex"]);
}
