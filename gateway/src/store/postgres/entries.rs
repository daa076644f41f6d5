//! Reading entries, each compared with its checksum. One that is damaged is looked for among those that were mended,
//! and otherwise named: it is never given to anybody, and the page before it ends there.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    checksum,
    database::Database,
    rows::{self, entry_columns, wide},
};
use crate::store::{Entry, StoreError, Stream, damage::Damage, upkeep::Damaged};

/// Entries of a page at most, whatever their octets.
pub(super) const PAGE: i64 = 4_096;

/// The entries in a database, and which of them were found damaged.
pub(super) struct Entries {
    pub(super) database: Arc<Database>,
    pub(super) damage: Damage,
}

impl Entries {
    /// See [`crate::store::Store::find`].
    pub(super) async fn find(&self, stream: Stream, sequence: u64) -> Result<Option<Entry>, StoreError> {
        let statement = concat!(
            "SELECT ",
            entry_columns!(),
            " FROM entry WHERE stream = $1 AND sequence = $2 \
             AND sequence > (SELECT purged FROM stream WHERE name = $1)"
        );
        let name = stream.octets();
        let found = self.database.ask(statement, &[&name.as_slice(), &wide(sequence)]).await;
        let entry = found.and_then(|rows| rows.first().map(|row| rows::entry(row, stream)).transpose());
        match entry {
            Err(StoreError::Corrupt { what }) => self.mended(stream, sequence, what).await,
            entry => entry,
        }
    }

    /// See [`crate::store::Store::link`]; it is nothing of an entry that was purged.
    pub(super) async fn link(&self, stream: Stream, sequence: u64) -> Result<Option<[u8; 32]>, StoreError> {
        let statement = "SELECT link FROM entry WHERE stream = $1 AND sequence = $2 \
            AND sequence > (SELECT purged FROM stream WHERE name = $1)";
        let name = stream.octets();
        match self.database.ask(statement, &[&name.as_slice(), &wide(sequence)]).await {
            Err(StoreError::Corrupt { what }) => {
                Ok(self.remains(stream, sequence, &what).await?.map(|(_, link, _)| link))
            }
            rows => rows?.first().map(|row| rows::octets(row, 0)).transpose(),
        }
    }

    /// See [`crate::store::Store::after`].
    pub(super) async fn after(
        &self,
        stream: Stream,
        after: u64,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let statement = concat!(
            "WITH behind AS MATERIALIZED (SELECT sequence, octet_length(head) + octet_length(body) AS octets \
             FROM entry WHERE stream = $1 \
             AND sequence > greatest($2, (SELECT purged FROM stream WHERE name = $1)) \
             ORDER BY sequence LIMIT $4), \
             page AS (SELECT sequence, sum(octets) OVER (ORDER BY sequence) AS octets, \
             row_number() OVER (ORDER BY sequence) AS number FROM behind), \
             bounds AS (SELECT min(sequence) AS first, max(sequence) AS last FROM page \
             WHERE number = 1 OR octets <= $3) \
             SELECT ",
            entry_columns!(),
            " FROM entry WHERE stream = $1 AND sequence BETWEEN (SELECT first FROM bounds) \
             AND (SELECT last FROM bounds) ORDER BY sequence"
        );
        let octets = i64::try_from(max_bytes).unwrap_or(i64::MAX);
        let name = stream.octets();
        let rows = self.database.ask(statement, &[&name.as_slice(), &wide(after), &octets, &PAGE]).await;
        let rows = match rows {
            Err(StoreError::Corrupt { .. }) => return self.next(stream, after).await,
            rows => rows?,
        };
        let mut page = Vec::<Entry>::with_capacity(rows.len());
        for row in &rows {
            match rows::entry(row, stream) {
                Ok(entry) if page.last().is_none_or(|last| last.sequence + 1 == entry.sequence) => {
                    page.push(entry);
                }
                Err(StoreError::Corrupt { .. }) if page.is_empty() => return self.next(stream, after).await,
                Ok(_) | Err(_) => break,
            }
        }
        Ok(page)
    }

