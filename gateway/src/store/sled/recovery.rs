//! What a start makes of segments that hold more than the index knows of.
//!
//! A kill leaves a group that is in a segment and not in the index; and sled takes a damaged log for a shorter one, so
//! the index may have lost more. Whoever cut them off would lose what was answered, use numbers again and unlink what
//! peers still need. So every group that is whole is taken into the index, as if its commit had just ended, and only
//! what is torn is cut off: nobody was answered for it.

use tracing::{debug, info};

use super::{
    ledger::Ledger,
    parts::Parts,
    record::Kind,
    rows::Rows,
    survey::Surveyor,
    walk::{Brought, Found, Walk},
};
use crate::store::StoreError;

/// Takes in what the index does not know of, cuts every segment behind that, and removes those of which nothing is
/// needed.
pub(super) fn recover(parts: &Parts, ledger: Ledger) -> Result<Ledger, StoreError> {
    let mut segments = parts.segments.list()?;
    segments.sort_unstable();
    let ledger = forward(parts, ledger, &segments)?;
    for (segment, row) in ledger.iter() {
        parts.segments.cut(segment, row.end)?;
    }
    for segment in segments.into_iter().filter(|segment| ledger.row(*segment).is_none()) {
        debug!(segment, "removed a segment of which nothing is needed");
        parts.segments.unlink(segment)?;
    }
    Ok(ledger)
}

fn forward(parts: &Parts, ledger: Ledger, segments: &[u32]) -> Result<Ledger, StoreError> {
    let (newest, end) = ledger.newest().map_or((0, 0), |(segment, row)| (segment, row.end));
    let mut forward = Forward { parts, surveyor: Surveyor::resume(parts, ledger), last: None, taken: 0 };
    for segment in segments.iter().copied().filter(|segment| *segment >= newest) {
        let from = if segment == newest { end } else { 0 };
        let mut walk = Walk::behind(&parts.segments, segment, from)?;
        let mut is_new = true;
        while let Some(found) = walk.step()? {
            forward.step(found, std::mem::take(&mut is_new))?;
        }
    }
    forward.end()
}

/// A walk through the groups behind the last record that the index knows of.
struct Forward<'a> {
    parts: &'a Parts,
    surveyor: Surveyor<'a>,
    /// The group that is being read; what is torn belongs to it.
    last: Option<Brought>,
    taken: u64,
}

impl Forward<'_> {
    fn step(&mut self, found: Found, is_new: bool) -> Result<(), StoreError> {
        let begins = matches!(&found, Found::Record(record, _) if record.kind() == Kind::Group);
        // Whatever lies behind a whole group belongs to the next one, even if the beginning of that was torn off.
        let ended = self.last.as_ref().is_some_and(Brought::is_whole);
        if (begins || is_new || ended)
            && let Some(group) = self.last.replace(Brought::default())
        {
            // A group begins only when the one before it was committed.
            self.take(group)?;
        }
        let group = self.last.get_or_insert_default();
        match found {
            Found::Record(record, place) => group.take(record, place),
            Found::Damaged(stretch) => group.damaged.push(stretch),
        }
        Ok(())
    }

    fn take(&mut self, group: Brought) -> Result<(), StoreError> {
        if !group.is_whole() || !self.surveyor.commit(group)? {
            let what = format!(
                "{}: it has lost commits that the segments hold",
                self.parts.layout.index().display()
            );
            return Err(StoreError::Corrupt { what });
        }
        self.taken += 1;
        Ok(())
    }

    /// Takes the last group if it is whole, and puts all of them on disk at once.
    fn end(mut self) -> Result<Ledger, StoreError> {
        if let Some(group) = self.last.take()
            && group.is_whole()
        {
            self.take(group)?;
        }
        let (ledger, state) = self.surveyor.end();
        if self.taken > 0 {
            self.parts.index.apply(Rows::default())?;
            self.parts.tails.publish(state.tails);
            info!(groups = self.taken, "took what was written and not yet in the index");
        }
        Ok(ledger)
    }
}
