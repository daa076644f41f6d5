//! What `federation demo` shows: three countries exchange tokens, and every token is accounted for from the outside.

mod account;
mod latency;
mod ledger;
mod privacy;
mod stay;
mod summary;
mod tables;
mod traffic;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proto::ids::CountryCode;

pub use latency::Percentiles;
pub use stay::{instructions, interruption, until_interrupted};
pub use summary::{AuthoritySummary, CountrySummary, Summary};
pub use tables::tables;

use crate::federation::Federation;
use crate::members::Node;
use crate::{backend, phones};
use ledger::Ledger;

/// How long the tokens of the big push may take to arrive, all of them.
const ARRIVED: Duration = Duration::from_secs(20);

/// How a demo is run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Make everything in this folder and leave it there.
    pub keep: Option<PathBuf>,
    /// Print the commands that made the federation.
    pub verbose: bool,
    /// What happens to the processes at the end.
    pub end: End,
}

/// What happens to the processes when everything was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum End {
    /// They stop, and what they have written is looked through afterwards.
    #[default]
    Stop,
    /// They go on.
    Stay,
}

/// Runs the demo. The federation comes back with the summary; after [`End::Stop`] none of its processes runs.
pub async fn run(options: &Options) -> Result<(Federation, Summary)> {
    let told = Told(Instant::now());
    phones::check_known_identifier()?;
    told.step("Herald's key schedule gives the known identifier; making keys, certificates and lists");
    let mut builder = Federation::builder().log_level("trace");
    if let Some(folder) = &options.keep {
        builder = builder.keep(folder);
    }
    let federation = builder.start().await?;
    told.started(&federation, options);
    let mut ledger = Ledger::default();
    traffic::push_files(&federation, &mut ledger).await?;
    traffic::push_by_hand(&federation, &mut ledger).await?;
    told.step(&format!(
        "{} reports pushed, {} accepted; waiting for them",
        ledger.sent().len(),
        ledger.accepted()
    ));
    arrived(&federation, &ledger).await?;
    told.step("measuring single tokens on an idle federation");
    let percentiles = latency::measure(&federation, &mut ledger).await?;
    let found = Measured::take(&federation).await?;
    if options.end == End::Stop {
        stop(&federation).await?;
    }
    told.step("accounting for every token, and looking for them where they must not be");
    let account = account::account(&federation, &ledger)?;
    let leaks = privacy::leaks(&federation, &ledger, &found.metrics)?;
    let summary = Summary::new(
        &federation,
        &ledger,
        summary::Findings {
            account,
            leaks,
            percentiles,
            peak_rss: found.peak_rss,
            elapsed: told.0.elapsed(),
        },
    );
    told.step("done");
    Ok((federation, summary))
}

/// What must be asked while the gateways run.
struct Measured {
    peak_rss: BTreeMap<CountryCode, u64>,
    metrics: BTreeMap<CountryCode, String>,
}

impl Measured {
    async fn take(federation: &Federation) -> Result<Self> {
        let mut measured = Self { peak_rss: BTreeMap::new(), metrics: BTreeMap::new() };
        for (plan, _) in federation.countries() {
            measured.peak_rss.insert(plan.code, federation.peak_rss(Node::Gateway(plan.code))?);
            measured.metrics.insert(plan.code, federation.metrics(plan.code).await?);
        }
        Ok(measured)
    }
}

/// Waits until as many reports lie in the delivered folders as were accepted. What does not come counts as lost later.
async fn arrived(federation: &Federation, ledger: &Ledger) -> Result<()> {
    let accepted = ledger.accepted();
    let all_there = async || {
        let counts = federation.adapters().map(backend::count_delivered).collect::<Result<Vec<_>>>();
        counts.is_ok_and(|counts| counts.iter().sum::<usize>() >= accepted).then_some(())
    };
    if let Err(late) = federation.wait_until("all accepted tokens arrive", ARRIVED, all_there).await {
        eprintln!("{late:#}");
    }
    Ok(())
}

async fn stop(federation: &Federation) -> Result<()> {
    for (node, status) in federation.stop().await.context("stopping")? {
        ensure!(status.success(), "{node} did not stop cleanly: {status}");
    }
    Ok(())
}

/// What is told to people while it goes on, on standard error.
struct Told(Instant);

impl Told {
    fn step(&self, what: &str) {
        eprintln!("{:5.1} s  {what}", self.0.elapsed().as_secs_f64());
    }

    fn started(&self, federation: &Federation, options: &Options) {
        if options.verbose {
            eprintln!("in {}:", federation.folder().display());
            let lines = federation.commands().iter().cloned().chain(federation.launches());
            lines.for_each(|line| eprintln!("  {line}"));
        }
        let (processes, commands) = (federation.nodes().count(), federation.commands().len());
        self.step(&format!("{processes} processes run on what {commands} pki commands have made; pushing"));
    }
}
