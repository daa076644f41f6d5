//! The acceptor: mutual TLS, one task a connection, and an end to connections that trust no longer covers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use pki::tls::{self, PeerCertificate};
use proto::ids::CountryCode;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tower::ServiceExt;
use tracing::{debug, error, info};

use crate::caller::Caller;
use crate::node::Node;
use crate::places::{Place, Places};
use crate::stage::Stages;

/// How long a handshake may take; whoever is slower holds a place only for so long.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Handshakes at the same time.
const HANDSHAKES: usize = 256;
/// How often an open connection's certificate is looked at again.
const RECHECK: Duration = Duration::from_secs(10);
/// A connection ends after this time, so that new certificates and settings take effect.
const OLDEST: Duration = Duration::from_secs(3_600);
/// How long open calls may take to finish then: longer than a pull waits.
const FAREWELL: Duration = Duration::from_secs(45);
/// Connections of one address that have not shaken hands.
const STRANGERS: usize = 64;
/// HTTP/2: flow-control windows, header octets, pings.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
const HEADER_OCTETS: u32 = 16 * 1024;
const PING_EVERY: Duration = Duration::from_secs(15);
const PING_ANSWER: Duration = Duration::from_secs(10);

/// Accepts connections on one address and hands their calls to one set of services.
pub struct Acceptor {
    node: Arc<Node>,
    routes: Routes,
    config: watch::Receiver<Arc<ServerConfig>>,
    /// Calls at once on one connection.
    streams: u32,
    handshakes: Semaphore,
    /// Strangers by address: whoever opens many connections without a handshake is in nobody's way but its own.
    strangers: Places<IpAddr>,
    /// Connections after their handshake, in all and by country.
    connections: Arc<Semaphore>,
    countries: Places<CountryCode>,
}

/// A whole new TLS configuration whenever the trust list changes; a list that TLS cannot use changes nothing.
pub fn follow_trust(
    node: &Arc<Node>,
    stages: &Stages,
) -> Result<watch::Receiver<Arc<ServerConfig>>, rustls::Error> {
    let first = tls::server_config(&node.certificate, &node.trust_list())?;
    let (publish, config) = watch::channel(Arc::new(first));
    let (node, mut trust, stop) = (node.clone(), node.trust.clone(), node.stop.clone());
    stages.spawn("tls", stop.clone(), async move {
        loop {
            tokio::select! {
                changed = trust.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
            let list = trust.borrow_and_update().clone();
            match tls::server_config(&node.certificate, &list) {
                Ok(config) => {
                    publish.send_replace(Arc::new(config));
                }
                Err(cause) => error!(%cause, version = list.version, "TLS cannot use the new trust list"),
            }
        }
    });
    Ok(config)
}

impl Acceptor {
    /// Accepts for these services.
    #[must_use]
    pub fn new(
        node: Arc<Node>,
        routes: Routes,
        streams: u32,
        config: watch::Receiver<Arc<ServerConfig>>,
    ) -> Self {
        let limit = node.config.limits.connections;
        let (strangers, countries) = (Places::new(STRANGERS), Places::new(limit.div_ceil(4)));
        let (handshakes, connections) = (Semaphore::new(HANDSHAKES), Arc::new(Semaphore::new(limit)));
        Self { node, routes, config, streams, handshakes, strangers, connections, countries }
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
                    let Some(place) = acceptor.strangers.take(from.ip()) else {
                        acceptor.node.metrics.handshake_failed("too_many_from_one_address");
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
        let shaken = timeout(HANDSHAKE, self.handshake(stream)).await;
        drop(stranger);
        let Ok(shaken) = shaken else { return self.node.metrics.handshake_failed("timeout") };
        let Some((stream, certificate)) = shaken else { return };
        let country = self.countries.take(certificate.identity.country);
        let (Some(_country), Ok(_place)) = (country, self.connections.clone().try_acquire_owned()) else {
            info!(peer = %certificate.identity, "too many connections");
            return self.node.metrics.handshake_failed("too_many_connections");
        };
        debug!(peer = %certificate.identity, "connected");
        self.serve(stream, certificate, stop).await;
    }

    async fn handshake(&self, stream: TcpStream) -> Option<(TlsStream<TcpStream>, Arc<PeerCertificate>)> {
        let _turn = self.handshakes.acquire().await.ok()?;
        stream.set_nodelay(true).ok()?;
        let config = self.config.borrow().clone();
        let stream = match TlsAcceptor::from(config).accept(stream).await {
            Ok(stream) => stream,
            Err(cause) => {
                self.node.metrics.handshake_failed(reason(&cause));
                info!(reason = reason(&cause), %cause, "handshake refused");
                return None;
            }
        };
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first())?;
        let certificate = PeerCertificate::parse(shown).ok()?;
        Some((stream, Arc::new(certificate)))
    }

    async fn serve(
        &self,
        stream: TlsStream<TcpStream>,
        certificate: Arc<PeerCertificate>,
        stop: CancellationToken,
    ) {
        let caller = Caller(certificate.clone());
        let service = self.routes.clone().map_request(move |mut request: Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(caller.clone());
            request
        });
        let builder = builder(self.streams);
        let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        tokio::pin!(connection);
        tokio::select! {
            served = connection.as_mut() => return ended(&certificate, served),
            () = self.untrusted(&certificate) => return,
            () = stop.cancelled() => {}
            () = tokio::time::sleep(OLDEST) => {}
        }
        // Open calls finish; the other side makes a new connection for the next one.
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            served = connection => ended(&certificate, served),
            () = self.untrusted(&certificate) => {}
            () = tokio::time::sleep(FAREWELL) => {}
        }
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

fn ended(certificate: &PeerCertificate, served: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(cause) = served {
        debug!(peer = %certificate.identity, %cause, "connection ended");
    }
}

fn builder(streams: u32) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new()).http2_only();
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(streams)
        .max_header_list_size(HEADER_OCTETS)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER);
    builder
}

/// A stable name for why a handshake failed.
fn reason(cause: &std::io::Error) -> &'static str {
    use rustls::{CertificateError as Certificate, Error};
    match cause.get_ref().and_then(|cause| cause.downcast_ref::<Error>()) {
        Some(Error::NoCertificatesPresented) => "no_certificate",
        Some(Error::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. })) => {
            "expired"
        }
        Some(Error::InvalidCertificate(
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. },
        )) => "not_yet_valid",
        Some(Error::InvalidCertificate(Certificate::UnknownIssuer)) => "unknown_issuer",
        Some(Error::InvalidCertificate(Certificate::BadSignature)) => "bad_signature",
        Some(Error::InvalidCertificate(Certificate::Revoked)) => "revoked",
        Some(Error::InvalidCertificate(_)) => "bad_certificate",
        Some(Error::PeerIncompatible(_)) => "incompatible",
        Some(Error::AlertReceived(_)) => "alert_received",
        Some(_) => "tls",
        None => "io",
    }
}
