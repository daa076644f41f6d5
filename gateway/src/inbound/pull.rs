//! 6: one loop for each peer: fetch what follows our cursor, verify it, keep it, back off when it fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pki::trust::{Status, TrustList};
use proto::batch::SignedBatch;
use proto::ids::CountryCode;
use proto::wire;
use tracing::{Instrument, debug, error, info, info_span, warn};

use super::verify::{Expected, HOLE, Refused, VerifiedBatch, verify};
use super::{evidence, inbox};
use crate::backoff::Backoff;
use crate::names;
use crate::node::Node;
use crate::panics::{self, Panicked};
use crate::peers::{Gone, PeerError, Peers};
use crate::store::{Cursor, Fence, StoreError};

/// An answer with nothing in it that comes sooner is followed by a pause.
const SOONEST: Duration = Duration::from_millis(500);
/// A pause of this length, because a peer brings too much, is told in the log.
const NEWS: Duration = Duration::from_secs(2);
/// The time that an answer may take beyond the wait that we asked for.
const GRACE: Duration = Duration::from_secs(15);

/// Pulls one country's batches.
pub struct Pull {
    node: Arc<Node>,
    peers: Arc<Peers>,
    origin: CountryCode,
    fence: Fence,
    /// The first number behind the hole that was told last.
    told: Option<u64>,
}

/// Why a batch is refused, and the batch as it came.
type Offered = (Refused, wire::SignedBatch);

/// Why a step brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The peer cannot be reached, or refused.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The peer sent what it should not have.
    #[error("refused: {0}")]
    Refused(#[from] Refused),
    /// A defect of ours, which what the peer sent may have set off.
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// The country left the trust list, or is out.
    #[error("the country is not active in the trust list")]
    NotActive,
}

impl PullError {
    /// The least pause before the next try.
    pub(super) fn pause(&self) -> Duration {
        match self {
            Self::Peer(error) => error.pause(),
            Self::Store(_) | Self::Refused(_) | Self::Panicked(_) | Self::NotActive => Duration::ZERO,
        }
    }
}

impl Pull {
    /// A loop for one origin, under the lease for it. Our own country is one too: tokens for another state go the
    /// same way, by loopback.
    #[must_use]
    pub fn new(node: Arc<Node>, peers: Arc<Peers>, origin: CountryCode, fence: Fence) -> Self {
        Self { node, peers, origin, fence, told: None }
    }

    /// Steps until it is dropped.
    pub async fn run(mut self) {
        let span = info_span!("pull", origin = %self.origin);
        let work = async {
            let mut backoff = Backoff::default();
            loop {
                self.wait_for_room().await;
                let began = Instant::now();
                match panics::contained(self.step()).await.unwrap_or_else(|panicked| Err(panicked.into())) {
                    // A peer that has nothing lets us wait, and one that does not must not keep us busy.
                    Ok(0) if began.elapsed() < SOONEST => tokio::time::sleep(backoff.failed()).await,
                    Ok(_) => {
                        if backoff.succeeded() {
                            info!("the peer answers again");
                        }
                    }
                    Err(error) => {
                        if backoff.is_first() {
                            warn!(%error, "pulling fails; it is tried again with growing pauses");
                        }
                        debug!(%error, "pull failed");
                        tokio::time::sleep(self.pause(&error, &mut backoff)).await;
                    }
                }
            }
        };
        work.instrument(span).await;
    }

    /// Waits while the origin has brought more than may be stored of it. What it has now waits there.
    async fn wait_for_room(&self) {
        let pause = self.node.stored.pause(self.origin, Instant::now());
        if pause.is_zero() {
            return;
        }
        self.node.metrics.over_quota(&self.origin, "octets stored");
        // A second's quota is a pace and no news; a day's is.
        if pause > NEWS {
            warn!(
                seconds = pause.as_secs(),
                "the peer has brought more than quota.peer lets us store of it; it is pulled again then, and nothing is lost"
            );
        }
        tokio::time::sleep(pause).await;
    }

    fn pause(&self, error: &PullError, backoff: &mut Backoff) -> Duration {
        if let PullError::Peer(PeerError::Resting { again, .. }) = error {
            return *again;
        }
        self.node.metrics.retried(self.origin, "pull");
        backoff.failed().max(error.pause())
    }

    /// Pulls one page, and gives how many batches of it were kept.
    pub async fn step(&mut self) -> Result<usize, PullError> {
        let known = self.node.store.cursor(names::pulled(self.origin)).await?;
        let (from, batches) = self.next(known).await?;
        if batches.is_empty() {
            return Ok(0);
        }
        let trust = self.node.trust_list();
        let (verified, refused) = self.verify(batches, &trust, from)?;
        if let Some((refused, batch)) = &refused {
            evidence::keep(&self.node, self.origin, batch, refused).await;
        }
        let octets = verified.iter().map(|batch| batch.batch().sealed.len()).sum();
        inbox::keep(&self.node, self.origin, (known, self.fence), &verified).await?;
        if !verified.is_empty() {
            // Our own country's batches were counted when its backends pushed them.
            if self.origin != self.node.country {
                self.node.stored.take(self.origin, octets, Instant::now());
            }
            self.node.metrics.pulled(self.origin, verified.len(), octets);
            self.node.progress.ring(self.origin);
            info!(batches = verified.len(), octets, after = from.through, "batches kept");
        }
        refused.map_or(Ok(verified.len()), |(refused, _)| Err(refused.into()))
    }

