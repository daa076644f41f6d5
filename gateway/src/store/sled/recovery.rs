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
    let groups = groups_behind(parts, (newest, end), segments)?;
    let whole = groups.iter().take_while(|group| group.is_whole()).count();
    // A group begins only when the one before it was committed: one that is not whole must be the last.
    let index = parts.layout.index();
    let lost = || StoreError::Corrupt {
        what: format!("{}: it has lost commits that the segments hold", index.display()),
    };
    if groups.len() > whole + 1 {
        return Err(lost());
    }
    if whole == 0 {
        return Ok(ledger);
    }
    let mut surveyor = Surveyor::resume(parts, ledger);
    for group in groups.into_iter().take(whole) {
        if !surveyor.commit(group)? {
            return Err(lost());
        }
    }
    info!(groups = whole, "took what was written and not yet in the index");
    let (ledger, state) = surveyor.end();
    parts.tails.publish(state.tails);
    Ok(ledger)
}

/// The groups behind the last record that the index knows of; what is torn belongs to the one before it.
fn groups_behind(
    parts: &Parts,
    (newest, end): (u32, u64),
    segments: &[u32],
) -> Result<Vec<Brought>, StoreError> {
    let mut groups: Vec<Brought> = Vec::new();
    for segment in segments.iter().copied().filter(|segment| *segment >= newest) {
        let from = if segment == newest { end } else { 0 };
        let mut walk = Walk::behind(&parts.segments, segment, from)?;
        let mut is_new = true;
        while let Some(found) = walk.step()? {
            let begins = matches!(&found, Found::Record(record, _) if record.kind() == Kind::Group);
            if begins || is_new {
                groups.push(Brought::default());
                is_new = false;
            }
            let Some(group) = groups.last_mut() else { continue };
            match found {
                Found::Record(record, place) => group.take(record, place),
                Found::Damaged(stretch) => group.damaged.push(stretch),
            }
        }
    }
    Ok(groups)
}
