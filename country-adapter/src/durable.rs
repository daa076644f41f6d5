//! The disk, one durable step at a time: what a step has done survives a kill and a power cut.
//!
//! Everything that this process writes goes through here. Tests give a disk that dies after so many steps, and so
//! kill the adapter between any two of them.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, FileType, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use pki::disk::DiskError;
use proto::day::Day;
use rustix::fs::{FlockOperation, flock};

/// Mode of state files: nobody else's business.
pub const PRIVATE: u32 = 0o600;
/// Mode of files that the backend reads: its user shares a group with the adapter.
pub const SHARED: u32 = 0o640;

/// Mode of files that a web server hands out.
pub const PUBLIC: u32 = 0o644;
/// Mode of directories of such files.
pub const PUBLIC_DIR: u32 = 0o755;

/// Mode of directories of state files.
pub const PRIVATE_DIR: u32 = 0o700;
/// Mode of directories that the backend looks into.
pub const SHARED_DIR: u32 = 0o750;

/// The file system, as a sequence of durable steps.
#[derive(Clone, Default)]
pub struct Disk {
    /// Held by everything that writes, down to the last background thread.
    _lock: Option<Arc<File>>,
    #[cfg(test)]
    left: Option<Arc<std::sync::atomic::AtomicIsize>>,
    #[cfg(test)]
    fails: Fails,
}

/// How a disk fails in a test.
#[cfg(test)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Fails {
    /// From a step on: a kill.
    #[default]
    ForGood,
    /// At one step: the system refused.
    Once,
}

impl Disk {
    /// A disk whose directory no other process may write to. Gives nothing if one does.
    pub fn locked(dir: &Path) -> Result<Option<Self>, DiskError> {
        let disk = Self::default();
        disk.create_dir(dir, PRIVATE_DIR)?;
        let path = dir.join("lock");
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(PRIVATE).open(&path);
        let file = opened.map_err(|source| failed(&path, source))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(disk.holding(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(failed(&path, error.into())),
        }
    }

    fn holding(mut self, lock: File) -> Self {
        self._lock = Some(Arc::new(lock));
        self
    }

    /// Creates a directory with its parents, if it is not there. They have no right that is not in the mode, whatever
    /// the umask.
    pub fn create_dir(&self, path: &Path, mode: u32) -> Result<(), DiskError> {
        if path.is_dir() {
            return Ok(());
        }
        self.run(path, || DirBuilder::new().recursive(true).mode(mode).create(path))?;
        self.sync_dir(parent(path))
    }

    /// Writes a whole file and brings its content to the disk; its name is safe after [`Disk::sync_dir`].
    pub fn write(&self, path: &Path, mode: u32, octets: &[u8]) -> Result<(), DiskError> {
        self.write_with(path, mode, |file| file.write_all(octets))
    }

    /// The same for content that is made while it is written.
    pub fn write_with(
        &self,
        path: &Path,
        mode: u32,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), DiskError> {
        // A kill may come before the first octet, or before the last one is on the disk.
        let file = self
            .run(path, || OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path))?;
        let mut buffered = io::BufWriter::new(&file);
        content(&mut buffered).and_then(|()| buffered.flush()).map_err(|source| failed(path, source))?;
        self.run(path, || file.sync_all())
    }

    /// Writes octets behind the first `length` octets of a file, which is made if it is not there; whatever a kill has
    /// left behind them goes.
    pub fn append(&self, path: &Path, mode: u32, length: u64, octets: &[u8]) -> Result<(), DiskError> {
        let is_new = !is_there(path)?;
        let file = self.run(path, || {
            let file = OpenOptions::new().write(true).create(true).truncate(false).mode(mode).open(path)?;
            file.set_len(length)?;
            Ok(file)
        })?;
        self.run(path, || file.write_all_at(octets, length))?;
        self.run(path, || file.sync_all())?;
        if is_new { self.sync_dir(parent(path)) } else { Ok(()) }
    }

    /// Writes over a file's own octets, where they lie. For secrets that end: on a disk that writes in place nothing is left.
    pub fn overwrite(&self, path: &Path, octets: &[u8]) -> Result<(), DiskError> {
        let file = self.run(path, || OpenOptions::new().write(true).open(path))?;
        self.run(path, || file.write_all_at(octets, 0))?;
        self.run(path, || file.sync_all())
    }

