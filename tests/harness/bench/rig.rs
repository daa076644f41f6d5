//! A federation for a case: real gateways, and the two stand-in adapters in place of the real ones.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cluster::Cluster;
use proto::ids::Authority;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::case::{self, Case, Store};
use super::child::{self, Child};
use super::message::{Account, Order, Told};
use super::usage::{self, Usage};
use crate::binaries::Binaries;
use crate::federation::Federation;
use crate::members::{CountryPlan, Node};
use crate::process::Signal;

/// How long a process may take to end.
const ENDED: Duration = Duration::from_secs(20);
/// How long all that is on its way may take to arrive.
const DRAINED: Duration = Duration::from_secs(240);

/// What is set in gateways and is not so by default: a quota is a rule for others, not a limit of the machine.
pub const SETTINGS: &str = "
[quota.backend]
calls_per_second = 1000000
reports_per_second = 100000000
kibibytes_per_second = 100000000
calls_in_flight = 10000

[quota.peer]
calls_per_second = 1000000
stored_mebibytes_per_day = 100000000
kibibytes_per_second = 100000000
calls_in_flight = 10000
";

/// Whether somebody who counts octets stands between the gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    Plain,
    Counted,
}

/// Processes of a case, in the order of a token's way.
pub(super) const PARTS: [&str; 5] =
    ["adapter_push", "gateway_origin", "gateway_destination", "adapter_open", "database"];

/// Everything that a case is measured on.
pub(super) struct Rig {
    pub(super) case: Case,
    pub(super) federation: Federation,
    pub(super) pusher: Child,
    pub(super) opener: Child,
    cluster: Option<Arc<Cluster>>,
    _relay: AbortOnDropHandle<()>,
}

impl Rig {
    /// Sets it up: countries with their keys, gateways that know each other's keys, and the stand-ins.
    pub(super) async fn start(case: Case, line: Line) -> Result<Self> {
        Self::start_among(case, line, Vec::new()).await
    }

    /// The same among countries that do not run.
    pub(super) async fn start_among(case: Case, line: Line, absent: Vec<CountryPlan>) -> Result<Self> {
        let mut builder = Federation::builder().log_level("warn").gateway_settings(SETTINGS);
        for plan in case.plans() {
            builder = builder.country(plan);
        }
        for plan in absent {
            builder = builder.absent(plan);
        }
        if line == Line::Counted {
            builder = builder.proxied();
        }
        let cluster = match case.store {
            Store::Sled => None,
            Store::Postgres => Some(Arc::new(tokio::task::spawn_blocking(Cluster::start).await??)),
        };
        if let Some(cluster) = &cluster {
            builder = builder.cluster(cluster.clone());
        }
        let federation = builder.start().await?;
        // They have published the authorities' keys; the stand-ins use their places.
        for adapter in federation.adapters().map(|adapter| Node::Adapter(adapter.authority)) {
            end(&federation, adapter).await?;
        }
        let (program, folder) = (Binaries::find()?.federation, federation.folder());
        let config = |authority| anyhow::Ok(federation.adapter(authority)?.config.display().to_string());
        let (size, destinations) = (case.push.to_string(), case.destinations());
        let mut words = vec!["bench-push".into(), config(Case::origin())?];
        words.extend(["--bytes".into(), case.report_bytes.to_string(), "--push".into(), size.clone()]);
        words.extend(destinations.iter().flat_map(|to| ["--to".into(), to.to_string()]));
        let pusher = Child::start(&program, &words, &folder.join("bench-push.log")).await?;
        let mut words = vec!["bench-open".into(), "--push".into(), size];
        for destination in &destinations {
            words.push(config(*destination)?);
        }
        let opener = Child::start(&program, &words, &folder.join("bench-open.log")).await?;
        let relay = relay(&pusher, &opener);
        Ok(Self { case, federation, pusher, opener, cluster, _relay: relay })
    }

    /// The origin's gateway.
    pub(super) fn origin() -> Result<Node> {
        Ok(Node::Gateway(case::country(Case::origin())?))
    }

