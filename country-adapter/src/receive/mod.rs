//! Delivery -> verify -> open -> intake: a loop that follows the gateway's delivery stream.
//!
//! A position is acknowledged only after everything up to it is kept durably: delivered, or in quarantine.

mod opened;
mod quarantine;
mod verify;

#[cfg(test)]
mod tests;

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use pki::disk::DiskError;
use pki::identity::NodeKeys;
use pki::sign::sha256;
use pki::trust::TrustList;
use proto::batch::SignedBatch;
use proto::ids::Authority;
use proto::wire;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use opened::{BadReport, OpenedBatch, ReadBatch, is_for};
pub use quarantine::{Asked, InQuarantine, Kept, Quarantine};
pub use verify::{Refused, VerifiedDelivery, verify};

use crate::backend::{Accepted, BackendError, Cursor, Mark};
use crate::blocking::blocking;
use crate::counters::Counters;
use crate::gateway::{CallError, Gateway};
use crate::intake::Intake;
use crate::outage::Outage;

/// Everything that delivered batches need on their way in.
pub struct Receiver {
    /// Where they go.
    pub intake: Arc<Intake>,
    /// Where those go that do not pass.
    pub quarantine: Quarantine,
    /// Where they come from.
    pub gateway: Gateway,
    /// Who may have signed them.
    pub trust: watch::Receiver<Arc<TrustList>>,
    /// What opens them.
    pub keys: Arc<NodeKeys>,
    /// For whom they are.
    pub authority: Authority,
    /// How the gateway is asked.
    pub limits: PullLimits,
    /// For people.
    pub counters: Arc<Counters>,
}

/// How much is asked for at once.
#[derive(Debug, Clone, Copy)]
pub struct PullLimits {
    /// Octets of a page.
    pub page_bytes: u32,
    /// How long the gateway may wait at the tail.
    pub max_wait: Duration,
}

/// Why nothing is received for now.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The gateway.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The desk.
    #[error(transparent)]
    Intake(#[from] BackendError),
    /// The quarantine.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A page that goes backwards.
    #[error("the gateway's page has position {found} after {last}; positions must grow")]
    OutOfOrder {
        /// The position.
        found: u64,
        /// The one before it.
        last: u64,
    },
}

impl ReceiveError {
    /// The least pause before the next try.
    fn pause(&self) -> Duration {
        match self {
            Self::Call(error) => error.pause(),
            Self::Intake(_) | Self::Disk(_) | Self::OutOfOrder { .. } => Duration::ZERO,
        }
    }
}

/// Receives until the stop.
pub async fn run(receiver: Arc<Receiver>, stop: CancellationToken) {
    let (mut outage, mut acknowledged) = (Outage::new("receive"), None);
    while !stop.is_cancelled() {
        match stop.run_until_cancelled(receiver.step(&mut acknowledged)).await {
            None => return,
            Some(Ok(())) => outage.over(),
            Some(Err(error)) => {
                outage.failed(&error);
                outage.pause(error.pause(), &stop).await;
            }
        }
    }
}

impl Receiver {
    /// Takes one page: keeps what is in it, then acknowledges it. `acknowledged` is how far the gateway was told.
    pub async fn step(self: &Arc<Self>, acknowledged: &mut Option<Mark>) -> Result<(), ReceiveError> {
        let this = self.clone();
        let after = blocking(move || this.prepare()).await?.at;
        if self.acknowledge(after, acknowledged).await? == Acknowledged::Rewound {
            return Ok(());
        }
        let request = wire::DeliveryPullRequest {
            after: after.position,
            manifest_hash: after.hash_octets(),
            max_bytes: self.limits.page_bytes,
            wait_ms: u32::try_from(self.limits.max_wait.as_millis()).unwrap_or(u32::MAX),
        };
        let page = match self.gateway.pull(request).await {
            Err(CallError::CursorBeyondEnd) if after.position > 0 => {
                return self.rewind(after.position, acknowledged).await;
            }
            Err(CallError::Purged { oldest: Some(oldest) }) if oldest > after.position + 1 => {
                return self.step_over(after.position, oldest).await;
            }
            page => page?,
        };
        if let Some(through) = self.check_order(&page, after.position)? {
            let this = self.clone();
            blocking(move || this.keep(page, through)).await?;
            self.acknowledge(through, acknowledged).await?;
        }
        Ok(())
    }

