//! The knowledge table of Herald Secured (`herald.md` 4.3), row by row: what each party holds when a contact has
//! crossed a border is searched for what it must not hold, in both directions.

use std::path::Path;

use country_adapter::herald::secured::report::ReportToken;
use country_adapter::lists::Entry;
use harness::desk::Degree;
use harness::knowledge::Holding;
use harness::phone::{Phone, Stay, meet};
use harness::story::holdings::{self, Meeting};
use harness::story::{FRANCE, Phase, Stage, UK};

#[tokio::test(flavor = "multi_thread")]
async fn each_party_holds_what_the_table_says_and_nothing_else() {
    let mut stage = Stage::open(None).await.unwrap();
    let phone = async |name, place| stage.secured(name, place).await.unwrap();
    let (mut alice, mut bruno) = (phone("Alice", UK).await, phone("Bruno", FRANCE).await);
    let (mut clara, mut dan) = (phone("Clara", FRANCE).await, phone("Dan", UK).await);
    let stay = Stay::new(stage.now - 3_600, 20, 1.5);
    meet(&mut stage.air, [&mut alice, &mut bruno], &stay).unwrap();
    meet(&mut stage.air, [&mut clara, &mut dan], &stay).unwrap();
    for ill in [&alice, &clara] {
        let case = ill.case(stage.now).unwrap();
        assert_eq!(stage.case(ill, case).await.unwrap().status, 202);
    }
    let arrived = async || (stage.national.events().len() == 1).then_some(());
    stage.wait("the French national system has the contact", arrived).await.unwrap();
    stage.poll_until(&mut dan, |found| found.own == 1).await.unwrap();
    stage.close().await.unwrap();
    an_entry_is_five_fields_and_no_octet_more(&stage, &clara, &dan);

    for (ill, contact) in [(&alice, &bruno), (&clara, &dan)] {
        let rows = Meeting::of(&stage, ill, contact).unwrap().search(&stage).unwrap();
        radio_has_headers_and_one_time_keys(&rows);
        nobody_between_has_anything(&rows);
        the_ill_persons_side_cannot_tell_whom_it_met(&rows);
        the_contacts_side_cannot_tell_who_is_ill(&rows);
        for (_, row) in &rows {
            assert!(
                row.is_good(),
                "{} of {ill} and {contact}: {:?}, not found: {:?}",
                row.party,
                row.leaks,
                row.missing
            );
        }
    }
    every_process_told_all_that_it_could(&stage);
}

fn row<'a>(rows: &'a [(Phase, Holding)], party: &str) -> &'a Holding {
    &rows.iter().find(|(_, row)| row.party == party).unwrap().1
}

fn radio_has_headers_and_one_time_keys(rows: &[(Phase, Holding)]) {
    assert_eq!(row(rows, holdings::RADIO).holds, [holdings::ONE_TIME_KEYS].into());
}

/// Both gateways, the lines between them and to phones, and the third country.
fn nobody_between_has_anything(rows: &[(Phase, Holding)]) {
    for party in
        [holdings::ILL_GATEWAY, holdings::NETWORK, holdings::CONTACT_GATEWAY, holdings::OTHER_COUNTRY]
    {
        assert!(row(rows, party).holds.is_empty(), "{party}");
        assert!(row(rows, party).searched > 10_000, "{party}: something was searched");
    }
}

fn the_ill_persons_side_cannot_tell_whom_it_met(rows: &[(Phase, Holding)]) {
    for party in [holdings::ILL_PHONE, holdings::ILL_AUTHORITY] {
        assert!(!row(rows, party).holds.contains(holdings::CONTACT_NAME), "{party}");
    }
}

fn the_contacts_side_cannot_tell_who_is_ill(rows: &[(Phase, Holding)]) {
    for party in [holdings::CONTACT_AUTHORITY, holdings::ALL_PHONES, holdings::CONTACT_PHONE] {
        for secret in [holdings::ILL_NAME, holdings::CLIENT_ID, holdings::CASE_CODE] {
            assert!(!row(rows, party).holds.contains(secret), "{party}: {secret}");
        }
    }
}

/// Token, day, subtotal, time code and receipt: no reading, distance, home or source country has a place in it.
fn an_entry_is_five_fields_and_no_octet_more(stage: &Stage, ill: &Phone, contact: &Phone) {
    let token = ReportToken::parse(&ill.log().iter().next().unwrap().token).unwrap();
    let given = contact.in_secured().unwrap().given(&token.confirmation).unwrap().given;
    let posted = stage.posted(UK).unwrap();
    let at = posted.windows(16).position(|window| window == token.confirmation.octets()).unwrap();
    let expected = [
        &token.confirmation.octets()[..],
        &given.step.day().number().to_be_bytes(),
        &80_u16.to_be_bytes(),
        &given.code.number().to_be_bytes(),
        token.receipt.octets(),
    ];
    assert_eq!(posted[at..at + Entry::LEN], expected.concat());
}

/// The search went through logs that hold all there is.
fn every_process_told_all_that_it_could(stage: &Stage) {
    let traces = |log: &Path| std::fs::read_to_string(log).unwrap().contains("TRACE");
    for (plan, country) in stage.federation.countries() {
        assert!(traces(&country.gateway.log), "{}", plan.name);
        assert!(country.adapters.values().all(|adapter| traces(&adapter.log)), "{}", plan.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_at_home_never_reaches_a_gateway() {
    let mut stage = Stage::open(None).await.unwrap();
    let (mut dan, mut emma): (Phone, Phone) =
        (stage.secured("Dan", UK).await.unwrap(), stage.secured("Emma", UK).await.unwrap());
    meet(&mut stage.air, [&mut dan, &mut emma], &Stay::new(stage.now - 3_600, 20, 1.5)).unwrap();
    let code = stage.federation.case_code(dan.authority(), Degree::First).await.unwrap();
    let answer = dan.upload(&code, &dan.case(stage.now).unwrap()).await.unwrap();
    assert_eq!((answer.member("domestic"), answer.member("foreign")), (Some(1.into()), Some(0.into())));
    stage.poll_until(&mut emma, |found| found.own == 1).await.unwrap();
    let metrics = stage.federation.metrics(harness::members::country(826)).await.unwrap();
    assert_eq!(harness::admin::metric(&metrics, "exchange_pushes_total", &[]), 0.0);
}
