//! `federation soak`.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use harness::demo;
use harness::simulation::{StoreKind, soak};

use super::FAILED;

pub(crate) const HELP: &str = "\
Each run plays 80 operations (pushes, pulls, kills, faults on lines, full disks, new keys, new trust lists, days that
pass) on real gateways, stores and adapters in this process, lets everything arrive, and accounts for every report.
A run that fails is shortened; its operations are told as a plan that tests/e2e/simulation.rs can play again.

Examples:
  federation soak --minutes 60                    progress on standard error, then a summary
  federation soak --minutes 0.5 --seed 7 --json   one JSON object; the same seed gives the same operations";

#[derive(clap::Args)]
pub(crate) struct Soak {
    /// How long new runs begin; the last one is finished. Ctrl-C ends it earlier in the same way
    #[arg(long, value_name = "N", value_parser = minutes)]
    minutes: Duration,
    /// Seed of the first run; drawn if it is not given. Each following run has the next one
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// What the gateways keep their batches in; PostgreSQL 15 or later is started by itself
    #[arg(long, value_enum, default_value_t = Store::Sled)]
    store: Store,
    /// Print one JSON object in place of the summary
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Store {
    Sled,
    Postgres,
}

/// Minutes, also parts of one.
fn minutes(text: &str) -> Result<Duration, String> {
    let minutes: f64 = text.parse().map_err(|_| "write a number of minutes, as 60 or 0.5".to_owned())?;
    Duration::try_from_secs_f64(minutes * 60.0).map_err(|_| "write a positive number of minutes".to_owned())
}

impl Soak {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let interrupted = {
            let _in_it = runtime.enter();
            demo::interruption()?
        };
        let seed = self.seed.unwrap_or_else(rand::random);
        eprintln!("seed {seed}");
        let kind = match self.store {
            Store::Sled => StoreKind::Embedded,
            Store::Postgres => StoreKind::Postgres,
        };
        let options = soak::Options { time: self.minutes, seed, kind };
        let stop = Arc::new(AtomicBool::new(false));
        runtime.spawn({
            let stop = stop.clone();
            async move {
                interrupted.await;
                eprintln!("the run that has begun is finished");
                stop.store(true, Ordering::Relaxed);
            }
        });
        let summary = soak::run(&options, &stop)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&summary)?);
        } else {
            println!("{}", summary.text());
        }
        Ok(if summary.ok { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
    }
}
