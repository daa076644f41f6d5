//! What a start makes of segments that hold more than the index knows of.
//!
//! A kill leaves at most one group that is in a segment and not in the index: nobody was answered, so it is cut
//! off. More than one means that the index has lost commits, because a group begins only when the one before it is
//! in the index. sled takes a damaged log for a shorter one, so this is the only sign of it; and whoever went on
//! would use numbers again and unlink what peers still need.

use tracing::debug;

use super::{
    ledger::Ledger,
    parts::Parts,
    record::{Kind, Record},
    segment::Place,
};
use crate::store::StoreError;

/// Cuts every segment to what the index knows of it, and removes those that it does not know.
pub(super) fn trim(parts: &Parts, ledger: &Ledger) -> Result<(), StoreError> {
    let mut segments = parts.segments.list()?;
    segments.sort_unstable();
    if groups_behind(parts, ledger, &segments)? > 1 {
        let index = parts.layout.index();
        let what = format!("{}: it has lost commits that the segments hold", index.display());
        return Err(StoreError::Corrupt { what });
    }
    for (segment, row) in ledger.iter() {
        parts.segments.cut(segment, row.end)?;
    }
    for segment in segments.into_iter().filter(|segment| ledger.row(*segment).is_none()) {
        debug!(segment, "removed a segment of which nothing is needed");
        parts.segments.unlink(segment)?;
    }
    Ok(())
}

/// How many whole beginnings of groups there are behind the last record that the index knows of.
fn groups_behind(parts: &Parts, ledger: &Ledger, segments: &[u32]) -> Result<u32, StoreError> {
    let (newest, end) = ledger.newest().map_or((0, 0), |(segment, row)| (segment, row.end));
    let mut groups = 0;
    for segment in segments.iter().copied().filter(|segment| *segment >= newest) {
        let mut offset = if segment == newest { end } else { 0 };
        while let Some((record, place)) = whole_record(parts, segment, offset)? {
            groups += u32::from(record.kind() == Kind::Group);
            offset += u64::from(place.length);
        }
    }
    Ok(groups)
}

fn whole_record(parts: &Parts, segment: u32, offset: u64) -> Result<Option<(Record, Place)>, StoreError> {
    let read = || match parts.segments.glance(segment, offset)? {
        Some((_, place)) => Ok(parts.segments.read(place)?.map(|record| (record, place))),
        None => Ok(None),
    };
    match read() {
        // Where the last write was torn.
        Err(StoreError::Corrupt { .. }) => Ok(None),
        read => read,
    }
}
