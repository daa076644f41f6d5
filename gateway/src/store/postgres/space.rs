//! Whether the database has room for an entry, asked after one has found none: small rows still find room in pages that
//! are there, and whoever asks whether there is space has nothing but small rows.

use rand::Rng;

use super::{
    database::{Database, Used},
    failure::Failure,
    partitions,
};

/// Octets of the entry that is tried: more than is free between those that are there.
const OCTETS: usize = 512 << 10;
/// A stream that is nobody's.
const STREAM: &[u8; 8] = b"no space";

/// Writes an entry of a day, and takes it back.
pub(super) async fn check(database: &Database, day: i32) -> Result<(), Failure> {
    partitions::make(database, &[day].into()).await?;
    let mut body = vec![0_u8; OCTETS];
    rand::rng().fill(body.as_mut_slice());
    // Another replica may ask at the same time.
    let sequence = rand::rng().random_range(1..i64::MAX);
    let mut used = Used::new(database.connection().await?);
    let transaction = used.get().transaction().await?;
    let statement = "INSERT INTO entry (day, stream, sequence, at, link, head, body, crc) \
         VALUES ($1, $2, $3, 0, $4, $5, $6, 0)";
    let none: &[u8] = &[];
    let statement = transaction.prepare_cached(statement).await?;
    transaction
        .execute(&statement, &[&day, &STREAM.as_slice(), &sequence, &[0_u8; 32].as_slice(), &none, &body])
        .await?;
    transaction.rollback().await?;
    used.give_back();
    Ok(())
}
