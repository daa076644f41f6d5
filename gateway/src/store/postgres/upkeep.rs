//! Mending and moving: see [`Upkeep`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::{
    PostgresStore,
    database::Used,
    failure::{Failure, Patience},
    group::{Fresh, Plan, day},
    partitions, rows, transaction,
};
use crate::store::{
    Answered, Cursor, CursorName, OnceId, StoreError, Stream,
    upkeep::{Damaged, DamagedAnswer, KeptAnswer, Piece, Upkeep},
};

#[async_trait]
impl Upkeep for PostgresStore {
    fn damaged(&self) -> watch::Receiver<BTreeMap<(Stream, u64), Damaged>> {
        self.entries.damage.watch()
    }

    async fn mend(&self, stream: Stream, sequence: u64, octets: (Bytes, Bytes)) -> Result<(), StoreError> {
        self.entries.mend(stream, sequence, octets).await
    }

    async fn cursors(&self) -> Result<Vec<(CursorName, Cursor)>, StoreError> {
        // Rows are made before their cursor is moved.
        let statement = "SELECT name, through, link FROM cursor \
             WHERE through > 0 OR link <> decode(repeat('00', 32), 'hex') ORDER BY name";
        let rows = self.database.ask(statement, &[]).await?;
        rows.iter().map(|row| Ok((CursorName::new(rows::octets(row, 0)?), rows::cursor(row, 1)?))).collect()
    }

    async fn answers(
        &self,
        after: Option<OnceId>,
        limit: usize,
    ) -> Result<Vec<Result<KeptAnswer, DamagedAnswer>>, StoreError> {
        let statement = "SELECT id, at, digest, answer, crc FROM once WHERE id > $1 ORDER BY id LIMIT $2";
        let after = after.as_ref().map_or(&[][..], OnceId::octets);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.database.ask(statement, &[&after, &limit]).await?;
        rows.iter()
            .map(|row| {
                let id = rows::once_id(row, 0)?;
                match rows::answered(row, 1, &id) {
                    Ok((at, Answered { digest, answer })) => Ok(Ok(KeptAnswer { id, at, digest, answer })),
                    Err(StoreError::Corrupt { what }) => Ok(Err(DamagedAnswer { id, what })),
                    Err(error) => Err(error),
                }
            })
            .collect()
    }

    async fn restore(&self, pieces: Vec<Piece>) -> Result<(), StoreError> {
        let (plan, purged) = planned(pieces);
        let written = self.database.within(self.write(&plan, &purged)).await;
        if let Err(failure) = written {
            // It is not tried again: what became of a commit without an answer is not known.
            return Patience::of(Duration::ZERO).again(failure, self.database.name()).await;
        }
        self.tails.publish(plan.tails);
        Ok(())
    }
}

impl PostgresStore {
    async fn write(&self, plan: &Plan, purged: &BTreeMap<Stream, u64>) -> Result<(), Failure> {
        let days: BTreeSet<i32> = plan.entries.iter().map(|fresh| day(fresh.entry.at)).collect();
        partitions::make(&self.database, &days).await?;
        let mut used = Used::new(self.database.connection().await?);
        let transaction = used.get().transaction().await?;
        transaction::restore(&transaction, plan, purged).await?;
        transaction.commit().await?;
        used.give_back();
        Ok(())
    }
}

/// Pieces as rows, and how far streams were purged. Lost entries have no row.
fn planned(pieces: Vec<Piece>) -> (Plan, BTreeMap<Stream, u64>) {
    let (mut plan, mut all_purged) = (Plan::default(), BTreeMap::new());
    for piece in pieces {
        match piece {
            Piece::Stream { stream, tail, purged } => {
                plan.tails.insert(stream, tail);
                all_purged.insert(stream, purged);
            }
            Piece::Entry { stream, entry } => plan.entries.push(Fresh { stream, entry }),
            Piece::Lost { .. } => {}
            Piece::Cursor { name, cursor } => drop(plan.cursors.insert(name, cursor)),
            Piece::Answer(KeptAnswer { id, at, digest, answer }) => {
                plan.answers.insert(id, (at, Answered { digest, answer }));
            }
        }
    }
    (plan, all_purged)
}
