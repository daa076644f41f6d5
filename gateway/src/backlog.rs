//! What waits to be taken, and for how long: by peers from the outbox, by adapters from the inbox.

use proto::batch::Stage;

use crate::names;
use crate::node::Node;
use crate::store::{Cursor, StoreError, Stream};

/// What waits in one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Batches that the reader has not taken for good.
    pub batches: u64,
    /// Age of the oldest of them, seconds; 0 if there is none.
    pub oldest_seconds: u64,
}

/// How far a stream's reader has come; nothing for a stream that nobody reads.
pub async fn acknowledged(node: &Node, stream: Stream) -> Result<Option<Cursor>, StoreError> {
    let name = match (names::outbox_country(stream), names::inbox_authority(stream)) {
        // Only what an adapter abroad has taken is let go: until then we could still send it again.
        (Some(country), _) => names::acknowledged(country, Stage::Delivered),
        (None, Some(authority)) => names::position(authority),
        (None, None) => return Ok(None),
    };
    node.store.cursor(name).await.map(Some)
}

/// Brings the metrics of all streams up to date.
pub async fn show(node: &Node) -> Result<(), StoreError> {
    for stream in node.store.streams().await? {
        let Some(cursor) = acknowledged(node, stream).await? else { continue };
        let waiting = waiting(node, stream, cursor).await?;
        match (names::outbox_country(stream), names::inbox_authority(stream)) {
            (Some(country), _) => {
                node.metrics.unacknowledged(country, waiting);
                let stored = node.store.cursor(names::acknowledged(country, Stage::Stored)).await?;
                let last = node.store.tail(stream).borrow().last;
                node.metrics.cursor_lag(country, last.saturating_sub(stored.through));
            }
            (None, Some(authority)) => node.metrics.undelivered(authority, waiting),
            (None, None) => {}
        }
    }
    Ok(())
}

/// Whether something waits in a stream. A position beyond the end is that of another history: what is kept counts then.
pub async fn has_waiting(node: &Node, stream: Stream) -> Result<bool, StoreError> {
    let Some(acknowledged) = acknowledged(node, stream).await? else { return Ok(false) };
    // The store itself is asked: a tail that lags behind another replica would hide what waits.
    let last = node.store.latest(stream).await?.last;
    let is_kept = node.store.oldest(stream).await?.is_some();
    Ok(is_kept && acknowledged.through != last)
}

async fn waiting(node: &Node, stream: Stream, acknowledged: Cursor) -> Result<Waiting, StoreError> {
    let last = node.store.tail(stream).borrow().last;
    let oldest = node.store.oldest(stream).await?;
    // What was purged, or lost when the store was made anew, does not wait.
    let read = oldest.map_or(last, |(first, _)| acknowledged.through.max(first - 1));
    let since = match oldest {
        Some((first, at)) if first > acknowledged.through => Some(at),
        _ => match node.store.find(stream, acknowledged.through + 1).await {
            Err(StoreError::Damaged { .. }) => None,
            found => found?.map(|entry| entry.at),
        },
    };
    let oldest_seconds = since.map_or(0, |since| node.clock.now().saturating_sub(since));
    Ok(Waiting { batches: last.saturating_sub(read), oldest_seconds })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use proto::ids::CountryCode;

    use super::*;
    use crate::fixture;
    use crate::store::{Advance, Append, Change, Numbered, Tail};

    #[tokio::test]
    async fn what_is_not_acknowledged_waits_since_it_was_kept() {
        let fixture = fixture::node();
        let (node, france) = (&fixture.node, CountryCode::new(250).unwrap());
        let stream = names::outbox(france);
        for _ in 0..3 {
            let number = Arc::new(|_: Tail| Numbered { head: Bytes::new(), link: [1; 32] });
            let appends = vec![Append { stream, number, body: Bytes::from_static(b"x") }];
            node.store.commit(Change { at: node.clock.now(), appends, ..Change::default() }).await.unwrap();
        }
        node.clock.turn(100);
        let cursor = names::acknowledged(france, Stage::Delivered);
        let first = waiting(node, stream, Cursor::default()).await.unwrap();
        assert!(first.batches == 3 && (100..110).contains(&first.oldest_seconds), "{first:?}");
        for through in [2, 3] {
            let from = node.store.cursor(cursor).await.unwrap();
            let advances = vec![Advance { cursor, from, to: Cursor { through, link: [1; 32] } }];
            node.store.commit(Change { advances, ..Change::default() }).await.unwrap();
        }
        let read = acknowledged(node, stream).await.unwrap().unwrap();
        assert_eq!(waiting(node, stream, read).await.unwrap(), Waiting::default());
        assert!(!has_waiting(node, stream).await.unwrap());
        show(node).await.unwrap();
        let text = node.metrics.text();
        assert!(text.contains("exchange_unacknowledged_batches{peer=\"250\"} 0"), "{text}");
        assert!(text.contains("exchange_cursor_lag_batches{peer=\"250\"} 3"), "{text}");
    }
}
