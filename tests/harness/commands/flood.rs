//! `federation flood`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use harness::{demo, flood};

use super::FAILED;

pub(crate) const HELP: &str = "\
The United Kingdom's gateway gets small quotas. A backend of it pushes steadily, and Australia's gateway fetches what it
pushes. Quiet phases take turns with floods: another backend that pushes, and then France's gateway that pulls, each with
ten times its quota and without ever waiting. Use a release build on a machine that does little else.

Ends with 1 if throughput or p99 of the others differ by more than 10 %.

Examples:
  federation flood                      a table, after about two minutes
  federation flood --json --rounds 10   one JSON object, with more samples";

#[derive(clap::Args)]
pub(crate) struct Flood {
    /// Print one JSON object in place of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// Pairs of a quiet phase and a flood, of each kind
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
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
