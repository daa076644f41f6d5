//! HPKE (RFC 9180), mode Base: suites, labels and AAD are fixed here and nowhere else.
//!
//! One encapsulation and one seal carry a whole push or batch. The sender's identity is not HPKE's matter: a push
//! comes over mutual TLS, a batch is signed.

mod gcm;
mod xwing;

use std::fmt;
use std::str::FromStr;

use hpke::aead::{Aead, AeadTag};
use hpke::inout::InOutBuf;
use hpke::kdf::HkdfSha256;
use hpke::kem::{DhP256HkdfSha256, X25519HkdfSha256};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use proto::batch::{BatchHeader, Manifest};
use proto::header::EnvelopeHeader;
use proto::ids::{Authority, KeyId, PushId};
use proto::push::{self, Push};
use proto::wiped::Wiped;

use self::gcm::{Aes128Gcm, Aes256Gcm};
use self::xwing::XWing;
use crate::secret::Secret;
use crate::sign;

/// `info` of a push, from an adapter to its own gateway.
const PUSH: &[u8] = b"exchange/v1 push";
/// `info` of a batch, from a gateway to an authority abroad.
const BATCH: &[u8] = b"exchange/v1 batch";
/// `info` of a service token of Herald Secured, from a phone to its authority, begins so.
const SERVICE_TOKEN: &[u8] = b"hgw/est/v1";
/// Octets of an AES-GCM tag.
const TAG: usize = 16;

/// KEM, KDF and AEAD of a recipient's key. The key decides, so a sender needs no setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Suite {
    /// X-Wing (ML-KEM-768 + X25519), HKDF-SHA256, AES-256-GCM.
    XWing = 1,
    /// DHKEM(P-256), HKDF-SHA256, AES-128-GCM: the "ECIES P-256" that Herald recommends.
    P256 = 2,
    /// DHKEM(X25519), HKDF-SHA256, AES-128-GCM.
    X25519 = 3,
}

impl Suite {
    /// All suites.
    pub const ALL: [Self; 3] = [Self::XWing, Self::P256, Self::X25519];

    /// The name in configurations and on screens.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::XWing => "x-wing",
            Self::P256 => "p256",
            Self::X25519 => "x25519",
        }
    }

    /// The number in a key list.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The suite with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.number() == number)
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Suite {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|suite| suite.name() == text);
        found.ok_or_else(|| format!("`{text}` is no HPKE suite; use x-wing, p256 or x25519"))
    }
}

/// Why a seal could not be made or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// A public or private key whose octets are none of its suite.
    #[error("the octets are no {0} key")]
    Key(Suite),
    /// An encapsulated key of the wrong length or not on the curve.
    #[error("the encapsulated key is none of suite {0}")]
    Encapsulated(Suite),
    /// Wrong key, wrong context, or altered on the way: HPKE cannot tell which.
    #[error("the seal does not open: it is for another key or context, or was altered")]
    Open,
    /// The length that the AEAD allows is passed.
    #[error("the text is too long to seal")]
    TooLong,
}

/// A recipient's public key with its suite.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    id: KeyId,
    octets: Vec<u8>,
    key: Public,
}

#[derive(Clone, PartialEq, Eq)]
enum Public {
    XWing(Box<<XWing as Kem>::PublicKey>),
    P256(<DhP256HkdfSha256 as Kem>::PublicKey),
    X25519(<X25519HkdfSha256 as Kem>::PublicKey),
}

impl PublicKey {
    /// Takes the octets that RFC 9180's `SerializePublicKey` gives: 1,216, 65 or 32 of them. Refuses a key to which
    /// nothing can be sealed, such as a point of small order (section 7.1.4): one in force would hold up each push that
    /// has something for it.
    pub fn parse(suite: Suite, octets: &[u8]) -> Result<Self, SealError> {
        let key = Self::unchecked(suite, octets)?;
        key.seal(&[], &[], &mut Vec::new()).map_err(|_| SealError::Key(suite))?;
        Ok(key)
    }

    pub(crate) fn unchecked(suite: Suite, octets: &[u8]) -> Result<Self, SealError> {
        let wrong = |_| SealError::Key(suite);
        let key = match suite {
            Suite::XWing => Public::XWing(Box::new(Deserializable::from_bytes(octets).map_err(wrong)?)),
            Suite::P256 => Public::P256(Deserializable::from_bytes(octets).map_err(wrong)?),
            Suite::X25519 => Public::X25519(Deserializable::from_bytes(octets).map_err(wrong)?),
        };
        Ok(Self { id: sign::key_id(suite.number(), octets), octets: octets.to_vec(), key })
    }

