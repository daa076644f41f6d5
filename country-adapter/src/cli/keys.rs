//! `country-adapter keys`: for countries that ran on EFGS or on GAEN's servers, with their data as it is.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use country_adapter::Clock;
use country_adapter::config::{Config, ConfigFile};
use country_adapter::diagnosis::efgs::LeftOut;
use country_adapter::diagnosis::exports::ENDING;
use country_adapter::diagnosis::gaen_export::{self, Period};
use country_adapter::diagnosis::{self, FanOut, efgs};
use country_adapter::durable::{self, Disk};
use country_adapter::intake::UploadId;
use country_adapter::phones::upload::UploadedKey;
use country_adapter::publish::{Leaving, Spool};
use pki::pubfile;
use pki::sign::sha256;
use proto::day::Day;
use proto::ids::{Authority, CountryCode};
use proto::report::{DateOut, Report};

/// Some keys were left out.
const PARTLY: u8 = 4;

#[derive(Subcommand)]
pub(crate) enum Keys {
    /// Send the keys of a file to the countries that should have them, once their time is over
    #[command(
        after_help = "Exit code 4: some keys were left out; each is named with its field.\n\nExample:\n  country-adapter keys import /etc/exchange/country-adapter.toml batch.efgs --format efgs"
    )]
    Import(Import),
    /// Write the keys of the last 15 days that have arrived and are out of use as one signed GAEN export
    #[command(
        after_help = "Example:\n  country-adapter keys export /etc/exchange/country-adapter.toml --out export.zip"
    )]
    Export {
        /// The configuration file
        config: PathBuf,
        /// The zip to write
        #[arg(long)]
        out: PathBuf,
    },
}

#[derive(Args)]
pub(crate) struct Import {
    /// The configuration file
    config: PathBuf,
    /// A DiagnosisKeyBatch, or the zip of a GAEN export
    file: PathBuf,
    /// What the file is
    #[arg(long)]
    format: Format,
    /// Countries by number that get every key of the file, beside the subscribers
    #[arg(long, value_delimiter = ',')]
    visited: Vec<CountryCode>,
    /// The key that must have signed a GAEN export, as `pki key create` writes public keys
    #[arg(long)]
    verification_key: Option<PathBuf>,
    /// Take a GAEN export without looking at its signature
    #[arg(long, conflicts_with = "verification_key")]
    unsigned: bool,
    /// Send nothing if a single key is wrong
    #[arg(long)]
    strict: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Efgs,
    Gaen,
}

pub(crate) fn run(command: &Keys) -> anyhow::Result<ExitCode> {
    let (Keys::Import(Import { config, .. }) | Keys::Export { config, .. }) = command;
    let file = match ConfigFile::read(config) {
        Err(problem) => return Ok(crate::invalid([*problem])),
        Ok(file) => file,
    };
    match command {
        Keys::Import(options) => import(&file.config, options),
        Keys::Export { out, .. } => export(&file.config, out),
    }
}

fn import(config: &Config, options: &Import) -> anyhow::Result<ExitCode> {
    let own = country(config)?;
    let octets =
        std::fs::read(&options.file).with_context(|| format!("cannot read {}", options.file.display()))?;
    let (mut keys, left_out) = match options.format {
        Format::Efgs => efgs::read(&octets, own)?,
        Format::Gaen => gaen_export::read(&octets, verification_key(options)?.as_ref())?,
    };
    let clock = Clock::default();
    let left_out = [left_out, out_of_time(&mut keys, clock.today())].concat();
    left_out.iter().for_each(|key| eprintln!("{}: {key}", options.file.display()));
    ensure!(left_out.is_empty() || !options.strict, "{} keys are wrong; nothing was sent", left_out.len());
    keys.iter_mut().for_each(|(_, key)| key.visited.extend(&options.visited));
    let keys: Vec<_> = keys.into_iter().map(|(_, key)| key).collect();
    let fan_out =
        FanOut { issuer: config.authority, own, subscribers: config.diagnosis_keys.subscribers.clone() };
    let trust = country_adapter::trust_list(config, clock.now()).context("no trust list to route by")?;
    let others = fan_out.reports(&trust, &keys, clock.now()).others;
    let waiting: usize = others.held.values().map(Vec::len).sum();
    let leaving = Leaving {
        due: others.due.iter().map(diagnosis::report).collect(),
        held: diagnosis::reports(&others.held),
    };
    let spool =
        Spool::open(&config.state, Disk::default(), clock).context("run this as the user of the adapter")?;
    let id = name(&octets, &options.visited);
    spool.stage(id, &leaving)?;
    let files = usize::from(!leaving.due.is_empty()) + leaving.held.len();
    ensure!(
        spool.publish(id)? == files,
        "the adapter has started meanwhile and cleared this away; give the command again"
    );
    println!(
        "{} keys give {} reports; {waiting} of them wait until their keys are out of use",
        keys.len(),
        others.due.len() + waiting
    );
    Ok(if left_out.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(PARTLY) })
}

