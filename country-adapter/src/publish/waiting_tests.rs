//! Pieces that wait for a country's keys: they fill no disk, hold nobody up, and go out once.

use super::tests::{assert_published_once, lines};
use super::*;
use crate::durable::Disk;
use crate::testing::{World, line_for};

const FRANCE: u16 = 250;

/// Brings all pieces on by so many rounds, without their pauses.
async fn rounds(queue: &mut Queue, times: usize) {
    for _ in 0..times {
        queue.pieces.iter_mut().for_each(|piece| piece.due = Instant::now());
        while queue.step().await.is_ok_and(|step| step == Step::Busy) {}
    }
}

fn files(world: &World) -> Vec<String> {
    let works = crate::durable::names(&world.path("state/pending")).unwrap();
    works
        .iter()
        .flat_map(|work| crate::durable::names(&world.path("state/pending").join(work)).unwrap())
        .collect()
}

#[tokio::test]
async fn a_piece_that_waits_for_keys_keeps_no_push_of_which_all_was_asked_again() {
    let world = World::start().await;
    let own = line_for(&[0x10, 0x03, 0x3a, 0, 0], 9, &world.clock).to_string();
    world.drop_file("a.ndjson", &[lines(&world, 0..2), vec![own]].concat());
    world.remote.state().without_key = vec![FRANCE];
    let mut queue = Queue::resume(world.publisher(Disk::default()).unwrap()).await.unwrap();
    rounds(&mut queue, 10).await;
    assert!(world.remote.state().pushes >= 9);
    // The first push has the only answer of the third report.
    let kept = files(&world);
    assert!(kept.contains(&"0000.push".into()) && kept.len() <= 7, "{kept:?}");
    world.remote.state().without_key.clear();
    rounds(&mut queue, 1).await;
    assert_published_once(&world, 3, "in the end");
}

#[tokio::test]
async fn a_push_is_gone_before_its_reply_so_that_it_is_not_sent_once_more() {
    let world = World::start().await;
    for steps in 0_isize.. {
        world.reset();
        world.drop_file("a.ndjson", &lines(&world, 0..3));
        world.remote.state().without_key = vec![FRANCE];
        let disk = Disk::dying_after(steps);
        if let Ok(publisher) = world.publisher(disk.clone())
            && let Ok(mut queue) = Queue::resume(publisher).await
        {
            rounds(&mut queue, 4).await;
        }
        let killed = disk.is_dead();
        world.remote.state().without_key.clear();
        // So far nothing was accepted. A push that was answered and has lost its reply alone would now be.
        world.remote.forget_answers();
        let mut queue = Queue::resume(world.publisher(Disk::default()).unwrap()).await.unwrap();
        rounds(&mut queue, 3).await;
        assert_published_once(&world, 3, &format!("killed after step {steps}"));
        if !killed {
            assert!(steps > 40, "{steps} steps cannot be all");
            return;
        }
    }
}

#[tokio::test]
async fn whichever_step_fails_while_keys_are_missing_each_report_goes_out_once() {
    let world = World::start().await;
    for steps in 0_isize.. {
        world.reset();
        world.drop_file("a.ndjson", &lines(&world, 0..3));
        world.remote.state().without_key = vec![FRANCE];
        let (has_failed, disk) = Disk::failing_once_after(steps);
        let publisher = world.publisher(disk.clone()).or_else(|_| world.publisher(disk.clone())).unwrap();
        let mut queue = match Queue::resume(publisher.clone()).await {
            Err(_) => Queue::resume(publisher).await.unwrap(),
            Ok(queue) => queue,
        };
        rounds(&mut queue, 4).await;
        let failed = has_failed();
        world.remote.state().without_key.clear();
        rounds(&mut queue, 3).await;
        assert_published_once(&world, 3, &format!("step {steps} failed"));
        assert_eq!(queue.publisher.counters.snapshot().backlog, 0, "step {steps} failed");
        if !failed {
            assert!(steps > 40, "{steps} steps cannot be all");
            return;
        }
    }
}

#[tokio::test]
async fn new_work_goes_out_between_pieces_that_wait_and_are_always_due() {
    let world = World::start().await;
    world.remote.state().without_key = vec![FRANCE];
    for number in 0..4 {
        world.drop_file(&format!("{number}.ndjson"), &lines(&world, number..number + 1));
    }
    let mut queue = Queue::resume(world.publisher(Disk::default()).unwrap()).await.unwrap();
    rounds(&mut queue, 1).await;
    assert_eq!(queue.pieces.len(), 4);
    for number in 5..8 {
        let name = format!("{number}.ndjson");
        world.drop_file(&name, &[line_for(&[0x10, 0x03, 0x3a, 0, 0], number, &world.clock).to_string()]);
        for _ in 0..3 {
            queue.pieces.iter_mut().for_each(|piece| piece.due = Instant::now());
            queue.step().await.unwrap();
        }
        assert_eq!(queue.pieces.len(), 4, "{name} has gone out");
        assert_eq!(world.lines("outgoing/published").len(), usize::try_from(number - 4).unwrap());
    }
}
