//! Batches of an inbox whose octets are damaged: fetched again from their origins, which keep them until a day after
//! they were delivered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pki::sign::sha256;
use pki::trust::Status;
use proto::batch::{Manifest, SignedBatch};
use proto::ids::CountryCode;
use proto::wire;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::pull::PullError;
use super::verify::{Expected, HOLE, Refused, VerifiedBatch, verify};
use crate::backoff::Backoff;
use crate::names;
use crate::node::Node;
use crate::peers::Peers;
use crate::store::upkeep::Damaged;
use crate::store::{Cursor, StoreError, Stream};

/// How long a peer may take to answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// Octets that are read of an inbox at once.
const STEP_BYTES: usize = 4 << 20;

/// Fetches damaged batches again.
pub struct Refill {
    node: Arc<Node>,
    peers: Arc<Peers>,
}

/// What an origin says of one of its batches.
enum Answer {
    /// It sent it, and it is the one that was damaged.
    Here(Box<VerifiedBatch>),
    /// It does not have it any more.
    Gone,
    /// It sent others.
    Others,
}

impl Refill {
    /// A loop for all inboxes.
    #[must_use]
    pub fn new(node: Arc<Node>, peers: Arc<Peers>) -> Self {
        Self { node, peers }
    }

    /// Mends what is found damaged, until the stop.
    pub async fn run(self, stop: CancellationToken) {
        let Some(mut damaged) = self.node.store.upkeep().map(|upkeep| upkeep.damaged()) else {
            stop.cancelled().await;
            return;
        };
        let mut backoff = Backoff::default();
        let work = async {
            loop {
                let found: Vec<Damaged> = damaged.borrow_and_update().values().cloned().collect();
                let open = found.into_iter().filter(|entry| {
                    names::inbox_authority(entry.stream).is_some()
                        && !self.node.lost.has(entry.stream, entry.sequence)
                });
                let mut failed = false;
                for entry in open {
                    if let Err(error) = self.mend(&entry).await {
                        warn!(%error, entry = %entry, "a damaged batch could not be fetched again; it is tried again");
                        failed = true;
                    }
                }
                let pause = if failed { backoff.failed() } else { Duration::MAX };
                tokio::select! {
                    changed = damaged.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(pause.min(Duration::from_secs(3_600))) => {}
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }

    /// Fetches one batch, compares it with the link that is kept apart from it, and puts it in its place.
    async fn mend(&self, damaged: &Damaged) -> Result<(), PullError> {
        let found = match manifest_left(damaged) {
            Some(manifest) => {
                self.ask(manifest.header.origin, manifest.sequence.number(), damaged.link).await?
            }
            None => self.search(damaged).await?,
        };
        let Answer::Here(batch) = found else {
            self.node.lost.give_up(&self.node, damaged, "its origin does not keep it any more");
            return Ok(());
        };
        let octets = (batch.batch().head(), batch.batch().sealed.clone());
        if let Some(upkeep) = self.node.store.upkeep() {
            upkeep.mend(damaged.stream, damaged.sequence, octets).await?;
        }
        self.node.metrics.mended();
        info!(stream = names::of_stream(damaged.stream), sequence = damaged.sequence, origin = %batch.manifest().header.origin, "a damaged batch was fetched again and mended");
        Ok(())
    }

    /// Asks an origin for one of its batches. Our cursor there is neither used nor moved.
    async fn ask(&self, origin: CountryCode, sequence: u64, link: [u8; 32]) -> Result<Answer, PullError> {
        let after = sequence.saturating_sub(1);
        let request = wire::PullRequest { after, max_bytes: 1, wait_ms: 0 };
        let mut client = self.peers.exchange(origin)?;
        let reply = match self.peers.call(origin, DEADLINE, client.pull(request)).await {
            Ok(reply) => reply,
            Err(error) if error.lost().is_some() => return Ok(Answer::Gone),
            Err(error) => return Err(error.into()),
        };
        for batch in reply.batches.into_iter().take(1) {
            if sha256(&batch.manifest) == link {
                return self.check(origin, sequence, batch).map(|batch| Answer::Here(Box::new(batch)));
            }
        }
        Ok(Answer::Others)
    }

    fn check(
        &self,
        origin: CountryCode,
        sequence: u64,
        batch: wire::SignedBatch,
    ) -> Result<VerifiedBatch, PullError> {
        let trust = self.node.trust_list();
        let origin = trust.country(origin).filter(|country| country.status == Status::Active);
        let origin = origin.ok_or(PullError::NotActive)?;
        // What comes before it is not known here; the link says more than the chain could.
        let cursor = Cursor { through: sequence - 1, link: HOLE };
        let (own, now) = (self.node.country, self.node.clock.now());
        let expected = Expected { origin, own, trust: &trust, cursor, now };
        let parsed = SignedBatch::parse(batch).map_err(Refused::Malformed)?;
        Ok(verify(parsed, &expected)?)
    }

    /// Asks every origin for all that it may be: its manifest cannot be read, so only its neighbours say where it was.
    async fn search(&self, damaged: &Damaged) -> Result<Answer, PullError> {
        let around = self.around(damaged).await?;
        let trust = self.node.trust_list();
        let origins = trust.countries().filter(|country| country.status == Status::Active);
        for origin in origins.map(|country| country.code).collect::<Vec<_>>() {
            let pulled = self.node.store.cursor(names::pulled(origin)).await?.through;
            let (first, behind) = around.get(&origin).copied().unwrap_or((0, pulled + 1));
            for sequence in first + 1..behind.min(pulled + 1) {
                if let Answer::Here(batch) = self.ask(origin, sequence, damaged.link).await? {
                    return Ok(Answer::Here(batch));
                }
            }
        }
        Ok(Answer::Gone)
    }

    /// For each origin: the last of its batches before the damaged one in the inbox, and the first behind it.
    async fn around(&self, damaged: &Damaged) -> Result<BTreeMap<CountryCode, (u64, u64)>, StoreError> {
        let mut around = BTreeMap::new();
        let mut after = 0;
        while let Some(page) = self.page(damaged.stream, &mut after).await? {
            for (position, head, body) in page {
                let batch = SignedBatch::from_parts(&head, body);
                let Ok(manifest) = batch.and_then(|batch| Manifest::parse(&batch.manifest)) else { continue };
                let known = around.entry(manifest.header.origin).or_insert((0, u64::MAX));
                let sequence = manifest.sequence.number();
                if position < damaged.sequence {
                    known.0 = known.0.max(sequence);
                } else {
                    known.1 = known.1.min(sequence);
                }
            }
        }
        Ok(around)
    }

    /// What can be read of an inbox behind a position; nothing at its end.
    async fn page(&self, stream: Stream, after: &mut u64) -> Result<Option<Vec<Position>>, StoreError> {
        loop {
            match self.node.store.after(stream, *after, STEP_BYTES).await {
                Ok(page) => {
                    let Some(last) = page.last() else { return Ok(None) };
                    *after = last.sequence;
                    let positions = page.into_iter().map(|entry| (entry.sequence, entry.head, entry.body));
                    return Ok(Some(positions.collect()));
                }
                Err(StoreError::Damaged { sequence, .. }) => *after = sequence,
                Err(error) => return Err(error),
            }
        }
    }
}

/// Number, head and body of an entry.
type Position = (u64, bytes::Bytes, bytes::Bytes);

/// The manifest of a damaged batch, if it was not hit: its hash is the link.
fn manifest_left(damaged: &Damaged) -> Option<Manifest> {
    let batch = SignedBatch::from_parts(damaged.head.as_ref()?, bytes::Bytes::new()).ok()?;
    if sha256(&batch.manifest) == damaged.link { Manifest::parse(&batch.manifest).ok() } else { None }
}
