//! What segments say when they are read from the first to the last: all that the index knew, and what is not there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use bytes::Bytes;

use super::{
    gaps::{Dense, Missing},
    index::{Index, TOGETHER},
    ledger::Ledger,
    parts::Parts,
    record::{GROUP, Kind, Label, Record},
    row::{EntryRow, OnceRow, Row, cursor_key, entry_key, lost_key, once_keys, tail_key, when_key},
    rows::Rows,
    segment::{Place, Segments},
    state::State,
    walk::{Brought, Found, Stretch, Walk},
};
use crate::store::{Cursor, CursorName, OnceId, StoreError, Stream, Tail};

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// Entries that are whole and not purged.
    pub entries: u64,
    /// Answers that are whole.
    pub answers: u64,
    /// Octets that should be records and are not.
    pub damaged: Vec<Stretch>,
    /// The entries that this or a missing segment has cost.
    pub missing: Vec<Missing>,
    /// Records of the first format, which do not say what they are.
    pub unnamed: u64,
    /// Whether the first segment says what there was before it.
    pub is_complete: bool,
    /// A last group that was not written to its end, so nobody was answered.
    pub torn: Option<Stretch>,
    /// The last segment.
    pub newest: Option<u32>,
    pub(super) state: State,
}

impl Survey {
    /// Whether an index can be made from it that leads to all that was committed.
    #[must_use]
    pub fn is_lossless(&self) -> bool {
        self.is_complete && self.damaged.is_empty() && self.missing.is_empty() && self.unnamed == 0
    }

    /// Where streams end, as far as the segments say.
    pub fn tails(&self) -> impl Iterator<Item = (Stream, Tail)> {
        self.state.tails.iter().map(|(stream, tail)| (*stream, *tail))
    }

    /// Takes what is missing for lost, so that it is not looked for again.
    pub(super) fn give_up(&mut self) {
        let missing = self.missing.iter().map(|missing| ((missing.stream, missing.first), missing.last));
        self.state.lost.extend(missing);
    }

    /// Where a cursor stands, as far as the segments say.
    #[must_use]
    pub fn cursor(&self, name: CursorName) -> Cursor {
        self.state.cursors.get(&name).copied().unwrap_or_default()
    }

    /// Puts cursors, tails and losses into a batch.
    pub(super) fn rows(&self, rows: &mut Rows) {
        put_rows(&self.state, rows);
    }
}

fn put_rows(state: &State, rows: &mut Rows) {
    for (name, cursor) in &state.cursors {
        rows.insert(&cursor_key(*name), cursor.octets());
    }
    for (stream, tail) in &state.tails {
        rows.insert(&tail_key(*stream), tail.octets());
    }
    for ((stream, first), last) in &state.lost {
        rows.insert(&lost_key(*stream, *first), last.octets());
    }
}

impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lost: u64 = self.missing.iter().map(|missing| missing.last - missing.first + 1).sum();
        write!(
            f,
            "its segments have {} entries and {} answers; {} places are damaged and {lost} entries are missing",
            self.entries,
            self.answers,
            self.damaged.len()
        )?;
        if self.unnamed > 0 {
            write!(f, "; {} records are of the first format and name no stream", self.unnamed)?;
        }
        if !self.is_complete {
            write!(f, "; the first segments are gone")?;
        }
        Ok(())
    }
}

/// Reads segments into an index.
pub(super) struct Surveyor<'a> {
    index: &'a Index,
    segments: &'a Segments,
    ledger: Ledger,
    survey: Survey,
    rows: Rows,
    groups: u64,
}

impl<'a> Surveyor<'a> {
    /// Reads into an empty index.
    pub(super) fn new(index: &'a Index, segments: &'a Segments) -> Self {
        let (ledger, survey, rows) = (Ledger::default(), Survey::default(), Rows::default());
        Self { index, segments, ledger, survey, rows, groups: 0 }
    }

    /// Goes on with an index that has all that comes before.
    pub(super) fn resume(parts: &'a Parts, ledger: Ledger) -> Self {
        let state = State { tails: parts.tails.all_known(), ..State::default() };
        let survey = Survey { state, ..Survey::default() };
        Self {
            index: &parts.index,
            segments: &parts.segments,
            ledger,
            survey,
            rows: Rows::default(),
            groups: 0,
        }
    }

