//! What a phone makes of lists, and when it asks for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::RawQuery;
use axum::routing::get;
use country_adapter::phones::{self, Certificate, Limits};
use country_adapter::risk::Threshold;
use pki::sign::SigningKey;
use proto::extended::LeavingData;
use proto::header::EnvelopeHeader;
use proto::ids::Authority;
use proto::report::{Contact, DiagnosisKey, IllKey, Minutes, QuarterHour, Risk, Token, TransmissionRisk};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::testing::{NOW, simple};
use super::super::{Air, Home, Stay, meet, visit};
use super::*;
use crate::place::PhonesPlace;

/// An authority's lists, and a phone that pins its key.
fn list_and_phone() -> (SigningKey, Phone) {
    let key = SigningKey::from_pkcs8(&SigningKey::generate()).unwrap();
    let home = Home::pinning(crate::authority("826/0"), *key.public());
    (key, Phone::simple("Gwen", home, NOW).unwrap())
}

fn increment(number: u32, previous: [u8; 32], key: &SigningKey) -> (Vec<u8>, [u8; 32]) {
    sealed((ListKind::Contacts, number, previous), &[Entry::new([7; Entry::LEN]); 64], key)
}

fn sealed(
    (kind, number, previous): (ListKind, u32, [u8; 32]),
    entries: &[Entry],
    key: &SigningKey,
) -> (Vec<u8>, [u8; 32]) {
    let parameters =
        Parameters { authority: crate::authority("826/0"), mechanism: 1, threshold: Threshold::default() };
    let head = Head { kind, number, posted_at: NOW, previous, parameters };
    let sealed = head.seal(entries, key);
    let length = u32::try_from(sealed.octets.len()).unwrap().to_be_bytes();
    ([&length[..], &sealed.octets].concat(), sealed.hash)
}

#[test]
fn after_a_gap_or_a_fork_a_phone_begins_at_the_beginning() {
    let (key, mut phone) = list_and_phone();
    let mut read =
        |octets: &[u8]| phone.read_list(ListKind::Contacts, octets, NOW).map(|found| found.entries);
    let (one, hash) = increment(1, [0; 32], &key);
    assert!(read(&one).is_ok());
    // It was away, and what came next is not served any more.
    let (twenty, _) = increment(20, [9; 32], &key);
    assert_eq!(read(&twenty).unwrap_err(), Refused::Gap { found: 20, last: 1 });
    assert_eq!(read(&twenty).unwrap(), [(ListKind::Contacts, 64)].into());

    let (key, mut phone) = list_and_phone();
    let mut read =
        |octets: &[u8]| phone.read_list(ListKind::Contacts, octets, NOW).map(|found| found.entries);
    let (first, _) = increment(1, [0; 32], &key);
    assert!(read(&first).is_ok());
    // The list was begun anew, and has grown beyond what the phone has read.
    let (one, other) = increment(1, [0; 32], &key);
    let (two, _) = increment(2, [8; 32], &key);
    assert_eq!(read(&two).unwrap_err(), Refused::Forked { number: 2 });
    assert!(other == hash || read(&one).is_ok());
}

/// An entry for a key of the day of a phone on Simple.
fn daily_key(ill: &Phone, report_type: ReportType) -> Entry {
    let day = Day::of_unix(NOW);
    let Authority::State(country, state) = crate::authority("826/0") else { panic!("826/0 is a state's") };
    let key = IllKey::Simple(ill.in_simple().unwrap().key(day).unwrap(), day);
    let (issuer, transmission_risk) = (ill.authority(), TransmissionRisk::default());
    let destination = (country, state);
    let key = DiagnosisKey { destination, issuer, key, report_type, onset: None, transmission_risk };
    Entry::daily_key(&key).unwrap()
}

