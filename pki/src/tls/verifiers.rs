//! Both sides of a handshake: which client is let in, and which server is believed.

use std::collections::HashMap;
use std::sync::Arc;

use proto::ids::CountryCode;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::verify_tls13_signature;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::name::{BadCertificate, Identity, PeerCertificate, Role, check_country};
use super::provider;
use crate::trust::{Country, TrustList};

/// The methods that both verifiers have alike: signatures as the provider checks them, and no TLS 1.2.
macro_rules! only_tls13 {
    () => {
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
    };
}

/// Lets in who is certified by the authority of the country that the certificate names.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    countries: HashMap<CountryCode, (Arc<dyn ClientCertVerifier>, Country)>,
}

impl ClientVerifier {
    pub(super) fn new(trust: &TrustList) -> Result<Self, rustls::Error> {
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

    only_tls13!();
}

/// Believes a server only if it is the expected country's gateway. Host names play no part.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    roots: RootCertStore,
    expected: Identity,
    peer: Country,
}

impl ServerVerifier {
    /// Expects this country's gateway.
    pub(super) fn new(peer: &Country) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(peer.ca.clone())?;
        let expected = Identity { country: peer.code, role: Role::Gateway };
        Ok(Self { roots, expected, peer: peer.clone() })
    }
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

    only_tls13!();
}

fn unusable(_: BadCertificate) -> rustls::Error {
    CertificateError::ApplicationVerificationFailure.into()
}
