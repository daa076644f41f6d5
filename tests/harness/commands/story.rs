//! `federation story`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use harness::demo;
use harness::story::{self, Aloud};

use super::FAILED;

pub(crate) const HELP: &str = "\
Phones of the United Kingdom (decentralised), France (centralised) and Victoria meet over a radio in memory; everything
else is real: processes, TLS, stores, HTTPS for phones. Each step says who did what, who knows what, and what was checked.

Examples:
  federation story                      a timeline, after less than a minute
  federation story --json               one JSON object: {\"steps\": [...], \"holds\": true, ...}
  federation story --verbose            also the commands that made the countries
  federation story --keep /tmp/story    leave keys, logs, lists and stores in a folder";

#[derive(clap::Args)]
pub(crate) struct Story {
    /// Print one JSON object in place of the timeline
    #[arg(long)]
    pub(crate) json: bool,
    /// Make everything in this folder, which must be empty or not there, and leave it there
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Print the commands that made the countries
    #[arg(long)]
    verbose: bool,
}

impl Story {
    pub(crate) async fn run(&self) -> Result<ExitCode> {
        let aloud = if self.json { Aloud::No } else { Aloud::Yes };
        let options = story::Options { keep: self.keep.clone(), aloud, verbose: self.verbose };
        // When the signal wins, the processes and their folder go with the story.
        let account = tokio::select! {
            told = story::run(&options) => told?,
            signalled = demo::until_interrupted() => return signalled.and_then(|()| bail!("interrupted")),
        };
        if self.json {
            println!("{}", serde_json::to_string_pretty(&account)?);
        }
        Ok(if account.holds { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
    }
}
