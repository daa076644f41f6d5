//! The `federation` command: whole federations on one machine, to look at.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use harness::demo::{self, End, Options};
use harness::flood;
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
  0  every token is accounted for; every step of the story holds
  1  something was lost, doubled, misdelivered, altered or leaked; a step does not hold; others notice a flood; or it
     broke off
  2  wrong usage

Examples:
  federation demo
  federation demo --json > result.json
  federation demo --stay
  federation story";

#[derive(Subcommand)]
enum Command {
    /// Start three countries, exchange tokens between all of them, and account for every token
    #[command(after_help = DEMO_HELP)]
    Demo(Demo),
    /// Tell the four phases: phones meet, a case uploads, country to country, recognition; attackers, and a second round
    #[command(after_help = STORY_HELP)]
    Story(Story),
    /// Flood a gateway with ten times a quota, and measure how much the others notice
    #[command(after_help = FLOOD_HELP)]
    Flood(Flood),
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

const FLOOD_HELP: &str = "\
The United Kingdom's gateway gets small quotas. A backend of it pushes steadily, and Australia's gateway fetches what it
pushes. Quiet phases take turns with floods: another backend that pushes, and then France's gateway that pulls, each with
ten times its quota and without ever waiting. Use a release build on a machine that does little else.

Ends with 1 if throughput or p99 of the others differ by more than 10 %.

Examples:
  federation flood                      a table, after about two minutes
  federation flood --json --rounds 10   one JSON object, with more samples";

#[derive(clap::Args)]
struct Flood {
    /// Print one JSON object in place of the table
    #[arg(long)]
    json: bool,
    /// Pairs of a quiet phase and a flood, of each kind
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Seconds of each phase
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    seconds: u16,
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
        Command::Flood(flood) => run(failure_as_json("ok", flood.json, flood.run())),
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

impl Flood {
    async fn run(&self) -> Result<ExitCode> {
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
