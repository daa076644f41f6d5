//! The worked example of `proto/README.md`: the document is read, and every octet in it is checked.
//!
//! What is random (encapsulated keys, signatures) was recorded once and must open and verify; all else is made anew
//! and must be the same. After a change of a layout, `print_the_example_anew` gives the blocks to put in its place.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

use bytes::Bytes;
use pki::keyfile::Algorithm;
use pki::keylist::{self, KeyList, Kind, ListedKey, SignedKeyList};
use pki::pubfile::PublicFile;
use pki::seal::{self, PrivateKey, Suite};
use pki::secret::Secret;
use pki::sign::{SigningKey, sha256};
use pki::trust::{Anchors, CertifiedKey, Draft, SignedTrustList};
use proto::batch::{BatchHeader, Manifest, Receipt, Stage};
use proto::body::{self, Reports};
use proto::day::Day;
use proto::extended::{ExtendedData, Recipient};
use proto::header::EnvelopeHeader;
use proto::ids::{Authority, CountryCode, KeyId, Sequence};
use proto::push::Push;
use proto::report::{
    Contact, DiagnosisKey, GaenKey, IllKey, JsonReport, Minutes, OnsetDays, QuarterHour, Report, ReportType,
    Risk, RollingWindow, Score, Token, TransmissionRisk,
};
use proto::wire;

const README: &str = include_str!("../../proto/README.md");
/// 2026-11-20T10:00:00Z, in minutes and in seconds.
const MINUTE: u32 = 29_919_480;
const NOW: u64 = MINUTE as u64 * 60;
/// 2026-11-20.
const TODAY: Day = Day::new(20_777);
/// The order in which the example uses the suites, and with it the sequence of each batch.
const SUITES: [Suite; 3] = [Suite::P256, Suite::X25519, Suite::XWing];

/// The fenced blocks of the document that have a name.
fn blocks() -> BTreeMap<String, String> {
    let mut blocks = BTreeMap::new();
    let mut open: Option<String> = None;
    for line in README.lines() {
        let name = line.strip_prefix("```").and_then(|info| info.split_once(" name=")).map(|(_, name)| name);
        match (name, line.starts_with("```")) {
            (Some(name), _) => {
                assert!(blocks.insert(name.to_owned(), String::new()).is_none(), "{name} stands twice");
                open = Some(name.to_owned());
            }
            (None, true) => open = None,
            (None, false) => {
                let block = open.as_ref().and_then(|name| blocks.get_mut(name));
                block.into_iter().for_each(|block| *block += &format!("{line}\n"));
            }
        }
    }
    blocks
}

fn block(name: &str) -> String {
    blocks().remove(name).unwrap_or_else(|| panic!("proto/README.md has no block {name}"))
}

/// A block of hex on one line.
fn text(name: &str) -> String {
    block(name).split_whitespace().collect()
}

fn octets(name: &str) -> Vec<u8> {
    hex::decode(text(name)).unwrap_or_else(|error| panic!("block {name}: {error}"))
}

fn signature(name: &str) -> [u8; 64] {
    octets(name).try_into().expect("a signature has 64 octets")
}

fn country(code: u16) -> CountryCode {
    CountryCode::new(code).unwrap()
}

fn pusher() -> Authority {
    "826/1".parse().unwrap()
}

fn destination() -> Authority {
    "250/0".parse().unwrap()
}

/// A scalar as a PKCS#8 document (RFC 5958 around RFC 5915): the same octets before every P-256 scalar.
fn signing_key(name: &str) -> SigningKey {
    let before = "3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420";
    let pkcs8 = [hex::decode(before).unwrap(), octets(name)].concat();
    SigningKey::from_pkcs8(&Secret::new(pkcs8)).unwrap()
}

fn hpke_key(suite: Suite) -> PrivateKey {
    PrivateKey::parse(suite, &Secret::new(octets(&format!("private-{suite}")))).unwrap()
}

