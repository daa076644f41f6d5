//! The entries that were found damaged, for those who can mend them or must be told.

use std::collections::BTreeMap;

use tokio::sync::watch;

use crate::store::{Stream, upkeep::Damaged};

/// What reads have found since the store was opened, until it is mended or purged.
#[derive(Debug, Default)]
pub(super) struct Damage(watch::Sender<BTreeMap<(Stream, u64), Damaged>>);

impl Damage {
    /// Notes an entry; wakes who waits if it is a new one.
    pub(super) fn note(&self, damaged: &Damaged) {
        let place = (damaged.stream, damaged.sequence);
        self.0.send_if_modified(|known| known.insert(place, damaged.clone()).is_none());
    }

    /// Forgets entries that are mended or gone.
    pub(super) fn forget(&self, stream: Stream, first: u64, last: u64) {
        self.0.send_if_modified(|known| {
            let before = known.len();
            known.retain(|(of, sequence), _| *of != stream || !(first..=last).contains(sequence));
            known.len() != before
        });
    }

    /// All of them, now and later.
    pub(super) fn watch(&self) -> watch::Receiver<BTreeMap<(Stream, u64), Damaged>> {
        self.0.subscribe()
    }
}
