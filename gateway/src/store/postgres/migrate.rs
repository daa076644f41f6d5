//! The tables, as numbered files that are built into the program.

use tokio_postgres::{Client, Transaction};

use super::failure::Failure;
use crate::store::StoreError;

/// Every migration, in order; the number of the last one is the schema's.
const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_store", include_str!("../../../migrations/0001_store.sql")),
    ("0002_checksums", include_str!("../../../migrations/0002_checksums.sql")),
];

/// Who migrates holds this advisory lock: replicas that start together do it one after the other.
const LOCK: i64 = 0x6578_6368_616e_6765;

/// The schema's number that this release works with.
pub(super) fn known() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

/// Brings the schema to [`known`], in one transaction; refuses one that a later release made.
pub(super) async fn apply(client: &mut Client) -> Result<(), Failure> {
    let transaction = client.transaction().await?;
    // Another replica may be at a long one.
    transaction.batch_execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0").await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    // Whoever waits for a table makes the replicas at work wait: not for long, and again from the beginning.
    transaction.batch_execute("SET LOCAL lock_timeout = '2s'").await?;
    let found = found(transaction.client()).await?;
    gate(found)?;
    if found == 0 {
        begin(&transaction).await?;
    }
    for (number, (name, text)) in (1..).zip(MIGRATIONS) {
        if number > found {
            transaction.batch_execute(text).await?;
            let number = i32::try_from(number).unwrap_or(i32::MAX);
            let statement = "INSERT INTO exchange.migration (number, name) VALUES ($1, $2)";
            transaction.execute(statement, &[&number, name]).await?;
            tracing::info!(migration = name, "the database's schema was brought up to date");
        }
    }
    Ok(transaction.commit().await?)
}

/// Whether this release may work with a schema of this number.
pub(super) fn gate(found: u32) -> Result<(), StoreError> {
    if found > known() { Err(StoreError::Newer { found, known: known() }) } else { Ok(()) }
}

/// The number of the schema in the database; 0 if there is none.
pub(super) async fn found(client: &Client) -> Result<u32, Failure> {
    let row = client.query_one("SELECT to_regclass('exchange.migration') IS NOT NULL", &[]).await?;
    if !row.try_get::<_, bool>(0)? {
        return Ok(0);
    }
    let row = client.query_one("SELECT coalesce(max(number), 0) FROM exchange.migration", &[]).await?;
    Ok(u32::try_from(row.try_get::<_, i32>(0)?).unwrap_or(u32::MAX))
}

async fn begin(transaction: &Transaction<'_>) -> Result<(), Failure> {
    let text = "CREATE SCHEMA IF NOT EXISTS exchange; \
         CREATE TABLE exchange.migration ( \
             number integer PRIMARY KEY CHECK (number > 0), \
             name text NOT NULL, \
             applied timestamptz NOT NULL DEFAULT now())";
    Ok(transaction.batch_execute(text).await?)
}
