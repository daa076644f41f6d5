//! 2: from a header to a destination, and the table for it, which is made once a push.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use gateway::outbound::route::Routes;
use pki::fixture::Federation;
use pki::trust::TrustList;
use proto::header::EnvelopeHeader;

use crate::world;

const COUNTRIES: [usize; 3] = [1, 26, 200];

fn trust(countries: usize) -> TrustList {
    let authorities = world::authorities(countries);
    let authorities: Vec<&str> = authorities.iter().map(String::as_str).collect();
    Federation::of(&authorities).trust_list()
}

#[divan::bench(args = COUNTRIES)]
fn table(bencher: Bencher<'_, '_>, countries: usize) {
    let trust = trust(countries);
    bencher.bench(|| Routes::new(black_box(&trust)));
}

#[divan::bench(args = COUNTRIES)]
fn header(bencher: Bencher<'_, '_>, countries: usize) {
    let routes = Routes::new(&trust(countries));
    let pusher = "826/0".parse().unwrap();
    let authority = world::authorities(countries).pop().unwrap().parse().unwrap();
    let header = EnvelopeHeader::new(0x08, authority).unwrap();
    bencher
        .counter(ItemsCount::new(1_u32))
        .bench(|| routes.destination(black_box(&header), black_box(pusher)).unwrap());
}
