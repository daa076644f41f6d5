//! Publishing the authority's own key list: at the start, whenever its file changes, and now and then.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pki::disk::{self, DiskError};
use pki::keylist::{Expected, KeyList, KeyListRefused, Kind, SignedKeyList};
use pki::trust::TrustList;
use prost::Message;
use proto::ids::Authority;
use proto::malformed::Malformed;
use proto::{limits, wire};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::blocking::blocking;
use crate::clock::Clock;
use crate::gateway::{CallError, Gateway};
use crate::outage::Outage;

/// How often the file is looked at.
const POLL: Duration = Duration::from_secs(3);
/// How often an unchanged list is published again, for a gateway whose store was replaced.
const AGAIN: Duration = Duration::from_secs(600);

/// What publishing keys needs.
pub struct KeyPublisher {
    /// The signed list, as `pki key-list create` wrote it.
    pub file: PathBuf,
    /// Whose keys they are.
    pub authority: Authority,
    /// To whom they are published.
    pub gateway: Gateway,
    /// Who may have signed them.
    pub trust: watch::Receiver<Arc<TrustList>>,
    /// For validity.
    pub clock: Clock,
}

/// Why the keys are not published for now.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The file is no key list.
    #[error("{path} is no signed key list; `pki key-list create` writes one")]
    NotAKeyList {
        /// The file.
        path: PathBuf,
    },
    /// The sizes are wrong.
    #[error("{path}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: Malformed,
    },
    /// Nobody would believe it.
    #[error("{path}: {reason}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: KeyListRefused,
    },
    /// The gateway.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl KeysError {
    /// The least pause before the next try.
    fn pause(&self) -> Duration {
        match self {
            Self::Call(error) => error.pause(),
            Self::Disk(_) | Self::NotAKeyList { .. } | Self::Malformed { .. } | Self::Refused { .. } => {
                Duration::ZERO
            }
        }
    }
}

/// Publishes until the stop.
pub async fn run(publisher: Arc<KeyPublisher>, stop: CancellationToken) {
    let (mut outage, mut published) = (Outage::new("publish keys"), None);
    while !stop.is_cancelled() {
        match stop.run_until_cancelled(publisher.step(&mut published)).await {
            None => return,
            Some(Ok(())) => {
                outage.over();
                stop.run_until_cancelled(tokio::time::sleep(POLL)).await;
            }
            Some(Err(error)) => {
                outage.failed(&error);
                outage.pause(error.pause(), &stop).await;
            }
        }
    }
}

impl KeyPublisher {
    /// Publishes the list if it is another one than was `published`, or that is long ago.
    pub async fn step(
        self: &Arc<Self>,
        published: &mut Option<(SignedKeyList, Instant)>,
    ) -> Result<(), KeysError> {
        let this = self.clone();
        let signed = blocking(move || read(&this.file)).await?;
        if published.as_ref().is_some_and(|(known, since)| *known == signed && since.elapsed() < AGAIN) {
            return Ok(());
        }
        let trust = self.trust.borrow().clone();
        let checked = check(&signed, self.authority, &trust, self.clock.now());
        let list = checked.map_err(|reason| KeysError::Refused { path: self.file.clone(), reason })?;
        self.gateway.publish_keys(signed.clone().into_wire()).await?;
        let keys: Vec<String> = list.keys.iter().map(|listed| listed.key.id().to_string()).collect();
        info!(version = list.version, keys = keys.join(" "), "key list published");
        *published = Some((signed, Instant::now()));
        Ok(())
    }
}

/// Reads a key list file; nothing is checked but the form.
pub fn read(path: &Path) -> Result<SignedKeyList, KeysError> {
    let octets = disk::read(path, limits::KEY_LIST_LEN + 1_024)?;
    let not_a_list = |_| KeysError::NotAKeyList { path: path.into() };
    let message = wire::SignedKeyList::decode(octets.as_slice()).map_err(not_a_list)?;
    SignedKeyList::parse(message).map_err(|reason| KeysError::Malformed { path: path.into(), reason })
}

/// Checks an authority's list by the keys that the trust list gives the authority.
pub fn check(
    signed: &SignedKeyList,
    authority: Authority,
    trust: &TrustList,
    now: u64,
) -> Result<KeyList, KeyListRefused> {
    let signers = trust.authority(authority).map(|(_, entry)| entry.signing_keys.as_slice());
    signed.check(Expected { kind: Kind::Authority, authority, signers: signers.unwrap_or_default(), now })
}
