//! A store for many machines: the same promises over SQL, shared by any number of gateway processes.
//!
//! One task a process commits for all who wait, in one transaction; PostgreSQL puts it on disk. What other
//! processes append moves the tails here as well. A process that loses its connection asks what became of its last
//! transaction before it tries again.

mod address;
mod checksum;
mod database;
mod entries;
mod failure;
mod group;
mod hosts;
mod migrate;
mod news;
mod partitions;
mod rows;
mod space;
#[cfg(test)]
pub(crate) mod tests;
mod transaction;
mod upkeep;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

pub use address::{Address, Encryption, Malformed};
pub use database::PostgresOptions;

use self::{
    database::Database,
    entries::Entries,
    failure::{Failure, Patience},
    news::News,
    rows::wide,
    writer::{Job, Reply, Writer},
};
use super::{
    Answered, Change, Committed, Cursor, CursorName, Entry, Fence, Holder, LeaseName, OnceId, Store,
    StoreError, StoreSize, Stream, Tail, damage::Damage, tails::Tails, upkeep::Upkeep,
};

/// Jobs that may wait for the writer; more wait in their callers.
const QUEUE: usize = 256;
/// Once ids that are forgotten in one statement.
const STEP: i64 = 10_000;
/// How often the size is looked at.
const MEASURE: Duration = Duration::from_secs(60);
/// How long the start waits for a database that is still starting.
const START: Duration = Duration::from_secs(20);

/// A store in a database.
pub struct PostgresStore {
    database: Arc<Database>,
    entries: Entries,
    tails: Arc<Tails>,
    jobs: mpsc::Sender<Job>,
    elsewhere: watch::Sender<u64>,
    size: Arc<Mutex<StoreSize>>,
    process: [u8; 16],
    tasks: Mutex<Vec<AbortOnDropHandle<()>>>,
}

impl PostgresStore {
    /// Connects, brings the schema up to date, and begins to work.
    ///
    /// # Errors
    /// [`StoreError::Newer`] if a later release made the schema, [`StoreError::Unfit`] for a database that cannot be
    /// trusted with entries, [`StoreError::Unreachable`], [`StoreError::Busy`] and [`StoreError::Database`] for one that
    /// does not serve.
    pub async fn open(options: PostgresOptions) -> Result<Self, StoreError> {
        let database = Arc::new(Database::new(&options)?);
        reach(&database, Reach::Migrate).await?;
        database.check().await?;
        let process = Holder::random().octets();
        // Rows of processes that were killed are no use to anybody after some time; one of a process that has only been
        // idle is made again when it writes.
        let statement = "WITH gone AS (DELETE FROM writer WHERE seen < clock_timestamp() - interval '30 days') \
             INSERT INTO writer (process) VALUES ($1) ON CONFLICT DO NOTHING";
        database.ask(statement, &[&process.as_slice()]).await?;
        let rows = database.ask("SELECT name, last, link FROM stream", &[]).await?;
        let tails = rows.iter().map(rows::tail).collect::<Result<Vec<_>, _>>()?;
        let tails = Arc::new(Tails::new(tails));
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let (elsewhere, size) = (watch::Sender::new(0), Arc::default());
        let writer = Writer::new(Arc::clone(&database), Arc::clone(&tails), waiting, process);
        let news = News {
            database: Arc::clone(&database),
            tails: Arc::clone(&tails),
            elsewhere: elsewhere.clone(),
            process,
            poll: options.poll,
        };
        let measured = measure(Arc::clone(&database), Arc::clone(&size));
        let tasks = [tokio::spawn(writer.run()), tokio::spawn(news.run()), tokio::spawn(measured)];
        let tasks = Mutex::new(tasks.map(AbortOnDropHandle::new).into());
        let entries = Entries { database: Arc::clone(&database), damage: Damage::default() };
        Ok(Self { database, entries, tails, jobs, elsewhere, size, process, tasks })
    }

    /// Whether the database can be reached and has a schema that this release can work with; changes nothing.
    pub async fn check(options: PostgresOptions) -> Result<(), StoreError> {
        let database = Database::new(&options)?;
        reach(&database, Reach::Look).await?;
        database.check().await
    }

