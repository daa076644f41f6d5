//! Where events go: one file a piece, written aside and renamed into place when the piece is committed.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use pki::disk::DiskError;

use super::piece::{Piece, PieceName};
use crate::durable::{self, Disk};
use crate::herald::secured::random;

const PARTIAL: &str = ".tmp";
const ASIDE: &str = ".incoming";

/// A place that takes pieces. Every call may come again for the same piece.
pub trait Outlet: Send + Sync {
    /// Keeps what the piece has for this outlet aside, durably. Nobody sees it yet.
    fn stage(&self, piece: &Piece<'_>) -> Result<(), DiskError>;

    /// Shows it: the piece is committed.
    fn publish(&self, name: &PieceName) -> Result<(), DiskError>;

    /// Drops it: the piece was not committed, and comes again.
    fn discard(&self, name: &PieceName) -> Result<(), DiskError>;

    /// What is kept aside.
    fn staged(&self) -> Result<Vec<PieceName>, DiskError>;
}

/// A folder in which a file appears for each piece.
pub struct Folder {
    disk: Disk,
    dir: PathBuf,
    aside: PathBuf,
    ending: &'static str,
    mode: u32,
    /// Which number the next file gets, if they are numbered.
    next: Option<AtomicU64>,
}

impl Folder {
    /// Opens the folder, or makes it. Files get the ending and the mode.
    pub fn open(dir: &Path, disk: Disk, ending: &'static str, modes: Modes) -> Result<Self, DiskError> {
        let aside = dir.join(ASIDE);
        disk.create_dir(&aside, modes.dir)?;
        Ok(Self { disk, dir: dir.into(), aside, ending, mode: modes.file, next: None })
    }

    /// The same with a number before each name, `<number:016>.<name>`: sorted, files are in the order in which they were
    /// shown, whatever the clock says. Numbers go on behind those that are there.
    pub fn numbered(dir: &Path, disk: Disk, ending: &'static str, modes: Modes) -> Result<Self, DiskError> {
        let mut folder = Self::open(dir, disk, ending, modes)?;
        let number = |name: &String| name.split_once('.')?.0.parse::<u64>().ok();
        let last = durable::names(dir)?.iter().filter_map(number).max().unwrap_or(0);
        folder.next = Some(AtomicU64::new(last + 1));
        Ok(folder)
    }

    /// Writes a piece's content aside.
    pub fn write(
        &self,
        name: &PieceName,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), DiskError> {
        self.disk.write_with(&self.aside(name), self.mode, content)?;
        self.disk.sync_dir(&self.aside)
    }

    /// Renames it into the folder. One that is not there has been shown, or has nothing to show.
    pub fn publish(&self, name: &PieceName) -> Result<(), DiskError> {
        if !durable::is_there(&self.aside(name))? {
            return Ok(());
        }
        let number = self.next.as_ref().map(|next| next.fetch_add(1, Ordering::Relaxed));
        let number = number.map(|number| format!("{number:016}.")).unwrap_or_default();
        self.rename(name, &format!("{number}{}", name.as_str()))
    }

    /// The same under a name of its own, as if it had come at the beginning of 1970: nothing but its content says whose
    /// it is.
    pub fn publish_unnamed(&self, name: &PieceName) -> Result<(), DiskError> {
        let aside = self.aside(name);
        if !durable::is_there(&aside)? {
            return Ok(());
        }
        self.disk.without_time(&aside)?;
        self.rename(name, &hex::encode(*random::<16>()))
    }

    fn rename(&self, name: &PieceName, shown: &str) -> Result<(), DiskError> {
        self.disk.rename(&self.aside(name), &self.dir.join(format!("{shown}{}", self.ending)))
    }

    /// Removes what stands aside.
    pub fn discard(&self, name: &PieceName) -> Result<(), DiskError> {
        self.disk.remove(&self.aside(name))
    }

    /// What stands aside. Files of other names are none of ours, and are removed.
    pub fn staged(&self) -> Result<Vec<PieceName>, DiskError> {
        let ending = format!("{}{PARTIAL}", self.ending);
        let mut staged = Vec::new();
        for file in durable::names(&self.aside)? {
            match file.strip_suffix(&ending) {
                Some(name) => staged.push(PieceName::new(name)),
                None => self.disk.remove(&self.aside.join(file))?,
            }
        }
        Ok(staged)
    }

    fn aside(&self, name: &PieceName) -> PathBuf {
        self.aside.join(format!("{}{}{PARTIAL}", name.as_str(), self.ending))
    }
}

/// Who may read a folder and its files.
#[derive(Debug, Clone, Copy)]
pub struct Modes {
    /// Of files.
    pub file: u32,
    /// Of the folder.
    pub dir: u32,
}

impl Modes {
    /// Nobody else's business.
    pub const PRIVATE: Self = Self { file: durable::PRIVATE, dir: durable::PRIVATE_DIR };
    /// For the backend's user too.
    pub const SHARED: Self = Self { file: durable::SHARED, dir: durable::SHARED_DIR };
}

#[cfg(test)]
mod outlet_tests {
    use super::*;

    #[test]
    fn numbered_files_are_sorted_as_they_were_shown_and_a_restart_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let show = |folder: &Folder, name: &str| {
            let name = PieceName::new(name);
            folder.write(&name, |file| file.write_all(b"x")).unwrap();
            folder.publish(&name).unwrap();
            folder.publish(&name).unwrap();
        };
        let open = || Folder::numbered(dir.path(), Disk::default(), ".ndjson", Modes::PRIVATE).unwrap();
        let folder = open();
        show(&folder, "upload-ff");
        show(&folder, "0000000007-250-1");
        show(&open(), "0000000003-250-2");
        let names = durable::names(dir.path()).unwrap();
        let shown: Vec<_> = names.iter().filter(|name| name.ends_with(".ndjson")).collect();
        assert_eq!(
            shown,
            [
                "0000000000000001.upload-ff.ndjson",
                "0000000000000002.0000000007-250-1.ndjson",
                "0000000000000003.0000000003-250-2.ndjson"
            ]
        );
    }
}