#[test]
fn a_revoked_key_warns_nobody_and_what_it_had_added_is_taken_back_once() {
    use ReportType::{ConfirmedTest as Test, Revoked, SelfReport, Unknown};
    for (posted, own, revoked, risk) in [
        (vec![vec![Test]], 2, 0, 48),
        (vec![vec![Unknown]], 0, 0, 0),
        (vec![vec![Revoked]], 0, 0, 0),
        (vec![vec![Test], vec![Revoked]], 2, 2, 0),
        (vec![vec![Revoked], vec![Test]], 0, 0, 0),
        (vec![vec![Test, Revoked]], 0, 0, 0),
        (vec![vec![Test], vec![Revoked], vec![Revoked], vec![SelfReport]], 2, 2, 0),
    ] {
        let ((key, mut gwen), mut mia) = (list_and_phone(), simple("36/2"));
        meet(&mut Air::default(), [&mut gwen, &mut mia], &Stay::new(NOW, 12, 1.5)).unwrap();
        let (mut found, mut previous) = (Found::default(), [0; 32]);
        for (number, types) in (1..).zip(&posted) {
            let entries: Vec<_> = types.iter().map(|of| daily_key(&mia, *of)).collect();
            let (octets, hash) = sealed((ListKind::DailyKeys, number, previous), &entries, &key);
            found.add(gwen.read_list(ListKind::DailyKeys, &octets, NOW).unwrap());
            previous = hash;
        }
        assert_eq!((found.heard, found.revoked), (own, revoked), "{posted:?}");
        assert_eq!(gwen.warnings().risk(Day::of_unix(NOW)), risk, "{posted:?}");
    }
}

#[test]
fn a_revoked_key_takes_back_nothing_of_another_ill_person() {
    let ((key, mut gwen), [mut mia, mut noah]) = (list_and_phone(), [simple("36/2"), simple("36/2")]);
    for other in [&mut mia, &mut noah] {
        meet(&mut Air::default(), [&mut gwen, other], &Stay::new(NOW, 12, 1.5)).unwrap();
    }
    let test = [&mia, &noah].map(|ill| daily_key(ill, ReportType::ConfirmedTest));
    let (octets, hash) = sealed((ListKind::DailyKeys, 1, [0; 32]), &test, &key);
    gwen.read_list(ListKind::DailyKeys, &octets, NOW).unwrap();
    let revoked = [daily_key(&mia, ReportType::Revoked)];
    let (octets, _) = sealed((ListKind::DailyKeys, 2, hash), &revoked, &key);
    assert_eq!(gwen.read_list(ListKind::DailyKeys, &octets, NOW).unwrap().revoked, 2);
    assert_eq!(gwen.warnings().risk(Day::of_unix(NOW)), 48);
}

#[test]
fn each_ill_person_at_a_venue_counts_once_also_if_their_entries_look_alike() {
    let (key, mut gwen) = list_and_phone();
    let beacon = [&[0x30, 3, 0x3a, 0, 0][..], &7_u32.to_be_bytes()].concat();
    visit(&mut Air::default(), &mut gwen, &beacon, &Stay::new(NOW, 60, 1.0)).unwrap();
    let there = |minutes| {
        let start = u8::try_from(NOW % Day::SECONDS / 900).unwrap();
        let token = [7_u32.to_be_bytes()].concat();
        Entry::visit(&Contact {
            token: Token::new(EnvelopeHeader::parse(&beacon[..5]).unwrap(), &token).unwrap(),
            day: Day::of_unix(NOW),
            start: QuarterHour::new(start).ok(),
            duration: Minutes::capped(minutes),
            proximity: [0; 4].map(Minutes::capped),
            risk: Risk::default(),
            extended: LeavingData::default(),
        })
        .unwrap()
    };
    let risk = |gwen: &Phone| gwen.warnings().risk(Day::of_unix(NOW));
    let zeros = Entry::new([0; Entry::LEN]);
    let (one, hash) =
        sealed((ListKind::Venues, 1, [0; 32]), &[there(30), zeros, there(30), there(15), zeros], &key);
    assert_eq!(gwen.read_list(ListKind::Venues, &one, NOW).unwrap().venue_minutes, 75);
    assert_eq!(risk(&gwen), 75, "three persons, two of whom came and went together");
    let (two, _) = sealed((ListKind::Venues, 2, hash), &[there(30)], &key);
    gwen.read_list(ListKind::Venues, &two, NOW).unwrap();
    assert_eq!(risk(&gwen), 105, "a fourth, who tested positive later");
    gwen.read_anew(ListKind::Venues);
    let again = gwen.read_list(ListKind::Venues, &[one, two].concat(), NOW).unwrap();
    assert_eq!((risk(&gwen), again.silent), (105, vec![Mismatch::Counted; 4]));
}

