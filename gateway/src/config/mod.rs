//! The one configuration file: every key, its default, and what is wrong with it.

mod file;
mod limits;
mod store;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use miette::SourceSpan;
use pki::identity::IdentityConfig;
use pki::trust::TrustConfig;
use serde::Deserialize;

pub use file::{ConfigError, Wrong};
pub use limits::{Limits, PeerQuota, Quota, QuotaConfig};
pub use store::{PostgresConfig, StoreConfig};

use file::{place, redacted};

use crate::store::postgres::Encryption;

/// The gateway's configuration; `deploy/gateway.example.toml` explains each key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Our country, ISO 3166-1 numeric.
    pub country: u16,
    /// Where entries, cursors and push ids are kept: a folder, or the address of a database.
    pub store: StoreConfig,
    /// How the database is used, if it is one.
    pub postgres: Option<PostgresConfig>,
    /// A folder for evidence and the last accepted trust list; each replica has one of its own.
    pub state: PathBuf,
    /// Addresses to listen on.
    pub listen: Listen,
    /// Certificate and ingress keys.
    pub identity: IdentityConfig,
    /// The ECDSA key that signs manifests and receipts.
    pub signing_key: PathBuf,
    /// Who is believed.
    pub trust: TrustConfig,
    /// Bounds on what is worked on at once.
    #[serde(default)]
    pub limits: Limits,
    /// How much one caller may ask for.
    #[serde(default)]
    pub quota: Quota,
    /// How peers are pulled.
    #[serde(default)]
    pub pull: PullConfig,
    /// How long things are kept.
    #[serde(default)]
    pub retention: Retention,
    /// Logs.
    #[serde(default)]
    pub log: LogConfig,
}

/// Addresses to listen on.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// For peer gateways, from the internet.
    pub peers: SocketAddr,
    /// For the adapters of this country, from the national network.
    pub national: SocketAddr,
    /// For health and metrics, without TLS: a loopback address.
    pub admin: SocketAddr,
}

/// How peers are pulled.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PullConfig {
    /// How long a peer may hold a pull open at its tail, 1 to 30 seconds.
    pub wait_seconds: u64,
    /// Octets of a page, up to 2 MiB.
    pub page_bytes: u32,
}

impl Default for PullConfig {
    fn default() -> Self {
        Self { wait_seconds: 30, page_bytes: 2 << 20 }
    }
}

impl PullConfig {
    /// How long a peer may hold a pull open.
    #[must_use]
    pub fn wait(&self) -> Duration {
        Duration::from_secs(self.wait_seconds)
    }
}

/// How long things are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Batches and push ids that nobody acknowledged, 1 to 21 days.
    pub unacknowledged_days: u64,
    /// Batches after they were delivered and acknowledged, hours.
    pub acknowledged_hours: u8,
}

impl Default for Retention {
    fn default() -> Self {
        Self { unacknowledged_days: 14, acknowledged_hours: 24 }
    }
}

/// Logs go to standard error.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// error, warn, info, debug or trace; or a filter as `gateway=debug,info`.
    pub level: String,
    /// For people or for machines.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

