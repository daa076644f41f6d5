//! The configuration: one TOML file. `deploy/country-adapter.example.toml` explains every key.
//!
//! What is wrong is shown where it stands, with what would do.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use miette::{Diagnostic, NamedSource, SourceSpan};
use pki::identity::IdentityConfig;
use pki::trust::TrustConfig;
use proto::ids::Authority;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, Unexpected};
use toml::de::{DeTable, DeValue};

use crate::backends::folder::Folders;

/// Everything that the adapter can be told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whose adapter this is.
    #[serde(deserialize_with = "parsed")]
    pub authority: Authority,
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
    /// What is logged.
    #[serde(default)]
    pub log: LogConfig,
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
    /// Delivered reports appear here, one file a batch.
    pub delivered: PathBuf,
}

/// The kinds of backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendKind {
    /// Two folders of files.
    Folder,
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
        Self { max_wait_ms: 30_000, page_bytes: 2 * 1_024 * 1_024 }
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

impl BackendConfig {
    /// The folders of the folder backend.
    #[must_use]
    pub fn folders(&self) -> Folders {
        Folders { outgoing: self.outgoing.clone(), delivered: self.delivered.clone() }
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

/// A configuration file that parses, with its text for showing where something is wrong.
#[derive(Debug)]
pub struct ConfigFile {
    /// What it says, with paths that count from the file's directory.
    pub config: Config,
    path: PathBuf,
    text: String,
}

/// One thing that is wrong, and where.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{message}")]
pub struct Problem {
    message: String,
    #[source_code]
    file: NamedSource<String>,
    #[label("here")]
    at: Option<SourceSpan>,
    #[help]
    help: String,
}

impl ConfigFile {
    /// Reads and parses the file.
    pub fn read(path: &Path) -> Result<Self, Box<Problem>> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let help =
                "name the configuration file; deploy/country-adapter.example.toml is one to begin with";
            let message = format!("cannot read {}: {error}", path.display());
            Box::new(Problem { message, file: source(path, ""), at: None, help: help.into() })
        })?;
        Self::parse(path, text)
    }

    fn parse(path: &Path, text: String) -> Result<Self, Box<Problem>> {
        let mut config: Config = toml::from_str(&text).map_err(|error| {
            let message = error.message().trim_end().replace('\n', ", ");
            let help = "country-adapter.example.toml explains every key".into();
            Box::new(Problem { message, file: source(path, &text), at: error.span().map(Into::into), help })
        })?;
        config.resolve(path.parent().unwrap_or(Path::new(".")));
        Ok(Self { config, path: path.into(), text })
    }

    /// Something wrong with the value of a key, as `identity.key`.
    #[must_use]
    pub fn problem(&self, key: &str, message: impl Into<String>, help: impl Into<String>) -> Problem {
        Problem {
            message: format!("{key}: {}", message.into()),
            file: source(&self.path, &self.text),
            at: span(&self.text, key).map(Into::into),
            help: help.into(),
        }
    }
}

impl Config {
    fn resolve(&mut self, folder: &Path) {
        let Self { state, key_list, identity, trust, backend, .. } = self;
        let single = [state, key_list, &mut identity.certificate, &mut identity.key, &mut trust.list];
        let folders = [&mut backend.outgoing, &mut backend.delivered];
        let lists =
            identity.hpke_keys.iter_mut().chain(&mut identity.passphrase_file).chain(&mut trust.anchors);
        for path in single.into_iter().chain(folders).chain(lists) {
            *path = folder.join(&*path);
        }
    }
}

fn source(path: &Path, text: &str) -> NamedSource<String> {
    NamedSource::new(path.display().to_string(), text.to_owned())
}

