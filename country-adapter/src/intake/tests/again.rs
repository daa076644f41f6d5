//! What comes again after a kill, and more than once in one piece.

use super::*;

#[tokio::test]
async fn what_comes_again_in_another_order_after_a_kill_is_no_repetition_of_itself() {
    let place = Place::new().await;
    let octets: Vec<_> = (1..=4).map(|number| place.made(number).octets()).collect();
    let all: Vec<_> = octets.iter().map(|octets| Report::decode(octets).unwrap()).collect();
    // What was held when it came first is due now, and the order is another one.
    let (before, after) = (&all[..3], [all[3], all[2], all[0], all[1]]);
    for steps in 0_isize.. {
        for folder in ["state", "delivered"] {
            let _ = std::fs::remove_dir_all(place.world.path(folder));
        }
        let disk = Disk::dying_after(steps);
        let killed = place
            .intake(disk.clone(), Approach::Decentralised)
            .and_then(|intake| intake.take(upload(1), Degree::First, before));
        let intake = place.intake(Disk::default(), Approach::Decentralised).unwrap();
        let taken = intake.take(upload(1), Degree::First, &after).unwrap();
        let expected = if taken == Taken::Now { 4 } else { 3 };
        let posted = place.posted(ListKind::Contacts).into_values().collect::<Vec<_>>();
        assert_eq!(posted, vec![1; expected], "killed after step {steps}");
        assert_eq!(refusals(&intake), BTreeMap::new(), "killed after step {steps}");
        if killed.is_ok() && !disk.is_dead() {
            assert!(steps > 10, "{steps} kills cannot be all");
            return;
        }
    }
}

#[tokio::test]
async fn a_visit_and_what_stays_closed_count_once_in_a_batch() {
    let place = Place::new().await;
    let intake = place.intake(Disk::default(), Approach::Hybrid).unwrap();
    let visit = somewhere(place.world.clock.today());
    let custom = crate::testing::report_for(&[0x08, 0x03, 0x3a, 0, 1], 1, &place.world.clock);
    for position in 1..=2 {
        let twice = [visit.clone(), custom.clone(), visit.clone(), custom.clone()];
        accept(&intake, &batch(&place, position, &twice)).unwrap();
    }
    assert_eq!(refusals(&intake), BTreeMap::from([("already_seen", 4)]));
    assert_eq!(place.posted(ListKind::Venues).into_values().sum::<usize>(), 2, "of two batches");
    assert_eq!(place.handed_over(), 4);
}

#[tokio::test]
async fn a_visit_adds_no_more_than_its_minutes_can() {
    let place = Place::new().await;
    let day = place.world.clock.today();
    for (proximity, score, told) in [
        ([0; 4], None, Some(None)),
        ([0; 4], Some(219), Some(Some(219))),
        ([0; 4], Some(65_534), Some(Some(220))),
        ([0, 20, 2, 0], Some(80), Some(Some(80))),
        ([0, 20, 3, 0], Some(80), None),
    ] {
        for folder in ["state", "delivered"] {
            let _ = std::fs::remove_dir_all(place.world.path(folder));
        }
        let intake = place.intake(Disk::default(), Approach::Hybrid).unwrap();
        accept(&intake, &batch(&place, 1, &[visit(day, proximity, score)])).unwrap();
        let posted = place.entries().into_iter().map(|(_, entry)| entry.as_visit().unwrap().score);
        let expected: Vec<_> = told
            .into_iter()
            .map(|score: Option<u16>| score.map(|score| Score::new(score).unwrap()))
            .collect();
        assert_eq!(posted.collect::<Vec<_>>(), expected, "{proximity:?} {score:?}");
        let refused = told.map_or(BTreeMap::from([("impossible_minutes", 1)]), |_| BTreeMap::new());
        assert_eq!(refusals(&intake), refused);
    }
}

#[tokio::test]
async fn whoever_goes_back_to_the_beginning_still_hands_over_what_was_committed() {
    let place = Place::new().await;
    let batch = batch(&place, 1, &[place.made(1).octets()]);
    for steps in 0_isize.. {
        for folder in ["state", "delivered"] {
            let _ = std::fs::remove_dir_all(place.world.path(folder));
        }
        let (has_failed, disk) = Disk::failing_once_after(steps);
        let Ok(intake) = place.intake(disk, Approach::Hybrid) else { continue };
        let _ = accept(&intake, &batch);
        intake.rewind().or_else(|_| intake.rewind()).unwrap();
        accept(&intake, &batch).or_else(|_| accept(&intake, &batch)).unwrap();
        assert_eq!(place.handed_over(), 1, "step {steps} failed");
        let posted = place.posted(ListKind::Contacts);
        assert_eq!(posted.into_values().collect::<Vec<_>>(), [1], "step {steps} failed");
        if !has_failed() {
            assert!(steps > 15, "{steps} steps cannot be all");
            return;
        }
    }
}
