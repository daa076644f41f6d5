//! The `federation` command: whole federations on one machine, to look at.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use harness::demo::{self, End, Options};
use harness::faults::{self, Namespace, Store};
use harness::story::{self, Aloud};

const FAILED: u8 = 1;

/// Runs whole federations on this machine: real gateways and adapters on loopback, made with the pki command.
#[derive(Parser)]
#[command(name = "federation", version, arg_required_else_help = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit codes:
  0  every token is accounted for, also under faults; every step of the story holds
  1  something was lost, doubled, misdelivered, altered or leaked; a step does not hold; or it broke off
  2  wrong usage

Examples:
  federation demo
  federation demo --json > result.json
  federation demo --stay
  federation story
  federation faults --quick";

#[derive(Subcommand)]
enum Command {
    /// Start three countries, exchange tokens between all of them, and account for every token
    #[command(after_help = DEMO_HELP)]
    Demo(Demo),
    /// Tell the four phases: phones meet, a case uploads, country to country, recognition; attackers, and a second round
    #[command(after_help = STORY_HELP)]
    Story(Story),
    /// Kill, stop, cut, fill and turn what can be, while tokens flow, and account for every token after each fault
    #[command(after_help = FAULTS_HELP)]
    Faults(Faults),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  federation completions bash > /etc/bash_completion.d/federation")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

const DEMO_HELP: &str = "\
The programs gateway, country-adapter and pki are taken from the folder of this one: `cargo build` makes them all.

Examples:
  federation demo                       a table, after less than a minute
  federation demo --json                one JSON object
  federation demo --verbose             also the pki commands that made the keys, certificates and lists
  federation demo --stay                go on afterwards, and say how to push something oneself
  federation demo --keep /tmp/three     leave keys, logs and stores in a folder";

const STORY_HELP: &str = "\
Phones of the United Kingdom (decentralised), France (centralised) and Victoria meet over a radio in memory; everything
else is real: processes, TLS, stores, HTTPS for phones. Each step says who did what, who knows what, and what was checked.

Examples:
  federation story                      a timeline, after less than a minute
  federation story --json               one JSON object: {\"steps\": [...], \"holds\": true, ...}
  federation story --verbose            also the commands that made the countries
  federation story --keep /tmp/story    leave keys, logs, lists and stores in a folder";

const FAULTS_HELP: &str = "\
Runs in a network and a mount namespace of its own where the machine allows it (root, or namespaces of users); packet
loss and full disks need them. Clock jumps need libfaketime. What is not possible is told in its row.

Examples:
  federation faults --quick                 every fault, and a few kills: 90 seconds
  federation faults --json > faults.json    500 kills at random moments, and each fault for longer
  federation faults --store postgres        three replicas a country; the database restarts as well
  federation faults --seed 7 --kills 2000   the same moments again, and more of them
  federation faults --backlog 10000000      let tokens pile up for a country that cannot be reached, and drain";

#[derive(clap::Args)]
struct Faults {
    /// A cut of it that ends within 90 seconds
    #[arg(long)]
    quick: bool,
    /// Print one JSON object in place of the table
    #[arg(long)]
    json: bool,
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
    /// Make everything in this folder, which must be empty or not there, and leave it there
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// It runs in namespaces of its own already
    #[arg(long, hide = true)]
    inside: bool,
}

#[derive(clap::Args)]
struct Story {
    /// Print one JSON object in place of the timeline
    #[arg(long)]
    json: bool,
    /// Make everything in this folder, which must be empty or not there, and leave it there
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Print the commands that made the countries
    #[arg(long)]
    verbose: bool,
}

#[derive(clap::Args)]
struct Demo {
    /// Print one JSON object in place of the tables
    #[arg(long)]
    json: bool,
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

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Demo(demo) => run(failure_as_json("ok", demo.json, demo.run())),
        Command::Story(story) => run(failure_as_json("holds", story.json, story.run())),
        Command::Faults(faults) => run(failure_as_json("ok", faults.json, faults.run())),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "federation", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
    }
}

#[tokio::main]
async fn run(command: impl Future<Output = Result<ExitCode>>) -> ExitCode {
    command.await.unwrap_or_else(|error| {
        eprintln!("federation: {error:#}");
        ExitCode::from(FAILED)
    })
}

/// Runs a command; one that was asked for JSON and breaks off says so in JSON too: `verdict` is false, and why.
async fn failure_as_json(
    verdict: &str,
    json: bool,
    command: impl Future<Output = Result<ExitCode>>,
) -> Result<ExitCode> {
    let ran = command.await;
    if let (true, Err(error)) = (json, &ran) {
        println!("{}", serde_json::json!({ verdict: false, "error": format!("{error:#}") }));
    }
    ran
}

impl Story {
    async fn run(&self) -> Result<ExitCode> {
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

impl Faults {
    async fn run(&self) -> Result<ExitCode> {
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
        let options = faults::Options { quick, store, seed, kills, keep: self.keep.clone(), namespace };
        let summary = faults::run(&options).await?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&summary)?);
        } else {
            println!("{}", faults::table(&summary));
        }
        Ok(summary.ok)
    }
}

impl Demo {
    async fn run(&self) -> Result<ExitCode> {
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
