//! `federation growth`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use harness::bench::growth;
use harness::demo;

use super::FAILED;

pub(crate) const HELP: &str = "\
Two gateways with mutual TLS and a durable store in the folder of temporary files (TMPDIR), and an adapter beside each, as
in `federation bench`. What a token costs both gateways, in core seconds, is measured with 1,000 to 10 million tokens in
store, with 1 to 64 pushes at once (there and back), and with 2 to 200 countries in the trust list, all but two of which
are down. The origin's gateway is started with nothing and with 10 million tokens that wait for a destination. Pulls that
find nothing are counted on the line.

Use a release build on a machine that does nothing else; it needs 14 GB free below TMPDIR, and some minutes.

Ends with 1 if a point costs more than 1.25 times what the cheapest before it in its row does, if a start takes 3 s or
150 MB, a poll 1 KiB, or if a token was lost or doubled.";

#[derive(clap::Args)]
pub(crate) struct Growth {
    /// Print one JSON object in place of the table
    #[arg(long)]
    pub(crate) json: bool,
}

impl Growth {
    pub(crate) async fn run(&self) -> Result<ExitCode> {
        let growth = tokio::select! {
            measured = growth::run() => measured?,
            signalled = demo::until_interrupted() => return signalled.and_then(|()| bail!("interrupted")),
        };
        if self.json {
            println!("{}", serde_json::to_string_pretty(&growth)?);
        } else {
            print!("{}\n{}", growth.table(), growth.facts());
        }
        Ok(if growth.ok { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
    }
}
