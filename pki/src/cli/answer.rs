//! What a command says when it is done, and how moments and hashes look on a screen.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use pki::sign::sha256;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A mistake in the arguments that clap cannot see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct WrongUsage(pub(super) String);

/// What goes to the standard output, and the exit code that goes with it.
pub(super) struct Answer {
    text: String,
    code: u8,
}

impl Answer {
    /// The command did what was asked.
    pub(super) fn done(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 0 }
    }

    /// The command checked something and found it invalid.
    pub(super) fn invalid(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 3 }
    }

    pub(super) fn print(self) -> ExitCode {
        let text = self.text.trim_end();
        match writeln!(io::stdout(), "{text}") {
            // Whoever reads us through `head` has what they want.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                eprintln!("pki: cannot write to the standard output: {error}");
                ExitCode::FAILURE
            }
            _ => ExitCode::from(self.code),
        }
    }
}

/// Lines of a name and a value, the values below each other.
#[derive(Default)]
pub(super) struct Lines(String);

impl Lines {
    pub(super) fn add(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        // Writing into a string cannot fail.
        let _ = writeln!(self.0, "{name:<13} {value}");
        self
    }

    pub(super) fn wrote(self, path: &Path) -> Self {
        self.add("wrote", path.display())
    }

    pub(super) fn next(self, step: impl std::fmt::Display) -> Self {
        self.add("next", step)
    }

    pub(super) fn text(self) -> String {
        self.0
    }
}

/// A moment, as `2027-01-31T12:00:00Z`.
pub(super) fn moment(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| at.unix_timestamp().to_string())
}

/// Seconds since 1970, likewise.
pub(super) fn seconds(at: i64) -> String {
    OffsetDateTime::from_unix_timestamp(at).map_or_else(|_| at.to_string(), moment)
}

/// SHA-256 in hex, to be read out over a telephone.
pub(super) fn fingerprint(octets: &[u8]) -> String {
    let hex = hex::encode(sha256(octets));
    let groups: Vec<_> = hex.as_bytes().chunks(8).map(String::from_utf8_lossy).collect();
    groups.join(" ")
}

/// Now, in seconds since 1970.
pub(super) fn now() -> u64 {
    u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or(0)
}
