use std::collections::BTreeSet;

use serde_json::{Value, json};
use tonic::Code;

use super::*;
use crate::durable::Disk;
use crate::testing::{DEFECT, World, line, line_for};

pub(super) fn lines(world: &World, numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| line(number, &world.clock).to_string()).collect()
}

/// Claims everything and brings every piece to its end; the gateway finds its keys whenever a piece waits for them.
async fn publish_all(world: &World, disk: Disk) -> Result<(), PublishError> {
    let publisher = world.publisher(disk)?;
    let mut works: BTreeSet<_> =
        publisher.pending.works()?.into_iter().chain(publisher.backend.claimed()?).collect();
    while let Some(work) = publisher.backend.outgoing()? {
        works.insert(work);
    }
    for work in works {
        while publisher.advance(&work).await? == Progress::WaitsForKeys {
            world.remote.state().without_key.clear();
            publisher.push_again(&work).await?;
        }
    }
    Ok(())
}

/// Every report is at the gateway once, the file is answered once line by line and put away, and nothing is left.
pub(super) fn assert_published_once(world: &World, reports: usize, place: &str) {
    let accepted = world.remote.state().accepted.clone();
    let different: BTreeSet<_> = accepted.iter().collect();
    assert_eq!((accepted.len(), different.len()), (reports, reports), "{place}");
    let answers = world.lines("outgoing/answers");
    assert_eq!(answers.len(), 1, "{place}");
    let numbers: Vec<_> = answers[0].1.iter().map(|answer| answer["line"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=answers[0].1.len() as u64).collect::<Vec<_>>(), "{place}");
    assert_eq!(world.lines("outgoing/published").len(), 1, "{place}");
    for empty in ["outgoing/.working", "state/pending"] {
        assert!(crate::durable::names(&world.path(empty)).unwrap().is_empty(), "{place}: {empty}");
    }
}

fn verdicts(world: &World) -> Vec<(u64, String)> {
    let answers = world.lines("outgoing/answers");
    let verdict =
        |answer: &Value| (answer["line"].as_u64().unwrap(), answer["verdict"].as_str().unwrap().to_owned());
    answers.iter().flat_map(|(_, answers)| answers.iter().map(verdict)).collect()
}

#[tokio::test]
async fn good_lines_go_out_and_bad_ones_are_answered_here() {
    let world = World::start().await;
    let today = world.clock.today();
    let mut old = line(8, &world.clock);
    old["date"] = json!(today.minus(16).to_string());
    let mut future = line(9, &world.clock);
    future["date"] = json!(today.plus(2).to_string());
    let mut forbidden = line(10, &world.clock);
    forbidden["case_id"] = json!(5);
    let file = [
        line(1, &world.clock).to_string(),
        "not json".into(),
        line(1, &world.clock).to_string(),
        old.to_string(),
        future.to_string(),
        forbidden.to_string(),
        line_for(&[0x10, 0x3a, 0x03, 1, 0], 11, &world.clock).to_string(),
        format!("{{\"frame\":\"{}\"}}", "A".repeat(17_000)),
        line(2, &world.clock).to_string(),
    ];
    world.drop_file("a.ndjson", &file);
    publish_all(&world, Disk::default()).await.unwrap();
    assert_published_once(&world, 2, "all");
    let expected = [
        "accepted",
        "malformed",
        "duplicate",
        "too_old",
        "from_the_future",
        "forbidden_field",
        "unroutable",
        "malformed",
        "accepted",
    ];
    let found: Vec<_> = verdicts(&world).into_iter().map(|(_, verdict)| verdict).collect();
    assert_eq!(found, expected);
    let answers = &world.lines("outgoing/answers")[0].1;
    assert!(answers[6]["message"].as_str().unwrap().contains("byte-swapped: 826 is a country"));
    assert!(answers[7]["message"].as_str().unwrap().contains("longer than 16384 octets"));
    assert!(answers[0].get("message").is_none() && answers[0]["push"].as_str().unwrap().len() == 32);
    assert!(answers[1].get("push").is_none());
}

#[tokio::test]
async fn files_that_are_still_written_are_left_alone() {
    let world = World::start().await;
    for name in [".a.ndjson", "a.ndjson.tmp", "a.ndjson.part", "a.txt"] {
        world.drop_file(name, &lines(&world, 0..1));
    }
    publish_all(&world, Disk::default()).await.unwrap();
    assert_eq!(world.remote.state().pushes, 0);
}

