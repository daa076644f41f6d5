//! An authority's operator at the `country-adapter` command: case codes, and advice that somebody signs off.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use proto::ids::Authority;
use tokio::process::Command;

use crate::binaries::Binaries;
use crate::federation::Federation;

/// Letters of a case code as it is printed: three groups of four.
const CODE: usize = 14;

/// Whose contacts a case code is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Degree {
    /// A confirmed case's.
    First,
    /// A contact's, before any test.
    Second,
}

/// What a command printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printed {
    /// Its exit code.
    pub status: Option<i32>,
    /// Standard output.
    pub text: String,
    /// Standard error.
    pub errors: String,
}

impl Federation {
    /// Makes a one-time case code at an authority.
    pub async fn case_code(&self, authority: Authority, degree: Degree) -> Result<String> {
        let mut codes = self.case_codes(authority, degree, 1).await?;
        codes.pop().context("one code was asked for")
    }

    /// Makes as many one-time case codes.
    pub async fn case_codes(
        &self,
        authority: Authority,
        degree: Degree,
        count: usize,
    ) -> Result<Vec<String>> {
        let count_text = count.to_string();
        let mut arguments = vec!["case-code", "create", "CONFIG", "--count", count_text.as_str(), "--json"];
        if degree == Degree::Second {
            arguments.push("--second-degree");
        }
        let printed = self.command(authority, &arguments).await?;
        ensure!(printed.status == Some(0), "no case code of {authority}: {}", printed.errors);
        let codes: Vec<_> = printed.text.split('"').filter(|word| is_code(word)).map(str::to_owned).collect();
        ensure!(codes.len() == count, "{} case codes were printed, not {count}", codes.len());
        Ok(codes)
    }

    /// Runs `country-adapter`; `CONFIG` stands for the configuration of the authority's adapter.
    pub async fn command(&self, authority: Authority, arguments: &[&str]) -> Result<Printed> {
        let (adapter, program) = (self.adapter(authority)?, Binaries::find()?.adapter);
        let mut command = Command::new(&program);
        for argument in arguments {
            match *argument {
                "CONFIG" => command.arg(&adapter.config),
                other => command.arg(other),
            };
        }
        command.stdin(Stdio::null()).env("NO_COLOR", "1").kill_on_drop(true);
        let output = command.output().await.with_context(|| format!("cannot start {}", program.display()))?;
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        Ok(Printed { status: output.status.code(), text: text(&output.stdout), errors: text(&output.stderr) })
    }
}

/// Whether a word looks like `ABCD-EFGH-JKMN`.
fn is_code(word: &str) -> bool {
    let octets = word.as_bytes();
    let at = |place: usize| octets.get(place).copied().unwrap_or_default();
    octets.len() == CODE
        && (0..CODE).all(|place| match place {
            4 | 9 => at(place) == b'-',
            _ => at(place).is_ascii_uppercase() || at(place).is_ascii_digit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_code_is_told_from_other_words() {
        assert!(is_code("7ZK2-Q0XW-9H4M"));
        for word in ["7ZK2-Q0XW-9H4", "7ZK2-Q0XW-9H4MM", "7zk2-Q0XW-9H4M", "7ZK2_Q0XW-9H4M", "expires", ""] {
            assert!(!is_code(word), "{word}");
        }
    }
}
