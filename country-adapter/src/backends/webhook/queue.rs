//! The files that wait to be posted, in the order in which the desk has put them down, and how far each has come.
//!
//! Files are numbered, `<number:016>.<piece>.ndjson`, so no clock can change their order, and what comes later always
//! stands behind. The folder is listed when all that was in it is done; the file that is posted is read once. How many
//! of its lines are done stands beside a file, in `<number>.<piece>.done`: a restart posts at most the part again that
//! was under way, under the same name.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pki::disk::DiskError;
use zeroize::Zeroizing;

use crate::durable::{self, Disk, PRIVATE, PRIVATE_DIR, SHARED, SHARED_DIR};

const ENDING: &str = ".ndjson";
const DONE: &str = ".done";
/// Events of one part.
const EVENTS: usize = 1_000;
/// Octets of one part, after which no event is added.
const OCTETS: usize = 1 << 20;

/// The queue's folder and the dead letters.
pub(super) struct Queue {
    disk: Disk,
    folder: PathBuf,
    dead: PathBuf,
    waiting: Mutex<Waiting>,
}

/// What is known of the folder.
#[derive(Default)]
struct Waiting {
    /// Names without the ending, the first one first.
    files: VecDeque<String>,
    /// The first of them, once it was read.
    first: Option<Reading>,
}

/// A file that is being posted. Wiped when dropped.
struct Reading {
    text: Zeroizing<Vec<u8>>,
    /// Where its next part begins.
    at: Place,
}

/// A place in a file: lines before it, and octets.
#[derive(Clone, Copy, Default)]
struct Place {
    lines: usize,
    octets: usize,
}

/// Some events that are posted together. Wiped when dropped.
pub(super) struct Part {
    file: String,
    end: Place,
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
        let queue = Self { disk, folder: folder.into(), dead: dead.into(), waiting: Mutex::default() };
        queue.tidy()?;
        Ok(queue)
    }

    /// The next part. A file that is empty or done is removed on the way.
    pub(super) fn next(&self) -> Result<Option<Part>, DiskError> {
        let mut waiting = self.waiting();
        loop {
            if waiting.files.is_empty() {
                waiting.files = self.list()?;
            }
            let Some(file) = waiting.files.front().cloned() else { return Ok(None) };
            let first = match waiting.first.take() {
                Some(first) => first,
                None => self.read(&file)?,
            };
            if let Some(part) = first.part(&file) {
                waiting.first = Some(first);
                return Ok(Some(part));
            }
            self.remove(&file, &mut waiting)?;
        }
    }

    /// A part was taken, or refused for good with a status.
    pub(super) fn done(&self, part: Part, refused: Option<u16>) -> Result<(), DiskError> {
        if let Some(status) = refused {
            self.disk.replace(&self.dead.join(format!("{}.json", part.id)), SHARED, &part.body)?;
            let why = format!("{status}\n");
            self.disk.replace(&self.dead.join(format!("{}.status", part.id)), SHARED, why.as_bytes())?;
        }
        let mut waiting = self.waiting();
        if part.is_last {
            return self.remove(&part.file, &mut waiting);
        }
        let lines = format!("{}\n", part.end.lines);
        self.disk.replace(&self.path(&part.file, DONE), PRIVATE, lines.as_bytes())?;
        if let Some(first) = &mut waiting.first {
            first.at = part.end;
        }
        Ok(())
    }

    fn list(&self) -> Result<VecDeque<String>, DiskError> {
        let names = durable::names(&self.folder)?;
        Ok(names.iter().filter_map(|name| name.strip_suffix(ENDING)).map(str::to_owned).collect())
    }

    fn read(&self, file: &str) -> Result<Reading, DiskError> {
        let text = durable::read_if_there(&self.path(file, ENDING))?.map(Zeroizing::new).unwrap_or_default();
        let done = durable::read_if_there(&self.path(file, DONE))?.unwrap_or_default();
        let done = String::from_utf8_lossy(&done).trim_end().parse().unwrap_or(0);
        Ok(Reading::behind(text, done))
    }

    fn remove(&self, file: &str, waiting: &mut Waiting) -> Result<(), DiskError> {
        // First the file: without its place it would be posted from its beginning.
        self.disk.remove(&self.path(file, ENDING))?;
        self.disk.sync_dir(&self.folder)?;
        self.disk.remove(&self.path(file, DONE))?;
        waiting.first = None;
        waiting.files.pop_front();
        Ok(())
    }

    /// Removes what a kill has left of files that are gone.
    fn tidy(&self) -> Result<(), DiskError> {
        let names = durable::names(&self.folder)?;
        for file in names.iter().filter_map(|name| name.strip_suffix(DONE)) {
            if !durable::is_there(&self.path(file, ENDING))? {
                self.disk.remove(&self.path(file, DONE))?;
            }
        }
        Ok(())
    }

    fn path(&self, file: &str, ending: &str) -> PathBuf {
        self.folder.join(format!("{file}{ending}"))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // What it knows can be read again.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    /// A file of which so many lines are done.
    fn behind(text: Zeroizing<Vec<u8>>, done: usize) -> Self {
        let mut at = Place::default();
        while at.lines < done && at.octets < text.len() {
            at = next_line(&text, at).1;
        }
        Self { text, at }
    }

    fn part(&self, file: &str) -> Option<Part> {
        let piece = file.split_once('.').map_or(file, |(_number, piece)| piece);
        let id = format!("{piece}-{}", self.at.lines);
        let mut body = Zeroizing::new(Vec::with_capacity(OCTETS + (64 << 10)));
        body.extend_from_slice(format!("{{\"id\":\"{id}\",\"events\":[").as_bytes());
        let mut end = self.at;
        while end.lines - self.at.lines < EVENTS && body.len() < OCTETS && end.octets < self.text.len() {
            let (line, after) = next_line(&self.text, end);
            if end.lines > self.at.lines {
                body.push(b',');
            }
            body.extend_from_slice(line);
            end = after;
        }
        body.extend_from_slice(b"]}");
        let is_last = end.octets >= self.text.len();
        (end.lines > self.at.lines).then(|| Part { file: file.to_owned(), end, is_last, id, body })
    }
}

