//! A configured adapter: everything opened, and the loops that run until the stop.

mod open;
mod trust;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pki::identity::NodeKeys;
use pki::trust::TrustKeeper;
use proto::day::Day;
use proto::ids::{CountryCode, KeyId};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;
use tracing::{error, info, warn};

pub use open::{OpenError, connect};
pub(crate) use open::{check_identity, remembered};
use trust::TrustFollower;

use crate::admin::{self, Admin};
use crate::backend::{Backend, BackendError};
use crate::backends::folder::FolderBackend;
use crate::backends::webhook::{self, Webhook};
use crate::blocking::blocking;
use crate::clock::Clock;
use crate::config::Config;
use crate::counters::{Counters, Snapshot};
use crate::durable::Disk;
use crate::gateway::Gateway;
use crate::intake::Intake;
use crate::keys::{self, KeyPublisher};
use crate::lists::{self, Poster};
use crate::outage;
use crate::phones::{self, Phones};
use crate::publish::{self, Ingress, Pending, Publisher, Sources, Spool};
use crate::receive::{self, PullLimits, Quarantine, Receiver};
use crate::second_degree;
use crate::service_keys::{self, ServiceKeys};
use crate::steady::SteadyClock;

/// How often a summary is logged, if anything has changed.
const SUMMARY: Duration = Duration::from_secs(60);
/// How often what has become too old is forgotten, and what was held is looked at.
const SWEEP: Duration = Duration::from_secs(60);
/// Seconds before the end of the certificate's time when it begins to be a warning.
const RENEW: i64 = 30 * 86_400;

/// A part of the adapter has ended although nobody asked it to; the log says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a part of the adapter has ended by itself; the log says which")]
pub struct EndedEarly;

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
    parts: Parts,
}

