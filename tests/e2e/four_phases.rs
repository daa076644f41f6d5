//! READ FOR THE FOUR PHASES: phones meet, a case uploads, country sends to country, and a phone recognises itself.
//!
//! `federation story` tells the same with attackers, venues, other payloads and a second round.

use std::time::Duration;

use country_adapter::lists::ListKind;
use country_adapter::second_degree::lag::LONGEST;
use harness::citizens::Citizens;
use harness::desk::Degree;
use harness::members::CountryPlan;
use harness::national::{National, Status};
use harness::phone::{Found, Phone, Stay, meet};
use harness::story::{FRANCE, Stage, UK, unix_now};
use harness::{Federation, authority};
use proto::day::Day;
use serde_json::Value;

const HOUR: u64 = 3_600;
/// Twenty minutes at 1-2 m: four for each minute.
const SUBTOTAL: u16 = 80;

#[tokio::test(flavor = "multi_thread")]
async fn a_french_phone_is_warned_by_its_country() {
    let mut stage = Stage::open(None).await.unwrap();
    let (mut alice, mut bruno) = (phone(&stage, "Alice", UK).await, phone(&stage, "Bruno", FRANCE).await);

    phase_1_phones_meet(&mut stage, &mut alice, &mut bruno);
    phase_2_a_case_uploads(&stage, &alice).await;
    let event = phase_3_france_opens_the_token(&stage).await;
    assert_eq!((&event["origin"], &event["subtotal"]), (&826.into(), &SUBTOTAL.into()));
    assert_eq!(event["phone"]["uuid"], bruno.in_secured().unwrap().name(), "France knows its own phone");
    let told = phase_4_the_national_system_tells(&stage, &mut bruno).await;
    assert_eq!(told, Status { risk: SUBTOTAL, exposed: true });

    assert_eq!(stage.national.events().len(), 1, "once");
    let found = alice.poll(unix_now()).await.unwrap();
    assert_eq!((found.own, found.octets), (0, 0), "nobody warns the ill person");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_british_phone_warns_its_owner_itself() {
    let mut stage = Stage::open(None).await.unwrap();
    let (mut clara, mut dan) = (phone(&stage, "Clara", FRANCE).await, phone(&stage, "Dan", UK).await);
    let mut stranger = phone(&stage, "Emma", UK).await;

    phase_1_phones_meet(&mut stage, &mut clara, &mut dan);
    phase_2_a_case_uploads(&stage, &clara).await;
    let found = phase_3_and_4_dan_finds_himself(&stage, &mut dan).await;
    assert_eq!(found.entries.get(&ListKind::Contacts), Some(&64), "63 of them are nobody's");
    assert_eq!((found.own, found.silent.len()), (1, 0));
    let today = Day::of_unix(unix_now());
    assert_eq!(dan.warnings().risk(today), SUBTOTAL);
    assert!(dan.shown(unix_now() + LONGEST).exposed);
    let at = dan.all_shown_at().unwrap();
    assert!(!dan.shown(at - 1).exposed, "nobody beside him sees when the list was read");

    let nothing = stranger.poll(unix_now()).await.unwrap();
    assert_eq!((nothing.own, nothing.silent.len()), (0, 0), "the same list says nothing to another phone");
    assert!(stage.national.events().is_empty());
    let backend = stage.federation.delivered(authority(UK)).unwrap();
    assert!(backend.is_empty(), "the backend of a decentralised country gets nothing that phones recognise");
    the_process_repeats(&mut stage, &mut dan, &mut stranger).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hybrid_country_does_both() {
    let plans = |national: &National| {
        [
            CountryPlan::new(826, "United Kingdom", &[(UK, "United Kingdom")])
                .citizens(Citizens::decentralised()),
            CountryPlan::new(250, "France", &[(FRANCE, "France")]).citizens(Citizens::hybrid(national)),
        ]
    };
    let mut stage = Stage::start(Federation::builder(), plans).await.unwrap();
    let (mut alice, mut bruno) = (phone(&stage, "Alice", UK).await, phone(&stage, "Bruno", FRANCE).await);

    phase_1_phones_meet(&mut stage, &mut alice, &mut bruno);
    phase_2_a_case_uploads(&stage, &alice).await;
    phase_3_france_opens_the_token(&stage).await;
    let told = phase_4_the_national_system_tells(&stage, &mut bruno).await;
    assert_eq!(told, Status { risk: SUBTOTAL, exposed: true });
    let found = phase_3_and_4_dan_finds_himself(&stage, &mut bruno).await;
    assert_eq!(found.own, 1);
}

async fn phone(stage: &Stage, name: &str, place: &str) -> Phone {
    stage.secured(name, place).await.unwrap()
}

/// Each asks the other once. Nothing leaves the phones.
fn phase_1_phones_meet(stage: &mut Stage, one: &mut Phone, other: &mut Phone) {
    meet(&mut stage.air, [&mut *one, &mut *other], &Stay::new(stage.now - 2 * HOUR, 20, 1.5)).unwrap();
    for phone in [one, other] {
        let minutes: Vec<_> = phone.log().iter().map(|met| met.near.minutes().map(|m| m.number())).collect();
        assert_eq!(minutes, [[0, 20, 0, 0]]);
    }
}

/// A health worker makes a code with the command, and the phone uploads with it, over HTTPS.
async fn phase_2_a_case_uploads(stage: &Stage, ill: &Phone) {
    let code = stage.federation.case_code(ill.authority(), Degree::First).await.unwrap();
    let answer = ill.upload(&code, &ill.case(stage.now).unwrap()).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.in_a_word());
    assert_eq!(answer.member("foreign"), Some(1.into()));
}

/// Gateway to gateway, and to the only authority that can open the token; then by webhook.
async fn phase_3_france_opens_the_token(stage: &Stage) -> Value {
    let arrived = async || stage.national.events().first().cloned();
    let (event, took) = stage.wait("the French national system has the contact", arrived).await.unwrap();
    assert!(took < Duration::from_secs(15));
    event
}

async fn phase_4_the_national_system_tells(stage: &Stage, phone: &mut Phone) -> Status {
    phone.ask_national(stage.national.address(), unix_now()).await.unwrap()
}

/// What a phone has added up makes it ask for a case code; a phone that has nothing to add up does not. Its owner calls,
/// is tested, and the phone uploads.
async fn the_process_repeats(stage: &mut Stage, warned: &mut Phone, stranger: &mut Phone) {
    let told = warned.all_shown_at().unwrap();
    assert_eq!(stranger.wants_code(told), None);
    assert_eq!(warned.wants_code(told - 1), None);
    let wanted = warned.wants_code(told).unwrap();
    let case = warned.case(stage.now).unwrap();
    let answer = stage.case_wanted(&wanted, warned, case).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.member("foreign")), (202, Some(1.into())));
    assert_eq!(warned.wants_code(told), None, "once");
    phase_3_france_opens_the_token(stage).await;
}

/// The authority posts, every phone downloads, and one finds itself.
async fn phase_3_and_4_dan_finds_himself(stage: &Stage, phone: &mut Phone) -> Found {
    let (found, _) = stage.poll_until(phone, |found| found.own > 0).await.unwrap();
    assert_eq!(phone.poll(unix_now()).await.unwrap().own, 0, "a contact counts once");
    found
}
