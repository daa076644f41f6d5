//! A national backend's side of the folders: files go out, answers come back, reports from abroad come in.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64ct::{Base64UrlUnpadded, Encoding};
use serde::Deserialize;
use serde_json::Value;

use crate::place::AdapterPlace;
use crate::wait;

/// How long a file may take to be answered: key lists may still be on their way.
const ANSWERED: Duration = Duration::from_secs(30);
const ENDING: &str = ".ndjson";

/// What an adapter says of one line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Answer {
    /// The line, from 1.
    pub line: usize,
    /// A verdict's name, or `refused`.
    pub verdict: String,
    /// The push that carried it, in hex; none if it was not sent.
    #[serde(default)]
    pub push: Option<String>,
    /// What is wrong.
    #[serde(default)]
    pub message: Option<String>,
}

/// A report that an adapter has delivered.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivered {
    /// The file that it stands in.
    pub file: PathBuf,
    /// The country that it came from.
    pub origin: u64,
    /// The report, as the JSON mirror has it.
    pub report: Value,
    /// Its token.
    pub token: Vec<u8>,
}

/// Puts a file of lines, one report each, into the outgoing folder. It appears whole. Gives its name.
pub fn submit(adapter: &AdapterPlace, lines: &[String]) -> Result<String> {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let name = format!("push-{:05}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let (partial, whole) =
        (adapter.outgoing.join(format!(".{name}")), adapter.outgoing.join(format!("{name}{ENDING}")));
    let text = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>();
    let written = fs::write(&partial, text).and_then(|()| fs::rename(&partial, &whole));
    written.with_context(|| format!("cannot write {}", whole.display()))?;
    Ok(name)
}

/// Waits for the answers to a submitted file, one for each line, in the order of the lines.
pub async fn answers(adapter: &AdapterPlace, name: &str, lines: usize) -> Result<Vec<Answer>> {
    let what = format!("{} answers {name}", adapter.authority);
    let answers = wait::until(&what, ANSWERED, async || read_answers(adapter, name).transpose()).await??;
    let numbers: Vec<_> = answers.iter().map(|answer| answer.line).collect();
    ensure!(numbers == (1..=lines).collect::<Vec<_>>(), "{what}: not one answer for each of {lines} lines");
    Ok(answers)
}

/// The answers to a submitted file, if they are there.
pub fn read_answers(adapter: &AdapterPlace, name: &str) -> Result<Option<Vec<Answer>>> {
    let found = ndjson_files(&adapter.answers)?.into_iter().find(|path| {
        let found = path.file_name().unwrap_or_default().to_string_lossy();
        found.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
    });
    found.map(|path| answers_in(&path)).transpose()
}

/// The answers in one file, in the order of the lines.
pub fn answers_in(file: &Path) -> Result<Vec<Answer>> {
    let mut answers = read_lines::<Answer>(file)?;
    answers.sort_by_key(|answer| answer.line);
    Ok(answers)
}

/// Every file of answers, by the name under which what it answers was submitted.
pub fn answered(adapter: &AdapterPlace) -> Result<Vec<(String, PathBuf)>> {
    let named = ndjson_files(&adapter.answers)?.into_iter().map(|path| {
        let found = path.file_name().unwrap_or_default().to_string_lossy();
        (found.split('.').next().unwrap_or_default().to_owned(), path)
    });
    Ok(named.collect())
}

/// Everything in the delivered folder.
pub fn delivered(adapter: &AdapterPlace) -> Result<Vec<Delivered>> {
    let files = delivered_paths(adapter)?;
    let all = files.iter().map(|file| delivered_in(file)).collect::<Result<Vec<_>>>()?;
    Ok(all.into_iter().flatten().collect())
}

/// The files of the delivered folder, in the order of their positions. A file is there as a whole and never changes.
pub fn delivered_paths(adapter: &AdapterPlace) -> Result<Vec<PathBuf>> {
    ndjson_files(&adapter.delivered)
}

/// Everything in one file of a delivered folder.
pub fn delivered_in(file: &Path) -> Result<Vec<Delivered>> {
    let report = |line: Value| {
        let report = line.get("report").cloned().context("a delivered line has a report")?;
        let origin = line.get("origin").and_then(Value::as_u64).context("a delivered line has an origin")?;
        let text = report.get("token").and_then(Value::as_str).context("a contact has a token")?;
        let token = Base64UrlUnpadded::decode_vec(text).ok().context("tokens are base64url")?;
        Ok(Delivered { file: file.into(), origin, report, token })
    };
    read_lines::<Value>(file)?.into_iter().map(report).collect()
}

/// How many reports lie in the delivered folder. Reads every file.
pub fn count_delivered(adapter: &AdapterPlace) -> Result<usize> {
    let lines =
        |path: &PathBuf| fs::read(path).map(|octets| octets.iter().filter(|octet| **octet == b'\n').count());
    let counts = ndjson_files(&adapter.delivered)?.iter().map(lines).collect::<Result<Vec<_>, _>>()?;
    Ok(counts.into_iter().sum())
}

/// Whether these octets stand in some delivered file that was not there before. `known` is how many were.
pub fn has_delivered_since(adapter: &AdapterPlace, known: usize, token: &[u8]) -> Result<bool> {
    let text = Base64UrlUnpadded::encode_string(token);
    let files = ndjson_files(&adapter.delivered)?;
    Ok(files.iter().skip(known).any(|path| fs::read_to_string(path).is_ok_and(|file| file.contains(&text))))
}

/// How many files lie in the delivered folder. Their names sort by position.
pub fn delivered_files(adapter: &AdapterPlace) -> Result<usize> {
    Ok(ndjson_files(&adapter.delivered)?.len())
}

fn read_lines<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Vec<T>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let line =
        |line: &str| serde_json::from_str(line).with_context(|| format!("a line of {}", path.display()));
    text.lines().map(line).collect()
}

/// Whole files in a folder, by name; none if the folder is not there yet.
fn ndjson_files(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(ENDING) && !name.starts_with('.') {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
