//! The signatures around a trust list, and what a list must show before it is believed.

use std::collections::BTreeSet;

use base64ct::{Base64, Encoding};
use proto::ids::KeyId;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::document::{Document, DocumentError};
use super::{Anchors, TrustList};
use crate::sign::{SigningKey, VerifyingKey, sha256};

/// What the file says it is.
const FORMAT: &str = "exchange/v1 trust list";
/// The domain that goes in front of a trust list when it is signed.
const DOMAIN: &str = FORMAT;
/// The longest file that is read, octets.
pub(super) const FILE_LEN: usize = 4 * 1024 * 1024;
/// How far a clock may be off before a list counts as issued in the future, in seconds.
const CLOCK_SKEW: u64 = 300;

/// A trust list as it travels: the exact signed octets, and signatures that nobody has checked yet.
///
/// As a file, JSON: `format`, `document` in base64, `signatures` with the anchor's key id and the 64 octets in hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedTrustList {
    document: Vec<u8>,
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    anchor: KeyId,
    octets: [u8; 64],
}

/// The file form, of which nothing was checked.
#[derive(Serialize, Deserialize)]
pub(super) struct File {
    format: String,
    document: String,
    signatures: Vec<FileSignature>,
}

#[derive(Serialize, Deserialize)]
struct FileSignature {
    anchor: String,
    signature: String,
}

/// Why a trust list is not believed.
#[derive(Debug, thiserror::Error)]
pub enum TrustRefused {
    /// The file is no trust list.
    #[error("the file is no trust list: {0}")]
    File(String),
    /// The signed document breaks a rule.
    #[error("the trust list breaks a rule: {0}")]
    Document(#[from] DocumentError),
    /// Too few of the anchors signed.
    #[error("{signed} of the {which} anchors signed this list; {needed} must")]
    Threshold {
        /// "current" or "new".
        which: &'static str,
        /// How many valid signatures there are.
        signed: usize,
        /// How many are needed.
        needed: usize,
    },
    /// Its time is over.
    #[error("the trust list expired on {}; ask the anchors for a new version", date(*expired))]
    Expired {
        /// When.
        expired: u64,
    },
    /// Its time has not come.
    #[error("the trust list was issued in the future; check this machine's clock")]
    FromTheFuture,
    /// A newer one was accepted before.
    #[error("version {found} is older than version {known}, which was accepted before")]
    Older {
        /// The refused version.
        found: u64,
        /// The version that is kept.
        known: u64,
    },
    /// The same version with other content: somebody signed two different lists.
    #[error("version {version} was accepted before with other content; ask the anchors which one is theirs")]
    Forked {
        /// The version.
        version: u64,
    },
}

/// A moment as people write it.
fn date(seconds: u64) -> String {
    let moment =
        i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    moment.map_or_else(|| seconds.to_string(), |moment| format!("{} at {} UTC", moment.date(), moment.time()))
}

impl SignedTrustList {
    /// Wraps a document without signatures.
    pub(super) fn unsigned(document: &Document) -> Self {
        Self { document: document.octets(), signatures: Vec::new() }
    }

    /// Reads the file form; nothing is checked but the form.
    pub fn parse(file: &[u8]) -> Result<Self, TrustRefused> {
        if file.len() > FILE_LEN {
            return Err(TrustRefused::File(format!("it is longer than {FILE_LEN} octets")));
        }
        let file: File =
            serde_json::from_slice(file).map_err(|error| TrustRefused::File(error.to_string()))?;
        Self::of_file(&file)
    }

    pub(super) fn of_file(file: &File) -> Result<Self, TrustRefused> {
        if file.format != FORMAT {
            return Err(TrustRefused::File(format!(
                "its format is `{}`; this software reads `{FORMAT}`",
                file.format
            )));
        }
        let document = Base64::decode_vec(&file.document);
        let document = document.map_err(|_| TrustRefused::File("`document` is no base64".into()))?;
        let signatures = file.signatures.iter().map(Signature::parse).collect::<Option<_>>();
        let signatures = signatures.ok_or_else(|| {
            TrustRefused::File(
                "a signature needs an `anchor` of 16 and a `signature` of 128 hex digits".into(),
            )
        })?;
        Ok(Self { document, signatures })
    }

