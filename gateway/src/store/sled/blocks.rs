//! Writing the end of a segment past the page cache, in whole blocks.
//!
//! What is kept is read back from memory by whoever waits for it, so a copy in the page cache is of no use: it takes
//! time to make, and room that others need. The kernel takes such writes in whole blocks alone (`O_DIRECT` in Linux
//! open(2)). So the last block of a segment is filled up with zeros, and written again with what comes next. A file
//! system that does not take them gets the same blocks through its cache.

use std::{fmt, fs::File, io, os::unix::fs::FileExt, sync::Once};

use rustix::fs::{AtFlags, OFlags, StatxFlags, fcntl_getfl, fcntl_setfl, statx};
use tracing::warn;

/// Octets of a block: a multiple of those of nearly any disk.
pub(super) const BLOCK: usize = 4096;
/// Octets that one call writes.
const ROOM: usize = 1 << 20;

/// Once a process: it is so for every segment.
static TOLD: Once = Once::new();

/// A file that grows by blocks.
pub(super) struct Blocks {
    file: File,
    /// Where the next octet goes.
    end: u64,
    /// What the file has already of the block that it goes to.
    begun: Vec<u8>,
    buffer: Buffer,
    /// Whether writes go past the page cache.
    direct: bool,
}

impl Blocks {
    /// Goes on behind the first `end` octets of a file.
    pub(super) fn behind(file: File, end: u64) -> io::Result<Self> {
        let first = end - end % BLOCK as u64;
        let mut begun = vec![0; (end - first) as usize];
        // Before the cache is left: what is read past it has to be whole blocks as well.
        file.read_exact_at(&mut begun, first)?;
        let direct = takes_blocks(&file) && set_direct(&file, true).is_ok();
        Ok(Self { file, end, begun, buffer: Buffer::new(), direct })
    }

    /// Where the next octet goes.
    pub(super) const fn end(&self) -> u64 {
        self.end
    }

    /// Whether writes go past the page cache.
    #[cfg(test)]
    pub(super) const fn is_direct(&self) -> bool {
        self.direct
    }

    /// Puts octets on disk behind what is there; on failure the end stays where it was.
    pub(super) fn append<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]> + Clone) -> io::Result<()> {
        let written = match self.write(parts.clone()) {
            Err(cause) if self.direct && cause.kind() == io::ErrorKind::InvalidInput => {
                TOLD.call_once(|| warn!(%cause, "segments are written through the page cache: the file system takes no blocks past it"));
                set_direct(&self.file, false)?;
                self.direct = false;
                self.write(parts)
            }
            written => written,
        };
        let (end, begun) = written?;
        self.file.sync_data()?;
        self.end = end;
        self.begun.clear();
        self.begun.extend_from_slice(&self.buffer.octets()[begun..][..end as usize % BLOCK]);
        Ok(())
    }

    /// Gives the new end, and where in the buffer its block begins.
    fn write<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]>) -> io::Result<(u64, usize)> {
        let octets = self.buffer.octets();
        let mut at = self.end - self.begun.len() as u64;
        let mut filled = self.begun.len();
        octets[..filled].copy_from_slice(&self.begun);
        for mut part in parts {
            while !part.is_empty() {
                let (now, later) = part.split_at(part.len().min(ROOM - filled));
                octets[filled..][..now.len()].copy_from_slice(now);
                filled += now.len();
                part = later;
                if filled == ROOM {
                    self.file.write_all_at(octets, at)?;
                    at += ROOM as u64;
                    filled = 0;
                }
            }
        }
        let blocks = filled.next_multiple_of(BLOCK);
        octets[filled..blocks].fill(0);
        self.file.write_all_at(&octets[..blocks], at)?;
        Ok((at + filled as u64, filled - filled % BLOCK))
    }

    /// Cuts off what lies behind the end.
    pub(super) fn trim(&self) -> io::Result<()> {
        self.file.set_len(self.end)
    }
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, end, direct, .. } = self;
        f.debug_struct("Blocks").field("file", file).field("end", end).field("direct", direct).finish()
    }
}

/// Whether the file system says that it takes blocks past its cache (`STATX_DIOALIGN`, since Linux 6.1).
fn takes_blocks(file: &File) -> bool {
    let Ok(found) = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN) else { return false };
    let suits = |alignment: u32| (1..=BLOCK as u32).contains(&alignment);
    StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::DIOALIGN)
        && suits(found.stx_dio_mem_align)
        && suits(found.stx_dio_offset_align)
}

fn set_direct(file: &File, direct: bool) -> io::Result<()> {
    let mut flags = fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, direct);
    Ok(fcntl_setfl(file, flags)?)
}

/// Memory in which a block can begin.
struct Buffer {
    octets: Vec<u8>,
    before: usize,
}

impl Buffer {
    fn new() -> Self {
        let octets = vec![0; ROOM + BLOCK];
        // It never grows, so it stays where it is.
        let before = octets.as_ptr().align_offset(BLOCK);
        Self { octets, before }
    }

    fn octets(&mut self) -> &mut [u8] {
        &mut self.octets[self.before..][..ROOM]
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
    fn a_write_that_fails_between_two_others_leaves_the_end_where_it_was() {
        let [_, folder] = folders();
        let path = folder.path().join("file");
        let mut blocks = Blocks::behind(open(&path), 0).unwrap();
        blocks.append([&octets(5000)[..]].into_iter()).unwrap();
        // There is room for one of them before the largest offset that there is.
        let (end, almost) = (blocks.end, (1 << 63) - 2 * ROOM as u64);
        blocks.end = almost + end % BLOCK as u64;
        assert!(blocks.append([&octets(2 * ROOM)[..]].into_iter()).is_err());
        assert!(std::fs::metadata(&path).unwrap().len() >= almost + ROOM as u64, "the first was written");
        blocks.end = end;
        blocks.append([&octets(10)[..]].into_iter()).unwrap();
        blocks.trim().unwrap();
        assert!(std::fs::read(&path).unwrap() == [octets(5000), octets(10)].concat());
    }

    #[test]
    fn blocks_that_are_refused_past_the_cache_go_through_it() {
        for folder in folders() {
            let path = folder.path().join("file");
            let mut blocks = Blocks::behind(open(&path), 0).unwrap();
            assert_eq!(blocks.is_direct(), takes_blocks(&blocks.file));
            blocks.buffer.before = (blocks.buffer.before + 1) % BLOCK;
            blocks.append([&octets(5000)[..]].into_iter()).unwrap();
            assert!(!blocks.is_direct());
            blocks.append([&octets(7)[..]].into_iter()).unwrap();
            blocks.trim().unwrap();
            assert!(std::fs::read(&path).unwrap() == [octets(5000), octets(7)].concat());
        }
    }

    #[test]
    fn a_file_that_is_too_short_is_no_place_to_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, octets(5000)).unwrap();
        assert!(Blocks::behind(open(&path), 5001).is_err());
    }
}
