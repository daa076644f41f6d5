//! A phone's way to its authority: HTTPS to one server. The phone knows the server's certificate authority, and the
//! key that signs what it downloads; it trusts nobody else.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER};
use http::{HeaderMap, HeaderName, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use pki::sign::VerifyingKey;
use pki::{pubfile, tls};
use proto::ids::Authority;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

use crate::place::{AdapterPlace, PhonesPlace};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(30);
/// What RFC 9457 calls a problem document.
const PROBLEM: &str = "application/problem+json";
/// What all types of problems begin with.
const PROBLEMS: &str = "https://exchange.invalid/problems/";

/// A phone's own authority, as the phone knows it.
#[derive(Clone)]
pub struct Home {
    authority: Authority,
    url: String,
    list_key: VerifyingKey,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
    headers: HeaderMap,
}

impl Home {
    /// The authority whose adapter this is.
    pub fn of(adapter: &AdapterPlace) -> Result<Self> {
        let authority = adapter.authority;
        let phones = adapter.phones.as_ref().with_context(|| format!("{authority} serves no phones"))?;
        let public = phones.list_key.with_extension("key.pub");
        Self::at(authority, pubfile::verifying_key(&public)?, phones)
    }

    fn at(authority: Authority, list_key: VerifyingKey, phones: &PhonesPlace) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&phones.ca)? {
            roots.add(certificate?)?;
        }
        let tls = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(Arc::new(roots))
            .with_no_client_auth();
        Ok(Self { authority, url: format!("https://{}", phones.endpoint), list_key, client: client(tls) })
    }

    /// Whose it is.
    #[must_use]
    pub fn authority(&self) -> Authority {
        self.authority
    }

    /// The key that signs lists.
    #[must_use]
    pub fn list_key(&self) -> &VerifyingKey {
        &self.list_key
    }

    /// Asks for a path. With an `etag` the body is only sent if it is another one.
    pub async fn get(&self, path: &str, etag: Option<&str>) -> Result<Answer> {
        let mut request = Request::get(format!("{}{path}", self.url));
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        self.send(request.body(Full::default())?).await
    }

    /// Posts octets to a path.
    pub async fn post(&self, path: &str, content_type: &str, body: Bytes) -> Result<Answer> {
        let request = Request::post(format!("{}{path}", self.url)).header(CONTENT_TYPE, content_type);
        self.send(request.body(Full::new(body))?).await
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer> {
        let what = format!("{} {}", request.method(), self.authority);
        let answered = async {
            let (head, body) = self.client.request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok(Answer { status: head.status, headers: head.headers, body })
        };
        tokio::time::timeout(LIMIT, answered).await.with_context(|| format!("{what}: no answer in time"))?
    }
}

impl Answer {
    /// The name of its problem, as `case-code-used`, if it is a problem document.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        if self.header(&CONTENT_TYPE)? != PROBLEM {
            return None;
        }
        let problem: Value = serde_json::from_slice(&self.body).ok()?;
        problem["type"].as_str()?.strip_prefix(PROBLEMS).map(str::to_owned)
    }

    /// A member of its problem document.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<Value> {
        serde_json::from_slice::<Value>(&self.body).ok()?.get(name).cloned()
    }

    /// Its entity tag.
    #[must_use]
    pub fn etag(&self) -> Option<&str> {
        self.header(&ETAG)
    }

    /// Seconds after which one may try again.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        self.header(&RETRY_AFTER)?.parse().ok()
    }

    /// A header.
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Status and problem in a word, as `409 case-code-used`.
    #[must_use]
    pub fn in_a_word(&self) -> String {
        let problem = self.problem().map(|problem| format!(" {problem}")).unwrap_or_default();
        format!("{}{problem}", self.status.as_u16())
    }
}

#[cfg(test)]
impl Home {
    /// An authority that nobody answers for.
    pub(super) fn unreachable(authority: Authority) -> Self {
        let key = pki::sign::SigningKey::from_pkcs8(&pki::sign::SigningKey::generate()).unwrap();
        Self::pinning(authority, *key.public())
    }

    /// One whose server has its certificates at a place.
    pub(super) fn serving(authority: Authority, list_key: VerifyingKey, phones: &PhonesPlace) -> Self {
        Self::at(authority, list_key, phones).unwrap()
    }

    /// One that nobody answers for, by the key that it signs its lists with.
    pub(super) fn pinning(authority: Authority, list_key: VerifyingKey) -> Self {
        let tls = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(Arc::new(RootCertStore::empty()))
            .with_no_client_auth();
        let client = client(tls);
        Self { authority, url: "https://127.0.0.1:9".into(), list_key, client }
    }
}

fn client(tls: ClientConfig) -> Client<HttpsConnector<HttpConnector>, Full<Bytes>> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    let https =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().wrap_connector(http);
    Client::builder(TokioExecutor::new()).build(https)
}
