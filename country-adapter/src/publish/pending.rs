//! Sealed pushes on the disk, from before they are sent until their piece of work is finished.
//!
//! `state/pending/<work>/`: `NNNN.push` is a push as it goes over the wire, behind the lines that it carries;
//! `NNNN.reply` is what the gateway said; `local.ndjson` answers the lines that are in no push. Ciphertext and
//! verdicts only. The directory appears whole, by a rename: from then on the same octets are sent whatever happens.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use pki::disk::DiskError;
use prost::Message;
use proto::octets::Reader;
use proto::wire;
use serde::{Deserialize, Serialize};

use crate::backend::BackendError;
use crate::durable::{self, Disk, PRIVATE, PRIVATE_DIR};
use crate::work::{Answer, WorkName};

/// The ending of a directory that is not whole yet, or not whole any more.
const PARTIAL: &str = ".tmp";

/// All pieces of work that are sealed and not finished.
pub struct Pending {
    disk: Disk,
    dir: PathBuf,
}

/// A sealed push and the line of each of its envelopes.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingPush {
    /// In the order of the envelopes.
    pub lines: Vec<u32>,
    /// What is sent.
    pub request: wire::PushRequest,
}

/// What the gateway said of a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// One verdict for each envelope.
    Answered {
        /// The numbers of [`proto::verdict::Verdict`], in the order of the envelopes.
        verdicts: Vec<u8>,
        /// Words for some of the envelopes, by their place from 0.
        problems: BTreeMap<u32, String>,
    },
    /// The push was refused whole and will be each time.
    Refused {
        /// Why.
        message: String,
    },
}

impl Pending {
    /// Opens the directory and clears away what was left half-made.
    pub fn open(state: &Path, disk: Disk) -> Result<Self, DiskError> {
        let dir = state.join("pending");
        disk.create_dir(&dir, PRIVATE_DIR)?;
        for name in durable::names(&dir)?.iter().filter(|name| name.ends_with(PARTIAL)) {
            disk.remove_dir(&dir.join(name))?;
        }
        Ok(Self { disk, dir })
    }

    /// The pieces of work that are sealed.
    pub(super) fn works(&self) -> Result<Vec<WorkName>, DiskError> {
        let names = durable::names(&self.dir)?;
        Ok(names
            .iter()
            .filter(|name| !name.ends_with(PARTIAL))
            .filter_map(|name| WorkName::new(name))
            .collect())
    }

    /// Whether a piece of work is sealed.
    #[must_use]
    pub(super) fn holds(&self, work: &WorkName) -> bool {
        self.path(work).is_dir()
    }

