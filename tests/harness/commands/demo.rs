//! `federation demo`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use harness::demo::{self, End, Options};

use super::FAILED;

pub(crate) const HELP: &str = "\
The programs gateway, country-adapter and pki are taken from the folder of this one: `cargo build` makes them all.

Examples:
  federation demo                       a table, after less than a minute
  federation demo --json                one JSON object
  federation demo --verbose             also the pki commands that made the keys, certificates and lists
  federation demo --stay                go on afterwards, and say how to push something oneself
  federation demo --keep /tmp/three     leave keys, logs and stores in a folder";

#[derive(clap::Args)]
pub(crate) struct Demo {
    /// Print one JSON object in place of the tables
    #[arg(long)]
    pub(crate) json: bool,
    /// Leave everything running afterwards, until Ctrl-C
    #[arg(long)]
    stay: bool,
    /// Make everything in this folder, which must be empty or not there, and leave it there
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Print the commands that made the federation
    #[arg(long)]
    verbose: bool,
}

impl Demo {
    pub(crate) async fn run(&self) -> Result<ExitCode> {
        let end = if self.stay { End::Stay } else { End::Stop };
        let options = Options { keep: self.keep.clone(), verbose: self.verbose, end };
        // When the signal wins, the federation is dropped, and its processes and its folder go with it.
        let (federation, summary) = tokio::select! {
            ran = demo::run(&options) => ran?,
            signalled = demo::until_interrupted() => return signalled.and_then(|()| bail!("interrupted")),
        };
        if self.json {
            println!("{}", serde_json::to_string_pretty(&summary)?);
        } else {
            println!("{}", demo::tables(&summary));
        }
        if self.stay {
            println!("\n{}", demo::instructions(&federation)?);
            demo::until_interrupted().await?;
            federation.stop().await?;
        }
        Ok(if summary.ok { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
    }
}
