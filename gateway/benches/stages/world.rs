//! A gateway with as many peers as a bench wants, and a runtime to call it in.

use gateway::caller::Caller;
use gateway::fixture::{self, Fixture, Traffic};
use gateway::outbound::ingest::Ingest;
use gateway::outbound::serve::Exchange;
use pki::seal::Suite;
use pki::tls::Role;
use proto::ids::CountryCode;
use proto::limits::PAGE_LEN;
use proto::verdict::Verdict;
use proto::wire;
use proto::wire::exchange_server::Exchange as _;
use proto::wire::ingest_server::Ingest as _;
use tokio::runtime::{Builder, Runtime};

/// The first peer; the others follow it.
const FIRST: u16 = 500;

/// A gateway, its peers and its own adapter.
pub(crate) struct World {
    pub(crate) runtime: Runtime,
    pub(crate) fixture: Fixture,
    pub(crate) traffic: Traffic,
    pub(crate) adapter: Caller,
}

impl World {
    /// With so many peers, each with one authority whose key is X-Wing's.
    pub(crate) fn of(peers: usize) -> Self {
        let fixture = fixture::node_among(&authorities(peers));
        let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(fixture.publish_keys(Suite::XWing));
        let traffic = fixture.traffic();
        let adapter = fixture.caller(fixture.node.country, Role::Adapter(traffic.pusher));
        Self { runtime, fixture, traffic, adapter }
    }

    /// Carries so many pushes into the store.
    pub(crate) fn fill(&self, pushes: usize, reports: usize) {
        let ingest = Ingest::new(self.fixture.node.clone());
        for push in 0..pushes {
            let push = self.traffic.push(reports, (push * reports) as u64);
            let reply = self.runtime.block_on(ingest.push(self.adapter.call(push))).unwrap().into_inner();
            assert!(is_accepted(&reply));
        }
    }

    /// What the first peer may pull.
    pub(crate) fn page(&self, exchange: &Exchange, peer: &Caller) -> wire::PullReply {
        let request = wire::PullRequest { after: 0, max_bytes: u32::try_from(PAGE_LEN).unwrap(), wait_ms: 0 };
        self.runtime.block_on(exchange.pull(peer.call(request))).unwrap().into_inner()
    }

    /// The first peer's gateway.
    pub(crate) fn peer(&self) -> Caller {
        self.fixture.caller(first(), Role::Gateway)
    }
}

/// The code of the first peer.
pub(crate) fn first() -> CountryCode {
    CountryCode::new(FIRST).unwrap()
}

/// Whether all of a push was.
pub(crate) fn is_accepted(reply: &wire::PushReply) -> bool {
    reply.verdicts.iter().all(|verdict| *verdict == Verdict::Accepted.number())
}

/// Our own authority's name, and that of one in each of so many countries.
pub(crate) fn authorities(peers: usize) -> Vec<String> {
    let peers = (FIRST..).take(peers).map(|code| format!("{code}/0"));
    ["826/0".to_owned()].into_iter().chain(peers).collect()
}
