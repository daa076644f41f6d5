//! What `federation flood` measures: how much two good callers notice while a third asks for ten times its quota.
//!
//! Quiet phases and floods take turns in one run, so that whatever else the machine does falls on both alike.

mod attack;
mod good;
mod summary;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use proto::ids::{Authority, CountryCode};

pub use summary::{Compared, FloodSummary, Side, Summary};

use crate::federation::Federation;
use crate::members::Node;
use attack::Flood;
use good::Good;

/// Calls a second that a backend may make, and the reports in them; the flooder asks for ten times as many.
const BACKEND_CALLS: u32 = 40;
const BACKEND_REPORTS: u32 = 5_000;
/// Calls a second that a peer may make.
const PEER_CALLS: u32 = 100;
/// How many times its quota a flooder asks for.
pub const TIMES: u32 = 10;

/// How a flood is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Length of each phase.
    pub phase: Duration,
    /// Pairs of a quiet phase and a flood, for each kind of flood.
    pub rounds: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { phase: Duration::from_secs(5), rounds: 4 }
    }
}

/// Who floods, and over which calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A backend pushes.
    Backend,
    /// A peer pulls.
    Peer,
}

impl Kind {
    /// The quota of such a caller, calls a second.
    fn calls(self) -> u32 {
        match self {
            Self::Backend => BACKEND_CALLS,
            Self::Peer => PEER_CALLS,
        }
    }
}

/// Starts three countries, and measures each kind of flood.
pub async fn run(options: &Options) -> Result<Summary> {
    let told = Instant::now();
    let step = |what: &str| eprintln!("{:5.1} s  {what}", told.elapsed().as_secs_f64());
    step("making three countries; the United Kingdom's gateway gets small quotas");
    let federation = Federation::builder().log_level("warn").start().await?;
    limit(&federation).await?;
    let good = Good::open(&federation, authority("826/0")?, authority("36/2")?).await?;
    let mut floods = Vec::new();
    for kind in [Kind::Backend, Kind::Peer] {
        step(&format!("{kind:?} floods with {TIMES} times its quota, in turns with quiet"));
        floods.push(measure(&federation, &good, kind, options).await?);
    }
    let metrics = federation.metrics(country(826)?).await?;
    let peak = federation.peak_rss(Node::Gateway(country(826)?))?;
    federation.stop().await?;
    step("done");
    Ok(Summary::new(floods, &metrics, peak))
}

/// One kind of flood, in turns with quiet.
async fn measure(
    federation: &Federation,
    good: &Good,
    kind: Kind,
    options: &Options,
) -> Result<FloodSummary> {
    let flood = Flood::prepare(federation, kind).await?;
    let (mut quiet, mut loud) = (<[Side; 2]>::default(), <[Side; 2]>::default());
    // The first calls open connections: they are no measure.
    good.run(Duration::from_secs(1)).await?;
    for _ in 0..options.rounds {
        add(&mut quiet, good.run(options.phase).await?);
        let flooding = flood.start();
        let during = good.run(options.phase).await;
        flood.stop(flooding).await;
        add(&mut loud, during?);
    }
    Ok(FloodSummary::new(kind, flood.counts(), good.names(), quiet, loud))
}

fn add(to: &mut [Side; 2], phases: [Side; 2]) {
    to.iter_mut().zip(phases).for_each(|(side, phase)| side.add(phase));
}

/// Restarts the United Kingdom's gateway with small quotas.
async fn limit(federation: &Federation) -> Result<()> {
    let gateway = Node::Gateway(country(826)?);
    let path = &federation.country(country(826)?)?.gateway.config;
    let mut text = std::fs::read_to_string(path).context("the gateway's configuration can be read")?;
    for (who, calls) in [("backend", BACKEND_CALLS), ("peer", PEER_CALLS)] {
        text += &format!(
            "\n[quota.{who}]\ncalls_per_second = {calls}\nreports_per_second = {BACKEND_REPORTS}\nkibibytes_per_second = 8192\ncalls_in_flight = 16\n"
        );
    }
    std::fs::write(path, text).context("the gateway's configuration can be written")?;
    federation.kill(gateway, crate::process::Signal::TERM)?;
    federation.ended(gateway, Duration::from_secs(15)).await?;
    federation.restart(gateway).await
}

fn authority(text: &str) -> Result<Authority> {
    Ok(text.parse()?)
}

fn country(code: u16) -> Result<CountryCode> {
    Ok(CountryCode::new(code)?)
}
