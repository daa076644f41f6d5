//! One POST, and what its answer means.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use pki::disk::{self, DiskError};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use super::queue::Part;
use crate::config::WebhookConfig;

/// Octets of a token or certificate file.
const LIMIT: usize = 64 * 1024;
/// Octets of an answer that are read, so that the connection can be used again.
const ANSWER: usize = 64 * 1024;

/// Posts to one address, and follows no redirect.
pub(super) struct Client {
    http: HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: Uri,
    token: Option<HeaderValue>,
    timeout: Duration,
}

/// What came of a POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is in.
    Taken,
    /// The national system will never take it: 400, 409, 410, 413, 415, 422.
    Refused(u16),
    /// Not now.
    Again {
        /// Its status.
        status: u16,
        /// What it asks us to wait.
        pause: Duration,
    },
    /// No answer.
    Unreachable(String),
}

/// Why the national system cannot be posted to at all.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// A file, or a token that others can read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The address.
    #[error("`{url}` must be https://HOST[:PORT]/PATH; http is for loopback addresses only")]
    Url {
        /// What is configured.
        url: String,
    },
    /// The certificate authority.
    #[error("{path} holds no certificate; name the PEM file of the national system's certificate authority")]
    Ca {
        /// The file.
        path: PathBuf,
    },
    /// `https` without a certificate authority.
    #[error("the key `ca` is missing; an https address needs the national system's certificate authority")]
    NoCa,
    /// TLS does not take it.
    #[error("TLS cannot use the national system's certificate authority: {0}")]
    Tls(#[from] rustls::Error),
    /// The token.
    #[error("{path} holds no bearer token: one line of printable ASCII")]
    Token {
        /// The file.
        path: PathBuf,
    },
}

impl Client {
    pub(super) fn new(config: &WebhookConfig) -> Result<Self, WebhookError> {
        let url = parse_url(&config.url)?;
        let is_https = url.scheme_str() == Some("https");
        let tls = tls(config, is_https)?;
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let timeout = Duration::from_millis(config.timeout_ms.into());
        let http = HttpClient::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector);
        Ok(Self { http, url, token: token(config)?, timeout })
    }

    pub(super) async fn post(&self, part: &Part) -> Outcome {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", part.id());
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token.clone());
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(part.body())));
        let Ok(request) = request else { return Outcome::Unreachable("the request cannot be made".into()) };
        let answered = timeout(self.timeout, async {
            let response = self.http.request(request).await.map_err(|error| causes(&error))?;
            Ok::<_, String>(understood(response).await)
        });
        match answered.await {
            Err(_) => Outcome::Unreachable(format!("no answer within {} ms", self.timeout.as_millis())),
            Ok(Err(cause)) => Outcome::Unreachable(cause),
            Ok(Ok(outcome)) => outcome,
        }
    }
}

/// What an answer says. One that breaks off is none: nobody knows whether it is in.
pub async fn understood(response: Response<Incoming>) -> Outcome {
    let (head, body) = response.into_parts();
    match http_body_util::Limited::new(body, ANSWER).collect().await {
        Ok(_) => outcome(head.status, head.headers.get(header::RETRY_AFTER)),
        Err(cause) => Outcome::Unreachable(cause.to_string()),
    }
}

fn outcome(status: StatusCode, retry_after: Option<&HeaderValue>) -> Outcome {
    match status.as_u16() {
        200..=299 => Outcome::Taken,
        number @ (400 | 409 | 410 | 413 | 415 | 422) => Outcome::Refused(number),
        status => {
            let seconds =
                retry_after.and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
            Outcome::Again { status, pause: seconds.map_or(Duration::ZERO, Duration::from_secs) }
        }
    }
}

/// An https address, or an http one that does not leave the machine.
pub(crate) fn parse_url(text: &str) -> Result<Uri, WebhookError> {
    let wrong = || WebhookError::Url { url: text.into() };
    let url: Uri = text.parse().map_err(|_| wrong())?;
    let host = url.host().ok_or_else(wrong)?;
    let is_loopback =
        host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let has_user = url.authority().is_some_and(|authority| authority.as_str().contains('@'));
    match url.scheme_str() {
        Some("https") if !has_user => Ok(url),
        Some("http") if is_loopback && !has_user => Ok(url),
        _ => Err(wrong()),
    }
}

fn tls(config: &WebhookConfig, is_https: bool) -> Result<ClientConfig, WebhookError> {
    let mut roots = RootCertStore::empty();
    match &config.ca {
        Some(path) => {
            let pem = disk::read(path, LIMIT)?;
            let unreadable = || WebhookError::Ca { path: path.clone() };
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                roots.add(certificate.map_err(|_| unreadable())?)?;
            }
            if roots.is_empty() {
                return Err(unreadable());
            }
        }
        None if is_https => return Err(WebhookError::NoCa),
        None => {}
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn token(config: &WebhookConfig) -> Result<Option<HeaderValue>, WebhookError> {
    let Some(path) = &config.token_file else { return Ok(None) };
    let octets = disk::read_secret(path, LIMIT)?;
    let text = std::str::from_utf8(octets.expose()).unwrap_or_default().trim_end();
    let unusable = || WebhookError::Token { path: path.clone() };
    if text.is_empty() || !text.bytes().all(|letter| letter.is_ascii_graphic()) {
        return Err(unusable());
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_| unusable())?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn causes(error: &dyn Error) -> String {
    crate::outage::chain(error)
}
