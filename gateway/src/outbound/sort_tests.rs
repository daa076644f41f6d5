//! A push with everything in it, and what comes out of it.

use pki::fixture::{Federation, now};
use pki::identity::HpkeKeys;
use pki::seal::{PrivateKey, Suite, seal_push};
use proto::batch::Manifest;
use proto::extended::ExtendedData;
use proto::ids::{CountryCode, Sequence};
use proto::push::Draft;
use proto::report::{Contact, Minutes, Risk, Token};
use proto::wiped::Wiped;

use super::*;
use crate::outbound::reseal::{ResealedBatch, seal};

/// What became of a push.
struct Resealed {
    verdicts: Vec<Verdict>,
    problems: Vec<Problem>,
    batches: Vec<ResealedBatch>,
}

struct World {
    ingress: HpkeKeys,
    routes: Routes,
    french: PrivateKey,
    english: PrivateKey,
}

fn private(suite: Suite) -> PrivateKey {
    PrivateKey::parse(suite, &PrivateKey::generate(suite)).unwrap()
}

impl World {
    fn new() -> Self {
        let federation = Federation::of(&["826/0", "826/1", "250/0", "36/2"]);
        let routes = Routes::new(&federation.trust_list());
        let ingress = HpkeKeys::new(vec![private(Suite::X25519)]);
        Self { ingress, routes, french: private(Suite::P256), english: private(Suite::XWing) }
    }

    fn reseal(&self, push: &Push) -> Result<Resealed, Refused> {
        let key = |authority: Authority| match authority.to_string().as_str() {
            "250/0" => Some(self.french.public().clone()),
            "826/1" => Some(self.english.public().clone()),
            _ => None,
        };
        let desk = Desk { ingress: &self.ingress, routes: &self.routes, key: &key, today: today() };
        let sorted = sort(push, pusher(), &desk)?;
        let minute = u32::try_from(now() / 60).unwrap();
        let batches = seal([&sorted], (CountryCode::new(826).unwrap(), minute))?;
        let Sorted { verdicts, problems, .. } = sorted;
        Ok(Resealed { verdicts, problems, batches })
    }

    fn push(&self, envelopes: &[(EnvelopeHeader, Vec<u8>)]) -> Push {
        let mut draft = Draft::default();
        for (header, report) in envelopes {
            draft.add(header, report).unwrap();
        }
        let (headers, body) = draft.into_parts();
        self.sealed(headers, body)
    }

    fn sealed(&self, headers: Vec<u8>, body: impl Into<Wiped>) -> Push {
        let body = body.into();
        let to = self.ingress.all()[0].public();
        Push::parse(seal_push(to, pusher(), headers, body).unwrap()).unwrap()
    }

    fn verdicts(&self, envelopes: &[(EnvelopeHeader, Vec<u8>)]) -> Vec<Verdict> {
        self.reseal(&self.push(envelopes)).unwrap().verdicts
    }
}

fn pusher() -> Authority {
    "826/0".parse().unwrap()
}

fn today() -> Day {
    Day::of_unix(now())
}

fn header(authority: &str) -> EnvelopeHeader {
    EnvelopeHeader::new(0x10, authority.parse().unwrap()).unwrap()
}

fn report_of(authority: &str, identifier: u8, day: Day, extended: &[u8]) -> (EnvelopeHeader, Vec<u8>) {
    let (header, identifier) = (header(authority), [identifier; 16]);
    let contact = Contact {
        token: Token::new(header, &identifier).unwrap(),
        day,
        start: None,
        duration: Minutes::default(),
        proximity: [Minutes::default(); 4],
        risk: Risk::default(),
        extended: ExtendedData::parse(extended).unwrap().leaving(Recipient::Issuer).unwrap(),
    };
    let mut out = Vec::new();
    Report::Contact(contact).encode(&mut out);
    (header, out)
}

fn report(authority: &str, identifier: u8) -> (EnvelopeHeader, Vec<u8>) {
    report_of(authority, identifier, today(), &[])
}

