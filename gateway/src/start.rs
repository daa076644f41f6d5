//! Starts the stages in order, and stops them in order.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pki::disk::DiskError;
use pki::identity::{self, IdentityError, NodeKeys};
use pki::sign::SigningKey;
use pki::tls::{Identity, Role};
use pki::trust::{KeeperError, Status, TrustKeeper, TrustList};
use proto::ids::CountryCode;
use proto::limits;
use proto::wire::delivery_server::DeliveryServer;
use proto::wire::exchange_server::ExchangeServer;
use proto::wire::ingest_server::IngestServer;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tracing::{error, info};

use crate::clock::Clock;
use crate::config::{Config, Listen};
use crate::inbound::acknowledge::Acknowledge;
use crate::inbound::deliver::Delivery;
use crate::inbound::keys::Keys;
use crate::inbound::pull::Pull;
use crate::keylists::KeyLists;
use crate::listen::{self, Acceptor};
use crate::node::Node;
use crate::outbound::ingest::Ingest;
use crate::outbound::serve::Exchange;
use crate::peers::Peers;
use crate::store::StoreError;
use crate::store::sled::{SledOptions, SledStore};
use crate::telemetry::Metrics;
use crate::{http, retention};

/// How often the trust list's file is looked at.
const TRUST_EVERY: Duration = Duration::from_secs(5);
/// How long open calls may take to finish when we stop.
const GRACE: Duration = Duration::from_secs(10);
/// The longest message of a push: its limits and the fields around them.
const PUSH_MESSAGE: usize = limits::PUSH_LEN + 256 * 1024;

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port that is taken, mostly.
    #[error(
        "cannot listen on {address} (listen.{key}): {cause}; end the process that uses it, or choose another port"
    )]
    Listen {
        /// Which key of the configuration.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        cause: std::io::Error,
    },
    /// Our own keys.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The certificate is not this gateway's.
    #[error(
        "the certificate is for {shown}; the configuration needs one for {needed} (`pki issue --role gateway`)"
    )]
    OtherIdentity {
        /// What it says.
        shown: Identity,
        /// What is needed.
        needed: Identity,
    },
    /// The trust list.
    #[error(transparent)]
    Trust(#[from] KeeperError),
    /// Our country is not in it, or not with this signing key.
    #[error("{0}")]
    NotInTrustList(String),
    /// The state folder.
    #[error(transparent)]
    State(#[from] DiskError),
    /// The store.
    #[error("the store {path} does not open: {cause}")]
    Store {
        /// Where.
        path: String,
        /// Why.
        cause: StoreError,
    },
    /// TLS.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Bound sockets.
pub struct Listeners {
    /// For peers.
    pub peers: TcpListener,
    /// For adapters.
    pub national: TcpListener,
    /// For health and metrics.
    pub admin: TcpListener,
}

impl Listeners {
    /// Binds all three, or says which one is taken.
    pub async fn bind(listen: &Listen) -> Result<Self, StartError> {
        Ok(Self {
            peers: bind("peers", listen.peers).await?,
            national: bind("national", listen.national).await?,
            admin: bind("admin", listen.admin).await?,
        })
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|cause| StartError::Listen { key, address, cause })
}

/// Everything that is read and checked before the first socket is served.
pub fn prepare(
    config: Config,
    clock: Clock,
    stop: CancellationToken,
) -> Result<(Node, TrustKeeper), StartError> {
    let wrong = |reason: String| StartError::NotInTrustList(reason);
    let country = CountryCode::new(config.country).map_err(|cause| wrong(cause.to_string()))?;
    create_private(&config.state)?;
    let keeper = TrustKeeper::open(&config.trust, config.state.join("trust.accepted.json"), clock.now())?;
    let trust = keeper.watch();
    let keys = NodeKeys::read(&config.identity)?;
    let signing = identity::signing_key(&config.signing_key, config.identity.passphrase_file.as_deref())?;
    check_identity(&keys, country)?;
    let list = trust.borrow().clone();
    check_membership(&signing, &list, country)?;
    let key_lists = KeyLists::open(config.state.join("keylists"), &list, clock.now())?;
    let options = SledOptions { free_floor_bytes: config.limits.free_disk_bytes, ..SledOptions::default() };
    let path = config.store.display().to_string();
    let store = SledStore::open(&config.store, options).map_err(|cause| StartError::Store { path, cause })?;
    let node = Node {
        country,
        store: Arc::new(store),
        trust,
        certificate: keys.certificate,
        signing: Arc::new(signing),
        ingress: keys.hpke,
        key_lists,
        clock,
        metrics: Metrics::default(),
        progress: Notify::new(),
        stop,
        config,
    };
    Ok((node, keeper))
}

/// Reads and checks all that a configuration names, without opening the store or a socket. Gives a summary, or
/// every problem that could be found.
pub fn check(config: &Config, clock: &Clock) -> Result<String, Vec<String>> {
    let mut problems = Vec::new();
    let mut note = |problem: &dyn std::fmt::Display| problems.push(problem.to_string());
    let keys = NodeKeys::read(&config.identity).map_err(|cause| note(&cause)).ok();
    let signing = identity::signing_key(&config.signing_key, config.identity.passphrase_file.as_deref());
    let signing = signing.map_err(|cause| note(&cause)).ok();
    let trust = TrustKeeper::check(&config.trust, clock.now()).map_err(|cause| note(&cause)).ok();
    let country = CountryCode::new(config.country).map_err(|cause| note(&cause)).ok();
    if let (Some(keys), Some(country)) = (&keys, country)
        && let Err(cause) = check_identity(keys, country)
    {
        note(&cause);
    }
    if let (Some(signing), Some(trust), Some(country)) = (&signing, &trust, country)
        && let Err(cause) = check_membership(signing, trust, country)
    {
        note(&cause);
    }
    match (problems.is_empty(), trust) {
        (true, Some(trust)) => Ok(format!(
            "good: country {}, trust list version {} with {} countries",
            config.country,
            trust.version,
            trust.countries().count()
        )),
        _ => Err(problems),
    }
}

fn check_membership(signing: &SigningKey, trust: &TrustList, country: CountryCode) -> Result<(), StartError> {
    let wrong = |reason: String| StartError::NotInTrustList(reason);
    let entry =
        trust.country(country).ok_or_else(|| wrong(format!("country {country} is not in the trust list")))?;
    let key = signing.public().id();
    if entry.signing_key(key).is_some() {
        return Ok(());
    }
    Err(wrong(format!(
        "signing_key {key} is none of country {country}'s in the trust list; peers would refuse every batch"
    )))
}

fn check_identity(keys: &NodeKeys, country: CountryCode) -> Result<(), StartError> {
    let (shown, needed) = (keys.certificate.identity(), Identity { country, role: Role::Gateway });
    if shown == needed { Ok(()) } else { Err(StartError::OtherIdentity { shown, needed }) }
}

fn create_private(folder: &Path) -> Result<(), DiskError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| DiskError::Write { path: folder.into(), source })
}

