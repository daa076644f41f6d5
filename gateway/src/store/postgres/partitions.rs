//! The days of the entries: a partition each, made when it is needed and dropped when all in it is purged.

use std::collections::BTreeSet;

use tokio_postgres::Client;
use tracing::{debug, error, info};

use super::{
    database::{Database, Pooled, Used},
    failure::Failure,
};
use crate::store::StoreError;

/// Who makes or drops partitions holds this advisory lock.
const LOCK: i64 = 0x6578_6368_6461_7973;

/// Makes the partitions of some days that are not there yet.
pub(super) async fn make(database: &Database, days: &BTreeSet<i32>) -> Result<(), Failure> {
    let mut used = Used::new(database.connection().await?);
    let known: BTreeSet<i32> = known(used.get()).await?.into_iter().collect();
    let missing: Vec<i32> = days.difference(&known).copied().collect();
    if !missing.is_empty() {
        let transaction = used.get().transaction().await?;
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
        let made = self::known(transaction.client()).await?;
        // Attached, and not made as a part: that waits for no reader, and a backup reads for hours.
        for day in missing.into_iter().filter(|day| !made.contains(day)) {
            let name = name(day);
            let statement = format!(
                "CREATE TABLE {name} (LIKE entry INCLUDING ALL); \
                 ALTER TABLE entry ATTACH PARTITION {name} FOR VALUES IN ({day})"
            );
            transaction.batch_execute(&statement).await?;
            debug!(partition = name, "made");
        }
        transaction.commit().await?;
    }
    used.give_back();
    Ok(())
}

/// Drops every partition but the newest in which no entry is needed any more; gives how many.
pub(super) async fn drop_purged(database: &Database) -> Result<usize, Failure> {
    let mut used = Used::new(database.connection().await?);
    let mut days = known(used.get()).await?;
    // The newest one is still written to.
    days.pop();
    let mut dropped = 0;
    for day in days {
        match drop_if_purged(used.get(), day).await {
            Ok(is_dropped) => dropped += usize::from(is_dropped),
            // Its page keeps no other day from going.
            Err(Failure::Lasting(error @ StoreError::Corrupt { .. })) => {
                error!(day, %error, "whether all entries of a day are purged cannot be read; its partition stays");
            }
            Err(failure) => return Err(failure),
        }
    }
    used.give_back();
    Ok(dropped)
}

/// Drops a day's partition if no entry in it is needed; gives whether it did.
async fn drop_if_purged(connection: &mut Pooled, day: i32) -> Result<bool, Failure> {
    if is_needed(connection, day).await? {
        return Ok(false);
    }
    let transaction = connection.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    // Looked at again behind a lock that keeps writers out: a clock that was set back may write to an old day.
    // Whoever waits for this lock makes others wait, so it waits shortly, and is tried again a minute later.
    let statement = "SET LOCAL lock_timeout = '200ms'; LOCK TABLE entry IN ACCESS EXCLUSIVE MODE";
    transaction.batch_execute(statement).await?;
    if is_needed(transaction.client(), day).await? {
        return Ok(false);
    }
    transaction.batch_execute(&format!("DROP TABLE IF EXISTS {}", name(day))).await?;
    transaction.commit().await?;
    info!(day, "all entries of a day are purged; its partition is dropped");
    Ok(true)
}

/// The days that have a partition, in order.
async fn known(client: &Client) -> Result<Vec<i32>, Failure> {
    let statement = "SELECT substring(c.relname FROM 7)::integer AS day FROM pg_inherits i \
         JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'entry'::regclass ORDER BY day";
    let rows = client.query(statement, &[]).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// Whether any stream has an entry of this day that is not purged: one look at an index for each stream.
async fn is_needed(client: &Client, day: i32) -> Result<bool, Failure> {
    let statement = format!(
        "SELECT EXISTS (SELECT 1 FROM stream s WHERE EXISTS \
         (SELECT 1 FROM {} e WHERE e.stream = s.name AND e.sequence > s.purged))",
        name(day)
    );
    Ok(client.query_one(&statement, &[]).await?.try_get(0)?)
}

fn name(day: i32) -> String {
    format!("entry_{day}")
}