    /// What comes before a pull: old batches leave quarantine, and those that an operator has asked for are taken again.
    fn prepare(&self) -> Result<Cursor, ReceiveError> {
        self.quarantine.forget(self.intake.day()?)?;
        self.replay()?;
        Ok(self.intake.cursor()?)
    }

    async fn acknowledge(
        &self,
        through: Mark,
        acknowledged: &mut Option<Mark>,
    ) -> Result<Acknowledged, ReceiveError> {
        let position = through.position;
        if position == 0 || *acknowledged == Some(through) {
            return Ok(Acknowledged::Through);
        }
        match self.gateway.acknowledge(through).await {
            Ok(()) => {}
            Err(CallError::CursorBeyondEnd) => {
                self.rewind(position, acknowledged).await?;
                return Ok(Acknowledged::Rewound);
            }
            // It cannot be mended here, and what comes next does not depend on it.
            Err(refused @ CallError::Refused { .. }) => {
                error!(position, error = %refused, "not acknowledged");
            }
            Err(again) => return Err(again.into()),
        }
        *acknowledged = Some(through);
        Ok(Acknowledged::Through)
    }

    // The gateway's store was replaced or restored. What it still has comes again; what is known of the origins
    // keeps it from being delivered twice.
    async fn rewind(&self, position: u64, acknowledged: &mut Option<Mark>) -> Result<(), ReceiveError> {
        error!(
            position,
            "the gateway has not the batch that was taken at this position; taking its stream from the beginning"
        );
        *acknowledged = None;
        let intake = self.intake.clone();
        Ok(blocking(move || intake.rewind()).await?)
    }

    // What is gone is gone; waiting for it would hold up everything behind it.
    async fn step_over(&self, after: u64, oldest: u64) -> Result<(), ReceiveError> {
        error!(
            from = after + 1,
            before = oldest,
            "the gateway does not have these positions any more: purged, or lost in its store"
        );
        self.counters.gap(oldest - after - 1);
        let intake = self.intake.clone();
        let through = Mark { position: oldest - 1, manifest_hash: None };
        blocking(move || intake.accept(through, &[], |_| Ok(()))).await?;
        Ok(())
    }

    fn check_order(&self, page: &[wire::Delivered], after: u64) -> Result<Option<Mark>, ReceiveError> {
        let mut last = after;
        for found in page.iter().map(|delivered| delivered.position) {
            if found <= last {
                return Err(ReceiveError::OutOfOrder { found, last });
            }
            // What is purged before this adapter's first pull is missing too, and nobody's fault.
            if found > last + 1 && last > 0 {
                warn!(from = last + 1, before = found, "positions are missing in the delivery stream");
                self.counters.gap(found - last - 1);
            }
            last = found;
        }
        Ok(page.last().map(mark))
    }

    /// Keeps a page durably, every batch in one place or the other.
    fn keep(&self, page: Vec<wire::Delivered>, through: Mark) -> Result<(), ReceiveError> {
        let trust = self.trust.borrow().clone();
        let (mut opened, mut sealed) = (Vec::with_capacity(page.len()), Vec::new());
        for wire::Delivered { position, batch } in page {
            let batch = batch.unwrap_or_default();
            match self.open(position, &batch, &trust) {
                Ok(open) => {
                    opened.push(open);
                    sealed.push((position, batch));
                }
                Err(refused) => self.keep_refused(position, &batch, &refused)?,
            }
        }
        let mut read = Vec::with_capacity(opened.len());
        for (open, (position, batch)) in opened.iter().zip(&sealed) {
            match read_all(open) {
                Ok(reports) => {
                    self.keep_bad_reports(&reports, batch)?;
                    read.push(reports);
                }
                Err(refused) => self.keep_refused(*position, batch, &refused)?,
            }
        }
        let accepted =
            self.intake.accept(through, &read, |accepted| self.keep_over_quota(&sealed, accepted))?;
        self.counters.accepted(&accepted);
        log(through.position, &accepted);
        Ok(())
    }

