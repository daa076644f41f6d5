//! The stream: every batch once, in order, through kills and gateways that begin anew.

mod set_aside;

use pki::fixture::Federation;
use pki::seal::{PrivateKey, Suite};
use pki::sign::SigningKey;
use proto::batch::Manifest;
use serde_json::Value;

use super::*;
use crate::durable::Disk;
use crate::testing::{World, report, report_for};

/// Receives until the end of the stream.
async fn receive_all(world: &World, disk: Disk) -> Result<Arc<Receiver>, ReceiveError> {
    let receiver = world.receiver(disk)?;
    let mut acknowledged: Option<Mark> = None;
    loop {
        receiver.step(&mut acknowledged).await?;
        let last = world.remote.state().delivered.last().map_or(0, |last| last.position);
        if receiver.intake.cursor()?.at.position == last && acknowledged.unwrap_or_default().position == last
        {
            return Ok(receiver);
        }
    }
}

/// The tokens in the delivered folder.
fn tokens(world: &World) -> Vec<String> {
    let token = |line: &Value| line["report"]["token"].as_str().unwrap().to_owned();
    let mut tokens: Vec<_> =
        world.lines("delivered").iter().flat_map(|(_, lines)| lines.iter().map(token)).collect();
    tokens.sort_unstable();
    tokens
}

fn batches(world: &World, sequences: std::ops::RangeInclusive<u64>) -> Vec<SignedBatch> {
    let reports = |sequence: u64| {
        let first = u32::try_from(sequence).unwrap() * 10;
        vec![report(first, &world.clock), report(first + 1, &world.clock)]
    };
    sequences.map(|sequence| world.batch(sequence, &reports(sequence))).collect()
}

fn quarantined(world: &World) -> Vec<String> {
    crate::durable::names(&world.path("state/quarantine")).unwrap()
}

/// The names that a batch has in quarantine.
fn names_of(position: u64, origin: &str, batch: &SignedBatch) -> [String; 2] {
    let hash = hex::encode(&sha256(&batch.manifest)[..8]);
    ["batch", "reason"].map(|ending| format!("{position}-{origin}-{hash}.{ending}"))
}

#[tokio::test]
async fn delivered_batches_become_files_with_one_report_a_line() {
    let world = World::start().await;
    world.remote.deliver(batches(&world, 1..=2));
    receive_all(&world, Disk::default()).await.unwrap();
    let files = world.lines("delivered");
    let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["0000000001-250-1.ndjson", "0000000002-250-2.ndjson"]);
    let line = &files[0].1[0];
    assert_eq!((line["origin"].as_u64(), line["batch"].as_str().unwrap().len()), (Some(250), 32));
    assert_eq!(line["report"]["kind"], "contact");
    assert_eq!((line["report"]["country"].as_u64(), line["report"]["state"].as_u64()), (Some(826), Some(1)));
    assert_eq!((line["subtotal"].as_u64(), line["mechanism"].as_u64()), (Some(48), Some(1)));
    assert_eq!(line.as_object().unwrap().len(), 5);
    assert_eq!(world.remote.state().acknowledged.last(), Some(&2));
}

#[tokio::test]
async fn killed_between_any_two_steps_each_report_comes_in_once() {
    let world = World::start().await;
    for steps in 0_isize.. {
        world.reset();
        let mut stream = batches(&world, 1..=4);
        stream[2].signature[0] ^= 1;
        let bad = names_of(3, "250", &stream[2]);
        world.remote.deliver(stream);
        world.remote.state().lost_acknowledgements = steps.cast_unsigned() % 2;
        let disk = Disk::dying_after(steps);
        let killed = receive_all(&world, disk.clone()).await;
        if killed.is_ok() && !disk.is_dead() {
            assert!(steps > 20, "{steps} steps cannot be all");
            return;
        }
        while receive_all(&world, Disk::default()).await.is_err() {}
        let tokens = tokens(&world);
        let different: std::collections::BTreeSet<_> = tokens.iter().collect();
        assert_eq!((tokens.len(), different.len()), (6, 6), "killed after step {steps}");
        assert_eq!(world.lines("delivered").len(), 3, "killed after step {steps}");
        assert!(crate::durable::names(&world.path("delivered/.incoming")).unwrap().is_empty());
        assert_eq!(quarantined(&world), bad);
        assert_eq!(world.remote.state().acknowledged.last(), Some(&4));
    }
}

