//! What was committed: how far the delivery stream was taken, and which uploads.
//!
//! `state/received.json` has the position and the origins; `state/uploads/taken/<day>/<id>` is an empty file for each
//! upload, for as long as it could come again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pki::disk::DiskError;
use proto::day::Day;
use proto::ids::{CountryCode, Sequence};
use proto::report::Report;
use serde::{Deserialize, Serialize};

use super::piece::UploadId;
use crate::backend::{BackendError, Cursor, Mark};
use crate::durable::{self, Disk, PRIVATE, PRIVATE_DIR};

/// The files.
pub(super) struct State {
    disk: Disk,
    file: PathBuf,
    taken: PathBuf,
}

/// `received.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Received {
    position: u64,
    /// SHA-256 of the manifest there, in hex; absent if it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    manifest_hash: String,
    /// By country number: the last sequence.
    origins: BTreeMap<String, u64>,
}

impl State {
    pub(super) fn open(state: &Path, disk: Disk) -> Result<Self, DiskError> {
        let taken = state.join("uploads").join("taken");
        disk.create_dir(&taken, PRIVATE_DIR)?;
        Ok(Self { disk, file: state.join("received.json"), taken })
    }

    pub(super) fn cursor(&self) -> Result<Cursor, BackendError> {
        let Some(json) = durable::read_if_there(&self.file)? else { return Ok(Cursor::default()) };
        let damaged = |reason: String| BackendError::Damaged { path: self.file.clone(), reason };
        let state: Received = serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
        let origin = |(country, sequence): (&String, &u64)| {
            Ok::<_, proto::malformed::Malformed>((country.parse::<CountryCode>()?, Sequence::new(*sequence)?))
        };
        let origins = state.origins.iter().map(origin).collect::<Result<_, _>>();
        let origins = origins.map_err(|error| damaged(error.to_string()))?;
        let manifest_hash = hash(&state.manifest_hash).map_err(damaged)?;
        Ok(Cursor { at: Mark { position: state.position, manifest_hash }, origins })
    }

    pub(super) fn put(&self, cursor: &Cursor) -> Result<(), DiskError> {
        let origins =
            cursor.origins.iter().map(|(country, sequence)| (country.to_string(), sequence.number()));
        let state = Received {
            position: cursor.at.position,
            manifest_hash: cursor.at.manifest_hash.map(hex::encode).unwrap_or_default(),
            origins: origins.collect(),
        };
        let json = serde_json::to_vec(&state).expect("numbers and strings always serialise");
        self.disk.replace(&self.file, PRIVATE, &json)
    }

    pub(super) fn rewind(&self) -> Result<(), BackendError> {
        let cursor = self.cursor()?;
        Ok(self.put(&Cursor { at: Mark::default(), ..cursor })?)
    }

    pub(super) fn has(&self, upload: UploadId) -> Result<bool, DiskError> {
        for day in durable::days(&self.taken)? {
            if durable::is_there(&self.path(upload, day))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn mark(&self, upload: UploadId, today: Day) -> Result<(), DiskError> {
        let path = self.path(upload, today);
        let folder = self.taken.join(today.number().to_string());
        self.disk.create_dir(&folder, PRIVATE_DIR)?;
        self.disk.write(&path, PRIVATE, &[])?;
        self.disk.sync_dir(&folder)
    }

    /// Forgets uploads that are too old to come again.
    pub(super) fn forget(&self, today: Day) -> Result<(), DiskError> {
        for day in durable::days(&self.taken)?.into_iter().filter(|day| *day < today.minus(Report::MAX_AGE)) {
            self.disk.remove_dir(&self.taken.join(day.number().to_string()))?;
        }
        Ok(())
    }

    fn path(&self, upload: UploadId, day: Day) -> PathBuf {
        self.taken.join(day.number().to_string()).join(upload.to_string())
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
