//! Fetches the peers' key lists, so that there is always a key to seal to.

use std::sync::Arc;
use std::time::Duration;

use pki::keylist::SignedKeyList;
use pki::trust::Status;
use proto::ids::{Authority, CountryCode};
use proto::wire;
use tracing::{debug, info, warn};

use crate::node::Node;
use crate::peers::Peers;

/// How long a peer may take to answer.
const DEADLINE: Duration = Duration::from_secs(15);
/// A new key is published long before it is used, so this is often enough.
const REFRESH: Duration = Duration::from_secs(300);
/// While a list is missing, tokens for its authority have to wait.
const MISSING: Duration = Duration::from_millis(500);

/// Keeps the key lists of all peers fresh.
pub struct Keys {
    node: Arc<Node>,
    peers: Arc<Peers>,
}

impl Keys {
    /// A loop for all peers.
    #[must_use]
    pub fn new(node: Arc<Node>, peers: Arc<Peers>) -> Self {
        Self { node, peers }
    }

    /// Steps until it is dropped; at once when the trust list changes, and often while a list is missing.
    pub async fn run(self) {
        let mut trust = self.node.trust.clone();
        let mut missing_for: u32 = 0;
        loop {
            let missing = self.step().await;
            missing_for = if missing == 0 { 0 } else { missing_for + 1 };
            let pause = if missing == 0 { REFRESH } else { (MISSING * missing_for).min(REFRESH) };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = trust.changed() => {
                    missing_for = 0;
                    }
            }
        }
    }

    /// Asks every peer for its lists, all at the same time. Gives how many are still unknown.
    pub async fn step(&self) -> usize {
        let trust = self.node.trust_list();
        let active = trust.countries().filter(|country| country.status == Status::Active);
        let foreign = active.filter(|country| country.code != self.node.country);
        let wanted = foreign
            .flat_map(|country| country.authorities.keys().map(|authority| (country.code, *authority)));
        let mut fetches = tokio::task::JoinSet::new();
        let mut asked = Vec::new();
        for (country, authority) in wanted {
            asked.push(authority);
            let (node, peers) = (self.node.clone(), self.peers.clone());
            fetches.spawn(async move { fetch(&node, &peers, country, authority).await });
        }
        while fetches.join_next().await.is_some() {}
        let now = self.node.clock.now();
        asked.into_iter().filter(|authority| self.node.key_lists.in_force(*authority, now).is_none()).count()
    }
}

async fn fetch(node: &Node, peers: &Peers, country: CountryCode, authority: Authority) {
    let request = wire::KeyListRequest { authority: authority.octets().to_vec().into() };
    let Ok(mut client) = peers.exchange(country) else { return };
    let reply = match peers.call(country, DEADLINE, client.key_list(request)).await {
        Ok(reply) => reply,
        Err(error) => {
            node.metrics.retried(country, "key_list");
            return debug!(%authority, %error, "no key list");
        }
    };
    let (trust, now) = (node.trust_list(), node.clock.now());
    let taken = match SignedKeyList::parse(reply) {
        Ok(list) => {
            node.key_lists.take(authority, &list, &trust, now).await.map_err(|error| error.to_string())
        }
        Err(malformed) => Err(malformed.to_string()),
    };
    match taken {
        Ok(true) => info!(%authority, "new key list"),
        Ok(false) => {}
        Err(error) => warn!(%authority, %error, "key list refused"),
    }
}