    /// Begins to keep the pushes of a piece of work.
    pub(super) fn begin(&self, work: &WorkName) -> Result<PendingDraft<'_>, DiskError> {
        let dir = self.partial(work);
        self.disk.remove_dir(&dir)?;
        self.disk.create_dir(&dir, PRIVATE_DIR)?;
        Ok(PendingDraft { pending: self, dir, whole: self.path(work), pushes: 0, local: Vec::new() })
    }

    /// The numbers of a piece's pushes, in their order.
    pub(super) fn pushes(&self, work: &WorkName) -> Result<Vec<u32>, DiskError> {
        self.numbers(work, ".push")
    }

    /// The pushes that have no reply yet.
    pub(super) fn unanswered(&self, work: &WorkName) -> Result<Vec<u32>, DiskError> {
        let answered = self.numbers(work, ".reply")?;
        Ok(self.pushes(work)?.into_iter().filter(|number| !answered.contains(number)).collect())
    }

    /// How many envelopes of a piece wait for an answer. Reads no more than the beginning of each push.
    pub(super) fn unanswered_envelopes(&self, work: &WorkName) -> Result<usize, DiskError> {
        let envelopes = |number| {
            let path = self.path(work).join(push_file(number));
            let mut count = [0; 4];
            let read = File::open(&path).and_then(|mut file| file.read_exact(&mut count));
            read.map_err(|source| DiskError::Read { path, source })?;
            Ok(usize::try_from(u32::from_be_bytes(count)).unwrap_or(usize::MAX))
        };
        self.unanswered(work)?.into_iter().map(envelopes).sum()
    }

    /// Reads a push.
    pub(super) fn push(&self, work: &WorkName, number: u32) -> Result<PendingPush, BackendError> {
        let path = self.path(work).join(push_file(number));
        let octets = std::fs::read(&path).map_err(|source| DiskError::Read { path: path.clone(), source })?;
        PendingPush::parse(&octets).map_err(|reason| BackendError::Damaged { path, reason })
    }

    /// Adds a push to a piece that is sealed already, or puts one in the place of another.
    pub(super) fn put_push(&self, work: &WorkName, number: u32, push: &PendingPush) -> Result<(), DiskError> {
        self.disk.replace(&self.path(work).join(push_file(number)), PRIVATE, &push.octets())
    }

    /// Removes answered pushes of which nobody needs the answers any more.
    pub(super) fn forget_pushes(
        &self,
        work: &WorkName,
        answered: impl Iterator<Item = u32>,
    ) -> Result<(), DiskError> {
        let folder = self.path(work);
        for number in answered {
            self.disk.remove(&folder.join(push_file(number)))?;
        }
        // A push that comes back without its reply would be sent once more.
        self.disk.sync_dir(&folder)?;
        let pushes = self.pushes(work)?;
        let replies = self.numbers(work, ".reply")?.into_iter();
        replies
            .filter(|number| !pushes.contains(number))
            .try_for_each(|number| self.disk.remove(&folder.join(reply_file(number))))
    }

    /// What the gateway said of a push, if it was asked.
    pub(super) fn reply(&self, work: &WorkName, number: u32) -> Result<Option<Reply>, BackendError> {
        let path = self.path(work).join(reply_file(number));
        durable::read_if_there(&path)?.map(|json| from_json(&path, &json)).transpose()
    }

    /// Keeps what the gateway said.
    pub(super) fn put_reply(&self, work: &WorkName, number: u32, reply: &Reply) -> Result<(), DiskError> {
        let json = serde_json::to_vec(reply).expect("numbers and strings always serialise");
        self.disk.replace(&self.path(work).join(reply_file(number)), PRIVATE, &json)
    }

    /// The answers of lines that are in no push.
    pub(super) fn local(&self, work: &WorkName) -> Result<Vec<Answer>, BackendError> {
        let path = self.path(work).join(LOCAL);
        let octets = durable::read_if_there(&path)?.unwrap_or_default();
        let lines = octets.split(|octet| *octet == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| from_json(&path, line)).collect()
    }

    /// Forgets a finished piece of work.
    pub(super) fn forget(&self, work: &WorkName) -> Result<(), DiskError> {
        if self.holds(work) {
            // A half-removed directory must not look like a piece with fewer pushes.
            self.disk.rename(&self.path(work), &self.partial(work))?;
        }
        self.disk.remove_dir(&self.partial(work))
    }

    fn path(&self, work: &WorkName) -> PathBuf {
        self.dir.join(work.as_str())
    }

    fn partial(&self, work: &WorkName) -> PathBuf {
        self.dir.join(format!("{work}{PARTIAL}"))
    }

    fn numbers(&self, work: &WorkName, ending: &str) -> Result<Vec<u32>, DiskError> {
        let names = durable::names(&self.path(work))?;
        let mut numbers: Vec<u32> =
            names.iter().filter_map(|name| name.strip_suffix(ending)?.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }
}

const LOCAL: &str = "local.ndjson";

fn push_file(number: u32) -> String {
    format!("{number:04}.push")
}

fn reply_file(number: u32) -> String {
    format!("{number:04}.reply")
}

fn from_json<T: for<'de> Deserialize<'de>>(path: &Path, json: &[u8]) -> Result<T, BackendError> {
    let damaged =
        |error: serde_json::Error| BackendError::Damaged { path: path.into(), reason: error.to_string() };
    serde_json::from_slice(json).map_err(damaged)
}

/// A piece of work that is being sealed.
pub(super) struct PendingDraft<'a> {
    pending: &'a Pending,
    dir: PathBuf,
    whole: PathBuf,
    pushes: u32,
    local: Vec<u8>,
}

