//! The JSON document inside a trust list, and the rules it must keep.

use std::collections::{BTreeMap, BTreeSet};

use proto::ids::{Authority, CountryCode};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Anchors, AuthorityEntry, CertifiedKey, Country, Status, TrustList};
use crate::sign::VerifyingKey;
use crate::tls::canonical_serial;

/// What the anchors sign, as JSON. Unknown fields are tolerated: a later minor version may add some.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Document {
    pub(super) version: u64,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) issued: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) expires: OffsetDateTime,
    /// How many of the anchors must sign.
    pub(super) threshold: usize,
    /// SEC 1 points in hex.
    pub(super) anchors: Vec<String>,
    pub(super) countries: Vec<CountryDocument>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CountryDocument {
    pub(super) country: u16,
    pub(super) name: String,
    pub(super) status: Status,
    pub(super) endpoints: Vec<String>,
    /// PEM.
    pub(super) ca: String,
    pub(super) signing_keys: Vec<KeyDocument>,
    /// Hex.
    #[serde(default)]
    pub(super) revoked_serials: Vec<String>,
    pub(super) authorities: Vec<AuthorityDocument>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AuthorityDocument {
    pub(super) authority: String,
    pub(super) name: String,
    pub(super) signing_keys: Vec<KeyDocument>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeyDocument {
    /// A SEC 1 point in hex.
    pub(super) key: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) not_before: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) not_after: OffsetDateTime,
}

/// Which rule a trust list breaks, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not the JSON that it should be.
    #[error("it is not the expected JSON: {0}")]
    Json(String),
    /// A value that does not parse.
    #[error("{place}: {reason}")]
    Value {
        /// Where, as `country 826, ca`.
        place: String,
        /// What is wrong and what would do.
        reason: String,
    },
    /// Something that must stand only once.
    #[error("{what} stands twice; each may stand once in the whole list")]
    Twice {
        /// What.
        what: String,
    },
    /// The threshold cannot be met, or asks for nothing.
    #[error("threshold is {threshold} of {anchors} anchors; it must be at least 1 and at most their number")]
    Threshold {
        /// k.
        threshold: usize,
        /// n.
        anchors: usize,
    },
}

fn wrong(place: impl Into<String>, reason: impl Into<String>) -> DocumentError {
    DocumentError::Value { place: place.into(), reason: reason.into() }
}

impl Document {
    pub(super) fn parse(octets: &[u8]) -> Result<Self, DocumentError> {
        serde_json::from_slice(octets).map_err(|error| DocumentError::Json(error.to_string()))
    }

    pub(super) fn octets(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("strings and numbers always serialise")
    }

    /// Checks every rule and gives the list; the digest is that of the signed octets.
    pub(super) fn into_list(self, digest: [u8; 32]) -> Result<TrustList, DocumentError> {
        let anchors = self.anchors()?;
        let mut once = Once::default();
        let mut countries = BTreeMap::new();
        for document in &self.countries {
            let country = document.parse(&mut once)?;
            countries.insert(country.code, country);
        }
        let (issued, expires) = (seconds("issued", self.issued)?, seconds("expires", self.expires)?);
        Ok(TrustList { version: self.version, issued, expires, anchors, countries, digest })
    }

    fn anchors(&self) -> Result<Anchors, DocumentError> {
        let keys =
            self.anchors.iter().map(|key| verifying_key("anchors", key)).collect::<Result<Vec<_>, _>>()?;
        let distinct: BTreeSet<_> = keys.iter().map(VerifyingKey::id).collect();
        if distinct.len() != keys.len() {
            return Err(DocumentError::Twice { what: "an anchor".into() });
        }
        if !(1..=keys.len()).contains(&self.threshold) {
            return Err(DocumentError::Threshold { threshold: self.threshold, anchors: keys.len() });
        }
        Ok(Anchors { keys, threshold: self.threshold })
    }
}

/// Names that were seen: a country, certificate authority, authority or key counts for one owner only.
#[derive(Default)]
struct Once(BTreeSet<String>);

impl Once {
    fn see(&mut self, what: String) -> Result<(), DocumentError> {
        if self.0.insert(what.clone()) { Ok(()) } else { Err(DocumentError::Twice { what }) }
    }
}