#[tokio::test]
async fn a_long_file_is_cut_into_pushes_of_5000() {
    let world = World::start().await;
    world.drop_file("a.ndjson", &lines(&world, 0..5_001));
    publish_all(&world, Disk::default()).await.unwrap();
    assert_published_once(&world, 5_001, "long");
    assert_eq!(world.remote.state().pushes, 2);
}

#[tokio::test]
async fn killed_between_any_two_steps_each_report_goes_out_once() {
    let world = World::start().await;
    for steps in 0_isize.. {
        world.reset();
        world.drop_file("a.ndjson", &[lines(&world, 0..3), vec!["bad".into()]].concat());
        world.remote.state().lost_answers = steps.cast_unsigned() % 2;
        let disk = Disk::dying_after(steps);
        let killed = publish_all(&world, disk.clone()).await;
        if killed.is_ok() && !disk.is_dead() {
            assert!(steps > 20, "{steps} steps cannot be all");
            return;
        }
        while publish_all(&world, Disk::default()).await.is_err() {}
        assert_published_once(&world, 3, &format!("killed after step {steps}"));
    }
}

#[tokio::test]
async fn killed_anywhere_while_keys_are_missing_or_change_each_report_goes_out_once() {
    let world = World::start().await;
    for steps in 0_isize.. {
        world.reset();
        world.drop_file("a.ndjson", &lines(&world, 0..3));
        world.remote.state().without_key = vec![250];
        let disk = Disk::dying_after(steps);
        let killed = publish_all(&world, disk.clone()).await;
        if killed.is_ok() && !disk.is_dead() {
            return;
        }
        // What is on the disk is sealed to a key that the gateway has thrown away.
        world.remote.rotate();
        while publish_all(&world, Disk::default()).await.is_err() {}
        assert_published_once(&world, 3, &format!("killed after step {steps}"));
    }
}

#[tokio::test]
async fn the_same_octets_are_sent_until_they_are_answered() {
    let world = World::start().await;
    world.drop_file("a.ndjson", &lines(&world, 0..3));
    world.remote.state().lost_answers = 2;
    for _ in 0..2 {
        assert!(publish_all(&world, Disk::default()).await.unwrap_err().is_of_all());
    }
    publish_all(&world, Disk::default()).await.unwrap();
    assert_eq!(world.remote.state().pushes, 3);
    assert_published_once(&world, 3, "sent again");
}

#[tokio::test]
async fn nothing_is_judged_while_nobody_knows_whether_the_clock_is_right() {
    let world = World::start().await;
    world.drop_file("a.ndjson", &lines(&world, 0..3));
    for leap in [20 * 86_400, -20 * 86_400] {
        world.clock.set_ahead(leap);
        assert!(publish_all(&world, Disk::default()).await.unwrap_err().is_of_all());
        assert!(world.lines("outgoing/answers").is_empty());
        world.clock.set_ahead(-leap);
    }
    publish_all(&world, Disk::default()).await.unwrap();
    assert_published_once(&world, 3, "set right");
}

#[tokio::test]
async fn a_push_refused_whole_sets_the_file_aside_with_its_answers() {
    let world = World::start().await;
    for code in [Code::AlreadyExists, Code::InvalidArgument] {
        world.reset();
        world.drop_file("a.ndjson", &[lines(&world, 0..2), vec!["bad".into()]].concat());
        world.remote.state().refuse = Some(code);
        publish_all(&world, Disk::default()).await.unwrap();
        let found: Vec<_> = verdicts(&world).into_iter().map(|(_, verdict)| verdict).collect();
        assert_eq!(found, ["refused", "refused", "malformed"]);
        assert_eq!(world.lines("outgoing/failed").len(), 1);
        assert!(world.lines("outgoing/published").is_empty());
    }
}

