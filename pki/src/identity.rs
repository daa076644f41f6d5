//! This node's own keys, as its configuration names them.

use std::path::{Path, PathBuf};

use proto::ids::KeyId;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;

use crate::disk::{self, DiskError};
use crate::keyfile::{Algorithm, KeyFile, KeyFileError};
use crate::passphrase::{Passphrase, PassphraseError};
use crate::seal::{PrivateKey, SealError};
use crate::sign::{BadKey, SigningKey};
use crate::tls::{BadCertificate, NodeCertificate};

/// The longest certificate chain file, octets.
const CHAIN_LEN: usize = 256 * 1024;

/// Which files hold this node's certificate and keys. All key files share one pass phrase, or none.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityConfig {
    /// The certificate chain for TLS, leaf first, PEM.
    pub certificate: PathBuf,
    /// Its private key, PKCS#8 PEM.
    pub key: PathBuf,
    /// A file with the pass phrase of all key files here; readable by this user only.
    pub passphrase_file: Option<PathBuf>,
    /// HPKE keys: a gateway's ingress keys, or an authority's country keys; the one to use first.
    pub hpke_keys: Vec<PathBuf>,
}

/// Why this node's keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A certificate file that cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A key file that cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// A pass phrase file that cannot be used.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// A chain that is no PEM, or a leaf that names nobody.
    #[error("{path}: {reason}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: BadCertificate,
    },
    /// A signing key that does not work.
    #[error("{path}: {reason}")]
    Signing {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: BadKey,
    },
    /// An HPKE key that does not work.
    #[error("{path}: {reason}")]
    Hpke {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: SealError,
    },
    /// None at all.
    #[error("identity.hpke_keys is empty; name at least one key that `pki key create --kind hpke` made")]
    NoHpkeKey,
}

/// This node's certificate and HPKE keys.
pub struct NodeKeys {
    /// For TLS.
    pub certificate: NodeCertificate,
    /// For what is sealed to this node.
    pub hpke: HpkeKeys,
}

/// HPKE private keys by their id.
pub struct HpkeKeys(Vec<PrivateKey>);

impl HpkeKeys {
    /// Takes keys; the first is the one to use.
    #[must_use]
    pub fn new(keys: Vec<PrivateKey>) -> Self {
        Self(keys)
    }

    /// The key with this id.
    #[must_use]
    pub fn find(&self, id: KeyId) -> Option<&PrivateKey> {
        self.0.iter().find(|key| key.id() == id)
    }

    /// All keys, in the order of the configuration.
    #[must_use]
    pub fn all(&self) -> &[PrivateKey] {
        &self.0
    }
}

impl NodeKeys {
    /// Reads everything that the configuration names.
    pub fn read(config: &IdentityConfig) -> Result<Self, IdentityError> {
        let passphrase = config.passphrase_file.as_deref().map(Passphrase::read).transpose()?;
        let passphrase = passphrase.as_ref();
        if config.hpke_keys.is_empty() {
            return Err(IdentityError::NoHpkeKey);
        }
        let hpke =
            config.hpke_keys.iter().map(|path| hpke_key(path, passphrase)).collect::<Result<_, _>>()?;
        Ok(Self { certificate: certificate(config, passphrase)?, hpke: HpkeKeys(hpke) })
    }
}

fn certificate(
    config: &IdentityConfig,
    passphrase: Option<&Passphrase>,
) -> Result<NodeCertificate, IdentityError> {
    let unusable = |reason| IdentityError::Certificate { path: config.certificate.clone(), reason };
    let pem = disk::read(&config.certificate, CHAIN_LEN)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|_| unusable(BadCertificate::Malformed))?;
    let key = KeyFile::read_as(&config.key, passphrase, Algorithm::P256)?.pkcs8();
    NodeCertificate::new(chain, key).map_err(unusable)
}

/// Reads the key that signs a gateway's manifests and receipts.
pub fn signing_key(path: &Path, passphrase_file: Option<&Path>) -> Result<SigningKey, IdentityError> {
    let passphrase = passphrase_file.map(Passphrase::read).transpose()?;
    let key = KeyFile::read_as(path, passphrase.as_ref(), Algorithm::P256)?.pkcs8();
    SigningKey::from_pkcs8(&key).map_err(|reason| IdentityError::Signing { path: path.into(), reason })
}

fn hpke_key(path: &Path, passphrase: Option<&Passphrase>) -> Result<PrivateKey, IdentityError> {
    let file = KeyFile::read(path, passphrase)?;
    let key = PrivateKey::parse(file.algorithm().suite(), file.octets());
    key.map_err(|reason| IdentityError::Hpke { path: path.into(), reason })
}
