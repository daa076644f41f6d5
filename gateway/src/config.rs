//! The one configuration file: every key, its default, and what is wrong with it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use miette::{Diagnostic, NamedSource, SourceSpan};
use pki::identity::IdentityConfig;
use pki::trust::TrustConfig;
use serde::Deserialize;

/// The gateway's configuration; `deploy/gateway.example.toml` explains each key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Our country, ISO 3166-1 numeric.
    pub country: u16,
    /// Where entries, cursors and push ids are kept: a folder.
    pub store: PathBuf,
    /// A folder for key lists, receipts, evidence, and the last accepted trust list.
    pub state: PathBuf,
    /// Addresses to listen on.
    pub listen: Listen,
    /// Certificate and ingress keys.
    pub identity: IdentityConfig,
    /// The ECDSA key that signs manifests and receipts.
    pub signing_key: PathBuf,
    /// Who is believed.
    pub trust: TrustConfig,
    /// Bounds on what is worked on at once.
    #[serde(default)]
    pub limits: Limits,
    /// How peers are pulled.
    #[serde(default)]
    pub pull: PullConfig,
    /// How long things are kept.
    #[serde(default)]
    pub retention: Retention,
    /// Logs.
    #[serde(default)]
    pub log: LogConfig,
}

/// Addresses to listen on.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// For peer gateways, from the internet.
    pub peers: SocketAddr,
    /// For the adapters of this country, from the national network.
    pub national: SocketAddr,
    /// For health and metrics, without TLS: a loopback address.
    pub admin: SocketAddr,
}

/// Bounds on what is worked on at once.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Pushes being opened and sealed; others wait.
    pub pushes_at_work: usize,
    /// Open connections on each listener; others are closed at once.
    pub connections: usize,
    /// Octets that stay free on the store's disk; below, pushes are refused.
    pub free_disk_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { pushes_at_work: 8, connections: 1_024, free_disk_bytes: 256 << 20 }
    }
}

/// How peers are pulled.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PullConfig {
    /// How long a peer may hold a pull open at its tail, 1 to 30 seconds.
    pub wait_seconds: u64,
    /// Octets of a page, up to 2 MiB.
    pub page_bytes: u32,
}

impl Default for PullConfig {
    fn default() -> Self {
        Self { wait_seconds: 30, page_bytes: 2 << 20 }
    }
}

impl PullConfig {
    /// How long a peer may hold a pull open.
    #[must_use]
    pub fn wait(&self) -> Duration {
        Duration::from_secs(self.wait_seconds)
    }
}

/// How long things are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Batches and push ids that nobody acknowledged, 1 to 21 days.
    pub unacknowledged_days: u64,
    /// Batches after they were delivered and acknowledged, hours.
    pub acknowledged_hours: u8,
}

impl Default for Retention {
    fn default() -> Self {
        Self { unacknowledged_days: 14, acknowledged_hours: 24 }
    }
}

/// Logs go to standard error.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// error, warn, info, debug or trace; or a filter as `gateway=debug,info`.
    pub level: String,
    /// For people or for machines.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

/// How a line of log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A configuration that cannot be used, with the line that is to blame.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {cause}")]
    #[diagnostic(help("give the path of a gateway.toml; deploy/gateway.example.toml is one to begin with"))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// A key or value is wrong.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Wrong(#[from] Box<Wrong>),
}

/// What is wrong in a configuration, and on which line.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{message}")]
pub struct Wrong {
    /// What.
    pub message: String,
    /// What would do.
    #[help]
    pub help: String,
    /// The whole file.
    #[source_code]
    file: NamedSource<String>,
    /// Which part of it.
    #[label("here")]
    place: Option<SourceSpan>,
}

impl Wrong {
    fn at(name: &str, text: &str, (message, help): (String, &str), place: Option<SourceSpan>) -> ConfigError {
        let file = NamedSource::new(name, text.to_owned()).with_language("TOML");
        Box::new(Self { message, help: help.into(), file, place }).into()
    }
}

