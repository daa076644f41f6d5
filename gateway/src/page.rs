//! A long-polled page of a stream, for peers and for adapters alike.

use std::time::Duration;

use proto::limits;
use tokio::time::{Instant, sleep_until};

use crate::node::Node;
use crate::store::{Entry, StoreError, Stream};

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The reader says it has what was never written.
    #[error(
        "the cursor {after} is beyond the end, which is {last}; the reader's store and ours do not belong together"
    )]
    BeyondEnd {
        /// What the reader asked for.
        after: u64,
        /// Our last number.
        last: u64,
    },
    /// What follows the cursor was kept as long as it may be, and is gone.
    #[error("what follows {after} was purged after its time; the oldest that is kept is {oldest}")]
    Purged {
        /// What the reader asked for.
        after: u64,
        /// The first number that is still here.
        oldest: u64,
    },
    /// What follows the cursor is damaged, or was lost when the store was made anew.
    #[error("what follows {after} is damaged in the store; the next that can be read is {oldest}")]
    Damaged {
        /// What the reader asked for.
        after: u64,
        /// The first number behind the damage.
        oldest: u64,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a reader asks for.
#[derive(Debug, Clone, Copy)]
pub struct PageRequest {
    /// The last number that it has.
    pub after: u64,
    /// Octets that it would like at the most.
    pub max_bytes: u32,
    /// How long it waits at the tail, milliseconds.
    pub wait_ms: u32,
}

/// The last number of a stream. A reader that knows a higher one than we do may have it from another replica, so
/// then the store is asked.
pub async fn last(node: &Node, stream: Stream, known: u64) -> Result<u64, StoreError> {
    let last = node.store.tail(stream).borrow().last;
    if known > last { Ok(node.store.latest(stream).await?.last) } else { Ok(last) }
}

impl PageRequest {
    fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms.into()).min(limits::LONGEST_WAIT)
    }

    fn octets(&self) -> usize {
        usize::try_from(self.max_bytes).unwrap_or(usize::MAX).min(limits::PAGE_LEN)
    }
}

/// The entries behind a cursor; at the tail, waits until there are some or the time is over.
pub async fn page(node: &Node, stream: Stream, request: PageRequest) -> Result<Vec<Entry>, PageError> {
    let PageRequest { after, .. } = request;
    let until = Instant::now() + request.wait();
    let mut tail = node.store.tail(stream);
    loop {
        tail.mark_unchanged();
        let last = last(node, stream, after).await?;
        if after > last {
            return Err(PageError::BeyondEnd { after, last });
        }
        if after < last {
            let (entries, is_damaged) = match node.store.after(stream, after, request.octets()).await {
                Err(StoreError::Damaged { sequence, .. }) => (readable(node, stream, sequence).await?, true),
                entries => (entries?, false),
            };
            // A store that went back gives the numbers up to our tail again: nobody may be sent behind them.
            if entries.is_empty() && node.store.latest(stream).await?.last < last {
                continue;
            }
            return match dense(after, last, entries) {
                // What is kept before it shows that no time is over.
                Err(PageError::Purged { after, oldest })
                    if is_damaged || is_kept(node, stream, after).await? =>
                {
                    Err(PageError::Damaged { after, oldest })
                }
                page => page,
            };
        }
        tokio::select! {
            changed = tail.changed() => if changed.is_err() { return Ok(Vec::new()) },
            () = sleep_until(until) => return Ok(Vec::new()),
            () = node.stop.cancelled() => return Ok(Vec::new()),
        }
    }
}

/// The first entry behind a damaged one that can be read, if there is one.
async fn readable(node: &Node, stream: Stream, mut damaged: u64) -> Result<Vec<Entry>, StoreError> {
    loop {
        match node.store.after(stream, damaged, 1).await {
            Err(StoreError::Damaged { sequence, .. }) => damaged = sequence,
            page => return page,
        }
    }
}

async fn is_kept(node: &Node, stream: Stream, through: u64) -> Result<bool, StoreError> {
    Ok(node.store.oldest(stream).await?.is_some_and(|(first, _)| first <= through))
}

