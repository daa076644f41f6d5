//! What lies where in the store's directory, and who may open it.
//!
//! ```text
//! FORMAT        names the format, so that an older release leaves a newer store alone
//! LOCK          locked by the process that has the store open
//! index/        sled
//! segments/     0000000001.seg and on
//! OWED          there from when losses were accepted until what follows from them is done; what that has to know
//! set-aside-*/  what there was before the index was made anew; nothing reads it
//! ```

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use pki::disk;

use crate::store::StoreError;

/// The format that this release writes, and the highest that it reads. The first one had records without labels;
/// they stay as they are until they are purged.
const FORMAT: u32 = 2;
const FORMAT_NAME: &str = "exchange-store";
const OWED: &str = "OWED";

/// How long to wait for the lock: a child process holds a copy of it between its fork and its exec.
const FORKED: Duration = Duration::from_millis(500);

/// A store's directory, locked for as long as this lives.
#[derive(Debug)]
pub(super) struct Layout {
    root: PathBuf,
    _lock: File,
}

impl Layout {
    /// Locks the directory, after making it if it is not there, and checks that nothing is owed, and its format.
    pub(super) fn open(root: &Path) -> Result<Self, StoreError> {
        let layout = Self::locked(root)?;
        check_owed(root)?;
        layout.checked()
    }

    /// The same for who does what is owed.
    pub(super) fn open_owing(root: &Path) -> Result<Self, StoreError> {
        Self::locked(root)?.checked()
    }

    fn locked(root: &Path) -> Result<Self, StoreError> {
        make_directory(root)?;
        let lock = lock(&root.join("LOCK"))?;
        Ok(Self { root: root.to_owned(), _lock: lock })
    }

    fn checked(self) -> Result<Self, StoreError> {
        self.check_format()?;
        make_directory(&self.segments())?;
        if self.index_is_lost()? {
            let what = format!("{}: it is gone, and there are segments", self.index().display());
            return Err(StoreError::Corrupt { what });
        }
        make_directory(&self.index())?;
        Ok(self)
    }

    /// Locks the directory of a store whose index is not to be used.
    pub(super) fn open_segments(root: &Path) -> Result<Self, StoreError> {
        if !root.is_dir() {
            return Err(StoreError::Corrupt { what: format!("{}: it is not there", root.display()) });
        }
        let layout = Self::locked(root)?;
        match layout.check_format() {
            // What the segments say of themselves is enough.
            Ok(()) | Err(StoreError::Corrupt { .. } | StoreError::Io { .. }) => {}
            Err(error) => return Err(error),
        }
        make_directory(&layout.segments())?;
        Ok(layout)
    }

    /// The store's directory.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Notes what is owed.
    pub(super) fn owe(&self, note: &str) -> Result<(), StoreError> {
        self.replace(&self.root.join(OWED), note)
    }

    /// Notes that nothing is owed any more.
    pub(super) fn paid(&self) -> Result<(), StoreError> {
        let path = self.root.join(OWED);
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(cause)),
            _ => sync_directory(&self.root),
        }
    }

    /// Says that the index must not be used again: a read of it failed in a way that no retry mends.
    pub(super) fn suspect(index: &Path) -> PathBuf {
        index.join("SUSPECT")
    }

    fn index_is_lost(&self) -> Result<bool, StoreError> {
        if self.index().is_dir() {
            return Ok(false);
        }
        let segments = self.segments();
        Ok(fs::read_dir(&segments).map_err(failed("read", &segments))?.next().is_some())
    }

    /// Where sled lives.
    pub(super) fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    /// Where the segment files are.
    pub(super) fn segments(&self) -> PathBuf {
        self.root.join("segments")
    }

    /// Octets that this process may still write to the store's file system.
    pub(super) fn free(&self) -> Result<u64, StoreError> {
        disk::free(&self.root).map_err(failed("measure the free space of", &self.root))
    }

    fn check_format(&self) -> Result<(), StoreError> {
        let path = self.root.join("FORMAT");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            // FORMAT is the first thing that is written: an index without it is not ours, or damaged.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.index().exists() => {
                return self.write_format(&path);
            }
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let found =
            text.trim_end().strip_prefix(FORMAT_NAME).and_then(|number| number.trim().parse::<u32>().ok());
        match found {
            Some(FORMAT) => Ok(()),
            Some(1) => self.write_format(&path),
            Some(found) if found > FORMAT => Err(StoreError::Newer { found, known: FORMAT }),
            _ => Err(StoreError::Corrupt { what: path.display().to_string() }),
        }
    }

    /// Writes the format's name where it is missing or wrong.
    pub(super) fn renew_format(&self) -> Result<(), StoreError> {
        self.write_format(&self.root.join("FORMAT"))
    }

    fn write_format(&self, path: &Path) -> Result<(), StoreError> {
        self.replace(path, &format!("{FORMAT_NAME} {FORMAT}\n"))
    }

    /// Puts a file in the place of another, so that there is the one or the other.
    fn replace(&self, path: &Path, text: &str) -> Result<(), StoreError> {
        let fresh = path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)
            .map_err(failed("create", &fresh))?;
        file.write_all(text.as_bytes()).map_err(failed("write to", &fresh))?;
        file.sync_all().map_err(failed("sync", &fresh))?;
        fs::rename(&fresh, path).map_err(failed("create", path))?;
        sync_directory(&self.root)
    }
}

/// What is noted in a directory that is owed, if something is.
pub(super) fn owed(root: &Path) -> Result<Option<String>, StoreError> {
    let path = root.join(OWED);
    match fs::read(&path) {
        Ok(note) => Ok(Some(String::from_utf8_lossy(&note).into_owned())),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(failed("read", &path)(cause)),
    }
}

/// An error if something is owed.
pub(super) fn check_owed(root: &Path) -> Result<(), StoreError> {
    owed(root)?.map_or(Ok(()), |_| Err(StoreError::Owed { path: root.join(OWED) }))
}

/// Closes a file to other users, and puts it on disk.
pub(super) fn settle_file(path: &Path) -> Result<(), StoreError> {
    let file = File::open(path).map_err(failed("open", path))?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(failed("set the permissions of", path))?;
    file.sync_all().map_err(failed("sync", path))
}

/// Puts the names in a directory on disk.
pub(super) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(failed("sync", path))
}

/// Turns the system's word on `path` into ours.
pub(super) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { doing, path, source: Arc::new(source) }
}

pub(super) fn make_directory(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create", path))?;
    match path.parent() {
        Some(parent) if parent != Path::new("") => sync_directory(parent),
        _ => sync_directory(Path::new(".")),
    }
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed("open", path))?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if start.elapsed() < FORKED => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse),
            Err(TryLockError::Error(error)) => return Err(failed("lock", path)(error)),
        }
    }
}