impl Config {
    /// Reads a file; paths in it are relative to it.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|cause| ConfigError::Read { path: path.into(), cause })?;
        let mut config = Self::parse(&text, &path.display().to_string())?;
        config.resolve(path.parent().unwrap_or(Path::new(".")));
        Ok(config)
    }

    /// Parses the text; `name` is for messages.
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let help = "every key stands in deploy/gateway.example.toml with its default";
            Wrong::at(name, text, (error.message().to_owned(), help), error.span().map(SourceSpan::from))
        })?;
        match config.problem() {
            Some((key, message, help)) => Err(Wrong::at(name, text, (message, help), place(text, key))),
            None => Ok(config),
        }
    }

    /// The first value that parses and still cannot be meant.
    fn problem(&self) -> Option<(&'static str, String, &'static str)> {
        let Retention { unacknowledged_days, acknowledged_hours } = self.retention;
        if self.country == 0 || self.country > 999 {
            let message = format!("country is {}", self.country);
            return Some((
                "country",
                message,
                "an ISO 3166-1 number from 1 to 999, as 826 for the United Kingdom",
            ));
        }
        if !(1..=30).contains(&self.pull.wait_seconds) {
            let message = format!("pull.wait_seconds is {}", self.pull.wait_seconds);
            return Some(("wait_seconds", message, "1 to 30; peers end a longer wait themselves"));
        }
        // Peers refuse what was sealed more than 22 days ago.
        if !(1..=21).contains(&unacknowledged_days) || !(1..=168).contains(&acknowledged_hours) {
            let message = format!("retention is {unacknowledged_days} days and {acknowledged_hours} hours");
            return Some(("retention", message, "1 to 21 days (14), and 1 to 168 hours (24)"));
        }
        let Limits { pushes_at_work, connections, .. } = self.limits;
        if !(1..=1_024).contains(&pushes_at_work) {
            return Some((
                "pushes_at_work",
                format!("limits.pushes_at_work is {pushes_at_work}"),
                "1 to 1024 (8)",
            ));
        }
        if !(1..=100_000).contains(&connections) {
            return Some((
                "connections",
                format!("limits.connections is {connections}"),
                "1 to 100000 (1024)",
            ));
        }
        if !(65_536..=2 << 20).contains(&self.pull.page_bytes) {
            let message = format!("pull.page_bytes is {}", self.pull.page_bytes);
            return Some(("page_bytes", message, "65536 to 2097152 (2097152)"));
        }
        let level = self.log.level.as_str();
        if !["error", "warn", "info", "debug", "trace"].contains(&level) && !level.contains('=') {
            let help = "error, warn, info, debug or trace; or a filter as \"gateway=debug,info\"";
            return Some(("level", format!("log.level is \"{level}\""), help));
        }
        if !self.listen.admin.ip().is_loopback() {
            let message = format!("listen.admin is {}", self.listen.admin);
            return Some((
                "admin",
                message,
                "a loopback address as 127.0.0.1:7445: this listener has no TLS",
            ));
        }
        None
    }

    fn resolve(&mut self, folder: &Path) {
        let identity = &mut self.identity;
        let single = [
            &mut self.store,
            &mut self.state,
            &mut self.signing_key,
            &mut self.trust.list,
            &mut identity.certificate,
            &mut identity.key,
        ];
        let several =
            self.trust.anchors.iter_mut().chain(&mut identity.hpke_keys).chain(&mut identity.passphrase_file);
        for path in single.into_iter().chain(several) {
            *path = folder.join(&*path);
        }
    }
}

impl ConfigError {
    /// A problem that showed when what the file names was used: blames the line that names it.
    #[must_use]
    pub fn blame(path: &Path, problem: &str) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let help = "put this right and run `gateway check` again";
        Wrong::at(&path.display().to_string(), &text, (problem.to_owned(), help), blamed(&text, problem))
    }
}

