//! What all stages of one gateway share.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;

use pki::identity::HpkeKeys;
use pki::sign::SigningKey;
use pki::tls::NodeCertificate;
use pki::trust::TrustList;
use proto::ids::{Authority, CountryCode};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::damage::Lost;
use crate::inbound::progress::Progress;
use crate::keylists::KeyLists;
use crate::quota::{Exceeded, Volumes};
use crate::room::Room;
use crate::store::{Holder, Store};
use crate::telemetry::Metrics;

/// One country's gateway, as its stages see it.
pub struct Node {
    /// Whose gateway this is.
    pub country: CountryCode,
    /// What was read at start.
    pub config: Config,
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// As whom it asks for leases: no other process is this one.
    pub holder: Holder,
    /// The trust list in force.
    pub trust: watch::Receiver<Arc<TrustList>>,
    /// The certificate that this node shows.
    pub certificate: NodeCertificate,
    /// Signs manifests, receipts and the ingress key list.
    pub signing: Arc<SigningKey>,
    /// Open pushes.
    pub ingress: HpkeKeys,
    /// Public keys of all authorities, as far as they are known.
    pub key_lists: KeyLists,
    /// How much each of our adapters may push.
    pub backends: Volumes<Authority>,
    /// How much each peer may be served.
    pub peers: Volumes<CountryCode>,
    /// How much of each peer's batches may be stored.
    pub stored: Room,
    /// The time.
    pub clock: Clock,
    /// Damaged entries that nobody can bring back.
    pub lost: Lost,
    /// What is counted.
    pub metrics: Metrics,
    /// Rings when a cursor moved that a receipt tells of.
    pub progress: Progress,
    /// Set when the gateway stops: whoever waits at a tail then gets an empty page.
    pub stop: CancellationToken,
}

impl Node {
    /// The trust list in force now.
    #[must_use]
    pub fn trust_list(&self) -> Arc<TrustList> {
        self.trust.borrow().clone()
    }

    /// Whether peers believe what this gateway signs now.
    #[must_use]
    pub fn is_certified(&self) -> bool {
        let trust = self.trust_list();
        let own = trust.country(self.country).and_then(|own| own.signing_key(self.signing.public().id()));
        own.is_some_and(|key| key.is_valid_at(self.clock.now()))
    }

    /// Counts a refusal because of a quota.
    pub fn counted<T>(&self, caller: &impl Display, asked: Result<T, Exceeded>) -> Result<T, Exceeded> {
        asked.inspect_err(|exceeded| self.metrics.over_quota(caller, exceeded.what))
    }

    /// A folder of its own below the state directory.
    #[must_use]
    pub fn state_folder(&self, name: &str) -> PathBuf {
        self.config.state.join(name)
    }
}
