//! The changes that go to disk together.
//!
//! Each change sees those before it, and is all in or all out: one that is refused leaves no trace in the group.

use std::collections::HashMap;

use super::{
    leases::{self, Held},
    parts::Parts,
    record::{Label, Record},
    row::{EntryRow, OnceRow, Row, cursor_key, entry_key, once_keys, tail_key},
    rows::Rows,
    state::State,
    writer::{Draft, Effects},
};
use crate::store::{
    Advance, Append, Change, Cursor, CursorName, Entry, Once, OnceId, StoreError, Stream, Tail,
};

/// What is staged on top of what is on disk.
pub(super) struct Group<'a> {
    parts: &'a Parts,
    held: &'a Held,
    draft: Draft,
    rows: Rows,
    tails: HashMap<Stream, Tail>,
    cursors: HashMap<CursorName, Cursor>,
    once: HashMap<OnceId, OnceRow>,
    entries: Vec<(Stream, Entry)>,
}

/// What becomes of a change, once its group is on disk.
#[derive(Debug)]
pub(super) enum Staged {
    /// It is kept.
    Done {
        /// The numbers of its entries.
        sequences: Vec<u64>,
    },
    /// It was kept earlier.
    Before(OnceRow),
}

/// What a group puts on disk.
pub(super) struct Plan {
    pub(super) draft: Draft,
    pub(super) effects: Effects,
    pub(super) tails: HashMap<Stream, Tail>,
    pub(super) cursors: HashMap<CursorName, Cursor>,
    pub(super) entries: Vec<(Stream, Entry)>,
}

/// An entry that has its number.
struct Fresh {
    stream: Stream,
    tail: Tail,
    at: u64,
    record: Record,
}

impl<'a> Group<'a> {
    /// A group without changes.
    pub(super) fn new(parts: &'a Parts, held: &'a Held, draft: Draft) -> Self {
        let (tails, cursors, once) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { parts, held, draft, rows: Rows::default(), tails, cursors, once, entries: Vec::new() }
    }

    /// Takes a change in, or refuses it.
    pub(super) fn stage(&mut self, change: Change) -> Result<Staged, StoreError> {
        let Change { at, fence, once, advances, appends, room: _ } = change;
        if let Some(row) = once.iter().find_map(|once| self.known(&once.id).transpose()) {
            return row.map(Staged::Before);
        }
        if fence.is_some_and(|fence| !leases::stands(self.held, fence)) {
            return Err(StoreError::Fenced);
        }
        let answers = once.into_iter().map(|once| answer_record(at, &once).map(|record| (once, record)));
        let answers = answers.collect::<Result<Vec<_>, _>>()?;
        let cursors = self.advanced(&advances)?;
        let (entries, tails) = self.numbered(at, appends)?;
        // From here on nothing fails: the change is all in.
        self.cursors.extend(cursors);
        self.tails.extend(tails);
        answers.into_iter().for_each(|(once, record)| self.keep_answer(at, once, record));
        let sequences = entries.iter().map(|entry| entry.tail.last).collect();
        entries.into_iter().for_each(|entry| self.keep_entry(entry));
        Ok(Staged::Done { sequences })
    }

    /// What to put on disk, if there is anything.
    pub(super) fn plan(mut self) -> Option<Plan> {
        if self.draft.is_empty() && self.cursors.is_empty() {
            return None;
        }
        for (stream, tail) in &self.tails {
            self.rows.insert(&tail_key(*stream), tail.octets());
        }
        for (name, cursor) in &self.cursors {
            self.rows.insert(&cursor_key(*name), cursor.octets());
        }
        let Self { draft, rows, tails, cursors, entries, .. } = self;
        let moves = State { cursors: cursors.clone().into_iter().collect(), ..State::default() };
        let effects = Effects { rows, moves, released: Vec::new() };
        Some(Plan { draft, effects, tails, cursors, entries })
    }

    fn known(&self, id: &OnceId) -> Result<Option<OnceRow>, StoreError> {
        match self.once.get(id) {
            Some(row) => Ok(Some(*row)),
            None => self.parts.index.once(id.octets()),
        }
    }

    fn advanced(&self, advances: &[Advance]) -> Result<HashMap<CursorName, Cursor>, StoreError> {
        let mut moved = HashMap::new();
        for Advance { cursor, from, to } in advances {
            let stands = match moved.get(cursor).or_else(|| self.cursors.get(cursor)) {
                Some(stands) => *stands,
                None => self.parts.cursors.now(*cursor),
            };
            if to.through < from.through {
                return Err(StoreError::Backwards);
            }
            if stands != *from {
                return Err(StoreError::Moved);
            }
            moved.insert(*cursor, *to);
        }
        Ok(moved)
    }

    fn numbered(
        &self,
        at: u64,
        appends: Vec<Append>,
    ) -> Result<(Vec<Fresh>, HashMap<Stream, Tail>), StoreError> {
        let mut tails = HashMap::new();
        let mut entries = Vec::with_capacity(appends.len());
        for Append { stream, number, body } in appends {
            let known = tails.get(&stream).or_else(|| self.tails.get(&stream)).copied();
            let tail = known.unwrap_or_else(|| self.parts.tails.now(stream));
            let numbered = number(tail);
            let tail = Tail { last: tail.last + 1, link: numbered.link };
            let label = Label::Entry { stream, sequence: tail.last, at, link: tail.link };
            let record = Record::new(label, numbered.head, body)?;
            tails.insert(stream, tail);
            entries.push(Fresh { stream, tail, at, record });
        }
        Ok((entries, tails))
    }

    fn keep_answer(&mut self, at: u64, once: Once, record: Record) {
        let row = OnceRow { place: self.draft.push(record), at, digest: once.digest };
        let (by_id, by_time) = once_keys(&once.id, at);
        self.rows.insert(by_id, row.octets());
        self.rows.insert(by_time, &[]);
        self.once.insert(once.id, row);
    }

    fn keep_entry(&mut self, entry: Fresh) {
        let Fresh { stream, tail, at, record } = entry;
        let (head, body) = (record.head.clone(), record.body.clone());
        self.entries.push((stream, Entry { sequence: tail.last, at, link: tail.link, head, body }));
        let row = EntryRow { place: self.draft.push(record), at, link: tail.link };
        self.rows.insert(&entry_key(stream, tail.last), row.octets());
    }
}

fn answer_record(at: u64, once: &Once) -> Result<Record, StoreError> {
    Record::new(Label::Answer { at, digest: once.digest }, once.id.0.clone(), once.answer.clone())
}
