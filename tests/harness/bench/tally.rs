//! Which tokens have come: each of them once, or not.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use country_adapter::receive::ReadBatch;
use foldhash::fast::RandomState;

use super::message::{Account, Arrival};
use super::tokens::{self, Name};

/// Tokens of a word of a push's bits.
const WORD: usize = 64;

/// Counts what is opened.
pub(super) struct Tally {
    push: usize,
    opened: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    account: Account,
    /// A bit for each token of a push.
    pushes: HashMap<u64, Box<[u64]>, RandomState>,
    /// While it is written down.
    arrivals: Option<Vec<Arrival>>,
}

impl Tally {
    /// Of pushes with so many tokens.
    pub(super) fn new(push: usize) -> Self {
        Self { push, opened: AtomicU64::new(0), seen: Mutex::default() }
    }

    /// Counts a batch that could be read at this moment.
    pub(super) fn add(&self, batch: &ReadBatch<'_>, at: u64) {
        let names = batch.good.iter().map(tokens::name);
        self.add_names(names, batch.bad.len() as u64, at);
    }

    fn add_names(&self, names: impl Iterator<Item = Option<Name>>, bad: u64, opened: u64) {
        let mut seen = self.seen();
        seen.account.batches += 1;
        seen.account.strange += bad;
        let mut arrival = Arrival { push: 0, tokens: 0, opened };
        for name in names {
            let Some(name) = name.filter(|name| (name.place as usize) < self.push) else {
                seen.account.strange += 1;
                continue;
            };
            if !seen.mark(name, self.push) {
                seen.account.repeated += 1;
                continue;
            }
            seen.account.distinct += 1;
            if arrival.push != name.push {
                seen.write_down(arrival);
                arrival = Arrival { push: name.push, tokens: 0, opened };
            }
            arrival.tokens += 1;
        }
        seen.write_down(arrival);
        self.opened.store(seen.account.distinct, Ordering::SeqCst);
    }

    /// Different tokens so far.
    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Ordering::SeqCst)
    }

    /// Begins to write down what comes.
    pub(super) fn record(&self) {
        self.seen().arrivals = Some(Vec::new());
    }

    /// What was written down.
    pub(super) fn recorded(&self) -> Vec<Arrival> {
        self.seen().arrivals.take().unwrap_or_default()
    }

    /// Everything so far.
    pub(super) fn account(&self) -> Account {
        self.seen().account
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Whether this one is new.
    fn mark(&mut self, name: Name, push: usize) -> bool {
        let bits = self.pushes.entry(name.push);
        let bits = bits.or_insert_with(|| vec![0; push.div_ceil(WORD)].into());
        let (word, bit) = (name.place as usize / WORD, 1 << (name.place as usize % WORD));
        let is_new = bits[word] & bit == 0;
        bits[word] |= bit;
        is_new
    }

    fn write_down(&mut self, arrival: Arrival) {
        if let Some(arrivals) = self.arrivals.as_mut().filter(|_| arrival.tokens > 0) {
            arrivals.push(arrival);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: &[(u64, u32)]) -> impl Iterator<Item = Option<Name>> {
        of.iter().map(|(push, place)| Some(Name { push: *push, place: *place }))
    }

    #[test]
    fn a_token_counts_once_and_a_copy_is_a_copy() {
        let tally = Tally::new(100);
        tally.add_names(names(&[(0, 0), (0, 99), (7, 63), (7, 64), (0, 99), (7, 100)]), 2, 1);
        tally.add_names(std::iter::once(None), 0, 2);
        let account = Account { distinct: 4, repeated: 1, strange: 4, batches: 2 };
        assert_eq!((tally.account(), tally.opened()), (account, 4));
    }

    #[test]
    fn what_comes_is_written_down_push_by_push() {
        let tally = Tally::new(10);
        tally.add_names(names(&[(3, 0)]), 0, 5);
        tally.record();
        tally.add_names(names(&[(3, 1), (3, 2), (4, 0)]), 0, 6);
        let arrival = |push, tokens| Arrival { push, tokens, opened: 6 };
        assert_eq!(tally.recorded(), [arrival(3, 2), arrival(4, 1)]);
        assert!(tally.recorded().is_empty());
    }
}
