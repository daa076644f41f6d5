//! `federation bench`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use harness::bench::{self, Case, Options, Pace, Store, opener, plots, pusher};
use harness::demo;

use super::FAILED;

pub(crate) const HELP: &str = "\
Gateways are the real ones, in processes of their own, with mutual TLS, certificates of the pki command, and a durable
store in the folder of temporary files (TMPDIR). An adapter stands beside each: it seals, pushes, pulls, verifies,
opens and acknowledges with the real one's code, but makes up its reports and only counts what it reads. What is timed
goes from the gateway that accepts a push to the adapter that has verified and opened it, so files of national systems
are not in it; one row has the real adapters with folders of files on both sides.

For each case: tokens a second end to end with no more than 40,000 under way; push alone, while the destination is
down; pull alone, when it comes back to what waits; latency at shares of the sustained rate, whatever becomes of
earlier pushes; core seconds by process, and by stage if Linux perf is there and allowed; octets between gateways;
octets written to the disk; the most memory of a gateway. A report's octets are those of its encoding, without the
length in front of it. The floor is the same octets through nothing but AES-GCM, TLS records, SHA-256, signatures,
messages and syncs, on all cores; measured right before the sustained rate and again at the end, because a machine is not
as fast at every moment. The CPUs are kept awake meanwhile, as a server's low-latency profile keeps them (for that it
has to be root).

Use a release build on a machine that does nothing else. Ends with 1 if a case could not be measured, or if a token was
lost or doubled.

Examples:
  federation bench --quick                         the headline and its floor, within a minute
  federation bench                                 every size, push, number of peers and store: a quarter of an hour
  federation bench --json --plots plots > b.json   for machines, and pictures as SVG
  federation bench --bytes 500 --push 5000         one case
  federation bench --store postgres --seconds 30   one case over PostgreSQL, sustained for longer";

/// Tokens of the row with files.
const WITH_FILES: usize = 200_000;

#[derive(clap::Args)]
pub(crate) struct Bench {
    /// The headline case alone: 200 bytes, 1,000 a push, 1 peer, sled; latency at 10 % load
    #[arg(long)]
    quick: bool,
    /// Print one JSON object in place of the tables
    #[arg(long)]
    pub(crate) json: bool,
    /// Write pictures (SVG) into this folder
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// One case: octets of a report, 41 to 534
    #[arg(long, value_name = "N")]
    bytes: Option<usize>,
    /// One case: reports of a push, 1 to 5,000
    #[arg(long, value_name = "N")]
    push: Option<usize>,
    /// One case: countries that they go to, 1 to 26
    #[arg(long, value_name = "N")]
    peers: Option<usize>,
    /// One case: where gateways keep their entries
    #[arg(long)]
    store: Option<Store>,
    /// Seconds of sustained load in each case
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u16).range(1..))]
    seconds: Option<u16>,
}

impl Bench {
    pub(crate) async fn run(&self) -> Result<ExitCode> {
        let options = self.options();
        options.cases.iter().try_for_each(Case::check)?;
        // When the signal wins, the processes and their folder go with the run.
        let summary = tokio::select! {
            measured = bench::run(&options) => measured?,
            signalled = demo::until_interrupted() => return signalled.and_then(|()| bail!("interrupted")),
        };
        if let Some(folder) = &self.plots {
            plots::write(&summary, folder)
                .with_context(|| format!("cannot draw into {}", folder.display()))?;
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&summary)?);
        } else {
            print!("{}", bench::tables(&summary));
        }
        Ok(if summary.ok { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
    }

    fn options(&self) -> Options {
        let one = self.bytes.is_some() || self.push.is_some() || self.peers.is_some() || self.store.is_some();
        let headline = Case::HEADLINE;
        let case = Case {
            report_bytes: self.bytes.unwrap_or(headline.report_bytes),
            push: self.push.unwrap_or(headline.push),
            peers: self.peers.unwrap_or(headline.peers),
            store: self.store.unwrap_or(headline.store),
        };
        let mut pace = if self.quick { Pace::quick() } else { Pace::whole(Duration::from_secs(10)) };
        if let Some(seconds) = self.seconds {
            pace.window = Duration::from_secs(seconds.into());
        }
        let all = !self.quick && !one;
        let cases = if all { Case::all() } else { vec![case] };
        Options { cases, pace, with_files: if all { WITH_FILES } else { 0 } }
    }
}

/// The origin's adapter of a bench; the bench starts it.
#[derive(clap::Args)]
pub(crate) struct BenchPush {
    #[command(flatten)]
    pushed: pusher::Pushed,
}

/// The destinations' adapters of a bench; the bench starts them.
#[derive(clap::Args)]
pub(crate) struct BenchOpen {
    #[command(flatten)]
    opened: opener::Opened,
}

impl BenchPush {
    pub(crate) async fn run(&self) -> Result<ExitCode> {
        pusher::run(&self.pushed).await.map(|()| ExitCode::SUCCESS)
    }
}

impl BenchOpen {
    pub(crate) async fn run(&self) -> Result<ExitCode> {
        opener::run(&self.opened).await.map(|()| ExitCode::SUCCESS)
    }
}
