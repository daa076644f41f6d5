//! What comes too late, too early, or again.

use super::*;

/// A report of Simple with an identifier of its own, of a day.
fn identifier(number: u8, day: Day) -> Vec<u8> {
    let header = EnvelopeHeader::new(0x10, World::own()).unwrap();
    let mut octets = Vec::new();
    Report::Contact(Reported {
        token: Token::new(header, &[number; 16]).unwrap(),
        day,
        start: None,
        duration: Minutes::capped(20),
        proximity: [0, 20, 0, 0].map(Minutes::capped),
        risk: Risk::default(),
        extended: LeavingData::default(),
    })
    .encode(&mut octets);
    octets
}

#[tokio::test]
async fn what_is_more_than_15_days_old_or_later_than_tomorrow_is_refused_whatever_it_is() {
    let place = Place::new().await;
    let today = place.world.clock.today();
    let days = [(today.minus(16), 0), (today.minus(15), 1), (today.plus(1), 1), (today.plus(2), 0)];
    for (day, posted) in days {
        let _ = std::fs::remove_dir_all(place.world.path("state"));
        let intake = place.intake(Disk::default(), Approach::Decentralised).unwrap();
        let reports = [identifier(1, day), somewhere(day)];
        accept(&intake, &batch(&place, 1, &reports)).unwrap();
        let entries = [ListKind::Contacts, ListKind::Venues].map(|kind| place.posted(kind).len());
        assert_eq!(entries, [posted; 2], "{day}");
        let refused = if posted == 0 { BTreeMap::from([("out_of_time", 2)]) } else { BTreeMap::new() };
        assert_eq!(refusals(&intake), refused, "{day}");
    }
}

#[tokio::test]
async fn what_was_forgotten_cannot_be_counted_again() {
    let place = Place::new().await;
    let intake = place.intake(Disk::default(), Approach::Decentralised).unwrap();
    let today = place.world.clock.today();
    for position in 1..=3 {
        for age in 0..40 {
            let replayed = identifier(u8::try_from(age + 1).unwrap(), today.minus(age));
            accept(&intake, &batch(&place, position * 100 + u64::from(age), &[replayed])).unwrap();
        }
        intake.forget(today).unwrap();
    }
    assert!(place.posted(ListKind::Contacts).into_values().all(|times| times == 1));
    assert_eq!(refusals(&intake), BTreeMap::from([("already_seen", 2 * 16), ("out_of_time", 3 * 24)]));
}

#[tokio::test]
async fn a_clock_that_leaps_makes_no_report_too_old_and_none_of_its_days_too_early() {
    let place = Place::new().await;
    let intake = place.intake(Disk::default(), Approach::Decentralised).unwrap();
    let today = place.world.clock.today();
    accept(&intake, &batch(&place, 1, &[identifier(1, today)])).unwrap();
    place.world.clock.turn(40 * 86_400);
    accept(&intake, &batch(&place, 2, &[identifier(2, today.minus(15)), identifier(3, today.plus(41))]))
        .unwrap();
    assert_eq!((place.posted(ListKind::Contacts).len(), refusals(&intake)), (3, BTreeMap::new()));
}

#[tokio::test]
async fn a_key_that_is_in_use_comes_to_nothing_wherever_it_comes_from() {
    let place = Place::new().await;
    let today = place.world.clock.today();
    let intake = place.intake(Disk::default(), Approach::Hybrid).unwrap();
    accept(&intake, &batch(&place, 1, &[key(ReportType::ConfirmedTest, today)])).unwrap();
    accept(&intake, &batch(&place, 2, &[key(ReportType::ConfirmedTest, today.plus(1))])).unwrap();
    accept(&intake, &batch(&place, 3, &[key(ReportType::ConfirmedTest, today.minus(2))])).unwrap();
    assert_eq!(refusals(&intake), BTreeMap::from([("key_in_use", 2)]));
    assert_eq!((place.posted(ListKind::DailyKeys).len(), place.handed_over()), (1, 1));
}

#[tokio::test]
async fn a_key_is_taken_back_only_by_who_sent_it() {
    let place = Place::new().await;
    let day = place.world.clock.today().minus(2);
    let intake = place.intake(Disk::default(), Approach::Decentralised).unwrap();
    let (others, revoked) = (key_of("276/0", ReportType::Revoked, day), key(ReportType::Revoked, day));
    accept(&intake, &batch_from(276, &place, 1, std::slice::from_ref(&others))).unwrap();
    assert_eq!(refusals(&intake), BTreeMap::from([("nothing_to_revoke", 1)]));
    accept(&intake, &batch(&place, 2, &[key(ReportType::ConfirmedTest, day)])).unwrap();
    accept(&intake, &batch_from(276, &place, 3, std::slice::from_ref(&others))).unwrap();
    assert_eq!(refusals(&intake), BTreeMap::from([("nothing_to_revoke", 2)]));
    accept(&intake, &batch(&place, 4, std::slice::from_ref(&revoked))).unwrap();
    assert_eq!(refusals(&intake), BTreeMap::from([("nothing_to_revoke", 2)]));
    drop(intake);
    let intake = place.intake(Disk::default(), Approach::Decentralised).unwrap();
    accept(&intake, &batch(&place, 5, std::slice::from_ref(&revoked))).unwrap();
    assert_eq!(refusals(&intake), BTreeMap::from([("already_seen", 1)]), "it is known after a restart too");
}

#[tokio::test]
async fn a_key_that_was_taken_back_before_it_came_warns_nobody() {
    let place = Place::new().await;
    let day = place.world.clock.today().minus(2);
    let (confirmed, revoked) = (key(ReportType::ConfirmedTest, day), key(ReportType::Revoked, day));
    let intake = place.intake(Disk::default(), Approach::Decentralised).unwrap();
    accept(&intake, &batch(&place, 1, &[revoked, confirmed.clone()])).unwrap();
    assert_eq!(refusals(&intake), BTreeMap::from([("nothing_to_revoke", 1), ("taken_back", 1)]));
    drop(intake);
    let intake = place.intake(Disk::default(), Approach::Decentralised).unwrap();
    accept(&intake, &batch(&place, 2, &[confirmed])).unwrap();
    assert_eq!(refusals(&intake), BTreeMap::from([("taken_back", 1)]));
    assert!(place.posted(ListKind::DailyKeys).is_empty());
}
