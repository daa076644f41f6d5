//! The only module that calls sled: contains its panics, and puts on disk what it only hands to the system.

mod opening;

use std::{
    fs::File,
    ops::{Range, RangeBounds},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard},
};

use sled::{Db, IVec};
use tracing::error;

use super::{
    health::Health,
    layout::Layout,
    row::{self, EntryRow, OnceRow, Row, SegmentRow},
    rows::{Merged, Rows},
    state::Lost,
};
use crate::store::{Cursor, CursorName, OnceId, StoreError, Stream, Tail};

/// With so many rows in memory alone it is time to settle them: some hundred kilobytes with sled's copies.
pub(super) const TOGETHER: usize = 1_000;

/// Small facts by key: see [`row`] for the keys.
#[derive(Debug)]
pub(super) struct Index {
    db: Db,
    /// sled's data file, opened once more: `Db::flush` is `sync_file_range` on Linux, which a power cut undoes.
    data: File,
    path: PathBuf,
    health: Arc<Health>,
    /// Held by who applies a batch that no segment says until it is on disk, so that readers see only what a power cut
    /// leaves.
    settled: RwLock<()>,
    /// Rows that segments say and sled does not have yet.
    fresh: RwLock<Rows>,
    /// Held by who hands them to sled.
    settling: Mutex<()>,
}

impl Index {
    /// Opens the index; all that it has is on disk.
    pub(super) fn open(path: PathBuf, cache_bytes: u64, health: Arc<Health>) -> Result<Self, StoreError> {
        let (db, data) = opening::open(&path, cache_bytes)?;
        let (settled, fresh, settling) = (RwLock::default(), RwLock::default(), Mutex::default());
        Ok(Self { db, data, path, health, settled, fresh, settling })
    }

    /// Keeps all rows on disk, or none of them.
    pub(super) fn apply(&self, rows: Rows) -> Result<(), StoreError> {
        let _settled = self.settled.write().unwrap_or_else(PoisonError::into_inner);
        self.note(rows);
        self.settle()
    }

    /// Keeps rows in memory until they are settled: segments that are on disk say the same. Gives how many are in
    /// memory now.
    pub(super) fn note(&self, rows: Rows) -> usize {
        let mut fresh = self.fresh.write().unwrap_or_else(PoisonError::into_inner);
        fresh.extend(rows);
        fresh.len()
    }

    /// Puts what is in memory alone on disk, all of it or nothing.
    ///
    /// sled writes nothing between two of these: it takes what it has written for durable, and uses the room of what that
    /// replaced again, long before a disk has it.
    pub(super) fn settle(&self) -> Result<(), StoreError> {
        let _settling = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = self.fresh().clone();
        self.guarded(|db| {
            db.apply_batch(fresh.batch())?;
            db.flush()?;
            self.data.sync_data()?;
            free_replaced(fresh.len());
            Ok(())
        })?;
        self.fresh.write().unwrap_or_else(PoisonError::into_inner).forget(&fresh);
        Ok(())
    }

    /// Hands rows to sled, which the next [`Self::settle`] puts on disk: while nobody relies on the index yet.
    pub(super) fn stage(&self, rows: &Rows) -> Result<(), StoreError> {
        self.guarded(|db| db.apply_batch(rows.batch()))
    }

    /// Where an entry lies.
    pub(super) fn entry(&self, stream: Stream, sequence: u64) -> Result<Option<EntryRow>, StoreError> {
        self.row(&row::entry_key(stream, sequence))
    }

