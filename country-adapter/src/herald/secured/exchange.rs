//! The exchange between two phones: one message each way, and what both learn from it (`herald.md` D1, D2, D6).
//!
//! The receiver asks with a fresh point of P-256; the transmitter answers with the x-coordinate of its own and a
//! block that AES-128-GCM closes. Whoever uses a key gives it away, so that no key is used twice (R57).

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes128Gcm, KeyInit};
use hkdf::Hkdf;
use p256::ecdh::SharedSecret;
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{PublicKey, SecretKey};
use proto::header::{EnvelopeHeader, Frame};
use proto::ids::Authority;
use proto::malformed::Malformed;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::block::Block;
use super::{CODE, Receipt, check_secured, random};
use crate::herald::frame;

const KEY: &[u8] = b"hgw/sec/v1 key";
const IV: &[u8] = b"hgw/sec/v1 iv";
const RECEIPT: &[u8] = b"hgw/sec/v1 receipt";
/// Octets of an x-coordinate.
const X: usize = 32;
/// Octets of an AES-GCM tag.
const TAG: usize = 16;

/// Why one phone does not take the other's message. Both drop it silently; the user is told nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// The octets are no message of an exchange.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The key is none, so nothing may be agreed with its sender.
    #[error("the key in the {message} is no point of P-256")]
    OffCurve {
        /// Request or response.
        message: &'static str,
    },
    /// Another exchange's response, or altered on the way: AES-GCM cannot tell which.
    #[error("the response does not open: it answers another request, or was altered")]
    Closed,
}

/// The receiver's message: its authority's header and a fresh point, which names the receiver for this once.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    octets: [u8; Self::LEN],
    header: EnvelopeHeader,
    point: PublicKey,
}

impl Request {
    /// Octets of a request: header 5, uncompressed SEC1 point 65.
    pub const LEN: usize = EnvelopeHeader::LEN + 65;

    /// Reads what was written to the transmitter's phone.
    pub fn parse(octets: &[u8]) -> Result<Self, ExchangeError> {
        let whole = <[u8; Self::LEN]>::try_from(octets).map_err(|_| Malformed::Length {
            field: "Secured request",
            is: octets.len(),
            must: "70",
        })?;
        let Frame { header, body } = Frame::parse(octets)?;
        check_secured(header)?;
        // 65 octets are long enough for no other SEC1 form than the uncompressed one.
        let off_curve = |_| ExchangeError::OffCurve { message: "request" };
        let point = PublicKey::from_sec1_bytes(body).map_err(off_curve)?;
        Ok(Self { octets: whole, header, point })
    }

    fn new(header: EnvelopeHeader, key: &EphemeralKey) -> Result<Self, Malformed> {
        let point = key.0.public_key();
        let octets = frame(header, &[point.to_sec1_point(false).as_bytes()])?;
        let octets = octets.try_into().expect("an uncompressed point has 65 octets");
        Ok(Self { octets, header, point })
    }

    /// The octets to send.
    #[must_use]
    pub fn octets(&self) -> &[u8; Self::LEN] {
        &self.octets
    }

    /// The header of the receiver's authority.
    #[must_use]
    pub fn header(&self) -> EnvelopeHeader {
        self.header
    }
}

/// All that both phones said in the clear: the AAD of the block, and what a confirmation token is made over.
#[derive(Clone, PartialEq, Eq)]
pub struct Transcript {
    request: Request,
    header: EnvelopeHeader,
    x: [u8; X],
}

impl Transcript {
    /// The receiver's message.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The header of the transmitter's authority.
    #[must_use]
    pub fn header(&self) -> EnvelopeHeader {
        self.header
    }

    /// The x-coordinate of the transmitter's key.
    #[must_use]
    pub fn x(&self) -> &[u8; X] {
        &self.x
    }

    fn octets(&self) -> Vec<u8> {
        [&self.request.octets[..], &self.header.octets(), &self.x].concat()
    }
}

/// The receiver's side: a request that waits for its response. Opening a response uses it up.
pub struct Asking {
    key: EphemeralKey,
    request: Request,
}

impl Asking {
    /// Draws a key for one exchange with one phone.
    pub fn new(authority: Authority) -> Result<Self, Malformed> {
        Self::with(EphemeralKey::random(), authority)
    }

    pub(super) fn with(key: EphemeralKey, authority: Authority) -> Result<Self, Malformed> {
        let request = Request::new(EnvelopeHeader::new(CODE, authority)?, &key)?;
        Ok(Self { key, request })
    }

    /// What to send.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Opens the response: a frame of 200-510 octets. The key is gone then, whether it opened or not.
    pub fn open(self, response: &[u8]) -> Result<Heard, ExchangeError> {
        let Frame { header, body } = Frame::parse(response)?;
        check_secured(header)?;
        let (x, sealed) = cut(body)?;
        // D1: only x is sent. Either y would do, as the shared secret is an x-coordinate too; even it is.
        let point = PublicKey::from_sec1_bytes(&[&[2][..], &x].concat());
        let point = point.map_err(|_| ExchangeError::OffCurve { message: "response" })?;
        let transcript = Transcript { request: self.request, header, x };
        let keys = Derived::new(&self.key.0.diffie_hellman(&point), &transcript);
        let block = Block::parse(&keys.open(&transcript.octets(), sealed)?)?;
        Ok(Heard { header, block, receipt: keys.receipt })
    }
}

