//! What is wrong with a configuration file, shown on the line that is to blame.

use std::path::{Path, PathBuf};

use miette::{Diagnostic, NamedSource, SourceSpan};

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
    pub(super) fn at(
        name: &str,
        text: &str,
        (message, help): (String, &str),
        place: Option<SourceSpan>,
    ) -> ConfigError {
        let file = NamedSource::new(name, text.to_owned()).with_language("TOML");
        Box::new(Self { message, help: help.into(), file, place }).into()
    }
}

impl ConfigError {
    /// A problem that showed when what the file names was used: blames the line that names it.
    #[must_use]
    pub fn blame(path: &Path, problem: &str) -> Self {
        let text = redacted(&std::fs::read_to_string(path).unwrap_or_default());
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

/// The text with every password in an address of a database covered, octet for octet.
pub(super) fn redacted(text: &str) -> String {
    text.split_inclusive(['\n', '"']).map(covered).collect()
}

fn is_database(scheme: &str) -> bool {
    scheme.ends_with("postgres") || scheme.ends_with("postgresql")
}

fn covered(piece: &str) -> String {
    let Some((scheme, rest)) = piece.split_once("://").filter(|(scheme, _)| is_database(scheme)) else {
        return piece.to_owned();
    };
    let stars = |secret: &str| "*".repeat(secret.len());
    let (user, host) = rest.rsplit_once('@').map_or(("", rest), |(user, host)| (user, host));
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let colon = if user.contains(':') { ":" } else { "" };
    let at = if rest.contains('@') { "@" } else { "" };
    let host = host.split_once("password=").map_or(host.to_owned(), |(before, secret)| {
        let secret = secret.trim_end_matches(['"', '\n']);
        let end = &host[before.len() + "password=".len() + secret.len()..];
        format!("{before}password={}{end}", stars(secret))
    });
    format!("{scheme}://{name}{colon}{}{at}{host}", stars(password))
}

/// Where a key or table stands in the file.
pub(super) fn place(text: &str, key: &str) -> Option<SourceSpan> {
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
    use super::super::{
        Config, Limits, LogConfig, PostgresConfig, PullConfig, Quota, Retention, StoreConfig,
    };
    use super::*;
    use crate::store::postgres::Encryption;

    const EXAMPLE: &str = include_str!("../../../deploy/gateway.example.toml");

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
        assert_eq!(format!("{:?}", example.quota), format!("{:?}", Quota::default()));
        assert_eq!(format!("{:?}", example.limits), format!("{limits:?}"));
        assert_eq!(format!("{:?}", example.pull), format!("{pull:?}"));
        assert_eq!(format!("{:?}", example.retention), format!("{retention:?}"));
        assert_eq!(format!("{:?}", example.log), format!("{log:?}"));
    }

    /// The example with a database for its store, as its comments say.
    fn with_a_database() -> String {
        let lines = EXAMPLE.lines().map(|line| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|first: char| first == '[' || first.is_ascii_lowercase()) => key,
            _ => line,
        });
        let text = lines.collect::<Vec<_>>().join("\n");
        text.replace("store = \"store\"\n", "")
    }

    #[test]
    fn the_example_names_a_database_too_and_shows_the_defaults() {
        let example = Config::parse(&with_a_database(), "gateway.example.toml").unwrap();
        let StoreConfig::Postgres(address) = example.store else { panic!("{:?}", example.store) };
        assert_eq!(address.encryption(), Encryption::VerifyFull);
        let (shown, default) = (example.postgres.unwrap(), PostgresConfig::default());
        assert_eq!(shown.connections, default.connections);
        assert_eq!(shown.statement_seconds, default.statement_seconds);
        assert!(shown.ca.is_some() && shown.password_file.is_some());
    }

    #[test]
    fn what_is_wrong_with_a_database_is_said_on_its_line() {
        for (from, to, expected) in [
            ("connections = 8", "connections = 1", "2 to 100"),
            ("statement_seconds = 10", "statement_seconds = 0", "1 to 60"),
            ("ca = \"postgres-ca.crt\"\n", "", "postgres.ca is missing"),
            ("sslmode=verify-full", "sslmode=require", "sslmode that protects nothing"),
        ] {
            let text = with_a_database();
            assert!(text.contains(from), "{from}");
            let Err(ConfigError::Wrong(wrong)) = Config::parse(&text.replace(from, to), "gateway.toml")
            else {
                panic!("{to}");
            };
            let said = format!("{}; {}", wrong.message, wrong.help);
            assert!(said.contains(expected) && wrong.place.is_some(), "{said}");
        }
        let (message, _) = refusal("[limits]", "[postgres]\n[limits]");
        assert!(message.starts_with("postgres is set, and store is a folder"), "{message}");
    }

    #[test]
    fn connections_and_statements_are_taken_at_their_limits_and_not_beyond() {
        let taken = |from: &str, to: &str| {
            let text = with_a_database();
            assert!(text.contains(from), "{from}");
            Config::parse(&text.replace(from, to), "gateway.toml").is_ok()
        };
        let connections = |number: u32| taken("connections = 8", &format!("connections = {number}"));
        assert_eq!([1, 2, 100, 101].map(connections), [false, true, true, false]);
        let seconds = |number: u32| taken("statement_seconds = 10", &format!("statement_seconds = {number}"));
        assert_eq!([0, 1, 60, 61].map(seconds), [false, true, true, false]);
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_covered_wherever_the_file_is_shown() {
        for address in [
            "postgres://exchange:canary@db.example/exchange",
            "postgres://exchange:can@ary@db.example/exchange",
            "postgres://exchange@db.example/exchange?password=canary&sslmode=verify-full",
        ] {
            let text = with_a_database()
                .replace("postgres://exchange@db.example:5432/exchange?sslmode=verify-full", address);
            assert!(text.contains(address));
            for wrong in [text.clone(), text.replace("country = 826", "contry = 826")] {
                let error = Config::parse(&wrong, "gateway.toml").unwrap_err();
                let said = format!("{:?}", miette::Report::new(error));
                assert!(!said.contains("canary") && !said.contains("ary@"), "{said}");
            }
            assert_eq!(redacted(&text).len(), text.len());
        }
        assert_eq!(redacted(EXAMPLE), EXAMPLE);
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
    fn each_number_is_taken_up_to_its_limits_and_not_one_past_them() {
        for (key, default, least, most) in [
            ("country", 826, 1, 999),
            ("pushes_at_work", 8, 1, 1_024),
            ("connections", 1_024, 1, 100_000),
            ("handshakes_of_one_address", 64, 1, 1_024),
            ("calls_per_second", 2_000, 10, 1_000_000),
            ("reports_per_second", 200_000, 5_000, 100_000_000),
            ("kibibytes_per_second", 65_536, 8_192, 100_000_000),
            ("calls_in_flight", 16, 2, 10_000),
            ("stored_mebibytes_per_day", 65_536, 1_024, 100_000_000),
            ("wait_seconds", 30, 1, 30),
            ("page_bytes", 2_097_152, 65_536, 2_097_152),
            ("unacknowledged_days", 14, 1, 21),
            ("acknowledged_hours", 24, 1, 168),
        ] {
            let with = |value: u64| {
                let (from, to) = (format!("\n{key} = {default}"), format!("\n{key} = {value}"));
                assert!(EXAMPLE.contains(&from), "{from}");
                // Where a key stands in two tables, each of them has its limits.
                let places: Vec<_> = EXAMPLE.match_indices(&from).map(|(at, _)| at).collect();
                let edited = places.iter().map(|at| {
                    let (before, rest) = EXAMPLE.split_at(*at);
                    Config::parse(&(before.to_owned() + &rest.replacen(&from, &to, 1)), "gateway.toml")
                        .is_ok()
                });
                edited.collect::<Vec<_>>()
            };
            let all = |taken: Vec<bool>| taken.into_iter().all(|is| is);
            let none = |taken: Vec<bool>| !taken.into_iter().any(|is| is);
            assert!(all(with(least)) && all(with(most)), "{key}: {least} to {most}");
            assert!(none(with(least - 1)) && none(with(most + 1)), "{key}: beyond {least} to {most}");
        }
    }

    #[test]
    fn reports_of_a_peer_may_stand_in_an_old_file_and_are_known_to_have_no_effect() {
        let text = EXAMPLE.replace("[quota.peer]", "[quota.peer]\nreports_per_second = 5000000");
        let config = Config::parse(&text, "gateway.toml").unwrap();
        assert_eq!(config.without_effect(), ["quota.peer.reports_per_second"]);
        assert!(Config::parse(EXAMPLE, "gateway.toml").unwrap().without_effect().is_empty());
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
            ("reports_per_second = 200000", "reports_per_second = 4999", "reports 5000 to"),
            ("stored_mebibytes_per_day = 65536", "stored_mebibytes_per_day = 1023", "MiB stored 1024 to"),
            ("unacknowledged_days = 14", "unacknowledged_days = 22", "1 to 21 days"),
        ] {
            let (message, line) = refusal(from, to);
            assert!(message.contains(expected) && line.is_some(), "{message}");
        }
        let (message, _) = refusal("127.0.0.1:7445", "0.0.0.0:7445");
        assert!(message.contains("a loopback address"), "{message}");
    }
}
