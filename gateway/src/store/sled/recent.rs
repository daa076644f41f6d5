//! The newest entries, in memory: who waits at a tail is served from here, and nothing is read back from the disk.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::store::{Entry, Stream};

/// A few of the entries that were committed last, the oldest of which go first.
#[derive(Debug)]
pub(super) struct Recent {
    limit: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    octets: usize,
    /// How many were ever added.
    added: u64,
    /// Of each stream numbers without a gap, each with its place among all that were added.
    streams: HashMap<Stream, VecDeque<(u64, Entry)>>,
    /// The streams of all that are kept, by place: the oldest entry is the first of the first one's.
    places: BTreeMap<u64, Stream>,
}

impl Recent {
    /// Keeps entries of at most so many octets.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, kept: Mutex::default() }
    }

    /// Takes entries in that are on disk, in the order of their numbers.
    pub(super) fn add(&self, entries: Vec<(Stream, Entry)>) {
        let mut kept = self.kept();
        for (stream, entry) in entries {
            kept.octets += cost(&entry);
            kept.added += 1;
            let place = kept.added;
            kept.places.insert(place, stream);
            kept.streams.entry(stream).or_default().push_back((place, entry));
        }
        while kept.octets > self.limit && kept.forget_oldest() {}
    }

    /// The entries that follow number `after`: at least one, and as many as fit; none if they are not all here.
    pub(super) fn after(&self, stream: Stream, after: u64, max_bytes: usize) -> Option<Vec<Entry>> {
        let kept = self.kept();
        let entries = kept.streams.get(&stream)?;
        let skip = after.checked_add(1)?.checked_sub(entries.front()?.1.sequence)?;
        let mut size = 0;
        let fits = |(_, entry): &&(u64, Entry)| {
            let is_first = size == 0;
            size += octets(entry);
            is_first || size <= max_bytes
        };
        let page = entries.iter().skip(usize::try_from(skip).ok()?).take_while(fits);
        let page: Vec<_> = page.map(|(_, entry)| entry.clone()).collect();
        (!page.is_empty()).then_some(page)
    }

    /// Forgets the entries of a stream up to a number: they are purged.
    pub(super) fn purge(&self, stream: Stream, through: u64) {
        self.kept().forget(stream, through);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Whether there was one.
    fn forget_oldest(&mut self) -> bool {
        let oldest = self.places.first_key_value().map(|(_, stream)| *stream);
        let first = |stream| Some((stream, self.streams.get(&stream)?.front()?.1.sequence));
        let Some((stream, sequence)) = oldest.and_then(first) else { return false };
        self.forget(stream, sequence);
        true
    }

    fn forget(&mut self, stream: Stream, through: u64) {
        let Some(entries) = self.streams.get_mut(&stream) else { return };
        while let Some((place, entry)) = entries.pop_front_if(|(_, entry)| entry.sequence <= through) {
            self.places.remove(&place);
            self.octets -= cost(&entry);
        }
        if entries.is_empty() {
            self.streams.remove(&stream);
        }
    }
}

/// Octets of memory that an entry takes beside its own.
const AROUND: usize = 256;

/// What it takes to keep an entry.
fn cost(entry: &Entry) -> usize {
    AROUND + octets(entry)
}

/// What an entry counts for in a page: head and body, and at least one, so that no limit is endless.
fn octets(entry: &Entry) -> usize {
    (entry.head.len() + entry.body.len()).max(1)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const STREAM: Stream = Stream::new(*b"stream 1");

    fn entry(sequence: u64) -> (Stream, Entry) {
        let body = Bytes::from(vec![7; 10]);
        (STREAM, Entry { sequence, at: 1, link: [0; 32], head: Bytes::new(), body })
    }

    fn numbers(recent: &Recent, after: u64, max_bytes: usize) -> Option<Vec<u64>> {
        recent.after(STREAM, after, max_bytes).map(|page| page.iter().map(|entry| entry.sequence).collect())
    }

    #[test]
    fn the_newest_are_here_as_many_as_fit_and_the_oldest_go_first() {
        let recent = Recent::new(3 * (AROUND + 10));
        recent.add((1..=4).map(entry).collect());
        assert_eq!(numbers(&recent, 0, 1_000), None, "the first is gone");
        assert_eq!(numbers(&recent, 1, 1_000), Some(vec![2, 3, 4]));
        assert_eq!(numbers(&recent, 2, 1_000), Some(vec![3, 4]));
        assert_eq!(numbers(&recent, 4, 1_000), None);
        assert_eq!(numbers(&recent, u64::MAX, 1_000), None);
        assert_eq!(numbers(&recent, 1, 20), Some(vec![2, 3]));
        assert_eq!(numbers(&recent, 1, 0), Some(vec![2]), "one is always given");
        assert!(recent.after(Stream::new(*b"stream 2"), 1, 1_000).is_none());
    }

    #[test]
    fn of_several_streams_the_oldest_go_first() {
        let (recent, other) = (Recent::new(3 * (AROUND + 10)), Stream::new(*b"stream 2"));
        recent.add(vec![entry(1), (other, entry(1).1), entry(2), (other, entry(2).1)]);
        assert_eq!(numbers(&recent, 0, 1_000), None);
        assert_eq!(numbers(&recent, 1, 1_000), Some(vec![2]));
        assert_eq!(recent.after(other, 0, 1_000).unwrap().len(), 2);
        recent.purge(STREAM, 2);
        recent.add(vec![entry(3), entry(4)]);
        assert!(recent.after(other, 0, 1_000).is_none());
        assert_eq!(numbers(&recent, 2, 1_000), Some(vec![3, 4]));
    }

    #[test]
    fn what_is_purged_is_gone_and_room_again() {
        let recent = Recent::new(3 * (AROUND + 10));
        recent.add((1..=3).map(entry).collect());
        recent.purge(STREAM, 2);
        assert_eq!(numbers(&recent, 1, 1_000), None);
        assert_eq!(numbers(&recent, 2, 1_000), Some(vec![3]));
        recent.add((4..=5).map(entry).collect());
        assert_eq!(numbers(&recent, 2, 1_000), Some(vec![3, 4, 5]));
        recent.purge(STREAM, 9);
        assert_eq!(recent.kept().octets, 0);
        assert!(recent.kept().streams.is_empty() && recent.kept().places.is_empty());
    }

    #[test]
    fn a_store_without_room_for_them_keeps_none() {
        let recent = Recent::new(0);
        recent.add(vec![entry(1)]);
        assert_eq!(numbers(&recent, 0, 1_000), None);
        assert!(recent.kept().streams.is_empty());
    }
}
