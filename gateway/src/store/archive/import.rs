//! Putting an archive into an empty store: all of it is checked before the first piece is written.

use std::io::{Read, Seek, SeekFrom};

use super::frame::Reader;
use super::{ArchiveError, Contents, MARK};
use crate::store::{
    Advance, Change, Cursor, Store,
    upkeep::{Piece, Upkeep},
};

/// Octets and pieces that are written at once.
const GROUP_OCTETS: usize = 8 << 20;
const GROUP_PIECES: usize = 2000;

const BEGUN: Cursor = Cursor { through: 1, link: [0; 32] };
const ENDED: Cursor = Cursor { through: 2, link: [0; 32] };

/// Reads an archive to its end, and says what is in it.
pub fn verify(from: impl Read) -> Result<Contents, ArchiveError> {
    let mut reader = Reader::begin(from)?;
    while reader.piece()?.is_some() {}
    Ok(reader.contents())
}

/// Whether an import into this store was begun and did not end: it must not be used.
pub async fn is_unfinished(store: &dyn Store) -> Result<bool, ArchiveError> {
    Ok(store.cursor(MARK).await? == BEGUN)
}

/// Puts an archive into a store that has nothing yet and that nobody uses.
pub async fn import<R: Read + Seek + Send>(
    mut from: R,
    store: &dyn Upkeep,
    progress: &mut (dyn FnMut(Contents) + Send),
) -> Result<Contents, ArchiveError> {
    check_empty(store).await?;
    let rewind = |source| ArchiveError::File { doing: "read", source };
    verify(&mut from)?;
    from.seek(SeekFrom::Start(0)).map_err(rewind)?;
    mark(store, Cursor::default(), BEGUN).await?;
    let mut reader = Reader::begin(from)?;
    let (mut pieces, mut octets) = (Vec::new(), 0);
    while let Some(piece) = reader.piece()? {
        octets += size(&piece);
        pieces.push(piece);
        if octets >= GROUP_OCTETS || pieces.len() >= GROUP_PIECES {
            store.restore(std::mem::take(&mut pieces)).await?;
            octets = 0;
            progress(reader.contents());
        }
    }
    store.restore(pieces).await?;
    mark(store, BEGUN, ENDED).await?;
    progress(reader.contents());
    Ok(reader.contents())
}

async fn check_empty(store: &dyn Upkeep) -> Result<(), ArchiveError> {
    if store.cursor(MARK).await? == BEGUN {
        return Err(ArchiveError::Unfinished);
    }
    let has_cursors = store.cursors().await?.iter().any(|(name, _)| *name != MARK);
    if has_cursors || !store.streams().await?.is_empty() || !store.answers(None, 1).await?.is_empty() {
        return Err(ArchiveError::NotEmpty);
    }
    Ok(())
}

async fn mark(store: &dyn Upkeep, from: Cursor, to: Cursor) -> Result<(), ArchiveError> {
    let advances = vec![Advance { cursor: MARK, from, to }];
    store.commit(Change { advances, ..Change::default() }).await?;
    Ok(())
}

fn size(piece: &Piece) -> usize {
    match piece {
        Piece::Entry { entry, .. } => entry.head.len() + entry.body.len(),
        Piece::Answer(answer) => answer.answer.len(),
        Piece::Stream { .. } | Piece::Lost { .. } | Piece::Cursor { .. } => 0,
    }
}