    /// The same as [`Disk::replace`] for a file that everybody may read, whatever the umask.
    pub fn replace_public(&self, path: &Path, octets: &[u8]) -> Result<(), DiskError> {
        let written = beside(path);
        self.write(&written, PUBLIC, octets)?;
        self.run(&written, || fs::set_permissions(&written, fs::Permissions::from_mode(PUBLIC)))?;
        self.rename(&written, path)
    }

    /// Creates a directory that everybody may look into, whatever the umask. Its parents are as the umask has them.
    pub fn create_public_dir(&self, path: &Path) -> Result<(), DiskError> {
        if path.is_dir() {
            return Ok(());
        }
        self.create_dir(path, PUBLIC_DIR)?;
        self.run(path, || fs::set_permissions(path, fs::Permissions::from_mode(PUBLIC_DIR)))
    }

    /// Puts new content in place of a file: whoever reads sees the old or the new one, never a part.
    pub fn replace(&self, path: &Path, mode: u32, octets: &[u8]) -> Result<(), DiskError> {
        let written = beside(path);
        self.write(&written, mode, octets)?;
        self.rename(&written, path)
    }

    /// Renames a file or directory; afterwards both directories are on the disk.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.run(to, || fs::rename(from, to))?;
        self.sync_dir(parent(to))?;
        if parent(from) == parent(to) { Ok(()) } else { self.sync_dir(parent(from)) }
    }

    /// Brings the names of a directory to the disk.
    pub fn sync_dir(&self, path: &Path) -> Result<(), DiskError> {
        self.run(path, || File::open(path)?.sync_all())
    }

    /// Sets the time at which a file was written to the beginning of 1970.
    pub fn without_time(&self, path: &Path) -> Result<(), DiskError> {
        self.run(path, || OpenOptions::new().write(true).open(path)?.set_modified(SystemTime::UNIX_EPOCH))
    }

    /// Removes a file; one that is gone is fine.
    pub fn remove(&self, path: &Path) -> Result<(), DiskError> {
        self.run(path, || gone_is_fine(fs::remove_file(path)))
    }

    /// Removes a directory with all that is in it; one that is gone is fine.
    pub fn remove_dir(&self, path: &Path) -> Result<(), DiskError> {
        self.run(path, || gone_is_fine(fs::remove_dir_all(path)))
    }

    fn run<T>(&self, path: &Path, step: impl FnOnce() -> io::Result<T>) -> Result<T, DiskError> {
        self.is_alive().and_then(|()| step()).map_err(|source| failed(path, source))
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "in tests, a disk may be dead")]
    fn is_alive(&self) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    fn is_alive(&self) -> io::Result<()> {
        use std::sync::atomic::Ordering;
        match &self.left {
            Some(left) if left.fetch_sub(1, Ordering::SeqCst) <= 0 => {
                if self.fails == Fails::Once {
                    left.store(isize::MAX, Ordering::SeqCst);
                }
                Err(io::Error::other("killed here"))
            }
            _ => Ok(()),
        }
    }

    /// A disk on which the step after so many fails, and no other; and whether it has.
    #[cfg(test)]
    pub(crate) fn failing_once_after(steps: isize) -> (impl Fn() -> bool, Self) {
        use std::sync::atomic::Ordering;
        let disk = Self { fails: Fails::Once, ..Self::dying_after(steps) };
        let left = disk.left.clone();
        let failed = move || left.as_ref().is_some_and(|left| left.load(Ordering::SeqCst) > steps);
        (failed, disk)
    }

    /// A disk on which every step after so many fails.
    #[cfg(test)]
    pub(crate) fn dying_after(steps: isize) -> Self {
        Self { _lock: None, left: Some(Arc::new(steps.into())), fails: Fails::ForGood }
    }

    /// From now on no step fails.
    #[cfg(test)]
    pub(crate) fn heal(&self) {
        use std::sync::atomic::Ordering;
        self.left.iter().for_each(|left| left.store(isize::MAX, Ordering::SeqCst));
    }

    /// Whether a step has failed.
    #[cfg(test)]
    pub(crate) fn is_dead(&self) -> bool {
        self.left.as_ref().is_some_and(|left| left.load(std::sync::atomic::Ordering::SeqCst) < 0)
    }
}

