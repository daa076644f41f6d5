//! Public keys on the disk: SubjectPublicKeyInfo (RFC 5280) in PEM, as `openssl pkey -pubin` reads it.

use std::path::{Path, PathBuf};

use pkcs8::LineEnding;
use pkcs8::der::asn1::BitStringRef;
use pkcs8::der::{self, Decode, Encode};
use pkcs8::spki::SubjectPublicKeyInfoRef;

use crate::disk::{self, DiskError};
use crate::keyfile::Algorithm;
use crate::seal::PublicKey;
use crate::sign::VerifyingKey;

const LABEL: &str = "PUBLIC KEY";
/// Octets of the largest file that is read.
const LIMIT: usize = 64 * 1_024;

/// Why a public key file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum PublicFileError {
    /// The file cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// No PEM public key.
    #[error(
        "{path} is no public key; such a file begins with -----BEGIN PUBLIC KEY-----, as `pki key create` writes it beside the key"
    )]
    NotPublicKey {
        /// The file.
        path: PathBuf,
    },
    /// A key of another algorithm than the place needs.
    #[error("{path} holds a key that is not usable here: {needed} is needed")]
    WrongAlgorithm {
        /// The file.
        path: PathBuf,
        /// What would do.
        needed: &'static str,
    },
}

/// A public key and its algorithm, as the file says.
pub struct PublicFile {
    /// What it is for.
    pub algorithm: Algorithm,
    /// An uncompressed SEC 1 point, 32 octets of X25519, or 1,216 of X-Wing.
    pub octets: Vec<u8>,
}

impl PublicFile {
    /// Reads PEM text.
    #[must_use]
    pub fn parse(pem: &[u8]) -> Option<Self> {
        let (label, document) = der::pem::decode_vec(pem).ok()?;
        if label != LABEL {
            return None;
        }
        let info = SubjectPublicKeyInfoRef::from_der(&document).ok()?;
        let octets = info.subject_public_key.as_bytes()?.to_vec();
        Some(Self { algorithm: Algorithm::of(info.algorithm)?, octets })
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, PublicFileError> {
        Self::parse(&disk::read(path, LIMIT)?)
            .ok_or_else(|| PublicFileError::NotPublicKey { path: path.into() })
    }

    /// The PEM text.
    #[must_use]
    pub fn pem(&self) -> String {
        let key = BitStringRef::from_bytes(&self.octets).expect("a key of a few octets fits a bit string");
        let info =
            SubjectPublicKeyInfoRef { algorithm: self.algorithm.identifier(), subject_public_key: key };
        let document = info.to_der().expect("a key of a few octets fits DER");
        der::pem::encode_string(LABEL, LineEnding::LF, &document).expect("DER fits PEM")
    }
}

/// Reads the public half of a signing key or anchor.
pub fn verifying_key(path: &Path) -> Result<VerifyingKey, PublicFileError> {
    let wrong =
        || PublicFileError::WrongAlgorithm { path: path.into(), needed: "an ECDSA P-256 signing key" };
    let file = PublicFile::read(path)?;
    if file.algorithm != Algorithm::P256 {
        return Err(wrong());
    }
    VerifyingKey::parse(&file.octets).map_err(|_| wrong())
}

/// Reads the public half of an HPKE key.
pub fn hpke_key(path: &Path) -> Result<PublicKey, PublicFileError> {
    let file = PublicFile::read(path)?;
    let key = PublicKey::parse(file.algorithm.suite(), &file.octets);
    key.map_err(|_| PublicFileError::WrongAlgorithm { path: path.into(), needed: "an HPKE key" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::{PrivateKey, Suite};

    #[test]
    fn a_public_key_of_each_suite_reads_back() {
        for suite in Suite::ALL {
            let key = PrivateKey::parse(suite, &PrivateKey::generate(suite)).unwrap();
            let file = PublicFile { algorithm: suite.into(), octets: key.public().octets().to_vec() };
            let again = PublicFile::parse(file.pem().as_bytes()).unwrap();
            assert_eq!((again.algorithm, again.octets), (file.algorithm, file.octets));
        }
    }

    #[test]
    fn a_file_that_is_no_public_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pub");
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        let refused = verifying_key(&path).unwrap_err().to_string();
        assert!(refused.contains("a.pub is no public key"), "{refused}");
        let key = PrivateKey::parse(Suite::X25519, &PrivateKey::generate(Suite::X25519)).unwrap();
        let file = PublicFile { algorithm: Algorithm::X25519, octets: key.public().octets().to_vec() };
        std::fs::write(&path, file.pem()).unwrap();
        assert!(matches!(verifying_key(&path), Err(PublicFileError::WrongAlgorithm { .. })));
        assert!(hpke_key(&path).is_ok());
    }
}