fn contact() -> Vec<u8> {
    let header = EnvelopeHeader::new(0x10, destination()).unwrap();
    let identifier: [u8; 16] = std::array::from_fn(|at| 0xa0 + u8::try_from(at).unwrap());
    let rssi = [0x40, 1, 0xc9];
    let minutes = |minutes| Minutes::new("proximity", minutes).unwrap();
    let contact = Contact {
        token: Token::new(header, &identifier).unwrap(),
        day: TODAY.minus(2),
        start: Some(QuarterHour::new(41).unwrap()),
        duration: minutes(17),
        proximity: [2, 12, 3, 0].map(minutes),
        risk: Risk { kind: 1, score: Some(Score::new(146).unwrap()), mechanism: 1 },
        extended: ExtendedData::parse(&rssi).unwrap().leaving(Recipient::Issuer).unwrap(),
    };
    encoded(&Report::Contact(contact))
}

fn diagnosis_key() -> Vec<u8> {
    let key = GaenKey::new(std::array::from_fn(|at| 0xb0 + u8::try_from(at).unwrap())).unwrap();
    let start = u32::from(TODAY.minus(3).number()) * 144;
    let Authority::State(visited, state) = destination() else { panic!("the example is of a state") };
    encoded(&Report::DiagnosisKey(DiagnosisKey {
        destination: (visited, state),
        issuer: pusher(),
        key: IllKey::Gaen(key, RollingWindow::new(start, 144).unwrap()),
        report_type: ReportType::ConfirmedTest,
        onset: Some(OnsetDays::new(-1).unwrap()),
        transmission_risk: TransmissionRisk::new(5).unwrap(),
    }))
}

fn encoded(report: &Report<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    report.encode(&mut out);
    out
}

fn headers() -> Vec<u8> {
    [[0x10, 0, 250, 0, 0], [0x80, 0, 250, 0, 0]].concat()
}

fn push_body() -> Vec<u8> {
    let mut body = Vec::new();
    body::put_report(&mut body, &contact()).unwrap();
    body::put_report(&mut body, &diagnosis_key()).unwrap();
    body
}

fn batch_body() -> Vec<u8> {
    let mut body = push_body();
    body::pad(&mut body);
    body
}

/// The header of the batch with this sequence.
fn batch_header(sequence: u8, key: KeyId) -> BatchHeader {
    BatchHeader {
        origin: country(826),
        destination: destination(),
        key,
        id: [0xd0 + sequence; 16].into(),
        sealed_at: MINUTE,
    }
}

fn receipt(manifest: &[u8]) -> Receipt {
    Receipt {
        origin: country(826),
        destination: country(250),
        through: Sequence::new(3).unwrap(),
        manifest_hash: sha256(manifest),
        stage: Stage::Delivered,
    }
}

fn key_list() -> KeyList {
    let listed = |(suite, not_before)| ListedKey {
        key: hpke_key(suite).public().clone(),
        not_before,
        not_after: NOW + 90 * 86_400,
    };
    let from = [NOW - 60 * 86_400, NOW - 30 * 86_400, NOW];
    let keys = SUITES.into_iter().zip(from).map(listed).collect();
    KeyList { kind: Kind::Authority, authority: destination(), version: 7, issued: NOW, keys }
}

#[test]
fn key_ids_are_as_shown() {
    for name in ["826-gateway", "250-gateway", "250-lists", "anchor"] {
        let key = signing_key(&format!("private-{name}"));
        assert_eq!(hex::encode(key.public().sec1()), text(&format!("public-{name}")));
        assert_eq!(key.public().id().to_string(), text(&format!("id-{name}")));
    }
    for suite in SUITES {
        assert_eq!(hpke_key(suite).id().to_string(), text(&format!("id-{suite}")));
    }
    for suite in [Suite::P256, Suite::X25519] {
        assert_eq!(hex::encode(hpke_key(suite).public().octets()), text(&format!("public-{suite}")));
    }
}

#[test]
fn reports_and_bodies_are_as_shown() {
    assert_eq!(hex::encode(contact()), text("report-contact"));
    assert_eq!(hex::encode(diagnosis_key()), text("report-diagnosis-key"));
    for report in [contact(), diagnosis_key()] {
        assert_eq!(encoded(&Report::decode(&report).unwrap()), report);
    }
    for (name, report) in [("contact-json", contact()), ("diagnosis-key-json", diagnosis_key())] {
        assert_eq!(JsonReport::parse(block(name).as_bytes()).unwrap().to_octets().unwrap(), report, "{name}");
    }
    assert_eq!(hex::encode(push_body()), text("push-body"));
    assert_eq!(hex::encode(batch_body()), text("batch-body"));
    assert_eq!(TODAY.to_string(), "2026-11-20");
    assert_eq!(Day::of_unix(NOW), TODAY);
}