    /// What follows the last batch that we know, or the hole behind it if the origin does not have any more what comes
    /// next; and where it begins.
    ///
    /// The hole is stepped over together with the first batch behind it and not before: that batch's number is signed
    /// for our stream and the answer's is not, and who was sent beyond the end of a stream would never get back.
    async fn next(&mut self, known: Cursor) -> Result<(Cursor, Vec<wire::SignedBatch>), PullError> {
        let error = match self.fetch(known.through).await {
            Err(PullError::Peer(error)) => error,
            fetched => return Ok((known, fetched?)),
        };
        let lost = error.lost().filter(|(_, oldest)| *oldest > known.through + 1);
        let Some((why, oldest)) = lost else { return Err(error.into()) };
        self.tell_lost(known, why, oldest);
        let hole = Cursor { through: oldest - 1, link: HOLE };
        Ok((hole, self.fetch(hole.through).await?))
    }

    /// Tells once what the origin does not have any more. It is lost; what follows is not.
    fn tell_lost(&mut self, known: Cursor, why: Gone, oldest: u64) {
        if self.told.replace(oldest) == Some(oldest) {
            return;
        }
        error!(
            first = known.through + 1,
            last = oldest - 1,
            reason = why.name(),
            "batches are lost: the origin says that it does not have them any more"
        );
        self.node.metrics.refused(self.origin, why.name());
    }

    async fn fetch(&self, after: u64) -> Result<Vec<wire::SignedBatch>, PullError> {
        let pull = &self.node.config.pull;
        let mut client = self.peers.exchange(self.origin)?;
        let wait = if self.peers.is_trial(self.origin) { Duration::ZERO } else { pull.wait() };
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(30_000);
        let request = wire::PullRequest { after, max_bytes: pull.page_bytes, wait_ms };
        let call = self.peers.call(self.origin, wait + GRACE, client.pull(request));
        let reply = call.await?;
        Ok(reply.batches)
    }

    /// Everything up to the first batch that is refused, and that one as it came.
    fn verify(
        &self,
        batches: Vec<wire::SignedBatch>,
        trust: &TrustList,
        mut cursor: Cursor,
    ) -> Result<(Vec<VerifiedBatch>, Option<Offered>), PullError> {
        let origin = trust.country(self.origin).filter(|country| country.status == Status::Active);
        let origin = origin.ok_or(PullError::NotActive)?;
        let (own, now) = (self.node.country, self.node.clock.now());
        let has_inbox = |authority| inbox::is_kept(&self.node, authority);
        let mut verified = Vec::new();
        for batch in batches {
            let expected = Expected { origin, own, trust, has_inbox: &has_inbox, cursor, now };
            let parsed = SignedBatch::parse(batch.clone()).map_err(Refused::Malformed);
            match parsed.and_then(|parsed| verify(parsed, &expected)) {
                Ok(good) => {
                    cursor = good.cursor();
                    verified.push(good);
                }
                Err(refused) => return Ok((verified, Some((refused, batch)))),
            }
        }
        Ok((verified, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, Fixture};
    use crate::store::Holder;

    /// Pulls France, which does not answer, for a while.
    async fn pulled_for_a_while(fixture: &Fixture) -> String {
        let (node, france) = (fixture.node.clone(), CountryCode::new(250).unwrap());
        let lease = node.store.lease(names::peer(france), Holder::random(), Duration::from_secs(60));
        let fence = lease.await.unwrap().unwrap();
        let peers = Arc::new(Peers::new(node.clone(), String::new()));
        let pull = Pull::new(node.clone(), peers, france, fence).run();
        let _ = tokio::time::timeout(Duration::from_millis(500), pull).await;
        node.metrics.text()
    }

    #[tokio::test]
    async fn a_peer_that_has_brought_more_than_may_be_stored_of_it_is_not_pulled() {
        let (asked, paused) = ("exchange_retries_total{peer=\"250\"", "what=\"octets stored\"} 1");
        let full = fixture::node();
        full.node.stored.take(CountryCode::new(250).unwrap(), 1 << 37, Instant::now());
        let text = pulled_for_a_while(&full).await;
        assert!(text.contains(paused) && !text.contains(asked), "{text}");
        let free = fixture::node();
        free.node.stored.take(CountryCode::new(36).unwrap(), 1 << 37, Instant::now());
        let text = pulled_for_a_while(&free).await;
        assert!(text.contains(asked) && !text.contains("octets stored"), "{text}");
    }
}
