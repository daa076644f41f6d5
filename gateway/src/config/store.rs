//! Where entries are kept: a folder of this machine, or a database that replicas share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::store::postgres::{Address, PostgresOptions};

/// The line `store` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub enum StoreConfig {
    /// A folder, for one process alone.
    Folder(PathBuf),
    /// A database.
    Postgres(Box<Address>),
}

impl StoreConfig {
    /// The folder, if it is one.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Postgres(_) => None,
        }
    }
}

impl TryFrom<String> for StoreConfig {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if !Address::is_meant(&text) {
            return Ok(Self::Folder(text.into()));
        }
        text.parse()
            .map(|address| Self::Postgres(Box::new(address)))
            .map_err(|wrong| format!("store {wrong}"))
    }
}

/// How the database is used.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresConfig {
    /// PEM certificates of the authority that issued the server's certificate.
    pub ca: Option<PathBuf>,
    /// A file (mode 0600) with the user's password.
    pub password_file: Option<PathBuf>,
    /// Connections at most, 2 to 100; one more listens.
    pub connections: usize,
    /// How long a statement may take, 1 to 60 seconds.
    pub statement_seconds: u64,
}

/// How often other replicas' news is asked for if the database tells none.
const POLL: Duration = Duration::from_secs(1);

impl Default for PostgresConfig {
    fn default() -> Self {
        Self { ca: None, password_file: None, connections: 8, statement_seconds: 10 }
    }
}

impl PostgresConfig {
    /// What the store is opened with.
    #[must_use]
    pub fn options(&self, address: &Address) -> PostgresOptions {
        PostgresOptions {
            address: address.clone(),
            ca: self.ca.clone(),
            password_file: self.password_file.clone(),
            connections: self.connections,
            statement: Duration::from_secs(self.statement_seconds),
            poll: POLL,
        }
    }

    /// What is wrong with it: the key, what it is, and what would do.
    pub(super) fn problem(&self) -> Option<(&'static str, String, &'static str)> {
        if !(2..=100).contains(&self.connections) {
            let message = format!("postgres.connections is {}", self.connections);
            return Some(("connections", message, "2 to 100 (8), for each replica"));
        }
        if !(1..=60).contains(&self.statement_seconds) {
            let message = format!("postgres.statement_seconds is {}", self.statement_seconds);
            return Some(("statement_seconds", message, "1 to 60 (10)"));
        }
        None
    }
}
