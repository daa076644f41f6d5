//! Private keys on the disk: PKCS#8 (RFC 5958) in PEM, encrypted with a pass phrase or plain, never overwritten.
//!
//! `openssl pkey` reads the P-256 and X25519 files, encrypted or not. Whatever tool wrote a file, what comes out of
//! [`KeyFile::pkcs8`] has one form.

use std::fmt;
use std::path::{Path, PathBuf};

use pkcs8::der::asn1::{AnyRef, BitStringRef, OctetString, OctetStringRef};
use pkcs8::der::{Decode, Encode, SecretDocument};
use pkcs8::pkcs5::{pbes2, scrypt};
use pkcs8::spki::AlgorithmIdentifierRef;
use pkcs8::{EncryptedPrivateKeyInfoRef, LineEnding, ObjectIdentifier, PrivateKeyInfoRef};
use sec1::EcPrivateKey;
use zeroize::Zeroizing;

use crate::disk::{self, DiskError};
use crate::passphrase::{NewPassphrase, Passphrase};
use crate::seal::{self, Suite};
use crate::secret::Secret;

/// Octets of the largest file that is read.
const LIMIT: usize = 64 * 1_024;
const PLAIN: &str = "PRIVATE KEY";
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// id-ecPublicKey, RFC 5480 2.1.1.
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// prime256v1, RFC 5480 2.1.1.1.
const PRIME256V1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// id-X25519, RFC 8410 3.
const X25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.110");
/// id-XWing, draft-connolly-cfrg-xwing-kem, appendix on ASN.1.
const X_WING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.62253.25722");

/// What a key is for, as far as its octets say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// P-256: TLS, signatures, trust anchors and HPKE.
    P256,
    /// X25519: HPKE.
    X25519,
    /// X-Wing: HPKE.
    XWing,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Self; 3] = [Self::P256, Self::X25519, Self::XWing];

    /// The HPKE suite that such a key belongs to.
    #[must_use]
    pub fn suite(self) -> Suite {
        match self {
            Self::P256 => Suite::P256,
            Self::X25519 => Suite::X25519,
            Self::XWing => Suite::XWing,
        }
    }

    /// RFC 5480, RFC 8410 and the X-Wing draft: only a curve of many needs a parameter.
    pub(crate) fn identifier(self) -> AlgorithmIdentifierRef<'static> {
        match self {
            Self::P256 => AlgorithmIdentifierRef { oid: EC, parameters: Some(AnyRef::from(&PRIME256V1)) },
            Self::X25519 => AlgorithmIdentifierRef { oid: X25519, parameters: None },
            Self::XWing => AlgorithmIdentifierRef { oid: X_WING, parameters: None },
        }
    }

    pub(crate) fn of(identifier: AlgorithmIdentifierRef<'_>) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.identifier() == identifier)
    }
}

impl From<Suite> for Algorithm {
    fn from(suite: Suite) -> Self {
        match suite {
            Suite::P256 => Self::P256,
            Suite::X25519 => Self::X25519,
            Suite::XWing => Self::XWing,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P256 => "P-256",
            Self::X25519 => "X25519",
            Self::XWing => "X-Wing",
        })
    }
}

/// Why a key file could not be read or written. Each names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read or written, or others can read it.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// No PEM at all.
    #[error(
        "{path} is no PEM file; a key file begins with -----BEGIN {PLAIN}----- or -----BEGIN {ENCRYPTED}-----"
    )]
    NotPem {
        /// The file.
        path: PathBuf,
    },
    /// PEM of something else: a certificate, or a private key in an older form.
    #[error(
        "{path} holds a `{label}`, not a PKCS#8 key; older keys convert: openssl pkcs8 -topk8 -in {path} -out NEW"
    )]
    NotPkcs8 {
        /// The file.
        path: PathBuf,
        /// What the PEM says it is.
        label: String,
    },
    /// It is encrypted, and nobody gave a pass phrase.
    #[error("{path} is encrypted; give the file that holds its pass phrase (mode 0600), or type it")]
    PassphraseMissing {
        /// The file.
        path: PathBuf,
    },
    /// It is encrypted with another pass phrase, or damaged: the two look the same.
    #[error("the pass phrase does not open {path}; it belongs to another file, or this one is damaged")]
    WrongPassphrase {
        /// The file.
        path: PathBuf,
    },
    /// Encrypted with something old, or damaged.
    #[error(
        "{path} is damaged, or encrypted in an old way; then use: openssl pkcs8 -topk8 -v2 aes-256-cbc -in {path}"
    )]
    Scheme {
        /// The file.
        path: PathBuf,
    },
    /// The PEM is intact, its content is not.
    #[error("{path} is damaged: its content is no private key; restore it from a backup or make a new key")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// RSA, Ed25519, another curve.
    #[error(
        "{path} holds a key of an unknown algorithm ({oid}); keys here are P-256, X25519 or X-Wing: pki key create"
    )]
    UnknownAlgorithm {
        /// The file.
        path: PathBuf,
        /// The algorithm's object identifier.
        oid: String,
    },
    /// A good key of the wrong algorithm.
    #[error("{path} holds a key of {is}, and one of {must} is needed; two names may be swapped")]
    WrongAlgorithm {
        /// The file.
        path: PathBuf,
        /// What it is.
        is: Algorithm,
        /// What is needed.
        must: Algorithm,
    },
}

