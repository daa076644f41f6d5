//! The configuration: one TOML file. `deploy/country-adapter.example.toml` explains every key.
//!
//! What is wrong is shown where it stands, with what would do.

mod authority;
mod contradictions;
mod file;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use pki::identity::IdentityConfig;
use pki::trust::TrustConfig;
use proto::ids::Authority;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, Unexpected};

pub use authority::{
    AdminConfig, DiagnosisKeysConfig, ListsConfig, PhonesConfig, RiskConfig, SecondDegreeConfig,
    SecuredConfig,
};
pub use file::{ConfigFile, Problem};

use crate::herald::reference::SourceProfile;

/// Everything that the adapter can be told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whose adapter this is.
    #[serde(deserialize_with = "parsed")]
    pub authority: Authority,
    /// Who tells the citizens: the national system, their own phones, or both.
    #[serde(default)]
    pub approach: Approach,
    /// The own country's gateway, its national listener.
    #[serde(deserialize_with = "parsed")]
    pub gateway: GatewayUrl,
    /// The adapter's own directory.
    pub state: PathBuf,
    /// The authority's signed key list.
    pub key_list: PathBuf,
    /// Certificate and keys.
    pub identity: IdentityConfig,
    /// The trust list.
    pub trust: TrustConfig,
    /// Where reports come from and go to.
    pub backend: BackendConfig,
    /// How reports go out.
    #[serde(default)]
    pub publish: PublishConfig,
    /// How reports come in.
    #[serde(default)]
    pub receive: ReceiveConfig,
    /// HTTPS for phones; without it none are served.
    pub phones: Option<PhonesConfig>,
    /// What phones download; needed unless the approach is centralised.
    pub lists: Option<ListsConfig>,
    /// Service tokens of Herald Secured are opened here; without it they are handed over closed.
    pub secured: Option<SecuredConfig>,
    /// What contacts count, and when a citizen is told.
    #[serde(default)]
    pub risk: RiskConfig,
    /// Analyses of who met whom, within this authority only.
    #[serde(default)]
    pub second_degree: SecondDegreeConfig,
    /// Ill persons' own keys.
    #[serde(default)]
    pub diagnosis_keys: DiagnosisKeysConfig,
    /// Health and metrics; without it there are none.
    pub admin: Option<AdminConfig>,
    /// What is logged.
    #[serde(default)]
    pub log: LogConfig,
}

/// Who tells the citizens that they were exposed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approach {
    /// The national system: everything goes to the backend.
    #[default]
    Centralised,
    /// Their phones: what phones can recognise is posted on the lists, the rest goes to the backend.
    Decentralised,
    /// Both: everything goes to the backend, and what phones can recognise is posted as well.
    Hybrid,
}

/// `https://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayUrl(String);

/// Which backend, and where it is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendConfig {
    /// What kind of backend.
    pub kind: BackendKind,
    /// `*.ndjson` files that appear here go out.
    pub outgoing: PathBuf,
    /// Delivered reports appear here, one file a batch; for the kind `folder`.
    pub delivered: Option<PathBuf>,
    /// How the frames in outgoing files are written; `herald-spec-be` unless given.
    #[serde(default)]
    pub frames: SourceProfile,
    /// Where the national system listens; for the kind `webhook`.
    pub webhook: Option<WebhookConfig>,
}

/// A national system that takes JSON over HTTP.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// `https://HOST[:PORT]/PATH`, or `http` on the loopback interface.
    pub url: String,
    /// A file with the bearer token that the national system asks for, mode 0600.
    pub token_file: Option<PathBuf>,
    /// The certificate authority of the national system, PEM; needed for `https`.
    pub ca: Option<PathBuf>,
    /// How long an answer may take, 100 to 60,000 ms; 10,000 unless given.
    #[serde(default = "ten_seconds", deserialize_with = "within::<_, 100, 60_000>")]
    pub timeout_ms: u32,
    /// What the national system refuses for good is put here.
    pub dead_letters: PathBuf,
}

fn ten_seconds() -> u32 {
    10_000
}

/// The kinds of backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendKind {
    /// Two folders of files.
    Folder,
    /// Files go out of a folder; what arrives is posted to the national system.
    Webhook,
}

/// How reports go out.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PublishConfig {
    /// How often the outgoing folder is looked at, 10 to 60,000 ms; 1,000 unless given.
    #[serde(deserialize_with = "within::<_, 10, 60_000>")]
    pub poll_ms: u32,
}

