//! 3 and 4: each report checked; and both stages as a whole, from a sealed push to sealed batches.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use gateway::clock::minute;
use gateway::outbound::route::Routes;
use gateway::outbound::{ingest, reseal, sort};
use pki::fixture::{now, report};
use proto::body::{self, Reports};
use proto::day::Day;
use proto::push::Push;
use proto::report::Report;

use crate::PUSHES;
use crate::world::World;

#[divan::bench(args = PUSHES)]
fn check_reports(bencher: Bencher<'_, '_>, reports: usize) {
    let mut text = Vec::new();
    for number in 0..reports {
        let (_, octets) = report("250/0".parse().unwrap(), 200, number as u64);
        body::put_report(&mut text, &octets).unwrap();
    }
    let today = Day::of_unix(now());
    bencher.counter(ItemsCount::new(reports)).bench(|| {
        for octets in Reports::of_push(black_box(&text)) {
            let report = Report::decode(octets.unwrap()).unwrap();
            black_box(report.header());
            report.check_age(today).unwrap();
        }
    });
}

#[divan::bench(args = PUSHES, consts = [1, 5, 26])]
fn reseal<const DESTINATIONS: usize>(bencher: Bencher<'_, '_>, reports: usize) {
    let world = World::of(DESTINATIONS);
    let node = &world.fixture.node;
    let (now, routes) = (node.clock.now(), Routes::new(&node.trust_list()));
    let key = |authority| node.key_lists.in_force(authority, now);
    let desk = ingest::desk(node, &routes, &key, Day::of_unix(now));
    let push = Push::parse(world.traffic.push(reports, 0)).unwrap();
    let minute = minute(now);
    let resealed = || {
        let sorted = sort::sort(black_box(&push), world.traffic.pusher, &desk).unwrap();
        reseal::seal([&sorted], (node.country, minute)).unwrap()
    };
    assert_eq!(resealed().len(), DESTINATIONS.min(reports));
    bencher.counter(ItemsCount::new(reports)).bench_local(resealed);
}