/// The line at a place, and the place behind it. The desk writes no empty ones.
fn next_line(text: &[u8], at: Place) -> (&[u8], Place) {
    let rest = &text[at.octets..];
    let line = rest.split(|octet| *octet == b'\n').next().unwrap_or_default();
    let octets = at.octets + rest.len().min(line.len() + 1);
    (line, Place { lines: at.lines + 1, octets })
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
        put(dir.path(), "0000000000000004.0000000001-250-1.ndjson", 2_500);
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
        assert!(durable::names(&dir.path().join("queue")).unwrap().is_empty());
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
    #[test]
    fn a_clock_that_steps_back_changes_no_order_and_a_newcomer_takes_no_file_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let before = queue(dir.path());
        put(dir.path(), "0000000000000001.upload-aa.ndjson", 1_500);
        let first = before.next().unwrap().unwrap();
        before.done(first, None).unwrap();
        put(dir.path(), "0000000000000002.0000000001-250-1.ndjson", 1);
        let newcomer = dir.path().join("queue/0000000000000002.0000000001-250-1.ndjson");
        let file = std::fs::File::options().append(true).open(newcomer).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        for queue in [before, queue(dir.path())] {
            let second = queue.next().unwrap().unwrap();
            assert_eq!((second.id(), numbers(&second).len()), ("upload-aa-1000", 500));
        }
    }

    #[test]
    fn a_large_backlog_comes_in_its_order_and_is_listed_once() {
        let dir = tempfile::tempdir().unwrap();
        let queue = queue(dir.path());
        for number in 2..=1_000 {
            put(dir.path(), &format!("{number:016}.upload-{number}.ndjson"), 1);
        }
        let mut ids = Vec::new();
        while let Some(part) = queue.next().unwrap() {
            if ids.is_empty() {
                // No desk gives a number before those that are there: it is seen when the folder is listed again.
                put(dir.path(), "0000000000000001.upload-1.ndjson", 1);
            }
            ids.push(part.id().to_owned());
            queue.done(part, None).unwrap();
        }
        let expected = (2..=1_000).chain([1]).map(|number| format!("upload-{number}-0"));
        assert_eq!(ids, expected.collect::<Vec<_>>());
        assert!(durable::names(&dir.path().join("queue")).unwrap().is_empty());
    }

    #[test]
    fn killed_between_any_two_steps_a_file_is_posted_whole_under_the_same_names() {
        for steps in 0_isize.. {
            let dir = tempfile::tempdir().unwrap();
            queue(dir.path());
            put(dir.path(), "0000000000000001.a.ndjson", 2_500);
            let disk = Disk::dying_after(steps);
            let drain = |disk: Disk| {
                let queue = Queue::open(&dir.path().join("queue"), &dir.path().join("dead"), disk)?;
                let mut ids = Vec::new();
                while let Some(part) = queue.next()? {
                    ids.push((part.id().to_owned(), numbers(&part)));
                    queue.done(part, None)?;
                }
                Ok::<_, DiskError>(ids)
            };
            let killed = drain(disk.clone());
            // What the national system had before the kill it may get again, under the same name.
            let after = drain(Disk::default()).unwrap();
            let whole = [("a-0", 0..1_000), ("a-1000", 1_000..2_000), ("a-2000", 2_000..2_500)];
            let whole: Vec<_> =
                whole.map(|(id, numbers)| (id.to_owned(), numbers.collect::<Vec<_>>())).into();
            assert!(whole.ends_with(&after), "killed after step {steps}");
            assert!(
                durable::names(&dir.path().join("queue")).unwrap().is_empty(),
                "killed after step {steps}"
            );
            if killed.is_ok_and(|ids| ids == whole) {
                assert!(steps > 10, "{steps} steps cannot be all");
                return;
            }
        }
    }
}