#[test]
fn a_push_of_each_suite_opens() {
    for suite in SUITES {
        let key = hpke_key(suite);
        let push = Push::parse(wire::PushRequest {
            push_id: octets(&format!("push-id-{suite}")).into(),
            key_id: key.id().octets().to_vec().into(),
            enc: octets(&format!("push-enc-{suite}")).into(),
            headers: octets("push-headers").into(),
            sealed: octets(&format!("push-sealed-{suite}")).into(),
        });
        let push = push.unwrap();
        assert_eq!(hex::encode(&**key.open_push(&push, pusher()).unwrap()), text("push-body"), "{suite}");
        if suite == Suite::P256 {
            assert_eq!(hex::encode(push.aad(pusher())), text("push-aad"));
        }
    }
}

#[test]
fn a_batch_of_each_suite_is_chained_signed_and_opens() {
    let origin = signing_key("private-826-gateway");
    let mut previous = [0; 32];
    for (suite, sequence) in SUITES.into_iter().zip(1..) {
        let (signed, sealed) = (octets(&format!("manifest-{suite}")), octets(&format!("sealed-{suite}")));
        let by = signature(&format!("manifest-signature-{suite}"));
        assert_eq!(origin.public().check(Manifest::DOMAIN, &signed, &by), Ok(()));
        let manifest = Manifest::parse(&signed).unwrap();
        let key = hpke_key(suite);
        assert_eq!(manifest.header, batch_header(sequence, key.id()));
        assert_eq!(manifest.header.octets(), signed[..BatchHeader::LEN]);
        assert_eq!(manifest.sequence.number(), u64::from(sequence));
        assert_eq!((manifest.previous, manifest.sealed_hash), (previous, sha256(&sealed)));
        assert_eq!(manifest.sealed_len as usize, sealed.len());
        let opened = key.open_batch(&manifest, &sealed).unwrap();
        assert_eq!(hex::encode(&**opened), text("batch-body"), "{suite}");
        let reports: Vec<_> = Reports::of_batch(&opened).map(|report| report.unwrap().to_vec()).collect();
        assert_eq!(reports, [contact(), diagnosis_key()]);
        previous = sha256(&signed);
    }
}

#[test]
fn the_receipt_is_as_shown_and_signed() {
    let receipt = receipt(&octets("manifest-x-wing")).octets();
    assert_eq!(hex::encode(&receipt), text("receipt"));
    let signer = signing_key("private-250-gateway");
    assert_eq!(signer.public().check(Receipt::DOMAIN, &receipt, &signature("receipt-signature")), Ok(()));
}

#[test]
fn the_key_list_is_as_shown_and_believed() {
    assert_eq!(hex::encode(key_list().octets()), text("key-list"));
    let signer = signing_key("private-250-lists");
    let signed = SignedKeyList::parse(wire::SignedKeyList {
        list: octets("key-list").into(),
        signature: Bytes::from(octets("key-list-signature")),
        signing_key: octets("id-250-lists").into(),
    });
    let signers = [CertifiedKey { key: *signer.public(), not_before: 0, not_after: u64::MAX }];
    let expected =
        keylist::Expected { kind: Kind::Authority, authority: destination(), signers: &signers, now: NOW };
    let list = signed.unwrap().check(expected).unwrap();
    assert_eq!(list, key_list());
    assert_eq!(list.in_force(NOW).unwrap().suite(), Suite::XWing);
}

#[test]
fn the_trust_list_is_believed() {
    let anchors = Anchors { keys: vec![*signing_key("private-anchor").public()], threshold: 1 };
    let list = SignedTrustList::parse(block("trust-list").as_bytes()).unwrap().check(&anchors, NOW).unwrap();
    let known = list.country(country(250)).unwrap();
    assert!(known.signing_key(text("id-250-gateway").parse().unwrap()).is_some());
    let signers = &known.authorities[&destination()].signing_keys;
    assert_eq!(signers[0].key.id().to_string(), text("id-250-lists"));
}

