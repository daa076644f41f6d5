//! `federation faults`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use harness::demo;
use harness::faults::{self, Demand, Namespace, Store};

use super::FAILED;

pub(crate) const HELP: &str = "\
Runs in a network and a mount namespace of its own where the machine allows it (root, or namespaces of users); packet
loss and full disks need them. Clock jumps need libfaketime. What is not possible is told in its row, and is a failure
with --require-all. Ends with 1 if a token is not accounted for, or if a fault did not happen as often as planned.

Examples:
  federation faults --quick                 every fault, and a few kills: 90 seconds
  federation faults --json > faults.json    500 kills at random moments, and each fault for longer
  federation faults --store postgres        three replicas a country; the database restarts as well, its line is
                                            troubled, its disk full; --quick leaves out what no store changes
  federation faults --seed 7 --kills 2000   the same moments again, and more of them
  federation faults --backlog 10000000      let tokens pile up for a country that cannot be reached, and drain";

#[derive(clap::Args)]
pub(crate) struct Faults {
    /// A cut of it that ends within 90 seconds
    #[arg(long)]
    quick: bool,
    /// Print one JSON object in place of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// Where gateways keep their entries; postgres has three replicas a country, over a PostgreSQL of its own
    #[arg(long, default_value = "sled")]
    store: Store,
    /// What the random moments come from
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Kills at random moments
    #[arg(long, value_name = "N")]
    kills: Option<usize>,
    /// Measure a backlog of so many tokens in place of the faults
    #[arg(long, value_name = "N", conflicts_with_all = ["quick", "store", "seed", "kills"])]
    backlog: Option<usize>,
    /// Fail if a fault cannot be made on this machine
    #[arg(long, conflicts_with = "backlog")]
    require_all: bool,
    /// Make everything in this folder, which must be empty or not there, and leave it there
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// It runs in namespaces of its own already
    #[arg(long, hide = true)]
    inside: bool,
}

impl Faults {
    pub(crate) async fn run(&self) -> Result<ExitCode> {
        // When the signal wins, the processes and their folder go with the run.
        let ok = tokio::select! {
            ok = self.measure() => ok?,
            signalled = demo::until_interrupted() => return signalled.and_then(|()| bail!("interrupted")),
        };
        Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
    }

    async fn measure(&self) -> Result<bool> {
        if let Some(tokens) = self.backlog {
            let found = faults::backlog(tokens, self.keep.clone()).await?;
            println!("{}", serde_json::to_string_pretty(&found)?);
            return Ok(found.ok);
        }
        let Self { quick, store, seed, kills, .. } = *self;
        let namespace = if self.inside { Namespace::Own } else { faults::enter(store, "--inside")? };
        let (keep, demand) =
            (self.keep.clone(), if self.require_all { Demand::All } else { Demand::Possible });
        let options = faults::Options { quick, store, seed, kills, keep, namespace, demand };
        let summary = faults::run(&options).await?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&summary)?);
        } else {
            println!("{}", faults::table(&summary));
        }
        Ok(summary.ok)
    }
}
