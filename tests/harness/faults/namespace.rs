//! A network and a mount namespace of the command's own: what is lost on this loopback, and what is mounted here,
//! nobody else notices, and all of it ends with the command.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::Store;

/// Where the command runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespace {
    /// In namespaces of its own.
    Own,
    /// On the machine as it is, and why.
    None(String),
}

/// Root needs no namespace of users; for others it makes them root of the others.
const WAYS: [&[&str]; 2] = [&["--net", "--mount"], &["--user", "--map-root-user", "--net", "--mount"]];
/// Brings loopback up and goes on as what follows.
const UP: &str = "ip link set lo up && exec \"$@\"";

/// PostgreSQL runs as a user of its own, which a namespace of users does not have.
fn ways(store: Store) -> &'static [&'static [&'static str]] {
    match store {
        Store::Sled => &WAYS,
        Store::Postgres => &WAYS[..1],
    }
}

/// Starts this program again in namespaces of its own, with one more argument, and does not come back; or says why it
/// cannot be.
pub fn enter(store: Store, argument: &str) -> Result<Namespace> {
    let mut why = Vec::new();
    for way in ways(store) {
        match tried(way) {
            Ok(()) => return restart(way, argument),
            Err(reason) => why.push(reason),
        }
    }
    why.dedup();
    Ok(Namespace::None(why.join("; ")))
}

fn unshare(way: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(way).args(["--", "sh", "-c", UP, "sh"]);
    command
}

fn tried(way: &[&str]) -> Result<(), String> {
    let output = unshare(way).arg("true").stdin(Stdio::null()).output();
    let output = output.map_err(|cause| format!("unshare cannot be run: {cause}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or("unshare fails").to_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

fn restart(way: &[&str], argument: &str) -> Result<Namespace> {
    let program = std::env::current_exe().context("cannot tell where this program lies")?;
    let cause = unshare(way).arg(program).args(std::env::args_os().skip(1)).arg(argument).exec();
    Err(cause).context("cannot start again in a namespace")
}

/// Runs a command of the system; what it says on failure is the error.
pub(super) fn run(line: &[&str]) -> Result<String> {
    let (program, arguments) = line.split_first().context("a command has a name")?;
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("{program} cannot be run"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{program}: {}", said.trim_end());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
