//! A configuration file with its text, so that what is wrong is shown where it stands.

use std::ops::Range;
use std::path::{Path, PathBuf};

use miette::{Diagnostic, NamedSource, SourceSpan};
use toml::de::{DeTable, DeValue};

use super::Config;

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
    use super::super::*;
    use super::*;

    const EXAMPLE: &str = include_str!("../../../deploy/country-adapter.example.toml");
    const DECENTRALISED: &str = include_str!("../../../deploy/country-adapter.decentralised.example.toml");
    const WEBHOOK: &str = include_str!("../../../deploy/country-adapter.webhook.example.toml");

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
        let reports = config.receive.reports_per_origin_and_day;
        assert_eq!(reports, ReceiveConfig::default().reports_per_origin_and_day);
        assert_eq!((config.log.level, config.log.format), (LogLevel::Info, LogFormat::Text));
        for key in ["poll_ms", "max_wait_ms", "page_bytes", "level", "format", "passphrase_file", "threshold"]
        {
            assert!(EXAMPLE.contains(&format!("\n{key} = ")), "{key}");
        }
    }

    #[test]
    fn the_other_examples_parse_say_every_default_and_contradict_nothing() {
        let parse = |text: &str| ConfigFile::parse(Path::new("/etc/a/adapter.toml"), text.into()).unwrap();
        let config = parse(DECENTRALISED).config;
        assert_eq!((config.approach, config.contradictions()), (Approach::Decentralised, vec![]));
        let (phones, lists) = (config.phones.unwrap(), config.lists.unwrap());
        assert_eq!(
            (phones.contacts_per_case, phones.case_code_hours, phones.connections),
            (5_000, 24, 1_024)
        );
        assert_eq!((lists.interval_s, config.secured.unwrap().tokens_per_origin_and_day), (300, 400_000));
        let default = RiskConfig::default();
        assert_eq!(config.risk.mechanism(), default.mechanism());
        assert_eq!(config.risk.threshold(), default.threshold());
        assert_eq!((config.second_degree.enabled, config.second_degree.cases), (false, 5));
        assert!(config.diagnosis_keys.subscribers.is_empty() && config.admin.is_some());
        let config = parse(WEBHOOK).config;
        assert_eq!((config.approach, config.contradictions()), (Approach::Centralised, vec![]));
        assert_eq!(config.backend.webhook.unwrap().timeout_ms, 10_000);
    }

    const SECURED: &str = "[secured]
# Service tokens that are opened a day for one other country, 1 to 100000000.
tokens_per_origin_and_day = 400000
";

    #[test]
    fn what_does_not_go_together_is_said_with_its_key() {
        for (text, right, wrong, key) in [
            (EXAMPLE, "kind = \"folder\"", "kind = \"webhook\"", "backend"),
            (EXAMPLE, "approach = \"centralised\"", "approach = \"hybrid\"", "approach"),
            (WEBHOOK, "kind = \"webhook\"", "kind = \"folder\"", "backend.webhook"),
            (EXAMPLE, "delivered = ", "# ", "backend"),
            (EXAMPLE, "[publish]", "[secured]\n[publish]", "secured"),
            (DECENTRALISED, SECURED, "", "approach"),
            (EXAMPLE, "[publish]", "[second_degree]\nenabled = true\n[publish]", "second_degree"),
        ] {
            assert!(text.contains(right), "{right}");
            let text = text.replacen(right, wrong, 1);
            let file = ConfigFile::parse(Path::new("/etc/a/adapter.toml"), text).unwrap();
            let keys: Vec<_> = file.config.contradictions().into_iter().map(|(key, ..)| key).collect();
            assert!(keys.contains(&key), "{wrong}: {keys:?}");
        }
    }

    #[test]
    fn other_weights_have_another_number_and_nobody_is_told_of_nothing() {
        let read = |risk: &str| {
            let text = EXAMPLE.replacen("[publish]", &format!("[risk]\n{risk}\n[publish]"), 1);
            ConfigFile::parse(Path::new("/etc/a/adapter.toml"), text)
        };
        let wrong = |risk: &str| read(risk).map(drop).unwrap_err().to_string();
        assert!(wrong("weights = [20, 4, 1, 0]").contains("give other weights another number"));
        assert!(wrong("threshold = 0").contains("1 to 65535"), "{}", wrong("threshold = 0"));
        let other = read("mechanism = 2\nweights = [20, 4, 1, 0]").unwrap().config.risk.mechanism();
        assert_eq!((other.number, other.weights), (2, [20, 4, 1, 0]));
        assert!(read("weights = [10, 4, 1, 0]\nthreshold = 1").is_ok());
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
            (
                "kind = \"folder\"",
                "kind = \"ftp\"",
                "unknown variant `ftp`, expected `folder` or `webhook`",
                "\"ftp\"",
            ),
            (
                "approach = \"centralised\"",
                "approach = \"none\"",
                "expected one of `centralised`",
                "\"none\"",
            ),
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
