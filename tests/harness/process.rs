//! One process of the federation: started, signalled and ended by its own pid, and never left behind.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, kill_process};

pub use rustix::process::Signal;

use crate::members::Node;
use crate::wait;

/// How a process is started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Which one it is.
    pub node: Node,
    /// The program.
    pub program: PathBuf,
    /// Its configuration file.
    pub config: PathBuf,
    /// Where its output goes.
    pub log: PathBuf,
    /// `RUST_LOG`.
    pub log_level: String,
}

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    node: Node,
    child: Child,
    log: PathBuf,
}

impl Launch {
    /// The command, as one types it.
    #[must_use]
    pub fn command(&self) -> String {
        format!("{} run {}", self.program.display(), self.config.display())
    }

    /// Starts it, with this in its environment as well. Its output goes behind what is in the log already.
    pub fn start(&self, environment: &[(&str, &OsStr)]) -> Result<Process> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot write {}", self.log.display()))?;
        let errors = log.try_clone().context("a log file cannot be shared")?;
        let mut command = Command::new(&self.program);
        command.arg("run").arg(&self.config).env("RUST_LOG", &self.log_level).env("NO_COLOR", "1");
        command.envs(environment.iter().copied());
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        let child = child.with_context(|| format!("cannot start {}", self.command()))?;
        Ok(Process { node: self.node, child, log: self.log.clone() })
    }
}

impl Process {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends it a signal; one that has ended gets none.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.ended().is_some() {
            return Ok(());
        }
        // The child is not reaped yet, so the number is still its own.
        let number = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("a pid is positive")?;
        kill_process(number, signal).with_context(|| format!("{} cannot be signalled", self.node))
    }

    /// Waits for its end.
    pub async fn end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("{} ends", self.node);
        wait::until(&what, limit, async || self.ended()).await
    }

    /// Waits for its end, and kills it if that does not come in time.
    pub async fn end_or_kill(&mut self, limit: Duration) -> Result<ExitStatus> {
        match self.end(limit).await {
            Ok(status) => Ok(status),
            Err(_) => {
                self.signal(Signal::KILL)?;
                self.end(limit).await
            }
        }
    }

    /// The most memory that it has held so far, octets.
    pub fn peak_rss(&self) -> Result<u64> {
        peak_rss(self.pid())
    }

    /// An error if it has ended already, with the end of its log.
    pub fn check_runs(&mut self) -> Result<()> {
        match self.ended() {
            None => Ok(()),
            Some(status) => {
                bail!("{} ended by itself ({status}); its log ends with:\n{}", self.node, tail(&self.log))
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Peak resident set of a process, from `/proc`, octets.
pub fn peak_rss(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kibibytes.map(|number| number * 1_024).with_context(|| format!("{path} names no VmHWM"))
}

/// The last lines of a log.
#[must_use]
pub fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|octets| String::from_utf8_lossy(&octets).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