    /// Hands a job to the writer, and waits for its answer. From the hand-over on the job is done either way.
    async fn hand<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(job(reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }
}

/// What is done with the schema.
#[derive(Clone, Copy)]
enum Reach {
    Look,
    Migrate,
}

async fn reach(database: &Database, what: Reach) -> Result<(), StoreError> {
    let mut patience = Patience::of(if matches!(what, Reach::Migrate) { START } else { Duration::ZERO });
    loop {
        let reached = async {
            let mut connection = database.connection().await?;
            match what {
                Reach::Migrate => migrate::apply(&mut connection).await,
                Reach::Look => Ok(migrate::gate(migrate::found(&connection).await?)?),
            }
        };
        match reached.await {
            Ok(()) => return Ok(()),
            Err(failure) => patience.again(failure, database.name()).await?,
        }
    }
}

async fn measure(database: Arc<Database>, size: Arc<Mutex<StoreSize>>) {
    let statement = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint, \
         count(*) FILTER (WHERE relispartition AND relkind = 'r') FROM pg_class \
         WHERE relnamespace = 'exchange'::regnamespace AND relkind = 'r'";
    loop {
        if let Ok(rows) = database.ask(statement, &[]).await
            && let Some(row) = rows.first()
            && let (Ok(bytes), Ok(segments)) = (rows::number(row, 0), rows::number(row, 1))
        {
            *size.lock().unwrap_or_else(PoisonError::into_inner) = StoreSize { bytes, segments };
        }
        tokio::time::sleep(MEASURE).await;
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn commit(&self, change: Change) -> Result<Committed, StoreError> {
        super::check_lengths(&change)?;
        self.hand(|reply| Job::Commit(change, reply)).await
    }

    async fn once(&self, id: &OnceId) -> Result<Option<Answered>, StoreError> {
        let statement = "SELECT at, digest, answer, crc FROM once WHERE id = $1";
        let rows = self.database.ask(statement, &[&id.octets()]).await?;
        rows.first().map(|row| rows::answered(row, 0, id).map(|(_, answered)| answered)).transpose()
    }

    /// By the id alone: any page that is read on the way to an answer may be the one that is spoiled.
    async fn knows(&self, id: &OnceId) -> Result<bool, StoreError> {
        let rows = self.database.ask("SELECT 1 FROM once WHERE id = $1", &[&id.octets()]).await?;
        Ok(!rows.is_empty())
    }

    async fn find(&self, stream: Stream, sequence: u64) -> Result<Option<Entry>, StoreError> {
        self.entries.find(stream, sequence).await
    }

    async fn link(&self, stream: Stream, sequence: u64) -> Result<Option<[u8; 32]>, StoreError> {
        let tail = self.tails.now(stream);
        if sequence > 0 && sequence == tail.last {
            return Ok(Some(tail.link));
        }
        self.entries.link(stream, sequence).await
    }

    async fn after(&self, stream: Stream, after: u64, max_bytes: usize) -> Result<Vec<Entry>, StoreError> {
        self.entries.after(stream, after, max_bytes).await
    }

    async fn cursor(&self, name: CursorName) -> Result<Cursor, StoreError> {
        let statement = "SELECT through, link FROM cursor WHERE name = $1";
        let rows = self.database.ask(statement, &[&name.octets().as_slice()]).await?;
        rows.first().map_or_else(|| Ok(Cursor::default()), |row| rows::cursor(row, 0))
    }

    fn tail(&self, stream: Stream) -> watch::Receiver<Tail> {
        self.tails.watch(stream)
    }

    async fn latest(&self, stream: Stream) -> Result<Tail, StoreError> {
        let statement = "SELECT name, last, link FROM stream WHERE name = $1";
        let known = self.tails.now(stream);
        let rows = self.database.ask(statement, &[&stream.octets().as_slice()]).await?;
        let tail = rows.first().map_or(Ok(Tail::default()), |row| rows::tail(row).map(|(_, tail)| tail))?;
        self.tails.found(stream, known, tail);
        Ok(tail)
    }

    async fn oldest(&self, stream: Stream) -> Result<Option<(u64, u64)>, StoreError> {
        let statement = "SELECT sequence, at FROM entry WHERE stream = $1 \
             AND sequence > (SELECT purged FROM stream WHERE name = $1) ORDER BY sequence LIMIT 1";
        let rows = self.database.ask(statement, &[&stream.octets().as_slice()]).await?;
        rows.first().map(|row| Ok((rows::number(row, 0)?, rows::number(row, 1)?))).transpose()
    }

    async fn older(&self, stream: Stream, before: u64) -> Result<u64, StoreError> {
        // All before the first entry that is not old; all, if every one is.
        let statement = "SELECT coalesce((SELECT sequence - 1 FROM entry WHERE stream = $1 AND at >= $2 \
             AND sequence > s.purged ORDER BY sequence LIMIT 1), s.last), s.purged \
             FROM stream s WHERE name = $1";
        let rows = self.database.ask(statement, &[&stream.octets().as_slice(), &wide(before)]).await?;
        let Some(row) = rows.first() else { return Ok(0) };
        let (older, purged) = (rows::number(row, 0)?, rows::number(row, 1)?);
        Ok(if older > purged { older } else { 0 })
    }

    async fn purge(&self, stream: Stream, through: u64) -> Result<u64, StoreError> {
        // Streams are dense, so how many went is the difference of two numbers. Their octets go with their day.
        let statement = "WITH old AS (SELECT name, purged FROM stream WHERE name = $1 FOR UPDATE) \
             UPDATE stream SET purged = greatest(old.purged, least($2, stream.last)) FROM old \
             WHERE stream.name = old.name RETURNING stream.purged - old.purged";
        let name = stream.octets();
        let rows = self.database.ask(statement, &[&name.as_slice(), &wide(through)]).await?;
        self.entries.purged(stream, through).await?;
        rows.first().map_or(Ok(0), |row| rows::number(row, 0))
    }

    async fn forget(&self, before: u64) -> Result<u64, StoreError> {
        let statement = "WITH gone AS (DELETE FROM once WHERE id IN \
             (SELECT id FROM once WHERE at < $1 ORDER BY at LIMIT $2) RETURNING 1) SELECT count(*) FROM gone";
        let mut forgotten = 0;
        loop {
            let rows = self.database.ask(statement, &[&wide(before), &STEP]).await?;
            let gone = rows.first().map_or(Ok(0), |row| rows::number(row, 0))?;
            forgotten += gone;
            if gone == 0 {
                break;
            }
        }
        let dropped = self.database.within(partitions::drop_purged(&self.database));
        if let Err(failure) = dropped.await {
            match failure {
                Failure::Away(cause) | Failure::Busy(cause) => {
                    warn!(cause, "no partition was dropped; it is tried again");
                }
                Failure::Lasting(error) => return Err(error),
            }
        }
        Ok(forgotten)
    }

    async fn streams(&self) -> Result<Vec<Stream>, StoreError> {
        let statement = "SELECT name FROM stream WHERE last > 0 ORDER BY name";
        let rows = self.database.ask(statement, &[]).await?;
        rows.iter().map(|row| Ok(Stream::new(rows::octets(row, 0)?))).collect()
    }

    fn upkeep(&self) -> Option<&dyn Upkeep> {
        Some(self)
    }

    async fn lease(
        &self,
        name: LeaseName,
        holder: Holder,
        time: Duration,
    ) -> Result<Option<Fence>, StoreError> {
        let statement = "INSERT INTO lease (name, holder, token, expires) \
             VALUES ($1, $2, 1, clock_timestamp() + $3 * interval '1 millisecond') \
             ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, \
             expires = clock_timestamp() + $3 * interval '1 millisecond', \
             token = lease.token + (lease.holder <> excluded.holder)::integer \
             WHERE lease.holder = excluded.holder OR lease.expires <= clock_timestamp() RETURNING token";
        let milliseconds = time.as_secs_f64() * 1_000.0;
        let values = (name.octets(), holder.octets());
        let rows = self
            .database
            .ask(statement, &[&values.0.as_slice(), &values.1.as_slice(), &milliseconds])
            .await?;
        rows.first().map(|row| Ok(Fence { name, token: rows::number(row, 0)? })).transpose()
    }

    async fn release(&self, fence: Fence) -> Result<(), StoreError> {
        let statement = "UPDATE lease SET token = token + 1, expires = clock_timestamp() \
             WHERE name = $1 AND token = $2";
        let name = fence.name.octets();
        self.database.ask(statement, &[&name.as_slice(), &wide(fence.token)]).await?;
        Ok(())
    }

    async fn clock(&self) -> Result<Option<u64>, StoreError> {
        let statement = "SELECT extract(epoch FROM clock_timestamp())::bigint";
        let rows = self.database.ask(statement, &[]).await?;
        rows.first().map(|row| rows::number(row, 0)).transpose()
    }

    fn elsewhere(&self) -> watch::Receiver<u64> {
        self.elsewhere.subscribe()
    }

    fn size(&self) -> StoreSize {
        *self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn close(&self) -> Result<(), StoreError> {
        let closed = match self.hand(Job::Close).await {
            Err(StoreError::Closed) => Ok(()),
            closed => closed,
        };
        // Its last answer was given, so nobody will ask what became of it.
        let _ = self.database.ask("DELETE FROM writer WHERE process = $1", &[&self.process.as_slice()]).await;
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.database.close();
        closed
    }
}
