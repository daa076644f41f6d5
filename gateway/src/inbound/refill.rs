//! Batches of an inbox whose octets are damaged: fetched again from their origins, which keep them until a day after
//! they were delivered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pki::sign::sha256;
use pki::trust::Status;
use proto::batch::{Manifest, SignedBatch};
use proto::ids::CountryCode;
use proto::wire;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::inbox;
use super::pull::PullError;
use super::verify::{Expected, HOLE, Refused, VerifiedBatch, verify};
use crate::backoff::Backoff;
use crate::names;
use crate::node::Node;
use crate::panics;
use crate::peers::{PeerError, Peers};
use crate::store::upkeep::Damaged;
use crate::store::{Cursor, StoreError, Stream};

/// How long a peer may take to answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// Damage is looked at this often even if nothing rang.
const AT_LEAST_EVERY: Duration = Duration::from_secs(3_600);
/// How long an inbox stands still for a batch whose origin does not answer. Then it is given up, by name: what came behind
/// it is from everybody else.
const PATIENCE: Duration = Duration::from_secs(24 * 3_600);
/// How long the origins are asked for one batch before it is another one's turn; it is gone on with later.
const LONGEST: Duration = Duration::from_secs(300);
/// Octets that are read of an inbox at once.
const STEP_BYTES: usize = 4 << 20;

/// Fetches damaged batches again.
pub struct Refill {
    node: Arc<Node>,
    peers: Arc<Peers>,
    attempts: BTreeMap<(Stream, u64), Attempt>,
}

/// How far it has come with one damaged batch.
struct Attempt {
    since: Instant,
    /// The next sequence to ask each origin for; what is before it is not the batch, or is gone.
    next: BTreeMap<CountryCode, u64>,
}

impl Default for Attempt {
    fn default() -> Self {
        Self { since: Instant::now(), next: BTreeMap::new() }
    }
}

/// Why a damaged batch is not mended yet.
#[derive(Debug, thiserror::Error)]
enum RefillError {
    /// The line to its origin.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What came.
    #[error(transparent)]
    Refused(#[from] PullError),
    /// Its origins have more to look through than there is time at once.
    #[error("its origins did not answer in time")]
    Late,
    /// The origin's store went back to before that batch.
    #[error("country {0} does not know the batch; was its store restored?")]
    Unknown(CountryCode),
}

impl Refill {
    /// A loop for all inboxes.
    #[must_use]
    pub fn new(node: Arc<Node>, peers: Arc<Peers>) -> Self {
        Self { node, peers, attempts: BTreeMap::new() }
    }