#[test]
fn what_somebody_else_signed_does_not_move_a_phone() {
    let (key, mut phone) = list_and_phone();
    let (one, hash) = increment(1, [0; 32], &key);
    phone.read_list(ListKind::Contacts, &one, NOW).unwrap();
    let (forged, _) = increment(9, hash, &SigningKey::from_pkcs8(&SigningKey::generate()).unwrap());
    assert!(phone.read_list(ListKind::Contacts, &forged, NOW).is_err());
    assert_eq!(phone.places["exposures"].last, 1);
}

#[tokio::test]
async fn an_authority_that_does_not_answer_leaves_every_list_where_it_is() {
    let (key, mut phone) = list_and_phone();
    phone.read_list(ListKind::Contacts, &increment(1, [0; 32], &key).0, NOW).unwrap();
    let places = phone.places.clone();
    let found = phone.poll(NOW).await.unwrap();
    assert_eq!((found.missed.len(), &phone.places), (ListKind::ALL.len(), &places), "each was asked for");
}

#[tokio::test]
async fn a_phone_asks_at_the_time_that_it_has_set_itself_and_at_no_other() {
    let (_, mut phone) = list_and_phone();
    assert_eq!(phone.wake(NOW).await.unwrap(), None, "not when it is switched on");
    let due = phone.due.unwrap();
    assert!((NOW + 1..=NOW + 3_960).contains(&due), "within an hour and a tenth");
    let again = Phone::load(&phone.save().unwrap(), phone.home().clone()).unwrap();
    assert_eq!(again.due, Some(due), "nor after a restart");
    for early in [NOW, due - 1] {
        assert_eq!(phone.wake(early).await.unwrap(), None);
    }
    assert!(phone.wake(due).await.unwrap().is_some_and(|found| found.missed.len() == ListKind::ALL.len()));
    assert!(phone.due.unwrap() > due);
}

/// An authority whose server gives one increment of its contacts at a time. The folder has its certificates.
struct OneByOne {
    home: Home,
    asked: Arc<AtomicUsize>,
    _folder: tempfile::TempDir,
    _stop: DropGuard,
}

impl OneByOne {
    async fn serve(increments: Vec<Vec<u8>>, key: &SigningKey) -> Self {
        let (folder, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = PhonesPlace::new(folder.path(), [listener.local_addr().unwrap(); 3]);
        crate::https::make(&place).unwrap();
        let certificate = Certificate { chain: place.certificate.clone(), key: place.key.clone() };
        let tls = certificate.read().unwrap();
        let (asked, increments) = (Arc::<AtomicUsize>::default(), Arc::new(increments));
        let counted = asked.clone();
        let answer = move |RawQuery(query): RawQuery| {
            counted.fetch_add(1, Ordering::Relaxed);
            let since: usize = query.unwrap().strip_prefix("since=").unwrap().parse().unwrap();
            let increment = increments.get(since).cloned().unwrap_or_default();
            async move { increment }
        };
        let router = Router::new().route("/v1/exposures", get(answer));
        let limits = Limits::connections(4);
        tokio::spawn(phones::serve(listener, router, (certificate, tls), limits, stop.clone()));
        let home = Home::serving(crate::authority("826/0"), *key.public(), &place);
        Self { home, asked, _folder: folder, _stop: stop.drop_guard() }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_was_away_for_long_reads_all_that_it_has_missed_at_once() {
    let key = SigningKey::from_pkcs8(&SigningKey::generate()).unwrap();
    let (mut increments, mut previous) = (Vec::new(), [0; 32]);
    for number in 1..=5 {
        let (octets, hash) = increment(number, previous, &key);
        increments.push(octets);
        previous = hash;
    }
    let authority = OneByOne::serve(increments, &key).await;
    let mut phone = Phone::simple("Gwen", authority.home.clone(), NOW).unwrap();
    let found = phone.poll(NOW).await.unwrap();
    assert_eq!(found.missed.get(&ListKind::Contacts), None);
    assert_eq!(found.entries, [(ListKind::Contacts, 5 * 64)].into());
    assert_eq!(authority.asked.swap(0, Ordering::Relaxed), 6, "until nothing more comes");
    assert_eq!(phone.poll(NOW).await.unwrap().entries, BTreeMap::new());
    assert_eq!(authority.asked.load(Ordering::Relaxed), 1);
}
