//! The `gateway` command.

mod cli;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use gateway::clock::Clock;
use gateway::config::{Config, ConfigError};
use gateway::{Listeners, descriptors, panics, prepare, telemetry};
use miette::Report;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::warn;

const FAILED: u8 = 1;
const INVALID: u8 = 3;
/// How long what is still read is waited for at the end; nothing that was answered depends on it.
const STRAGGLING: Duration = Duration::from_secs(2);

/// One country's gateway: takes pushes from its adapters, exchanges sealed batches with its peers.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Exit codes: 0 stopped as asked, 1 failed, 2 wrong usage, 3 the configuration is wrong, 4 the store is damaged.

Example:
  gateway check /etc/exchange/gateway.toml && gateway run /etc/exchange/gateway.toml"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs until SIGTERM or SIGINT; then finishes what was accepted.
    #[command(after_help = "Example:\n  gateway run deploy/gateway.example.toml")]
    Run {
        /// The configuration file; deploy/gateway.example.toml explains every key.
        config: PathBuf,
    },
    /// Reads the configuration and all it names, says what is wrong, and changes nothing.
    #[command(after_help = "Example:\n  gateway check /etc/exchange/gateway.toml")]
    Check {
        /// The configuration file.
        config: PathBuf,
    },
    /// Checks, moves and mends the store of a gateway that is stopped.
    #[command(subcommand, after_help = cli::store::HELP)]
    Store(cli::store::Command),
    /// Prints a completion script for a shell.
    #[command(after_help = "Example:\n  gateway completions bash > /etc/bash_completion.d/gateway")]
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { config } => with_config(&config, run),
        Command::Check { config } => with_config(&config, check),
        Command::Store(command) => cli::store::run(command),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "gateway", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
    }
}

fn with_config(path: &Path, then: fn(&Path, Config) -> ExitCode) -> ExitCode {
    match Config::read(path) {
        Ok(config) => then(path, config),
        Err(wrong) => {
            eprintln!("{:?}", Report::new(wrong));
            ExitCode::from(INVALID)
        }
    }
}

fn check(path: &Path, config: Config) -> ExitCode {
    match prepare::check(&config, &Clock::default()) {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(problems) => {
            for problem in problems {
                eprintln!("{:?}", Report::new(ConfigError::blame(path, &problem)));
            }
            ExitCode::from(INVALID)
        }
    }
}

fn run(_: &Path, config: Config) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(cause) => {
            eprintln!("gateway: the system gives no threads: {cause}");
            return ExitCode::from(FAILED);
        }
    };
    let ended = runtime.block_on(serve(config));
    // A read that waits for a disk that does not answer must not hold a process that has to be started anew.
    runtime.shutdown_timeout(STRAGGLING);
    ended
}

async fn serve(config: Config) -> ExitCode {
    telemetry::log(&config.log);
    panics::watch();
    descriptors::raise(&config.limits);
    harden();
    let stop = CancellationToken::new();
    let ran = async {
        stop_on_signal(stop.clone())?;
        let listeners = Listeners::bind(&config.listen).await?;
        gateway::run(config, listeners, stop).await?;
        anyhow::Ok(())
    };
    match ran.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("gateway: {}", prepare::chain(cause.as_ref()));
            ExitCode::from(FAILED)
        }
    }
}

fn stop_on_signal(stop: CancellationToken) -> std::io::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}

/// Keys and opened reports must not reach a core dump.
fn harden() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let limited =
        setrlimit(Resource::Core, none).and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if let Err(cause) = limited {
        warn!(%cause, "core dumps could not be switched off");
    }
}