impl PendingDraft<'_> {
    /// Keeps the next push.
    pub(super) fn push(&mut self, push: &PendingPush) -> Result<(), DiskError> {
        let path = self.dir.join(push_file(self.pushes));
        self.pending.disk.write(&path, PRIVATE, &push.octets())?;
        self.pushes += 1;
        Ok(())
    }

    /// Keeps the answer of a line that is in no push.
    pub(super) fn local(&mut self, answer: &Answer) {
        serde_json::to_writer(&mut self.local, answer).expect("numbers and strings always serialise");
        self.local.push(b'\n');
    }

    /// Makes the piece appear, whole. Gives the number of its pushes.
    pub(super) fn commit(self) -> Result<u32, DiskError> {
        let disk = &self.pending.disk;
        disk.write(&self.dir.join(LOCAL), PRIVATE, &self.local)?;
        disk.sync_dir(&self.dir)?;
        disk.rename(&self.dir, &self.whole)?;
        Ok(self.pushes)
    }
}

impl PendingPush {
    /// `number of lines u32 | lines u32 each | PushRequest`, big endian.
    fn octets(&self) -> Vec<u8> {
        let count = u32::try_from(self.lines.len()).expect("a push has at most 5,000 envelopes");
        let mut out = Vec::with_capacity(4 + 4 * self.lines.len() + self.request.encoded_len());
        out.extend_from_slice(&count.to_be_bytes());
        self.lines.iter().for_each(|line| out.extend_from_slice(&line.to_be_bytes()));
        out.extend_from_slice(&self.request.encode_to_vec());
        out
    }

    fn parse(octets: &[u8]) -> Result<Self, String> {
        let mut reader = Reader::new("pending push", octets);
        let read = (|| {
            let count = reader.u32()?;
            (0..count).map(|_| reader.u32()).collect::<Result<Vec<_>, _>>()
        })();
        let lines = read.map_err(|malformed| malformed.to_string())?;
        let request = wire::PushRequest::decode(reader.rest()).map_err(|error| error.to_string())?;
        Ok(Self { lines, request })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(id: u8, lines: &[u32]) -> PendingPush {
        let request = wire::PushRequest { push_id: vec![id; 16].into(), ..Default::default() };
        PendingPush { lines: lines.into(), request }
    }

    fn work() -> WorkName {
        WorkName::new("a.01234567").unwrap()
    }

    fn answer(line: u32) -> Answer {
        Answer { line, verdict: "malformed".into(), push: None, message: Some("words".into()) }
    }

    #[test]
    fn a_piece_reads_back_as_it_was_committed() {
        let dir = tempfile::tempdir().unwrap();
        let pending = Pending::open(dir.path(), Disk::default()).unwrap();
        let mut draft = pending.begin(&work()).unwrap();
        draft.push(&push(1, &[1, 3])).unwrap();
        draft.push(&push(2, &[4])).unwrap();
        draft.local(&answer(2));
        assert!(!pending.holds(&work()));
        assert_eq!(draft.commit().unwrap(), 2);
        assert_eq!(pending.works().unwrap(), [work()]);
        assert_eq!(pending.push(&work(), 0).unwrap(), push(1, &[1, 3]));
        assert_eq!(pending.local(&work()).unwrap(), [answer(2)]);
        let reply = Reply::Answered { verdicts: vec![1, 4], problems: [(1, "suspended".into())].into() };
        pending.put_reply(&work(), 0, &reply).unwrap();
        assert_eq!(pending.reply(&work(), 0).unwrap(), Some(reply));
        assert_eq!(pending.unanswered(&work()).unwrap(), [1]);
        assert_eq!(pending.unanswered_envelopes(&work()).unwrap(), 1);
        pending.forget(&work()).unwrap();
        pending.forget(&work()).unwrap();
        assert!(pending.works().unwrap().is_empty());
    }

    #[test]
    fn a_half_sealed_piece_is_cleared_away_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let pending = Pending::open(dir.path(), Disk::default()).unwrap();
        pending.begin(&work()).unwrap().push(&push(1, &[1])).unwrap();
        let again = Pending::open(dir.path(), Disk::default()).unwrap();
        assert!(again.works().unwrap().is_empty());
        assert_eq!(std::fs::read_dir(dir.path().join("pending")).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_push_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let pending = Pending::open(dir.path(), Disk::default()).unwrap();
        pending.begin(&work()).unwrap().commit().unwrap();
        std::fs::write(dir.path().join("pending/a.01234567/0000.push"), [0, 0, 0, 9]).unwrap();
        let damaged = pending.push(&work(), 0).unwrap_err().to_string();
        assert!(damaged.contains("0000.push is damaged: pending push is truncated"), "{damaged}");
    }
}
