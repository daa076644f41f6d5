//! 7: what the receiving gateway does with a batch: signature, chain, hash of the body.

use divan::Bencher;
use divan::counter::ItemsCount;
use gateway::inbound::verify::{Expected, verify as check};
use gateway::outbound::serve::Exchange;
use gateway::store::Cursor;
use proto::batch::SignedBatch;

use crate::PUSHES;
use crate::world::{World, first};

#[divan::bench(args = PUSHES)]
fn verify(bencher: Bencher<'_, '_>, reports: usize) {
    let world = World::of(1);
    world.fill(1, reports);
    let page = world.page(&Exchange::new(world.fixture.node.clone()), &world.peer());
    let batch = SignedBatch::parse(page.batches.into_iter().next().unwrap()).unwrap();
    let (node, trust) = (&world.fixture.node, world.fixture.node.trust_list());
    let expected = Expected {
        origin: trust.country(node.country).unwrap(),
        own: first(),
        trust: &trust,
        has_inbox: &|_| false,
        cursor: Cursor::default(),
        now: node.clock.now(),
    };
    bencher
        .counter(ItemsCount::new(reports))
        .with_inputs(|| batch.clone())
        .bench_values(|batch| check(batch, &expected).unwrap());
}
