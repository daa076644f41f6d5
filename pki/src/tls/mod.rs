//! Mutual TLS 1.3, and who the other side is.
//!
//! A caller's country and role are what its certificate's name AND its chain say: the name picks the country, and
//! only that country's own certificate authority, pinned in the trust list, may have signed it (invariant 4).

mod line;
mod name;
mod verifiers;

use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, ServerConfig, version};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};

pub use line::{Line, line};
pub(crate) use name::canonical_serial;
pub use name::{BadCertificate, Identity, NotAdmitted, PeerCertificate, Role, not_after};
use verifiers::{ClientVerifier, ServerVerifier};

use crate::secret::Secret;
use crate::trust::{Country, TrustList};

/// This node's own certificate chain and key, as TLS shows them.
pub struct NodeCertificate {
    chain: Vec<CertificateDer<'static>>,
    key: Secret<Vec<u8>>,
    identity: Identity,
}

impl NodeCertificate {
    /// Takes the chain, leaf first, and the decrypted PKCS#8 key.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: Secret<Vec<u8>>) -> Result<Self, BadCertificate> {
        let leaf = chain.first().ok_or(BadCertificate::Malformed)?;
        let identity = PeerCertificate::parse(leaf)?.identity;
        Ok(Self { chain, key, identity })
    }

    /// Who this node is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The certificate that names this node.
    #[must_use]
    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// When the leaf expires, seconds since 1970.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        PeerCertificate::parse(&self.chain[0]).map_or(0, |leaf| leaf.not_after)
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        // rustls takes its own copy and keeps it for as long as it serves.
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.expose().clone()))
    }
}

/// The one crypto provider.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::LazyLock<Arc<CryptoProvider>> =
        std::sync::LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    PROVIDER.clone()
}

/// What a listener offers: TLS 1.3, a client certificate of any active country, no resumption, HTTP/2.
pub fn server_config(node: &NodeCertificate, trust: &TrustList) -> Result<ServerConfig, rustls::Error> {
    let verifier = Arc::new(ClientVerifier::new(trust)?);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(node.chain.clone(), node.key())?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would skip the look at the certificate.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Whether a node's own certificate and key belong together, and its country's authority in the trust list signed it.
pub fn check_own(node: &NodeCertificate, trust: &TrustList, now: u64) -> Result<(), rustls::Error> {
    server_config(node, trust)?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    ClientVerifier::new(trust)?.verify_client_cert(node.leaf(), &node.chain[1..], now).map(drop)
}

/// What a caller shows and whom it expects: a gateway of exactly this country.
pub fn client_config(node: &NodeCertificate, peer: &Country) -> Result<ClientConfig, rustls::Error> {
    let verifier = ServerVerifier::new(peer)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(node.chain.clone(), node.key())?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}