    /// Takes a group that the index does not have into it, as its commit would have: the last of them wait in memory for
    /// the next [`Index::settle`]. Gives whether the index had all that there was before: if not, nothing is changed.
    pub(super) fn commit(&mut self, group: Brought) -> Result<bool, StoreError> {
        let Some((place, octets)) = group.begins else { return Ok(true) };
        let before = group.before.as_ref().and_then(|record| State::parse(record.body.clone()));
        if let Some(before) = before {
            let has = |(name, cursor)| Ok(self.index.cursor(name)? == cursor);
            let cursors: Vec<bool> =
                before.cursors.into_iter().map(has).collect::<Result<_, StoreError>>()?;
            if before.tails != self.survey.state.tails || cursors.contains(&false) {
                return Ok(false);
            }
        }
        let mut moved = group.moves.as_ref().and_then(|record| State::parse(record.body.clone()));
        let moved = moved.get_or_insert_default();
        let entries = group.records.iter().filter_map(|(label, ..)| match label {
            Label::Entry { stream, .. } => Some(*stream),
            _ => None,
        });
        let streams: BTreeSet<Stream> = entries.collect();
        self.bring(group)?;
        let tails = &self.survey.state.tails;
        moved.tails.extend(streams.iter().filter_map(|stream| Some((*stream, *tails.get(stream)?))));
        self.ledger.reaches(place.segment, place.offset + octets);
        let mut rows = std::mem::take(&mut self.rows);
        put_rows(moved, &mut rows);
        self.ledger.settle(place.segment, &mut rows);
        if self.index.note(rows) >= TOGETHER {
            self.index.settle()?;
        }
        Ok(true)
    }

    /// What it has come to.
    pub(super) fn end(self) -> (Ledger, State) {
        (self.ledger, self.survey.state)
    }

    /// Reads all segments, in the order in which they were written.
    pub(super) fn survey(mut self) -> Result<(Ledger, Survey), StoreError> {
        let mut numbers = self.segments.list()?;
        numbers.sort_unstable();
        self.survey.newest = numbers.last().copied();
        let (mut group, mut begins_with_state, mut ends) = (Brought::default(), false, Vec::new());
        for (nth, segment) in numbers.iter().copied().enumerate() {
            let mut walk = Walk::new(self.segments, segment)?;
            let mut is_new = true;
            while let Some(found) = walk.step()? {
                // No group lies in two segments.
                let begins = std::mem::take(&mut is_new)
                    || matches!(&found, Found::Record(record, _) if record.kind() == Kind::Group);
                if begins || group.moves.is_some() {
                    self.apply(std::mem::take(&mut group))?;
                }
                match found {
                    Found::Record(record, place) => {
                        begins_with_state |= nth == 0 && is_first(&record, place);
                        group.take(record, place);
                    }
                    Found::Damaged(stretch) => group.damaged.push(stretch),
                }
            }
            ends.push((segment, walk.reached()));
        }
        self.finish(group)?;
        // Also what cannot be read belongs to a segment, and is not cut off at a start; what is torn does not.
        let torn = self.survey.torn.map(|torn| torn.segment);
        for (segment, end) in ends {
            if Some(segment) != torn && self.ledger.row(segment).is_some() {
                self.ledger.reaches(segment, end);
            }
        }
        self.forgive()?;
        self.survey.is_complete = begins_with_state || self.groups == 0;
        self.find_missing()?;
        Ok((self.ledger, self.survey))
    }

    /// The last group: nothing that follows shows that it was committed. If the file ends before it does, it was never
    /// on disk as a whole, and nobody was answered. If it has its length and other octets, somebody may have been: also
    /// of a group that fits into the last block, which has its length from the beginning.
    fn finish(&mut self, group: Brought) -> Result<(), StoreError> {
        let starts = match (group.begins, group.damaged.as_slice()) {
            (Some((place, octets)), _) => Some((place.segment, place.offset, octets)),
            (None, [stretch]) => Some((stretch.segment, stretch.offset, GROUP as u64)),
            (None, _) => None,
        };
        let Some((segment, offset, octets)) = starts else { return self.apply(group) };
        let end = self.segments.length(segment)?.unwrap_or(0);
        if offset + octets <= end {
            return self.apply(group);
        }
        self.survey.torn = Some(Stretch { segment, offset, octets: end - offset });
        Ok(())
    }

    fn apply(&mut self, mut group: Brought) -> Result<(), StoreError> {
        let before = group.before.take().and_then(|record| State::parse(record.body));
        if let Some(state) = before {
            self.take_state(state)?;
            self.index.stage(&std::mem::take(&mut self.rows))?;
        }
        self.bring(group)?;
        self.index.stage(&std::mem::take(&mut self.rows))
    }

    fn bring(&mut self, group: Brought) -> Result<(), StoreError> {
        self.groups += u64::from(!group.is_nothing());
        self.survey.damaged.extend(&group.damaged);
        self.survey.unnamed += group.bare;
        for (label, id, place) in group.records {
            match label {
                Label::Entry { stream, sequence, at, link } => {
                    self.entry((stream, sequence), EntryRow { place, at, link })?;
                }
                Label::Answer { at, digest } => self.answer(&id, OnceRow { place, at, digest })?,
                _ => {}
            }
        }
        if let Some((place, _)) = group.begins {
            self.ledger.add(Kind::Group, place);
        }
        let moves = group.moves.as_ref().and_then(|record| State::parse(record.body.clone()));
        if let Some(state) = moves {
            self.take_state(state)?;
        }
        Ok(())
    }

