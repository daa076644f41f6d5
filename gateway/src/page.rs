//! A long-polled page of a stream, for peers and for adapters alike.

use std::time::Duration;

use proto::limits;
use tokio::time::{Instant, timeout_at};

use crate::store::{Entry, Store, StoreError, Stream};

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The reader says it has what was never written.
    #[error("the cursor {after} is beyond the end, which is {last}; the reader's store and ours do not belong together")]
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

/// The entries behind a cursor; at the tail, waits until there are some or the time is over.
pub async fn page(store: &dyn Store, stream: Stream, request: PageRequest) -> Result<Vec<Entry>, PageError> {
    let PageRequest { after, max_bytes, wait_ms } = request;
    let wait = Duration::from_millis(wait_ms.into()).min(limits::LONGEST_WAIT);
    let until = Instant::now() + wait;
    let mut tail = store.tail(stream);
    loop {
        let last = tail.borrow_and_update().last;
        if after > last {
            return Err(PageError::BeyondEnd { after, last });
        }
        if after < last {
            let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX).min(limits::PAGE_LEN);
            let entries = store.after(stream, after, max_bytes).await?;
            return dense(after, last, entries);
        }
        match timeout_at(until, tail.changed()).await {
            Ok(Ok(())) => {}
            // The time is over, or the store closes: an empty page either way.
            Err(_) | Ok(Err(_)) => return Ok(Vec::new()),
        }
    }
}

// A reader must never step over what it has not seen.
fn dense(after: u64, last: u64, entries: Vec<Entry>) -> Result<Vec<Entry>, PageError> {
    match entries.first() {
        Some(first) if first.sequence == after + 1 => Ok(entries),
        first => Err(PageError::Purged { after, oldest: first.map_or(last + 1, |entry| entry.sequence) }),
    }
}