#[tokio::test]
async fn a_position_is_acknowledged_only_after_it_is_kept() {
    let world = World::start().await;
    world.remote.deliver(batches(&world, 1..=2));
    for steps in 0..15 {
        let disk = Disk::dying_after(steps);
        let killed = receive_all(&world, disk.clone()).await;
        let acknowledged = world.remote.state().acknowledged.last().copied().unwrap_or(0);
        let kept = world.receiver(Disk::default()).unwrap().intake.cursor().unwrap().at.position;
        assert!(acknowledged <= kept, "killed after step {steps}");
        if killed.is_ok() {
            return;
        }
    }
}

#[tokio::test]
async fn a_replayed_batch_is_counted_and_acknowledged_and_not_written() {
    let world = World::start().await;
    let stream = batches(&world, 1..=2);
    world.remote.deliver([stream[0].clone(), stream[1].clone(), stream[0].clone(), stream[1].clone()]);
    let receiver = receive_all(&world, Disk::default()).await.unwrap();
    assert_eq!(tokens(&world).len(), 4);
    assert_eq!(receiver.counters.snapshot().replayed, 2);
    assert_eq!(world.remote.state().acknowledged.last(), Some(&4));
}

#[tokio::test]
async fn a_gateway_that_begins_anew_is_followed_and_nothing_comes_twice() {
    let world = World::start().await;
    world.remote.deliver(batches(&world, 1..=4));
    receive_all(&world, Disk::default()).await.unwrap();
    // Its store is restored: the positions begin anew, in another order, with something new among them.
    world.remote.state().delivered.clear();
    let stream = batches(&world, 3..=5);
    world.remote.deliver(stream);
    receive_all(&world, Disk::default()).await.unwrap();
    assert_eq!(tokens(&world).len(), 10);
    assert_eq!(world.lines("delivered").len(), 5);
}

/// A history of the gateway: batches of France (250) and Germany (276) in an order, each with reports of its own.
fn history(world: &World, order: &[(u16, u64)]) -> Vec<SignedBatch> {
    let batch = |(country, sequence): &(u16, u64)| {
        let first = u32::from(*country) * 1_000 + u32::try_from(*sequence).unwrap() * 10;
        let reports = [report(first, &world.clock), report(first + 1, &world.clock)];
        world.plan_from(*country, *sequence).seal(&reports)
    };
    order.iter().map(batch).collect()
}

#[tokio::test]
async fn a_gateway_that_went_back_and_took_other_batches_at_the_same_positions_loses_and_doubles_nothing() {
    let world = World::start().await;
    for acknowledgements_lost in [0, 1] {
        world.reset();
        let all = [(250, 1), (250, 2), (276, 1), (276, 2), (250, 3)];
        let [f1, f2, g1, g2, f3] = <[_; 5]>::try_from(history(&world, &all)).ok().unwrap();
        world.remote.deliver([f1.clone(), f2.clone(), g1.clone()]);
        world.remote.state().lost_acknowledgements = acknowledgements_lost;
        let received = receive_all(&world, Disk::default()).await;
        assert_eq!(received.is_err(), acknowledgements_lost > 0);
        // Its backup knows the first position only. What was not acknowledged to the peers comes in another order.
        world.remote.state().delivered.clear();
        world.remote.deliver([f1, g1, g2, f2, f3]);
        let receiver = receive_all(&world, Disk::default()).await.unwrap();
        let tokens = tokens(&world);
        let different: std::collections::BTreeSet<_> = tokens.iter().collect();
        assert_eq!((tokens.len(), different.len()), (10, 10));
        assert_eq!((world.lines("delivered").len(), receiver.counters.snapshot().replayed), (5, 3));
        assert_eq!(world.remote.state().acknowledged.last(), Some(&5));
    }
}

#[tokio::test]
async fn a_position_whose_batch_was_replaced_after_the_pull_is_not_acknowledged() {
    let world = World::start().await;
    let [one, other] = <[_; 2]>::try_from(history(&world, &[(250, 1), (276, 1)])).ok().unwrap();
    world.remote.deliver([one.clone()]);
    let receiver = receive_all(&world, Disk::default()).await.unwrap();
    world.remote.reset();
    world.remote.deliver([other, one]);
    let taken = receiver.intake.cursor().unwrap().at;
    let refused = world.gateway.acknowledge(taken).await;
    assert_eq!(refused, Err(CallError::CursorBeyondEnd));
    let mut acknowledged = None;
    receiver.step(&mut acknowledged).await.unwrap();
    assert_eq!((receiver.intake.cursor().unwrap().at, acknowledged), (Mark::default(), None));
    assert!(world.remote.state().acknowledged.is_empty());
    receiver.step(&mut acknowledged).await.unwrap();
    assert_eq!((tokens(&world).len(), world.remote.state().acknowledged.last()), (4, Some(&2)));
}