    /// The destinations' gateways.
    pub(super) fn destinations(&self) -> Result<Vec<Node>> {
        let gateway = |authority: &Authority| Ok(Node::Gateway(case::country(*authority)?));
        self.case.destinations().iter().map(gateway).collect()
    }

    /// The process ids of each of the [`PARTS`].
    pub(super) fn pids(&self) -> Result<[Vec<u32>; PARTS.len()]> {
        let destinations = self.destinations()?.into_iter().map(|node| self.federation.pid(node));
        let database = self.cluster.as_ref().map(|cluster| usage::family(cluster.pid()?)).transpose()?;
        Ok([
            vec![self.pusher.pid()?],
            vec![self.federation.pid(Self::origin()?)?],
            destinations.collect::<Result<_>>()?,
            vec![self.opener.pid()?],
            database.unwrap_or_default(),
        ])
    }

    /// What each of the [`PARTS`] has used so far.
    pub(super) fn usage(&self) -> Result<[Usage; PARTS.len()]> {
        let mut used = [Usage::default(); PARTS.len()];
        let [ours @ .., _] = self.pids()?;
        for (part, pids) in used.iter_mut().zip(ours) {
            *part = pids.into_iter().map(Usage::of).sum::<Result<_>>()?;
        }
        if let (Some(cluster), [.., database]) = (&self.cluster, &mut used) {
            *database = usage::of_family(cluster.pid()?)?;
        }
        Ok(used)
    }

    /// The most memory that any gateway holds or has held, octets.
    pub(super) fn peak_rss(&self) -> Result<u64> {
        let peaks = self.destinations()?.into_iter().chain([Self::origin()?]);
        peaks.map(|node| self.federation.peak_rss(node)).try_fold(0, |most, peak| Ok(most.max(peak?)))
    }

    /// Waits until so many tokens are opened.
    pub(super) async fn drained(&mut self, tokens: u64) -> Result<()> {
        let mut progress = self.opener.progress();
        let arrived = progress.wait_for(|progress| progress.tokens >= tokens);
        if let Ok(arrived) = timeout(DRAINED, arrived).await {
            return arrived.context("the opening adapter has ended by itself").map(drop);
        }
        self.opener.check()?;
        let found = self.opener.progress().borrow().tokens;
        bail!("{found} of {tokens} accepted tokens have arrived, and no more come");
    }

    /// What has been opened in all.
    pub(super) async fn account(&mut self) -> Result<Account> {
        match self.opener.ask(&Order::Account).await? {
            Told::Account(account) => Ok(account),
            other => bail!("asked for its account, the opening adapter says {other:?}"),
        }
    }

    /// Stops the destinations' gateways.
    pub(super) async fn cut(&self) -> Result<()> {
        for node in self.destinations()? {
            end(&self.federation, node).await?;
        }
        Ok(())
    }

    /// Starts them again.
    pub(super) async fn mend(&self) -> Result<()> {
        let destinations = self.destinations()?;
        destinations.iter().try_for_each(|node| self.federation.launch(*node))?;
        for node in destinations {
            self.federation.wait_gateway(node, ENDED).await?;
        }
        Ok(())
    }
}

/// Stops a process.
pub(super) async fn end(federation: &Federation, node: Node) -> Result<()> {
    federation.kill(node, Signal::TERM)?;
    federation.ended(node, ENDED).await.map(drop)
}

/// The pusher is told how much is opened, so that it keeps no more than so much under way.
fn relay(pusher: &Child, opener: &Child) -> AbortOnDropHandle<()> {
    let (input, mut progress) = (pusher.input(), opener.progress());
    AbortOnDropHandle::new(tokio::spawn(async move {
        while progress.changed().await.is_ok() {
            let tokens = progress.borrow_and_update().tokens;
            if child::order_to(&input, &Order::Opened { tokens }).await.is_err() {
                return;
            }
        }
    }))
}
