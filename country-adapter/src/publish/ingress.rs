//! The keys that pushes are sealed to: asked of the gateway, believed only under the country's own signature.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pki::keylist::{Expected, KeyList, KeyListRefused, Kind, SignedKeyList};
use pki::seal::PublicKey;
use pki::trust::TrustList;
use proto::ids::{Authority, CountryCode};
use proto::malformed::Malformed;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::gateway::{CallError, Gateway};

/// How long a list is used before the gateway is asked again.
const FRESH: Duration = Duration::from_secs(300);

/// The gateway's ingress keys, kept for a while.
pub struct Ingress {
    gateway: Gateway,
    trust: watch::Receiver<Arc<TrustList>>,
    country: CountryCode,
    clock: Clock,
    known: Mutex<Option<(Instant, KeyList)>>,
}

/// Why there is no key to seal a push to.
#[derive(Debug, thiserror::Error)]
pub enum IngressError {
    /// The gateway does not answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The answer has the wrong sizes.
    #[error("the gateway's ingress keys do not parse: {0}")]
    Malformed(#[from] Malformed),
    /// The answer is not believed.
    #[error("the gateway's ingress keys are not believed: {0}")]
    Refused(#[from] KeyListRefused),
    /// No key may be used now.
    #[error(
        "none of the gateway's ingress keys is in force now; compare the clocks, or rotate the gateway's keys"
    )]
    NoneInForce,
}

impl Ingress {
    /// Asks this gateway, and believes the signing keys of this country.
    #[must_use]
    pub fn new(
        gateway: Gateway,
        trust: watch::Receiver<Arc<TrustList>>,
        country: CountryCode,
        clock: Clock,
    ) -> Self {
        Self { gateway, trust, country, clock, known: Mutex::new(None) }
    }

    /// The key to seal to now.
    pub async fn key(&self) -> Result<PublicKey, IngressError> {
        if let Some(key) = self.known_key() {
            return Ok(key);
        }
        let list = SignedKeyList::parse(self.gateway.ingress_keys().await?)?;
        let list = self.check(&list)?;
        let key = list.in_force(self.clock.now()).cloned().ok_or(IngressError::NoneInForce)?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), list));
        Ok(key)
    }

    /// Asks again next time: the gateway has changed its keys.
    pub fn forget(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn known_key(&self) -> Option<PublicKey> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, list) = known.as_ref().filter(|(since, _)| since.elapsed() < FRESH)?;
        list.in_force(self.clock.now()).cloned()
    }

    fn check(&self, list: &SignedKeyList) -> Result<KeyList, KeyListRefused> {
        let trust = self.trust.borrow().clone();
        let signers = trust.country(self.country).map(|country| country.signing_keys.as_slice());
        list.check(Expected {
            kind: Kind::Ingress,
            authority: Authority::national(self.country),
            signers: signers.unwrap_or_default(),
            now: self.clock.now(),
        })
    }
}