fn opened(key: &PrivateKey, batch: &ResealedBatch) -> Vec<Vec<u8>> {
    let (enc, header) = (batch.enc.clone(), batch.header);
    let (sequence, sealed_len) = (Sequence::FIRST, u32::try_from(batch.sealed.len()).unwrap());
    let manifest =
        Manifest { header, sequence, previous: [0; 32], sealed_hash: batch.sealed_hash, sealed_len, enc };
    let text = key.open_batch(&manifest, &batch.sealed).unwrap();
    Reports::of_batch(&text).map(|report| report.unwrap().to_vec()).collect()
}

#[test]
fn each_destination_gets_its_reports_once_and_only_those() {
    let world = World::new();
    let envelopes: Vec<_> = (1..=60).map(|n| report(if n % 3 == 0 { "826/1" } else { "250/0" }, n)).collect();
    let resealed = world.reseal(&world.push(&envelopes)).unwrap();
    assert!(resealed.verdicts.iter().all(|verdict| *verdict == Verdict::Accepted));
    assert_eq!(resealed.batches.len(), 2);
    for (batch, key, reports) in
        [(&resealed.batches[0], &world.french, 40), (&resealed.batches[1], &world.english, 20)]
    {
        let mut expected: Vec<_> =
            envelopes.iter().filter(|(header, _)| header.authority() == batch.header.destination).collect();
        expected.sort_by(|a, b| a.1.cmp(&b.1));
        let got = opened(key, batch);
        let mut sorted = got.clone();
        sorted.sort();
        assert_eq!(sorted, expected.iter().map(|(_, report)| report.clone()).collect::<Vec<_>>());
        assert_ne!(got, sorted, "the order of a push is not the order of its batch");
        assert_eq!(batch.reports, reports);
        assert_eq!(batch.header.key, key.id());
        let text: usize = sorted.iter().map(|report| body::framed_len(report.len())).sum();
        assert_eq!(batch.sealed.len(), body::bucket(text) + pki::seal::overhead());
    }
}

#[test]
fn every_envelope_gets_its_true_verdict() {
    let world = World::new();
    let zeros = {
        let (header, mut octets) = report("250/0", 1);
        let at = octets.len() - 18;
        octets[at..at + 16].fill(0);
        (header, octets)
    };
    let forbidden = {
        let (header, mut octets) = report("250/0", 2);
        let at = octets.len() - 2;
        octets.splice(at.., [0, 3, 0x10, 1, b'x']);
        (header, octets)
    };
    let truncated = {
        let (header, mut octets) = report("250/0", 3);
        octets.pop();
        (header, octets)
    };
    let envelopes = [
        report("250/0", 1),
        report("826/0", 2),
        report("999/0", 3),
        zeros,
        forbidden,
        truncated,
        report_of("250/0", 4, today().minus(16), &[]),
        report_of("250/0", 5, today().minus(15), &[]),
        report_of("250/0", 6, today().plus(2), &[]),
        report_of("250/0", 7, today().plus(1), &[]),
        report("250/0", 1),
        report("36/2", 8),
        report("826/77", 9),
    ];
    let expected = [
        Verdict::Accepted,
        Verdict::OwnAuthority,
        Verdict::Unroutable,
        Verdict::Malformed,
        Verdict::ForbiddenField,
        Verdict::Malformed,
        Verdict::TooOld,
        Verdict::Accepted,
        Verdict::FromTheFuture,
        Verdict::Accepted,
        Verdict::Duplicate,
        Verdict::NoKeyYet,
        Verdict::OwnAuthority,
    ];
    let resealed = world.reseal(&world.push(&envelopes)).unwrap();
    assert_eq!(resealed.verdicts, expected);
    assert_eq!(opened(&world.french, &resealed.batches[0]).len(), 3);
    let told: Vec<_> = resealed.problems.iter().map(|problem| (problem.index, problem.verdict)).collect();
    let refused = expected.iter().enumerate().filter(|(_, verdict)| **verdict != Verdict::Accepted);
    assert_eq!(told, refused.map(|(index, verdict)| (index, *verdict)).collect::<Vec<_>>());
}

