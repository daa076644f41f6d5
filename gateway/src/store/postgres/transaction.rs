//! One group of changes in one transaction: lock what it touches, stage it, write it.
//!
//! Rows are locked in one order by all who commit (leases, cursors, streams, each by name), so no two transactions
//! wait for each other. A stream's tail is taken `FOR UPDATE`: numbers are dense, and given in the order of commits.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use deadpool_postgres::Transaction;
use tokio::{task::spawn_blocking, try_join};
use tokio_postgres::{Error, Row, Statement, types::ToSql};

use super::{
    checksum,
    failure::Failure,
    group::{self, Outcomes, Plan, Touched, View, day},
    rows::{self, wide},
};
use crate::store::{Change, CursorName, LeaseName, OnceId, StoreError, Stream};

/// The channel on which replicas tell each other that they have committed.
pub(super) const CHANNEL: &str = "exchange";
/// Tails that one notification names; the database takes up to 8,000 octets.
const NAMED: usize = 200;

/// Which process writes, and how many groups it has written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) process: [u8; 16],
    pub(super) group: i64,
}

/// Stages a group on what the database holds, and writes it; the transaction stays open.
pub(super) async fn run(
    transaction: &Transaction<'_>,
    (touched, changes): (&Touched, Arc<[Change]>),
    mark: Mark,
) -> Result<(Plan, Outcomes), Failure> {
    let view = lock(transaction, touched).await?;
    // Numbering signs: some tens of microseconds for each entry.
    let staged = spawn_blocking(move || group::stage(&view, &changes)).await;
    let (plan, outcomes) = staged.map_err(|_| StoreError::Defect)?;
    if !plan.is_empty() {
        write(transaction, &plan, mark).await?;
    }
    Ok((plan, outcomes))
}

/// Reads what is touched, and keeps everybody else from it until the transaction ends.
async fn lock(transaction: &Transaction<'_>, touched: &Touched) -> Result<View, Failure> {
    let leases: Vec<Vec<u8>> = touched.leases.iter().map(|name| name.octets().to_vec()).collect();
    let cursors: Vec<Vec<u8>> = touched.cursors.iter().map(|name| name.octets().to_vec()).collect();
    let streams: Vec<Vec<u8>> = touched.streams.iter().map(|stream| stream.octets().to_vec()).collect();
    let ids: Vec<Vec<u8>> = touched.ids.iter().map(|id| id.octets().to_vec()).collect();
    let [fences, make_cursors, find_cursors, make_streams, find_streams, find_answers] =
        prepared(transaction).await?;
    // Prepared before and polled in this order, so that these are sent at once and done one after the other: each looks when those before it have
    // their locks. A row that is not there cannot be locked, so it is made.
    let (leases, _, cursors, _, streams, answers) = try_join!(
        biased;
        named(transaction, &fences, &leases),
        named(transaction, &make_cursors, &cursors),
        named(transaction, &find_cursors, &cursors),
        named(transaction, &make_streams, &streams),
        named(transaction, &find_streams, &streams),
        named(transaction, &find_answers, &ids),
    )?;
    if cursors.len() != touched.cursors.len() || streams.len() != touched.streams.len() {
        return Err(Failure::Busy("a row that was just made is not there".into()));
    }
    let mut view = View::default();
    for row in leases {
        view.tokens.insert(LeaseName::new(rows::octets(&row, 0)?), rows::number(&row, 1)?);
    }
    for row in cursors {
        view.cursors.insert(CursorName::new(rows::octets(&row, 0)?), rows::cursor(&row, 1)?);
    }
    for row in streams {
        let (stream, tail) = rows::tail(&row)?;
        view.tails.insert(stream, tail);
    }
    for row in answers {
        let id = rows::once_id(&row, 0)?;
        let answered = rows::answered(&row, 1, &id).map(|(_, answered)| answered);
        view.answers.insert(id, answered);
    }
    Ok(view)
}

async fn named(
    transaction: &Transaction<'_>,
    statement: &Statement,
    names: &Vec<Vec<u8>>,
) -> Result<Vec<Row>, Error> {
    transaction.query(statement, &[names]).await
}

