//! 8: keep what was verified once per origin and sequence; entries and cursors move in one commit (invariant 6).

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::ids::{Authority, CountryCode};

use super::verify::VerifiedBatch;
use crate::names;
use crate::node::Node;
use crate::store::{Advance, Append, Change, Cursor, CursorName, Fence, Numbered, StoreError};

/// Keeps the batches of one page of an origin, which follow `from`, while we hold the lease for it.
pub async fn keep(
    node: &Node,
    origin: CountryCode,
    (from, fence): (Cursor, Fence),
    batches: &[VerifiedBatch],
) -> Result<Cursor, StoreError> {
    let Some(last) = batches.last() else { return Ok(from) };
    let to = last.cursor();
    let mut advances = vec![Advance { cursor: names::pulled(origin), from, to }];
    for (authority, to) in last_of_each_authority(batches) {
        advances.push(advance(node, names::stored(origin, authority), to).await?);
    }
    let appends = batches.iter().map(append).collect();
    node.store
        .commit(Change { at: node.clock.now(), fence: Some(fence), advances, appends, ..Change::default() })
        .await?;
    Ok(to)
}

/// Whether batches have come for an authority.
pub(super) fn is_kept(node: &Node, authority: Authority) -> bool {
    node.store.tail(names::inbox(authority)).borrow().last > 0
}

fn last_of_each_authority(batches: &[VerifiedBatch]) -> BTreeMap<Authority, Cursor> {
    batches.iter().map(|batch| (batch.manifest().header.destination, batch.cursor())).collect()
}

/// A move of a cursor from wherever it stands.
pub(super) async fn advance(node: &Node, cursor: CursorName, to: Cursor) -> Result<Advance, StoreError> {
    Ok(Advance { cursor, from: node.store.cursor(cursor).await?, to })
}

// The inbox has numbers of its own, one stream for each authority; what is kept is exactly what the origin signed.
fn append(verified: &VerifiedBatch) -> Append {
    let numbered = Numbered { head: verified.batch().head(), link: verified.cursor().link };
    Append {
        stream: names::inbox(verified.manifest().header.destination),
        number: Arc::new(move |_| numbered.clone()),
        body: verified.batch().sealed.clone(),
    }
}