/// Where a key's value stands, or the nearest table around it.
fn span(text: &str, key: &str) -> Option<Range<usize>> {
    let document = DeTable::parse(text).ok()?;
    let mut parts = key.split('.');
    let mut found = document.get_ref().get(parts.next()?)?;
    for part in parts {
        match found.get_ref() {
            DeValue::Table(table) => match table.get(part) {
                Some(inner) => found = inner,
                None => break,
            },
            _ => break,
        }
    }
    Some(found.span())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../deploy/country-adapter.example.toml");

    fn refusal(text: &str) -> (String, Option<String>) {
        let problem = ConfigFile::parse(Path::new("/etc/a/adapter.toml"), text.into()).unwrap_err();
        let at = problem.at.map(|span| text[span.offset()..span.offset() + span.len()].to_owned());
        (problem.message, at)
    }

    #[test]
    fn the_example_parses_and_says_every_default() {
        let file = ConfigFile::parse(Path::new("/etc/a/adapter.toml"), EXAMPLE.into()).unwrap();
        let config = &file.config;
        assert_eq!(
            (config.authority.to_string(), config.gateway.as_str()),
            ("826/1".into(), "https://127.0.0.1:7444")
        );
        assert_eq!(config.publish.poll_ms, PublishConfig::default().poll_ms);
        assert_eq!(config.receive.max_wait_ms, ReceiveConfig::default().max_wait_ms);
        assert_eq!(config.receive.page_bytes, ReceiveConfig::default().page_bytes);
        assert_eq!((config.log.level, config.log.format), (LogLevel::Info, LogFormat::Text));
        for key in ["poll_ms", "max_wait_ms", "page_bytes", "level", "format", "passphrase_file", "threshold"]
        {
            assert!(EXAMPLE.contains(&format!("\n{key} = ")), "{key}");
        }
    }

    #[test]
    fn paths_count_from_the_file() {
        let file = ConfigFile::parse(Path::new("/etc/a/adapter.toml"), EXAMPLE.into()).unwrap();
        let config = file.config;
        for path in [&config.state, &config.key_list, &config.identity.key, &config.trust.anchors[0]] {
            assert!(path.starts_with("/etc/a") || path.starts_with("/var/lib"), "{path:?}");
        }
        assert_eq!(config.key_list, Path::new("/etc/a/authority.keys"));
    }

    #[test]
    fn a_wrong_value_is_shown_where_it_stands_with_what_would_do() {
        for (right, wrong, says, at) in [
            ("authority = \"826/1\"", "authority = \"826\"", "`826` is no ", "\"826\""),
            (
                "https://127.0.0.1:7444",
                "http://127.0.0.1:7444",
                "must be https://HOST:PORT",
                "\"http://127.0.0.1:7444\"",
            ),
            ("poll_ms = 1000", "poll_ms = 5", "expected 10 to 60000", "5"),
            ("page_bytes = 2097152", "page_bytes = 2097153", "expected 1024 to 2097152", "2097153"),
            ("max_wait_ms = 30000", "max_wait_ms = -1", "expected 0 to 30000", "-1"),
            ("level = \"info\"", "level = \"loud\"", "expected one of `error`", "\"loud\""),
            ("kind = \"folder\"", "kind = \"ftp\"", "unknown variant `ftp`, expected `folder`", "\"ftp\""),
            ("format = \"text\"", "formt = \"text\"", "unknown field `formt`", "formt"),
            ("threshold = 2", "threshold = \"two\"", "expected usize", "\"two\""),
        ] {
            assert!(EXAMPLE.contains(right), "{right}");
            let (message, shown) = refusal(&EXAMPLE.replacen(right, wrong, 1));
            assert!(message.contains(says), "{wrong}: {message}");
            assert_eq!(shown.as_deref(), Some(at), "{wrong}");
        }
    }

    #[test]
    fn a_key_is_found_in_the_text() {
        let text = "a = 1\n[b]\nc = \"x\"\n";
        assert_eq!(span(text, "b.c").map(|span| &text[span]), Some("\"x\""));
        assert_eq!(span(text, "a").map(|span| &text[span]), Some("1"));
        assert!(span(text, "nothing").is_none());
    }
}
