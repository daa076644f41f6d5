//! How much room a disk has.

use std::io;
use std::path::Path;

/// Octets that this process may still write to the file system of a folder.
pub fn free(folder: &Path) -> io::Result<u64> {
    let space = rustix::fs::statvfs(folder)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}
