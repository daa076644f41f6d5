//! 9: let the adapters of our authorities pull their batches and acknowledge them.

use std::collections::BTreeMap;
use std::sync::Arc;

use pki::keylist::SignedKeyList;
use proto::batch::{Manifest, SignedBatch};
use proto::ids::{Authority, CountryCode};
use proto::malformed::Malformed;
use proto::wire;
use tonic::{Request, Response, Status};
use tracing::info;

use super::inbox;
use crate::names;
use crate::node::Node;
use crate::page::{self, PageError, PageRequest};
use crate::recover::UNKNOWN;
use crate::status;
use crate::store::{Advance, Change, Cursor, Entry, StoreError, Stream};

/// Octets that are read at once to find out whose batches an acknowledgement covers.
const STEP_BYTES: usize = 4 * 1024 * 1024;

/// The service that adapters pull from.
pub struct Delivery {
    node: Arc<Node>,
}

/// Why an adapter gets no page, or its acknowledgement is not taken.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The cursor or the store.
    #[error(transparent)]
    Page(#[from] PageError),
    /// The next batch is damaged here, and its origin is asked for it.
    #[error("position {position} is damaged here and is fetched again from its origin; ask again soon")]
    Refilling {
        /// Which.
        position: u64,
    },
    /// A batch that we keep does not parse.
    #[error("a kept batch does not parse")]
    Kept(#[from] Malformed),
    /// It acknowledges what was never delivered.
    #[error("position {position} was never delivered; the last one is {last}")]
    NeverDelivered {
        /// What it says.
        position: u64,
        /// Our last one.
        last: u64,
    },
    /// The adapter took another batch at this position than we have there.
    #[error(
        "position {position} is another batch here; this gateway's store was restored, so pull from the beginning"
    )]
    OtherHistory {
        /// What it says.
        position: u64,
    },
    /// It would take an acknowledgement back.
    #[error(
        "position {position} is before {known}, which was acknowledged already; acknowledgements only move forward"
    )]
    Backwards {
        /// What it says.
        position: u64,
        /// What we have.
        known: u64,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Delivery {
    /// Serves this node's inboxes.
    #[must_use]
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    async fn page(
        &self,
        authority: Authority,
        request: PageRequest,
    ) -> Result<Vec<wire::Delivered>, DeliverError> {
        let entries = match page::page(&self.node, names::inbox(authority), request).await {
            Err(PageError::Damaged { after, oldest }) => {
                return Err(self.damaged(names::inbox(authority), after, oldest).await);
            }
            entries => entries?,
        };
        let delivered = |entry: Entry| {
            let batch = SignedBatch::from_parts(&entry.head, entry.body)?.into_wire();
            Ok(wire::Delivered { position: entry.sequence, batch: Some(batch) })
        };
        entries.into_iter().map(delivered).collect()
    }

    // An adapter steps over nothing that may still come, or has come between the read that failed and this one.
    async fn damaged(&self, stream: Stream, after: u64, oldest: u64) -> DeliverError {
        match self.open_between(stream, after, oldest).await {
            Ok(Some(position)) => DeliverError::Refilling { position },
            Ok(None) => PageError::Damaged { after, oldest }.into(),
            Err(error) => error.into(),
        }
    }

    /// The first position behind `after` and before `oldest` that is there and was not given up.
    async fn open_between(
        &self,
        stream: Stream,
        mut after: u64,
        oldest: u64,
    ) -> Result<Option<u64>, StoreError> {
        loop {
            let found = match self.node.store.after(stream, after, 1).await {
                Err(StoreError::Damaged { sequence, .. }) if self.node.lost.has(stream, sequence) => {
                    after = sequence;
                    continue;
                }
                Err(StoreError::Damaged { sequence, .. }) => Some(sequence),
                page => page?.first().map(|entry| entry.sequence),
            };
            return Ok(found.filter(|position| *position < oldest));
        }
    }

    /// Whether a position means the same batch to the adapter and to us. A store that was restored from a backup takes
    /// other batches under the numbers that it had given before.
    async fn check_history(
        &self,
        authority: Authority,
        position: u64,
        hash: &[u8],
    ) -> Result<(), DeliverError> {
        if hash.is_empty() {
            return Ok(());
        }
        match self.node.store.link(names::inbox(authority), position).await? {
            Some(link) if link != hash && link != UNKNOWN => Err(DeliverError::OtherHistory { position }),
            _ => Ok(()),
        }
    }

    /// Moves the adapter's cursor, and with it what can be told to each origin.
    async fn acknowledge(&self, authority: Authority, position: u64) -> Result<(), DeliverError> {
        let last = page::last(&self.node, names::inbox(authority), position).await?;
        if position > last {
            return Err(DeliverError::NeverDelivered { position, last });
        }
        let cursor = names::position(authority);
        let from = self.node.store.cursor(cursor).await?;
        if position < from.through {
            return Err(DeliverError::Backwards { position, known: from.through });
        }
        if position == from.through {
            return Ok(());
        }
        let to = Cursor { through: position, link: [0; 32] };
        let mut advances = vec![Advance { cursor, from, to }];
        let taken = self.taken(authority, from.through, position).await?;
        for (origin, to) in &taken {
            let advance = inbox::advance(&self.node, names::delivered(*origin, authority), *to).await?;
            // A batch that comes again, as after a store was made anew, takes back nothing that the origin was told.
            if advance.from.through < to.through {
                advances.push(advance);
            }
        }
        self.node.store.commit(Change { at: self.node.clock.now(), advances, ..Change::default() }).await?;
        self.node.metrics.delivered(authority, position - from.through);
        taken.into_keys().for_each(|origin| self.node.progress.ring(origin));
        info!(%authority, position, "delivered");
        Ok(())
    }

    /// The last batch of each origin among the positions behind `after`, up to `through`.
    async fn taken(
        &self,
        authority: Authority,
        mut after: u64,
        through: u64,
    ) -> Result<BTreeMap<CountryCode, Cursor>, DeliverError> {
        let mut taken = BTreeMap::new();
        while after < through {
            let entries = match self.node.store.after(names::inbox(authority), after, STEP_BYTES).await {
                // It was given up. Whose it was is not known: its origin hears a little less than is true.
                Err(StoreError::Damaged { sequence, .. }) => {
                    after = sequence;
                    continue;
                }
                entries => entries?,
            };
            let Some(last) = entries.last() else { break };
            after = last.sequence;
            for entry in entries.into_iter().filter(|entry| entry.sequence <= through) {
                let manifest = Manifest::parse(&SignedBatch::from_parts(&entry.head, entry.body)?.manifest)?;
                let cursor = Cursor { through: manifest.sequence.number(), link: entry.link };
                taken.insert(manifest.header.origin, cursor);
            }
        }
        Ok(taken)
    }
}

#[tonic::async_trait]
impl wire::delivery_server::Delivery for Delivery {
    async fn pull(
        &self,
        request: Request<wire::DeliveryPullRequest>,
    ) -> Result<Response<wire::DeliveryPullReply>, Status> {
        let authority = self.node.calling_adapter(request.extensions())?;
        let wire::DeliveryPullRequest { after, max_bytes, wait_ms, manifest_hash } = request.into_inner();
        self.check_history(authority, after, &manifest_hash).await?;
        let delivered = self.page(authority, PageRequest { after, max_bytes, wait_ms }).await?;
        // The number may have been given to another batch while the adapter waited.
        self.check_history(authority, after, &manifest_hash).await?;
        Ok(Response::new(wire::DeliveryPullReply { delivered }))
    }

    async fn acknowledge(
        &self,
        request: Request<wire::DeliveryAcknowledgeRequest>,
    ) -> Result<Response<wire::DeliveryAcknowledgeReply>, Status> {
        let authority = self.node.calling_adapter(request.extensions())?;
        let wire::DeliveryAcknowledgeRequest { position, manifest_hash } = request.into_inner();
        self.check_history(authority, position, &manifest_hash).await?;
        Delivery::acknowledge(self, authority, position).await?;
        Ok(Response::new(wire::DeliveryAcknowledgeReply {}))
    }

    async fn publish_keys(
        &self,
        request: Request<wire::SignedKeyList>,
    ) -> Result<Response<wire::PublishKeysReply>, Status> {
        let authority = self.node.calling_adapter(request.extensions())?;
        let signed = SignedKeyList::parse(request.into_inner()).map_err(|cause| status::malformed(&cause))?;
        let (trust, now) = (self.node.trust_list(), self.node.clock.now());
        if self.node.key_lists.take(authority, &signed, &trust, now).await? {
            info!(%authority, "key list published");
        }
        Ok(Response::new(wire::PublishKeysReply {}))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use bytes::Bytes;
    use pki::sign::sha256;
    use proto::batch::BatchHeader;
    use proto::ids::{BatchId, Sequence};

    use super::*;
    use crate::fixture;
    use crate::store::{Append, Numbered, Tail};

    /// More in all than a store keeps in memory beside the disk.
    const SIZES: [usize; 4] = [100, 6 << 20, 6 << 20, 6 << 20];

    async fn fill(node: &Node, stream: Stream) {
        for size in SIZES {
            let number = Arc::new(|tail: Tail| Numbered {
                head: Bytes::new(),
                link: [u8::try_from(tail.last).unwrap(); 32],
            });
            let appends = vec![Append { stream, number, body: vec![7; size].into() }];
            node.store.commit(Change { appends, ..Change::default() }).await.unwrap();
        }
    }

    fn damage_the_first(node: &Node) {
        let path = node.config.store.folder().unwrap().join("segments/0000000001.seg");
        let mut octets = fs::read(&path).unwrap();
        let at = octets.windows(100).position(|found| found == [7; 100]).unwrap();
        octets[at] ^= 1;
        fs::write(path, octets).unwrap();
    }

    #[tokio::test]
    async fn an_adapter_steps_over_what_was_given_up_and_over_nothing_else() {
        let fixture = fixture::node();
        let (node, authority) = (&fixture.node, fixture.traffic().pusher);
        let (stream, delivery) = (names::inbox(authority), Delivery::new(node.clone()));
        fill(node, stream).await;
        damage_the_first(node);
        let ask = PageRequest { after: 0, max_bytes: 1, wait_ms: 0 };
        let refused = delivery.page(authority, ask).await;
        assert!(matches!(refused, Err(DeliverError::Refilling { position: 1 })), "{refused:?}");

        let damaged = node.store.upkeep().unwrap().damaged().borrow()[&(stream, 1)].clone();
        node.lost.give_up(node, &damaged, "nobody has it");
        let refused = delivery.page(authority, ask).await;
        let expected = PageError::Damaged { after: 0, oldest: 2 }.to_string();
        assert_eq!(refused.unwrap_err().to_string(), expected);

        // The second was damaged when the page was read, and has been mended since.
        let refused = delivery.damaged(stream, 0, 3).await;
        assert!(matches!(refused, DeliverError::Refilling { position: 2 }), "{refused:?}");
    }

    /// France's batch of this sequence for an authority, as it is kept. Nobody looks at what it is sealed with any more.
    fn kept(destination: Authority, sequence: u64) -> Bytes {
        let header = BatchHeader {
            origin: CountryCode::new(250).unwrap(),
            destination,
            key: [7; 8].into(),
            id: BatchId::random(),
            sealed_at: 1,
        };
        let manifest = Manifest {
            header,
            sequence: Sequence::new(sequence).unwrap(),
            previous: [4; 32],
            sealed_hash: sha256(b""),
            sealed_len: 0,
            enc: Bytes::from_static(&[9; 32]),
        };
        let (manifest, signature) = (manifest.octets().into(), [1; 64]);
        SignedBatch { manifest, signature, signing_key: [7; 8].into(), sealed: Bytes::new() }.head()
    }

    #[tokio::test]
    async fn a_batch_that_comes_again_takes_back_nothing_that_its_origin_was_told() {
        let fixture = fixture::node();
        let (node, authority) = (&fixture.node, fixture.traffic().pusher);
        let delivery = Delivery::new(node.clone());
        for sequence in [12, 13, 11, 12] {
            let numbered = Numbered { head: kept(authority, sequence), link: [1; 32] };
            let number = Arc::new(move |_: Tail| numbered.clone());
            let appends = vec![Append { stream: names::inbox(authority), number, body: Bytes::new() }];
            node.store.commit(Change { appends, ..Change::default() }).await.unwrap();
        }
        let told = names::delivered(CountryCode::new(250).unwrap(), authority);
        for (position, through) in [(1, 12), (2, 13), (3, 13), (4, 13)] {
            delivery.acknowledge(authority, position).await.unwrap();
            assert_eq!(node.store.cursor(told).await.unwrap().through, through);
            assert_eq!(node.store.cursor(names::position(authority)).await.unwrap().through, position);
        }
    }
}
