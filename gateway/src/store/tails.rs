//! The tails that were committed, and who waits at them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use tracing::error;

use crate::store::{Stream, Tail};

/// One watch a stream. A stream is named by configuration or by a peer's country, so there are few.
#[derive(Debug)]
pub(super) struct Tails(Mutex<BTreeMap<Stream, watch::Sender<Tail>>>);

impl Tails {
    /// The tails that are known at first.
    pub(super) fn new(known: Vec<(Stream, Tail)>) -> Self {
        Self(Mutex::new(known.into_iter().map(|(stream, tail)| (stream, watch::Sender::new(tail))).collect()))
    }

    /// A stream's tail, now.
    pub(super) fn now(&self, stream: Stream) -> Tail {
        self.all().get(&stream).map(|tail| *tail.borrow()).unwrap_or_default()
    }

    /// A stream's tail, now and later.
    pub(super) fn watch(&self, stream: Stream) -> watch::Receiver<Tail> {
        self.all().entry(stream).or_default().subscribe()
    }

    /// Wakes who waits. The entries up to the tails must be on disk.
    pub(super) fn publish(&self, tails: impl IntoIterator<Item = (Stream, Tail)>) {
        let mut all = self.all();
        for (stream, tail) in tails {
            // News of one tail may come on two ways, the older one last.
            all.entry(stream).or_default().send_if_modified(|known| {
                let is_news = tail.last > known.last;
                *known = if is_news { tail } else { *known };
                is_news
            });
        }
    }

    /// Takes what a database says that was asked when `known` was the tail: one that ends before it has gone back, as
    /// after a failover to a standby that was behind. Its numbers are then given again, so the tail goes back with it.
    pub(super) fn found(&self, stream: Stream, known: Tail, found: Tail) {
        if found.last >= known.last {
            return self.publish([(stream, found)]);
        }
        let went_back = self.all().entry(stream).or_default().send_if_modified(|tail| {
            let is_known = *tail == known;
            *tail = if is_known { found } else { *tail };
            is_known
        });
        if went_back {
            error!(
                %stream,
                known = known.last,
                found = found.last,
                "the database has gone back, and answered pushes are lost; was it restored, or is a standby in its place?"
            );
        }
    }

    /// The tails of all streams that have had an entry.
    pub(super) fn all_known(&self) -> BTreeMap<Stream, Tail> {
        let all = self.all();
        let known = all.iter().map(|(stream, tail)| (*stream, *tail.borrow()));
        known.filter(|(_, tail)| tail.last > 0).collect()
    }

    /// The streams that have had an entry, in order.
    pub(super) fn streams(&self) -> Vec<Stream> {
        self.all().iter().filter(|(_, tail)| tail.borrow().last > 0).map(|(stream, _)| *stream).collect()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Stream, watch::Sender<Tail>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
