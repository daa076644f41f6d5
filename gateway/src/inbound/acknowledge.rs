//! Receipts to the origins: what is stored here, and what our adapters have taken.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proto::batch::{Receipt, Stage};
use proto::ids::{Authority, CountryCode, Sequence};
use proto::wire;
use tracing::debug;

use super::pull::PullError;
use super::verify::HOLE;
use crate::backlog;
use crate::backoff::Backoff;
use crate::names;
use crate::node::Node;
use crate::panics;
use crate::peers::Peers;
use crate::store::{Cursor, StoreError};

/// How long a peer may take to take a receipt.
const DEADLINE: Duration = Duration::from_secs(15);
/// What moves within this time of a receipt is told with the next one: a receipt covers all before it, and costs both
/// sides a signature, a call and a commit.
const TOGETHER: Duration = Duration::from_millis(100);
/// Receipts are looked at this often even if nothing rang, so that none is forgotten after a failure.
const AT_LEAST_EVERY: Duration = Duration::from_secs(30);

/// Sends receipts to one origin.
pub struct Acknowledge {
    node: Arc<Node>,
    peers: Arc<Peers>,
    origin: CountryCode,
    /// What the origin has taken since we started.
    sent: HashMap<Stage, u64>,
}

impl Acknowledge {
    /// A loop for one origin.
    #[must_use]
    pub fn new(node: Arc<Node>, peers: Arc<Peers>, origin: CountryCode) -> Self {
        Self { node, peers, origin, sent: HashMap::new() }
    }

    /// Steps whenever something of the origin's moved, until it is dropped.
    pub async fn run(mut self) {
        let (bell, mut backoff) = (self.node.progress.bell(self.origin), Backoff::default());
        loop {
            match panics::contained(self.step()).await.unwrap_or_else(|panicked| Err(panicked.into())) {
                Ok(()) => {
                    backoff.succeeded();
                    tokio::time::sleep(TOGETHER).await;
                    let _ = tokio::time::timeout(AT_LEAST_EVERY, bell.notified()).await;
                }
                Err(error) => {
                    debug!(origin = %self.origin, %error, "receipts could not be sent");
                    self.node.metrics.retried(self.origin, "acknowledge");
                    tokio::time::sleep(backoff.failed().max(error.pause())).await;
                }
            }
        }
    }

    /// Sends what the origin does not have yet.
    pub async fn step(&mut self) -> Result<(), PullError> {
        let stored = self.node.store.cursor(names::pulled(self.origin)).await?;
        self.send(Stage::Stored, stored).await?;
        let delivered = delivered_through(&self.node, self.origin, stored).await?;
        self.send(Stage::Delivered, delivered).await
    }

    async fn send(&mut self, stage: Stage, cursor: Cursor) -> Result<(), PullError> {
        let Ok(through) = Sequence::new(cursor.through) else { return Ok(()) };
        // Nothing is signed for what was never received.
        if cursor.link == HOLE {
            return Ok(());
        }
        if self.sent.get(&stage).is_some_and(|sent| *sent >= cursor.through) {
            return Ok(());
        }
        let (origin, destination) = (self.origin, self.node.country);
        let receipt = Receipt { origin, destination, through, manifest_hash: cursor.link, stage }.octets();
        let request = wire::AcknowledgeRequest {
            signature: self.node.signing.sign(Receipt::DOMAIN, &receipt).to_vec().into(),
            signing_key: self.node.signing.public().id().octets().to_vec().into(),
            receipt: receipt.into(),
        };
        let mut client = self.peers.exchange(self.origin)?;
        self.peers.call(self.origin, DEADLINE, client.acknowledge(request)).await?;
        self.sent.insert(stage, cursor.through);
        Ok(())
    }
}

/// Everything from an origin up to this has been taken by our adapters.
///
/// An authority that has taken all that is stored for it holds nobody back. For one that has not, only its last
/// delivered batch is known: the result may be a little low, never too high.
async fn delivered_through(node: &Node, origin: CountryCode, stored: Cursor) -> Result<Cursor, StoreError> {
    let mut through = stored;
    // Every inbox counts, also that of an authority which has left the trust list and takes nothing any more.
    for authority in node.store.streams().await?.into_iter().filter_map(names::inbox_authority) {
        let kept = node.store.cursor(names::stored(origin, authority)).await?;
        let taken = node.store.cursor(names::delivered(origin, authority)).await?;
        let is_behind = taken.through < kept.through && taken.through < through.through;
        if is_behind && holds_back(node, authority).await {
            through = taken;
        }
    }
    Ok(through)
}

/// Whether what an authority has not taken is waited for. Of one that left the trust list it is for as long as it is
/// kept: nobody will ever take it.
async fn holds_back(node: &Node, authority: Authority) -> bool {
    let is_listed = node.trust_list().authority(authority).is_some();
    is_listed || backlog::has_waiting(node, names::inbox(authority)).await.unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::fixture;
    use crate::store::{Advance, Append, Change, Numbered, Tail};

    fn at(through: u8) -> Cursor {
        Cursor { through: through.into(), link: [through; 32] }
    }

    /// A batch of France comes for an authority; if its adapter takes it, it has so many.
    async fn comes(node: &Node, authority: Authority, sequence: u8, position: Option<u64>) {
        let origin = CountryCode::new(250).unwrap();
        let number = Arc::new(|_: Tail| Numbered { head: Bytes::new(), link: [1; 32] });
        let appends =
            vec![Append { stream: names::inbox(authority), number, body: Bytes::from_static(b"x") }];
        let mut moves = vec![(names::stored(origin, authority), at(sequence))];
        if let Some(through) = position {
            moves.push((names::delivered(origin, authority), at(sequence)));
            moves.push((names::position(authority), Cursor { through, link: [1; 32] }));
        }
        let mut advances = Vec::new();
        for (cursor, to) in moves {
            advances.push(Advance { cursor, from: node.store.cursor(cursor).await.unwrap(), to });
        }
        node.store.commit(Change { appends, advances, ..Change::default() }).await.unwrap();
    }

    #[tokio::test]
    async fn an_authority_that_left_the_list_holds_back_what_is_delivered_until_all_for_it_is_given_up() {
        let (fixture, origin) = (fixture::node(), CountryCode::new(250).unwrap());
        let (node, gone) = (&fixture.node, "826/7".parse().unwrap());
        comes(node, gone, 1, Some(1)).await;
        comes(node, gone, 2, None).await;
        comes(node, "826/1".parse().unwrap(), 3, Some(1)).await;
        let delivered = async || delivered_through(node, origin, at(3)).await.unwrap();
        assert_eq!(delivered().await, at(1));
        node.store.purge(names::inbox(gone), 2).await.unwrap();
        assert_eq!(delivered().await, at(3));
        // The store was made anew, and numbers its entries from below what the adapter has.
        comes(node, gone, 4, Some(9)).await;
        comes(node, gone, 5, None).await;
        assert_eq!(delivered_through(node, origin, at(5)).await.unwrap(), at(4));
    }

    #[tokio::test]
    async fn an_authority_that_is_listed_holds_it_back_until_it_has_taken_all() {
        let (fixture, origin) = (fixture::node(), CountryCode::new(250).unwrap());
        let (node, authority) = (&fixture.node, "826/0".parse().unwrap());
        comes(node, authority, 1, Some(1)).await;
        comes(node, authority, 2, None).await;
        node.store.purge(names::inbox(authority), 2).await.unwrap();
        assert_eq!(delivered_through(node, origin, at(2)).await.unwrap(), at(1));
    }
}
