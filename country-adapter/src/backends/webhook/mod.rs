//! A national system that takes JSON over HTTP: what arrives is posted to it, in order, each part until it is taken.
//!
//! The desk writes files into a queue; this posts them in parts of at most 1,000 events. A part has a name that stays
//! the same (`Idempotency-Key`), so a national system that keeps the names takes each part once, even if its answer got
//! lost. What it refuses for good goes to the dead letters, and the next part follows.

mod client;
mod queue;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pki::disk::DiskError;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use client::Client;
pub use client::{Outcome, WebhookError, understood};
use queue::Queue;

use crate::blocking::blocking;
use crate::config::WebhookConfig;
use crate::durable::Disk;
use crate::outage::Outage;

/// How often the queue is looked at when it is empty.
const POLL: Duration = Duration::from_millis(200);
/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(300);
/// How often a part may be refused before it is a dead letter.
const REFUSALS: u32 = 5;
/// How long it is tried meanwhile: while it is being replaced, a national system may refuse everything. Where another part
/// was taken right before, it is likely the part that is wrong.
const PATIENCE: Patience =
    Patience { after_taking: Duration::from_secs(30), otherwise: Duration::from_secs(120) };

/// The way to the national system.
pub struct Webhook {
    client: Client,
    queue: Arc<Queue>,
    patience: Patience,
}

/// How long a part is tried that is refused.
#[derive(Clone, Copy)]
struct Patience {
    /// If nothing went wrong since another one was taken.
    after_taking: Duration,
    /// If something did.
    otherwise: Duration,
}

/// What the national system's answers so far say of the next refusal.
#[derive(Default)]
struct Refusals {
    /// How often the next part was refused.
    count: u32,
    /// Since when.
    since: Option<Instant>,
    /// Nothing went wrong between the last part that was taken and the first refusal of this one.
    takes: bool,
}

impl Refusals {
    /// The part was refused once more; whether that is for good.
    fn add(&mut self, now: Instant, patience: Patience) -> bool {
        self.count = self.count.saturating_add(1);
        let since = *self.since.get_or_insert(now);
        let least = if self.takes { patience.after_taking } else { patience.otherwise };
        let is_for_good = self.count >= REFUSALS && now.duration_since(since) >= least;
        if is_for_good {
            *self = Self::default();
        }
        is_for_good
    }

    /// The part was taken.
    fn taken(&mut self) {
        *self = Self { takes: true, ..Self::default() };
    }

    /// It was neither taken nor refused.
    fn failed(&mut self) {
        self.takes = false;
    }

    /// Nobody answered: who answers next may be another one.
    fn unanswered(&mut self) {
        *self = Self::default();
    }
}

/// Why a part was not taken; it is tried again.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("the national system cannot be reached: {0}")]
    Unreachable(String),
    #[error("the national system answers {0}")]
    Answer(u16),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Webhook {
    /// Prepares to post what is in the queue's folder.
    pub fn open(config: &WebhookConfig, folder: &Path, disk: Disk) -> Result<Self, WebhookError> {
        let queue = Arc::new(Queue::open(folder, &config.dead_letters, disk)?);
        Ok(Self { client: Client::new(config)?, queue, patience: PATIENCE })
    }

    /// Posts the next part, if there is one; whether there was.
    async fn step(&self, refusals: &mut Refusals) -> Result<bool, (NotTaken, Duration)> {
        let of_disk = |error: DiskError| (NotTaken::from(error), Duration::ZERO);
        let queue = self.queue.clone();
        let Some(part) = blocking(move || queue.next()).await.map_err(of_disk)? else { return Ok(false) };
        let status = match self.client.post(&part).await {
            Outcome::Taken => {
                refusals.taken();
                None
            }
            Outcome::Refused(status) => {
                if !refusals.add(Instant::now(), self.patience) {
                    return Err((NotTaken::Answer(status), Duration::ZERO));
                }
                error!(part = part.id(), status, "refused for good; it is among the dead letters");
                Some(status)
            }
            Outcome::Again { status, pause } => {
                refusals.failed();
                return Err((NotTaken::Answer(status), pause));
            }
            Outcome::Unreachable(cause) => {
                refusals.unanswered();
                return Err((NotTaken::Unreachable(cause), Duration::ZERO));
            }
        };
        let queue = self.queue.clone();
        blocking(move || queue.done(part, status)).await.map_err(of_disk)?;
        Ok(true)
    }
}

/// Whether a configuration can be posted with.
pub fn check(config: &WebhookConfig) -> Result<(), WebhookError> {
    Client::new(config).map(drop)
}

/// Posts until the stop.
pub async fn run(webhook: Webhook, stop: CancellationToken) {
    let (mut outage, mut refusals) = (Outage::new("webhook"), Refusals::default());
    info!("what arrives is posted to the national system");
    while !stop.is_cancelled() {
        match stop.run_until_cancelled(webhook.step(&mut refusals)).await {
            None => return,
            Some(Ok(true)) => outage.over(),
            Some(Ok(false)) => {
                stop.run_until_cancelled(tokio::time::sleep(POLL)).await;
            }
            Some(Err((cause, pause))) => {
                outage.failed(&cause);
                outage.pause(pause.min(LONGEST), &stop).await;
            }
        }
    }
}