/// How a new file protects its key.
#[derive(Clone, Copy)]
pub enum Protection<'a> {
    /// PBES2 (RFC 8018) with scrypt and AES-256-CBC.
    Encrypted(&'a NewPassphrase),
    /// Only the file's mode, for disks that are encrypted elsewhere.
    Plain,
}

/// A private key as a key file holds it.
pub struct KeyFile {
    algorithm: Algorithm,
    octets: Secret<Vec<u8>>,
    public: Vec<u8>,
}

impl KeyFile {
    /// A fresh key.
    #[must_use]
    pub fn generate(algorithm: Algorithm) -> Self {
        let octets = seal::PrivateKey::generate(algorithm.suite());
        Self::new(algorithm, octets).expect("a key that was just generated is one")
    }

    /// Reads a key. A plain file needs no pass phrase; one given for it is not used.
    pub fn read(path: &Path, passphrase: Option<&Passphrase>) -> Result<Self, KeyFileError> {
        let text = disk::read_secret(path, LIMIT)?;
        let not_pem = || KeyFileError::NotPem { path: path.into() };
        let text = str::from_utf8(text.expose()).map_err(|_| not_pem())?;
        let (label, document) = SecretDocument::from_pem(text).map_err(|_| not_pem())?;
        match (label, passphrase) {
            (PLAIN, _) => parse(path, document.as_bytes()),
            (ENCRYPTED, Some(passphrase)) => parse(path, decrypt(path, &document, passphrase)?.as_bytes()),
            (ENCRYPTED, None) => Err(KeyFileError::PassphraseMissing { path: path.into() }),
            _ => Err(KeyFileError::NotPkcs8 { path: path.into(), label: label.into() }),
        }
    }

    /// Reads a key that must be of this algorithm.
    pub fn read_as(
        path: &Path,
        passphrase: Option<&Passphrase>,
        must: Algorithm,
    ) -> Result<Self, KeyFileError> {
        let key = Self::read(path, passphrase)?;
        if key.algorithm != must {
            return Err(KeyFileError::WrongAlgorithm { path: path.into(), is: key.algorithm, must });
        }
        Ok(key)
    }

    /// Creates the file with mode 0600 and returns when it is on the disk. What exists is never overwritten.
    pub fn write(&self, path: &Path, protection: Protection<'_>) -> Result<(), KeyFileError> {
        let der = self.pkcs8();
        let pem = match protection {
            Protection::Encrypted(passphrase) => encrypt(der.expose(), passphrase),
            Protection::Plain => pem(PLAIN, der.expose()),
        };
        Ok(disk::create_secret(path, pem.as_bytes())?)
    }

    /// What kind of key it is.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The 32 octets of the key: the P-256 scalar, the X25519 key or the X-Wing seed.
    #[must_use]
    pub fn octets(&self) -> &Secret<Vec<u8>> {
        &self.octets
    }

    /// The public half: 65 octets of an uncompressed point (P-256), 32 (X25519) or 1,216 (X-Wing).
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The PKCS#8 document, not encrypted: what aws-lc and rustls take.
    #[must_use]
    pub fn pkcs8(&self) -> Secret<Vec<u8>> {
        const FITS: &str = "a key of 32 octets fits every ASN.1 length";
        let inner = match self.algorithm {
            // RFC 5915 with the public key; the curve stands outside already.
            Algorithm::P256 => {
                let key = self.octets.expose();
                EcPrivateKey { private_key: key, parameters: None, public_key: Some(&self.public) }.to_der()
            }
            // RFC 8410 7: an OCTET STRING within the OCTET STRING.
            Algorithm::X25519 => OctetStringRef::new(self.octets.expose()).and_then(|key| key.to_der()),
            // The X-Wing draft: the seed itself.
            Algorithm::XWing => Ok(self.octets.expose().clone()),
        };
        let inner = Zeroizing::new(inner.expect(FITS));
        let key = OctetStringRef::new(&inner).expect(FITS);
        let info = PrivateKeyInfoRef::new(self.algorithm.identifier(), key);
        Secret::new(info.to_der().expect(FITS))
    }

