//! Removing what is no longer needed, in steps that commits can go between.

use tokio::sync::oneshot;

use super::{
    parts::Parts,
    record::{Kind, Label, Record},
    row::{OnceRow, Row, entry_key, id_of, once_key},
    segment::Place,
    walk::Walk,
    writer::{Effects, Writer},
};
use crate::store::{StoreError, Stream};

/// Entries or answers that one step removes.
const STEP: usize = 1000;
/// Octets of answers that one step carries on, and records that it looks at.
const CARRIED: u64 = 4 << 20;
const SEEN: usize = 4096;

/// Something to remove, and who waits for it.
#[derive(Debug)]
pub(super) struct Sweep {
    /// What to remove.
    pub(super) what: What,
    /// How many are removed already.
    pub(super) removed: u64,
    /// Gets how many were removed in all.
    pub(super) reply: oneshot::Sender<Result<u64, StoreError>>,
}

/// What to remove.
#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    /// Entries up to a number.
    Entries {
        /// Of this stream.
        stream: Stream,
        /// The last one to remove.
        through: u64,
    },
    /// Answers from before a time.
    Answers {
        /// Unix seconds.
        before: u64,
    },
}

/// What a step has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// How many it removed.
    pub(super) removed: usize,
    /// Whether there may be more.
    pub(super) more: bool,
}

/// Removes some of what there is to remove.
pub(super) fn step(parts: &Parts, writer: &mut Writer, what: What) -> Result<Step, StoreError> {
    let mut effects = Effects::default();
    let removed = match what {
        What::Entries { stream, through } => entries(parts, &mut effects, (stream, through))?,
        What::Answers { before } => answers(parts, &mut effects, before)?,
    };
    if removed > 0 {
        writer.keep_effects(effects)?;
    }
    Ok(Step { removed, more: removed == STEP })
}

fn entries(
    parts: &Parts,
    effects: &mut Effects,
    (stream, through): (Stream, u64),
) -> Result<usize, StoreError> {
    parts.recent.purge(stream, through);
    let found = parts.index.entries(stream, 1, through).take(STEP).collect::<Result<Vec<_>, _>>()?;
    for (sequence, row) in &found {
        effects.rows.remove(&entry_key(stream, *sequence));
        effects.released.push((Kind::Entry, row.place));
    }
    if let Some((last, _)) = found.last() {
        effects.moves.purged.insert(stream, *last);
    }
    Ok(found.len())
}

// That they are forgotten is not written to a segment: an answer that comes back with a new index is forgotten again.
fn answers(parts: &Parts, effects: &mut Effects, before: u64) -> Result<usize, StoreError> {
    let found = parts.index.once_before(before, STEP)?;
    for key in &found {
        let id = id_of(key).unwrap_or_default();
        if let Some(row) = parts.index.once(id)? {
            effects.rows.remove(once_key(id));
            effects.released.push((Kind::Answer, row.place));
        }
        effects.rows.remove(key);
    }
    Ok(found.len())
}

/// A walk through a segment whose entries are all gone, to carry its few answers on to the active one.
///
/// Answers are kept longer than entries. Without this each would hold a whole segment of purged bodies on disk.
#[derive(Debug)]
pub(super) struct Carry {
    segment: u32,
    offset: u64,
}

impl Carry {
    /// A walk through the first segment behind number `behind` that is worth it, if there is one.
    pub(super) fn next(writer: &Writer, behind: u32) -> Option<Self> {
        writer.sparse(behind).map(|segment| Self { segment, offset: 0 })
    }

    /// Carries some answers on; gives back what is left to do.
    pub(super) fn step(mut self, parts: &Parts, writer: &mut Writer) -> Result<Option<Self>, StoreError> {
        let end = writer.end_of(self.segment);
        let mut found = Vec::new();
        let (mut octets, mut seen) = (0, 0);
        while self.offset < end && octets < CARRIED && seen < SEEN {
            seen += 1;
            let (kind, place) = match parts.segments.glance(self.segment, self.offset) {
                Ok(Some(found)) => found,
                Ok(None) => break,
                // What is behind it is whole, and must not hold its space for it.
                Err(StoreError::Corrupt { .. }) => {
                    self.offset = Walk::behind(&parts.segments, self.segment, self.offset)?.resume()?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(answer) = live_answer(parts, kind, place)? {
                octets += u64::from(place.length);
                found.push(answer);
            }
            self.offset += u64::from(place.length);
        }
        move_answers(writer, found)?;
        if self.offset < end && seen > 0 { Ok(Some(self)) } else { Ok(Self::next(writer, self.segment)) }
    }
}

fn live_answer(parts: &Parts, kind: Kind, place: Place) -> Result<Option<(Record, OnceRow)>, StoreError> {
    if kind != Kind::Answer {
        return Ok(None);
    }
    let record = match parts.segments.read(place) {
        Ok(Some(record)) => record,
        // It stays where it is until it is forgotten.
        Ok(None) | Err(StoreError::Corrupt { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let row = parts.index.once(&record.head)?.filter(|row| row.place == place);
    Ok(row.map(|row| (record, row)))
}

fn move_answers(writer: &mut Writer, found: Vec<(Record, OnceRow)>) -> Result<(), StoreError> {
    if found.is_empty() {
        return Ok(());
    }
    let mut draft = writer.draft()?;
    let mut effects = Effects::default();
    for (record, row) in found {
        effects.released.push((Kind::Answer, row.place));
        let key = once_key(&record.head);
        let label = Label::Answer { at: row.at, digest: row.digest };
        let place = draft.push(Record::new(label, record.head, record.body)?);
        effects.rows.insert(key, OnceRow { place, ..row }.octets());
    }
    writer.keep(draft, effects)
}
