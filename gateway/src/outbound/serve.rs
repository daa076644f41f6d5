//! 5: let a peer pull the entries that are for it, and take its receipts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use proto::batch::SignedBatch;
use proto::ids::{Authority, CountryCode};
use proto::malformed::Malformed;
use proto::wire;
use tonic::{Request, Response, Status};
use tracing::{debug, error};

use super::receipts;
use crate::names;
use crate::node::Node;
use crate::page::{self, PageError, PageRequest};
use crate::status;

/// The service that peers call.
pub struct Exchange {
    node: Arc<Node>,
    /// The number behind the damage that each peer was last sent on to: it asks until there is a batch behind it.
    sent_on: Mutex<BTreeMap<CountryCode, u64>>,
}

impl Exchange {
    /// Serves this node's outbox.
    #[must_use]
    pub fn new(node: Arc<Node>) -> Self {
        Self { node, sent_on: Mutex::default() }
    }

    /// A peer that has more than we ever numbered: our store went back, and what we number now it will refuse. Or one
    /// that is told to go on behind what we have lost.
    fn alarm(&self, peer: CountryCode, cause: &ServeError) {
        match cause {
            ServeError::Page(PageError::BeyondEnd { after, last }) => {
                error!(%peer, after, last, "the peer has batches that this store does not know; was it restored?");
                self.node.metrics.refused(peer, "our_store_went_back");
            }
            ServeError::Page(PageError::Damaged { after, oldest }) => {
                let mut sent_on = self.sent_on.lock().unwrap_or_else(PoisonError::into_inner);
                if sent_on.insert(peer, *oldest) == Some(*oldest) {
                    return;
                }
                error!(%peer, after, oldest, "the peer is told to go on behind batches that are damaged here");
                self.node.metrics.refused(peer, "our_store_is_damaged");
            }
            ServeError::Page(PageError::Purged { .. } | PageError::Store(_)) | ServeError::Kept(_) => {}
        }
    }

    async fn page(&self, peer: CountryCode, request: PageRequest) -> Result<Vec<SignedBatch>, ServeError> {
        // The stream is chosen by the caller's certificate: there is no way to ask for another country's.
        let entries = page::page(&self.node, names::outbox(peer), request).await?;
        let batches = entries.into_iter().map(|entry| SignedBatch::from_parts(&entry.head, entry.body));
        Ok(batches.collect::<Result<_, _>>()?)
    }
}

/// Why a peer gets no page.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The cursor or the store.
    #[error(transparent)]
    Page(#[from] PageError),
    /// An entry that we wrote ourselves does not parse.
    #[error("a kept batch does not parse")]
    Kept(#[from] Malformed),
}

#[tonic::async_trait]
impl wire::exchange_server::Exchange for Exchange {
    async fn pull(&self, request: Request<wire::PullRequest>) -> Result<Response<wire::PullReply>, Status> {
        let peer = self.node.calling_gateway(request.extensions())?;
        let wire::PullRequest { after, max_bytes, wait_ms } = request.into_inner();
        let page = self.page(peer, PageRequest { after, max_bytes, wait_ms }).await;
        let batches = page.inspect_err(|cause| self.alarm(peer, cause))?;
        let octets = batches.iter().map(|batch| batch.sealed.len()).sum();
        self.node.counted(&peer, self.node.peers.octets(peer, octets))?;
        debug!(%peer, after, batches = batches.len(), "page served");
        let batches = batches.into_iter().map(SignedBatch::into_wire).collect();
        Ok(Response::new(wire::PullReply { batches }))
    }

    async fn acknowledge(
        &self,
        request: Request<wire::AcknowledgeRequest>,
    ) -> Result<Response<wire::AcknowledgeReply>, Status> {
        let peer = self.node.calling_gateway(request.extensions())?;
        receipts::take(&self.node, peer, request.into_inner()).await?;
        Ok(Response::new(wire::AcknowledgeReply {}))
    }

    async fn key_list(
        &self,
        request: Request<wire::KeyListRequest>,
    ) -> Result<Response<wire::SignedKeyList>, Status> {
        self.node.calling_gateway(request.extensions())?;
        let authority = Authority::parse(&request.into_inner().authority);
        let authority = authority.map_err(|cause| status::malformed(&cause))?;
        let trust = self.node.trust_list();
        let is_ours =
            trust.authority(authority).is_some_and(|(country, _)| country.code == self.node.country);
        let list = self.node.key_lists.signed(authority).filter(|_| is_ours);
        let list = list.ok_or_else(|| status::no_key_list(authority))?;
        Ok(Response::new(list.into_wire()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[tokio::test]
    async fn a_peer_is_sent_on_behind_the_same_damage_with_one_alarm() {
        let (fixture, peer) = (fixture::node(), CountryCode::new(250).unwrap());
        let exchange = Exchange::new(fixture.node.clone());
        let asks = |oldest| exchange.alarm(peer, &PageError::Damaged { after: 1, oldest }.into());
        let counted = |times: u32| {
            let expected = format!("{{peer=\"250\",reason=\"our_store_is_damaged\"}} {times}");
            assert!(fixture.node.metrics.text().contains(&expected), "{expected}");
        };
        asks(5);
        asks(5);
        counted(1);
        asks(9);
        counted(2);
    }
}
