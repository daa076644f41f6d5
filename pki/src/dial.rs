//! Calling a gateway over mutual TLS: the one way in which any node reaches another.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::tls::{Line, line};

/// Flow-control windows that keep a long line full: one stream, and the connection.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Octets of a frame: a batch comes in one and not in dozens.
const FRAME: u32 = 256 * 1024;
/// Octets of the headers of an answer: a few error details, and no bomb.
const HEADER_OCTETS: u32 = 16 * 1024;
/// How long connecting and shaking hands may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Without pings a connection never notices that the line is cut.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_ANSWER: Duration = Duration::from_secs(10);

/// A channel that connects when it is first used, and again after a failure.
///
/// `endpoint` is `https://host:port`; whom to believe there is in `tls` (see [`crate::tls::client_config`]).
pub fn channel(endpoint: &str, tls: Arc<ClientConfig>) -> Result<Channel, tonic::transport::Error> {
    // TLS is made in the connector below, so tonic must not look for it in the scheme.
    let plain = endpoint.replacen("https://", "http://", 1);
    let endpoint = Endpoint::from_shared(plain)?
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .http2_max_header_list_size(HEADER_OCTETS)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER)
        .keep_alive_while_idle(true)
        .connect_timeout(CONNECT);
    let connector = TlsConnector::from(tls);
    Ok(endpoint.connect_with_connector_lazy(tower::service_fn(move |uri: Uri| {
        let connector = connector.clone();
        async move { timeout(CONNECT, connect(uri, connector)).await.map_err(|_| took_too_long())? }
    })))
}

async fn connect(uri: Uri, tls: TlsConnector) -> io::Result<TokioIo<TlsStream<Line>>> {
    let invalid =
        |what: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("the endpoint has no {what}"));
    let host = uri.host().ok_or_else(|| invalid("host"))?.trim_matches(['[', ']']);
    let port = uri.port_u16().ok_or_else(|| invalid("port"))?;
    let name = ServerName::try_from(host.to_owned()).map_err(|_| invalid("valid host name"))?;
    let line = line(TcpStream::connect((host, port)).await?)?;
    Ok(TokioIo::new(tls.connect(name, line).await?))
}

fn took_too_long() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no TLS connection within {} s", CONNECT.as_secs()))
}
