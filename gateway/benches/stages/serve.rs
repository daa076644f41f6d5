//! 5: a page of batches read from the store and encoded for a peer.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use gateway::outbound::serve::Exchange;
use prost::Message;

use crate::PUSHES;
use crate::world::World;

/// Batches in the store: together they are a page or more, but of the smallest pushes.
const BATCHES: usize = 64;

#[divan::bench(args = PUSHES)]
fn pull_and_encode(bencher: Bencher<'_, '_>, reports: usize) {
    let world = World::of(1);
    let pushes = BATCHES.min(20_000 / reports);
    world.fill(pushes, reports);
    let (exchange, peer) = (Exchange::new(world.fixture.node.clone()), world.peer());
    let page = world.page(&exchange, &peer);
    bencher
        .counter(ItemsCount::new(page.batches.len() * reports))
        .counter(BytesCount::new(page.encoded_len()))
        .bench(|| world.page(&exchange, &peer).encode_to_vec());
}
