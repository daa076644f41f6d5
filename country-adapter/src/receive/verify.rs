//! What a delivered batch must show before it may be opened. Pure: the trust list is an argument.
//!
//! The gateway has checked all this already; the adapter does not take its word for it.

use bytes::Bytes;
use pki::identity::HpkeKeys;
use pki::seal::SealError;
use pki::sign::sha256;
use pki::trust::{CertifiedKey, Country, Status, TrustList};
use proto::batch::{Manifest, SignedBatch};
use proto::ids::{Authority, CountryCode, KeyId};
use proto::malformed::Malformed;
use proto::wiped::Wiped;

/// A delivered batch whose origin, signature, destination and body were checked. Only [`verify`] makes one.
pub struct VerifiedDelivery {
    position: u64,
    manifest: Manifest,
    sealed: Bytes,
}

/// Why a batch is not opened, or does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A defect of ours, which it has set off.
    #[error("a defect of this software keeps it from being opened; the log says where")]
    Defect,
    /// The sizes or the signed octets are wrong.
    #[error("the batch does not parse: {0}")]
    Malformed(#[from] Malformed),
    /// Nobody in the trust list signs with this key.
    #[error("signing key {0} belongs to no country of the trust list")]
    UnknownSigner(KeyId),
    /// The signature does not fit.
    #[error("the signature of signing key {0} does not fit the manifest")]
    BadSignature(KeyId),
    /// One country's key under another country's name.
    #[error("the batch says that it comes from {says}, and country {signer} signed it")]
    OtherOrigin {
        /// The origin in the header.
        says: CountryCode,
        /// Whose key signed.
        signer: CountryCode,
    },
    /// The key was not certified when the batch was sealed.
    #[error("signing key {key} was not certified at minute {sealed_at}, when the batch was sealed")]
    SignerNotCertified {
        /// The key.
        key: KeyId,
        /// Minutes since 1970.
        sealed_at: u32,
    },
    /// The origin is out of the federation.
    #[error("country {0} is revoked in the trust list")]
    OriginRevoked(CountryCode),
    /// For somebody else.
    #[error("the batch is for {0}, not for this authority")]
    OtherDestination(Authority),
    /// The body is not the one that was signed.
    #[error("the sealed body is not the one that its origin signed")]
    OtherBody,
    /// Sealed to a key that is not configured here.
    #[error("the batch is sealed to key {0}, which is not among identity.hpke_keys")]
    UnknownKey(KeyId),
    /// The seal does not open.
    #[error("the batch does not open: {0}")]
    DoesNotOpen(#[from] SealError),
}

/// Checks a batch that the gateway delivered at a position.
pub fn verify(
    position: u64,
    batch: SignedBatch,
    trust: &TrustList,
    own: Authority,
) -> Result<VerifiedDelivery, Refused> {
    let (country, signer) = signer(trust, batch.signing_key)?;
    let signed = signer.key.check(Manifest::DOMAIN, &batch.manifest, &batch.signature);
    signed.map_err(|_| Refused::BadSignature(batch.signing_key))?;
    let manifest = Manifest::parse(&batch.manifest)?;
    check_origin(&manifest, country, signer)?;
    if manifest.header.destination != own {
        return Err(Refused::OtherDestination(manifest.header.destination));
    }
    let len = u32::try_from(batch.sealed.len());
    if len != Ok(manifest.sealed_len) || sha256(&batch.sealed) != manifest.sealed_hash {
        return Err(Refused::OtherBody);
    }
    Ok(VerifiedDelivery { position, manifest, sealed: batch.sealed })
}

// A trust list names each key once, so the key says the country before anything else is read.
fn signer(trust: &TrustList, key: KeyId) -> Result<(&Country, &CertifiedKey), Refused> {
    let found = trust.countries().find_map(|country| Some((country, country.signing_key(key)?)));
    found.ok_or(Refused::UnknownSigner(key))
}

fn check_origin(manifest: &Manifest, country: &Country, signer: &CertifiedKey) -> Result<(), Refused> {
    let header = &manifest.header;
    if header.origin != country.code {
        return Err(Refused::OtherOrigin { says: header.origin, signer: country.code });
    }
    if !signer.is_valid_at(u64::from(header.sealed_at) * 60) {
        return Err(Refused::SignerNotCertified { key: signer.key.id(), sealed_at: header.sealed_at });
    }
    // What a suspended country sent before is still good; a revoked one is out, and a person looks at what it sent.
    if country.status == Status::Revoked {
        return Err(Refused::OriginRevoked(country.code));
    }
    Ok(())
}

impl VerifiedDelivery {
    /// Its place in the delivery stream.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What the origin signed.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Opens it. The text is wiped when it is dropped.
    pub fn open(&self, keys: &HpkeKeys) -> Result<Wiped, Refused> {
        let key = self.manifest.header.key;
        let key = keys.find(key).ok_or(Refused::UnknownKey(key))?;
        Ok(key.open_batch(&self.manifest, &self.sealed)?)
    }
}