/// The same file again has the same name: what was interrupted is written over, not sent twice.
fn name(octets: &[u8], visited: &[CountryCode]) -> UploadId {
    let visited = visited.iter().flat_map(|country| country.number().to_be_bytes()).collect::<Vec<_>>();
    let digest = sha256(&[&b"import"[..], &sha256(octets), &visited].concat());
    UploadId::from(*digest.first_chunk().expect("a hash has 32 octets"))
}

/// Takes out the keys that no authority would take.
fn out_of_time(keys: &mut Vec<(usize, UploadedKey)>, today: Day) -> Vec<LeftOut> {
    let mut left_out = Vec::new();
    keys.retain(|(place, key)| match DateOut::check(key.key.day(), today) {
        Ok(()) => true,
        Err(out) => {
            left_out.push(LeftOut { place: *place, reason: out.to_string() });
            false
        }
    });
    left_out
}

fn verification_key(options: &Import) -> anyhow::Result<Option<pki::sign::VerifyingKey>> {
    match &options.verification_key {
        Some(path) => Ok(Some(pubfile::verifying_key(path)?)),
        None if options.unsigned => Ok(None),
        None => bail!("a GAEN export is signed; name the key with --verification-key, or say --unsigned"),
    }
}

fn export(config: &Config, out: &Path) -> anyhow::Result<ExitCode> {
    let Some(folder) = &config.diagnosis_keys.exports else {
        bail!("diagnosis_keys.exports names no folder, so no key was kept");
    };
    let lists = config.lists.as_ref().context("the table [lists] with the key that signs is missing")?;
    let key = pki::identity::signing_key(&lists.signing_key, config.identity.passphrase_file.as_deref())?;
    let (clock, mut keys) = (Clock::default(), Vec::new());
    for name in durable::names(folder)?.into_iter().filter(|name| name.ends_with(ENDING)) {
        let octets = std::fs::read(folder.join(&name)).with_context(|| format!("cannot read {name}"))?;
        keys.extend(arrived(&octets).with_context(|| format!("{name} in {}", folder.display()))?);
    }
    keys.retain(|key| diagnosis::may_be_shown(&key.key, clock.now()));
    let start = clock.today().minus(Report::MAX_AGE).unix();
    let period = Period { region: country(config)?, start, end: clock.now() };
    let (zip, count) = gaen_export::write(&keys, &period, &key);
    std::fs::write(out, zip).with_context(|| format!("cannot write {}", out.display()))?;
    println!("{count} keys in {}", out.display());
    Ok(ExitCode::SUCCESS)
}

/// The keys of a batch that was written here; each is of the country that confirmed its case.
fn arrived(octets: &[u8]) -> anyhow::Result<Vec<UploadedKey>> {
    Ok(efgs::read_any(octets)?.0.into_iter().map(|(_, key)| key).collect())
}

fn country(config: &Config) -> anyhow::Result<CountryCode> {
    match config.authority {
        Authority::State(country, _) => Ok(country),
        Authority::Opaque(_) => bail!("an opaque authority has no country, and GAEN's keys need one"),
    }
}
