//! Reads everything that a store has, and compares all that says the same thing twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    SledStore,
    gaps::{Dense, Missing},
    parts::Parts,
    record::{Kind, Label},
    row::SegmentRow,
    state::State,
    survey,
    walk::{Found, Stretch, Walk},
};
use crate::store::{OnceId, StoreError, Stream};

/// Answers that are looked at together.
const SOME: usize = 1000;

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The octets of an entry.
    Entry {
        /// Of which stream.
        stream: Stream,
        /// Its number.
        sequence: u64,
        /// The file, with the offset.
        what: String,
    },
    /// Entries between others that are not there.
    Missing {
        /// Of which stream.
        stream: Stream,
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// The link of a stream's last entry is not that of its tail.
    Tail {
        /// Which stream.
        stream: Stream,
    },
    /// The octets of an answer.
    Answer {
        /// Under which id.
        id: OnceId,
        /// The file, with the offset.
        what: String,
    },
    /// Answers that cannot be found by their time, or times of no answer.
    Times {
        /// How many differ.
        count: u64,
    },
    /// The index counts other records of a segment than it has rows for.
    Counter {
        /// Which segment.
        segment: u32,
    },
    /// Octets that only who makes an index anew needs: what begins or ends what was committed together.
    Frame(Stretch),
    /// Octets that nothing leads to any more.
    Waste(Stretch),
}

impl Finding {
    /// Whether the store works as if it were not there.
    #[must_use]
    pub fn is_harmless(&self) -> bool {
        matches!(self, Self::Waste(_))
    }
}

impl From<Missing> for Finding {
    fn from(Missing { stream, first, last }: Missing) -> Self {
        Self::Missing { stream, first, last }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry { stream, sequence, what } => {
                write!(f, "entry {sequence} of stream {stream} is damaged at {what}")
            }
            Self::Missing { stream, first, last } => {
                write!(f, "entries {first} to {last} of stream {stream} are not there")
            }
            Self::Tail { stream } => write!(f, "the link of stream {stream} is not that of its last entry"),
            Self::Answer { id, what } => {
                write!(f, "the answer under id ")?;
                id.octets().iter().try_for_each(|octet| write!(f, "{octet:02x}"))?;
                write!(f, " is damaged at {what}")
            }
            Self::Times { count } => write!(f, "{count} answers are not found by their time"),
            Self::Counter { segment } => write!(f, "the index counts segment {segment} wrongly"),
            Self::Frame(Stretch { segment, offset, octets }) => {
                write!(
                    f,
                    "{octets} octets of segment {segment} at offset {offset} are damaged; the index leads past them, but could not be made anew without them"
                )
            }
            Self::Waste(Stretch { segment, offset, octets }) => {
                write!(
                    f,
                    "{octets} octets of segment {segment} at offset {offset} are damaged; nothing needs them"
                )
            }
        }
    }
}

/// What was looked at so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Entries.
    pub entries: u64,
    /// Answers.
    pub answers: u64,
    /// Octets of segments.
    pub octets: u64,
}

impl SledStore {
    /// Reads all of it, and gives what is wrong. It blocks; nobody writes meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if the index cannot be read: then it has to be made anew.
    pub fn verify(&self, progress: &mut dyn FnMut(Seen)) -> Result<(Seen, Vec<Finding>), StoreError> {
        let mut check = Check::new(&self.parts, progress);
        check.entries()?;
        check.answers()?;
        check.counters()?;
        check.segments()?;
        Ok((check.seen, check.findings))
    }
}

struct Check<'a> {
    parts: &'a Parts,
    progress: &'a mut dyn FnMut(Seen),
    seen: Seen,
    findings: Vec<Finding>,
    /// Where damaged records of rows lie.
    damaged: BTreeSet<(u32, u64)>,
    /// The first entry that each stream has a row for.
    first: BTreeMap<Stream, u64>,
    counted: BTreeMap<u32, SegmentRow>,
}

impl<'a> Check<'a> {
    fn new(parts: &'a Parts, progress: &'a mut dyn FnMut(Seen)) -> Self {
        let (seen, findings) = (Seen::default(), Vec::new());
        let (damaged, first, counted) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        Self { parts, progress, seen, findings, damaged, first, counted }
    }

    fn entries(&mut self) -> Result<(), StoreError> {
        let lost = self.parts.index.lost()?;
        for (stream, tail) in self.parts.tails.all_known() {
            let mut dense: Option<Dense<'_>> = None;
            let mut last = None;
            for row in self.parts.index.entries(stream, 1, tail.last) {
                let (sequence, row) = row?;
                self.counted.entry(row.place.segment).or_default().add(Kind::Entry, row.place.length);
                self.first.entry(stream).or_insert(sequence);
                let dense = dense.get_or_insert_with(|| Dense::new(stream, sequence - 1, &lost));
                self.findings.extend(dense.step(sequence).map(Finding::from));
                last = Some((sequence, row.link));
                match self.parts.find(stream, sequence) {
                    Ok(_) => {}
                    Err(StoreError::Damaged { stream, sequence, what }) => {
                        self.damaged.insert((row.place.segment, row.place.offset));
                        self.findings.push(Finding::Entry { stream, sequence, what });
                    }
                    Err(error) => return Err(error),
                }
                self.seen.entries += 1;
                (self.progress)(self.seen);
            }
            if last.is_some_and(|(sequence, link)| sequence == tail.last && link != tail.link) {
                self.findings.push(Finding::Tail { stream });
            }
            let rest = dense.and_then(|mut dense| dense.step(tail.last + 1));
            self.findings.extend(rest.map(Finding::from));
        }
        Ok(())
    }