    /// Computes the public half; nothing if the octets are no key of the algorithm.
    fn new(algorithm: Algorithm, octets: Secret<Vec<u8>>) -> Option<Self> {
        let key = seal::PrivateKey::parse(algorithm.suite(), &octets).ok()?;
        let public = key.public().octets().to_vec();
        Some(Self { algorithm, octets, public })
    }
}

fn decrypt(path: &Path, document: &SecretDocument, by: &Passphrase) -> Result<SecretDocument, KeyFileError> {
    let unknown = |_| KeyFileError::Scheme { path: path.into() };
    let info: EncryptedPrivateKeyInfoRef<'_> = document.decode_msg().map_err(unknown)?;
    info.decrypt(by.octets()).map_err(|error| match error {
        // A wrong key usually breaks the padding, and the document within in 1 of 256 cases.
        pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::DecryptFailed) | pkcs8::Error::Asn1(_) => {
            KeyFileError::WrongPassphrase { path: path.into() }
        }
        _ => KeyFileError::Scheme { path: path.into() },
    })
}

/// scrypt with N = 2^14, r = 8, p = 5: as slow as OWASP asks, in the 32 MiB that openssl allows.
fn encrypt(der: &[u8], passphrase: &NewPassphrase) -> Zeroizing<String> {
    const SOUND: &str = "fixed parameters are within every bound";
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    getrandom::fill(&mut salt).expect("the operating system gives random octets");
    getrandom::fill(&mut iv).expect("the operating system gives random octets");
    let cost = scrypt::Params::new(14, 8, 5).expect(SOUND);
    let scheme = pbes2::Parameters::generate_scrypt_aes256cbc(cost, &salt, iv).expect(SOUND);
    let info = PrivateKeyInfoRef::from_der(der).expect("it was encoded here");
    let encrypted = info.encrypt_with_params(scheme, passphrase.passphrase().octets()).expect(SOUND);
    pem(ENCRYPTED, encrypted.as_bytes())
}

fn pem(label: &'static str, der: &[u8]) -> Zeroizing<String> {
    let document = SecretDocument::try_from(der).expect("it was encoded here");
    document.to_pem(label, LineEnding::LF).expect("labels are constants that PEM allows")
}

fn parse(path: &Path, der: &[u8]) -> Result<KeyFile, KeyFileError> {
    let damaged = || KeyFileError::Damaged { path: path.into() };
    let info = PrivateKeyInfoRef::from_der(der).map_err(|_| damaged())?;
    let Some(algorithm) = Algorithm::of(info.algorithm) else {
        let oid = info.algorithm.oid.to_string();
        return Err(KeyFileError::UnknownAlgorithm { path: path.into(), oid });
    };
    let octets = octets(algorithm, info.private_key.as_bytes()).ok_or_else(damaged)?;
    let key = KeyFile::new(algorithm, octets).ok_or_else(damaged)?;
    // A public key beside another private key: signatures would leak, or nobody could check them.
    let beside = stated_public_key(&info).ok_or_else(damaged)?;
    if beside.is_some_and(|stated| stated != key.public) { Err(damaged()) } else { Ok(key) }
}

fn octets(algorithm: Algorithm, inner: &[u8]) -> Option<Secret<Vec<u8>>> {
    let octets = match algorithm {
        Algorithm::P256 => EcPrivateKey::from_der(inner).ok()?.private_key.to_vec(),
        Algorithm::X25519 => OctetString::from_der(inner).ok()?.into_bytes().into_vec(),
        Algorithm::XWing => inner.to_vec(),
    };
    Some(Secret::new(octets))
}

/// The public key that the file states, if any; `None` outside if it cannot be read.
fn stated_public_key<'a>(info: &PrivateKeyInfoRef<'a>) -> Option<Option<&'a [u8]>> {
    if info.algorithm.oid == EC {
        return Some(EcPrivateKey::from_der(info.private_key.as_bytes()).ok()?.public_key);
    }
    Some(info.public_key.as_ref().and_then(BitStringRef::as_bytes))
}

#[cfg(test)]
#[path = "keyfile_tests.rs"]
mod tests;