/// Runs the gateway until it is stopped; then finishes what was accepted, refuses the rest, and closes the store.
pub async fn run(config: Config, listeners: Listeners, stop: CancellationToken) -> Result<(), StartError> {
    run_with(config, listeners, Clock::default(), stop).await
}

/// As [`run`], by a clock that can be turned.
pub async fn run_with(
    config: Config,
    listeners: Listeners,
    clock: Clock,
    stop: CancellationToken,
) -> Result<(), StartError> {
    let (node, keeper) = tokio::task::spawn_blocking({
        let stop = stop.clone();
        move || prepare(config, clock, stop)
    })
    .await
    .map_err(|cause| StartError::NotInTrustList(cause.to_string()))??;
    let node = Arc::new(node);
    let tasks = TaskTracker::new();
    let tls = listen::follow_trust(&node, stop.clone(), &tasks)?;
    let loopback = listeners.peers.local_addr().map(loopback).unwrap_or_default();
    info!(country = %node.country, peers = ?listeners.peers.local_addr().ok(), national = ?listeners.national.local_addr().ok(), admin = ?listeners.admin.local_addr().ok(), trust = node.trust_list().version, "gateway started");

    // Our tokens out: 1 ingest and 5 serve answer calls; 2 to 4 work inside them.
    let acceptor = Acceptor::new(node.clone(), national(&node), tls.clone());
    tasks.spawn(acceptor.run(listeners.national, stop.clone(), tasks.clone()));
    let acceptor = Acceptor::new(node.clone(), peers(&node), tls);
    tasks.spawn(acceptor.run(listeners.peers, stop.clone(), tasks.clone()));

    // Peers' tokens in: 6 to 8 for each country of the trust list; 9 answers calls above.
    let callers = Arc::new(Peers::new(node.clone(), loopback));
    tasks.spawn(follow_countries(node.clone(), callers.clone(), stop.clone(), tasks.clone()));
    tasks.spawn(Keys::new(node.clone(), callers).run(stop.clone()));

    // Around both.
    tasks.spawn(follow_file(keeper, node.clock.clone(), stop.clone()));
    tasks.spawn(retention::run(node.clone(), stop.clone()));
    tasks.spawn(admin(node.clone(), listeners.admin, stop.clone()));
    stop.cancelled().await;
    finish(&node, &tasks).await;
    Ok(())
}

