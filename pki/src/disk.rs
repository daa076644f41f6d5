//! Files as this crate reads and writes them: secret ones closed to everybody else, none overwritten by accident.
//!
//! Modes are read from the opened file, so nobody can exchange it between the check and the reading.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::mem;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::secret::Secret;

/// Bits of a mode that let group or others in.
const OTHERS: u32 = 0o077;

/// Why a file could not be read or written. Each names the file, and what to do where something can be done.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// It is not there, or the operating system refuses.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A secret that group or others can reach is no secret.
    #[error(
        "{path} holds a secret, and group or others can reach it (mode {mode:04o}); run: chmod 600 {path}"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Longer than anything of its kind.
    #[error("{path} is larger than {limit} octets; it cannot be what is asked for")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most octets that are read.
        limit: usize,
    },
    /// A text was expected.
    #[error("{path} is no UTF-8 text")]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// There is a file of that name; it may be somebody's only key.
    #[error("{path} exists and is never overwritten; name another file, or move this one away first")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// No space, no such directory, no right to write.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Reads a secret of at most `limit` octets. The file must be closed to group and others.
pub fn read_secret(path: &Path, limit: usize) -> Result<Secret<Vec<u8>>, DiskError> {
    let failed = |source| DiskError::Read { path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(DiskError::Exposed { path: path.into(), mode });
    }
    // A buffer that grows leaves copies of the secret behind, so it has its full size from the start.
    let mut octets = Zeroizing::new(Vec::with_capacity(limit + 1));
    take(&file, limit, &mut octets).map_err(failed)?;
    check_length(path, octets.len(), limit)?;
    Ok(Secret::new(mem::take(&mut *octets)))
}

/// Reads a text that anybody may know, of at most `limit` octets.
pub fn read_text(path: &Path, limit: usize) -> Result<String, DiskError> {
    String::from_utf8(read(path, limit)?).map_err(|_| DiskError::NotText { path: path.into() })
}

/// Reads octets that anybody may know, at most `limit` of them.
pub fn read(path: &Path, limit: usize) -> Result<Vec<u8>, DiskError> {
    let failed = |source| DiskError::Read { path: path.into(), source };
    let mut octets = Vec::new();
    take(&File::open(path).map_err(failed)?, limit, &mut octets).map_err(failed)?;
    check_length(path, octets.len(), limit)?;
    Ok(octets)
}

/// Octets that this process may still write to the file system of a folder.
pub fn free(folder: &Path) -> io::Result<u64> {
    let space = rustix::fs::statvfs(folder)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// Creates a file that only its owner may read (mode 0600) and returns when it is on the disk.
pub fn create_secret(path: &Path, octets: &[u8]) -> Result<(), DiskError> {
    create(path, octets, 0o600)
}

/// Creates a file that anybody may read (mode 0644) and returns when it is on the disk.
pub fn create_public(path: &Path, octets: &[u8]) -> Result<(), DiskError> {
    create(path, octets, 0o644)
}

/// Puts new content in place of a public file: whoever reads meanwhile sees the old or the new one, never a part.
pub fn replace_public(path: &Path, octets: &[u8]) -> Result<(), DiskError> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    // At random: a name that a killed process has left behind, or that another thread uses, must not be in the way.
    let mut random = [0; 8];
    getrandom::fill(&mut random).expect("the operating system gives random octets");
    name.push(format!(".{}.tmp", hex::encode(random)));
    let written = path.with_file_name(name);
    create_public(&written, octets)?;
    fs::rename(&written, path).and_then(|()| sync_parent(path)).map_err(|source| {
        let _ = fs::remove_file(&written);
        DiskError::Write { path: path.into(), source }
    })
}

fn create(path: &Path, octets: &[u8], mode: u32) -> Result<(), DiskError> {
    let created = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let file = created.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => DiskError::Exists { path: path.into() },
        _ => DiskError::Write { path: path.into(), source },
    })?;
    write_through(&file, octets, mode).and_then(|()| sync_parent(path)).map_err(|source| {
        // Half a key file is worse than none: the next attempt would be told that it exists.
        let _ = fs::remove_file(path);
        DiskError::Write { path: path.into(), source }
    })
}

fn write_through(mut file: &File, octets: &[u8], mode: u32) -> io::Result<()> {
    // An unusual umask may have taken the owner's own rights away.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(octets)?;
    file.sync_all()
}

// A file is only there after a power cut if its directory is on the disk as well.
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

// Devices and pipes have no length to ask for, so the limit holds while reading.
fn take(file: &File, limit: usize, octets: &mut Vec<u8>) -> io::Result<()> {
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(octets).map(drop)
}

fn check_length(path: &Path, len: usize, limit: usize) -> Result<(), DiskError> {
    if len > limit { Err(DiskError::TooLarge { path: path.into(), limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_written_closed_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        create_secret(&path, b"octets").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(read_secret(&path, 6).unwrap().expose(), b"octets");
        assert!(matches!(read_secret(&path, 5), Err(DiskError::TooLarge { limit: 5, .. })));
    }

    #[test]
    fn a_secret_that_others_can_reach_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        create_public(&path, b"octets").unwrap();
        for mode in [0o644, 0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let refused = read_secret(&path, 6).err().unwrap().to_string();
            assert!(refused.contains(&format!("chmod 600 {}", path.display())), "{refused}");
            assert!(refused.contains(&format!("mode 0{mode:o}")), "{refused}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        assert!(read_secret(&path, 6).is_ok());
    }

    #[test]
    fn a_symlink_does_not_hide_the_mode_of_its_target() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("secret"), dir.path().join("link"));
        create_public(&path, b"octets").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(read_secret(&link, 6), Err(DiskError::Exposed { mode: 0o644, .. })));
    }

    #[test]
    fn what_exists_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create_secret(&path, b"first").unwrap();
        let refused = create_secret(&path, b"second").unwrap_err();
        assert!(
            matches!(&refused, DiskError::Exists { .. })
                && refused.to_string().contains("move this one away")
        );
        assert_eq!(fs::read(&path).unwrap(), b"first");
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        create_public(&path, b"first").unwrap();
        replace_public(&path, b"second").unwrap();
        assert_eq!(read_text(&path, 100).unwrap(), "second");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_read_or_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nowhere/file");
        assert!(matches!(read(&path, 10), Err(DiskError::Read { .. })));
        assert!(matches!(read_secret(&path, 10), Err(DiskError::Read { .. })));
        assert!(matches!(create_secret(&path, b""), Err(DiskError::Write { .. })));
        let path = dir.path().join("octets");
        create_public(&path, &[0xff, 0xfe]).unwrap();
        assert!(matches!(read_text(&path, 10), Err(DiskError::NotText { .. })));
    }
}