    fn open(
        &self,
        position: u64,
        batch: &wire::SignedBatch,
        trust: &TrustList,
    ) -> Result<OpenedBatch, Refused> {
        contained(|| {
            let signed = SignedBatch::parse(batch.clone())?;
            let verified = verify(position, signed, trust, self.authority)?;
            OpenedBatch::open(&verified, &self.keys.hpke, self.authority)
        })
    }

    fn keep_refused(
        &self,
        position: u64,
        batch: &wire::SignedBatch,
        refused: &Refused,
    ) -> Result<(), DiskError> {
        error!(position, reason = %refused, "batch in quarantine");
        self.set_aside(position, batch, &refused.to_string())
    }

    /// What is over the quota may be true: an operator can look at it.
    fn keep_over_quota(
        &self,
        batches: &[(u64, wire::SignedBatch)],
        accepted: &Accepted,
    ) -> Result<(), DiskError> {
        for (position, batch) in batches {
            let Some(reports) = accepted.over_quota.get(position) else { continue };
            error!(position, reports, "a country has used its quota of the day; kept in quarantine");
            let reason = format!("{reports} reports of this batch were over their country's quota of a day");
            self.set_aside(*position, batch, &reason)?;
        }
        Ok(())
    }

    fn set_aside(&self, position: u64, batch: &wire::SignedBatch, reason: &str) -> Result<(), DiskError> {
        match self.quarantine.keep(position, batch, reason)? {
            Kept::Now => self.counters.quarantined(),
            Kept::Before => {}
            Kept::NoRoom => {
                error!(position, "its country's room in quarantine is full for today; dropped");
                self.counters.dropped();
            }
        }
        Ok(())
    }

    /// Takes the batches again that an operator has asked for.
    fn replay(&self) -> Result<(), ReceiveError> {
        let trust = self.trust.borrow().clone();
        for asked in self.quarantine.asked()? {
            let opened = self.open(asked.position(), asked.batch(), &trust);
            let refused = match opened.as_ref().map(read_all) {
                Err(refused) => refused.to_string(),
                Ok(Err(refused)) => refused.to_string(),
                Ok(Ok(read)) => {
                    self.intake.again(&read)?;
                    info!(batch = asked.name(), reports = read.good.len(), "taken again");
                    reasons(&read.bad)
                }
            };
            if refused.is_empty() {
                self.quarantine.done(&asked)?;
            } else {
                error!(batch = asked.name(), reason = refused, "stays in quarantine");
                self.quarantine.put_back(&asked, &refused)?;
            }
        }
        Ok(())
    }

    fn keep_bad_reports(&self, read: &ReadBatch<'_>, batch: &wire::SignedBatch) -> Result<(), DiskError> {
        if read.bad.is_empty() {
            return Ok(());
        }
        let (position, origin, id) = (read.batch.position(), read.batch.origin(), read.batch.id());
        error!(position, %origin, batch = %id, reports = read.bad.len(), "reports in quarantine");
        self.set_aside(position, batch, &reasons(&read.bad))?;
        self.counters.bad_reports(read.bad.len());
        Ok(())
    }
}

#[derive(PartialEq, Eq)]
enum Acknowledged {
    Through,
    Rewound,
}

fn read_all(opened: &OpenedBatch) -> Result<ReadBatch<'_>, Refused> {
    contained(|| Ok(opened.read()))
}

/// A defect that a batch sets off is that batch's alone: the stream goes on behind it.
fn contained<T>(work: impl FnOnce() -> Result<T, Refused>) -> Result<T, Refused> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(Refused::Defect))
}

/// The place that a batch gives the stream, whatever becomes of it.
fn mark(delivered: &wire::Delivered) -> Mark {
    let manifest_hash = delivered.batch.as_ref().map(|batch| sha256(&batch.manifest));
    Mark { position: delivered.position, manifest_hash }
}

/// Why reports of a batch are bad, a line each; nothing if all are good.
fn reasons(bad: &[BadReport]) -> String {
    let reasons = bad.iter().map(|bad| format!("report {}: {}", bad.place, bad.reason));
    reasons.collect::<Vec<_>>().join("\n")
}

fn log(through: u64, accepted: &Accepted) {
    let Accepted { batches, reports, replayed, .. } = *accepted;
    if replayed > 0 {
        warn!(through, replayed, "batches came again and were not delivered again");
    }
    info!(through, batches, reports, "delivered");
}
