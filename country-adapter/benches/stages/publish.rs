//! Reports on their way out: encoded, and sealed to the own gateway.

use country_adapter::work::EncodedReport;
use divan::Bencher;
use divan::counter::ItemsCount;
use pki::fixture::report;
use pki::seal::{PrivateKey, PublicKey, Suite, seal_push};
use proto::ids::Authority;
use proto::push::Draft;
use proto::report::Report;

use crate::PUSHES;

fn reports(count: usize) -> Vec<Vec<u8>> {
    let destination = "250/0".parse().unwrap();
    (0..count).map(|number| report(destination, 200, number as u64).1).collect()
}

fn ingress(suite: Suite) -> PublicKey {
    PrivateKey::parse(suite, &PrivateKey::generate(suite)).unwrap().public().clone()
}

#[divan::bench(args = PUSHES)]
fn encode(bencher: Bencher<'_, '_>, count: usize) {
    let octets = reports(count);
    let reports: Vec<_> = octets.iter().map(|octets| Report::decode(octets).unwrap()).collect();
    bencher
        .counter(ItemsCount::new(count))
        .bench(|| reports.iter().map(EncodedReport::new).collect::<Vec<_>>());
}

#[divan::bench(args = PUSHES)]
fn seal_x25519(bencher: Bencher<'_, '_>, count: usize) {
    seal(bencher, Suite::X25519, count);
}

#[divan::bench(args = PUSHES)]
fn seal_x_wing(bencher: Bencher<'_, '_>, count: usize) {
    seal(bencher, Suite::XWing, count);
}

fn seal(bencher: Bencher<'_, '_>, suite: Suite, count: usize) {
    let (ingress, pusher) = (ingress(suite), "826/0".parse::<Authority>().unwrap());
    let octets = reports(count);
    let reports: Vec<_> =
        octets.iter().map(|octets| EncodedReport::new(&Report::decode(octets).unwrap())).collect();
    bencher.counter(ItemsCount::new(count)).bench(|| {
        let mut draft = Draft::default();
        for report in &reports {
            draft.add(report.header(), report.octets()).unwrap();
        }
        let (headers, body) = draft.into_parts();
        seal_push(&ingress, pusher, headers, body).unwrap()
    });
}
