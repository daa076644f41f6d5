//! `federation flood`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use harness::{demo, flood};

use super::FAILED;

pub(crate) const HELP: &str = "\
The United Kingdom's gateway gets small quotas. A backend of it pushes steadily, and Australia's gateway fetches what it
pushes. Phases of each kind take turns, in an order that is drawn for each round:
  floods  another backend that pushes, and France's gateway that pulls, each with ten times its quota and without ever
          waiting; beside the same caller with no more than its quota
  peers   that take connections and never answer, that shake hands and are silent, that answer one octet a second, with
          garbage, or at once with nothing; and all of them at once; beside the same peers while they are well
  nothing quiet phases beside quiet phases, which is what the machine does by itself
Use a release build on a machine that does little else. Where a disk stalls by itself, the slowest of a hundred pushes are
its own, with and without a flood: TMPDIR=/dev/shm keeps all in memory. It keeps the CPUs awake, for which it has to be root,
and lets the flooder have only what the others leave of them, as if it were another machine, for which it needs chrt
(util-linux). A p99 is known to some 6 % after five rounds, and to some 3 % after thirty.

Ends with 1 if throughput or p99 of the others differ by more than 10 %, or if a flood or an ailment was none.

Examples:
  federation flood                                        a table, after seven minutes
  TMPDIR=/dev/shm federation flood --json --rounds 30     one JSON object, after 42 minutes";

#[derive(clap::Args)]
pub(crate) struct Flood {
    /// Print one JSON object in place of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// Turns of each kind of phase
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Seconds of each phase
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    seconds: u16,
}

impl Flood {
    pub(crate) async fn run(&self) -> Result<ExitCode> {
        let phase = Duration::from_secs(self.seconds.into());
        let options = flood::Options { phase, rounds: self.rounds.into() };
        let summary = tokio::select! {
            measured = flood::run(&options) => measured?,
            signalled = demo::until_interrupted() => return signalled.and_then(|()| bail!("interrupted")),
        };
        if self.json {
            println!("{}", serde_json::to_string_pretty(&summary)?);
        } else {
            println!("{}", summary.table());
        }
        Ok(if summary.ok { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
    }
}
