//! A trust list as its editors write it: TOML with paths to certificates and public keys.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use time::{Duration, OffsetDateTime};

use super::document::{AuthorityDocument, CountryDocument, Document, DocumentError, KeyDocument};
use super::{SignedTrustList, Status};
use crate::pubfile::{self, PublicFileError};

/// The TOML form. Paths are relative to the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// Grows with every change.
    version: u64,
    /// Days until the list expires; 90 unless given.
    #[serde(default = "ninety")]
    valid_days: i64,
    /// How many of the anchors must sign.
    threshold: usize,
    /// Public key files of the anchors.
    anchors: Vec<PathBuf>,
    /// The federation.
    #[serde(rename = "country", default)]
    countries: Vec<CountryDraft>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CountryDraft {
    country: u16,
    name: String,
    #[serde(default = "active")]
    status: Status,
    endpoints: Vec<String>,
    ca: PathBuf,
    signing_keys: Vec<PathBuf>,
    #[serde(default)]
    revoked_serials: Vec<String>,
    #[serde(rename = "authority", default)]
    authorities: Vec<AuthorityDraft>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthorityDraft {
    authority: String,
    name: String,
    signing_keys: Vec<PathBuf>,
}

fn ninety() -> i64 {
    90
}

fn active() -> Status {
    Status::Active
}

/// Why a draft gives no trust list.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// A file that cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The TOML does not parse; the text shows the line.
    #[error("{path} is no trust list draft:\n{source}")]
    Toml {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        source: Box<toml::de::Error>,
    },
    /// A life that makes no sense.
    #[error("valid_days is {0}; it must be 1 to 398")]
    Days(i64),
    /// A public key file that is none.
    #[error(transparent)]
    Key(#[from] PublicFileError),
    /// A rule of the list itself.
    #[error("the draft breaks a rule: {0}")]
    Rule(#[from] DocumentError),
}

impl Draft {
    /// Reads a draft and every file it names, checks all rules, and gives the list without signatures.
    /// Keys are certified from 30 days before `now`, so that what they signed under an older list stays good, until
    /// the list expires.
    pub fn read(path: &Path, now: OffsetDateTime) -> Result<SignedTrustList, DraftError> {
        let text = read(path)?;
        let toml = |source| DraftError::Toml { path: path.into(), source: Box::new(source) };
        let draft: Self = toml::from_str(&text).map_err(toml)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        if !(1..=398).contains(&draft.valid_days) {
            return Err(DraftError::Days(draft.valid_days));
        }
        let document = draft.document(folder, now.replace_nanosecond(0).unwrap_or(now))?;
        document.clone().into_list([0; 32])?;
        Ok(SignedTrustList::unsigned(&document))
    }

    fn document(&self, folder: &Path, issued: OffsetDateTime) -> Result<Document, DraftError> {
        let expires = issued + Duration::days(self.valid_days);
        // A batch waits for its receiver up to 14 days, and lists are renewed meanwhile.
        let not_before = issued - Duration::days(30);
        let point = |path: &PathBuf| Ok(hex::encode(pubfile::verifying_key(&folder.join(path))?.sec1()));
        let key = |path: &PathBuf| Ok(KeyDocument { key: point(path)?, not_before, not_after: expires });
        let keys = |paths: &[PathBuf]| paths.iter().map(key).collect::<Result<Vec<_>, DraftError>>();
        let authority = |draft: &AuthorityDraft| {
            let (authority, name) = (draft.authority.clone(), draft.name.clone());
            Ok(AuthorityDocument { authority, name, signing_keys: keys(&draft.signing_keys)? })
        };
        let country = |draft: &CountryDraft| {
            Ok(CountryDocument {
                country: draft.country,
                name: draft.name.clone(),
                status: draft.status,
                endpoints: draft.endpoints.clone(),
                ca: read(&folder.join(&draft.ca))?,
                signing_keys: keys(&draft.signing_keys)?,
                revoked_serials: draft.revoked_serials.clone(),
                authorities: draft.authorities.iter().map(authority).collect::<Result<_, DraftError>>()?,
            })
        };
        Ok(Document {
            version: self.version,
            issued,
            expires,
            threshold: self.threshold,
            anchors: self.anchors.iter().map(point).collect::<Result<_, DraftError>>()?,
            countries: self.countries.iter().map(country).collect::<Result<_, DraftError>>()?,
        })
    }
}

fn read(path: &Path) -> Result<String, DraftError> {
    fs::read_to_string(path).map_err(|source| DraftError::Read { path: path.into(), source })
}