// A reader must never step over what it has not seen.
fn dense(after: u64, last: u64, entries: Vec<Entry>) -> Result<Vec<Entry>, PageError> {
    match entries.first() {
        Some(first) if first.sequence == after + 1 => Ok(entries),
        first => Err(PageError::Purged { after, oldest: first.map_or(last + 1, |entry| entry.sequence) }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::clock::Clock;
    use crate::fixture;
    use crate::prepare::prepare;
    use crate::store::{Append, Change, Numbered, Store, Tail};

    const STREAM: Stream = Stream::new(*b"test    ");

    async fn append(store: &dyn Store, body: &'static [u8]) {
        let number =
            Arc::new(|tail: Tail| Numbered { head: Bytes::new(), link: [tail.last.to_be_bytes()[7]; 32] });
        let appends = vec![Append { stream: STREAM, number, body: Bytes::from_static(body) }];
        store.commit(Change { appends, ..Change::default() }).await.unwrap();
    }

    fn ask(after: u64, wait_ms: u32) -> PageRequest {
        PageRequest { after, max_bytes: 1 << 20, wait_ms }
    }

    #[test]
    fn nobody_waits_or_gets_more_than_the_limits() {
        let request = |max_bytes, wait_ms| PageRequest { after: 0, max_bytes, wait_ms };
        let most = u32::try_from(limits::PAGE_LEN).unwrap();
        assert_eq!([most, most + 1, u32::MAX].map(|n| request(n, 0).octets()), [limits::PAGE_LEN; 3]);
        assert_eq!(request(most - 1, 0).octets(), limits::PAGE_LEN - 1);
        assert_eq!([30_000, 30_001, u32::MAX].map(|n| request(0, n).wait()), [limits::LONGEST_WAIT; 3]);
        assert_eq!(request(0, 29_999).wait(), Duration::from_millis(29_999));
    }

    #[tokio::test]
    async fn a_reader_at_the_tail_is_woken_by_a_commit() {
        let fixture = fixture::node();
        let node = fixture.node.clone();
        let waiting = tokio::spawn(async move { page(&node, STREAM, ask(0, 30_000)).await });
        append(&*fixture.node.store, b"one").await;
        let entries = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap().unwrap();
        assert_eq!(entries[0].body, Bytes::from_static(b"one"));
    }

    #[tokio::test]
    async fn a_reader_at_the_tail_gets_an_empty_page_when_its_time_is_over() {
        let fixture = fixture::node();
        assert!(page(&fixture.node, STREAM, ask(0, 1)).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_reader_at_the_tail_gets_an_empty_page_when_the_gateway_stops() {
        let fixture = fixture::node();
        fixture.node.stop.cancel();
        assert!(page(&fixture.node, STREAM, ask(0, 30_000)).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_cursor_beyond_the_end_is_an_error() {
        let fixture = fixture::node();
        append(&*fixture.node.store, b"one").await;
        let refused = page(&fixture.node, STREAM, ask(2, 0)).await;
        assert!(matches!(refused, Err(PageError::BeyondEnd { after: 2, last: 1 })), "{refused:?}");
    }

    #[tokio::test]
    async fn a_reader_is_not_sent_behind_numbers_that_a_database_which_went_back_gives_again() {
        let database = cluster::shared().unwrap().database().unwrap();
        let (_folder, config) = fixture::config(Some(&database), |config| config);
        let node = prepare(config, Clock::default(), CancellationToken::new()).await.unwrap().0;
        for body in [b"one", b"two", b"thr", b"fou", b"fiv"] {
            append(&*node.store, body).await;
        }
        let lagging = "DELETE FROM exchange.entry WHERE sequence > 3; UPDATE exchange.stream SET last = 3";
        cluster::shared().unwrap().sql(&database.name, lagging).unwrap();
        assert!(page(&node, STREAM, ask(3, 0)).await.unwrap().is_empty());
        let refused = page(&node, STREAM, ask(4, 0)).await;
        assert!(matches!(refused, Err(PageError::BeyondEnd { after: 4, last: 3 })), "{refused:?}");
        append(&*node.store, b"new").await;
        let entries = page(&node, STREAM, ask(3, 0)).await.unwrap();
        assert_eq!((entries[0].sequence, &entries[0].body[..]), (4, &b"new"[..]));
    }

    #[tokio::test]
    async fn a_reader_does_not_step_over_what_was_purged() {
        let fixture = fixture::node();
        for body in [b"one", b"two", b"thr"] {
            append(&*fixture.node.store, body).await;
        }
        fixture.node.store.purge(STREAM, 2).await.unwrap();
        let refused = page(&fixture.node, STREAM, ask(1, 0)).await;
        assert!(matches!(refused, Err(PageError::Purged { after: 1, oldest: 3 })), "{refused:?}");
        assert_eq!(page(&fixture.node, STREAM, ask(2, 0)).await.unwrap().len(), 1);
        fixture.node.store.purge(STREAM, 3).await.unwrap();
        let refused = page(&fixture.node, STREAM, ask(0, 0)).await;
        assert!(matches!(refused, Err(PageError::Purged { after: 0, oldest: 4 })), "{refused:?}");
    }
}
