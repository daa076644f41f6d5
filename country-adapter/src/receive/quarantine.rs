//! Batches that do not pass: kept, sealed as they came, so that they delay nobody and a person can look.

use std::path::{Path, PathBuf};

use pki::disk::DiskError;
use prost::Message;
use proto::wire;

use crate::durable::{Disk, PRIVATE};

/// The directory `state/quarantine`.
pub struct Quarantine {
    disk: Disk,
    dir: PathBuf,
}

impl Quarantine {
    /// Opens the directory, or makes it.
    pub fn open(state: &Path, disk: Disk) -> Result<Self, DiskError> {
        let dir = state.join("quarantine");
        disk.create_dir(&dir)?;
        Ok(Self { disk, dir })
    }

    /// Keeps a batch as `<position>.batch`, the message `exchange.v1.SignedBatch`, and why as `<position>.reason`.
    /// Ciphertext only. The same again changes nothing.
    pub fn keep(&self, position: u64, batch: &wire::SignedBatch, reason: &str) -> Result<(), DiskError> {
        let path = |ending: &str| self.dir.join(format!("{position}.{ending}"));
        self.disk.replace(&path("batch"), PRIVATE, &batch.encode_to_vec())?;
        self.disk.replace(&path("reason"), PRIVATE, format!("{reason}\n").as_bytes())
    }
}
