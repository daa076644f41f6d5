//! `gateway store`: looks after the store of a gateway that is stopped. A database is only moved by it: checks and backups
//! are the database's own.

mod archive;
mod rebuild;
mod report;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use gateway::clock::Clock;
use gateway::config::{Config, ConfigError, StoreConfig};
use gateway::embedded;
use gateway::prepare;
use gateway::store::StoreError;
use gateway::store::archive::ArchiveError;
use gateway::store::postgres::PostgresStore;
use gateway::store::sled::{SledOptions, SledStore};
use gateway::store::upkeep::Upkeep;
use miette::Report;
use pki::disk::DiskError;
use proto::ids::CountryCode;

/// It was done, and something is damaged, missing or would be lost.
const DAMAGED: u8 = 4;

/// What to do with a store.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Read all of it, and compare everything that is kept twice: checksums, index, counters, numbers, chains
    #[command(after_help = VERIFY_HELP)]
    Verify {
        #[command(flatten)]
        which: Which,
        /// Print one JSON object in place of the table
        #[arg(long)]
        json: bool,
    },
    /// Write all of it to one checked file, which any kind of store takes: a folder or a database
    #[command(after_help = "Example:\n  gateway store export /etc/exchange/gateway.toml --to store.archive")]
    Export {
        #[command(flatten)]
        which: Which,
        /// The file to write; it must not be there yet
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Put such a file into an empty store; it is checked to its end before anything is written
    #[command(
        after_help = "Example:\n  gateway store import /etc/exchange/gateway.toml --from store.archive"
    )]
    Import {
        #[command(flatten)]
        which: Which,
        /// The file that `gateway store export` wrote
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
    },
    /// Make the index anew from the segments; says what would be lost, and does it only if that is accepted
    #[command(after_help = REBUILD_HELP)]
    Rebuild {
        /// The configuration file: the state folder and the trust list say how our numbers have to go on
        config: PathBuf,
        /// Go on without what is lost; it is named on the screen and in lost.log of the state folder
        #[arg(long)]
        accept_losses: bool,
        /// The last batch that a peer has of us, if it is more than is known here, as `250=3000000`; once for each peer
        #[arg(long, value_name = "COUNTRY=NUMBER", value_parser = at_least)]
        at_least: Vec<(CountryCode, u64)>,
    },
}

/// The highest number that anybody may say that we have had: as many batches a second for a million years.
const HIGHEST: u64 = 1 << 48;

fn at_least(text: &str) -> Result<(CountryCode, u64), String> {
    let (country, number) = text.split_once('=').ok_or("write COUNTRY=NUMBER, as 250=3000000")?;
    let code = country.parse().map_err(|_| format!("`{country}` is no number of a country"))?;
    let country = CountryCode::new(code).map_err(|cause| cause.to_string())?;
    let number = number.parse().ok().filter(|number| (1..=HIGHEST).contains(number));
    Ok((country, number.ok_or_else(|| format!("the number must be from 1 to {HIGHEST}"))?))
}

pub(crate) const HELP: &str = "\
The gateway must be stopped: a folder is open in one process only. Of a database, stop every replica.

Exit codes: 0 good, 1 failed, 2 wrong usage, 3 the configuration is wrong, 4 something is damaged, missing or would be lost.";

const VERIFY_HELP: &str = "\
A batch of an inbox that is damaged is fetched again by the running gateway. A wrong index is made anew by `gateway store rebuild`.

Examples:
  gateway store verify /etc/exchange/gateway.toml
  gateway store verify --store /var/lib/exchange-gateway/store --json";

const REBUILD_HELP: &str = "\
A start does this by itself when nothing is lost. The old index and all segments are set aside in a folder of the store; nothing is deleted.
If something is lost, the numbers for each country go on behind a gap, and what is missing of the inboxes is pulled again.
If the state folder is lost too, nothing here knows how far the numbers have been: say it with --at-least.

