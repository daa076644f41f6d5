//! The files that wait to be posted, oldest first, and how far the first of them has come.
//!
//! `progress` beside the files names the first file and the lines of it that are done. A restart posts at most the part
//! again that was under way, under the same name.

use std::path::{Path, PathBuf};

use pki::disk::DiskError;
use zeroize::Zeroizing;

use crate::durable::{self, Disk, PRIVATE, PRIVATE_DIR, SHARED, SHARED_DIR};

const ENDING: &str = ".ndjson";
const PROGRESS: &str = "progress";
/// Events of one part.
const EVENTS: usize = 1_000;
/// Octets of one part, after which no event is added.
const OCTETS: usize = 1 << 20;

/// The queue's folder and the dead letters.
pub(super) struct Queue {
    disk: Disk,
    folder: PathBuf,
    dead: PathBuf,
}

/// Some events that are posted together. Wiped when dropped.
pub(super) struct Part {
    file: String,
    /// Lines before it, and lines through its end.
    lines: (usize, usize),
    is_last: bool,
    id: String,
    body: Zeroizing<Vec<u8>>,
}

impl Part {
    /// The same at each try.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// `{"id": ..., "events": [...]}`.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }
}

impl Queue {
    pub(super) fn open(folder: &Path, dead: &Path, disk: Disk) -> Result<Self, DiskError> {
        disk.create_dir(folder, PRIVATE_DIR)?;
        disk.create_dir(dead, SHARED_DIR)?;
        Ok(Self { disk, folder: folder.into(), dead: dead.into() })
    }

    /// The next part. A file that is empty or done is removed on the way.
    pub(super) fn next(&self) -> Result<Option<Part>, DiskError> {
        loop {
            let names = durable::names(&self.folder)?.into_iter().filter(|name| name.ends_with(ENDING));
            let Some(file) = names.min_by_key(|name| age(&self.folder, name)) else { return Ok(None) };
            let done = self.progress(&file)?;
            let text =
                durable::read_if_there(&self.folder.join(&file))?.map(Zeroizing::new).unwrap_or_default();
            if let Some(part) = cut(&file, &text, done) {
                return Ok(Some(part));
            }
            self.remove(&file)?;
        }
    }

    /// A part was taken, or refused for good with a status.
    pub(super) fn done(&self, part: Part, refused: Option<u16>) -> Result<(), DiskError> {
        if let Some(status) = refused {
            self.disk.replace(&self.dead.join(format!("{}.json", part.id)), SHARED, &part.body)?;
            let why = format!("{status}\n");
            self.disk.replace(&self.dead.join(format!("{}.status", part.id)), SHARED, why.as_bytes())?;
        }
        if part.is_last {
            return self.remove(&part.file);
        }
        let progress = format!("{} {}\n", part.file, part.lines.1);
        self.disk.replace(&self.folder.join(PROGRESS), PRIVATE, progress.as_bytes())
    }

    fn progress(&self, file: &str) -> Result<usize, DiskError> {
        let text = durable::read_if_there(&self.folder.join(PROGRESS))?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let done = text.trim_end().rsplit_once(' ').filter(|(of, _)| *of == file);
        Ok(done.and_then(|(_, lines)| lines.parse().ok()).unwrap_or_default())
    }

    fn remove(&self, file: &str) -> Result<(), DiskError> {
        self.disk.remove(&self.folder.join(file))?;
        self.disk.sync_dir(&self.folder)
    }
}

/// Batches come in the order of their positions, uploads when they were taken.
fn age(folder: &Path, name: &str) -> (std::time::SystemTime, String) {
    let written = std::fs::metadata(folder.join(name)).and_then(|file| file.modified());
    (written.unwrap_or(std::time::SystemTime::UNIX_EPOCH), name.to_owned())
}

fn cut(file: &str, text: &[u8], done: usize) -> Option<Part> {
    let mut lines = text.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()).skip(done).peekable();
    lines.peek()?;
    let id = format!("{}-{done}", file.strip_suffix(ENDING).unwrap_or(file));
    let mut body = Zeroizing::new(Vec::with_capacity(OCTETS + (64 << 10)));
    body.extend_from_slice(format!("{{\"id\":\"{id}\",\"events\":[").as_bytes());
    let mut count = 0;
    while count < EVENTS && body.len() < OCTETS {
        let Some(line) = lines.next() else { break };
        if count > 0 {
            body.push(b',');
        }
        body.extend_from_slice(line);
        count += 1;
    }
    body.extend_from_slice(b"]}");
    let is_last = lines.peek().is_none();
    Some(Part { file: file.to_owned(), lines: (done, done + count), is_last, id, body })
}

#[cfg(test)]
mod queue_tests {
    use super::*;

    fn queue(dir: &Path) -> Queue {
        Queue::open(&dir.join("queue"), &dir.join("dead"), Disk::default()).unwrap()
    }

    fn put(dir: &Path, name: &str, events: usize) {
        let lines: String = (0..events).map(|number| format!("{{\"n\":{number}}}\n")).collect();
        std::fs::write(dir.join("queue").join(name), lines).unwrap();
    }

    fn numbers(part: &Part) -> Vec<u64> {
        let body: serde_json::Value = serde_json::from_slice(part.body()).unwrap();
        assert_eq!(body["id"], part.id());
        body["events"].as_array().unwrap().iter().map(|event| event["n"].as_u64().unwrap()).collect()
    }

    #[test]
    fn a_file_is_posted_in_parts_in_order_and_a_restart_goes_on_where_it_stood() {
        let dir = tempfile::tempdir().unwrap();
        queue(dir.path());
        put(dir.path(), "0000000001-250-1.ndjson", 2_500);
        let mut all = Vec::new();
        let mut ids = Vec::new();
        loop {
            // Another queue each time: nothing is known but what is on the disk.
            let Some(part) = queue(dir.path()).next().unwrap() else { break };
            let again = queue(dir.path()).next().unwrap().unwrap();
            assert_eq!((again.id(), again.body()), (part.id(), part.body()), "the same until it is done");
            all.extend(numbers(&part));
            ids.push(part.id().to_owned());
            queue(dir.path()).done(part, None).unwrap();
        }
        assert_eq!(all, (0..2_500).collect::<Vec<_>>());
        assert_eq!(ids, ["0000000001-250-1-0", "0000000001-250-1-1000", "0000000001-250-1-2000"]);
    }

    #[test]
    fn what_is_refused_for_good_is_a_dead_letter_with_its_status() {
        let dir = tempfile::tempdir().unwrap();
        let queue = queue(dir.path());
        put(dir.path(), "a.ndjson", 1);
        let part = queue.next().unwrap().unwrap();
        queue.done(part, Some(422)).unwrap();
        assert!(queue.next().unwrap().is_none());
        assert_eq!(durable::names(&dir.path().join("dead")).unwrap(), ["a-0.json", "a-0.status"]);
        assert_eq!(std::fs::read_to_string(dir.path().join("dead/a-0.status")).unwrap(), "422\n");
    }

    #[test]
    fn an_empty_file_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let queue = queue(dir.path());
        put(dir.path(), "a.ndjson", 0);
        assert!(queue.next().unwrap().is_none());
    }
}
