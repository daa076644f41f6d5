//! ECDSA P-256 over a domain and exact octets: manifests, key lists, receipts, trust lists.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair,
    KeyPair, UnparsedPublicKey,
};
use proto::ids::KeyId;

use crate::secret::Secret;

/// The octet that stands for a signing key where an HPKE key has its suite.
const SIGNING: u8 = 0;

/// A signature that was not made by this key over these octets in this domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not fit the signing key and the signed octets")]
pub struct BadSignature;

/// A key that is no P-256 key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an ECDSA P-256 key")]
pub struct BadKey;

/// The private half of a signing key. aws-lc wipes it when it is dropped.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: VerifyingKey,
}

impl SigningKey {
    /// Takes a decrypted PKCS#8 document.
    pub fn from_pkcs8(der: &Secret<Vec<u8>>) -> Result<Self, BadKey> {
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.expose()).map_err(|_| BadKey)?;
        let public = VerifyingKey::parse(pair.public_key().as_ref())?;
        Ok(Self { pair, public })
    }

    /// A fresh key as a PKCS#8 document.
    #[must_use]
    pub fn generate() -> Secret<Vec<u8>> {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        Secret::new(made.expect("the operating system gives random octets").as_ref().to_vec())
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &VerifyingKey {
        &self.public
    }

    /// Signs octets without a domain, as DER: for GAEN's export files alone, whose format says so.
    #[must_use]
    pub fn sign_der(&self, octets: &[u8]) -> Vec<u8> {
        let [r, s] = {
            let signed = self.pair.sign(&SystemRandom::new(), octets);
            let signature = signed.expect("the operating system gives random octets");
            let (r, s) = signature.as_ref().split_at(32);
            [integer(r), integer(s)]
        };
        let length = u8::try_from(r.len() + s.len()).expect("two integers of 33 octets at most");
        [&[0x30, length][..], &r, &s].concat()
    }

    /// Signs octets in a domain: r and s, 32 octets each.
    #[must_use]
    pub fn sign(&self, domain: &str, octets: &[u8]) -> [u8; 64] {
        let signed = self.pair.sign(&SystemRandom::new(), &message(domain, octets));
        let signature = signed.expect("the operating system gives random octets");
        signature.as_ref().try_into().expect("a fixed-length P-256 signature has 64 octets")
    }
}

/// The public half of a signing key: a point on P-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey {
    sec1: [u8; 65],
    id: KeyId,
}

impl VerifyingKey {
    /// Takes an uncompressed SEC 1 point: 0x04, x, y.
    pub fn parse(sec1: &[u8]) -> Result<Self, BadKey> {
        signature::ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, sec1).map_err(|_| BadKey)?;
        let sec1: [u8; 65] = sec1.try_into().map_err(|_| BadKey)?;
        Ok(Self { sec1, id: key_id(SIGNING, &sec1) })
    }

    /// The first 8 octets of a hash of the point.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The uncompressed SEC 1 point.
    #[must_use]
    pub fn sec1(&self) -> &[u8; 65] {
        &self.sec1
    }

    /// Checks a DER signature over octets without a domain.
    pub fn check_der(&self, octets: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.sec1);
        key.verify(octets, signature).map_err(|_| BadSignature)
    }

    /// Checks a signature over octets in a domain.
    pub fn check(&self, domain: &str, octets: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature> {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.sec1);
        key.verify(&message(domain, octets), signature).map_err(|_| BadSignature)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.id)
    }
}

/// A positive INTEGER of DER.
fn integer(octets: &[u8]) -> Vec<u8> {
    let zeros = octets.iter().take_while(|octet| **octet == 0).count().min(octets.len() - 1);
    let significant = &octets[zeros..];
    let sign = significant.first().is_some_and(|first| first & 0x80 != 0);
    let length = u8::try_from(significant.len() + usize::from(sign)).expect("33 octets at most");
    let mut integer = vec![0x02, length];
    integer.extend(sign.then_some(0));
    integer.extend_from_slice(significant);
    integer
}

/// What is signed: a `u8` length, the domain, the octets. A signature never counts in another domain.
fn message(domain: &str, octets: &[u8]) -> Vec<u8> {
    let len = u8::try_from(domain.len()).expect("domains are short constants of this software");
    [&[len], domain.as_bytes(), octets].concat()
}

/// Names a key: the first 8 octets of SHA-256 over [`message`] of "exchange/v1 key id", kind and public key.
pub(crate) fn key_id(kind: u8, public: &[u8]) -> KeyId {
    let named = message("exchange/v1 key id", &[&[kind], public].concat());
    let mut id = [0; KeyId::LEN];
    id.copy_from_slice(&sha256(&named)[..KeyId::LEN]);
    id.into()
}

/// SHA-256, as manifests link and name bodies with it.
#[must_use]
pub fn sha256(octets: &[u8]) -> [u8; 32] {
    let hash = digest::digest(&digest::SHA256, octets);
    hash.as_ref().try_into().expect("SHA-256 gives 32 octets")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_pkcs8(&SigningKey::generate()).unwrap()
    }

    #[test]
    fn a_signature_fits_its_key_domain_and_octets_only() {
        let (key, other) = (key(), key());
        let signature = key.sign("a domain", b"octets");
        assert_eq!(key.public().check("a domain", b"octets", &signature), Ok(()));
        assert_eq!(other.public().check("a domain", b"octets", &signature), Err(BadSignature));
        assert_eq!(key.public().check("b domain", b"octets", &signature), Err(BadSignature));
        assert_eq!(key.public().check("a domain", b"octett", &signature), Err(BadSignature));
        // The boundary between domain and octets is signed as well.
        assert_eq!(key.public().check("a domaino", b"ctets", &signature), Err(BadSignature));
        for at in 0..64 {
            let mut altered = signature;
            altered[at] ^= 1;
            assert_eq!(key.public().check("a domain", b"octets", &altered), Err(BadSignature), "octet {at}");
        }
    }

    #[test]
    fn a_der_signature_fits_its_key_and_octets_only() {
        let (key, other) = (key(), key());
        for number in 0..50_u8 {
            let signature = key.sign_der(&[number]);
            assert_eq!(key.public().check_der(&[number], &signature), Ok(()));
            assert_eq!(key.public().check_der(&[number, 0], &signature), Err(BadSignature));
            assert_eq!(other.public().check_der(&[number], &signature), Err(BadSignature));
        }
        assert_eq!(integer(&[0, 0, 0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[0, 0]), [2, 1, 0]);
    }

    #[test]
    fn a_point_off_the_curve_is_no_key() {
        let point = *key().public().sec1();
        assert!(VerifyingKey::parse(&point).is_ok());
        let mut off = point;
        off[64] ^= 1;
        assert_eq!(VerifyingKey::parse(&off), Err(BadKey));
        assert_eq!(VerifyingKey::parse(&point[..64]), Err(BadKey));
        assert_eq!(VerifyingKey::parse(&[0; 65]), Err(BadKey));
        assert!(SigningKey::from_pkcs8(&Secret::new(vec![1, 2, 3])).is_err());
    }
}
