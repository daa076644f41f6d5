//! Starts the stages in order, and stops them in order.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pki::trust::{Status, TrustKeeper};
use proto::ids::CountryCode;
use proto::limits;
use proto::wire::delivery_server::DeliveryServer;
use proto::wire::exchange_server::ExchangeServer;
use proto::wire::ingest_server::IngestServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic_health::server::{HealthReporter, health_reporter};
use tracing::{error, info};

use crate::admit::{Admission, Door};
use crate::clock::Clock;
use crate::config::Config;
use crate::inbound::acknowledge::Acknowledge;
use crate::inbound::deliver::Delivery;
use crate::inbound::keys::Keys;
use crate::inbound::pull::Pull;
use crate::inbound::refill::Refill;
use crate::lease::while_held;
use crate::listen::{self, Acceptor};
use crate::node::Node;
use crate::outbound::ingest::Ingest;
use crate::outbound::serve::Exchange;
use crate::peers::Peers;
use crate::prepare::{Listeners, StartError, prepare};
use crate::stage::Stages;
use crate::store::Fence;
use crate::{damage, elsewhere, expiry, health, http, names, retention, witness};

/// How often the trust list's file is looked at.
const TRUST_EVERY: Duration = Duration::from_secs(5);
/// How long open calls may take to finish when we stop.
const GRACE: Duration = Duration::from_secs(10);
/// How long answers of the admin listener may take then.
const FAREWELL: Duration = Duration::from_secs(1);
/// Calls at once on one connection: adapters send whole pushes, peers a few small requests.
const NATIONAL_STREAMS: u32 = 16;
const PEER_STREAMS: u32 = 64;
/// The longest request of a peer: a receipt.
const SMALL_MESSAGE: usize = 16 * 1024;
/// The longest request to the delivery service: a key list.
const KEY_LIST_MESSAGE: usize = limits::KEY_LIST_LEN + 4 * 1024;
/// The longest message of a push: its limits and the fields around them.
const PUSH_MESSAGE: usize = limits::PUSH_LEN + 256 * 1024;

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
    let (node, keeper) = prepare(config, clock, stop.clone()).await?;
    let node = Arc::new(node);
    let stages = Stages::new(stop.clone());
    let loopback = listeners.peers.local_addr().map(loopback).unwrap_or_default();
    info!(country = %node.country, peers = ?listeners.peers.local_addr().ok(), national = ?listeners.national.local_addr().ok(), admin = ?listeners.admin.local_addr().ok(), trust = node.trust_list().version, "gateway started");

    // Our tokens out: 1 ingest and 5 serve answer calls; 2 to 4 work inside them.
    let reporters = answer(&node, (listeners.peers, listeners.national), &stages)?;

    // Peers' tokens in: 6 to 8 for each country of the trust list; 9 answers calls above.
    let callers = Arc::new(Peers::new(node.clone(), loopback));
    stages.spawn("countries", stop.clone(), follow_countries(node.clone(), callers.clone(), stages.clone()));
    stages.spawn("refill", stop.clone(), Refill::new(node.clone(), callers.clone()).run(stop.clone()));
    let keys = move |node, _| Keys::new(node, callers.clone()).run();
    stages.spawn("keys", stop.clone(), while_held(node.clone(), names::KEYS, stop.clone(), keys));

    // Around both.
    stages.spawn("trust", stop.clone(), follow_file(keeper, node.clock.clone(), stop.clone()));
    stages.spawn("expiry", stop.clone(), expiry::run(node.clone(), stop.clone()));
    stages.spawn("elsewhere", stop.clone(), elsewhere::run(node.clone(), stop.clone()));
    stages.spawn("damage", stop.clone(), damage::run(node.clone(), stop.clone()));
    stages.spawn("store", stop.clone(), until_broken(node.clone(), stop.clone()));
    stages.spawn("witness", stop.clone(), witness::run(node.clone(), stop.clone()));
    let leap = Arc::default();
    let purge = move |node, fence| retention::run(node, fence, Arc::clone(&leap));
    let retention = while_held(node.clone(), names::RETENTION, stop.clone(), purge);
    stages.spawn("retention", stop.clone(), retention);
    stages.spawn("health", stop.clone(), health::run(node.clone(), reporters, stop.clone()));
    // Whoever asks during the stop is told that we are stopping, so the admin listener ends last.
    let (last, over) = (Stages::new(stop.clone()), CancellationToken::new());
    last.spawn("admin", over.clone(), admin(node.clone(), listeners.admin, over.clone()));
    stop.cancelled().await;
    finish(&node, stages.tasks()).await;
    over.cancel();
    last.tasks().close();
    // Who keeps a connection to it open is waited for no longer.
    let _ = tokio::time::timeout(FAREWELL, last.tasks().wait()).await;
    info!("stopped");
    stages.ended().or(last.ended()).map_or(Ok(()), |stage| Err(StartError::StageEnded(stage)))
}

