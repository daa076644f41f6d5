//! Rows of the index that are in memory alone, and how they are read together with those that sled has.

use std::{
    collections::{BTreeMap, btree_map},
    iter::Peekable,
    ops::RangeBounds,
    vec,
};

use sled::{Batch, IVec};

use crate::store::StoreError;

/// What is to be written under some keys, or that they are to be removed: of each key the last word counts.
#[derive(Debug, Default, Clone)]
pub(super) struct Rows(BTreeMap<IVec, Option<IVec>>);

impl Rows {
    /// A row to write.
    pub(super) fn insert(&mut self, key: impl Into<IVec>, value: impl Into<IVec>) {
        self.0.insert(key.into(), Some(value.into()));
    }

    /// A row to remove.
    pub(super) fn remove(&mut self, key: impl Into<IVec>) {
        self.0.insert(key.into(), None);
    }

    /// Of how many keys something is said.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// What is said of a key, if something is.
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<IVec>> {
        self.0.get(key).cloned()
    }

    /// What is said of the keys in a range.
    pub(super) fn range(&self, range: &impl RangeBounds<IVec>) -> Vec<(IVec, Option<IVec>)> {
        let range = (range.start_bound(), range.end_bound());
        self.0.range::<IVec, _>(range).map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Takes in what is said later.
    pub(super) fn extend(&mut self, later: Self) {
        self.0.extend(later.0);
    }

    /// Forgets what other rows say as well; what was said otherwise meanwhile stays.
    pub(super) fn forget(&mut self, same: &Self) {
        for (key, value) in &same.0 {
            if let btree_map::Entry::Occupied(said) = self.0.entry(key.clone())
                && said.get() == value
            {
                said.remove();
            }
        }
    }

    /// As sled takes them.
    pub(super) fn batch(&self) -> Batch {
        let mut batch = Batch::default();
        for (key, value) in &self.0 {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        batch
    }
}

/// Rows of a range in the order of their keys: where memory says something of a key, what sled has does not count.
pub(super) struct Merged<S: Iterator> {
    fresh: vec::IntoIter<(IVec, Option<IVec>)>,
    settled: Peekable<S>,
}

impl<S: Iterator<Item = Result<(IVec, IVec), StoreError>>> Merged<S> {
    /// What memory says of a range, and what sled has in it.
    pub(super) fn new(fresh: Vec<(IVec, Option<IVec>)>, settled: S) -> Self {
        Self { fresh: fresh.into_iter(), settled: settled.peekable() }
    }
}

impl<S: Iterator<Item = Result<(IVec, IVec), StoreError>>> Iterator for Merged<S> {
    type Item = S::Item;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((said, _)) = self.fresh.as_slice().first() else { return self.settled.next() };
            // An error has no place in the order, and comes at once.
            let is_first = |row: &S::Item| row.as_ref().map_or(true, |(key, _)| key < said);
            if let Some(row) = self.settled.next_if(is_first) {
                return Some(row);
            }
            drop(self.settled.next_if(|row| row.as_ref().is_ok_and(|(key, _)| key == said)));
            if let (key, Some(value)) = self.fresh.next()? {
                return Some(Ok((key, value)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_fresh_goes_before_what_is_settled(
            settled: BTreeMap<u8, u8>,
            fresh: BTreeMap<u8, Option<u8>>,
        ) {
            let mut rows = Rows::default();
            for (key, value) in &fresh {
                match value {
                    Some(value) => rows.insert(&[*key], &[*value]),
                    None => rows.remove(&[*key]),
                }
            }
            let sled = settled.iter().map(|(key, value)| Ok((IVec::from(&[*key]), IVec::from(&[*value]))));
            let merged = Merged::new(rows.range(&..), sled).collect::<Result<Vec<_>, _>>().unwrap();
            let merged: Vec<(u8, u8)> = merged.iter().map(|(key, value)| (key[0], value[0])).collect();
            let mut expected = settled;
            for (key, value) in fresh {
                match value {
                    Some(value) => expected.insert(key, value),
                    None => expected.remove(&key),
                };
            }
            prop_assert_eq!(merged, expected.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn only_what_is_still_said_is_forgotten() {
        let mut rows = Rows::default();
        rows.insert(b"a", b"1");
        rows.insert(b"b", b"1");
        rows.remove(b"c");
        let settled = rows.clone();
        rows.insert(b"b", b"2");
        rows.insert(b"d", b"1");
        rows.forget(&settled);
        let left: Vec<_> = rows.range(&..).into_iter().map(|(key, value)| (key.to_vec(), value)).collect();
        assert_eq!(left, [(b"b".to_vec(), Some(IVec::from(b"2"))), (b"d".to_vec(), Some(IVec::from(b"1")))]);
        assert_eq!(rows.len(), 2);
    }

    #[test]
    fn an_error_of_what_is_settled_comes_through() {
        let mut rows = Rows::default();
        rows.insert(b"b", b"1");
        let mut merged = Merged::new(rows.range(&..), std::iter::once(Err(StoreError::Broken)));
        assert!(matches!(merged.next(), Some(Err(StoreError::Broken))));
    }
}