#[tokio::test]
async fn a_gateway_that_is_full_is_asked_again() {
    let world = World::start().await;
    world.drop_file("a.ndjson", &lines(&world, 0..1));
    for code in [Code::ResourceExhausted, Code::PermissionDenied, Code::Internal] {
        world.remote.state().refuse = Some(code);
        assert!(publish_all(&world, Disk::default()).await.unwrap_err().is_of_all());
        assert!(world.lines("outgoing/answers").is_empty());
    }
    world.remote.state().refuse = None;
    publish_all(&world, Disk::default()).await.unwrap();
    assert_published_once(&world, 1, "after all");
}

#[tokio::test]
async fn envelopes_without_a_key_go_out_later_under_another_push_id() {
    let world = World::start().await;
    let own = [0x10, 0x03, 0x3a, 0, 0];
    world.drop_file(
        "a.ndjson",
        &[lines(&world, 0..2), vec![line_for(&own, 9, &world.clock).to_string()]].concat(),
    );
    world.remote.state().without_key = vec![250];
    let publisher = world.publisher(Disk::default()).unwrap();
    let work = publisher.backend.outgoing().unwrap().unwrap();
    assert_eq!(publisher.advance(&work).await.unwrap(), Progress::WaitsForKeys);
    assert_eq!(publisher.advance(&work).await.unwrap(), Progress::WaitsForKeys);
    assert_eq!(world.remote.state().pushes, 1);
    assert_eq!(world.remote.state().accepted.len(), 1);
    assert!(world.lines("outgoing/answers").is_empty(), "not all verdicts are final");
    world.remote.state().without_key.clear();
    publisher.push_again(&work).await.unwrap();
    assert_eq!(publisher.advance(&work).await.unwrap(), Progress::Finished);
    assert_published_once(&world, 3, "in the end");
    let answers = &world.lines("outgoing/answers")[0].1;
    assert_ne!(answers[0]["push"], answers[2]["push"]);
}

#[tokio::test]
async fn a_working_file_changed_behind_our_back_is_set_aside_when_it_must_be_sealed_anew() {
    let world = World::start().await;
    world.drop_file("a.ndjson", &lines(&world, 0..2));
    world.remote.state().refuse = Some(Code::Unavailable);
    assert!(publish_all(&world, Disk::default()).await.is_err());
    let (name, _) = world.lines("outgoing/.working").remove(0);
    std::fs::write(world.path("outgoing/.working").join(name), lines(&world, 5..6).join("\n")).unwrap();
    world.remote.state().refuse = None;
    world.remote.rotate();
    while publish_all(&world, Disk::default()).await.is_err() {}
    assert!(world.remote.state().accepted.is_empty());
    assert_eq!(world.lines("outgoing/failed").len(), 1);
}

#[tokio::test]
async fn ingress_keys_that_the_country_has_not_signed_are_not_used() {
    let world = World::start().await;
    let other = pki::fixture::Federation::of(&["826/0", "826/1"]);
    world.trust.send_replace(Arc::new(other.trust_list()));
    world.drop_file("a.ndjson", &lines(&world, 0..1));
    let refused = publish_all(&world, Disk::default()).await.unwrap_err();
    assert!(matches!(refused, PublishError::Ingress(IngressError::Refused(_))), "{refused}");
    assert_eq!(world.remote.state().pushes, 0);
}

#[tokio::test]
async fn nothing_but_ciphertext_and_verdicts_is_in_the_state() {
    let world = World::start().await;
    world.drop_file("a.ndjson", &lines(&world, 0..3));
    world.remote.state().refuse = Some(Code::Unavailable);
    assert!(publish_all(&world, Disk::default()).await.is_err());
    let mut files = 0;
    for work in crate::durable::names(&world.path("state/pending")).unwrap() {
        let folder = world.path("state/pending").join(work);
        for name in crate::durable::names(&folder).unwrap() {
            let octets = std::fs::read(folder.join(name)).unwrap();
            assert!(!octets.windows(12).any(|window| window == [7; 12]));
            assert!(!octets.windows(16).any(|window| window == b"BwcHBwcHBwcHBwcH"));
            files += 1;
        }
    }
    assert_eq!(files, 2);
}