// `herald.md` 4.5, phase 3: a token of Secured is 119 octets for the authority, 16 for the phone, and a receipt of 16.
#[test]
fn a_token_of_secured_has_one_length() {
    let world = World::new();
    let header = EnvelopeHeader::new(0x20, "250/0".parse().unwrap()).unwrap();
    let of_length = |len: usize| {
        let token = [7; 151];
        let mut octets = Vec::new();
        Report::Contact(Contact {
            token: Token::new(header, &token).unwrap(),
            day: today(),
            start: None,
            duration: Minutes::default(),
            proximity: [Minutes::default(); 4],
            risk: Risk::default(),
            extended: ExtendedData::default().leaving(Recipient::Issuer).unwrap(),
        })
        .encode(&mut octets);
        // Token length and token stand before the two octets of empty extended data.
        let at = octets.len() - 2 - 151 - 2;
        let framed = [&u16::try_from(len).unwrap().to_be_bytes()[..], &vec![7; len]].concat();
        octets.splice(at..octets.len() - 2, framed);
        (header, octets)
    };
    let verdicts = world.verdicts(&[150, 151, 152].map(of_length));
    assert_eq!(verdicts, [Verdict::Malformed, Verdict::Accepted, Verdict::Malformed]);
}

// Invariant 2: a problem says which field of a report is wrong, never what it says.
#[test]
fn a_problem_tells_nothing_of_a_sealed_report() {
    let world = World::new();
    let (header, mut octets) = report("250/0", 1);
    octets[10] = 0xde; // the duration
    let resealed = world.reseal(&world.push(&[(header, octets)])).unwrap();
    assert_eq!(resealed.problems[0].message, "report: duration is wrong");
}

#[test]
fn a_byte_swapped_country_is_told() {
    let world = World::new();
    let resealed = world.reseal(&world.push(&[report("14851/256", 1)])).unwrap();
    let message = &resealed.problems[0].message;
    assert!(message.contains("looks byte-swapped: 826 is a country"), "{message}");
}

#[test]
fn a_readable_header_that_does_not_parse_is_malformed_with_its_value() {
    let world = World::new();
    let (_, octets) = report("250/0", 1);
    let mut framed = Vec::new();
    body::put_report(&mut framed, &octets).unwrap();
    let told = |header: [u8; 5]| {
        let resealed = world.reseal(&world.sealed(header.to_vec(), framed.clone())).unwrap();
        assert_eq!(resealed.verdicts, [Verdict::Malformed]);
        resealed.problems[0].message.clone()
    };
    assert!(told([0x10, 0, 0, 0, 1]).starts_with("country is 0"));
    assert!(told([0x11, 0, 250, 0, 0]).starts_with("payload code 0x11 is not assigned"));
}

#[test]
fn a_section_for_the_issuers_eyes_goes_to_the_issuer_only() {
    let world = World::new();
    let closed = [0x3f, 2, 1, 2];
    let to_issuer = report_of("250/0", 1, today(), &closed);
    assert_eq!(world.verdicts(&[to_issuer]), [Verdict::Accepted]);
    // 250/5 is unknown, so its tokens fall back to the national authority.
    let to_fallback = report_of("250/5", 1, today(), &closed);
    assert_eq!(world.verdicts(&[to_fallback]), [Verdict::ForbiddenField]);
}

#[test]
fn a_push_whose_reports_do_not_match_its_headers_is_refused_whole() {
    let world = World::new();
    let is_mismatch = |push: &Push| matches!(world.reseal(push), Err(Refused::Mismatch { .. }));
    let (header, octets) = report("250/0", 1);
    assert!(is_mismatch(&world.push(&[(self::header("36/2"), octets.clone())])), "another header");
    let mut framed = Vec::new();
    body::put_report(&mut framed, &octets).unwrap();
    let headers = header.octets();
    assert!(is_mismatch(&world.sealed([headers, headers].concat(), framed.clone())), "a report too few");
    assert!(
        is_mismatch(&world.sealed(headers.to_vec(), [framed.clone(), framed.clone()].concat())),
        "one too many"
    );
    framed.pop();
    assert!(is_mismatch(&world.sealed(headers.to_vec(), framed)), "cut short");
}

#[test]
fn a_push_to_an_unknown_key_or_of_another_authority_is_refused_whole() {
    let world = World::new();
    let push = world.push(&[report("250/0", 1)]);
    let mut other = push.clone();
    other.key = [0; 8].into();
    assert!(matches!(world.reseal(&other), Err(Refused::UnknownIngressKey(_))));
    let mut altered = push;
    altered.id = proto::ids::PushId::random();
    assert!(matches!(world.reseal(&altered), Err(Refused::DoesNotOpen(_))));
}
