//! What comes again after a kill, and more than once in one piece.

use super::*;

#[tokio::test]
async fn what_comes_again_in_another_order_after_a_kill_is_no_repetition_of_itself() {
    let place = Place::new().await;
    let octets: Vec<_> = (1..=4).map(|number| place.made(number).octets()).collect();
    let all: Vec<_> = octets.iter().map(|octets| Report::decode(octets).unwrap()).collect();
    // What was held when it came first is due now, and the order is another one.
    let (before, after) = (&all[..3], [all[3], all[2], all[0], all[1]]);
    let mut killed_between = 0;
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
            assert!(killed_between > 10, "{killed_between} kills cannot be all");
            return;
        }
        killed_between += 1;
    }
}