/// The first line with a quoted value that ends a path in the problem, or with a key that the problem names.
fn blamed(text: &str, problem: &str) -> Option<SourceSpan> {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let content = line.split('#').next().unwrap_or_default();
        let (key, _) = content.split_once('=').unwrap_or_default();
        let values = content.split('"').skip(1).step_by(2);
        let names_value = values.filter(|value| value.len() > 3).any(|value| problem.contains(value));
        let names_key = !key.trim().is_empty() && problem.starts_with(&format!("{} ", key.trim()));
        if names_value || names_key {
            return Some((offset, line.trim_end().len()).into());
        }
        offset += line.len();
    }
    None
}

/// Where a key or table stands in the file.
fn place(text: &str, key: &str) -> Option<SourceSpan> {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_start().trim_start_matches('[');
        let is_it = trimmed.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(['=', ']']));
        if is_it {
            return Some((offset, line.trim_end().len()).into());
        }
        offset += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../deploy/gateway.example.toml");

    fn refusal(from: &str, to: &str) -> (String, Option<usize>) {
        assert!(EXAMPLE.contains(from), "{from}");
        let text = EXAMPLE.replace(from, to);
        match Config::parse(&text, "gateway.toml") {
            Err(ConfigError::Wrong(wrong)) => {
                let line = wrong.place.map(|span| text[..span.offset()].lines().count() + 1);
                (format!("{}; {}", wrong.message, wrong.help), line)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_example_is_a_configuration_and_shows_the_defaults() {
        let example = Config::parse(EXAMPLE, "gateway.example.toml").unwrap();
        let (limits, pull, retention, log) =
            (Limits::default(), PullConfig::default(), Retention::default(), LogConfig::default());
        assert_eq!(format!("{:?}", example.limits), format!("{limits:?}"));
        assert_eq!(format!("{:?}", example.pull), format!("{pull:?}"));
        assert_eq!(format!("{:?}", example.retention), format!("{retention:?}"));
        assert_eq!(format!("{:?}", example.log), format!("{log:?}"));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let (message, line) = refusal("country = 826", "contry = 826");
        assert!(message.contains("unknown field `contry`"), "{message}");
        assert!(line.is_some());
    }

    #[test]
    fn a_file_that_cannot_be_used_is_blamed_on_its_line() {
        let line = |problem: &str| {
            blamed(EXAMPLE, problem).map(|span| EXAMPLE[span.offset()..].lines().next().unwrap())
        };
        assert_eq!(
            line("cannot read /etc/exchange/gateway.crt: no such file"),
            Some("certificate = \"gateway.crt\"")
        );
        assert_eq!(line("signing_key 0011 is none of country 826's"), Some("signing_key = \"signing.key\""));
        assert_eq!(line("something else"), None);
    }

    #[test]
    fn a_wrong_value_names_key_value_and_remedy() {
        let (message, line) = refusal("wait_seconds = 30", "wait_seconds = 31");
        assert_eq!(message, "pull.wait_seconds is 31; 1 to 30; peers end a longer wait themselves");
        assert!(line.is_some());
        let (message, _) = refusal("country = 826", "country = 0");
        assert!(message.starts_with("country is 0; an ISO 3166-1 number"), "{message}");
        for (from, to, expected) in [
            ("pushes_at_work = 8", "pushes_at_work = 8000000000000000000", "1 to 1024"),
            ("connections = 1024", "connections = 0", "1 to 100000"),
            ("page_bytes = 2097152", "page_bytes = 0", "65536 to 2097152"),
            ("level = \"info\"", "level = \"verbose\"", "error, warn, info, debug or trace"),
            ("unacknowledged_days = 14", "unacknowledged_days = 22", "1 to 21 days"),
        ] {
            let (message, line) = refusal(from, to);
            assert!(message.contains(expected) && line.is_some(), "{message}");
        }
        let (message, _) = refusal("127.0.0.1:7445", "0.0.0.0:7445");
        assert!(message.contains("a loopback address"), "{message}");
    }
}
