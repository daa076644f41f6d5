//! The `country-adapter` command.

mod cli;
mod console;
mod progress;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use country_adapter::config::{ConfigFile, Problem};
use country_adapter::{Adapter, Clock, OpenError, panics};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

const FAILED: u8 = 1;
const CONFIGURATION_INVALID: u8 = 3;
/// How long file work may go on after everything else has ended.
const LAST_FILES: Duration = Duration::from_secs(10);

const EXIT_CODES: &str = "\
Exit codes:
  0  done, or stopped by SIGTERM or SIGINT
  1  failed
  2  wrong usage
  3  the configuration is invalid";

/// The process beside a national health backend: publishes its reports to the own country's gateway, and receives,
/// verifies and opens what other countries send to its authority.
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run until SIGTERM or SIGINT
    #[command(after_help = "Example:\n  country-adapter run /etc/exchange/country-adapter.toml")]
    Run {
        /// The configuration file
        config: PathBuf,
    },
    /// Say everything that is wrong with a configuration, and change nothing
    #[command(after_help = "Example:\n  country-adapter check /etc/exchange/country-adapter.toml")]
    Check {
        /// The configuration file
        config: PathBuf,
    },
    /// Make, list and withdraw the codes that ill persons' phones upload with
    #[command(subcommand)]
    CaseCode(cli::case_code::CaseCode),
    /// Look at phones that many ill persons have met, and sign off what they are told
    #[command(subcommand)]
    Advice(cli::advice::Advice),
    /// Bring in and write out ill persons' keys as EFGS and GAEN have them
    #[command(subcommand)]
    Keys(cli::keys::Keys),
    /// Look at batches that were set aside, have them taken again, or drop them
    #[command(subcommand)]
    Quarantine(cli::quarantine::Command),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  country-adapter completions bash > /etc/bash_completion.d/country-adapter"
    )]
    Completions {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run { config } => run(&config),
        Command::Check { config } => check(&config),
        Command::CaseCode(command) => cli::case_code::run(&command),
        Command::Advice(command) => cli::advice::run(&command),
        Command::Keys(command) => cli::keys::run(&command),
        Command::Quarantine(command) => cli::quarantine::run(&command),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "country-adapter", &mut io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("country-adapter: {error:#}");
        ExitCode::from(FAILED)
    })
}

fn check(path: &Path) -> anyhow::Result<ExitCode> {
    let problems = match ConfigFile::read(path) {
        Err(problem) => vec![*problem],
        Ok(file) => country_adapter::problems(&file, Clock::default().now()),
    };
    if problems.is_empty() {
        println!("{}: good", path.display());
        return Ok(ExitCode::SUCCESS);
    }
    Ok(invalid(problems))
}

fn run(path: &Path) -> anyhow::Result<ExitCode> {
    harden().context("cannot switch core dumps off")?;
    let file = match ConfigFile::read(path) {
        Err(problem) => return Ok(invalid([*problem])),
        Ok(file) => file,
    };
    // An adapter that takes reports and hands them to nobody would not be noticed.
    let contradictions = file.config.contradictions();
    if !contradictions.is_empty() {
        return Ok(invalid(
            contradictions.into_iter().map(|(key, wrong, help)| file.problem(key, wrong, help)),
        ));
    }
    console::log_to_stderr(&file.config.log);
    panics::watch();
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let adapter = {
        // The channel to the gateway is made here, and asks for a runtime.
        let _inside = runtime.enter();
        Adapter::open(file.config.clone(), Clock::default())
    };
    let adapter = match adapter {
        Err(error) => {
            let code = invalid([cannot_start(&file, &error)]);
            return Ok(if error.is_passing() { ExitCode::from(FAILED) } else { code });
        }
        Ok(adapter) => adapter,
    };
    runtime.block_on(until_signal(adapter))?;
    runtime.shutdown_timeout(LAST_FILES);
    Ok(ExitCode::SUCCESS)
}

async fn until_signal(adapter: Adapter) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("stopping");
        stopping.cancel();
    });
    tokio::spawn(progress::show(adapter.counters(), stop.clone()));
    Ok(adapter.run(stop).await?)
}

fn cannot_start(file: &ConfigFile, error: &OpenError) -> Problem {
    let help = "`country-adapter check FILE` says everything that is wrong";
    file.problem(error.key(), country_adapter::outage::chain(error), help)
}

pub(crate) fn invalid(problems: impl IntoIterator<Item = Problem>) -> ExitCode {
    for problem in problems {
        eprintln!("{:?}", miette::Report::new(problem));
    }
    ExitCode::from(CONFIGURATION_INVALID)
}

/// No core dump and no debugger of another process gets at the keys.
fn harden() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}