#[tokio::test]
async fn the_cursor_carries_the_hash_of_the_last_batch_whatever_became_of_it() {
    let world = World::start().await;
    let good = world.batch(1, &[report(1, &world.clock)]);
    let mut bad = world.batch(2, &[report(2, &world.clock)]);
    bad.signature[0] ^= 1;
    for last in [good.clone(), bad] {
        world.reset();
        world.remote.deliver([good.clone(), last.clone()]);
        let receiver = receive_all(&world, Disk::default()).await.unwrap();
        let expected = Mark { position: 2, manifest_hash: Some(sha256(&last.manifest)) };
        assert_eq!(receiver.intake.cursor().unwrap().at, expected);
        let json = std::fs::read_to_string(world.path("state/received.json")).unwrap();
        assert!(json.contains(&hex::encode(sha256(&last.manifest))), "{json}");
    }
}

#[tokio::test]
async fn a_position_that_was_stepped_over_has_no_hash() {
    let world = World::start().await;
    world.remote.deliver(batches(&world, 1..=3));
    world.remote.state().purged = 2;
    let receiver = world.receiver(Disk::default()).unwrap();
    receiver.step(&mut None).await.unwrap();
    assert_eq!(receiver.intake.cursor().unwrap().at, Mark { position: 2, manifest_hash: None });
}

#[tokio::test]
async fn what_the_gateway_has_purged_is_stepped_over_and_counted() {
    let world = World::start().await;
    world.remote.deliver(batches(&world, 1..=4));
    {
        let mut state = world.remote.state();
        state.purged = 2;
        state.delivered.retain(|delivered| delivered.position > 2);
    }
    let receiver = receive_all(&world, Disk::default()).await.unwrap();
    assert_eq!((tokens(&world).len(), receiver.counters.snapshot().gaps), (4, 2));
}

#[tokio::test]
async fn positions_that_go_backwards_or_are_missing_are_noticed() {
    let world = World::start().await;
    world.remote.deliver(batches(&world, 1..=2));
    world.remote.state().delivered[1].position = 4;
    let receiver = receive_all(&world, Disk::default()).await.unwrap();
    assert_eq!(receiver.counters.snapshot().gaps, 2);
    let page = |positions: &[u64]| {
        let delivered = |position: &u64| wire::Delivered { position: *position, batch: None };
        receiver.check_order(&positions.iter().map(delivered).collect::<Vec<_>>(), 4)
    };
    assert!(matches!(page(&[5, 5]), Err(ReceiveError::OutOfOrder { found: 5, last: 5 })));
    assert!(matches!(page(&[4]), Err(ReceiveError::OutOfOrder { found: 4, last: 4 })));
    assert!(matches!(page(&[]), Ok(None)));
}

#[tokio::test]
async fn a_damaged_state_is_named_and_nothing_is_received() {
    let world = World::start().await;
    std::fs::create_dir_all(world.path("state")).unwrap();
    for damaged in [
        "",
        "{}",
        r#"{"position":1,"origins":{"0":1}}"#,
        r#"{"position":1,"origins":{"250":0}}"#,
        r#"{"position":1,"manifest_hash":"00ff","origins":{}}"#,
    ] {
        std::fs::write(world.path("state/received.json"), damaged).unwrap();
        let refused = receive_all(&world, Disk::default()).await.err().unwrap().to_string();
        assert!(refused.contains("received.json is damaged"), "{refused}");
    }
}

#[tokio::test]
async fn the_loop_receives_through_outages_until_it_is_stopped() {
    let world = World::start().await;
    world.remote.deliver(batches(&world, 1..=1));
    world.remote.state().outages = 2;
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(world.receiver(Disk::default()).unwrap(), stop.clone()));
    while world.remote.state().acknowledged.last() != Some(&1) {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    running.await.unwrap();
    assert_eq!(tokens(&world).len(), 2);
}