/// What the receiver's phone keeps of an exchange.
pub struct Heard {
    /// The header of the transmitter's authority: where a report goes.
    pub header: EnvelopeHeader,
    /// What the transmitter's phone said.
    pub block: Block,
    /// To be reported beside the tokens.
    pub receipt: Receipt,
}

/// The transmitter's side: a key for one response. Its transcript is needed to make the tokens in the block.
pub struct Answering {
    key: EphemeralKey,
    transcript: Transcript,
}

impl Answering {
    /// Draws a key for one exchange with one phone.
    pub fn new(request: Request, authority: Authority) -> Result<Self, Malformed> {
        Self::with(EphemeralKey::random(), request, authority)
    }

    pub(super) fn with(key: EphemeralKey, request: Request, authority: Authority) -> Result<Self, Malformed> {
        let header = EnvelopeHeader::new(CODE, authority)?;
        let mut x = [0; X];
        x.copy_from_slice(&key.0.public_key().to_sec1_point(true).as_bytes()[1..]);
        Ok(Self { key, transcript: Transcript { request, header, x } })
    }

    /// What the tokens of the block are bound to.
    #[must_use]
    pub fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// Closes the block for the receiver's phone.
    pub fn close(self, block: &Block) -> Result<Answered, Malformed> {
        let Self { key, transcript } = self;
        let keys = Derived::new(&key.0.diffie_hellman(&transcript.request.point), &transcript);
        let (sealed, tag) = keys.close(&transcript.octets(), block.octets());
        let frame = frame(transcript.header, &[&transcript.x, &sealed, &tag])?;
        Ok(Answered { frame, receipt: keys.receipt })
    }
}

/// What the transmitter's phone sends and keeps.
pub struct Answered {
    /// The response: a frame of 200-510 octets.
    pub frame: Vec<u8>,
    /// To be compared with the one that is published beside the confirmation token.
    pub receipt: Receipt,
}

/// A private key for one exchange, wiped on drop.
pub(super) struct EphemeralKey(SecretKey);

impl EphemeralKey {
    fn random() -> Self {
        // Fewer than one draw in four thousand million is not below the group's order.
        loop {
            if let Some(key) = Self::from_octets(&random()) {
                return Self(key);
            }
        }
    }

    fn from_octets(octets: &[u8; 32]) -> Option<SecretKey> {
        SecretKey::from_slice(octets).ok()
    }

    #[cfg(test)]
    pub(super) fn fixed(octets: &[u8; 32]) -> Self {
        Self(Self::from_octets(octets).unwrap())
    }
}

/// What follows from the shared secret and all that was said in the clear (RFC 5869).
pub(super) struct Derived {
    pub(super) key: Zeroizing<[u8; 16]>,
    pub(super) iv: Zeroizing<[u8; 12]>,
    pub(super) receipt: Receipt,
}

impl Derived {
    fn new(shared: &SharedSecret, transcript: &Transcript) -> Self {
        Self::from_x(shared.raw_secret_bytes(), &transcript.octets())
    }

    pub(super) fn from_x(shared: &[u8], transcript: &[u8]) -> Self {
        let hkdf = Hkdf::<Sha256>::new(Some(&Sha256::digest(transcript)), shared);
        let mut keys =
            Self { key: Zeroizing::default(), iv: Zeroizing::default(), receipt: Receipt::new([0; 16]) };
        for (label, out) in
            [(KEY, &mut keys.key[..]), (IV, &mut keys.iv[..]), (RECEIPT, &mut keys.receipt.0[..])]
        {
            hkdf.expand(label, out).expect("HKDF gives up to 8,160 octets");
        }
        keys
    }

    fn aead(&self) -> Aes128Gcm {
        Aes128Gcm::new((&*self.key).into())
    }

    /// Closes in place; what is left in the buffer is ciphertext.
    fn close(&self, aad: &[u8], mut text: Zeroizing<Vec<u8>>) -> (Zeroizing<Vec<u8>>, [u8; TAG]) {
        let sealed =
            self.aead().encrypt_inout_detached((&*self.iv).into(), aad, InOutBuf::from(&mut text[..]));
        let tag = sealed.expect("a block is shorter than AES-GCM's limit of 64 GiB");
        (text, tag.into())
    }

    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, ExchangeError> {
        let (sealed, tag) = sealed.split_last_chunk::<TAG>().ok_or(ExchangeError::Closed)?;
        let mut text = Zeroizing::new(sealed.to_vec());
        self.aead()
            .decrypt_inout_detached((&*self.iv).into(), aad, InOutBuf::from(&mut text[..]), tag.into())
            .map_err(|_| ExchangeError::Closed)?;
        Ok(text)
    }
}

/// The transmitter's x-coordinate and the closed block, which has at least its fixed fields and a tag.
fn cut(body: &[u8]) -> Result<([u8; X], &[u8]), Malformed> {
    let least = X + Block::FIXED_LEN + TAG;
    let short = || Malformed::Bounds { field: "Secured response", is: body.len(), least, most: 505 };
    if body.len() < least {
        return Err(short());
    }
    body.split_first_chunk::<X>().map(|(x, sealed)| (*x, sealed)).ok_or_else(short)
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