async fn prepared(transaction: &Transaction<'_>) -> Result<[Statement; 6], Failure> {
    Ok([
        transaction
            .prepare_cached("SELECT name, token FROM lease WHERE name = ANY($1) ORDER BY name FOR SHARE")
            .await?,
        transaction
            .prepare_cached("INSERT INTO cursor (name) SELECT unnest($1::bytea[]) ON CONFLICT DO NOTHING")
            .await?,
        transaction
            .prepare_cached(
                "SELECT name, through, link FROM cursor WHERE name = ANY($1) ORDER BY name FOR UPDATE",
            )
            .await?,
        transaction
            .prepare_cached("INSERT INTO stream (name) SELECT unnest($1::bytea[]) ON CONFLICT DO NOTHING")
            .await?,
        transaction
            .prepare_cached(
                "SELECT name, last, link FROM stream WHERE name = ANY($1) ORDER BY name FOR UPDATE",
            )
            .await?,
        transaction.prepare_cached("SELECT id, at, digest, answer, crc FROM once WHERE id = ANY($1)").await?,
    ])
}

async fn write(transaction: &Transaction<'_>, plan: &Plan, mark: Mark) -> Result<(), Failure> {
    try_join!(
        biased;
        cursors(transaction, plan),
        tails(transaction, plan),
        answers(transaction, plan),
        entries(transaction, plan),
        marked(transaction, mark),
        told(transaction, news(mark.process, plan)),
    )?;
    Ok(())
}

/// Writes what was in another store, with the numbers that it had there; `purged` says how far streams were purged.
pub(super) async fn restore(
    transaction: &Transaction<'_>,
    plan: &Plan,
    purged: &BTreeMap<Stream, u64>,
) -> Result<(), Failure> {
    let names: Vec<Vec<u8>> = plan.cursors.keys().map(|name| name.octets().to_vec()).collect();
    let streams: Vec<Vec<u8>> = plan.tails.keys().map(|stream| stream.octets().to_vec()).collect();
    let [_, make_cursors, _, make_streams, ..] = prepared(transaction).await?;
    named(transaction, &make_cursors, &names).await?;
    named(transaction, &make_streams, &streams).await?;
    cursors(transaction, plan).await?;
    tails(transaction, plan).await?;
    for (stream, through) in purged {
        let statement = "UPDATE stream SET purged = $2 WHERE name = $1";
        execute(transaction, statement, &[&stream.octets().as_slice(), &wide(*through)]).await?;
    }
    answers(transaction, plan).await?;
    entries(transaction, plan).await
}

async fn marked(transaction: &Transaction<'_>, mark: Mark) -> Result<(), Failure> {
    // Made anew if it is gone: without it a commit whose answer is lost would be made twice.
    let statement = "INSERT INTO writer (process, kept) VALUES ($1, $2) \
         ON CONFLICT (process) DO UPDATE SET kept = excluded.kept, seen = clock_timestamp()";
    execute(transaction, statement, &[&mark.process.as_slice(), &mark.group]).await
}

async fn told(transaction: &Transaction<'_>, news: String) -> Result<(), Failure> {
    execute(transaction, "SELECT pg_notify($1, $2)", &[&CHANNEL, &news]).await
}

async fn cursors(transaction: &Transaction<'_>, plan: &Plan) -> Result<(), Failure> {
    let names: Vec<Vec<u8>> = plan.cursors.keys().map(|name| name.octets().to_vec()).collect();
    let through: Vec<i64> = plan.cursors.values().map(|cursor| wide(cursor.through)).collect();
    let links: Vec<&[u8]> = plan.cursors.values().map(|cursor| &cursor.link[..]).collect();
    let statement = "UPDATE cursor SET through = new.through, link = new.link \
         FROM unnest($1::bytea[], $2::bigint[], $3::bytea[]) AS new (name, through, link) \
         WHERE cursor.name = new.name";
    if names.is_empty() { Ok(()) } else { execute(transaction, statement, &[&names, &through, &links]).await }
}