/// The names in a directory, sorted; those that are no UTF-8 are left out.
pub fn names(path: &Path) -> Result<Vec<String>, DiskError> {
    let entries = entries(path)?.into_iter();
    let mut names: Vec<_> = entries.filter_map(|(name, _)| name.into_string().ok()).collect();
    names.sort_unstable();
    Ok(names)
}

/// The days that a directory has folders of, by their numbers since 1970.
pub fn days(path: &Path) -> Result<Vec<Day>, DiskError> {
    Ok(names(path)?.iter().filter_map(|name| name.parse().ok().map(Day::new)).collect())
}

/// What is in a directory, in no order; links are not followed.
pub fn entries(path: &Path) -> Result<Vec<(OsString, FileType)>, DiskError> {
    let entries = fs::read_dir(path).and_then(|entries| {
        let kind = |entry: fs::DirEntry| Ok((entry.file_name(), entry.file_type()?));
        entries.map(|entry| entry.and_then(kind)).collect()
    });
    entries.map_err(|source| DiskError::Read { path: path.into(), source })
}

/// Whether anything of this name is there; links are not followed.
pub fn is_there(path: &Path) -> Result<bool, DiskError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(DiskError::Read { path: path.into(), source }),
    }
}

/// The content of a file, or nothing if it is not there.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, DiskError> {
    match fs::read(path) {
        Ok(octets) => Ok(Some(octets)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DiskError::Read { path: path.into(), source }),
    }
}

fn failed(path: &Path, source: io::Error) -> DiskError {
    DiskError::Write { path: path.into(), source }
}

fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(path: &Path) -> PathBuf {
    let mut name: OsString = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        Disk::default().replace(&path, PRIVATE, b"first").unwrap();
        for steps in 0..4 {
            let disk = Disk::dying_after(steps);
            let result = disk.replace(&path, PRIVATE, b"second");
            assert!(result.is_err() && disk.is_dead());
            let content = fs::read(&path).unwrap();
            // Once the rename has happened the new content is there, whether or not the directory was synced.
            assert_eq!(content, if steps < 3 { &b"first"[..] } else { b"second" }, "{steps}");
        }
    }

    #[test]
    fn a_directory_has_one_writer_until_its_last_clone_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::locked(dir.path()).unwrap().unwrap();
        let clone = disk.clone();
        drop(disk);
        assert!(Disk::locked(dir.path()).unwrap().is_none());
        drop(clone);
        assert!(Disk::locked(dir.path()).unwrap().is_some());
    }

    #[test]
    fn what_a_web_server_hands_out_can_be_read_whatever_the_umask() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, file) = (dir.path().join("public"), dir.path().join("public/file"));
        Disk::default().create_public_dir(&folder).unwrap();
        Disk::default().replace_public(&file, b"x").unwrap();
        for (path, mode) in [(folder, PUBLIC_DIR), (file, PUBLIC)] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode);
        }
    }

    #[test]
    fn a_file_is_written_over_where_it_lies() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        Disk::default().write(&path, PRIVATE, &[7; 32]).unwrap();
        let before = fs::metadata(&path).unwrap().ino();
        Disk::default().overwrite(&path, &[0; 32]).unwrap();
        assert_eq!((fs::read(&path).unwrap(), fs::metadata(&path).unwrap().ino()), (vec![0; 32], before));
    }

    #[test]
    fn a_directory_has_no_more_rights_than_its_mode_and_neither_have_its_parents() {
        let dir = tempfile::tempdir().unwrap();
        for (name, mode) in [("private", PRIVATE_DIR), ("shared", SHARED_DIR)] {
            let (parent, child) = (dir.path().join(name), dir.path().join(name).join("child"));
            Disk::default().create_dir(&child, mode).unwrap();
            for made in [parent, child] {
                let found = fs::metadata(&made).unwrap().permissions().mode() & 0o7777;
                assert_eq!(found & !mode, 0, "{}: {found:o}", made.display());
            }
        }
    }

    #[test]
    fn what_is_gone_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        disk.remove(&dir.path().join("nothing")).unwrap();
        disk.remove_dir(&dir.path().join("nothing")).unwrap();
        assert_eq!(read_if_there(&dir.path().join("nothing")).unwrap(), None);
    }
}
