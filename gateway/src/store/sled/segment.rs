//! The append-only files that hold heads, bodies and answers.
//!
//! A segment is written by the store's thread alone, in whole blocks (`blocks.rs`), and read by anyone. What lies
//! behind the end that the index knows of is never read, and is cut off at start.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tracing::warn;

use super::{
    blocks::{BLOCK, Blocks},
    layout::{failed, sync_directory},
    record::{HEADER, Kind, LONGEST, Record, kind_of, length_of},
};
use crate::store::StoreError;

/// How many segments are held open for readers.
const OPEN_FILES: usize = 64;

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Number of the segment.
    pub(super) segment: u32,
    /// Offset of the record in it.
    pub(super) offset: u64,
    /// Octets of the record.
    pub(super) length: u32,
}

/// The segment files, for reading and for unlinking.
#[derive(Debug)]
pub(super) struct Segments {
    directory: PathBuf,
    open: Mutex<BTreeMap<u32, Arc<File>>>,
}

impl Segments {
    /// The segments in this directory.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, open: Mutex::default() }
    }

    /// The record at a place, or nothing if its segment is gone.
    pub(super) fn read(&self, place: Place) -> Result<Option<Record>, StoreError> {
        let length = place.length as usize;
        if length > LONGEST {
            return Err(self.corrupt(place));
        }
        let Some(file) = self.file(place.segment)? else { return Ok(None) };
        match read_at(&file, place.offset, length) {
            Ok(octets) => Record::parse(octets).map(Some).ok_or_else(|| self.corrupt(place)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.corrupt(place)),
            Err(error) => Err(failed("read", &self.path(place.segment))(error)),
        }
    }

    /// What is left at a place, whether its checksum is right or not; nothing if it is not even shaped as a record.
    pub(super) fn remains(&self, place: Place) -> Option<Record> {
        let mut octets = vec![0; (place.length as usize).min(LONGEST)];
        let file = self.file(place.segment).ok()??;
        file.read_exact_at(&mut octets, place.offset).ok()?;
        Record::unchecked(octets.into())
    }

    /// Octets of a segment, whatever they are.
    pub(super) fn octets(&self, segment: u32, offset: u64, count: u64) -> Result<Vec<u8>, StoreError> {
        let mut octets = vec![0; usize::try_from(count).unwrap_or(usize::MAX)];
        if let Some(file) = self.file(segment)? {
            file.read_exact_at(&mut octets, offset).map_err(failed("read", &self.path(segment)))?;
        }
        Ok(octets)
    }

    /// Octets of a segment file; nothing if it is gone.
    pub(super) fn length(&self, segment: u32) -> Result<Option<u64>, StoreError> {
        let Some(file) = self.file(segment)? else { return Ok(None) };
        let length = file.metadata().map_err(failed("read", &self.path(segment)))?.len();
        Ok(Some(length))
    }

    /// Whether nothing but what fills the last block up lies between an offset and the end of the file.
    pub(super) fn is_padding(&self, segment: u32, offset: u64, end: u64) -> Result<bool, StoreError> {
        let count = end.saturating_sub(offset);
        if !end.is_multiple_of(BLOCK as u64) || count >= BLOCK as u64 {
            return Ok(false);
        }
        Ok(self.octets(segment, offset, count)?.iter().all(|octet| *octet == 0))
    }

    /// What the record at an offset is, and its place, without reading it; nothing if its segment is gone.
    pub(super) fn glance(&self, segment: u32, offset: u64) -> Result<Option<(Kind, Place)>, StoreError> {
        let Some(file) = self.file(segment)? else { return Ok(None) };
        let mut header = [0; HEADER];
        let corrupt = || self.corrupt(Place { segment, offset, length: 0 });
        match file.read_exact_at(&mut header, offset) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(corrupt()),
            Err(error) => return Err(failed("read", &self.path(segment))(error)),
        }
        let (kind, length) = kind_of(&header).zip(length_of(&header)).ok_or_else(corrupt)?;
        Ok(Some((kind, Place { segment, offset, length })))
    }

    /// Removes a segment from disk; readers that have it open still read it to its end.
    pub(super) fn unlink(&self, segment: u32) -> Result<(), StoreError> {
        let path = self.path(segment);
        // Under the lock, so that no reader caches a file that is gone and keeps its space taken.
        let mut open = self.open();
        open.remove(&segment);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Cuts off what lies behind `end`: it was written, but never committed.
    pub(super) fn cut(&self, segment: u32, end: u64) -> Result<(), StoreError> {
        let path = self.path(segment);
        let file = match OpenOptions::new().write(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Corrupt { what: format!("{}: the file is missing", path.display()) });
            }
            file => file.map_err(failed("open", &path))?,
        };
        let length = file.metadata().map_err(failed("read", &path))?.len();
        if length < end {
            let what = format!("{} offset {length}: the file ends before offset {end}", path.display());
            return Err(StoreError::Corrupt { what });
        }
        if length > end {
            if !self.is_padding(segment, end, length)? {
                warn!(segment, from = length, to = end, "cut off what was never committed");
            }
            file.set_len(end).and_then(|()| file.sync_all()).map_err(failed("truncate", &path))?;
        }
        Ok(())
    }

    /// The numbers of all segment files there are.
    pub(super) fn list(&self) -> Result<Vec<u32>, StoreError> {
        let reading = || failed("read", &self.directory);
        let mut numbers = Vec::new();
        for item in fs::read_dir(&self.directory).map_err(reading())? {
            let name = item.map_err(reading())?.file_name();
            let stem = name.to_str().and_then(|name| name.strip_suffix(".seg"));
            numbers.extend(stem.and_then(|stem| stem.parse::<u32>().ok()));
        }
        Ok(numbers)
    }

    /// The file of a segment.
    pub(super) fn path(&self, segment: u32) -> PathBuf {
        self.directory.join(format!("{segment:010}.seg"))
    }

    /// What to say of a place that is not as it was written.
    pub(super) fn corrupt(&self, place: Place) -> StoreError {
        StoreError::Corrupt { what: self.at(place) }
    }

    /// Names a place for people.
    pub(super) fn at(&self, place: Place) -> String {
        format!("{} offset {}", self.path(place.segment).display(), place.offset)
    }

    fn file(&self, segment: u32) -> Result<Option<Arc<File>>, StoreError> {
        let mut open = self.open();
        if let Some(file) = open.get(&segment) {
            return Ok(Some(Arc::clone(file)));
        }
        let path = self.path(segment);
        let file = match File::open(&path) {
            Ok(file) => Arc::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open", &path)(error)),
        };
        if open.len() >= OPEN_FILES {
            open.pop_first();
        }
        open.insert(segment, Arc::clone(&file));
        Ok(Some(file))
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<File>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Active {
    /// Its number.
    pub(super) number: u32,
    path: PathBuf,
    blocks: Blocks,
}

impl Active {
    /// Makes a new segment, and puts its name on disk.
    pub(super) fn create(segments: &Segments, number: u32) -> Result<Self, StoreError> {
        let path = segments.path(number);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&path).and_then(|file| Blocks::behind(file, 0));
        let blocks = file.map_err(failed("create", &path))?;
        sync_directory(&segments.directory)?;
        Ok(Self { number, path, blocks })
    }

    /// Goes on with a segment whose last record ends at `end`.
    pub(super) fn resume(segments: &Segments, number: u32, end: u64) -> Result<Self, StoreError> {
        let path = segments.path(number);
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let blocks = file.and_then(|file| Blocks::behind(file, end)).map_err(failed("open", &path))?;
        Ok(Self { number, path, blocks })
    }

    /// Where the next record goes.
    pub(super) const fn end(&self) -> u64 {
        self.blocks.end()
    }

    /// Writes records one after the other and puts them on disk; on failure the segment is as it was before.
    pub(super) fn append(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let appended = self.blocks.append(records.iter().flat_map(Record::parts));
        appended.map_err(|error| {
            self.trim();
            failed("write to", &self.path)(error)
        })
    }

    /// Cuts off what lies behind the last record, which nobody needs.
    pub(super) fn trim(&self) {
        if let Err(error) = self.blocks.trim() {
            warn!(%error, segment = self.number, "cannot cut off what lies behind the last record");
        }
    }
}

