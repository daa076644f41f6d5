//! A small disk under one gateway's store, where this process may mount one: a tmpfs, and something that fills it.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::fuse;
use crate::leaks::octets_below;

/// What fills the disk. No store has a file of this name.
pub(super) const BALLAST: &str = "ballast";
/// Octets that are free on it at first, beside what was there before.
const FREE: u64 = 48 << 20;

/// A tmpfs. It goes when it is dropped, and with it what is on it.
pub(super) struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Puts a folder on a disk of its own, with all that is in it; nothing where this process may not mount one.
    /// Nobody may use the folder meanwhile.
    pub(super) fn under(folder: &Path) -> Result<Option<Self>> {
        fs::create_dir_all(folder)?;
        let used = octets_below(folder)?;
        let aside = folder.with_extension("aside");
        fs::rename(folder, &aside)?;
        fs::create_dir(folder)?;
        if !mount(folder, used + FREE) {
            fs::remove_dir(folder)?;
            fs::rename(&aside, folder)?;
            return Ok(None);
        }
        let disk = Self { folder: folder.into() };
        fuse::copy(&aside, folder)?;
        fs::remove_dir_all(&aside)?;
        Ok(Some(disk))
    }

    /// Whether this is under a folder.
    pub(super) fn is_under(&self, folder: &Path) -> bool {
        self.folder == folder
    }

    /// Leaves so many octets free.
    pub(super) fn fill(&self, leave: u64) -> Result<()> {
        let free =
            pki::disk::free(&self.folder).context("the free space cannot be measured")?.saturating_sub(leave);
        let mut file = File::options().create(true).append(true).open(self.folder.join(BALLAST))?;
        std::io::copy(&mut std::io::repeat(0).take(free), &mut file)?;
        Ok(())
    }

    /// Gives the space back.
    pub(super) fn clear(&self) -> Result<()> {
        let ballast = self.folder.join(BALLAST);
        if ballast.exists() { Ok(fs::remove_file(ballast)?) } else { Ok(()) }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A gateway that was killed may still have files open.
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
    }
}

fn mount(at: &Path, octets: u64) -> bool {
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", &format!("size={octets},mode=0700"), "tmpfs"]).arg(at);
    command.stdin(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_is_full_and_has_room_again_and_keeps_what_was_there() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("store");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("kept"), "kept").unwrap();
        let Some(disk) = SmallDisk::under(&folder).unwrap() else {
            assert_eq!(fs::read(folder.join("kept")).unwrap(), b"kept");
            eprintln!("SKIPPED: only root may mount the small disk that this test fills");
            return;
        };
        disk.fill(0).unwrap();
        let refused = fs::write(folder.join("more"), vec![1; 8_192]).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
        disk.clear().unwrap();
        fs::write(folder.join("more"), vec![1; 8_192]).unwrap();
        assert_eq!(fs::read(folder.join("kept")).unwrap(), b"kept");
        drop(disk);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "it is gone with the disk");
    }
}
