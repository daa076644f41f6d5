//! Opening sled: what a power cut left behind goes first, and what it repaired goes to the disk.

use std::{
    fs::{self, File},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use sled::Db;

use super::corrupt;
use crate::store::{
    StoreError,
    sled::layout::{Layout, failed, settle_file, sync_directory},
};

/// How long an I/O thread of sled may keep the files of a store that was closed.
const STRAGGLERS: Duration = Duration::from_secs(5);

/// sled and its data file, with all that it repaired or made on disk.
pub(super) fn open(path: &Path, cache_bytes: u64) -> Result<(Db, File), StoreError> {
    if Layout::suspect(path).exists() {
        return Err(corrupt(path, "a read of it failed before"));
    }
    remove_unfinished(path)?;
    // No flush thread of sled's: the store knows when a batch has to be on disk. sled 0.34 never consults its `Mode`.
    let config = sled::Config::new().path(path).cache_capacity(cache_bytes).flush_every_ms(None);
    let db = opened(&config, path)?;
    // What sled repaired goes with the snapshot that says so: its name first.
    sync_directory(path)?;
    for name in files(path)? {
        settle_file(&name)?;
    }
    let data = path.join("db");
    let data = File::open(&data).map_err(failed("open", &data))?;
    Ok((db, data))
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
    use super::super::{Index, Rows};
    use super::*;

    #[test]
    fn a_snapshot_of_sled_is_whole_with_all_of_its_octets_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let index = Index::open(directory.path().to_owned(), 1 << 20, std::sync::Arc::default()).unwrap();
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
