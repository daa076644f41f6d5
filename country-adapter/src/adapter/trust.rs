//! Follows the trust list and connects anew when it changes.

use std::sync::Arc;
use std::time::Duration;

use pki::identity::NodeKeys;
use pki::trust::TrustKeeper;
use proto::ids::CountryCode;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tracing::{error, info};

use super::open::{OpenError, connect};
use crate::blocking::blocking;
use crate::clock::Clock;
use crate::config::Config;
use crate::outage;

/// How often the trust list file is looked at.
const TRUST_POLL: Duration = Duration::from_secs(15);

/// Follows the trust list.
pub(super) struct TrustFollower {
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) country: CountryCode,
    pub(super) keys: Arc<NodeKeys>,
    pub(super) keeper: TrustKeeper,
    pub(super) channel: watch::Sender<Channel>,
}

impl TrustFollower {
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut told = String::new();
        while stop.run_until_cancelled(tokio::time::sleep(TRUST_POLL)).await.is_some() {
            let (this, result) = blocking(move || {
                let result = self.step();
                (self, result)
            })
            .await;
            self = this;
            let text = result.err().map(|error| outage::chain(&error)).unwrap_or_default();
            if !text.is_empty() && text != told {
                error!(error = %text, "trust list not reloaded; the one in force stays");
            }
            told = text;
        }
    }

    pub(super) fn step(&mut self) -> Result<(), OpenError> {
        if let Some(trust) = self.keeper.reload(self.clock.now())? {
            info!(version = trust.version, "trust list reloaded");
            // Calls on the old connection end by themselves; the next ones take the new one.
            self.channel.send_replace(connect(&self.config, &self.keys, &trust, self.country)?);
        }
        Ok(())
    }
}