Examples:
  gateway store rebuild /etc/exchange/gateway.toml
  gateway store rebuild /etc/exchange/gateway.toml --accept-losses
  gateway store rebuild /etc/exchange/gateway.toml --accept-losses --at-least 250=3000000 --at-least 276=1200000";

/// Which store.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// The configuration file that names it
    config: Option<PathBuf>,
    /// Its folder
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

/// Why a command broke off.
#[derive(Debug, thiserror::Error)]
enum Broken {
    /// The configuration.
    #[error("the configuration is wrong")]
    Config(#[from] Box<ConfigError>),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The state folder.
    #[error(transparent)]
    State(#[from] DiskError),
    /// What else there is.
    #[error("{0}")]
    Other(String),
}

impl Which {
    /// The folder and how it is opened.
    fn place(&self) -> Result<(PathBuf, SledOptions), Broken> {
        match (&self.store, &self.config) {
            (Some(store), _) => Ok((store.clone(), SledOptions::default())),
            (None, Some(path)) => {
                let config = read(path)?;
                Ok((folder(&config)?, embedded::options(&config)))
            }
            (None, None) => Err(Broken::Other("name a configuration file, or --store DIR".into())),
        }
    }

    /// Opens a store that must be there.
    fn open(&self) -> Result<SledStore, Broken> {
        let (directory, options) = self.place()?;
        if !directory.join("FORMAT").exists() {
            let what = format!("there is no store in {}; name its folder", directory.display());
            return Err(Broken::Other(what));
        }
        Ok(SledStore::open(&directory, options)?)
    }
}

impl Which {
    /// Opens a store of either kind that must be there.
    async fn open_any(&self) -> Result<Box<dyn Upkeep>, Broken> {
        match self.database().await? {
            Some(store) => Ok(Box::new(store)),
            None => Ok(Box::new(self.open()?)),
        }
    }

    /// Opens a store of either kind, and makes it if it is not there.
    async fn make_any(&self) -> Result<Box<dyn Upkeep>, Broken> {
        if let Some(store) = self.database().await? {
            return Ok(Box::new(store));
        }
        let (directory, options) = self.place()?;
        Ok(Box::new(SledStore::open(&directory, options)?))
    }

    /// Opens the database, if the configuration names one.
    async fn database(&self) -> Result<Option<PostgresStore>, Broken> {
        let Some(path) = &self.config else { return Ok(None) };
        let config = read(path)?;
        let StoreConfig::Postgres(address) = &config.store else { return Ok(None) };
        let options = config.postgres.clone().unwrap_or_default().options(address);
        Ok(Some(PostgresStore::open(options).await?))
    }
}

fn read(path: &Path) -> Result<Config, Broken> {
    Config::read(path).map_err(|wrong| Broken::Config(Box::new(wrong)))
}

/// The folder of the embedded store.
fn folder(config: &Config) -> Result<PathBuf, Broken> {
    let none = || {
        Broken::Other(
            "the store is a database; its own tools check it and back it up: deploy/runbooks/postgres.md"
                .into(),
        )
    };
    config.store.folder().map(Path::to_owned).ok_or_else(none)
}

/// Does what was asked, and says how it went.
#[tokio::main]
pub(crate) async fn run(command: Command) -> ExitCode {
    let done = match command {
        Command::Verify { which, json } => verify::run(&which, json).await,
        Command::Export { which, to } => archive::export(&which, &to).await,
        Command::Import { which, from } => archive::import(&which, &from).await,
        Command::Rebuild { config, accept_losses, at_least } => {
            rebuild::run(&config, (accept_losses, &at_least), &Clock::default()).await
        }
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(Broken::Config(wrong)) => {
            eprintln!("{:?}", Report::new(*wrong));
            ExitCode::from(crate::INVALID)
        }
        Err(cause) => {
            eprintln!("gateway: {}", prepare::chain(&cause));
            ExitCode::from(crate::FAILED)
        }
    }
}
