//! Batches that do not pass: kept, sealed as they came, so that they delay nobody and a person can look.
//!
//! A gateway whose store was restored delivers other batches at the same positions, so the name says which batch it
//! is, and nothing that is here is overwritten.

use std::path::{Path, PathBuf};

use pki::disk::DiskError;
use pki::sign::sha256;
use prost::Message;
use proto::batch::Manifest;
use proto::wire;

use crate::durable::{self, Disk, PRIVATE, PRIVATE_DIR};

/// The directory `state/quarantine`.
pub struct Quarantine {
    disk: Disk,
    dir: PathBuf,
}

impl Quarantine {
    /// Opens the directory, or makes it.
    pub fn open(state: &Path, disk: Disk) -> Result<Self, DiskError> {
        let dir = state.join("quarantine");
        disk.create_dir(&dir, PRIVATE_DIR)?;
        Ok(Self { disk, dir })
    }

    /// Keeps a batch as `POSITION-ORIGIN-HASH.batch`, the message `exchange.v1.SignedBatch`, and why as
    /// `POSITION-ORIGIN-HASH.reason`. The origin is a country number, or `unknown` if the manifest does not parse; the
    /// hash is the first 8 octets of the manifest's SHA-256, in hex. Ciphertext only. The same again changes nothing;
    /// another batch of the same name gets `-2` behind it, and so on.
    pub fn keep(&self, position: u64, batch: &wire::SignedBatch, reason: &str) -> Result<(), DiskError> {
        let octets = batch.encode_to_vec();
        let stem = self.free_stem(&stem(position, batch), &octets)?;
        self.keep_file(&format!("{stem}.batch"), &octets)?;
        self.keep_file(&format!("{stem}.reason"), format!("{reason}\n").as_bytes())
    }

    /// The first stem that no other batch has.
    fn free_stem(&self, stem: &str, octets: &[u8]) -> Result<String, DiskError> {
        let mut free = stem.to_owned();
        let mut copies = 1;
        while self.read(&format!("{free}.batch"))?.is_some_and(|kept| kept != octets) {
            copies += 1;
            free = format!("{stem}-{copies}");
        }
        Ok(free)
    }

    fn keep_file(&self, name: &str, octets: &[u8]) -> Result<(), DiskError> {
        match self.read(name)? {
            Some(_) => Ok(()),
            None => self.disk.replace(&self.dir.join(name), PRIVATE, octets),
        }
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
        durable::read_if_there(&self.dir.join(name))
    }
}

fn stem(position: u64, batch: &wire::SignedBatch) -> String {
    let hash = hex::encode(&sha256(&batch.manifest)[..8]);
    match Manifest::parse(&batch.manifest) {
        Ok(manifest) => format!("{position}-{}-{hash}", manifest.header.origin),
        Err(_) => format!("{position}-unknown-{hash}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(manifest: &'static [u8], signature: &'static [u8]) -> wire::SignedBatch {
        wire::SignedBatch {
            manifest: manifest.into(),
            signature: signature.into(),
            ..wire::SignedBatch::default()
        }
    }

    #[test]
    fn what_is_in_quarantine_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::open(dir.path(), Disk::default()).unwrap();
        let batches = [batch(b"one", b""), batch(b"two", b""), batch(b"one", b"another")];
        for reason in ["first", "second"] {
            for batch in &batches {
                quarantine.keep(7, batch, reason).unwrap();
            }
        }
        let one = hex::encode(&sha256(b"one")[..8]);
        let two = hex::encode(&sha256(b"two")[..8]);
        let stems = [format!("7-unknown-{one}"), format!("7-unknown-{two}"), format!("7-unknown-{one}-2")];
        for (stem, batch) in stems.iter().zip(&batches) {
            let read = |ending: &str| quarantine.read(&format!("{stem}.{ending}")).unwrap().unwrap();
            assert_eq!(
                (read("batch"), read("reason")),
                (batch.encode_to_vec(), b"first\n".to_vec()),
                "{stem}"
            );
        }
        assert_eq!(durable::names(&dir.path().join("quarantine")).unwrap().len(), 6);
    }
}
