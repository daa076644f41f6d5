//! The trust list that this machine has accepted last, on its disk.
//!
//! A restart goes on with it, so it neither falls back to an older list nor forgets anchors that came later.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::signed::{FILE_LEN, File};
use super::{Anchors, KeeperError, SignedTrustList, TrustList, TrustRefused};
use crate::disk::{self, DiskError};
use crate::sign::sha256;

/// Octets that the file may have more than the list in it.
const MORE: usize = 128;

/// Where the last accepted list is kept, and for which configuration.
pub(super) struct Memory {
    path: PathBuf,
    /// [`digest`] of the configuration's anchors.
    configured: String,
}

/// The file: the list's own, with one member more.
#[derive(Serialize, Deserialize)]
struct Remembered {
    #[serde(flatten)]
    list: File,
    /// [`digest`] of the anchors that the configuration had. Earlier releases did not write it.
    configured: Option<String>,
}

impl Memory {
    /// `configured` are the configuration's anchors.
    pub(super) fn new(path: PathBuf, configured: &Anchors) -> Self {
        Self { path, configured: digest(configured) }
    }

    /// The list, as far as its successor is measured by it. Nothing on a new machine, nor once the operator has put
    /// anchors into the configuration by hand: others than it had, and than the list names.
    pub(super) fn recall(&self) -> Result<Option<TrustList>, KeeperError> {
        let octets = match fs::metadata(&self.path).map_err(|error| error.kind()) {
            Err(ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            _ => disk::read(&self.path, FILE_LEN + MORE)?,
        };
        let refused = |reason| KeeperError::Refused { path: self.path.clone(), reason };
        let (list, configured) = parse(&octets).map_err(refused)?;
        let is_same = configured.is_none_or(|configured| configured == self.configured);
        Ok((is_same || digest(&list.anchors) == self.configured).then_some(list))
    }

    /// Keeps a list that was accepted, in place of the one before.
    pub(super) fn keep(&self, list: &SignedTrustList) -> Result<(), DiskError> {
        let remembered = Remembered { list: list.to_file(), configured: Some(self.configured.clone()) };
        // Without spaces the list is no longer than it was when it was read.
        let octets = serde_json::to_vec(&remembered).expect("strings always serialise");
        disk::replace_public(&self.path, &octets)
    }
}

// What was accepted once is believed again without its time and its signers: both were checked then.
fn parse(octets: &[u8]) -> Result<(TrustList, Option<String>), TrustRefused> {
    let remembered: Remembered =
        serde_json::from_slice(octets).map_err(|error| TrustRefused::File(error.to_string()))?;
    Ok((SignedTrustList::of_file(&remembered.list)?.recall()?, remembered.configured))
}

/// SHA-256 in hex of the threshold and the anchors, in whatever order they are named.
fn digest(anchors: &Anchors) -> String {
    let keys: BTreeSet<String> = anchors.keys.iter().map(|key| hex::encode(key.sec1())).collect();
    let keys: Vec<String> = keys.into_iter().collect();
    hex::encode(sha256(format!("{} of {}", anchors.threshold, keys.join(" ")).as_bytes()))
}
