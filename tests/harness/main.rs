//! The `federation` command: whole federations on one machine, to look at.

mod commands;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use commands::FAILED;
use commands::bench::{self, Bench, BenchOpen, BenchPush};
use commands::demo::{self, Demo};
use commands::faults::{self, Faults};
use commands::flood::{self, Flood};
use commands::growth::{self, Growth};
use commands::soak::{self, Soak};
use commands::story::{self, Story};

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
  1  something was lost, doubled, misdelivered, altered or leaked; a step does not hold; others notice a flood or a sick
     peer; tokens cost more where there are more; or it broke off
  2  wrong usage

Examples:
  federation demo
  federation demo --json > result.json
  federation demo --stay
  federation story
  federation faults --quick
  federation flood
  federation bench --quick
  federation growth
  federation soak --minutes 60";

#[derive(Subcommand)]
enum Command {
    /// Start three countries, exchange tokens between all of them, and account for every token
    #[command(after_help = demo::HELP)]
    Demo(Demo),
    /// Tell the four phases: phones meet, a case uploads, country to country, recognition; attackers, and a second round
    #[command(after_help = story::HELP)]
    Story(Story),
    /// Kill, stop, cut, fill and turn what can be, while tokens flow, and account for every token after each fault
    #[command(after_help = faults::HELP)]
    Faults(Faults),
    /// Play random operations on federations of two to five countries, and account for every report after each run
    #[command(after_help = soak::HELP)]
    Soak(Soak),
    /// Flood a gateway with ten times a quota, let its peers fall ill, and measure how much the others notice
    #[command(after_help = flood::HELP)]
    Flood(Flood),
    /// Measure how many tokens a second this machine carries, how long they take, and what its limit is
    #[command(after_help = bench::HELP)]
    Bench(Bench),
    /// Measure whether a token costs more with more in store, more countries, or more calls at once
    #[command(after_help = growth::HELP)]
    Growth(Growth),
    /// The adapter that pushes, for a bench that starts it
    #[command(hide = true)]
    BenchPush(BenchPush),
    /// The adapters that open, for a bench that starts them
    #[command(hide = true)]
    BenchOpen(BenchOpen),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  federation completions bash > /etc/bash_completion.d/federation")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Demo(demo) => run(failure_as_json("ok", demo.json, demo.run())),
        Command::Story(story) => run(failure_as_json("holds", story.json, story.run())),
        Command::Faults(faults) => run(failure_as_json("ok", faults.json, faults.run())),
        Command::Soak(soak) => soak.run().unwrap_or_else(|error| {
            if soak.json {
                println!("{}", serde_json::json!({ "ok": false, "error": format!("{error:#}") }));
            }
            eprintln!("federation: {error:#}");
            ExitCode::from(FAILED)
        }),
        Command::Flood(flood) => run(failure_as_json("ok", flood.json, flood.run())),
        Command::Bench(bench) => run(failure_as_json("ok", bench.json, bench.run())),
        Command::Growth(growth) => run(failure_as_json("ok", growth.json, growth.run())),
        Command::BenchPush(bench) => run(bench.run()),
        Command::BenchOpen(bench) => run(bench.run()),
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
