//! What does not pass goes to quarantine, and may be taken again.

use super::*;
use crate::testing::DEFECT;

/// The only reason in quarantine.
fn reason(world: &World) -> String {
    let [_, name] = <[_; 2]>::try_from(quarantined(world)).unwrap();
    std::fs::read_to_string(world.path("state/quarantine").join(name)).unwrap()
}

/// Delivers one batch between two good ones and gives the reason why it was set aside.
async fn why(world: &World, batch: SignedBatch) -> String {
    world.reset();
    let [first, last] = <[_; 2]>::try_from(batches(world, 1..=2)).ok().unwrap();
    world.remote.deliver([first, batch.clone(), last]);
    let receiver = receive_all(world, Disk::default()).await.unwrap();
    assert_eq!(tokens(world).len(), 4, "it delays nobody");
    assert_eq!(receiver.counters.snapshot().quarantined, 1);
    let origin = Manifest::parse(&batch.manifest).map_or("unknown".into(), |it| it.header.origin.to_string());
    let names = names_of(2, &origin, &batch);
    assert_eq!(quarantined(world), names);
    let kept = std::fs::read(world.path("state/quarantine").join(&names[0])).unwrap();
    assert_eq!(kept, prost::Message::encode_to_vec(&batch.into_wire()), "it is kept as it came");
    reason(world).trim().to_owned()
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
    let signature = signer.sign(Manifest::DOMAIN, &manifest);
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
    let reason = reason(&world);
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
    assert!(reason(&world).contains("report 2: batch body is wrong"));
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
async fn only_batches_over_the_quota_are_set_aside_and_not_their_neighbours() {
    let world = World::start().await;
    let many = |first: u32, count: u32| -> Vec<_> {
        (first..first + count).map(|number| report(number, &world.clock)).collect()
    };
    // A desk of these tests takes 1,100 reports of one country a day.
    let flood = [world.batch(1, &many(1, 1_000)), world.batch(2, &many(1_001, 150))];
    let neighbour = world.plan_from(276, 1).seal(&many(2_000, 10));
    world.remote.deliver([flood[0].clone(), neighbour, flood[1].clone()]);
    let receiver = receive_all(&world, Disk::default()).await.unwrap();
    assert_eq!((tokens(&world).len(), receiver.counters.snapshot().quarantined), (1_110, 1));
    assert_eq!(quarantined(&world), names_of(3, "250", &flood[1]));
    assert_eq!(reason(&world), "50 reports of this batch were over their country's quota of a day\n");
    // A person decides that they are good.
    receiver.quarantine.ask(&receiver.quarantine.list().unwrap()[0].name).unwrap();
    receiver.step(&mut None).await.unwrap();
    let tokens = tokens(&world);
    let different: std::collections::BTreeSet<_> = tokens.iter().collect();
    assert_eq!((tokens.len(), different.len()), (1_160, 1_160));
    assert!(quarantined(&world).is_empty());
}

#[tokio::test]
async fn killed_between_any_two_steps_what_is_over_the_quota_is_kept_for_a_person() {
    let world = World::start().await;
    let flood: Vec<_> = (0..1_110).map(|number| report(number, &world.clock)).collect();
    for steps in 0_isize.. {
        world.reset();
        world.remote.deliver([world.batch(1, &flood)]);
        let disk = Disk::dying_after(steps);
        let killed = receive_all(&world, disk.clone()).await;
        let receiver = receive_all(&world, Disk::default()).await.unwrap();
        let kept = receiver.quarantine.list().unwrap();
        assert_eq!((tokens(&world).len(), kept.len()), (1_100, 1), "killed after step {steps}");
        if killed.is_ok() && !disk.is_dead() {
            assert!(steps > 10, "{steps} steps cannot be all");
            return;
        }
    }
}

#[tokio::test]
async fn a_batch_that_can_be_opened_after_all_is_taken_again_once_and_another_stays() {
    let world = World::start().await;
    let foreign = PrivateKey::parse(Suite::X25519, &PrivateKey::generate(Suite::X25519)).unwrap();
    let mut plan = world.plan(1);
    (plan.key, plan.header.key) = (foreign.public(), foreign.public().id());
    let never = plan.seal(&[report(1, &world.clock)]);
    let mut revoked = world.batch(2, &[report(2, &world.clock), report(3, &world.clock)]);
    let signature = std::mem::replace(&mut revoked.signature, never.signature);
    world.remote.deliver([never, revoked.clone(), world.batch(3, &[report(4, &world.clock)])]);
    let receiver = receive_all(&world, Disk::default()).await.unwrap();
    let kept = receiver.quarantine.list().unwrap();
    assert_eq!((kept.len(), tokens(&world).len()), (2, 1));
    // What was wrong with the second is mended: as if a key or a trust list had come.
    let path = world.path("state/quarantine").join(format!("{}.batch", kept[1].name));
    revoked.signature = signature;
    std::fs::write(path, prost::Message::encode_to_vec(&revoked.into_wire())).unwrap();
    for _ in 0..2 {
        for batch in receiver.quarantine.list().unwrap() {
            receiver.quarantine.ask(&batch.name).unwrap();
        }
        receiver.step(&mut None).await.unwrap();
        assert_eq!(tokens(&world).len(), 3);
        let left = receiver.quarantine.list().unwrap();
        assert_eq!((left.len(), left[0].is_asked), (1, false));
        assert!(left[0].reason.contains("not among identity.hpke_keys"), "{}", left[0].reason);
    }
}

#[tokio::test]
async fn a_batch_that_sets_off_a_defect_is_set_aside_and_holds_up_nothing() {
    let world = World::start().await;
    let defect = world.batch(1, &[report(DEFECT, &world.clock)]);
    world.remote.deliver([defect, world.batch(2, &[report(1, &world.clock)])]);
    let receiver = receive_all(&world, Disk::default()).await.unwrap();
    for _ in 0..3 {
        assert_eq!((tokens(&world).len(), reason(&world).trim()), (1, &*Refused::Defect.to_string()));
        receiver.quarantine.ask(&receiver.quarantine.list().unwrap()[0].name).unwrap();
        receiver.step(&mut None).await.unwrap();
    }
}
