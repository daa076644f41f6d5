//! Mutual TLS 1.3, and who the other side is.
//!
//! A caller's country and role are what its certificate's name AND its chain say: the name picks the country, and
//! only that country's own certificate authority, pinned in the trust list, may have signed it (invariant 4).

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use proto::ids::{Authority, CountryCode};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore};
use rustls::{ServerConfig, SignatureScheme, version};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use x509_parser::extensions::GeneralName;

use crate::secret::Secret;
use crate::trust::{Country, Status, TrustList};

/// What a certificate's holder does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A country's node at the border.
    Gateway,
    /// The process beside one authority's backend.
    Adapter(Authority),
    /// A person or machine that runs the country's nodes.
    Operator,
}

/// Who holds a certificate: the one URI in its subject alternative names.
///
/// `exchange://826/gateway`, `exchange://826/1/adapter`, `exchange://826/x/0000abcd/adapter`, `exchange://826/operator`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The country that vouches for the holder.
    pub country: CountryCode,
    /// What the holder does.
    pub role: Role,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let country = self.country;
        match self.role {
            Role::Gateway => write!(f, "exchange://{country}/gateway"),
            Role::Operator => write!(f, "exchange://{country}/operator"),
            Role::Adapter(Authority::State(_, state)) => write!(f, "exchange://{country}/{state}/adapter"),
            Role::Adapter(opaque) => write!(f, "exchange://{country}/{opaque}/adapter"),
        }
    }
}

impl FromStr for Identity {
    type Err = BadCertificate;

    fn from_str(uri: &str) -> Result<Self, BadCertificate> {
        let wrong = || BadCertificate::Name(uri.chars().take(80).collect());
        let path = uri.strip_prefix("exchange://").ok_or_else(wrong)?;
        let parts: Vec<&str> = path.split('/').collect();
        let country: CountryCode = parts[0].parse().map_err(|_| wrong())?;
        let role = match parts[1..] {
            ["gateway"] => Role::Gateway,
            ["operator"] => Role::Operator,
            [state, "adapter"] => Role::Adapter(format!("{country}/{state}").parse().map_err(|_| wrong())?),
            ["x", number, "adapter"] => Role::Adapter(format!("x/{number}").parse().map_err(|_| wrong())?),
            _ => return Err(wrong()),
        };
        let identity = Self { country, role };
        // One spelling for each identity: no leading zeros, no signs.
        if identity.to_string() == uri { Ok(identity) } else { Err(wrong()) }
    }
}

/// Why a certificate names nobody that the exchange knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// Not X.509.
    #[error("the certificate does not parse")]
    Malformed,
    /// No URI name, or several.
    #[error("the certificate has {0} URI names; it must have one, as exchange://826/gateway")]
    Names(usize),
    /// A URI that is no identity.
    #[error(
        "`{0}` is no name of the exchange; use exchange://826/gateway, exchange://826/1/adapter or exchange://826/operator"
    )]
    Name(String),
}

/// A certificate that a peer showed in a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Who holds it.
    pub identity: Identity,
    /// Its serial number, as its country may have revoked it.
    pub serial: Vec<u8>,
    /// Seconds since 1970; afterwards it counts for nothing.
    pub not_after: i64,
}

impl PeerCertificate {
    /// Reads name and serial. Only what passed a handshake is to be believed.
    pub fn parse(der: &[u8]) -> Result<Self, BadCertificate> {
        let (rest, parsed) =
            x509_parser::parse_x509_certificate(der).map_err(|_| BadCertificate::Malformed)?;
        if !rest.is_empty() {
            return Err(BadCertificate::Malformed);
        }
        let names = parsed.subject_alternative_name().map_err(|_| BadCertificate::Malformed)?;
        let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
        let uris = names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let uris: Vec<&str> = uris.collect();
        let [uri] = uris[..] else { return Err(BadCertificate::Names(uris.len())) };
        let not_after = parsed.validity().not_after.timestamp();
        Ok(Self { identity: uri.parse()?, serial: parsed.raw_serial().to_vec(), not_after })
    }

    /// Whether the trust list still lets the holder in: its country is active and has not revoked the certificate.
    /// Asked again on every call, since connections outlive lists.
    pub fn check(&self, trust: &TrustList, now: u64) -> Result<Identity, NotAdmitted> {
        if trust.expires <= now {
            return Err(NotAdmitted::ListExpired);
        }
        let country = trust.country(self.identity.country).ok_or(NotAdmitted::UnknownCountry)?;
        check_country(country, &self.serial)?;
        if i64::try_from(now).is_ok_and(|now| now > self.not_after) {
            return Err(NotAdmitted::Expired);
        }
        Ok(self.identity)
    }
}

/// Why a valid certificate is not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// The country is not in the trust list.
    #[error("the certificate's country is not in the trust list")]
    UnknownCountry,
    /// The country is suspended or revoked.
    #[error("the certificate's country is suspended or revoked in the trust list")]
    CountryOut,
    /// The serial number is on the country's list.
    #[error("the certificate is revoked in the trust list")]
    Revoked,
    /// Nobody can be believed by a list whose time is over.
    #[error("the trust list of this gateway has expired; its operator must install a newer one")]
    ListExpired,
    /// Its time ran out while the connection was open.
    #[error("the certificate has expired")]
    Expired,
}

fn check_country(country: &Country, serial: &[u8]) -> Result<(), NotAdmitted> {
    if country.status != Status::Active {
        return Err(NotAdmitted::CountryOut);
    }
    if country.revoked_serials.contains(serial) { Err(NotAdmitted::Revoked) } else { Ok(()) }
}

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

/// What a caller shows and whom it expects: a gateway of exactly this country.
pub fn client_config(node: &NodeCertificate, peer: &Country) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(peer.ca.clone())?;
    let expected = Identity { country: peer.code, role: Role::Gateway };
    let verifier = ServerVerifier { roots, expected, peer: peer.clone() };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(node.chain.clone(), node.key())?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Lets in who is certified by the authority of the country that the certificate names.
#[derive(Debug)]
struct ClientVerifier {
    countries: HashMap<CountryCode, (Arc<dyn ClientCertVerifier>, Country)>,
}

impl ClientVerifier {
    fn new(trust: &TrustList) -> Result<Self, rustls::Error> {
        let one = |country: &Country| {
            let mut roots = RootCertStore::empty();
            roots.add(country.ca.clone())?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
            let verifier = verifier.map_err(|error| rustls::Error::General(error.to_string()))?;
            Ok((country.code, (verifier, country.clone())))
        };
        Ok(Self { countries: trust.countries().map(one).collect::<Result<_, rustls::Error>>()? })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let shown = PeerCertificate::parse(end_entity).map_err(unusable)?;
        let known = self.countries.get(&shown.identity.country);
        let (verifier, country) = known.ok_or(CertificateError::UnknownIssuer)?;
        let verified = verifier.verify_client_cert(end_entity, intermediates, now)?;
        check_country(country, &shown.serial).map_err(|_| CertificateError::Revoked)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Believes a server only if it is the expected country's gateway. Host names play no part.
#[derive(Debug)]
struct ServerVerifier {
    roots: RootCertStore,
    expected: Identity,
    peer: Country,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        let shown = PeerCertificate::parse(end_entity).map_err(unusable)?;
        if shown.identity != self.expected {
            return Err(CertificateError::NotValidForName.into());
        }
        check_country(&self.peer, &shown.serial).map_err(|_| CertificateError::Revoked)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

fn unusable(_: BadCertificate) -> rustls::Error {
    CertificateError::ApplicationVerificationFailure.into()
}
