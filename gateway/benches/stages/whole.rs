//! 1 to 4 together, as the service is called: from a push's octets to its encoded answer, with a real store.

use std::sync::Arc;

use bytes::Bytes;
use divan::Bencher;
use divan::counter::ItemsCount;
use gateway::caller::Caller;
use gateway::outbound::ingest::Ingest;
use prost::Message;
use proto::wire;
use proto::wire::ingest_server::Ingest as _;
use tokio::task::JoinSet;

use crate::PUSHES;
use crate::world::{World, is_accepted};

#[divan::bench(args = PUSHES, sample_count = 30, sample_size = 1)]
fn push(bencher: Bencher<'_, '_>, reports: usize) {
    pushes(bencher, reports, 1);
}

#[divan::bench(args = PUSHES, sample_count = 10, sample_size = 1)]
fn push_16_at_once(bencher: Bencher<'_, '_>, reports: usize) {
    pushes(bencher, reports, 16);
}

fn pushes(bencher: Bencher<'_, '_>, reports: usize, at_once: usize) {
    let world = World::of(2);
    let ingest = Arc::new(Ingest::new(world.fixture.node.clone()));
    let encoded = || Bytes::from(world.traffic.push(reports, 0).encode_to_vec());
    bencher
        .counter(ItemsCount::new(reports * at_once))
        .with_inputs(|| (0..at_once).map(|_| encoded()).collect::<Vec<_>>())
        .bench_values(|pushes| {
            world.runtime.block_on(async {
                let mut calls = JoinSet::new();
                for push in pushes {
                    calls.spawn(call(ingest.clone(), world.adapter.clone(), push));
                }
                calls.join_all().await
            })
        });
}

async fn call(ingest: Arc<Ingest>, adapter: Caller, push: Bytes) -> Vec<u8> {
    let message = wire::PushRequest::decode(push).unwrap();
    let reply = ingest.push(adapter.call(message)).await.unwrap().into_inner();
    assert!(is_accepted(&reply));
    reply.encode_to_vec()
}
