//! 1: from octets to a push that is known, and opened with the ingress key.

use bytes::Bytes;
use divan::Bencher;
use divan::counter::ItemsCount;
use gateway::outbound::ingest;
use pki::fixture::report;
use pki::identity::HpkeKeys;
use pki::seal::{PrivateKey, Suite, seal_push};
use prost::Message;
use proto::ids::Authority;
use proto::push::{Draft, Push};
use proto::wire;

use crate::PUSHES;

fn pusher() -> Authority {
    "826/0".parse().unwrap()
}

/// An ingress key, and a push that is sealed to it.
fn sealed(suite: Suite, reports: usize) -> (HpkeKeys, wire::PushRequest) {
    let private = PrivateKey::parse(suite, &PrivateKey::generate(suite)).unwrap();
    let mut draft = Draft::default();
    for number in 0..reports {
        let (header, octets) = report("250/0".parse().unwrap(), 200, number as u64);
        draft.add(&header, &octets).unwrap();
    }
    let (headers, body) = draft.into_parts();
    let push = seal_push(private.public(), pusher(), headers, body).unwrap();
    (HpkeKeys::new(vec![private]), push)
}

#[divan::bench(args = PUSHES)]
fn decode(bencher: Bencher<'_, '_>, reports: usize) {
    let octets: Bytes = sealed(Suite::X25519, reports).1.encode_to_vec().into();
    bencher
        .counter(ItemsCount::new(reports))
        .with_inputs(|| octets.clone())
        .bench_values(|octets| wire::PushRequest::decode(octets).unwrap());
}

#[divan::bench(args = PUSHES)]
fn parse_and_digest(bencher: Bencher<'_, '_>, reports: usize) {
    let (_, message) = sealed(Suite::X25519, reports);
    bencher.counter(ItemsCount::new(reports)).with_inputs(|| message.clone()).bench_values(|message| {
        let push = Push::parse(message).unwrap();
        ingest::digest(&push, pusher())
    });
}

#[divan::bench(args = PUSHES)]
fn open_x25519(bencher: Bencher<'_, '_>, reports: usize) {
    open(bencher, Suite::X25519, reports);
}

#[divan::bench(args = PUSHES)]
fn open_x_wing(bencher: Bencher<'_, '_>, reports: usize) {
    open(bencher, Suite::XWing, reports);
}

fn open(bencher: Bencher<'_, '_>, suite: Suite, reports: usize) {
    let (keys, message) = sealed(suite, reports);
    let push = Push::parse(message).unwrap();
    bencher
        .counter(ItemsCount::new(reports))
        .bench(|| keys.find(push.key).unwrap().open_push(&push, pusher()).unwrap());
}
