//! Which countries are in the federation, at which addresses, with which keys, until when.
//!
//! One document for all, signed by k of n anchors. Everything the exchange believes about another country begins
//! here: its certificate authority, its signing keys, its authorities.

mod document;
mod draft;
mod keeper;
mod memory;
mod signed;

use std::collections::{BTreeMap, BTreeSet};

use proto::ids::{Authority, CountryCode, KeyId};
use rustls_pki_types::CertificateDer;

pub use document::DocumentError;
pub use draft::{Draft, DraftError};
pub use keeper::{KeeperError, TrustConfig, TrustKeeper};
pub use signed::{SignedTrustList, TrustRefused};

use crate::sign::VerifyingKey;

/// A trust list whose signatures, version and time were checked. Only [`SignedTrustList::check`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustList {
    /// Grows with every change.
    pub version: u64,
    /// Seconds since 1970.
    pub issued: u64,
    /// Seconds since 1970; from then on the list is refused.
    pub expires: u64,
    /// Who must sign the next one.
    pub anchors: Anchors,
    countries: BTreeMap<CountryCode, Country>,
    /// SHA-256 of the signed octets.
    digest: [u8; 32],
}

/// The keys that sign trust lists, and how many of them must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchors {
    /// n keys.
    pub keys: Vec<VerifyingKey>,
    /// k: at least 1, at most n.
    pub threshold: usize,
}

/// Whether a country takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It sends and receives.
    Active,
    /// It may not connect for now; what waits for it is kept, and pushes to it are answered `suspended`.
    Suspended,
    /// It is out: it may not connect, and nothing is routed to it.
    Revoked,
}

/// One country of the federation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Country {
    /// ISO 3166-1 numeric.
    pub code: CountryCode,
    /// For people.
    pub name: String,
    /// Whether it takes part.
    pub status: Status,
    /// Where its gateway answers, `https://host:port`, the preferred one first.
    pub endpoints: Vec<String>,
    /// Its own certificate authority; no other signs for it.
    pub ca: CertificateDer<'static>,
    /// Keys that sign its manifests and receipts.
    pub signing_keys: Vec<CertifiedKey>,
    /// Serial numbers of certificates that its authority has withdrawn.
    pub revoked_serials: BTreeSet<Vec<u8>>,
    /// Its health authorities, each with the keys that sign its key lists.
    pub authorities: BTreeMap<Authority, AuthorityEntry>,
}

/// One health authority of a country.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityEntry {
    /// For people.
    pub name: String,
    /// Keys that sign its key lists.
    pub signing_keys: Vec<CertifiedKey>,
}

/// A signing key and when it may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertifiedKey {
    /// The public key.
    pub key: VerifyingKey,
    /// First second, since 1970.
    pub not_before: u64,
    /// Last second, since 1970.
    pub not_after: u64,
}

impl CertifiedKey {
    /// Whether it may sign at this second.
    #[must_use]
    pub fn is_valid_at(&self, now: u64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

impl TrustList {
    /// The country with this code.
    #[must_use]
    pub fn country(&self, code: CountryCode) -> Option<&Country> {
        self.countries.get(&code)
    }

    /// All countries, in the order of their codes.
    pub fn countries(&self) -> impl Iterator<Item = &Country> {
        self.countries.values()
    }

    /// The country that an authority belongs to, and what is known of it.
    #[must_use]
    pub fn authority(&self, authority: Authority) -> Option<(&Country, &AuthorityEntry)> {
        let listed = |country| Country::with(country, authority);
        // Most authorities stand under the country that they name; a list has each of them once.
        let named = match authority {
            Authority::State(code, _) => self.country(code).and_then(listed),
            Authority::Opaque(_) => None,
        };
        named.or_else(|| self.countries().find_map(listed))
    }

    /// The authority that answers for what carries this issuer's header, and its country: the issuer, or the national
    /// one of its country if the issuer is in no list (Herald interop: state 0).
    #[must_use]
    pub fn answering(&self, issuer: Authority) -> Option<(&Country, Authority)> {
        let national = match issuer {
            Authority::State(country, _) => Some(Authority::national(country)),
            Authority::Opaque(_) => None,
        };
        let listed = |authority| self.authority(authority).map(|(country, _)| (country, authority));
        listed(issuer).or_else(|| listed(national?))
    }

    /// SHA-256 of the signed octets: two lists with the same digest are the same list.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

impl Country {
    fn with(&self, authority: Authority) -> Option<(&Self, &AuthorityEntry)> {
        Some((self, self.authorities.get(&authority)?))
    }

    /// The signing key with this id.
    #[must_use]
    pub fn signing_key(&self, id: KeyId) -> Option<&CertifiedKey> {
        self.signing_keys.iter().find(|certified| certified.key.id() == id)
    }
}
