//! The acceptor for phones: TLS with the server's certificate alone, and an end to whoever is slow or many.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::middleware::map_response;
use axum::response::Response;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use pki::disk::{self, DiskError};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info};

use super::unread::Answers;
use crate::outage;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(10);
/// A connection ends after this time, so that nobody holds a place for ever.
const OLDEST: Duration = Duration::from_secs(600);
/// How long what is under way may take when we stop.
const GRACE: Duration = Duration::from_secs(10);
/// Connections of one address, or of one /64 of IPv6, which is what one subscriber has: many phones may share one.
const OF_ONE_ADDRESS: usize = 256;
/// How long somebody may take nothing of an answer that is under way.
pub(crate) const UNREAD: Duration = Duration::from_secs(60);
/// Requests at once on one HTTP/2 connection, and octets of their heads.
const STREAMS: u32 = 2;
const HEAD_OCTETS: u32 = 8 * 1024;
/// Octets that wait on one connection of HTTP/1, or on one stream of HTTP/2, until they are read.
const WAITING: usize = 32 * 1024;
/// Octets of uploads that HTTP/2 lets a phone send ahead, on one stream and in all.
const WINDOW: u32 = 256 * 1024;
/// How often the certificate's files are looked at.
const RELOAD: Duration = Duration::from_secs(15);
/// Octets of a certificate chain or key file.
const LIMIT: usize = 256 * 1024;

/// The files of the server's certificate.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The chain, PEM, leaf first.
    pub chain: PathBuf,
    /// Its private key, PKCS#8 PEM, mode 0600.
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file that cannot be read, or that others can read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// No PEM of the right kind.
    #[error("{path} holds no {what}")]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        what: &'static str,
    },
    /// TLS does not take them.
    #[error("TLS cannot use phones.certificate with phones.key: {0}")]
    Tls(#[from] rustls::Error),
}

impl Certificate {
    /// A TLS configuration of what the files hold now.
    pub fn read(&self) -> Result<ServerConfig, CertificateError> {
        let chain = disk::read(&self.chain, LIMIT)?;
        let not_pem = |path: &PathBuf, what| CertificateError::NotPem { path: path.clone(), what };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&chain)
            .collect::<Result<_, _>>()
            .map_err(|_| not_pem(&self.chain, "certificate"))?;
        if chain.is_empty() {
            return Err(not_pem(&self.chain, "certificate"));
        }
        let key = disk::read_secret(&self.key, LIMIT)?;
        let key = PrivateKeyDer::from_pem_slice(key.expose());
        let key = key.map_err(|_| not_pem(&self.key, "private key, or one with a pass phrase"))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    fn changed(&self) -> Option<[SystemTime; 2]> {
        let modified = |path: &PathBuf| std::fs::metadata(path).and_then(|file| file.modified()).ok();
        Some([modified(&self.chain)?, modified(&self.key)?])
    }
}

/// What phones may take of us.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// How long one may take nothing of an answer that is under way.
    pub unread: Duration,
}

impl Limits {
    /// So many connections, and the usual patience.
    #[must_use]
    pub fn connections(connections: usize) -> Self {
        Self { connections, unread: UNREAD }
    }
}

/// Serves phones until the stop; then lets what is under way finish.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    (certificate, first): (Certificate, ServerConfig),
    limits: Limits,
    stop: CancellationToken,
) {
    let (publish, config) = watch::channel(Arc::new(first));
    let tasks = TaskTracker::new();
    tasks.spawn(follow(certificate, publish, stop.clone()));
    let places = Arc::new(Semaphore::new(limits.connections));
    let addresses = Arc::new(Addresses::default());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, from)) => {
                let (Ok(place), Some(address)) =
                    (places.clone().try_acquire_owned(), addresses.take(from.ip()))
                else {
                    continue;
                };
                let (acceptor, router) = (TlsAcceptor::from(config.borrow().clone()), router.clone());
                let stop = stop.clone();
                tasks.spawn(async move {
                    connection(stream, acceptor, (router, limits.unread), stop).await;
                    drop((place, address));
                });
            }
            Err(cause) => {
                // Out of file descriptors, mostly: accepting again at once would only burn time.
                error!(%cause, "a phone's connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    tasks.close();
    if timeout(GRACE, tasks.wait()).await.is_err() {
        info!(open = tasks.len(), "some phones did not finish in time; they ask again");
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    (router, patience): (Router, Duration),
    stop: CancellationToken,
) {
    let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(stream)).await else { return };
    let answers = Arc::<Answers>::default();
    let counted = answers.clone();
    let router = router.layer(map_response(move |response: Response| {
        let counted = counted.clone();
        async move { response.map(|body| counted.count(body)) }
    }));
    let builder = builder();
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = answers.unread(patience) => return debug!("a phone did not read its answer"),
        () = async { tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(OLDEST) => {} } } => {
            connection.as_mut().graceful_shutdown();
            match timeout(GRACE, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(cause) = ended {
        debug!(%cause, "a phone's connection ended");
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_headers(64).max_buf_size(WAITING);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_OCTETS)
        .max_send_buf_size(WAITING)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(HEAD);
    builder
}

/// A whole new configuration when the files have changed; what TLS cannot use changes nothing.
async fn follow(
    certificate: Certificate,
    publish: watch::Sender<Arc<ServerConfig>>,
    stop: CancellationToken,
) {
    let mut known = certificate.changed();
    while stop.run_until_cancelled(tokio::time::sleep(RELOAD)).await.is_some() {
        let now = certificate.changed();
        if now.is_none() || now == known {
            continue;
        }
        known = now;
        match certificate.read() {
            Ok(config) => {
                publish.send_replace(Arc::new(config));
                info!("the certificate for phones was reloaded");
            }
            Err(cause) => {
                error!(error = %outage::chain(&cause), "the certificate for phones is refused; the one before stays");
            }
        }
    }
}

/// Connections by address. Nothing of it is written anywhere.
#[derive(Default)]
struct Addresses(Mutex<HashMap<IpAddr, usize>>);

/// A place of an address.
struct Address {
    /// As it is counted.
    ip: IpAddr,
    of: Arc<Addresses>,
}

impl Addresses {
    fn take(self: &Arc<Self>, ip: IpAddr) -> Option<Address> {
        let ip = subscriber(ip);
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(ip).or_default();
        if *count >= OF_ONE_ADDRESS {
            return None;
        }
        *count += 1;
        Some(Address { ip, of: self.clone() })
    }
}

/// The address by which somebody is counted: whoever has one of a /64 has all of them.
fn subscriber(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() >> 64 << 64).into()),
        four @ IpAddr::V4(_) => four,
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        let mut taken = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_ipv6_is_counted_by_its_64() {
        let addresses = Arc::new(Addresses::default());
        let take = |ip: &str| addresses.take(ip.parse().unwrap());
        let held: Vec<_> =
            (0..OF_ONE_ADDRESS).map(|number| take(&format!("2001:db8:0:1::{number:x}"))).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(take("2001:db8:0:1:ffff::1").is_none(), "another address of the same subscriber");
        assert!(take("2001:db8:0:2::1").is_some(), "another subscriber");
        drop(held);
        assert!(take("2001:db8:0:1:ffff::1").is_some());
        assert!(addresses.0.lock().unwrap().is_empty(), "nothing is kept");
    }

    #[test]
    fn an_address_of_ipv4_is_counted_by_itself_however_it_is_written() {
        for (ip, counted) in [("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7")] {
            assert_eq!(subscriber(ip.parse().unwrap()), counted.parse::<IpAddr>().unwrap());
        }
    }
}