impl CountryDocument {
    fn parse(&self, once: &mut Once) -> Result<Country, DocumentError> {
        let place = format!("country {}", self.country);
        let code = CountryCode::new(self.country).map_err(|error| wrong(&place, error.to_string()))?;
        once.see(place.clone())?;
        let ca = self.ca(&place)?;
        once.see(format!("certificate authority {}", hex::encode(crate::sign::sha256(&ca))))?;
        let signing_keys = keys(&place, &self.signing_keys, once)?;
        let mut authorities = BTreeMap::new();
        for document in &self.authorities {
            let (authority, entry) = document.parse(code, once)?;
            authorities.insert(authority, entry);
        }
        Ok(Country {
            code,
            name: self.name.clone(),
            status: self.status,
            endpoints: self.endpoints(&place)?,
            ca,
            signing_keys,
            revoked_serials: self.revoked_serials(&place)?,
            authorities,
        })
    }

    fn ca(&self, place: &str) -> Result<CertificateDer<'static>, DocumentError> {
        let ca = CertificateDer::from_pem_slice(self.ca.as_bytes());
        let ca = ca.map_err(|_| wrong(format!("{place}, ca"), "it is no PEM certificate"))?;
        // The same reading of a certificate that TLS does later: what it cannot use is refused here.
        webpki_root(&ca).map_err(|reason| wrong(format!("{place}, ca"), reason))?;
        Ok(ca)
    }

    fn endpoints(&self, place: &str) -> Result<Vec<String>, DocumentError> {
        let is_good = |endpoint: &String| {
            let rest = endpoint.strip_prefix("https://").unwrap_or_default();
            let port = rest.rsplit_once(':').map(|(host, port)| (!host.is_empty(), port.parse::<u16>()));
            matches!(port, Some((true, Ok(1..))))
        };
        match self.endpoints.iter().find(|endpoint| !is_good(endpoint)) {
            Some(bad) => Err(wrong(
                format!("{place}, endpoints"),
                format!("`{bad}` must be https://HOST:PORT without a path"),
            )),
            None => Ok(self.endpoints.clone()),
        }
    }

    fn revoked_serials(&self, place: &str) -> Result<BTreeSet<Vec<u8>>, DocumentError> {
        let decode = |serial: &String| {
            let reason = || format!("`{serial}` is no serial number in hex");
            let serial =
                hex::decode(serial).map_err(|_| wrong(format!("{place}, revoked_serials"), reason()))?;
            Ok(canonical_serial(&serial))
        };
        self.revoked_serials.iter().map(decode).collect()
    }
}

impl AuthorityDocument {
    fn parse(
        &self,
        country: CountryCode,
        once: &mut Once,
    ) -> Result<(Authority, AuthorityEntry), DocumentError> {
        let authority: Authority = self.authority.parse().map_err(|_| {
            let place = format!("country {country}, authority {}", self.authority);
            wrong(place, "write 826/1, or x/0000abcd for an opaque authority")
        })?;
        let place = format!("authority {authority}");
        if let Authority::State(of, _) = authority
            && of != country
        {
            return Err(wrong(place, format!("it stands under country {country}, which is another one")));
        }
        once.see(place.clone())?;
        let signing_keys = keys(&place, &self.signing_keys, once)?;
        Ok((authority, AuthorityEntry { name: self.name.clone(), signing_keys }))
    }
}

fn keys(place: &str, documents: &[KeyDocument], once: &mut Once) -> Result<Vec<CertifiedKey>, DocumentError> {
    let place = format!("{place}, signing_keys");
    documents
        .iter()
        .map(|document| {
            let key = verifying_key(&place, &document.key)?;
            once.see(format!("signing key {}", key.id()))?;
            let (not_before, not_after) =
                (seconds(&place, document.not_before)?, seconds(&place, document.not_after)?);
            Ok(CertifiedKey { key, not_before, not_after })
        })
        .collect()
}

fn verifying_key(place: &str, text: &str) -> Result<VerifyingKey, DocumentError> {
    let key = hex::decode(text).ok().and_then(|sec1| VerifyingKey::parse(&sec1).ok());
    key.ok_or_else(|| wrong(place, "a key must be an uncompressed P-256 point: 65 octets in hex"))
}

fn seconds(place: &str, time: OffsetDateTime) -> Result<u64, DocumentError> {
    u64::try_from(time.unix_timestamp()).map_err(|_| wrong(place, "a time lies before 1970"))
}

/// Whether TLS can take a certificate as a root.
fn webpki_root(ca: &CertificateDer<'static>) -> Result<(), String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(ca).map_err(|_| "it is no X.509 certificate")?;
    if !parsed.is_ca() {
        return Err("it is no certificate authority: basic constraints say so".into());
    }
    let added = rustls::RootCertStore::empty().add(ca.clone());
    added.map_err(|error| format!("TLS cannot use it as a root: {error}"))
}
