//! Writing what had its number before: an entry whose octets were damaged, and all of another store.

use bytes::Bytes;

use super::{
    parts::Parts,
    record::{Kind, Label, Record},
    row::{EntryRow, OnceRow, Row, cursor_key, entry_key, lost_key, once_keys, tail_key},
    state::State,
    writer::{Draft, Effects, Writer},
};
use crate::store::{
    Entry, StoreError, Stream,
    upkeep::{KeptAnswer, Piece},
};

/// An entry to write again.
#[derive(Debug)]
pub(super) struct Mend {
    pub(super) stream: Stream,
    pub(super) sequence: u64,
    pub(super) head: Bytes,
    pub(super) body: Bytes,
}

impl Mend {
    /// Writes it, and lets the index point there; nothing if it was purged meanwhile.
    pub(super) fn keep(self, parts: &Parts, writer: &mut Writer) -> Result<(), StoreError> {
        let Self { stream, sequence, head, body } = self;
        if let Some(row) = parts.index.entry(stream, sequence)? {
            let mut draft = writer.draft()?;
            let label = Label::Entry { stream, sequence, at: row.at, link: row.link };
            let place = draft.push(Record::new(label, head, body)?);
            let mut effects = Effects::default();
            effects.rows.insert(&entry_key(stream, sequence), EntryRow { place, ..row }.octets());
            effects.released.push((Kind::Entry, row.place));
            writer.keep(draft, effects)?;
        }
        parts.damage.forget(stream, sequence, sequence);
        Ok(())
    }
}

/// Writes pieces of another store in one group.
pub(super) fn restore(parts: &Parts, writer: &mut Writer, pieces: Vec<Piece>) -> Result<(), StoreError> {
    let mut restored = Restored { draft: writer.draft()?, effects: Effects::default() };
    for piece in pieces {
        restored.take(piece)?;
    }
    let Restored { draft, effects } = restored;
    let State { tails, cursors, .. } = effects.moves.clone();
    writer.keep(draft, effects)?;
    parts.publish(tails, cursors);
    Ok(())
}

struct Restored {
    draft: Draft,
    effects: Effects,
}

impl Restored {
    fn take(&mut self, piece: Piece) -> Result<(), StoreError> {
        let Effects { rows, moves, .. } = &mut self.effects;
        match piece {
            Piece::Stream { stream, tail, purged } => {
                rows.insert(&tail_key(stream), tail.octets());
                moves.tails.insert(stream, tail);
                moves.purged.insert(stream, purged);
            }
            Piece::Entry { stream, entry: Entry { sequence, at, link, head, body } } => {
                let label = Label::Entry { stream, sequence, at, link };
                let place = self.draft.push(Record::new(label, head, body)?);
                rows.insert(&entry_key(stream, sequence), EntryRow { place, at, link }.octets());
            }
            Piece::Lost { stream, first, last } => {
                rows.insert(&lost_key(stream, first), last.octets());
                moves.lost.insert((stream, first), last);
            }
            Piece::Cursor { name, cursor } => {
                rows.insert(&cursor_key(name), cursor.octets());
                moves.cursors.insert(name, cursor);
            }
            Piece::Answer(KeptAnswer { id, at, digest, answer }) => {
                let record = Record::new(Label::Answer { at, digest }, id.0.clone(), answer)?;
                let row = OnceRow { place: self.draft.push(record), at, digest };
                let (by_id, by_time) = once_keys(&id, at);
                rows.insert(by_id, row.octets());
                rows.insert(by_time, &[]);
            }
        }
        Ok(())
    }
}
