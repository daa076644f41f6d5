use pki::fixture::Federation;
use pki::seal::{PrivateKey, Suite};
use pki::sign::SigningKey;
use serde_json::Value;

use super::*;
use crate::durable::Disk;
use crate::testing::{World, report, report_for};

/// Receives until the end of the stream.
async fn receive_all(world: &World, disk: Disk) -> Result<Arc<Receiver>, ReceiveError> {
    let receiver = world.receiver(disk)?;
    let mut acknowledged = None;
    loop {
        receiver.step(&mut acknowledged).await?;
        let last = world.remote.state().delivered.last().map_or(0, |last| last.position);
        if receiver.backend.cursor()?.position == last && acknowledged.unwrap_or(0) == last {
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

fn reason(world: &World, position: u64) -> String {
    std::fs::read_to_string(world.path("state/quarantine").join(format!("{position}.reason"))).unwrap()
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
    assert_eq!(line.as_object().unwrap().len(), 3);
    assert_eq!(world.remote.state().acknowledged.last(), Some(&2));
}

#[tokio::test]
async fn killed_between_any_two_steps_each_report_comes_in_once() {
    let world = World::start().await;
    for steps in 0_isize.. {
        world.reset();
        let mut stream = batches(&world, 1..=4);
        stream[2].signature[0] ^= 1;
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
        assert_eq!(quarantined(&world), ["3.batch", "3.reason"]);
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
        let kept = world.receiver(Disk::default()).unwrap().backend.cursor().unwrap().position;
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

/// Delivers one batch between two good ones and gives the reason why it was set aside.
async fn why(world: &World, batch: SignedBatch) -> String {
    world.reset();
    let [first, last] = <[_; 2]>::try_from(batches(world, 1..=2)).ok().unwrap();
    world.remote.deliver([first, batch.clone(), last]);
    let receiver = receive_all(world, Disk::default()).await.unwrap();
    assert_eq!(tokens(world).len(), 4, "it delays nobody");
    assert_eq!(receiver.counters.snapshot().quarantined, 1);
    assert_eq!(quarantined(world), ["2.batch", "2.reason"]);
    let kept = std::fs::read(world.path("state/quarantine/2.batch")).unwrap();
    assert_eq!(kept, prost::Message::encode_to_vec(&batch.into_wire()), "it is kept as it came");
    reason(world, 2).trim().to_owned()
}

#[tokio::test]
async fn every_batch_that_does_not_pass_is_set_aside_with_its_reason() {
    let world = World::start().await;
    let own_signing = &world.federation.country(826).signing;
    let stranger = SigningKey::from_pkcs8(&SigningKey::generate()).unwrap();
    let foreign_key = PrivateKey::parse(Suite::X25519, &PrivateKey::generate(Suite::X25519)).unwrap();
    let reports = [report(1, &world.clock)];
    let [one, two] = <[_; 2]>::try_from(batches(&world, 8..=9)).ok().unwrap();

    let swapped = SignedBatch { signature: two.signature, ..one.clone() };
    assert!(why(&world, swapped).await.contains("signature of signing key"));
    let swapped = SignedBatch { sealed: two.sealed.clone(), ..one.clone() };
    assert_eq!(why(&world, swapped).await, "the sealed body is not the one that its origin signed");
    let unsigned = SignedBatch { signing_key: stranger.public().id(), ..one.clone() };
    assert!(why(&world, unsigned).await.contains("belongs to no country of the trust list"));

    let mut plan = world.plan(9);
    plan.header.destination = "826/0".parse().unwrap();
    assert_eq!(why(&world, plan.seal(&reports)).await, "the batch is for 826/0, not for this authority");
    let mut plan = world.plan(9);
    plan.signer = own_signing;
    let other = why(&world, plan.seal(&reports)).await;
    assert_eq!(other, "the batch says that it comes from 250, and country 826 signed it");
    let mut plan = world.plan(9);
    plan.header.sealed_at = 1;
    assert!(why(&world, plan.seal(&reports)).await.contains("was not certified at minute 1"));
    let mut plan = world.plan(9);
    (plan.key, plan.header.key) = (foreign_key.public(), foreign_key.public().id());
    assert!(why(&world, plan.seal(&reports)).await.contains("not among identity.hpke_keys"));
    let mut plan = world.plan(9);
    plan.key = foreign_key.public();
    assert!(why(&world, plan.seal(&reports)).await.contains("the batch does not open"));

    let signer = &world.federation.country(250).signing;
    let manifest = bytes::Bytes::from_static(b"no manifest");
    let signature = signer.sign(proto::batch::Manifest::DOMAIN, &manifest);
    let garbage = SignedBatch { manifest, signature, ..one };
    assert!(why(&world, garbage).await.contains("does not parse"));
}

#[tokio::test]
async fn a_revoked_origin_is_set_aside_and_a_suspended_one_is_delivered() {
    let world = World::start().await;
    for (status, delivered) in [("suspended", 4), ("revoked", 0)] {
        world.reset();
        let draft = world.federation.draft(2);
        let (others, france) = draft.split_at(draft.find("country = 250").unwrap_or(0));
        let (france, rest) = france.split_at(france.find("[[country]]").unwrap_or(france.len()));
        let draft = format!("{others}{}{rest}", france.replacen("active", status, 1));
        let list =
            world.federation.signed(&draft).check(&world.federation.trusted(), pki::fixture::now()).unwrap();
        world.trust.send_replace(Arc::new(list));
        world.remote.deliver(batches(&world, 1..=2));
        receive_all(&world, Disk::default()).await.unwrap();
        assert_eq!(tokens(&world).len(), delivered, "{status}");
    }
}

#[tokio::test]
async fn a_bad_report_is_set_aside_and_the_others_are_delivered() {
    let world = World::start().await;
    let elsewhere = report_for(&[0x10, 0x03, 0x3a, 0, 2], 2, &world.clock);
    let abroad = report_for(&[0x10, 0x00, 0xfa, 0, 0], 3, &world.clock);
    let reports = [report(1, &world.clock), vec![9, 9, 9], elsewhere, abroad, report(4, &world.clock)];
    world.remote.deliver([world.batch(1, &reports)]);
    let receiver = receive_all(&world, Disk::default()).await.unwrap();
    assert_eq!(tokens(&world).len(), 2);
    assert_eq!(receiver.counters.snapshot().bad_reports, 3);
    assert_eq!(quarantined(&world), ["1.batch", "1.reason"]);
    let reason = reason(&world, 1);
    assert!(reason.contains("report 2: report kind is wrong"), "{reason}");
    assert!(reason.contains("report 3: header: it is addressed to another authority"), "{reason}");
    assert!(reason.contains("report 4: header"), "{reason}");
}

#[tokio::test]
async fn a_body_that_breaks_off_gives_what_stands_before_the_break() {
    let world = World::start().await;
    let mut text = Vec::new();
    proto::body::put_report(&mut text, &report(1, &world.clock)).unwrap();
    text.extend_from_slice(&[0xff; 9]);
    world.remote.deliver([world.plan(1).seal_text(text)]);
    receive_all(&world, Disk::default()).await.unwrap();
    assert_eq!(tokens(&world).len(), 1);
    assert!(reason(&world, 1).contains("report 2: batch body is wrong"));
}

#[tokio::test]
async fn a_batch_of_a_federation_that_nobody_knows_is_not_opened() {
    let world = World::start().await;
    let batch = world.batch(1, &[report(1, &world.clock)]);
    let other = Federation::of(&["826/1", "250/0"]).trust_list();
    let refused = verify(1, batch.clone(), &other, World::own()).err().unwrap();
    assert!(matches!(refused, Refused::UnknownSigner(_)));
    assert!(verify(1, batch, &world.trust.borrow(), World::own()).is_ok());
}

#[tokio::test]
async fn a_damaged_state_is_named_and_nothing_is_received() {
    let world = World::start().await;
    std::fs::create_dir_all(world.path("state")).unwrap();
    for damaged in
        ["", "{}", "{\"position\":1,\"origins\":{\"0\":1}}", "{\"position\":1,\"origins\":{\"250\":0}}"]
    {
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