    /// Mends what is found damaged, until the stop.
    pub async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.work()).await;
    }

    async fn work(&mut self) {
        let Some(mut damaged) = self.node.store.upkeep().map(|upkeep| upkeep.damaged()) else {
            return std::future::pending().await;
        };
        let mut backoff = Backoff::default();
        loop {
            let found: Vec<Damaged> = damaged.borrow_and_update().values().cloned().collect();
            let open = found.into_iter().filter(|entry| {
                names::inbox_authority(entry.stream).is_some()
                    && !self.node.lost.has(entry.stream, entry.sequence)
            });
            let open: Vec<Damaged> = open.collect();
            self.attempts
                .retain(|place, _| open.iter().any(|entry| (entry.stream, entry.sequence) == *place));
            let mut failed = false;
            for entry in &open {
                failed |= !self.mend(entry).await;
            }
            let pause = if failed { backoff.failed() } else { AT_LEAST_EVERY };
            tokio::select! {
                changed = damaged.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Brings one batch back, or gives it up; false if it is to be tried again.
    async fn mend(&mut self, damaged: &Damaged) -> bool {
        // Another replica may have mended it since it was found, or it was purged.
        if self.node.store.find(damaged.stream, damaged.sequence).await.is_ok() {
            return true;
        }
        let mut attempt = self.attempts.remove(&(damaged.stream, damaged.sequence)).unwrap_or_default();
        let since = attempt.since;
        let fetch = timeout(LONGEST, panics::contained(self.fetch(damaged, &mut attempt))).await;
        let fetched =
            fetch.map_err(|_| RefillError::Late).and_then(|fetch| fetch.map_err(PullError::from)?);
        let mended = match fetched {
            Ok(Some(batch)) => self.put(damaged, &batch).await,
            Ok(None) => {
                self.node.lost.give_up(&self.node, damaged, "no origin keeps it any more");
                Ok(())
            }
            Err(error) => Err(error),
        };
        let Err(error) = mended else { return true };
        if since.elapsed() >= PATIENCE {
            warn!(%error, entry = %damaged, "a damaged batch could not be fetched again for a whole day");
            self.node.lost.give_up(&self.node, damaged, "it could not be fetched again for a whole day");
            return true;
        }
        warn!(%error, entry = %damaged, "a damaged batch could not be fetched again; it is tried again");
        self.attempts.insert((damaged.stream, damaged.sequence), attempt);
        false
    }

    async fn put(&self, damaged: &Damaged, batch: &VerifiedBatch) -> Result<(), RefillError> {
        let octets = (batch.batch().head(), batch.batch().sealed.clone());
        if let Some(upkeep) = self.node.store.upkeep() {
            upkeep.mend(damaged.stream, damaged.sequence, octets).await?;
        }
        self.node.metrics.mended();
        info!(stream = names::of_stream(damaged.stream), sequence = damaged.sequence, origin = %batch.manifest().header.origin, "a damaged batch was fetched again and mended");
        Ok(())
    }

    /// The batch itself: known by its link, which is kept apart from it. Nothing if nobody has it any more.
    async fn fetch(
        &self,
        damaged: &Damaged,
        attempt: &mut Attempt,
    ) -> Result<Option<VerifiedBatch>, RefillError> {
        match manifest_left(damaged) {
            Some(manifest) => {
                let (origin, sequence) = (manifest.header.origin, manifest.sequence.number());
                let next = attempt.next.entry(origin).or_insert(sequence);
                self.look(origin, (next, sequence), damaged.link).await
            }
            None => self.search(damaged, attempt).await,
        }
    }

    /// Looks for a batch at every origin: its manifest cannot be read, so only its neighbours say where it was. An origin
    /// that does not answer keeps nobody from asking the others.
    async fn search(
        &self,
        damaged: &Damaged,
        attempt: &mut Attempt,
    ) -> Result<Option<VerifiedBatch>, RefillError> {
        let around = self.around(damaged).await?;
        let trust = self.node.trust_list();
        let mut failure = None;
        for (origin, status) in trust.countries().map(|country| (country.code, country.status)) {
            let pulled = self.node.store.cursor(names::pulled(origin)).await?.through;
            match status {
                Status::Active => {}
                // It keeps what it has, and may come back.
                Status::Suspended if pulled > 0 => {
                    failure = Some(PullError::NotActive.into());
                    continue;
                }
                Status::Suspended | Status::Revoked => continue,
            }
            let (before, behind) = around.get(&origin).copied().unwrap_or((0, u64::MAX));
            let next = attempt.next.entry(origin).or_insert(before + 1);
            match self.look(origin, (next, pulled.min(behind - 1)), damaged.link).await {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    /// Looks through an origin's batches from `next` to `last` for the one of this link. Our cursor there is neither used
    /// nor moved; `next` is.
    async fn look(
        &self,
        origin: CountryCode,
        (next, last): (&mut u64, u64),
        link: [u8; 32],
    ) -> Result<Option<VerifiedBatch>, RefillError> {
        while *next <= last {
            let max_bytes = if *next == last { 1 } else { self.node.config.pull.page_bytes };
            let request = wire::PullRequest { after: *next - 1, max_bytes, wait_ms: 0 };
            let mut client = self.peers.exchange(origin)?;
            let page = match self.peers.call(origin, DEADLINE, client.pull(request)).await {
                Ok(reply) => reply.batches,
                Err(error) => match error.lost() {
                    Some((_, oldest)) if oldest > *next => {
                        *next = oldest;
                        continue;
                    }
                    _ => return Err(error.into()),
                },
            };
            if page.is_empty() {
                return Err(RefillError::Unknown(origin));
            }
            for batch in page {
                if sha256(&batch.manifest) == link {
                    return Ok(Some(self.check(origin, *next, batch)?));
                }
                *next += 1;
            }
        }
        Ok(None)
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
        let has_inbox = |authority| inbox::is_kept(&self.node, authority);
        let expected = Expected { origin, own, trust: &trust, has_inbox: &has_inbox, cursor, now };
        let parsed = SignedBatch::parse(batch).map_err(Refused::Malformed)?;
        Ok(verify(parsed, &expected)?)
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
