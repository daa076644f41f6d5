//! Writing the end of a segment past the page cache, in whole blocks.
//!
//! What is kept is read back from memory by whoever waits for it, so a copy in the page cache is of no use: it takes
//! time to make, and room that others need. The kernel takes such writes in whole blocks alone (`O_DIRECT` in Linux
//! open(2)). So the last block of a segment is filled up with zeros, and written again with what comes next. A file
//! system that does not take them gets the same blocks through its cache.

use std::{fmt, fs::File, io, os::unix::fs::FileExt};

use rustix::fs::{AtFlags, OFlags, StatxFlags, fcntl_getfl, fcntl_setfl, statx};

/// Octets of a block: a multiple of those of any disk.
pub(super) const BLOCK: usize = 4096;
/// Octets that one call writes.
const ROOM: usize = 1 << 20;

/// A file that grows by blocks.
#[derive(Debug)]
pub(super) struct Blocks {
    file: File,
    /// Where the next octet goes.
    end: u64,
    /// What the file has already of the block that it goes to.
    begun: Vec<u8>,
    room: Room,
}

impl Blocks {
    /// Goes on behind the first `end` octets of a file.
    pub(super) fn behind(file: File, end: u64) -> io::Result<Self> {
        let first = end - end % BLOCK as u64;
        let mut begun = vec![0; (end - first) as usize];
        file.read_exact_at(&mut begun, first)?;
        if takes_blocks(&file)? {
            fcntl_setfl(&file, fcntl_getfl(&file)? | OFlags::DIRECT)?;
        }
        Ok(Self { file, end, begun, room: Room(vec![0; ROOM + BLOCK]) })
    }

    /// Where the next octet goes.
    pub(super) const fn end(&self) -> u64 {
        self.end
    }

    /// Puts octets on disk behind what is there; on failure they are not there.
    pub(super) fn append<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
        let room = self.room.octets();
        let mut at = self.end - self.begun.len() as u64;
        let mut filled = self.begun.len();
        room[..filled].copy_from_slice(&self.begun);
        for mut part in parts {
            while !part.is_empty() {
                let (now, later) = part.split_at(part.len().min(ROOM - filled));
                room[filled..][..now.len()].copy_from_slice(now);
                filled += now.len();
                part = later;
                if filled == ROOM {
                    self.file.write_all_at(room, at)?;
                    at += ROOM as u64;
                    filled = 0;
                }
            }
        }
        let blocks = filled.next_multiple_of(BLOCK);
        room[filled..blocks].fill(0);
        self.file.write_all_at(&room[..blocks], at)?;
        self.file.sync_data()?;
        self.end = at + filled as u64;
        self.begun.clear();
        self.begun.extend_from_slice(&room[filled - filled % BLOCK..filled]);
        Ok(())
    }

    /// Cuts off what lies behind the end.
    pub(super) fn trim(&self) -> io::Result<()> {
        self.file.set_len(self.end)
    }
}

/// Whether the file system says that it takes blocks past its cache (`STATX_DIOALIGN`, since Linux 6.1).
fn takes_blocks(file: &File) -> io::Result<bool> {
    let found = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN)?;
    let suits = |alignment: u32| (1..=BLOCK as u32).contains(&alignment);
    Ok(suits(found.stx_dio_mem_align) && suits(found.stx_dio_offset_align))
}

/// Memory in which a block can begin.
struct Room(Vec<u8>);

impl Room {
    fn octets(&mut self) -> &mut [u8] {
        let before = self.0.as_ptr().align_offset(BLOCK);
        &mut self.0[before..][..ROOM]
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Room")
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, mem, path::Path};

    use super::*;

    fn open(path: &Path) -> File {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
    }

    fn octets(count: usize) -> Vec<u8> {
        (0..count).map(|n| (n % 251 + 1) as u8).collect()
    }

    /// In a folder on a disk, and in one whose file system has no blocks.
    fn folders() -> [tempfile::TempDir; 2] {
        [tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap()]
    }

    #[test]
    fn whatever_its_length_what_is_appended_is_there_and_the_last_block_is_filled_up() {
        for folder in folders() {
            let path = folder.path().join("file");
            let mut written = Vec::new();
            let mut blocks = Blocks::behind(open(&path), 0).unwrap();
            for (nth, length) in
                [1, BLOCK - 1, BLOCK, 3, ROOM, 2 * ROOM + 5, ROOM - BLOCK, 7].into_iter().enumerate()
            {
                let new = octets(length);
                blocks.append(new.chunks(length.min(100_000 + nth))).unwrap();
                written.extend(new);
                assert_eq!(blocks.end(), written.len() as u64);
                let mut filled = written.clone();
                filled.resize(written.len().next_multiple_of(BLOCK), 0);
                assert!(std::fs::read(&path).unwrap() == filled, "after {length} octets");
                if nth % 2 == 1 {
                    blocks = Blocks::behind(open(&path), blocks.end()).unwrap();
                }
            }
            blocks.trim().unwrap();
            assert!(std::fs::read(&path).unwrap() == written);
            blocks.append([&[9][..]].into_iter()).unwrap();
            written.push(9);
            assert!(std::fs::read(&path).unwrap().starts_with(&written));
        }
    }

    #[test]
    fn what_could_not_be_written_is_written_again_from_the_same_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut blocks = Blocks::behind(open(&path), 0).unwrap();
        blocks.append([&octets(5000)[..]].into_iter()).unwrap();
        let writable = mem::replace(&mut blocks.file, File::open(&path).unwrap());
        let new = octets(ROOM + 5000);
        assert!(blocks.append([&new[..]].into_iter()).is_err());
        assert_eq!(blocks.end(), 5000);
        blocks.file = writable;
        blocks.append([&new[..]].into_iter()).unwrap();
        blocks.trim().unwrap();
        assert!(std::fs::read(&path).unwrap() == [octets(5000), new].concat());
    }

    #[test]
    fn a_file_that_is_too_short_is_no_place_to_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, octets(5000)).unwrap();
        assert!(Blocks::behind(open(&path), 5001).is_err());
    }
}