/// How a line of log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Reads a file; paths in it are relative to it.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|cause| ConfigError::Read { path: path.into(), cause })?;
        let mut config = Self::parse(&text, &path.display().to_string())?;
        config.resolve(path.parent().unwrap_or(Path::new(".")));
        Ok(config)
    }

    /// Parses the text; `name` is for messages.
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigError> {
        // What is shown with an error must not show a password.
        let shown = &redacted(text);
        let config: Self = toml::from_str(text).map_err(|error| {
            let help = "every key stands in deploy/gateway.example.toml with its default";
            Wrong::at(name, shown, (error.message().to_owned(), help), error.span().map(SourceSpan::from))
        })?;
        match config.problem() {
            Some((key, message, help)) => Err(Wrong::at(name, shown, (message, help), place(text, key))),
            None => Ok(config),
        }
    }

    /// Keys that stand in the file and change nothing.
    #[must_use]
    pub fn without_effect(&self) -> Vec<&'static str> {
        self.quota.peer.reports_per_second.map(|_| "quota.peer.reports_per_second").into_iter().collect()
    }

    fn store_problem(&self) -> Option<(&'static str, String, &'static str)> {
        match (&self.store, &self.postgres) {
            (StoreConfig::Folder(_), None) => None,
            (StoreConfig::Folder(_), Some(_)) => {
                let message = "postgres is set, and store is a folder".to_owned();
                Some(("postgres", message, "leave [postgres] out, or set store to a database's address"))
            }
            (StoreConfig::Postgres(address), postgres) => {
                let postgres = postgres.clone().unwrap_or_default();
                if address.encryption() == Encryption::VerifyFull && postgres.ca.is_none() {
                    let message =
                        "postgres.ca is missing, and nothing else tells the right server".to_owned();
                    return Some(("store", message, "the PEM file of who issued the database's certificate"));
                }
                postgres.problem()
            }
        }
    }

    /// The first value that parses and still cannot be meant.
    fn problem(&self) -> Option<(&'static str, String, &'static str)> {
        if let Some(problem) = self.store_problem() {
            return Some(problem);
        }
        let Retention { unacknowledged_days, acknowledged_hours } = self.retention;
        if self.country == 0 || self.country > 999 {
            let message = format!("country is {}", self.country);
            return Some((
                "country",
                message,
                "an ISO 3166-1 number from 1 to 999, as 826 for the United Kingdom",
            ));
        }
        if !(1..=30).contains(&self.pull.wait_seconds) {
            let message = format!("pull.wait_seconds is {}", self.pull.wait_seconds);
            return Some(("wait_seconds", message, "1 to 30; peers end a longer wait themselves"));
        }
        // Peers refuse what was sealed more than 22 days ago.
        if !(1..=21).contains(&unacknowledged_days) || !(1..=168).contains(&acknowledged_hours) {
            let message = format!("retention is {unacknowledged_days} days and {acknowledged_hours} hours");
            return Some(("retention", message, "1 to 21 days (14), and 1 to 168 hours (24)"));
        }
        if let Some(problem) = self.limits.problem().or(self.quota.problem()) {
            return Some(problem);
        }
        if !(65_536..=2 << 20).contains(&self.pull.page_bytes) {
            let message = format!("pull.page_bytes is {}", self.pull.page_bytes);
            return Some(("page_bytes", message, "65536 to 2097152 (2097152)"));
        }
        let level = self.log.level.as_str();
        if !["error", "warn", "info", "debug", "trace"].contains(&level) && !level.contains('=') {
            let help = "error, warn, info, debug or trace; or a filter as \"gateway=debug,info\"";
            return Some(("level", format!("log.level is \"{level}\""), help));
        }
        if !self.listen.admin.ip().is_loopback() {
            let message = format!("listen.admin is {}", self.listen.admin);
            return Some((
                "admin",
                message,
                "a loopback address as 127.0.0.1:7445: this listener has no TLS",
            ));
        }
        None
    }

    fn resolve(&mut self, folder: &Path) {
        let identity = &mut self.identity;
        let store = match &mut self.store {
            StoreConfig::Folder(folder) => Some(folder),
            StoreConfig::Postgres(_) => None,
        };
        let postgres = self.postgres.iter_mut();
        let database =
            postgres.flat_map(|postgres| postgres.ca.iter_mut().chain(&mut postgres.password_file));
        let single = [
            &mut self.state,
            &mut self.signing_key,
            &mut self.trust.list,
            &mut identity.certificate,
            &mut identity.key,
        ];
        let several =
            self.trust.anchors.iter_mut().chain(&mut identity.hpke_keys).chain(&mut identity.passphrase_file);
        for path in single.into_iter().chain(several).chain(store).chain(database) {
            *path = folder.join(&*path);
        }
    }
}