    /// The one entry that follows a number: where a page cannot be read, entries are read by themselves.
    async fn next(&self, stream: Stream, mut after: u64) -> Result<Vec<Entry>, StoreError> {
        let statement = "SELECT sequence FROM entry WHERE stream = $1 \
             AND sequence > greatest($2, (SELECT purged FROM stream WHERE name = $1)) ORDER BY sequence LIMIT 1";
        let name = stream.octets();
        loop {
            let rows = self.database.ask(statement, &[&name.as_slice(), &wide(after)]).await?;
            let Some(row) = rows.first() else { return Ok(Vec::new()) };
            after = rows::number(row, 0)?;
            // It may be purged between the two reads.
            if let Some(entry) = self.find(stream, after).await? {
                return Ok(vec![entry]);
            }
        }
    }

    /// What was put in the place of a damaged entry; names it if there is nothing.
    async fn mended(&self, stream: Stream, sequence: u64, what: String) -> Result<Option<Entry>, StoreError> {
        let statement =
            concat!("SELECT ", entry_columns!(), " FROM mended WHERE stream = $1 AND sequence = $2");
        let name = stream.octets();
        let rows = self.database.ask(statement, &[&name.as_slice(), &wide(sequence)]).await?;
        if let Some(Ok(entry)) = rows.first().map(|row| rows::entry(row, stream)) {
            // Whoever mended it may be another process.
            self.damage.forget(stream, sequence, sequence);
            return Ok(Some(entry));
        }
        let Some((at, link, head)) = self.remains(stream, sequence, &what).await? else { return Ok(None) };
        self.damage.note(&Damaged { stream, sequence, at, link, head: Some(head), what: what.clone() });
        Err(StoreError::Damaged { stream, sequence, what })
    }

    /// Time, link and head of an entry, read without its body: that may lie on a page that cannot be read.
    async fn remains(
        &self,
        stream: Stream,
        sequence: u64,
        what: &str,
    ) -> Result<Option<(u64, [u8; 32], Bytes)>, StoreError> {
        let statement = "SELECT at, link, head FROM entry WHERE stream = $1 AND sequence = $2 \
             AND sequence > (SELECT purged FROM stream WHERE name = $1)";
        let name = stream.octets();
        let rows = self.database.ask(statement, &[&name.as_slice(), &wide(sequence)]).await;
        let rows = rows.map_err(|error| match error {
            // Nothing says what it was, so nobody can be asked for it.
            StoreError::Corrupt { .. } => {
                StoreError::Corrupt { what: format!("entry {sequence} of stream {stream} in {what}") }
            }
            other => other,
        })?;
        let remains = |row| Ok((rows::number(row, 0)?, rows::octets(row, 1)?, rows::body(row, 2)?));
        rows.first().map(remains).transpose()
    }

    /// See [`crate::store::upkeep::Upkeep::mend`].
    pub(super) async fn mend(
        &self,
        stream: Stream,
        sequence: u64,
        (head, body): (Bytes, Bytes),
    ) -> Result<(), StoreError> {
        if let Some((at, link, _)) = self.remains(stream, sequence, "the database").await? {
            let entry = Entry { sequence, at, link, head, body };
            let crc = i64::from(checksum::of_entry(stream, &entry));
            let statement = "INSERT INTO mended (stream, sequence, at, link, head, body, crc) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (stream, sequence) \
                 DO UPDATE SET head = excluded.head, body = excluded.body, crc = excluded.crc";
            let (name, link) = (stream.octets(), &link[..]);
            let (head, body) = (&entry.head[..], &entry.body[..]);
            let (sequence, at) = (wide(sequence), wide(at));
            self.database
                .ask(statement, &[&name.as_slice(), &sequence, &at, &link, &head, &body, &crc])
                .await?;
        }
        self.damage.forget(stream, sequence, sequence);
        Ok(())
    }

    /// Forgets what was found and mended of entries that are purged now.
    pub(super) async fn purged(&self, stream: Stream, through: u64) -> Result<(), StoreError> {
        let statement = "DELETE FROM mended WHERE stream = $1 AND sequence <= $2";
        let name = stream.octets();
        self.database.ask(statement, &[&name.as_slice(), &wide(through)]).await?;
        self.damage.forget(stream, 0, through);
        Ok(())
    }
}
