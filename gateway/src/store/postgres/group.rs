//! The changes that are kept in one transaction.
//!
//! Pure: what the database holds is an argument. Each change sees those before it, and is all in or all out: one
//! that is refused leaves no trace in the group.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::store::{
    Advance, Answered, Append, Change, Committed, Cursor, CursorName, ENTRY_LIMIT, Entry, LeaseName, Once,
    OnceId, StoreError, Stream, Tail,
};

/// Everything that some changes touch, in the order in which it is locked: the same for all who commit.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) leases: BTreeSet<LeaseName>,
    pub(super) cursors: BTreeSet<CursorName>,
    pub(super) streams: BTreeSet<Stream>,
    pub(super) ids: BTreeSet<OnceId>,
    /// Days of the entries, since 1970.
    pub(super) days: BTreeSet<i32>,
}

impl Touched {
    /// What these changes touch.
    pub(super) fn by(changes: &[Change]) -> Self {
        let mut touched = Self::default();
        for change in changes {
            touched.leases.extend(change.fence.map(|fence| fence.name));
            touched.cursors.extend(change.advances.iter().map(|advance| advance.cursor));
            touched.streams.extend(change.appends.iter().map(|append| append.stream));
            touched.ids.extend(change.once.iter().map(|once| once.id.clone()));
            touched.days.extend((!change.appends.is_empty()).then(|| day(change.at)));
        }
        touched
    }
}

/// The day of a time.
pub(super) fn day(at: u64) -> i32 {
    i32::try_from(at / 86_400).unwrap_or(i32::MAX)
}

/// What the database holds of it. What is not in here was never written.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) tokens: HashMap<LeaseName, u64>,
    pub(super) cursors: HashMap<CursorName, Cursor>,
    pub(super) tails: HashMap<Stream, Tail>,
    /// An answer that is damaged fails only who asks for it.
    pub(super) answers: HashMap<OnceId, Result<Answered, StoreError>>,
}

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) cursors: BTreeMap<CursorName, Cursor>,
    pub(super) tails: BTreeMap<Stream, Tail>,
    pub(super) answers: BTreeMap<OnceId, (u64, Answered)>,
    pub(super) entries: Vec<Fresh>,
}

/// An entry that has its number.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) stream: Stream,
    pub(super) entry: Entry,
}

impl Plan {
    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.cursors.is_empty() && self.answers.is_empty() && self.entries.is_empty()
    }
}

/// What becomes of each change if the plan is written.
pub(super) type Outcomes = Vec<Result<Committed, StoreError>>;

/// Takes the changes in one after the other, or refuses them.
pub(super) fn stage(view: &View, changes: &[Change]) -> (Plan, Outcomes) {
    let mut group = Group { view, plan: Plan::default() };
    let outcomes = changes.iter().map(|change| {
        // A number that panics is a defect of one stage, and spoils no other change.
        catch_unwind(AssertUnwindSafe(|| group.stage(change))).unwrap_or(Err(StoreError::Defect))
    });
    let outcomes = outcomes.collect();
    (group.plan, outcomes)
}

struct Group<'a> {
    view: &'a View,
    plan: Plan,
}

impl Group<'_> {
    fn stage(&mut self, change: &Change) -> Result<Committed, StoreError> {
        if let Some(answered) = change.once.iter().find_map(|once| self.known(&once.id).transpose()) {
            return answered.cloned().map(Committed::Before);
        }
        if change.fence.is_some_and(|fence| self.view.tokens.get(&fence.name) != Some(&fence.token)) {
            return Err(StoreError::Fenced);
        }
        let cursors = self.advanced(&change.advances)?;
        let (entries, tails) = self.numbered(change.at, &change.appends)?;
        // From here on nothing fails: the change is all in.
        self.plan.cursors.extend(cursors);
        self.plan.tails.extend(tails);
        for Once { id, digest, answer } in &change.once {
            let answered = Answered { digest: *digest, answer: answer.clone() };
            self.plan.answers.insert(id.clone(), (change.at, answered));
        }
        let sequences = entries.iter().map(|fresh| fresh.entry.sequence).collect();
        self.plan.entries.extend(entries);
        Ok(Committed::Done { sequences })
    }

    fn known(&self, id: &OnceId) -> Result<Option<&Answered>, StoreError> {
        if let Some((_, answered)) = self.plan.answers.get(id) {
            return Ok(Some(answered));
        }
        self.view.answers.get(id).map(|kept| kept.as_ref().map_err(Clone::clone)).transpose()
    }

    fn advanced(&self, advances: &[Advance]) -> Result<HashMap<CursorName, Cursor>, StoreError> {
        let mut moved = HashMap::new();
        for Advance { cursor, from, to } in advances {
            let staged = moved.get(cursor).or_else(|| self.plan.cursors.get(cursor));
            let stands = staged.or_else(|| self.view.cursors.get(cursor)).copied().unwrap_or_default();
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
        appends: &[Append],
    ) -> Result<(Vec<Fresh>, HashMap<Stream, Tail>), StoreError> {
        let mut tails = HashMap::new();
        let mut entries = Vec::with_capacity(appends.len());
        for Append { stream, number, body } in appends {
            let staged = tails.get(stream).or_else(|| self.plan.tails.get(stream));
            let tail = staged.or_else(|| self.view.tails.get(stream)).copied().unwrap_or_default();
            let numbered = number(tail);
            check_length(numbered.head.len() + body.len())?;
            let tail = Tail { last: tail.last + 1, link: numbered.link };
            tails.insert(*stream, tail);
            let (sequence, link, head) = (tail.last, tail.link, numbered.head);
            let entry = Entry { sequence, at, link, head, body: body.clone() };
            entries.push(Fresh { stream: *stream, entry });
        }
        Ok((entries, tails))
    }
}

fn check_length(found: usize) -> Result<(), StoreError> {
    if found > ENTRY_LIMIT { Err(StoreError::TooLarge { found, limit: ENTRY_LIMIT }) } else { Ok(()) }
}
