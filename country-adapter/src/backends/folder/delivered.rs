//! Delivered batches: written aside, then the position, then into the folder, so that each batch appears once.
//!
//! 1. `.incoming/<name>.tmp` for every new batch; 2. `state/received.json` with position and origins; 3. the files
//!    are renamed into the folder. Whatever stands in `.incoming` after a kill belongs to a position: up to the one
//!    in the state it is renamed, after it it is removed and comes again.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use pki::disk::DiskError;
use proto::ids::{BatchId, CountryCode, Sequence};
use proto::report::JsonReport;
use serde::{Deserialize, Serialize};

use crate::backend::{Accepted, BackendError, Cursor, Mark};
use crate::durable::{self, Disk, PRIVATE, PRIVATE_DIR, SHARED, SHARED_DIR};
use crate::receive::OpenedBatch;

const PARTIAL: &str = ".tmp";

/// The delivered folder and the state that goes with it.
pub(super) struct Incoming {
    disk: Disk,
    dir: PathBuf,
    aside: PathBuf,
    state: PathBuf,
}

/// `received.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    position: u64,
    /// SHA-256 of the manifest there, in hex; absent if it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    manifest_hash: String,
    /// By country number: the last sequence.
    origins: BTreeMap<String, u64>,
}

/// A line of a delivered file.
#[derive(Serialize)]
struct Line {
    origin: u16,
    batch: String,
    report: JsonReport,
}

impl Incoming {
    pub(super) fn open(dir: &Path, state: &Path, disk: Disk) -> Result<Self, DiskError> {
        let aside = dir.join(".incoming");
        disk.create_dir(&aside, SHARED_DIR)?;
        disk.create_dir(state, PRIVATE_DIR)?;
        Ok(Self { disk, dir: dir.into(), aside, state: state.join("received.json") })
    }

    /// How far the folder has come. Finishes what a kill has interrupted.
    pub(super) fn cursor(&self) -> Result<Cursor, BackendError> {
        let cursor = self.read()?;
        let left = durable::names(&self.aside)?;
        let (kept, lost): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|name| position(name).is_some_and(|position| position <= cursor.at.position));
        for name in lost {
            self.disk.remove(&self.aside.join(name))?;
        }
        self.publish(&kept)?;
        Ok(cursor)
    }

    /// Keeps the batches that are new.
    pub(super) fn accept(&self, through: Mark, batches: &[OpenedBatch]) -> Result<Accepted, BackendError> {
        let mut cursor = self.cursor()?;
        let mut accepted = Accepted::default();
        let mut written = Vec::new();
        for batch in batches {
            let known = cursor.origins.get(&batch.origin()).copied();
            if known.is_some_and(|known| batch.sequence() <= known) {
                accepted.replayed += 1;
                continue;
            }
            cursor.origins.insert(batch.origin(), batch.sequence());
            accepted.batches += 1;
            accepted.reports += batch.reports().len();
            written.extend(self.write(batch)?);
        }
        self.disk.sync_dir(&self.aside)?;
        cursor.at = through;
        self.put(&cursor)?;
        self.publish(&written)?;
        Ok(accepted)
    }

    /// Begins the stream anew.
    pub(super) fn rewind(&self) -> Result<(), BackendError> {
        let cursor = self.cursor()?;
        Ok(self.put(&Cursor { at: Mark::default(), ..cursor })?)
    }

    /// Writes a batch aside and gives its name there. A batch without a good report makes no file.
    fn write(&self, batch: &OpenedBatch) -> Result<Option<String>, DiskError> {
        if batch.reports().len() == 0 {
            return Ok(None);
        }
        let name =
            format!("{:010}-{}-{}.ndjson{PARTIAL}", batch.position(), batch.origin(), batch.sequence());
        self.disk.write_with(&self.aside.join(&name), SHARED, |file| write_lines(file, batch))?;
        Ok(Some(name))
    }

    fn publish(&self, names: &[String]) -> Result<(), DiskError> {
        for name in names {
            let to = name.strip_suffix(PARTIAL).unwrap_or(name);
            self.disk.rename(&self.aside.join(name), &self.dir.join(to))?;
        }
        Ok(())
    }

    fn read(&self) -> Result<Cursor, BackendError> {
        let Some(json) = durable::read_if_there(&self.state)? else { return Ok(Cursor::default()) };
        let damaged = |reason: String| BackendError::Damaged { path: self.state.clone(), reason };
        let state: State = serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
        let origin = |(country, sequence): (&String, &u64)| {
            Ok::<_, proto::malformed::Malformed>((country.parse::<CountryCode>()?, Sequence::new(*sequence)?))
        };
        let origins = state.origins.iter().map(origin).collect::<Result<_, _>>();
        let origins = origins.map_err(|error| damaged(error.to_string()))?;
        let manifest_hash = hash(&state.manifest_hash).map_err(damaged)?;
        Ok(Cursor { at: Mark { position: state.position, manifest_hash }, origins })
    }

    fn put(&self, cursor: &Cursor) -> Result<(), DiskError> {
        let origins =
            cursor.origins.iter().map(|(country, sequence)| (country.to_string(), sequence.number()));
        let state = State {
            position: cursor.at.position,
            manifest_hash: cursor.at.manifest_hash.map(hex::encode).unwrap_or_default(),
            origins: origins.collect(),
        };
        let json = serde_json::to_vec(&state).expect("numbers and strings always serialise");
        self.disk.replace(&self.state, PRIVATE, &json)
    }
}

fn hash(text: &str) -> Result<Option<[u8; 32]>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map_err(|error| format!("manifest_hash: {error}"))?;
    Ok(Some(hash))
}

/// The position in the name of a file that was written aside.
fn position(name: &str) -> Option<u64> {
    name.strip_suffix(PARTIAL)?.split_once('-')?.0.parse().ok()
}

fn write_lines(file: &mut dyn Write, batch: &OpenedBatch) -> io::Result<()> {
    let (origin, id): (u16, BatchId) = (batch.origin().number(), batch.id());
    for report in batch.reports() {
        let line = Line { origin, batch: id.to_string(), report: JsonReport::from_report(&report) };
        serde_json::to_writer(&mut *file, &line)?;
        file.write_all(b"\n")?;
    }
    Ok(())
}