    fn entry(&mut self, (stream, sequence): (Stream, u64), row: EntryRow) -> Result<(), StoreError> {
        match self.index.entry(stream, sequence)? {
            Some(former) => self.ledger.release(Kind::Entry, former.place),
            None => self.survey.entries += 1,
        }
        self.ledger.add(Kind::Entry, row.place);
        self.rows.insert(&entry_key(stream, sequence), row.octets());
        let tail = self.survey.state.tails.entry(stream).or_default();
        if sequence > tail.last {
            *tail = Tail { last: sequence, link: row.link };
        }
        Ok(())
    }

    fn answer(&mut self, id: &Bytes, row: OnceRow) -> Result<(), StoreError> {
        let Some(id) = OnceId::new(id) else { return Ok(()) };
        match self.index.once(id.octets())? {
            Some(former) => {
                self.ledger.release(Kind::Answer, former.place);
                self.rows.remove(when_key(former.at, id.octets()));
            }
            None => self.survey.answers += 1,
        }
        self.ledger.add(Kind::Answer, row.place);
        let (by_id, by_time) = once_keys(&id, row.at);
        self.rows.insert(by_id, row.octets());
        self.rows.insert(by_time, &[]);
        Ok(())
    }

    fn take_state(&mut self, state: State) -> Result<(), StoreError> {
        // What is purged was in the index before this group.
        for (stream, through) in &state.purged {
            let purged = self.index.entries(*stream, 1, *through).collect::<Result<Vec<_>, _>>()?;
            for (sequence, row) in purged {
                self.ledger.release(Kind::Entry, row.place);
                self.rows.remove(&entry_key(*stream, sequence));
                self.survey.entries = self.survey.entries.saturating_sub(1);
            }
        }
        self.survey.state.extend(state);
        Ok(())
    }

    /// Takes what is replaced off the list of what is damaged.
    fn forgive(&mut self) -> Result<(), StoreError> {
        let State { tails, purged, .. } = &self.survey.state;
        let purged = purged_before(purged, |stream| tails.get(&stream).map_or(0, |tail| tail.last));
        let mut damaged = Vec::new();
        for stretch in std::mem::take(&mut self.survey.damaged) {
            if !is_replaced((self.index, self.segments), &purged, stretch)? {
                damaged.push(stretch);
            }
        }
        self.survey.damaged = damaged;
        Ok(())
    }

    /// Streams are dense: whatever is not between what was purged and the end was lost, now or before.
    fn find_missing(&mut self) -> Result<(), StoreError> {
        let State { tails, purged, lost, .. } = &self.survey.state;
        for (stream, tail) in tails {
            let behind = purged.get(stream).copied().unwrap_or(0);
            let mut dense = Dense::new(*stream, behind, lost);
            for row in self.index.entries(*stream, behind + 1, tail.last) {
                let (sequence, _) = row?;
                self.survey.missing.extend(dense.step(sequence));
            }
            self.survey.missing.extend(dense.step(tail.last + 1));
        }
        Ok(())
    }
}

/// How far streams were purged, and no further than whole records show that they go: where the last entry is damaged,
/// its number would be given again.
pub(super) fn purged_before(
    purged: &BTreeMap<Stream, u64>,
    end: impl Fn(Stream) -> u64,
) -> BTreeMap<Stream, u64> {
    purged.iter().map(|(stream, through)| (*stream, end(*stream).min(*through))).collect()
}

/// Whether damaged octets are what is left of an entry that was mended or purged, or of an answer that was carried on: then
/// nobody needs them. That they say so may be the damage; but then an entry is missing elsewhere.
pub(super) fn is_replaced(
    (index, segments): (&Index, &Segments),
    purged: &BTreeMap<Stream, u64>,
    Stretch { segment, offset, octets }: Stretch,
) -> Result<bool, StoreError> {
    let Ok(length) = u32::try_from(octets) else { return Ok(false) };
    let place = Place { segment, offset, length };
    let Some(record) = segments.remains(place) else { return Ok(false) };
    Ok(match record.label {
        Label::Entry { stream, sequence, .. } => {
            purged.get(&stream).is_some_and(|through| sequence <= *through)
                || index.entry(stream, sequence)?.is_some_and(|row| row.place != place)
        }
        Label::Answer { .. } => index.once(&record.head)?.is_some_and(|row| row.place != place),
        _ => false,
    })
}

fn is_first(record: &Record, place: Place) -> bool {
    // Behind the record that begins its group.
    record.kind() == Kind::State && place.offset < 64
}