    /// The entries with a number from `first` to `last`, in order.
    pub(super) fn entries(&self, stream: Stream, first: u64, last: u64) -> Entries<'_> {
        let key = |sequence| IVec::from(&row::entry_key(stream, sequence));
        let range = key(first)..=key(last);
        Entries { index: self, rows: (first <= last).then(|| self.range(range)) }
    }

    /// Where the answer under `id` lies.
    pub(super) fn once(&self, id: &[u8]) -> Result<Option<OnceRow>, StoreError> {
        self.row(&row::once_key(id))
    }

    /// Where the answer under `id` lies, if it is on disk.
    pub(super) fn settled_once(&self, id: &OnceId) -> Result<Option<OnceRow>, StoreError> {
        let _settled = self.settled.read().unwrap_or_else(PoisonError::into_inner);
        self.once(id.octets())
    }

    /// At most `limit` once ids that follow `after`, and where their answers lie.
    pub(super) fn once_after(
        &self,
        after: Option<&OnceId>,
        limit: usize,
    ) -> Result<Vec<(OnceId, OnceRow)>, StoreError> {
        let Range { start, end } = all_of(b'o');
        let start = after.map_or(start, |id| [&row::once_key(id.octets())[..], &[0]].concat().into());
        self.parsed(self.range(start..end).take(limit), row::once_of)
    }

    /// Whether the answer under `id` is found by its time.
    pub(super) fn has_time(&self, at: u64, id: &OnceId) -> Result<bool, StoreError> {
        Ok(self.value(&row::when_key(at, id.octets()))?.is_some())
    }

    /// How many answers are found by their time.
    pub(super) fn times(&self) -> Result<u64, StoreError> {
        self.range(all_of(b'w')).try_fold(0, |count, row| row.map(|_| count + 1))
    }

    /// Where a cursor stands.
    pub(super) fn cursor(&self, name: CursorName) -> Result<Cursor, StoreError> {
        Ok(self.row(&row::cursor_key(name))?.unwrap_or_default())
    }

    /// The keys of at most `limit` once ids with a time before `before`, earliest first.
    pub(super) fn once_before(&self, before: u64, limit: usize) -> Result<Vec<IVec>, StoreError> {
        let range = IVec::from(row::when_key(0, &[]))..IVec::from(row::when_key(before, &[]));
        self.range(range).take(limit).map(|row| row.map(|(key, _)| key)).collect()
    }

    /// The tails of all streams.
    pub(super) fn tails(&self) -> Result<Vec<(Stream, Tail)>, StoreError> {
        self.all(b't', row::stream_of)
    }

    /// All cursors that were ever moved.
    pub(super) fn cursors(&self) -> Result<Vec<(CursorName, Cursor)>, StoreError> {
        self.all(b'c', row::name_of)
    }

    /// The stretches of numbers that are known to be lost.
    pub(super) fn lost(&self) -> Result<Lost, StoreError> {
        Ok(self.all(b'l', row::lost_of)?.into_iter().collect())
    }

    /// All segments that are known.
    pub(super) fn segments(&self) -> Result<Vec<(u32, SegmentRow)>, StoreError> {
        self.all(b's', row::segment_of)
    }

    fn all<K, R: Row>(
        &self,
        kind: u8,
        parsed: impl Fn(&[u8]) -> Option<K>,
    ) -> Result<Vec<(K, R)>, StoreError> {
        self.parsed(self.range(all_of(kind)), parsed)
    }

    fn parsed<K, R: Row>(
        &self,
        rows: impl Iterator<Item = Result<(IVec, IVec), StoreError>>,
        parsed: impl Fn(&[u8]) -> Option<K>,
    ) -> Result<Vec<(K, R)>, StoreError> {
        let parsed = |(key, value): (IVec, IVec)| {
            parsed(&key).zip(R::parse(&value)).ok_or_else(|| corrupt(&self.path, &hex(&key)))
        };
        rows.map(|row| row.and_then(parsed)).collect()
    }

    fn row<R: Row>(&self, key: &[u8]) -> Result<Option<R>, StoreError> {
        match self.value(key)? {
            None => Ok(None),
            Some(value) => R::parse(&value).map(Some).ok_or_else(|| corrupt(&self.path, &hex(key))),
        }
    }

    fn value(&self, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        let said = self.fresh().get(key);
        match said {
            // What is settled meanwhile was handed to sled before it left the memory.
            None => self.guarded(|db| db.get(key)),
            Some(said) => self.health.check().map(|()| said),
        }
    }

    /// The rows of a range. sled reads nothing before the first `next`.
    fn range(&self, range: impl RangeBounds<IVec> + Clone) -> Merged<Settled<'_>> {
        let fresh = self.fresh().range(&range);
        Merged::new(fresh, Settled { index: self, rows: self.db.range(range) })
    }

    fn fresh(&self) -> RwLockReadGuard<'_, Rows> {
        self.fresh.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one call to sled. After an error or a panic nobody knows what sled holds, so the store is broken.
    fn guarded<T>(&self, call: impl FnOnce(&Db) -> sled::Result<T>) -> Result<T, StoreError> {
        self.health.check()?;
        match catch_unwind(AssertUnwindSafe(|| call(&self.db))) {
            Ok(Ok(value)) => return Ok(value),
            // The disk may be full or the system out of files: that says nothing about what is on disk.
            Ok(Err(error @ sled::Error::Io(_))) => {
                error!(%error, index = %self.path.display(), "the index failed");
            }
            Ok(Err(error)) => {
                error!(%error, index = %self.path.display(), "the index failed; the next start makes it anew");
                self.suspect();
            }
            Err(_) => {
                error!(index = %self.path.display(), "the index panicked; the next start makes it anew");
                self.suspect();
            }
        }
        self.health.fail();
        Err(StoreError::Broken)
    }
}