/// So many octets of a file, into a buffer that nobody fills with zeros before.
fn read_at(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut octets = Vec::with_capacity(length);
    while octets.len() < length {
        let at = offset + octets.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut octets), at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocator may have given more room than it was asked for.
    octets.truncate(length);
    Ok(octets)
}

/// Whether an error says that the disk, or the user's share of it, is used up.
pub(super) fn is_full(error: &StoreError) -> bool {
    let StoreError::Io { source, .. } = error else { return false };
    matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use std::path::Path;

    use super::super::record::Label;
    use super::*;

    #[test]
    fn more_records_than_one_call_takes_are_written_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let segments = Segments::new(directory.path().to_owned());
        let mut active = Active::create(&segments, 1).unwrap();
        let records: Vec<Record> = (0..3000_u32)
            .map(|n| {
                Record::new(Label::State, Bytes::new(), Bytes::copy_from_slice(&n.to_be_bytes())).unwrap()
            })
            .collect();
        active.append(&records).unwrap();
        let length = records[0].length();
        assert_eq!(active.end(), 3000 * u64::from(length));
        let place = Place { segment: 1, offset: 2999 * u64::from(length), length };
        assert_eq!(&segments.read(place).unwrap().unwrap().body[..], 2999_u32.to_be_bytes());
    }

    #[test]
    fn no_more_files_are_held_open_than_allowed() {
        let directory = tempfile::tempdir().unwrap();
        let segments = Segments::new(directory.path().to_owned());
        for number in 1..=100 {
            Active::create(&segments, number).unwrap();
            assert!(segments.file(number).unwrap().is_some());
        }
        assert_eq!(segments.open().len(), OPEN_FILES);
    }

    #[test]
    fn a_segment_that_is_gone_is_no_error() {
        let directory = tempfile::tempdir().unwrap();
        let segments = Segments::new(directory.path().to_owned());
        segments.unlink(7).unwrap();
        assert!(segments.read(Place { segment: 7, offset: 0, length: 13 }).unwrap().is_none());
    }

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        let error = |kind: io::ErrorKind| failed("write to", Path::new("x"))(kind.into());
        assert!(is_full(&error(io::ErrorKind::StorageFull)));
        assert!(is_full(&error(io::ErrorKind::QuotaExceeded)));
        assert!(!is_full(&error(io::ErrorKind::PermissionDenied)));
    }
}
