//! The kinds of store that a simulated gateway may have.

use std::io;
use std::path::Path;

use anyhow::Result;
use cluster::Database;

use super::fuse;

/// A kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StoreKind {
    /// Segment files and an index, in a folder.
    #[default]
    Embedded,
    /// A database for each gateway, in a server that this process starts.
    Postgres,
}

/// Where one gateway's store is: what its configuration says of it, and what a kill leaves of it.
#[derive(Debug)]
pub(super) enum Place {
    /// In the folder of each life.
    Folder,
    /// In a database, which outlives its gateway's lives. It has no floor of free space.
    Database(Database),
}

impl Place {
    pub(super) fn new(kind: StoreKind) -> Result<Self> {
        Ok(match kind {
            StoreKind::Embedded => Self::Folder,
            StoreKind::Postgres => Self::Database(cluster::shared()?.database()?),
        })
    }

    /// The line `store` of a gateway that lives in this folder, and the table for it.
    pub(super) fn configured(&self, life: &Path) -> [String; 2] {
        match self {
            Self::Folder => [format!("store = {:?}", life.join("store")), String::new()],
            Self::Database(Database { url, ca, password_file, .. }) => [
                format!("store = {url:?}"),
                format!("[postgres]\nca = {ca:?}\npassword_file = {password_file:?}\n"),
            ],
        }
    }

    /// Copies what a kill at this moment leaves, from one life's folder to the next one's.
    pub(super) fn image(&self, life: &Path, next: &Path) -> io::Result<()> {
        match self {
            Self::Folder => fuse::copy(&life.join("store"), &next.join("store")),
            Self::Database(_) => Ok(()),
        }
    }

    /// Whether octets stand in any row of the database; what is in folders is found there.
    pub(super) fn holds(&self, octets: &[u8]) -> Result<bool> {
        let Self::Database(database) = self else { return Ok(false) };
        // A row as text has octets in hex.
        let tables = cluster::shared()?.sql(
            &database.name,
            "SELECT format('SELECT 1 FROM %I.%I AS t WHERE t::text LIKE ', schemaname, tablename) FROM pg_tables \
             WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
        )?;
        let hex = hex::encode(octets);
        let selects: Vec<String> = tables.lines().map(|select| format!("{select} '%{hex}%'")).collect();
        if selects.is_empty() {
            return Ok(false);
        }
        Ok(!cluster::shared()?.sql(&database.name, &selects.join(" UNION ALL "))?.is_empty())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Self::Database(database) = self {
            let drop = format!("DROP DATABASE {} WITH (FORCE)", database.name);
            // The whole server goes with this process.
            let _ = cluster::shared().and_then(|cluster| cluster.sql("postgres", &drop));
        }
    }
}
