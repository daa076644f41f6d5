//! The only file that calls sled: contains its panics, and puts on disk what it only hands to the system.

use std::{
    fs::{self, File},
    ops::{Range, RangeBounds},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard},
    thread,
    time::{Duration, Instant},
};

use sled::{Db, IVec};
use tracing::error;

use super::{
    health::Health,
    layout::{Layout, failed, settle_file, sync_directory},
    row::{self, EntryRow, OnceRow, Row, SegmentRow},
    rows::{Merged, Rows},
    state::Lost,
};
use crate::store::{Cursor, CursorName, OnceId, StoreError, Stream, Tail};

/// With so many rows in memory alone it is time to settle them: some hundred kilobytes with sled's copies.
pub(super) const TOGETHER: usize = 1_000;
/// How long an I/O thread of sled may keep the files of a store that was closed.
const STRAGGLERS: Duration = Duration::from_secs(5);

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
    /// Opens the index, and puts on disk what sled repaired or made.
    pub(super) fn open(path: PathBuf, cache_bytes: u64, health: Arc<Health>) -> Result<Self, StoreError> {
        // No flush thread of sled's: the store knows when a batch has to be on disk. sled 0.34 never consults its `Mode`.
        let suspect = Layout::suspect(&path);
        if suspect.exists() {
            return Err(corrupt(&path, "a read of it failed before"));
        }
        remove_unfinished(&path)?;
        let config = sled::Config::new().path(&path).cache_capacity(cache_bytes).flush_every_ms(None);
        let db = opened(&config, &path)?;
        // What sled repaired goes with the snapshot that says so: its name first.
        sync_directory(&path)?;
        for name in files(&path)? {
            settle_file(&name)?;
        }
        let data = path.join("db");
        let data = File::open(&data).map_err(failed("open", &data))?;
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

/// Removes a snapshot that a start has not written to its end: sled 0.34 takes it for a whole one, and the index would not
/// open. One that is whole and lacks its last name stays, as sled may have used room again that the one before it needs.
fn remove_unfinished(path: &Path) -> Result<(), StoreError> {
    let has_first_name = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "generating");
    for snapshot in files(path)?.iter().filter(|path| has_first_name(path)) {
        if !is_whole(&fs::read(snapshot).map_err(failed("read", snapshot))?) {
            fs::remove_file(snapshot).map_err(failed("remove", snapshot))?;
        }
    }
    Ok(())
}

/// Whether these are a snapshot of sled 0.34: what it says, eight octets of its length, four of its CRC-32.
fn is_whole(snapshot: &[u8]) -> bool {
    let Some((said, sum)) = snapshot.split_last_chunk::<4>() else { return false };
    let Some((said, _length)) = said.split_last_chunk::<8>() else { return false };
    !said.is_empty() && crc32fast::hash(said) == u32::from_le_bytes(*sum)
}

/// Opens sled. The caller has the lock on the whole store, so whoever holds sled's own lock is an I/O thread of a
/// store that this process has just closed, and about to let go.
fn opened(config: &sled::Config, path: &Path) -> Result<Db, StoreError> {
    let start = Instant::now();
    loop {
        let error = match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => return Ok(db),
            Ok(Err(error)) => refused(error, path),
            Err(_) => corrupt(path, "it cannot be opened"),
        };
        if !matches!(error, StoreError::InUse) || start.elapsed() > STRAGGLERS {
            return Err(error);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn refused(error: sled::Error, path: &Path) -> StoreError {
    match error {
        // sled has its own lock on its data file, and says so in words only.
        sled::Error::Io(error) if error.to_string().contains("could not acquire lock") => StoreError::InUse,
        sled::Error::Io(error) => failed("open", path)(error),
        error => corrupt(path, &error.to_string()),
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

fn files(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let reading = || failed("read", directory);
    let mut files = Vec::new();
    for item in fs::read_dir(directory).map_err(reading())? {
        let path = item.map_err(reading())?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
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

    #[test]
    fn a_snapshot_of_sled_is_whole_with_all_of_its_octets_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let index = Index::open(directory.path().to_owned(), 1 << 20, Arc::default()).unwrap();
            let mut rows = Rows::default();
            rows.insert(b"key", b"value");
            index.apply(rows).unwrap();
        }
        let is_snapshot = |path: &PathBuf| path.to_string_lossy().contains("/snap.");
        let snapshot = files(directory.path()).unwrap().into_iter().find(is_snapshot).unwrap();
        let whole = fs::read(snapshot).unwrap();
        assert!(is_whole(&whole));
        assert!((0..whole.len()).all(|length| !is_whole(&whole[..length])));
        let altered = [&[whole[0] ^ 1], &whole[1..]].concat();
        assert!(!is_whole(&altered));
    }
}
