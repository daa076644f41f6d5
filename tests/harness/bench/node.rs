//! What both stand-in adapters begin with: an adapter's own configuration, keys, trust and line to its gateway.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use country_adapter::gateway::Gateway;
use country_adapter::{Clock, Config, ConfigFile, connect};
use pki::identity::NodeKeys;
use pki::trust::{TrustKeeper, TrustList};
use proto::ids::CountryCode;
use tokio::sync::watch;

/// An adapter's place in its country.
pub(super) struct Node {
    pub(super) config: Config,
    pub(super) keys: NodeKeys,
    pub(super) trust: Arc<TrustList>,
    pub(super) country: CountryCode,
    pub(super) gateway: Gateway,
}

impl Node {
    /// Reads what the configuration of an adapter names.
    pub(super) fn read(config: &Path) -> Result<Self> {
        let config = ConfigFile::read(config)?.config;
        let keys = NodeKeys::read(&config.identity)?;
        let trust = Arc::new(TrustKeeper::check(&config.trust, Clock::default().now())?);
        let (country, _) = trust.authority(config.authority).context("the authority is in the trust list")?;
        let country = country.code;
        let channel = connect(&config, &keys, &trust, country)?;
        // Nobody changes the line: the trust list stays as it is.
        let gateway = Gateway::new(watch::channel(channel).1);
        Ok(Self { config, keys, trust, country, gateway })
    }
}