/// A trust list of one country, signed by the example's anchor.
fn trust_list() -> String {
    let desk = tempfile::tempdir().unwrap();
    let at = time::OffsetDateTime::from_unix_timestamp(NOW.cast_signed()).unwrap();
    let (_, ca) = pki::ca::create(country(250), 10, at).unwrap();
    let write = |name: &str, text: &str| std::fs::write(desk.path().join(name), text).unwrap();
    write("ca.crt", &ca.pem);
    for name in ["250-gateway", "250-lists", "anchor"] {
        let octets = signing_key(&format!("private-{name}")).public().sec1().to_vec();
        write(&format!("{name}.pub"), &PublicFile { algorithm: Algorithm::P256, octets }.pem());
    }
    write("draft.toml", DRAFT);
    let mut list = Draft::read(&desk.path().join("draft.toml"), at).unwrap();
    list.sign(&signing_key("private-anchor"));
    list.file()
}

const DRAFT: &str = r#"
version = 3
threshold = 1
anchors = ["anchor.pub"]
[[country]]
country = 250
name = "France"
endpoints = ["https://gateway.example.org:7443"]
ca = "ca.crt"
signing_keys = ["250-gateway.pub"]
[[country.authority]]
authority = "250/0"
name = "National health authority"
signing_keys = ["250-lists.pub"]
"#;

#[test]
#[ignore = "prints blocks for proto/README.md; only for a change of a layout"]
fn print_the_example_anew() {
    let show = |name: &str, octets: &[u8]| {
        println!("```hex name={name}");
        hex::encode(octets)
            .as_bytes()
            .chunks(96)
            .for_each(|line| println!("{}", String::from_utf8_lossy(line)));
        println!("```");
    };
    for name in ["826-gateway", "250-gateway", "250-lists", "anchor"] {
        let key = signing_key(&format!("private-{name}"));
        show(&format!("public-{name}"), key.public().sec1());
        show(&format!("id-{name}"), key.public().id().octets());
    }
    show("report-contact", &contact());
    show("report-diagnosis-key", &diagnosis_key());
    show("push-headers", &headers());
    show("push-body", &push_body());
    show("batch-body", &batch_body());
    let (origin, mut link) = (signing_key("private-826-gateway"), [0; 32]);
    for (suite, sequence) in SUITES.into_iter().zip(1..) {
        let key = hpke_key(suite);
        show(&format!("public-{suite}"), key.public().octets());
        show(&format!("id-{suite}"), key.id().octets());
        let push = seal::seal_push(key.public(), pusher(), headers(), push_body().into()).unwrap();
        show(&format!("push-id-{suite}"), &push.push_id);
        show(&format!("push-enc-{suite}"), &push.enc);
        show(&format!("push-aad-{suite}"), &Push::parse(push.clone()).unwrap().aad(pusher()));
        show(&format!("push-sealed-{suite}"), &push.sealed);
        let (header, mut sealed) = (batch_header(sequence, key.id()), batch_body());
        let enc = seal::seal_batch(key.public(), &header, &mut sealed).unwrap();
        let manifest = Manifest {
            header,
            sequence: Sequence::new(sequence.into()).unwrap(),
            previous: link,
            sealed_hash: sha256(&sealed),
            sealed_len: u32::try_from(sealed.len()).unwrap(),
            enc: enc.into(),
        };
        let signed = manifest.octets();
        show(&format!("manifest-{suite}"), &signed);
        show(&format!("manifest-signature-{suite}"), &origin.sign(Manifest::DOMAIN, &signed));
        show(&format!("sealed-{suite}"), &sealed);
        link = sha256(&signed);
        if suite == Suite::XWing {
            let receipt = receipt(&signed).octets();
            show("receipt", &receipt);
            let signer = signing_key("private-250-gateway");
            show("receipt-signature", &signer.sign(Receipt::DOMAIN, &receipt));
        }
    }
    show("key-list", &key_list().octets());
    let signed = key_list().sign(&signing_key("private-250-lists")).into_wire();
    show("key-list-signature", &signed.signature);
    println!("```json name=trust-list\n{}```", trust_list());
}