impl Index {
    // If it cannot be written, the next start opens the index as it is, and finds the same.
    fn suspect(&self) {
        let path = Layout::suspect(&self.path);
        if let Err(error) = File::create(&path).and_then(|_| File::open(&self.path)?.sync_all()) {
            error!(%error, path = %path.display(), "cannot note that the index is damaged");
        }
    }
}

/// Rows that sled has.
struct Settled<'a> {
    index: &'a Index,
    rows: sled::Iter,
}

impl Iterator for Settled<'_> {
    type Item = Result<(IVec, IVec), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.index.guarded(|_| self.rows.next().transpose()).transpose()
    }
}

/// Entries in order of their numbers; see [`Index::entries`].
pub(super) struct Entries<'a> {
    index: &'a Index,
    rows: Option<Merged<Settled<'a>>>,
}

impl Iterator for Entries<'_> {
    type Item = Result<(u64, EntryRow), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.as_mut()?.next()?;
        Some(row.and_then(|(key, value)| {
            let row = row::sequence_of(&key).zip(EntryRow::parse(&value));
            row.ok_or_else(|| corrupt(&self.index.path, &hex(&key)))
        }))
    }
}

/// Frees the pages of sled that a batch of so many rows has replaced; runs code of sled.
///
/// Readers may still have a page that a row replaces, so crossbeam's epochs free it: some with every 128th call to sled.
/// A batch is a single call, so by themselves they would never catch up.
fn free_replaced(rows: usize) {
    // A flush frees at most 512 pages: that is four for each row, more than it replaces. Two epochs have to end first, and
    // none does while a reader is in it: what is not free yet is so next time.
    for _ in 0..rows / 128 + 3 {
        crossbeam_epoch::pin().flush();
    }
}

/// The keys of one kind of rows.
fn all_of(kind: u8) -> Range<IVec> {
    IVec::from(&[kind])..IVec::from(&[kind + 1])
}

fn corrupt(path: &Path, what: &str) -> StoreError {
    StoreError::Corrupt { what: format!("{}: {what}", path.display()) }
}

fn hex(key: &[u8]) -> String {
    key.iter().fold("key ".to_owned(), |text, octet| text + &format!("{octet:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_the_index_breaks_the_store_and_not_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let health = Arc::new(Health::default());
        let index = Index::open(directory.path().to_owned(), 1 << 20, Arc::clone(&health)).unwrap();
        let failed: Result<(), StoreError> = index.guarded(|_| panic!("a page is unreadable"));
        assert!(matches!(failed, Err(StoreError::Broken)));
        assert!(matches!(index.tails(), Err(StoreError::Broken)));
        assert!(matches!(health.check(), Err(StoreError::Broken)));
    }

    #[test]
    fn an_error_of_the_index_breaks_the_store() {
        let directory = tempfile::tempdir().unwrap();
        let health = Arc::new(Health::default());
        let index = Index::open(directory.path().to_owned(), 1 << 20, health).unwrap();
        let failed: Result<(), StoreError> =
            index.guarded(|_| Err(sled::Error::ReportableBug("lost".into())));
        assert!(matches!(failed, Err(StoreError::Broken)));
        assert!(matches!(index.once_before(1, 1), Err(StoreError::Broken)));
    }
}