#[tokio::test]
async fn the_loop_publishes_until_it_is_stopped() {
    let world = World::start().await;
    world.drop_file("a.ndjson", &lines(&world, 0..2));
    world.remote.state().outages = 1;
    let stop = CancellationToken::new();
    let publisher = world.publisher(Disk::default()).unwrap();
    let running = tokio::spawn(run(publisher, (Duration::from_millis(10), Arc::default()), stop.clone()));
    while world.lines("outgoing/published").is_empty() {
        tokio::task::yield_now().await;
    }
    world.drop_file("b.ndjson", &lines(&world, 2..4));
    while world.lines("outgoing/published").len() < 2 {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    running.await.unwrap();
    assert_eq!(world.remote.state().accepted.len(), 4);
}

/// Brings the first piece of a queue on until it is gone, without its pauses.
async fn until_gone(queue: &mut Queue) {
    while !queue.pieces.is_empty() {
        queue.pieces[0].due = Instant::now();
        queue.go_on(0).await.unwrap();
    }
}

#[tokio::test]
async fn a_claimed_file_that_can_never_be_read_is_set_aside_after_some_tries() {
    let world = World::start().await;
    let mut queue = Queue::resume(world.publisher(Disk::default()).unwrap()).await.unwrap();
    std::os::unix::fs::symlink("/nowhere", world.path("outgoing/.working/a.ndjson")).unwrap();
    queue.pieces.push(Piece::new(WorkName::new("a").unwrap()));
    for _ in 1..UNREADABLE {
        queue.go_on(0).await.unwrap();
        assert_eq!(queue.pieces.len(), 1);
    }
    until_gone(&mut queue).await;
    assert_eq!(crate::durable::names(&world.path("outgoing/failed")).unwrap(), ["a.ndjson"]);
    assert!(crate::durable::names(&world.path("outgoing/.working")).unwrap().is_empty());
}

#[tokio::test]
async fn a_piece_that_sets_off_a_defect_is_set_aside_and_holds_up_no_other() {
    let world = World::start().await;
    world.drop_file("a.ndjson", &[line(DEFECT, &world.clock).to_string()]);
    world.drop_file("b.ndjson", &lines(&world, 0..2));
    let mut queue = Queue::resume(world.publisher(Disk::default()).unwrap()).await.unwrap();
    while queue.step().await.unwrap() == Step::Busy {}
    assert_eq!((world.remote.state().accepted.len(), world.lines("outgoing/published").len()), (2, 1));
    until_gone(&mut queue).await;
    assert_eq!(world.lines("outgoing/failed").len(), 1);
}

#[tokio::test]
async fn a_sealed_piece_whose_file_is_gone_when_it_must_be_sealed_anew_is_answered_and_set_aside() {
    let world = World::start().await;
    world.drop_file("a.ndjson", &lines(&world, 0..2));
    world.remote.state().refuse = Some(Code::Unavailable);
    assert!(publish_all(&world, Disk::default()).await.is_err());
    world.remote.state().refuse = None;
    world.remote.rotate();
    let (name, _) = world.lines("outgoing/.working").remove(0);
    let working = world.path("outgoing/.working").join(name);
    std::fs::remove_file(&working).unwrap();
    std::fs::create_dir(&working).unwrap();
    let mut queue = Queue::resume(world.publisher(Disk::default()).unwrap()).await.unwrap();
    until_gone(&mut queue).await;
    let found: Vec<_> = verdicts(&world).into_iter().map(|(_, verdict)| verdict).collect();
    assert_eq!(found, ["refused", "refused"]);
    assert_eq!(crate::durable::names(&world.path("outgoing/failed")).unwrap().len(), 1);
    assert!(crate::durable::names(&world.path("state/pending")).unwrap().is_empty());
}

#[tokio::test]
async fn a_piece_that_cannot_be_read_does_not_hold_up_the_others() {
    let world = World::start().await;
    world.drop_file("a.ndjson", &lines(&world, 0..1));
    let publisher = world.publisher(Disk::default()).unwrap();
    let mut queue = Queue::resume(publisher).await.unwrap();
    assert_eq!(queue.step().await.unwrap(), Step::Busy);
    let (name, _) = world.lines("outgoing/.working").remove(0);
    let lost = world.path("outgoing/.working").join(name);
    std::fs::remove_file(&lost).unwrap();
    world.drop_file("b.ndjson", &lines(&world, 1..2));
    while queue.step().await.unwrap() == Step::Busy {}
    assert_eq!(world.lines("outgoing/published").len(), 1);
    assert_eq!(world.remote.state().accepted.len(), 1);
}