    /// The first 8 octets of a hash of suite and key.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Its suite.
    #[must_use]
    pub fn suite(&self) -> Suite {
        match self.key {
            Public::XWing(_) => Suite::XWing,
            Public::P256(_) => Suite::P256,
            Public::X25519(_) => Suite::X25519,
        }
    }

    /// Its octets as [`PublicKey::parse`] takes them.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    fn seal(&self, info: &[u8], aad: &[u8], text: &mut Vec<u8>) -> Result<Vec<u8>, SealError> {
        match &self.key {
            Public::XWing(key) => seal_to::<XWing, Aes256Gcm>(key, info, aad, text),
            Public::P256(key) => seal_to::<DhP256HkdfSha256, Aes128Gcm>(key, info, aad, text),
            Public::X25519(key) => seal_to::<X25519HkdfSha256, Aes128Gcm>(key, info, aad, text),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.suite(), self.id)
    }
}

/// A recipient's private key.
pub struct PrivateKey {
    public: PublicKey,
    key: Private,
}

enum Private {
    XWing(Box<<XWing as Kem>::PrivateKey>),
    P256(<DhP256HkdfSha256 as Kem>::PrivateKey),
    X25519(<X25519HkdfSha256 as Kem>::PrivateKey),
}

impl PrivateKey {
    /// Takes the octets that RFC 9180's `SerializePrivateKey` gives: 32 for each suite.
    pub fn parse(suite: Suite, octets: &Secret<Vec<u8>>) -> Result<Self, SealError> {
        let (octets, wrong) = (octets.expose(), |_| SealError::Key(suite));
        let (key, public) = match suite {
            Suite::XWing => {
                let key = Box::new(<XWing as Kem>::PrivateKey::from_bytes(octets).map_err(wrong)?);
                let public = XWing::sk_to_pk(&key).to_bytes().to_vec();
                (Private::XWing(key), public)
            }
            Suite::P256 => {
                let key = <DhP256HkdfSha256 as Kem>::PrivateKey::from_bytes(octets).map_err(wrong)?;
                let public = DhP256HkdfSha256::sk_to_pk(&key).to_bytes().to_vec();
                (Private::P256(key), public)
            }
            Suite::X25519 => {
                let key = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(octets).map_err(wrong)?;
                let public = X25519HkdfSha256::sk_to_pk(&key).to_bytes().to_vec();
                (Private::X25519(key), public)
            }
        };
        Ok(Self { public: PublicKey::unchecked(suite, &public)?, key })
    }

    /// A fresh key's octets, for a key file.
    #[must_use]
    pub fn generate(suite: Suite) -> Secret<Vec<u8>> {
        Secret::new(match suite {
            Suite::XWing => XWing::gen_keypair().0.to_bytes().to_vec(),
            Suite::P256 => DhP256HkdfSha256::gen_keypair().0.to_bytes().to_vec(),
            Suite::X25519 => X25519HkdfSha256::gen_keypair().0.to_bytes().to_vec(),
        })
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The name of the public half.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.public.id
    }

    /// Opens a push of an authority. The text is wiped when it is dropped.
    pub fn open_push(&self, push: &Push, pusher: Authority) -> Result<Wiped, SealError> {
        self.open(&push.enc, PUSH, &push.aad(pusher), &push.sealed)
    }

    /// Opens a batch whose manifest was checked. The text is wiped when it is dropped.
    pub fn open_batch(&self, manifest: &Manifest, sealed: &[u8]) -> Result<Wiped, SealError> {
        self.open(&manifest.enc, BATCH, &manifest.header.octets(), sealed)
    }

    /// Opens a service token of Herald Secured; only a P-256 key can. The text is wiped when it is dropped.
    pub fn open_service_token(
        &self,
        context: &ServiceTokenContext,
        enc: &[u8],
        sealed: &[u8],
    ) -> Result<Wiped, SealError> {
        p256_only(&self.public)?;
        self.open(enc, &context.info(), &context.confirmation, sealed)
    }

    fn open(&self, enc: &[u8], info: &[u8], aad: &[u8], sealed: &[u8]) -> Result<Wiped, SealError> {
        let mut text = Wiped::new(sealed.to_vec());
        let suite = self.public.suite();
        match &self.key {
            Private::XWing(key) => open_with::<XWing, Aes256Gcm>((key, enc, suite), info, aad, &mut text),
            Private::P256(key) => {
                open_with::<DhP256HkdfSha256, Aes128Gcm>((key, enc, suite), info, aad, &mut text)
            }
            Private::X25519(key) => {
                open_with::<X25519HkdfSha256, Aes128Gcm>((key, enc, suite), info, aad, &mut text)
            }
        }?;
        Ok(text)
    }
}

