//! Writing a store to an archive, a page at a time.

use std::io::Write;

use super::frame::Writer;
use super::{ArchiveError, Contents, MARK};
use crate::store::{
    Entry, StoreError, Stream,
    upkeep::{Piece, Upkeep},
};

/// Octets that are read at once.
const PAGE: usize = 4 << 20;
/// Answers that are read at once.
const SOME: usize = 500;

/// Writes all of a store that nobody uses. Entries and answers that are damaged are left out and given to
/// `damaged`.
pub async fn export<W: Write + Send>(
    store: &dyn Upkeep,
    to: W,
    damaged: &mut (dyn FnMut(StoreError) + Send),
    progress: &mut (dyn FnMut(Contents) + Send),
) -> Result<(W, Contents), ArchiveError> {
    let mut writer = Writer::begin(to)?;
    let streams = store.streams().await?;
    for stream in &streams {
        let tail = *store.tail(*stream).borrow();
        let purged = store.oldest(*stream).await?.map_or(tail.last, |(first, _)| first - 1);
        writer.piece(&Piece::Stream { stream: *stream, tail, purged })?;
    }
    for stream in streams {
        let tail = *store.tail(stream).borrow();
        let mut last = store.oldest(stream).await?.map_or(tail.last, |(first, _)| first - 1);
        let mut after = last;
        while let Some(page) = page(store, stream, &mut after, damaged).await? {
            for entry in page {
                if entry.sequence > last + 1 {
                    writer.piece(&Piece::Lost { stream, first: last + 1, last: entry.sequence - 1 })?;
                }
                last = entry.sequence;
                writer.piece(&Piece::Entry { stream, entry })?;
            }
            progress(writer.contents());
        }
        if last < tail.last {
            writer.piece(&Piece::Lost { stream, first: last + 1, last: tail.last })?;
        }
    }
    for (name, cursor) in store.cursors().await?.into_iter().filter(|(name, _)| *name != MARK) {
        writer.piece(&Piece::Cursor { name, cursor })?;
    }
    let mut after = None;
    loop {
        let some = store.answers(after, SOME).await?;
        let Some(last) = some.last() else { break };
        after = Some(last.as_ref().map_or_else(|damaged| &damaged.id, |answer| &answer.id).clone());
        for answer in some {
            match answer {
                Ok(answer) => writer.piece(&Piece::Answer(answer))?,
                Err(answer) => damaged(StoreError::Corrupt { what: answer.to_string() }),
            }
        }
        progress(writer.contents());
    }
    writer.end()
}

/// The next entries that can be read; nothing at the end.
async fn page(
    store: &dyn Upkeep,
    stream: Stream,
    after: &mut u64,
    damaged: &mut (dyn FnMut(StoreError) + Send),
) -> Result<Option<Vec<Entry>>, ArchiveError> {
    loop {
        match store.after(stream, *after, PAGE).await {
            Ok(page) => {
                let Some(last) = page.last() else { return Ok(None) };
                *after = last.sequence;
                return Ok(Some(page));
            }
            Err(StoreError::Damaged { sequence, stream, what }) => {
                *after = sequence;
                damaged(StoreError::Damaged { sequence, stream, what });
            }
            Err(error) => return Err(error.into()),
        }
    }
}
