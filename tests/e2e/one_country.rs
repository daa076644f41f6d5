//! Two authorities of one country: each warns its own phones, whichever of them has the case.

use std::time::Duration;

use harness::Federation;
use harness::citizens::Citizens;
use harness::members::CountryPlan;
use harness::national::National;
use harness::phone::{Phone, Stay, meet};
use harness::story::{Stage, UK};
use proto::day::Day;

const SCOTLAND: &str = "826/1";

fn countries(_: &National) -> [CountryPlan; 1] {
    let authorities = [(UK, "United Kingdom"), (SCOTLAND, "Scotland")];
    [CountryPlan::new(826, "United Kingdom", &authorities).citizens(Citizens::decentralised())]
}

#[tokio::test(flavor = "multi_thread")]
async fn phones_of_each_authority_are_warned_of_cases_of_the_other() {
    let mut stage = Stage::start(Federation::builder(), countries).await.unwrap();
    for (ill, exposed) in [(UK, SCOTLAND), (SCOTLAND, UK), (UK, UK)] {
        let (mut clara, mut dan) =
            (stage.secured("Clara", ill).await.unwrap(), stage.secured("Dan", exposed).await.unwrap());
        let stay = Stay::new(stage.now - 3_600, 20, 1.5);
        meet(&mut stage.air, [&mut clara, &mut dan], &stay).unwrap();
        let case = clara.case(stage.now).unwrap();
        let answer = stage.case(&clara, case).await.unwrap();
        let (domestic, foreign) = if ill == exposed { (1, 0) } else { (0, 1) };
        assert_eq!(answer.member("domestic"), Some(domestic.into()), "{ill} to {exposed}");
        assert_eq!(answer.member("foreign"), Some(foreign.into()), "{ill} to {exposed}");
        let (found, _): (_, Duration) = stage.poll_until(&mut dan, |found| found.own > 0).await.unwrap();
        assert_eq!(found.own, 1, "{ill} to {exposed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_asks_for_the_lists_has_keys_to_seal_to_for_two_weeks() {
    let stage = Stage::start(Federation::builder(), countries).await.unwrap();
    let mut dan = Phone::secured("Dan", stage.home(UK).unwrap(), *b"S41\0", [2; 8]).unwrap();
    assert_eq!(dan.in_secured().unwrap().days().count(), 0);
    let found = dan.poll(stage.now).await.unwrap();
    assert_eq!((found.keys_missed, found.missed.len()), (None, 0));
    let today = Day::of_unix(harness::story::unix_now());
    let days: Vec<_> = dan.in_secured().unwrap().days().collect();
    assert!((0..=13).all(|ahead| days.contains(&today.plus(ahead))), "{days:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ill_persons_key_reaches_the_phones_at_home() {
    let mut stage = Stage::start(Federation::builder(), countries).await.unwrap();
    let mut gwen = stage.simple("Gwen", UK).unwrap();
    let mut met = [UK, SCOTLAND].map(|place| stage.simple("Mia", place).unwrap());
    let yesterday = Day::of_unix(stage.now).minus(1);
    let stay = Stay::new(yesterday.unix() + Day::SECONDS / 2, 18, 1.5);
    for mia in &mut met {
        meet(&mut stage.air, [&mut gwen, mia], &stay).unwrap();
    }
    // She was nowhere else.
    let case = gwen.case_of_keys(stage.now, &[yesterday], &[]).unwrap();
    assert!(stage.case(&gwen, case).await.unwrap().status.is_success());
    for mia in &mut met {
        let (found, _) = stage.poll_until(mia, |found| found.heard > 0).await.unwrap();
        assert_eq!(found.heard, 3, "{mia}");
    }
}
