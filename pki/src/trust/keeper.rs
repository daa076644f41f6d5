//! The trust list in force on this machine: read from a file, checked, remembered, and read again while running.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::watch;

use super::memory::Memory;
use super::signed::FILE_LEN;
use super::{Anchors, SignedTrustList, TrustList, TrustRefused};
use crate::disk::{self, DiskError};
use crate::pubfile::{self, PublicFileError};
use crate::sign::VerifyingKey;

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
/// forgets anchors that came after those of the configuration. Who changes the configuration's anchors begins anew,
/// unless they are those that the last list names.
pub struct TrustKeeper {
    file: PathBuf,
    memory: Memory,
    current: watch::Sender<Arc<TrustList>>,
    last_read: Vec<u8>,
}

impl TrustKeeper {
    /// Reads and checks the list; `remembered` is where the last accepted one is kept. `now` in seconds since 1970.
    pub fn open(config: &TrustConfig, remembered: PathBuf, now: u64) -> Result<Self, KeeperError> {
        let anchors = anchors(config)?;
        let memory = Memory::new(remembered, &anchors);
        let octets = disk::read(&config.list, FILE_LEN)?;
        let (signed, list) = believed(config, &octets, (memory.recall()?, &anchors), now)?;
        memory.keep(&signed)?;
        let (current, _) = watch::channel(Arc::new(list));
        Ok(Self { file: config.list.clone(), memory, current, last_read: octets })
    }

    /// The list that [`TrustKeeper::open`] would begin with; writes nothing.
    pub fn preview(config: &TrustConfig, remembered: &Path, now: u64) -> Result<TrustList, KeeperError> {
        let anchors = anchors(config)?;
        let memory = Memory::new(remembered.into(), &anchors);
        let octets = disk::read(&config.list, FILE_LEN)?;
        Ok(believed(config, &octets, (memory.recall()?, &anchors), now)?.1)
    }

    /// Whether the configured list would be accepted on a machine that has seen none; writes nothing.
    pub fn check(config: &TrustConfig, now: u64) -> Result<TrustList, KeeperError> {
        let anchors = anchors(config)?;
        let octets = disk::read(&config.list, FILE_LEN)?;
        Ok(believed(config, &octets, (None, &anchors), now)?.1)
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
        let signed = SignedTrustList::parse(&octets).map_err(refused)?;
        let list = Arc::new(signed.check_successor(&known, now).map_err(refused)?);
        self.memory.keep(&signed)?;
        self.last_read = octets;
        self.current.send_replace(list.clone());
        Ok(Some(list))
    }
}

/// The list of the configured file: by the one that was accepted before it, or else by the configuration's anchors.
fn believed(
    config: &TrustConfig,
    octets: &[u8],
    (known, anchors): (Option<TrustList>, &Anchors),
    now: u64,
) -> Result<(SignedTrustList, TrustList), KeeperError> {
    let refused = |reason| KeeperError::Refused { path: config.list.clone(), reason };
    let signed = SignedTrustList::parse(octets).map_err(refused)?;
    let list = match known {
        Some(known) => signed.check_successor(&known, now),
        None => signed.check(anchors, now),
    };
    let list = list.map_err(refused)?;
    Ok((signed, list))
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
