//! 7: what a peer's batch must show before it may enter the inbox.
//!
//! Pure: time, peer and trust list are arguments. Keeps invariants 4 and 5.

use pki::sign::{BadSignature, sha256};
use pki::trust::{Country, TrustList};
use proto::batch::{Manifest, SignedBatch};
use proto::course::STEP;
use proto::ids::{Authority, CountryCode, KeyId};
use proto::malformed::Malformed;

use crate::store::Cursor;

/// How far a peer's clock may be ahead, minutes: an hour is what clocks are set wrong by, and a refused batch holds up all
/// that follow it until our clock has come to it. A peer whose clock has leapt by more seals nothing (`proto::course`).
const CLOCK_SKEW: u32 = 75;
const _: () = assert!(STEP < CLOCK_SKEW as i64 * 60);
/// A batch is kept for up to 21 days at its origin; what is older than this was dug up, minutes.
const OLDEST: u32 = 22 * 24 * 60;

/// The link of a cursor that stands before a hole: the origin has purged what came next, so nobody knows what the
/// manifest behind the hole is chained to. No manifest has this hash but by an accident that never happens.
pub const HOLE: [u8; 32] = [0xff; 32];

/// A batch whose origin, signature, sequence and age were checked. Only [`verify`] makes one.
#[derive(Debug)]
pub struct VerifiedBatch {
    batch: SignedBatch,
    manifest: Manifest,
    hash: [u8; 32],
}

impl VerifiedBatch {
    /// The batch as it came.
    #[must_use]
    pub fn batch(&self) -> &SignedBatch {
        &self.batch
    }

    /// What its origin signed.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where the stream stands behind it.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { through: self.manifest.sequence.number(), link: self.hash }
    }
}

/// What is expected of the next batch.
pub struct Expected<'a> {
    /// The country that was called: its certificate said so.
    pub origin: &'a Country,
    /// Our country.
    pub own: CountryCode,
    /// Says which authorities are ours.
    pub trust: &'a TrustList,
    /// Whether we keep an inbox for an authority: one that has left the trust list may have batches on their way, and
    /// what follows them must not wait for that.
    pub has_inbox: &'a (dyn Fn(Authority) -> bool + Sync),
    /// The last batch of this stream that we have.
    pub cursor: Cursor,
    /// Seconds since 1970.
    pub now: u64,
}

/// Why a batch is not taken. Nothing of it is stored but as evidence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Signed by a key that the trust list does not certify for the origin.
    #[error("signing key {0} is not certified for the origin")]
    UnknownSigner(KeyId),
    /// Signed by a key whose time is over or has not come.
    #[error("signing key {0} was not valid when the batch was sealed")]
    SignerOutOfTime(KeyId),
    /// The signature does not fit.
    #[error(transparent)]
    BadSignature(#[from] BadSignature),
    /// The manifest does not parse, though it is signed.
    #[error("the manifest does not parse: {0}")]
    Malformed(#[from] Malformed),
    /// Another country is named as origin than the one that was called.
    #[error("the batch is from {found}, but {called} was called")]
    OtherOrigin {
        /// Who it says.
        found: CountryCode,
        /// Who was called.
        called: CountryCode,
    },
    /// The destination is no authority of ours.
    #[error("the batch is for {0}, which is no authority of this country")]
    OtherDestination(Authority),
    /// Numbers are missing.
    #[error("sequence {found} follows {cursor}: batches between them are missing")]
    Gap {
        /// What came.
        found: u64,
        /// The last that we have.
        cursor: u64,
    },
    /// A number that we have already.
    #[error("sequence {found} came again after {cursor}")]
    Repeat {
        /// What came.
        found: u64,
        /// The last that we have.
        cursor: u64,
    },
    /// The chain is broken: the origin's history is not the one that we know.
    #[error("sequence {0} does not follow the manifest that came before it")]
    BrokenChain(u64),
    /// The body is not the one that was signed.
    #[error("the sealed body of sequence {0} is not the one in its manifest")]
    OtherBody(u64),
    /// It was sealed ahead of our time.
    #[error("the batch was sealed in the future; compare the clocks")]
    FromTheFuture,
    /// It was sealed long ago.
    #[error("the batch was sealed more than 22 days ago")]
    TooOld,
}

impl Refused {
    /// A stable name for metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::UnknownSigner(_) => "unknown_signer",
            Self::SignerOutOfTime(_) => "signer_out_of_time",
            Self::BadSignature(_) => "bad_signature",
            Self::Malformed(_) => "malformed",
            Self::OtherOrigin { .. } => "other_origin",
            Self::OtherDestination(_) => "other_destination",
            Self::Gap { .. } => "gap",
            Self::Repeat { .. } => "repeat",
            Self::BrokenChain(_) => "broken_chain",
            Self::OtherBody(_) => "other_body",
            Self::FromTheFuture => "from_the_future",
            Self::TooOld => "too_old",
        }
    }
}

/// Checks a batch against all that is expected of it.
pub fn verify(batch: SignedBatch, expected: &Expected<'_>) -> Result<VerifiedBatch, Refused> {
    let key = batch.signing_key;
    let certified = expected.origin.signing_key(key).ok_or(Refused::UnknownSigner(key))?;
    certified.key.check(Manifest::DOMAIN, &batch.manifest, &batch.signature)?;
    let manifest = Manifest::parse(&batch.manifest)?;
    if !certified.is_valid_at(u64::from(manifest.header.sealed_at) * 60) {
        return Err(Refused::SignerOutOfTime(key));
    }
    check_address(&manifest, expected)?;
    check_age(&manifest, expected.now)?;
    check_place(&manifest, &expected.cursor)?;
    let sequence = manifest.sequence.number();
    if manifest.sealed_len as usize != batch.sealed.len() || manifest.sealed_hash != sha256(&batch.sealed) {
        return Err(Refused::OtherBody(sequence));
    }
    let hash = sha256(&batch.manifest);
    Ok(VerifiedBatch { batch, manifest, hash })
}

fn check_address(manifest: &Manifest, expected: &Expected<'_>) -> Result<(), Refused> {
    let (found, called) = (manifest.header.origin, expected.origin.code);
    if found != called {
        return Err(Refused::OtherOrigin { found, called });
    }
    let destination = manifest.header.destination;
    let is_ours = match expected.trust.authority(destination) {
        Some((country, _)) => country.code == expected.own,
        None => (expected.has_inbox)(destination),
    };
    if is_ours { Ok(()) } else { Err(Refused::OtherDestination(destination)) }
}

fn check_age(manifest: &Manifest, now: u64) -> Result<(), Refused> {
    let minute = u32::try_from(now / 60).unwrap_or(u32::MAX);
    if manifest.header.sealed_at > minute.saturating_add(CLOCK_SKEW) {
        return Err(Refused::FromTheFuture);
    }
    if manifest.header.sealed_at < minute.saturating_sub(OLDEST) {
        return Err(Refused::TooOld);
    }
    Ok(())
}

fn check_place(manifest: &Manifest, cursor: &Cursor) -> Result<(), Refused> {
    let (found, cursor, link) = (manifest.sequence.number(), cursor.through, cursor.link);
    if found <= cursor {
        return Err(Refused::Repeat { found, cursor });
    }
    if found != cursor + 1 {
        return Err(Refused::Gap { found, cursor });
    }
    if manifest.previous == link || link == HOLE { Ok(()) } else { Err(Refused::BrokenChain(found)) }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
