//! The destinations' adapters, in one process: pull, verify and open as the real one does, and count what they read.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use country_adapter::backend::Mark;
use country_adapter::gateway::CallError;
use country_adapter::receive::{OpenedBatch, verify};
use pki::sign::sha256;
use proto::batch::SignedBatch;
use proto::wire;

use super::message::{self, Order, Progress, Told};
use super::node::Node;
use super::tally::Tally;
use super::{TICK, clock};

/// How long a gateway may be away, and the pause between two calls meanwhile.
const AWAY: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// What is opened.
#[derive(Debug, Clone, clap::Args)]
pub struct Opened {
    /// The configurations of the adapters in whose names it is pulled
    #[arg(required = true)]
    pub configs: Vec<PathBuf>,
    /// Reports of a push
    #[arg(long)]
    pub push: usize,
}

/// Opens what comes, until the command is gone.
pub async fn run(opened: &Opened) -> Result<()> {
    let tally = Arc::new(Tally::new(opened.push));
    for config in &opened.configs {
        let opener = Arc::new(Opener { node: Node::read(config)?, tally: tally.clone() });
        tokio::spawn(async move {
            if let Err(error) = opener.open_all().await {
                // A command that is gone needs to know nothing.
                let _ = message::say(&Told::Failed { error: format!("{error:#}") });
            }
        });
    }
    message::say(&Told::Ready)?;
    tokio::spawn(progress(tally.clone()));
    let mut orders = message::orders();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Record => tally.record(),
            Order::Recorded => message::say(&Told::Recorded(tally.recorded()))?,
            Order::Account => message::say(&Told::Account(tally.account()))?,
            other => bail!("{other:?} is for who pushes"),
        }
    }
    Ok(())
}

async fn progress(tally: Arc<Tally>) -> Result<()> {
    let mut last = 0;
    loop {
        let (at, tokens) = (clock::now(), tally.opened());
        if tokens != last {
            message::say(&Told::Progress(Progress { at, tokens }))?;
            last = tokens;
        }
        tokio::time::sleep(TICK).await;
    }
}

struct Opener {
    node: Node,
    tally: Arc<Tally>,
}

impl Opener {
    async fn open_all(self: Arc<Self>) -> Result<()> {
        let (mut after, mut heard) = (Mark { position: 0, manifest_hash: None }, Instant::now());
        loop {
            match self.page(after).await? {
                Ok(through) => (after, heard) = (through, Instant::now()),
                Err(error) if heard.elapsed() > AWAY => return Err(error).context("the gateway stays away"),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Takes a page, and acknowledges it when all of it is opened.
    async fn page(self: &Arc<Self>, after: Mark) -> Result<Result<Mark, CallError>> {
        let limits = &self.node.config.receive;
        let request = wire::DeliveryPullRequest {
            after: after.position,
            manifest_hash: after.hash_octets(),
            max_bytes: limits.page_bytes,
            wait_ms: limits.max_wait_ms,
        };
        let page = match self.node.gateway.pull(request).await {
            Ok(page) if page.is_empty() => return Ok(Ok(after)),
            Ok(page) => page,
            Err(error) => return Ok(Err(error)),
        };
        let this = self.clone();
        let through = tokio::task::spawn_blocking(move || this.keep(page)).await??;
        Ok(self.node.gateway.acknowledge(through).await.map(|()| through))
    }

    fn keep(&self, page: Vec<wire::Delivered>) -> Result<Mark> {
        let mut through = None;
        for wire::Delivered { position, batch } in page {
            let batch = batch.context("a delivery has a batch")?;
            through = Some(Mark { position, manifest_hash: Some(sha256(&batch.manifest)) });
            let own = self.node.config.authority;
            let verified = verify(position, SignedBatch::parse(batch)?, &self.node.trust, own)?;
            let opened = OpenedBatch::open(&verified, &self.node.keys.hpke, own)?;
            self.tally.add(&opened.read(), clock::now());
        }
        through.context("a page has a batch")
    }
}
