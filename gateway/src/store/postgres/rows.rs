//! Rows as they come out of the database, and the numbers that go in.

use bytes::Bytes;
use tokio_postgres::Row;

use super::checksum;
use crate::store::{Answered, Cursor, Entry, OnceId, StoreError, Stream, Tail};

/// Columns of an entry, in the order that [`entry`] reads.
macro_rules! entry_columns {
    () => {
        "sequence, at, link, head, body, crc"
    };
}
pub(super) use entry_columns;

/// A number that the database can hold; what is beyond its range is as good as its end.
pub(super) fn wide(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number in a column.
pub(super) fn number(row: &Row, column: usize) -> Result<u64, StoreError> {
    let value: i64 = row.try_get(column).map_err(|_| corrupt(row, column))?;
    u64::try_from(value).map_err(|_| corrupt(row, column))
}

/// Octets of a fixed length in a column.
pub(super) fn octets<const N: usize>(row: &Row, column: usize) -> Result<[u8; N], StoreError> {
    let value: &[u8] = row.try_get(column).map_err(|_| corrupt(row, column))?;
    value.try_into().map_err(|_| corrupt(row, column))
}

/// Octets of any length in a column.
pub(super) fn body(row: &Row, column: usize) -> Result<Bytes, StoreError> {
    row.try_get(column).map(Bytes::copy_from_slice).map_err(|_| corrupt(row, column))
}

/// An entry of a stream, from [`entry_columns`]; [`StoreError::Corrupt`] if it is not as it was written.
pub(super) fn entry(row: &Row, stream: Stream) -> Result<Entry, StoreError> {
    let entry = Entry {
        sequence: number(row, 0)?,
        at: number(row, 1)?,
        link: octets(row, 2)?,
        head: body(row, 3)?,
        body: body(row, 4)?,
    };
    check(row, 5, checksum::of_entry(stream, &entry))?;
    Ok(entry)
}

/// A stream and its tail, from `name, last, link`.
pub(super) fn tail(row: &Row) -> Result<(Stream, Tail), StoreError> {
    Ok((Stream::new(octets(row, 0)?), Tail { last: number(row, 1)?, link: octets(row, 2)? }))
}

/// A cursor, from two columns behind `first`.
pub(super) fn cursor(row: &Row, first: usize) -> Result<Cursor, StoreError> {
    Ok(Cursor { through: number(row, first)?, link: octets(row, first + 1)? })
}

/// The id of an answer.
pub(super) fn once_id(row: &Row, column: usize) -> Result<OnceId, StoreError> {
    OnceId::new(&body(row, column)?).ok_or_else(|| corrupt(row, column))
}

/// An answer with its time, from `at, digest, answer, crc` behind `first`; [`StoreError::Corrupt`] if it is not as it
/// was written.
pub(super) fn answered(row: &Row, first: usize, id: &OnceId) -> Result<(u64, Answered), StoreError> {
    let at = number(row, first)?;
    let answered = Answered { digest: octets(row, first + 1)?, answer: body(row, first + 2)? };
    check(row, first + 3, checksum::of_answer(id, at, &answered))?;
    Ok((at, answered))
}

// Rows of the release before have no checksum.
fn check(row: &Row, column: usize, crc: u32) -> Result<(), StoreError> {
    let kept: Option<i64> = row.try_get(column).map_err(|_| corrupt(row, column))?;
    if kept.is_some_and(|kept| kept != i64::from(crc)) {
        return Err(StoreError::Corrupt { what: "a row in the database whose checksum is wrong".into() });
    }
    Ok(())
}

fn corrupt(row: &Row, column: usize) -> StoreError {
    let name = row.columns().get(column).map_or("a column", |column| column.name());
    StoreError::Corrupt { what: format!("column {name} of a row in the database") }
}
