//! X-Wing (draft-connolly-cfrg-xwing-kem) of aws-lc's ML-KEM-768, X25519 and SHA3-256.
//!
//! The one that `hpke` brings takes three times as long to encapsulate and six times to decapsulate: it expands the
//! private key anew for each seal that it opens. Its types for keys and their octets are used as they are.

use std::sync::Arc;

use aws_lc_rs::agreement::{self, UnparsedPublicKey, X25519};
use aws_lc_rs::digest::{self, SHA3_256};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::kem::{DecapsulationKey, EncapsulationKey, ML_KEM_768};
use hpke::hybrid_array::Array;
use hpke::kem::{SharedSecret, XWing as Reference};
use hpke::rand_core::CryptoRng;
use hpke::{Deserializable, HpkeError, Kem, Serializable};
use ml_kem::FromSeed;
use shake::{ExtendableOutput, Shake256, Update, XofReader};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// The KEM, with the number that HPKE gives it (draft-ietf-hpke-pq).
pub(super) struct XWing;

/// Octets of ML-KEM-768's part of a public and of an encapsulated key; X25519's 32 follow.
const PUBLIC_M: usize = 1_184;
const ENCAPSULATED_M: usize = 1_088;
/// Ends what both secrets are combined with.
const LABEL: &[u8] = br"\.//^\";

/// A seed of 32 octets, and what it expands to.
#[derive(Clone)]
pub(super) struct PrivateKey {
    seed: <Reference as Kem>::PrivateKey,
    expanded: Arc<Expanded>,
}

/// aws-lc wipes both private keys when they are dropped.
struct Expanded {
    m: DecapsulationKey,
    x: agreement::PrivateKey,
    public_x: [u8; 32],
}

impl Expanded {
    fn new(seed: &[u8]) -> Result<Self, HpkeError> {
        let mut octets = Zeroizing::new([0; 96]);
        let mut shake = Shake256::default();
        shake.update(seed);
        shake.finalize_xof().read(&mut *octets);
        let (seed_m, seed_x) = octets.split_at(64);
        let wrong = |_| HpkeError::ValidationError;
        let x = agreement::PrivateKey::from_private_key(&X25519, seed_x).map_err(wrong)?;
        let public_x = x.compute_public_key().map_err(|_| HpkeError::ValidationError)?;
        let public_x = public_x.as_ref().try_into().map_err(|_| HpkeError::ValidationError)?;
        let m = DecapsulationKey::new(&ML_KEM_768, &expand_m(seed_m)?).map_err(wrong)?;
        Ok(Self { m, x, public_x })
    }
}

// The only form of a private key that aws-lc takes is the one that FIPS 203 calls `dk`.
#[expect(deprecated, reason = "seeds are better to keep, and a seed is what we keep")]
fn expand_m(seed: &[u8]) -> Result<Zeroizing<Vec<u8>>, HpkeError> {
    use ml_kem::ExpandedKeyEncoding;

    let seed = Zeroizing::new(ml_kem::Seed::try_from(seed).map_err(|_| HpkeError::ValidationError)?);
    let (key, _) = ml_kem::MlKem768::from_seed(&seed);
    let octets = Zeroizing::new(key.to_expanded_bytes());
    Ok(Zeroizing::new(octets.to_vec()))
}

impl Serializable for PrivateKey {
    type OutputSize = <<Reference as Kem>::PrivateKey as Serializable>::OutputSize;

    fn write_exact(&self, octets: &mut [u8]) {
        self.seed.write_exact(octets);
    }
}

impl Deserializable for PrivateKey {
    fn from_bytes(octets: &[u8]) -> Result<Self, HpkeError> {
        let seed = Deserializable::from_bytes(octets)?;
        Ok(Self { seed, expanded: Arc::new(Expanded::new(octets)?) })
    }
}

impl ConstantTimeEq for PrivateKey {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.seed.ct_eq(&other.seed)
    }
}

impl Kem for XWing {
    type PublicKey = <Reference as Kem>::PublicKey;
    type PrivateKey = PrivateKey;
    type EncappedKey = <Reference as Kem>::EncappedKey;
    type NSecret = <Reference as Kem>::NSecret;

    const KEM_ID: u16 = Reference::KEM_ID;

    fn sk_to_pk(key: &PrivateKey) -> Self::PublicKey {
        Reference::sk_to_pk(&key.seed)
    }

    fn derive_keypair(ikm: &[u8]) -> (PrivateKey, Self::PublicKey) {
        let (seed, public) = Reference::derive_keypair(ikm);
        let octets = Zeroizing::new(seed.to_bytes());
        (PrivateKey::from_bytes(&octets).expect("every seed of this length is a key"), public)
    }