async fn finish(node: &Node, tasks: &TaskTracker) {
    info!("stopping: open calls are finished, new ones are refused");
    tasks.close();
    if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
        info!(open = tasks.len(), "some calls did not finish in time; nothing that was answered is lost");
    }
    if let Err(cause) = node.store.close().await {
        error!(%cause, "the store did not close cleanly; it recovers at the next start");
    }
    info!("stopped");
}

/// What adapters may call.
fn national(node: &Arc<Node>) -> Routes {
    let ingest = IngestServer::new(Ingest::new(node.clone())).max_decoding_message_size(PUSH_MESSAGE);
    let delivery = DeliveryServer::new(Delivery::new(node.clone()));
    Routes::new(ingest).add_service(delivery).prepare()
}

/// What peers may call.
fn peers(node: &Arc<Node>) -> Routes {
    Routes::new(ExchangeServer::new(Exchange::new(node.clone()))).prepare()
}

/// Where our own listener is reached from this machine.
fn loopback(bound: SocketAddr) -> String {
    let ip = match bound {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => "127.0.0.1".to_owned(),
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => "[::1]".to_owned(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    };
    format!("https://{ip}:{}", bound.port())
}

/// A pull and a receipt loop for every active country; they start and end as the trust list says.
async fn follow_countries(node: Arc<Node>, peers: Arc<Peers>, stop: CancellationToken, tasks: TaskTracker) {
    let mut trust = node.trust.clone();
    let mut running: HashMap<CountryCode, CancellationToken> = HashMap::new();
    loop {
        let list = trust.borrow_and_update().clone();
        let is_active = |code: CountryCode| list.country(code).is_some_and(|c| c.status == Status::Active);
        running.retain(|code, stop| {
            let stays = is_active(*code);
            if !stays {
                info!(country = %code, "no longer pulled: the trust list has it no more, or not as active");
                stop.cancel();
            }
            stays
        });
        for country in list.countries().filter(|country| is_active(country.code)) {
            running.entry(country.code).or_insert_with(|| {
                let stop = stop.child_token();
                tasks.spawn(Pull::new(node.clone(), peers.clone(), country.code).run(stop.clone()));
                tasks.spawn(Acknowledge::new(node.clone(), peers.clone(), country.code).run(stop.clone()));
                stop
            });
        }
        tokio::select! {
            changed = trust.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

async fn follow_file(mut keeper: TrustKeeper, clock: Clock, stop: CancellationToken) {
    let mut last = String::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(TRUST_EVERY) => {}
            () = stop.cancelled() => return,
        }
        match keeper.reload(clock.now()) {
            Ok(Some(list)) => info!(version = list.version, "new trust list in force"),
            Ok(None) => last.clear(),
            Err(cause) if cause.to_string() != last => {
                error!(%cause, "the trust list's file is refused; the one before stays in force");
                last = cause.to_string();
            }
            Err(_) => {}
        }
    }
}

async fn admin(node: Arc<Node>, listener: TcpListener, stop: CancellationToken) {
    if let Err(cause) = http::serve(node, listener, stop).await {
        error!(%cause, "the admin listener ended");
    }
}
