//! A configured adapter: everything opened, and the loops that run until the stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pki::disk::DiskError;
use pki::identity::{IdentityError, NodeKeys};
use pki::tls::{self, Identity, Role};
use pki::trust::{KeeperError, TrustKeeper, TrustList};
use proto::ids::{Authority, CountryCode, KeyId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;
use tracing::{error, info, warn};

use crate::backend::Backend;
use crate::backends::folder::FolderBackend;
use crate::blocking::blocking;
use crate::clock::Clock;
use crate::config::{BackendKind, Config};
use crate::counters::{Counters, Snapshot};
use crate::durable::Disk;
use crate::gateway::Gateway;
use crate::keys::{self, KeyPublisher};
use crate::outage;
use crate::publish::{self, Ingress, Pending, Publisher};
use crate::receive::{self, PullLimits, Quarantine, Receiver};

/// How often the trust list file is looked at.
const TRUST_POLL: Duration = Duration::from_secs(15);
/// How often a summary is logged, if anything has changed.
const SUMMARY: Duration = Duration::from_secs(60);
/// Seconds before the end of the certificate's time when it begins to be a warning.
const RENEW: i64 = 30 * 86_400;

/// A part of the adapter has ended although nobody asked it to; the log says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a part of the adapter has ended by itself; the log says which")]
pub struct EndedEarly;

/// Why an adapter cannot start. Each names the key of the configuration that it comes from.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A certificate or key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The trust list.
    #[error(transparent)]
    Trust(#[from] KeeperError),
    /// A certificate for something else.
    #[error("the certificate is {shown}; the adapter of {authority} needs {needed}")]
    OtherIdentity {
        /// Who the certificate is for.
        shown: Identity,
        /// Whose adapter this is.
        authority: Authority,
        /// Whose certificate it must be.
        needed: Identity,
    },
    /// The authority is in no country of the trust list.
    #[error("authority {authority} is not in the trust list")]
    UnknownAuthority {
        /// The authority.
        authority: Authority,
    },
    /// TLS does not take the certificate, the key or the country's authority.
    #[error("TLS cannot be set up with this certificate and key: {0}")]
    Tls(#[from] rustls::Error),
    /// The address of the gateway.
    #[error("the gateway's address cannot be used")]
    Gateway(#[from] tonic::transport::Error),
    /// Another adapter runs on the same state.
    #[error("{path} is in use by another adapter; stop it first")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A directory that cannot be made or read.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl OpenError {
    /// The key of the configuration that it comes from.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::Identity(_) | Self::OtherIdentity { .. } | Self::Tls(_) => "identity",
            Self::Trust(_) => "trust",
            Self::UnknownAuthority { .. } => "authority",
            Self::Gateway(_) => "gateway",
            Self::InUse { .. } | Self::Disk(_) => "state",
        }
    }
}

/// A configured adapter that does not run yet.
pub struct Adapter {
    config: Config,
    clock: Clock,
    country: CountryCode,
    keys: Arc<NodeKeys>,
    keeper: TrustKeeper,
    channel: watch::Sender<Channel>,
    backend: Arc<dyn Backend>,
    pending: Pending,
    quarantine: Quarantine,
    counters: Arc<Counters>,
}

impl Adapter {
    /// Opens everything that the configuration names. Blocks: key files may be slow to decrypt.
    pub fn open(config: Config, clock: Clock) -> Result<Self, OpenError> {
        let keys = NodeKeys::read(&config.identity)?;
        let disk =
            Disk::locked(&config.state)?.ok_or_else(|| OpenError::InUse { path: config.state.clone() })?;
        let keeper = TrustKeeper::open(&config.trust, remembered(&config), clock.now())?;
        let trust = keeper.watch().borrow().clone();
        let country = check_identity(config.authority, keys.certificate.identity(), &trust)?;
        let channel = connect(&config, &keys, &trust, country)?;
        let backend: Arc<dyn Backend> = match config.backend.kind {
            BackendKind::Folder | BackendKind::Webhook => {
                Arc::new(FolderBackend::open(&config.backend.folders(), &config.state, disk.clone())?)
            }
        };
        Ok(Self {
            pending: Pending::open(&config.state, disk.clone())?,
            quarantine: Quarantine::open(&config.state, disk)?,
            keys: Arc::new(keys),
            channel: watch::Sender::new(channel),
            counters: Arc::default(),
            config,
            clock,
            country,
            keeper,
            backend,
        })
    }

    /// The ids of the authority's HPKE keys, in the order of the configuration.
    #[must_use]
    pub fn key_ids(&self) -> Vec<KeyId> {
        self.keys.hpke.all().iter().map(pki::seal::PrivateKey::id).collect()
    }

    /// What has come and gone.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Runs until the stop. What is in flight then is taken up by the next run.
    pub async fn run(self, stopped: CancellationToken) -> Result<(), EndedEarly> {
        self.log_start();
        let stop = stopped.child_token();
        let tasks = TaskTracker::new();
        let gateway = Gateway::new(self.channel.subscribe());
        tasks.spawn(ending(stop.clone(), keys::run(Arc::new(self.key_publisher(&gateway)), stop.clone())));
        tasks.spawn(ending(stop.clone(), summarise(self.counters.clone(), stop.clone())));
        let (publisher, receiver, follower) = self.split(&gateway);
        let poll = follower.config.publish.poll();
        tasks.spawn(ending(stop.clone(), publish::run(publisher, poll, stop.clone())));
        tasks.spawn(ending(stop.clone(), receive::run(receiver, stop.clone())));
        let counters = follower.counters.clone();
        tasks.spawn(ending(stop.clone(), follower.run(stop.clone())));
        tasks.close();
        tasks.wait().await;
        counters.snapshot().log();
        info!("stopped");
        if stopped.is_cancelled() { Ok(()) } else { Err(EndedEarly) }
    }

    fn key_publisher(&self, gateway: &Gateway) -> KeyPublisher {
        KeyPublisher {
            file: self.config.key_list.clone(),
            authority: self.config.authority,
            gateway: gateway.clone(),
            trust: self.keeper.watch(),
            clock: self.clock.clone(),
        }
    }

    fn split(self, gateway: &Gateway) -> (Arc<Publisher>, Arc<Receiver>, TrustFollower) {
        let Self { config, clock, country, keys, keeper, channel, backend, pending, quarantine, counters } =
            self;
        let publisher = Publisher {
            backend: backend.clone(),
            pending,
            ingress: Ingress::new(gateway.clone(), keeper.watch(), country, clock.clone()),
            gateway: gateway.clone(),
            authority: config.authority,
            clock: clock.clone(),
            counters: counters.clone(),
        };
        let (page_bytes, max_wait) = (config.receive.page_bytes, config.receive.max_wait());
        let receiver = Receiver {
            backend,
            quarantine,
            gateway: gateway.clone(),
            trust: keeper.watch(),
            keys: keys.clone(),
            authority: config.authority,
            limits: PullLimits { page_bytes, max_wait },
            counters: counters.clone(),
        };
        let follower = TrustFollower { config, clock, country, keys, keeper, channel, counters };
        (Arc::new(publisher), Arc::new(receiver), follower)
    }

    fn log_start(&self) {
        let Config { authority, gateway, .. } = &self.config;
        let keys: Vec<String> = self.key_ids().iter().map(ToString::to_string).collect();
        let trust = self.keeper.watch().borrow().version;
        info!(%authority, %gateway, keys = keys.join(" "), trust_list = trust, "adapter starts");
        let left = self.keys.certificate.not_after() - i64::try_from(self.clock.now()).unwrap_or(i64::MAX);
        if left < RENEW {
            warn!(days = left / 86_400, "the adapter's certificate ends soon; renew it and restart");
        }
    }
}

/// Where the last accepted trust list is kept.
pub(crate) fn remembered(config: &Config) -> PathBuf {
    config.state.join("trust.remembered")
}

/// Whether a certificate is for the adapter of an authority. Gives the authority's country.
pub(crate) fn check_identity(
    authority: Authority,
    shown: Identity,
    trust: &TrustList,
) -> Result<CountryCode, OpenError> {
    let known = trust.authority(authority).map(|(country, _)| country.code);
    let country = known.ok_or(OpenError::UnknownAuthority { authority })?;
    let needed = Identity { country, role: Role::Adapter(authority) };
    if shown == needed { Ok(country) } else { Err(OpenError::OtherIdentity { shown, authority, needed }) }
}

fn connect(
    config: &Config,
    keys: &NodeKeys,
    trust: &TrustList,
    country: CountryCode,
) -> Result<Channel, OpenError> {
    let authority = config.authority;
    let country = trust.country(country).ok_or(OpenError::UnknownAuthority { authority })?;
    let tls = tls::client_config(&keys.certificate, country)?;
    Ok(pki::dial::channel(config.gateway.as_str(), Arc::new(tls))?)
}

/// A task that ends early takes the others with it: half an adapter would look like a whole one.
async fn ending(stop: CancellationToken, task: impl Future<Output = ()>) {
    let _guard = stop.drop_guard();
    task.await;
}

async fn summarise(counters: Arc<Counters>, stop: CancellationToken) {
    let mut told = Snapshot::default();
    while stop.run_until_cancelled(tokio::time::sleep(SUMMARY)).await.is_some() {
        let now = counters.snapshot();
        if now != told {
            now.log();
            told = now;
        }
    }
}

/// Follows the trust list and connects anew when it changes.
struct TrustFollower {
    config: Config,
    clock: Clock,
    country: CountryCode,
    keys: Arc<NodeKeys>,
    keeper: TrustKeeper,
    channel: watch::Sender<Channel>,
    counters: Arc<Counters>,
}

impl TrustFollower {
    async fn run(mut self, stop: CancellationToken) {
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

    fn step(&mut self) -> Result<(), OpenError> {
        if let Some(trust) = self.keeper.reload(self.clock.now())? {
            info!(version = trust.version, "trust list reloaded");
            // Calls on the old connection end by themselves; the next ones take the new one.
            self.channel.send_replace(connect(&self.config, &self.keys, &trust, self.country)?);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "adapter_tests.rs"]
mod tests;