    fn decap(
        key: &PrivateKey,
        sender: Option<&Self::PublicKey>,
        encapsulated: &Self::EncappedKey,
    ) -> Result<SharedSecret<Self>, HpkeError> {
        let failed = |_| HpkeError::DecapError;
        if sender.is_some() {
            return Err(HpkeError::DecapError);
        }
        let octets = encapsulated.to_bytes();
        let (m, x) = octets.split_at(ENCAPSULATED_M);
        let Expanded { m: private_m, x: private_x, public_x } = &*key.expanded;
        let secret_m = private_m.decapsulate(m.into()).map_err(failed)?;
        combine(secret_m.as_ref(), (private_x, x), (x, public_x)).map_err(failed)
    }

    /// With random octets of aws-lc, as all keys are made here, and none of the caller's.
    fn encap_with_rng(
        to: &Self::PublicKey,
        sender: Option<(&PrivateKey, &Self::PublicKey)>,
        _: &mut impl CryptoRng,
    ) -> Result<(SharedSecret<Self>, Self::EncappedKey), HpkeError> {
        let failed = |_: Unspecified| HpkeError::EncapError;
        if sender.is_some() {
            return Err(HpkeError::EncapError);
        }
        let to = to.to_bytes();
        let (public_m, public_x) = to.split_at(PUBLIC_M);
        let public_m = EncapsulationKey::new(&ML_KEM_768, public_m).map_err(|_| HpkeError::EncapError)?;
        let (m, secret_m) = public_m.encapsulate().map_err(failed)?;
        let ephemeral = agreement::PrivateKey::generate(&X25519).map_err(failed)?;
        let x = ephemeral.compute_public_key().map_err(failed)?;
        let secret = combine(secret_m.as_ref(), (&ephemeral, public_x), (x.as_ref(), public_x));
        let encapsulated = Deserializable::from_bytes(&[m.as_ref(), x.as_ref()].concat())?;
        Ok((secret.map_err(failed)?, encapsulated))
    }
}

/// The secret of both: of ML-KEM, and of X25519 between `ours` and `theirs`; `publics` are the encapsulated and the
/// recipient's. An X25519 key whose secret is all zeros is refused (RFC 7748 6.1).
fn combine(
    secret_m: &[u8],
    (ours, theirs): (&agreement::PrivateKey, &[u8]),
    publics: (&[u8], &[u8]),
) -> Result<SharedSecret<XWing>, Unspecified> {
    let theirs = UnparsedPublicKey::new(&X25519, theirs);
    agreement::agree(ours, theirs, Unspecified, |secret_x| {
        let mut context = digest::Context::new(&SHA3_256);
        for part in [secret_m, secret_x, publics.0, publics.1, LABEL] {
            context.update(part);
        }
        Array::try_from(context.finish().as_ref()).map(SharedSecret).map_err(|_| Unspecified)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_implementation_encapsulates_the_other_decapsulates() {
        for _ in 0..8 {
            let (key, public) = XWing::gen_keypair();
            let theirs = <Reference as Kem>::PrivateKey::from_bytes(&key.to_bytes()).unwrap();
            assert!(Reference::sk_to_pk(&theirs) == public && XWing::sk_to_pk(&key) == public);
            let (secret, encapsulated) = XWing::encap(&public, None).unwrap();
            assert_eq!(Reference::decap(&theirs, None, &encapsulated).unwrap().0, secret.0);
            let (secret, encapsulated) = Reference::encap(&public, None).unwrap();
            assert_eq!(XWing::decap(&key, None, &encapsulated).unwrap().0, secret.0);
        }
    }

    #[test]
    fn an_altered_key_gives_another_secret_and_a_point_of_small_order_none() {
        let (key, public) = XWing::gen_keypair();
        let (secret, encapsulated) = XWing::encap(&public, None).unwrap();
        let altered = |at: usize, octets: &[u8]| {
            let mut all = encapsulated.to_bytes();
            all[at..at + octets.len()].copy_from_slice(octets);
            <XWing as Kem>::EncappedKey::from_bytes(&all).unwrap()
        };
        for at in [0, ENCAPSULATED_M - 1, ENCAPSULATED_M] {
            let octet = encapsulated.to_bytes()[at] ^ 1;
            let other = XWing::decap(&key, None, &altered(at, &[octet])).unwrap();
            assert_ne!(other.0, secret.0, "octet {at}");
        }
        assert!(XWing::decap(&key, None, &altered(ENCAPSULATED_M, &[0; 32])).is_err());
    }
}
