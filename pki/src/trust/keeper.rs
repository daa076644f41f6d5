//! The trust list in force on this machine: read from a file, checked, remembered, and read again while running.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::watch;

use super::{Anchors, SignedTrustList, TrustList, TrustRefused};
use crate::disk::{self, DiskError};
use crate::pubfile::{self, PublicFileError};
use crate::sign::VerifyingKey;

/// The longest trust list file, octets.
const FILE_LEN: usize = 4 * 1024 * 1024;

/// Where the trust list comes from, and who must have signed the first one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustConfig {
    /// The signed list, as `pki trust sign` writes it. A new version replaces the file; it is noticed by itself.
    pub list: PathBuf,
    /// Public key files of the anchors, handed over in person. A later list may name others.
    pub anchors: Vec<PathBuf>,
    /// How many of the anchors must have signed.
    pub threshold: usize,
}

/// Why there is no trust list to work with.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// A file that cannot be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// An anchor's key file that is none.
    #[error(transparent)]
    Anchor(#[from] PublicFileError),
    /// One anchor would count for two.
    #[error("trust.anchors names the same key twice; each anchor counts once")]
    AnchorTwice,
    /// The threshold in the configuration cannot be met.
    #[error(
        "trust.threshold is {threshold} of {anchors} anchors; it must be at least 1 and at most their number"
    )]
    Threshold {
        /// k.
        threshold: usize,
        /// n.
        anchors: usize,
    },
    /// The list is not believed.
    #[error("{path}: {reason}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: TrustRefused,
    },
}

/// Holds the list in force and hands it to all who watch.
///
/// The last accepted list is kept in a file of its own, so that a restart neither falls back to an older list nor
/// forgets anchors that came after those of the configuration.
pub struct TrustKeeper {
    file: PathBuf,
    remembered: PathBuf,
    current: watch::Sender<Arc<TrustList>>,
    last_read: Vec<u8>,
}

impl TrustKeeper {
    /// Reads and checks the list; `remembered` is where the last accepted one is kept. `now` in seconds since 1970.
    pub fn open(config: &TrustConfig, remembered: PathBuf, now: u64) -> Result<Self, KeeperError> {
        let anchors = anchors(config)?;
        let octets = disk::read(&config.list, FILE_LEN)?;
        let refused = |reason| KeeperError::Refused { path: config.list.clone(), reason };
        let signed = SignedTrustList::parse(&octets).map_err(refused)?;
        let list = match Self::recall(&remembered, &anchors)? {
            Some(known) => signed.check_successor(&known, now),
            None => signed.check(&anchors, now),
        };
        let list = list.map_err(refused)?;
        disk::replace_public(&remembered, &octets)?;
        let (current, _) = watch::channel(Arc::new(list));
        Ok(Self { file: config.list.clone(), remembered, current, last_read: octets })
    }

    /// Whether the configured list would be accepted on a machine that has seen none; writes nothing.
    pub fn check(config: &TrustConfig, now: u64) -> Result<TrustList, KeeperError> {
        let anchors = anchors(config)?;
        let signed = SignedTrustList::parse(&disk::read(&config.list, FILE_LEN)?);
        let refused = |reason| KeeperError::Refused { path: config.list.clone(), reason };
        signed.and_then(|signed| signed.check(&anchors, now)).map_err(refused)
    }

    // What was accepted once is believed again without its time and its signers: both were checked then.
    fn recall(remembered: &PathBuf, anchors: &Anchors) -> Result<Option<TrustList>, KeeperError> {
        let octets = match fs::metadata(remembered) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            _ => disk::read(remembered, FILE_LEN)?,
        };
        let refused = |reason| KeeperError::Refused { path: remembered.clone(), reason };
        let list = SignedTrustList::parse(&octets).and_then(|signed| signed.recall()).map_err(refused)?;
        // Anchors that the operator has replaced by hand begin anew.
        let is_same = anchors.keys.iter().any(|anchor| list.anchors.keys.contains(anchor));
        Ok(is_same.then_some(list))
    }

    /// Follows the list in force.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<TrustList>> {
        self.current.subscribe()
    }

    /// Looks at the file again. Gives the new list if there is one; a refused one changes nothing.
    /// Once the list in force has expired there is nothing to fall back to, and the error says so.
    pub fn reload(&mut self, now: u64) -> Result<Option<Arc<TrustList>>, KeeperError> {
        let refused = |reason| KeeperError::Refused { path: self.file.clone(), reason };
        let known = self.current.borrow().clone();
        let octets = disk::read(&self.file, FILE_LEN)?;
        if octets == self.last_read {
            let expired = (known.expires <= now).then_some(TrustRefused::Expired { expired: known.expires });
            return expired.map_or(Ok(None), |reason| Err(refused(reason)));
        }
        let list = SignedTrustList::parse(&octets).and_then(|signed| signed.check_successor(&known, now));
        let list = Arc::new(list.map_err(refused)?);
        disk::replace_public(&self.remembered, &octets)?;
        self.last_read = octets;
        self.current.send_replace(list.clone());
        Ok(Some(list))
    }
}

fn anchors(config: &TrustConfig) -> Result<Anchors, KeeperError> {
    let keys = config.anchors.iter().map(|path| pubfile::verifying_key(path));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let distinct: BTreeSet<_> = keys.iter().map(VerifyingKey::id).collect();
    if distinct.len() != keys.len() {
        return Err(KeeperError::AnchorTwice);
    }
    if !(1..=keys.len()).contains(&config.threshold) {
        return Err(KeeperError::Threshold { threshold: config.threshold, anchors: keys.len() });
    }
    Ok(Anchors { keys, threshold: config.threshold })
}