    fn answers(&mut self) -> Result<(), StoreError> {
        let (mut after, mut unfound) = (None, 0);
        loop {
            let some = self.parts.index.once_after(after.as_ref(), SOME)?;
            let Some((last, _)) = some.last() else { break };
            after = Some(last.clone());
            for (id, row) in some {
                self.counted.entry(row.place.segment).or_default().add(Kind::Answer, row.place.length);
                unfound += u64::from(!self.parts.index.has_time(row.at, &id)?);
                match self.parts.once(&id) {
                    Ok(_) => {}
                    Err(StoreError::Corrupt { what }) => {
                        self.damaged.insert((row.place.segment, row.place.offset));
                        self.findings.push(Finding::Answer { id, what });
                    }
                    Err(error) => return Err(error),
                }
                self.seen.answers += 1;
                (self.progress)(self.seen);
            }
        }
        let count = unfound + self.parts.index.times()?.abs_diff(self.seen.answers - unfound);
        if count > 0 {
            self.findings.push(Finding::Times { count });
        }
        Ok(())
    }

    fn counters(&mut self) -> Result<(), StoreError> {
        let known: BTreeMap<u32, SegmentRow> = self.parts.index.segments()?.into_iter().collect();
        let segments: BTreeSet<u32> = known.keys().chain(self.counted.keys()).copied().collect();
        for segment in segments {
            let known = known.get(&segment).copied().unwrap_or_default();
            let counted = self.counted.get(&segment).copied().unwrap_or_default();
            if (SegmentRow { end: known.end, ..counted }) != known {
                self.findings.push(Finding::Counter { segment });
            }
        }
        Ok(())
    }

    fn segments(&mut self) -> Result<(), StoreError> {
        let mut numbers = self.parts.segments.list()?;
        numbers.sort_unstable();
        let (mut said, mut stretches, mut ends) = (None::<State>, Vec::new(), BTreeMap::new());
        for segment in numbers {
            let mut walk = Walk::new(&self.parts.segments, segment)?;
            while let Some(found) = walk.step()? {
                match found {
                    Found::Record(record, place) => {
                        self.seen.octets += u64::from(place.length);
                        if let Label::Entry { stream, sequence, .. } = record.label {
                            raise(&mut ends, stream, sequence);
                        }
                        let state = matches!(record.kind(), Kind::State | Kind::Committed);
                        let state = state.then(|| State::parse(record.body)).flatten();
                        said = state.into_iter().fold(said, |said, state| Some(later(said, state)));
                    }
                    Found::Damaged(stretch) => {
                        self.seen.octets += stretch.octets;
                        stretches.push(stretch);
                    }
                }
                (self.progress)(self.seen);
            }
        }
        stretches.retain(|stretch| !self.damaged.contains(&(stretch.segment, stretch.offset)));
        let State { tails, purged, .. } = said.clone().unwrap_or_default();
        tails.iter().for_each(|(stream, tail)| raise(&mut ends, *stream, tail.last));
        let replaced = survey::purged_before(&purged, |stream| ends.get(&stream).copied().unwrap_or(0));
        for stretch in &stretches {
            let kept = (&self.parts.index, &self.parts.segments);
            let is_waste = survey::is_replaced(kept, &replaced, *stretch)?;
            self.findings.push(if is_waste { Finding::Waste(*stretch) } else { Finding::Frame(*stretch) });
        }
        // What was purged may be what cannot be read, and segments of the first format do not say it.
        if said.is_some() && stretches.is_empty() { self.beginnings(&purged) } else { Ok(()) }
    }

    /// Finds entries before the first that a stream has a row for, and that were not purged.
    fn beginnings(&mut self, purged: &BTreeMap<Stream, u64>) -> Result<(), StoreError> {
        let lost = self.parts.index.lost()?;
        for (stream, tail) in self.parts.tails.all_known() {
            let behind = purged.get(&stream).copied().unwrap_or(0);
            let first = self.first.get(&stream).copied().unwrap_or(tail.last + 1);
            self.findings.extend(Dense::new(stream, behind, &lost).step(first).map(Finding::from));
        }
        Ok(())
    }
}

fn raise(ends: &mut BTreeMap<Stream, u64>, stream: Stream, last: u64) {
    let end = ends.entry(stream).or_insert(last);
    *end = last.max(*end);
}

fn later(said: Option<State>, state: State) -> State {
    let mut said = said.unwrap_or_default();
    said.extend(state);
    said
}
