//! The acceptor: mutual TLS, one task a connection, and an end to connections that trust no longer covers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use pki::tls::{self, Line, PeerCertificate};
use pki::trust::TrustList;
use proto::ids::CountryCode;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info};

use crate::admit::Admission;
use crate::alert::Failure;
use crate::caller::Caller;
use crate::crowd::Crowd;
use crate::node::Node;
use crate::places::{Place, Places};
use crate::stage::Stages;

/// How long a handshake may take; whoever is slower holds a place only for so long.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Connections that have not shaken hands.
const STRANGERS: usize = 1_024;
/// How often an open connection's certificate is looked at again.
const RECHECK: Duration = Duration::from_secs(10);
/// A connection ends after this time, so that new certificates and settings take effect.
const OLDEST: Duration = Duration::from_secs(3_600);
/// How long open calls may take to finish then: longer than a pull waits.
const FAREWELL: Duration = Duration::from_secs(45);
/// HTTP/2: flow-control windows, frames (a push comes in one and not in dozens), header octets, pings.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
const FRAME: u32 = 256 * 1024;
const HEADER_OCTETS: u32 = 16 * 1024;
const PING_EVERY: Duration = Duration::from_secs(15);
const PING_ANSWER: Duration = Duration::from_secs(10);
/// Calls that were opened and cancelled before we came to them, and answers that we had to cancel: behind so many the
/// connection ends (CVE-2023-44487, RUSTSEC-2024-0003).
const RESETS: usize = 20;
const OUR_RESETS: usize = 128;

/// Accepts connections on one address and hands their calls to one set of services.
pub struct Acceptor {
    node: Arc<Node>,
    admission: Arc<Admission>,
    terms: watch::Receiver<Terms>,
    /// Calls at once on one connection.
    streams: u32,
    /// Who has not shaken hands yet: the slowest goes if there are too many.
    strangers: Crowd,
    /// The same by address: whoever opens many connections without a handshake is in nobody's way but its own.
    addresses: Places<IpAddr>,
    /// Connections after their handshake, in all and by country.
    connections: Arc<Semaphore>,
    countries: Places<CountryCode>,
}

/// What a handshake goes by: a trust list, and the TLS configuration that was made of it.
#[derive(Clone)]
pub struct Terms {
    trust: Arc<TrustList>,
    tls: Arc<ServerConfig>,
}

impl Terms {
    fn of(node: &Node, trust: Arc<TrustList>) -> Result<Self, rustls::Error> {
        let tls = Arc::new(tls::server_config(&node.certificate, &trust)?);
        Ok(Self { trust, tls })
    }
}