    /// The file form.
    #[must_use]
    pub fn file(&self) -> String {
        serde_json::to_string_pretty(&self.to_file()).expect("strings always serialise") + "\n"
    }

    pub(super) fn to_file(&self) -> File {
        let signatures = self.signatures.iter().map(|signature| FileSignature {
            anchor: signature.anchor.to_string(),
            signature: hex::encode(signature.octets),
        });
        File {
            format: FORMAT.into(),
            document: Base64::encode_string(&self.document),
            signatures: signatures.collect(),
        }
    }

    /// The signed document as people read it.
    #[must_use]
    pub fn document_text(&self) -> String {
        String::from_utf8_lossy(&self.document).into_owned()
    }

    /// Adds an anchor's signature, or renews it.
    pub fn sign(&mut self, anchor: &SigningKey) {
        let id = anchor.public().id();
        self.signatures.retain(|signature| signature.anchor != id);
        self.signatures.push(Signature { anchor: id, octets: anchor.sign(DOMAIN, &self.document) });
    }

    /// Checks signatures by the current anchors, then, if the list names other anchors, by those as well; then
    /// time and content. `now` is in seconds since 1970.
    pub fn check(&self, current: &Anchors, now: u64) -> Result<TrustList, TrustRefused> {
        self.check_threshold("current", current)?;
        let document = Document::parse(&self.document)?;
        let list = document.into_list(sha256(&self.document))?;
        if list.anchors != *current {
            self.check_threshold("new", &list.anchors)?;
        }
        if list.issued > now + CLOCK_SKEW {
            return Err(TrustRefused::FromTheFuture);
        }
        if list.expires <= now {
            return Err(TrustRefused::Expired { expired: list.expires });
        }
        Ok(list)
    }

    /// As [`SignedTrustList::check`] by the anchors of the list that is in force, which must not be newer.
    pub fn check_successor(&self, known: &TrustList, now: u64) -> Result<TrustList, TrustRefused> {
        let list = self.check(&known.anchors, now)?;
        if list.version < known.version {
            return Err(TrustRefused::Older { found: list.version, known: known.version });
        }
        if list.version == known.version && list.digest != known.digest {
            return Err(TrustRefused::Forked { version: list.version });
        }
        Ok(list)
    }

    /// Parses a list that this machine has accepted before, for [`SignedTrustList::check_successor`] alone.
    pub(super) fn recall(&self) -> Result<TrustList, TrustRefused> {
        let mut document = Document::parse(&self.document)?;
        // Rules for countries may have come since, and no rule may keep a machine from its next list.
        document.countries.clear();
        Ok(document.into_list(sha256(&self.document))?)
    }

    fn check_threshold(&self, which: &'static str, anchors: &Anchors) -> Result<(), TrustRefused> {
        // Counted by anchor, so that one anchor signing twice is one.
        let has_signed = |anchor: &&VerifyingKey| {
            let mut own = self.signatures.iter().filter(|signature| signature.anchor == anchor.id());
            own.any(|signature| anchor.check(DOMAIN, &self.document, &signature.octets).is_ok())
        };
        let signers: BTreeSet<_> = anchors.keys.iter().filter(has_signed).map(VerifyingKey::id).collect();
        let (signed, needed) = (signers.len(), anchors.threshold.max(1));
        if signed >= needed { Ok(()) } else { Err(TrustRefused::Threshold { which, signed, needed }) }
    }
}

impl Signature {
    fn parse(file: &FileSignature) -> Option<Self> {
        let octets = hex::decode(&file.signature).ok()?.try_into().ok()?;
        Some(Self { anchor: file.anchor.parse().ok()?, octets })
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