async fn tails(transaction: &Transaction<'_>, plan: &Plan) -> Result<(), Failure> {
    let names: Vec<Vec<u8>> = plan.tails.keys().map(|stream| stream.octets().to_vec()).collect();
    let last: Vec<i64> = plan.tails.values().map(|tail| wide(tail.last)).collect();
    let links: Vec<&[u8]> = plan.tails.values().map(|tail| &tail.link[..]).collect();
    let statement = "UPDATE stream SET last = new.last, link = new.link \
         FROM unnest($1::bytea[], $2::bigint[], $3::bytea[]) AS new (name, last, link) \
         WHERE stream.name = new.name";
    if names.is_empty() { Ok(()) } else { execute(transaction, statement, &[&names, &last, &links]).await }
}

async fn answers(transaction: &Transaction<'_>, plan: &Plan) -> Result<(), Failure> {
    let ids: Vec<&[u8]> = plan.answers.keys().map(OnceId::octets).collect();
    let at: Vec<i64> = plan.answers.values().map(|(at, _)| wide(*at)).collect();
    let digests: Vec<&[u8]> = plan.answers.values().map(|(_, kept)| &kept.digest[..]).collect();
    let answers: Vec<&[u8]> = plan.answers.values().map(|(_, kept)| &kept.answer[..]).collect();
    let crc = plan.answers.iter().map(|(id, (at, kept))| checksum::of_answer(id, *at, kept).into());
    let crc: Vec<i64> = crc.collect();
    let statement = "INSERT INTO once (id, at, digest, answer, crc) \
         SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bytea[], $4::bytea[], $5::bigint[])";
    if ids.is_empty() {
        return Ok(());
    }
    execute(transaction, statement, &[&ids, &at, &digests, &answers, &crc]).await
}

async fn entries(transaction: &Transaction<'_>, plan: &Plan) -> Result<(), Failure> {
    let fresh = &plan.entries;
    let days: Vec<i32> = fresh.iter().map(|fresh| day(fresh.entry.at)).collect();
    let streams: Vec<Vec<u8>> = fresh.iter().map(|fresh| fresh.stream.octets().to_vec()).collect();
    let sequences: Vec<i64> = fresh.iter().map(|fresh| wide(fresh.entry.sequence)).collect();
    let at: Vec<i64> = fresh.iter().map(|fresh| wide(fresh.entry.at)).collect();
    let links: Vec<&[u8]> = fresh.iter().map(|fresh| &fresh.entry.link[..]).collect();
    let heads: Vec<&[u8]> = fresh.iter().map(|fresh| &fresh.entry.head[..]).collect();
    let bodies: Vec<&[u8]> = fresh.iter().map(|fresh| &fresh.entry.body[..]).collect();
    let crc: Vec<i64> =
        fresh.iter().map(|fresh| checksum::of_entry(fresh.stream, &fresh.entry).into()).collect();
    let statement = "INSERT INTO entry (day, stream, sequence, at, link, head, body, crc) \
         SELECT * FROM unnest($1::integer[], $2::bytea[], $3::bigint[], $4::bigint[], \
         $5::bytea[], $6::bytea[], $7::bytea[], $8::bigint[])";
    if fresh.is_empty() {
        return Ok(());
    }
    let values: [&(dyn ToSql + Sync); 8] = [&days, &streams, &sequences, &at, &links, &heads, &bodies, &crc];
    execute(transaction, statement, &values).await
}

async fn execute(
    transaction: &Transaction<'_>,
    statement: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<(), Failure> {
    let statement = transaction.prepare_cached(statement).await?;
    transaction.execute(&statement, values).await?;
    Ok(())
}

/// Who commits, and which tails that moves; none named means that any may have moved.
fn news(process: [u8; 16], plan: &Plan) -> String {
    let streams: BTreeSet<Stream> = plan.tails.keys().copied().take(NAMED + 1).collect();
    let mut text = hex(&process);
    if streams.len() <= NAMED {
        streams.iter().for_each(|stream| text = format!("{text} {}", hex(&stream.octets())));
    } else {
        text.push_str(" *");
    }
    text
}

/// Octets as lower-case hexadecimal.
pub(super) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