/// A whole new TLS configuration whenever the trust list changes; a list that TLS cannot use changes nothing.
pub fn follow_trust(node: &Arc<Node>, stages: &Stages) -> Result<watch::Receiver<Terms>, rustls::Error> {
    let (publish, terms) = watch::channel(Terms::of(node, node.trust_list())?);
    let (node, mut trust, stop) = (node.clone(), node.trust.clone(), node.stop.clone());
    stages.spawn("tls", stop.clone(), async move {
        loop {
            tokio::select! {
                changed = trust.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
            let list = trust.borrow_and_update().clone();
            let version = list.version;
            match Terms::of(&node, list) {
                Ok(terms) => {
                    publish.send_replace(terms);
                }
                Err(cause) => error!(%cause, version, "TLS cannot use the new trust list"),
            }
        }
    });
    Ok(terms)
}

impl Acceptor {
    /// Accepts for these services.
    #[must_use]
    pub fn new(node: Arc<Node>, admission: Admission, streams: u32, terms: watch::Receiver<Terms>) -> Self {
        let (limit, of_one) = (node.config.limits.connections, node.config.limits.handshakes_of_one_address);
        Self {
            node,
            admission: Arc::new(admission),
            terms,
            streams,
            strangers: Crowd::new(STRANGERS),
            addresses: Places::new(of_one),
            connections: Arc::new(Semaphore::new(limit)),
            countries: Places::new(limit.div_ceil(4)),
        }
    }

    /// Accepts until it is stopped; then lets the open calls finish.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken, tasks: TaskTracker) {
        let acceptor = Arc::new(self);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, from)) => {
                    let Some(place) = acceptor.addresses.take(from.ip()) else {
                        acceptor.failed("too_many_from_one_address");
                        continue;
                    };
                    tasks.spawn(acceptor.clone().connection(stream, stop.clone(), place));
                }
                Err(cause) => {
                    // Out of file descriptors, mostly: accepting again at once would only burn time.
                    error!(%cause, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        stop: CancellationToken,
        stranger: Place<IpAddr>,
    ) {
        let stay = self.strangers.enter();
        let shaken = tokio::select! {
            shaken = timeout(HANDSHAKE, self.handshake(stream)) => shaken,
            () = stay.is_over() => return self.failed("too_many"),
        };
        drop((stay, stranger));
        let Ok(shaken) = shaken else { return self.failed("timeout") };
        let Some((stream, certificate)) = shaken else { return };
        let country = self.countries.take(certificate.identity.country);
        let (Some(_country), Ok(_place)) = (country, self.connections.clone().try_acquire_owned()) else {
            info!(peer = %certificate.identity, "too many connections");
            return self.failed("too_many_connections");
        };
        debug!(peer = %certificate.identity, "connected");
        self.serve(stream, certificate, stop).await;
    }

    async fn handshake(&self, stream: TcpStream) -> Option<(TlsStream<Line>, Arc<PeerCertificate>)> {
        let line = tls::line(stream).ok()?;
        let terms = self.terms.borrow().clone();
        let stream = match TlsAcceptor::from(terms.tls).accept(line).await {
            Ok(stream) => stream,
            Err(cause) => {
                let failure = Failure::of(&cause);
                info!(reason = failure.reason, alert = failure.alert, %cause, "handshake refused");
                self.node.metrics.handshake_failed(self.admission.door().name(), failure);
                return None;
            }
        };
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first())?;
        let certificate = PeerCertificate::parse(shown).ok()?.verified_by(&terms.trust)?;
        Some((stream, Arc::new(certificate)))
    }

    async fn serve(
        &self,
        stream: TlsStream<Line>,
        certificate: Arc<PeerCertificate>,
        stop: CancellationToken,
    ) {
        let (caller, admission) = (Caller(certificate.clone()), self.admission.clone());
        let service = service_fn(move |request| admission.clone().answer(caller.clone(), request));
        let builder = builder(self.streams);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        tokio::select! {
            served = connection.as_mut() => return self.ended(&certificate, served),
            () = self.untrusted(&certificate) => return,
            () = stop.cancelled() => {}
            () = tokio::time::sleep(OLDEST) => {}
        }
        // Open calls finish; the other side makes a new connection for the next one.
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            served = connection => self.ended(&certificate, served),
            () = self.untrusted(&certificate) => {}
            () = tokio::time::sleep(FAREWELL) => {}
        }
    }

    /// Counts a connection that did not end as it should: altered octets, a flood, a cut line.
    fn ended(
        &self,
        certificate: &PeerCertificate,
        served: Result<(), Box<dyn std::error::Error + Send + Sync>>,
    ) {
        if let Err(cause) = served {
            let reason = Failure::within(&*cause).map_or("http2", |failure| failure.reason);
            debug!(peer = %certificate.identity, reason, %cause, "connection ended");
            self.node.metrics.connection_broken(&certificate.identity, reason);
        }
    }

    /// Counts a handshake that did not come to an end.
    fn failed(&self, reason: &'static str) {
        self.node.metrics.handshake_failed(self.admission.door().name(), Failure::without_alert(reason));
    }

    /// Comes when trust no longer covers a connection's certificate.
    async fn untrusted(&self, certificate: &PeerCertificate) {
        loop {
            tokio::time::sleep(RECHECK).await;
            if let Err(cause) = certificate.check(&self.node.trust_list(), self.node.clock.now()) {
                info!(peer = %certificate.identity, %cause, "connection closed");
                return;
            }
        }
    }
}

fn builder(streams: u32) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new()).http2_only();
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_concurrent_streams(streams)
        .max_header_list_size(HEADER_OCTETS)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(OUR_RESETS)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER);
    builder
}