/// How reports come in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReceiveConfig {
    /// How long a pull may wait at the gateway, 0 to 30,000 ms; 30,000 unless given.
    #[serde(deserialize_with = "within::<_, 0, 30_000>")]
    pub max_wait_ms: u32,
    /// Octets of a page, 1,024 to 2,097,152; 2,097,152 unless given.
    #[serde(deserialize_with = "within::<_, 1_024, 2_097_152>")]
    pub page_bytes: u32,
    /// Reports of one other country that are taken a day, 1 to 100,000,000; 400,000 unless given: at 40 octets an entry
    /// that is 16 MB for each phone, and at 60 octets for each of 17 days 0.4 GB of memory. What is over it is kept in
    /// quarantine.
    #[serde(deserialize_with = "within::<_, 1, 100_000_000>")]
    pub reports_per_origin_and_day: u32,
}

/// What is logged, to standard error.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// The least severe events that are logged; `info` unless given.
    pub level: LogLevel,
    /// `text` unless given.
    pub format: LogFormat,
}

/// How severe an event is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for PublishConfig {
    fn default() -> Self {
        Self { poll_ms: 1_000 }
    }
}

impl Default for ReceiveConfig {
    fn default() -> Self {
        Self { max_wait_ms: 30_000, page_bytes: 2 * 1_024 * 1_024, reports_per_origin_and_day: 400_000 }
    }
}

impl PublishConfig {
    /// How often the outgoing folder is looked at.
    #[must_use]
    pub fn poll(&self) -> Duration {
        Duration::from_millis(self.poll_ms.into())
    }
}

impl ReceiveConfig {
    /// How long a pull may wait at the gateway.
    #[must_use]
    pub fn max_wait(&self) -> Duration {
        Duration::from_millis(self.max_wait_ms.into())
    }
}

impl Approach {
    /// Whether phones get what they can recognise.
    #[must_use]
    pub fn posts(self) -> bool {
        self != Self::Centralised
    }

    /// Whether the backend gets what phones can recognise.
    #[must_use]
    pub fn hands_over(self) -> bool {
        self != Self::Decentralised
    }
}

impl GatewayUrl {
    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GatewayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for GatewayUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = text.strip_prefix("https://").and_then(|rest| rest.rsplit_once(':'));
        let good = place.is_some_and(|(host, port)| {
            !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        if good {
            Ok(Self(text.into()))
        } else {
            Err(format!("`{text}` must be https://HOST:PORT without a path"))
        }
    }
}

fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(deserializer: D) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

fn within<'de, D: Deserializer<'de>, const LEAST: u32, const MOST: u32>(
    deserializer: D,
) -> Result<u32, D::Error> {
    let number = i64::deserialize(deserializer)?;
    let good = u32::try_from(number).ok().filter(|number| (LEAST..=MOST).contains(number));
    let expected = format!("{LEAST} to {MOST}");
    good.ok_or_else(|| D::Error::invalid_value(Unexpected::Signed(number), &expected.as_str()))
}

impl Config {
    /// Makes all paths count from a folder.
    fn resolve(&mut self, folder: &Path) {
        for path in self.paths() {
            *path = folder.join(&*path);
        }
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        let Self { state, key_list, identity, trust, backend, phones, lists, diagnosis_keys, .. } = self;
        let mut paths = vec![state, key_list, &mut identity.certificate, &mut identity.key, &mut trust.list];
        paths.extend(&mut identity.hpke_keys);
        paths.extend(&mut identity.passphrase_file);
        paths.extend(&mut trust.anchors);
        paths.push(&mut backend.outgoing);
        paths.extend(&mut backend.delivered);
        if let Some(webhook) = &mut backend.webhook {
            paths.push(&mut webhook.dead_letters);
            paths.extend(webhook.token_file.iter_mut().chain(&mut webhook.ca));
        }
        if let Some(phones) = phones {
            paths.extend([&mut phones.certificate, &mut phones.key]);
        }
        if let Some(lists) = lists {
            paths.push(&mut lists.signing_key);
            paths.extend(&mut lists.folder);
        }
        paths.extend(&mut diagnosis_keys.exports);
        paths
    }
}

#[cfg(test)]
mod tests {
    use serde::de::value::{Error, I64Deserializer};

    use super::*;

    fn five_to_thousand(number: i64) -> Result<u32, Error> {
        within::<I64Deserializer<Error>, 5, 1_000>(I64Deserializer::new(number))
    }

    #[test]
    fn a_number_is_taken_up_to_its_limits_and_not_one_past_them() {
        assert_eq!([5, 1_000].map(|number| five_to_thousand(number).ok()), [Some(5), Some(1_000)]);
        for number in [4, 1_001, -1, i64::MAX] {
            let refused = five_to_thousand(number).unwrap_err().to_string();
            assert!(refused.contains("expected 5 to 1000"), "{refused}");
        }
    }
}
