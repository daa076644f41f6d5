//! The `federation` command: whole federations on one machine, to look at.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use harness::demo::{self, End, Options};
use harness::faults::{self, Namespace};
use harness::flood;
use harness::simulation::{StoreKind, soak};
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
  0  every token is accounted for, also under faults and in simulations; every step of the story holds
  1  something was lost, doubled, misdelivered, altered or leaked; a step does not hold; others notice a flood; or it
     broke off
  2  wrong usage

Examples:
  federation demo
  federation demo --json > result.json
  federation demo --stay
  federation story
  federation faults --quick
  federation soak --minutes 60";

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
    /// Play random operations on federations of two to five countries, and account for every report after each run
    #[command(after_help = SOAK_HELP)]
    Soak(Soak),
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

const FAULTS_HELP: &str = "\
Runs in a network and a mount namespace of its own where the machine allows it (root, or namespaces of users); packet
loss and full disks need them. Clock jumps need libfaketime. What is not possible is told in its row.

Examples:
  federation faults --quick                 every fault, and a few kills: 90 seconds
  federation faults --json > faults.json    500 kills at random moments, and each fault for longer
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
    /// What the random moments come from
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Kills at random moments
    #[arg(long, value_name = "N")]
    kills: Option<usize>,
    /// Measure a backlog of so many tokens in place of the faults
    #[arg(long, value_name = "N", conflicts_with_all = ["quick", "seed", "kills"])]
    backlog: Option<usize>,
    /// Make everything in this folder, which must be empty or not there, and leave it there
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// It runs in namespaces of its own already
    #[arg(long, hide = true)]
    inside: bool,
}

const SOAK_HELP: &str = "\
Each run plays 80 operations (pushes, pulls, kills, faults on lines, full disks, new keys, new trust lists, days that
pass) on real gateways, stores and adapters in this process, lets everything arrive, and accounts for every report.
A run that fails is shortened; its operations are told as a plan that tests/e2e/simulation.rs can play again.

Examples:
  federation soak --minutes 60                    progress on standard error, then a summary
  federation soak --minutes 0.5 --seed 7 --json   one JSON object; the same seed gives the same operations";

#[derive(clap::Args)]
struct Soak {
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
    json: bool,
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
        Command::Faults(faults) => run(failure_as_json("ok", faults.json, faults.run())),
        Command::Soak(soak) => run(failure_as_json("ok", soak.json, soak.run())),
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
        let Self { quick, seed, kills, .. } = *self;
        let namespace = if self.inside { Namespace::Own } else { faults::enter("--inside")? };
        let options = faults::Options { quick, seed, kills, keep: self.keep.clone(), namespace };
        let summary = faults::run(&options).await?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&summary)?);
        } else {
            println!("{}", faults::table(&summary));
        }
        Ok(summary.ok)
    }
}

impl Soak {
    async fn run(&self) -> Result<ExitCode> {
        let seed = self.seed.unwrap_or_else(rand::random);
        let kind = match self.store {
            Store::Sled => StoreKind::Embedded,
            Store::Postgres => StoreKind::Postgres,
        };
        let options = soak::Options { time: self.minutes, seed, kind };
        let interrupted = demo::until_interrupted();
        tokio::pin!(interrupted);
        // From its first poll on the signals are ours.
        tokio::select! {
            biased;
            signalled = &mut interrupted => return signalled.and_then(|()| bail!("interrupted")),
            () = std::future::ready(()) => eprintln!("seed {seed}"),
        }
        let stop = Arc::new(AtomicBool::new(false));
        // Simulations have runtimes of their own.
        let mut soaking = tokio::task::spawn_blocking({
            let stop = stop.clone();
            move || soak::run(&options, &stop)
        });
        tokio::select! {
            summary = &mut soaking => return self.tell(&summary??),
            signalled = interrupted => signalled?,
        }
        eprintln!("the run that has begun is finished");
        stop.store(true, Ordering::Relaxed);
        self.tell(&soaking.await??)
    }

    fn tell(&self, summary: &soak::Summary) -> Result<ExitCode> {
        if self.json {
            println!("{}", serde_json::to_string_pretty(summary)?);
        } else {
            println!("{}", summary.text());
        }
        Ok(if summary.ok { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
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