/// Answers adapters and peers until the stop: the half of a gateway that others call. Gives what tells balancers
/// whether it is ready.
pub fn answer(
    node: &Arc<Node>,
    (to_peers, to_adapters): (TcpListener, TcpListener),
    stages: &Stages,
) -> Result<[HealthReporter; 2], rustls::Error> {
    let tls = listen::follow_trust(node, stages)?;
    let (stop, tasks) = (node.stop.clone(), stages.tasks().clone());
    let (national_health, peers_health) = (health_reporter(), health_reporter());
    let routes = national(node).add_service(national_health.1).prepare();
    let admission = Admission::new(node.clone(), Door::National, routes);
    let acceptor = Acceptor::new(node.clone(), admission, NATIONAL_STREAMS, tls.clone());
    stages.spawn("national", stop.clone(), acceptor.run(to_adapters, stop.clone(), tasks.clone()));
    let routes = peers(node).add_service(peers_health.1).prepare();
    let admission = Admission::new(node.clone(), Door::Peers, routes);
    let acceptor = Acceptor::new(node.clone(), admission, PEER_STREAMS, tls);
    stages.spawn("peers", stop.clone(), acceptor.run(to_peers, stop, tasks));
    Ok([national_health.0, peers_health.0])
}

async fn finish(node: &Node, tasks: &TaskTracker) {
    info!("stopping: open calls are finished, new ones are refused");
    tasks.close();
    if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
        info!(open = tasks.len(), "some calls did not finish in time; nothing that was answered is lost");
    }
    match tokio::time::timeout(GRACE, node.store.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(cause)) => error!(%cause, "the store did not close cleanly; it recovers at the next start"),
        Err(_) => error!("the store did not close in time; it recovers at the next start"),
    }
}

/// What adapters may call.
fn national(node: &Arc<Node>) -> Routes {
    let ingest = IngestServer::new(Ingest::new(node.clone())).max_decoding_message_size(PUSH_MESSAGE);
    let delivery =
        DeliveryServer::new(Delivery::new(node.clone())).max_decoding_message_size(KEY_LIST_MESSAGE);
    Routes::new(ingest).add_service(delivery)
}

/// What peers may call.
fn peers(node: &Arc<Node>) -> Routes {
    let exchange = ExchangeServer::new(Exchange::new(node.clone())).max_decoding_message_size(SMALL_MESSAGE);
    Routes::new(exchange)
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
async fn follow_countries(node: Arc<Node>, peers: Arc<Peers>, stages: Stages) {
    let stop = node.stop.clone();
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
                peers.hang_up(*code);
            }
            stays
        });
        for country in list.countries().filter(|country| is_active(country.code)) {
            running.entry(country.code).or_insert_with(|| {
                node.metrics.follow(country.code);
                let stop = stop.child_token();
                let (peers, code) = (peers.clone(), country.code);
                let work = move |node, fence| exchange(node, peers.clone(), code, fence);
                let held = while_held(node.clone(), names::peer(country.code), stop.clone(), work);
                stages.spawn("pull", stop.clone(), held);
                stop
            });
        }
        tokio::select! {
            changed = trust.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

/// What one replica does with one country: pulls its batches, and sends it receipts. Neither ends by itself.
async fn exchange(node: Arc<Node>, peers: Arc<Peers>, code: CountryCode, fence: Fence) {
    let pull = Pull::new(node.clone(), peers.clone(), code, fence);
    let acknowledge = Acknowledge::new(node, peers, code);
    tokio::select! {
        () = pull.run() => {}
        () = acknowledge.run() => {}
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
                error!(%cause, "the trust list's file is refused; the one before stays in force until it expires");
                last = cause.to_string();
            }
            Err(_) => {}
        }
    }
}

/// Ends when the store is broken: only a new process mends that, and whoever supervises this one starts it.
async fn until_broken(node: Arc<Node>, stop: CancellationToken) {
    stop.run_until_cancelled(node.store.broken()).await;
}

async fn admin(node: Arc<Node>, listener: TcpListener, stop: CancellationToken) {
    if let Err(cause) = http::serve(node, listener, stop).await {
        error!(%cause, "the admin listener ended");
    }
}
