//! Certificate signing requests (PKCS#10, RFC 2986): how a node shows its authority the key that it holds.
//!
//! Only the key is taken out of a request. Names and usages are the authority's to give, so none are asked for.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rcgen::{CertificateParams, DistinguishedName, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::keyfile::{Algorithm, KeyFile};

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// No PEM, or a PEM of something else.
    #[error("it is no PEM certificate request; it begins with -----BEGIN CERTIFICATE REQUEST-----")]
    NotPem,
    /// The DER inside does not parse, or more follows it.
    #[error("the certificate request does not parse; make it again with: pki csr")]
    Malformed,
    /// RSA, Ed25519, another curve.
    #[error("the request's key is no P-256 key; make one with: pki key create --kind tls")]
    KeyType,
    /// Whoever made the request does not hold the key, or the request was altered on the way.
    #[error(
        "the request's signature does not fit its key; it was altered on the way, or its maker does not hold the key"
    )]
    Signature,
}

/// A request whose maker holds the key. Only [`Request::check`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    point: Vec<u8>,
}

impl Request {
    /// Checks form, key and self-signature of a PEM request.
    pub fn check(pem: &str) -> Result<Self, BadRequest> {
        let der =
            CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).map_err(|_| BadRequest::NotPem)?;
        let (rest, request) = X509CertificationRequest::from_der(&der).map_err(|_| BadRequest::Malformed)?;
        if !rest.is_empty() {
            return Err(BadRequest::Malformed);
        }
        // The key first: the signature check takes other algorithms as well.
        let key = &request.certification_request_info.subject_pki;
        let point = p256_point(key.raw).ok_or(BadRequest::KeyType)?;
        request.verify_signature().map_err(|_| BadRequest::Signature)?;
        Ok(Self { point })
    }

    /// The public key: an uncompressed SEC 1 point of 65 octets.
    #[must_use]
    pub fn point(&self) -> &[u8] {
        &self.point
    }
}

impl PublicKeyData for Request {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// Makes a PEM request for a P-256 key; nothing if the key is another one.
#[must_use]
pub fn request(key: &KeyFile) -> Option<String> {
    let key = CertificateKey::new(key)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).and_then(|request| request.pem());
    Some(request.expect("a request without names always serialises"))
}

/// The point of a SubjectPublicKeyInfo (DER), if it is one on P-256.
pub(crate) fn p256_point(info: &[u8]) -> Option<Vec<u8>> {
    use pkcs8::der::Decode;
    let info = pkcs8::spki::SubjectPublicKeyInfoRef::from_der(info).ok()?;
    let point = info
        .subject_public_key
        .as_bytes()
        .filter(|_| Algorithm::of(info.algorithm) == Some(Algorithm::P256))?;
    crate::sign::VerifyingKey::parse(point).ok().map(|key| key.sec1().to_vec())
}

/// A P-256 key as rcgen signs with it. rcgen's own key type would keep a copy that nobody wipes.
pub(crate) struct CertificateKey(EcdsaKeyPair);

impl CertificateKey {
    /// Takes a P-256 key; nothing if it is another one.
    pub(crate) fn new(key: &KeyFile) -> Option<Self> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.pkcs8().expose()).ok().map(Self)
    }
}

impl PublicKeyData for CertificateKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for CertificateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature =
            self.0.sign(&SystemRandom::new(), message).map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature.as_ref().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64, Encoding};

    use super::*;

    fn pem(der: &[u8]) -> String {
        let lines: Vec<_> = Base64::encode_string(der).into_bytes().chunks(64).map(<[u8]>::to_vec).collect();
        let body = String::from_utf8(lines.join(&b'\n')).unwrap();
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n")
    }

    fn der(key: &KeyFile) -> Vec<u8> {
        CertificateSigningRequestDer::from_pem_slice(request(key).unwrap().as_bytes()).unwrap().to_vec()
    }

    #[test]
    fn a_request_shows_the_key_and_nothing_else() {
        let key = KeyFile::generate(Algorithm::P256);
        let pem = request(&key).unwrap();
        assert_eq!(Request::check(&pem).unwrap().point(), key.public());
        assert!(request(&KeyFile::generate(Algorithm::XWing)).is_none());
    }

    #[test]
    fn a_broken_signature_is_refused() {
        let mut der = der(&KeyFile::generate(Algorithm::P256));
        *der.last_mut().unwrap() ^= 1;
        assert_eq!(Request::check(&pem(&der)), Err(BadRequest::Signature));
    }

    #[test]
    fn somebody_elses_key_is_refused() {
        let (mine, theirs) = (KeyFile::generate(Algorithm::P256), KeyFile::generate(Algorithm::P256));
        let mut der = der(&mine);
        let at = der.windows(65).position(|window| window == mine.public()).unwrap();
        der[at..at + 65].copy_from_slice(theirs.public());
        assert_eq!(Request::check(&pem(&der)), Err(BadRequest::Signature));
    }

    #[test]
    fn another_key_type_is_refused() {
        for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let request = CertificateParams::default().serialize_request(&key).unwrap();
            assert_eq!(Request::check(&request.pem().unwrap()), Err(BadRequest::KeyType));
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert_eq!(Request::check("no PEM"), Err(BadRequest::NotPem));
        assert_eq!(Request::check(&pem(b"no DER")), Err(BadRequest::Malformed));
        let mut longer = der(&KeyFile::generate(Algorithm::P256));
        longer.push(0);
        assert_eq!(Request::check(&pem(&longer)), Err(BadRequest::Malformed));
    }
}