/// Seals the reports of a push to the gateway's ingress key.
pub fn seal_push(
    to: &PublicKey,
    pusher: Authority,
    headers: Vec<u8>,
    mut body: Wiped,
) -> Result<proto::wire::PushRequest, SealError> {
    let id = PushId::random();
    let enc = to.seal(PUSH, &push::aad(&id, &to.id, pusher, &headers), &mut body)?;
    Ok(proto::wire::PushRequest {
        push_id: id.octets().to_vec().into(),
        key_id: to.id.octets().to_vec().into(),
        enc: enc.into(),
        headers: headers.into(),
        // What is left in the buffer is ciphertext.
        sealed: body.take().into(),
    })
}

/// Seals a batch's padded reports, in place, to an authority's key; `header.key` is that key's id.
/// Gives the encapsulated key.
pub fn seal_batch(to: &PublicKey, header: &BatchHeader, body: &mut Vec<u8>) -> Result<Vec<u8>, SealError> {
    to.seal(BATCH, &header.octets(), body)
}

/// What a service token of Herald Secured is bound to: it opens for no other issuer, key or contact.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ServiceTokenContext {
    /// The header of the phone's authority.
    pub issuer: EnvelopeHeader,
    /// The number that the authority gave the day's key.
    pub key: u16,
    /// The confirmation token beside it, which is the AAD.
    pub confirmation: [u8; 16],
}

impl ServiceTokenContext {
    fn info(&self) -> Vec<u8> {
        [SERVICE_TOKEN, &self.issuer.octets(), &self.key.to_be_bytes()].concat()
    }
}

/// Seals a service token's contents, in place, to an authority's P-256 key. Gives the encapsulated key.
pub fn seal_service_token(
    to: &PublicKey,
    context: &ServiceTokenContext,
    text: &mut Vec<u8>,
) -> Result<Vec<u8>, SealError> {
    p256_only(to)?;
    to.seal(&context.info(), &context.confirmation, text)
}

// A service token has 65 octets for the encapsulated key: a point of P-256, as every phone has it.
fn p256_only(key: &PublicKey) -> Result<(), SealError> {
    match key.suite() {
        Suite::P256 => Ok(()),
        Suite::XWing | Suite::X25519 => Err(SealError::Key(Suite::P256)),
    }
}

/// Octets that a seal adds to its text.
#[must_use]
pub fn overhead() -> usize {
    TAG
}

// RFC 9180 6.1: SealBase, in place, so that no copy of the text stays behind; the tag goes after the ciphertext.
fn seal_to<K: Kem, A: Aead>(
    to: &K::PublicKey,
    info: &[u8],
    aad: &[u8],
    text: &mut Vec<u8>,
) -> Result<Vec<u8>, SealError> {
    let setup = hpke::setup_sender::<A, HkdfSha256, K>(&OpModeS::Base, to, info);
    let (enc, mut context) = setup.map_err(|_| SealError::TooLong)?;
    let sealed = context.seal_inout_detached(InOutBuf::from(text.as_mut_slice()), aad);
    let tag = sealed.map_err(|_| SealError::TooLong)?;
    text.extend_from_slice(&tag.to_bytes());
    Ok(enc.to_bytes().to_vec())
}

// RFC 9180 6.1: OpenBase, in place; the tag is cut off.
fn open_with<K: Kem, A: Aead>(
    (key, enc, suite): (&K::PrivateKey, &[u8], Suite),
    info: &[u8],
    aad: &[u8],
    text: &mut Vec<u8>,
) -> Result<(), SealError> {
    let enc = K::EncappedKey::from_bytes(enc).map_err(|_| SealError::Encapsulated(suite))?;
    let len = text.len().checked_sub(TAG).ok_or(SealError::Open)?;
    let tag = AeadTag::<A>::from_bytes(&text[len..]).map_err(|_| SealError::Open)?;
    text.truncate(len);
    let setup = hpke::setup_receiver::<A, HkdfSha256, K>(&OpModeR::Base, key, &enc, info);
    let mut context = setup.map_err(|_| SealError::Encapsulated(suite))?;
    context.open_inout_detached(InOutBuf::from(text.as_mut_slice()), aad, &tag).map_err(|_| SealError::Open)
}

#[cfg(test)]
mod tests;