/// What there is beside publishing and receiving.
struct Parts {
    intake: Arc<Intake>,
    spool: Arc<Spool>,
    /// Rings when there is something to publish.
    wake: Arc<Notify>,
    poster: Option<Arc<Poster>>,
    service_keys: Option<Arc<ServiceKeys>>,
    steady: Arc<SteadyClock>,
    phones: Option<(Arc<Phones>, phones::Certificate, rustls::ServerConfig)>,
    webhook: Option<Webhook>,
    admin: Option<Arc<Admin>>,
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
        let counters = Arc::<Counters>::default();
        let spool = Arc::new(Spool::open(&config.state, disk.clone(), clock.clone())?);
        let backend =
            Arc::new(FolderBackend::open(&config.backend.outgoing, disk.clone(), config.backend.frames)?);
        let poster = open::poster(&config, &clock, &disk)?;
        let steady = Arc::new(SteadyClock::new(&config.state, disk.clone(), clock.clone()));
        let service_keys = open::service_keys(&config, &steady, &disk)?;
        let taken = (counters.clone(), service_keys.clone());
        let intake = Arc::new(open::intake(&config, country, (&steady, &disk), taken)?);
        let wake = Arc::new(Notify::new());
        let served = (intake.clone(), spool.clone(), wake.clone(), keeper.watch());
        let phones = open::phones(&config, country, (&clock, &disk), served, (&poster, &service_keys))?;
        let webhook = open::webhook(&config, &disk)?;
        let admin = config.admin.as_ref().map(|_| {
            let certificate_ends = keys.certificate.not_after();
            let trust = keeper.watch();
            open::admin(&config, &clock, (counters.clone(), poster.clone()), (trust, certificate_ends))
        });
        let parts = Parts {
            intake,
            spool: spool.clone(),
            wake,
            poster,
            service_keys,
            steady,
            phones,
            webhook,
            admin,
        };
        Ok(Self {
            pending: Pending::open(&config.state, disk.clone())?,
            quarantine: Quarantine::open(&config.state, disk)?,
            keys: Arc::new(keys),
            channel: watch::Sender::new(channel),
            counters,
            config,
            clock,
            country,
            keeper,
            backend: Arc::new(Sources::new(spool, backend)),
            parts,
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
        let counters = self.counters.clone();
        let (publisher, receiver, follower, parts) = self.split(&gateway);
        let (poll, wake) = (follower.config.publish.poll(), parts.wake.clone());
        tasks.spawn(ending(stop.clone(), publish::run(publisher, (poll, wake), stop.clone())));
        tasks.spawn(ending(stop.clone(), receive::run(receiver, stop.clone())));
        parts.spawn(&follower.config, &tasks, &stop);
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

    fn split(self, gateway: &Gateway) -> (Arc<Publisher>, Arc<Receiver>, TrustFollower, Parts) {
        let Self {
            config,
            clock,
            country,
            keys,
            keeper,
            channel,
            backend,
            pending,
            quarantine,
            counters,
            parts,
        } = self;
        let publisher = Publisher {
            backend,
            pending,
            ingress: Ingress::new(gateway.clone(), keeper.watch(), country, clock.clone()),
            gateway: gateway.clone(),
            authority: config.authority,
            clock: clock.clone(),
            counters: counters.clone(),
        };
        let (page_bytes, max_wait) = (config.receive.page_bytes, config.receive.max_wait());
        let receiver = Receiver {
            intake: parts.intake.clone(),
            quarantine,
            gateway: gateway.clone(),
            trust: keeper.watch(),
            keys: keys.clone(),
            authority: config.authority,
            limits: PullLimits { page_bytes, max_wait },
            counters,
        };
        let follower = TrustFollower { config, clock, country, keys, keeper, channel };
        (Arc::new(publisher), Arc::new(receiver), follower, parts)
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

impl Parts {
    /// Starts the loops of what is configured.
    fn spawn(self, config: &Config, tasks: &TaskTracker, stop: &CancellationToken) {
        let Self { intake, spool, wake, poster, service_keys, steady, phones, webhook, admin } = self;
        let spawn = |task: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
            tasks.spawn(ending(stop.clone(), task));
        };
        if let (Some(poster), Some(lists)) = (poster, &config.lists) {
            spawn(Box::pin(lists::run(poster, steady.clone(), lists.interval(), stop.clone())));
        }
        if let Some(keys) = service_keys {
            spawn(Box::pin(service_keys::run(keys, steady.clone(), stop.clone())));
        }
        if let (Some(admin), Some(config)) = (admin, &config.admin) {
            spawn(Box::pin(serve_admin(admin, config.listen, stop.clone())));
        }
        let cases = phones.as_ref().map(|(phones, ..)| phones.cases.clone());
        if let (Some((phones, certificate, tls)), Some(config)) = (phones, config.phones.clone()) {
            spawn(Box::pin(serve_phones(phones, (certificate, tls), config, stop.clone())));
        }
        if let Some(webhook) = webhook {
            spawn(Box::pin(webhook::run(webhook, stop.clone())));
        }
        let sweep = Sweep { intake, spool, cases, steady, state: config.state.clone() };
        spawn(Box::pin(sweep.run(wake, stop.clone())));
    }
}

/// What is old, and what was held.
struct Sweep {
    intake: Arc<Intake>,
    spool: Arc<Spool>,
    cases: Option<Arc<phones::Cases>>,
    steady: Arc<SteadyClock>,
    state: PathBuf,
}

impl Sweep {
    async fn run(self, wake: Arc<Notify>, stop: CancellationToken) {
        let sweep = Arc::new(self);
        while stop.run_until_cancelled(tokio::time::sleep(SWEEP)).await.is_some() {
            let this = sweep.clone();
            if blocking(move || this.step()).await {
                wake.notify_one();
            }
        }
    }

    /// Whether there is something to publish. What one part cannot do keeps no other from its own.
    fn step(&self) -> bool {
        let now = match self.steady.now() {
            Ok(now) => now,
            Err(cause) => {
                told("the day", Err(cause.into()));
                return false;
            }
        };
        let mut released = false;
        told("keys that were held", self.release(now).map(|any| released = any));
        told("counted tokens", self.intake.forget(Day::of_unix(now)));
        told("answers", self.spool.forget(now).map_err(BackendError::from));
        if let Some(cases) = &self.cases {
            told("uploads that were interrupted", cases.resume_all());
            told("own keys that were held", cases.release(now));
            told("case codes", cases.codes.forget(now).map_err(BackendError::from));
        }
        told("second degree", second_degree::sweep(&self.state, now).map_err(BackendError::from));
        released
    }

    fn release(&self, now: u64) -> Result<bool, BackendError> {
        Ok(self.spool.release(now)?)
    }
}

/// Says what a part of the sweep could not do.
fn told(part: &str, done: Result<(), BackendError>) {
    if let Err(cause) = done {
        error!(part, error = %outage::chain(&cause), "what is old or was held stays as it is; it is tried again");
    }
}

async fn serve_admin(admin: Arc<Admin>, listen: SocketAddr, stop: CancellationToken) {
    let served = match TcpListener::bind(listen).await {
        Ok(listener) => admin::serve(admin, listener, stop).await,
        Err(cause) => Err(cause),
    };
    if let Err(cause) = served {
        error!(%listen, %cause, "cannot listen on admin.listen; end the process that uses it, or choose another port");
    }
}

/// A port that is taken ends the adapter: half of one would look like a whole one.
async fn serve_phones(
    phones: Arc<Phones>,
    certificate: (phones::Certificate, rustls::ServerConfig),
    config: crate::config::PhonesConfig,
    stop: CancellationToken,
) {
    let listener = match TcpListener::bind(config.listen).await {
        Ok(listener) => listener,
        Err(cause) => {
            error!(listen = %config.listen, %cause, "cannot listen on phones.listen; end the process that uses it, or choose another port");
            return;
        }
    };
    info!(listen = %config.listen, "phones are served");
    let limits = phones::Limits::connections(usize::try_from(config.connections).unwrap_or(usize::MAX));
    phones::serve(listener, phones::router(phones), certificate, limits, stop).await;
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

#[cfg(test)]
mod tests;
