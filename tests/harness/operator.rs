//! Runs the `pki` command as an operator types it, and remembers every line.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// Somebody in a folder with the `pki` command.
pub(crate) struct Operator {
    pki: PathBuf,
    folder: PathBuf,
    typed: Vec<String>,
}

impl Operator {
    pub(crate) fn new(pki: &Path, folder: &Path) -> Self {
        Self { pki: pki.into(), folder: folder.into(), typed: Vec::new() }
    }

    /// Runs a line; words are parted by spaces, and paths are relative to the folder.
    pub(crate) async fn pki(&mut self, line: &str) -> Result<()> {
        let mut command = Command::new(&self.pki);
        command
            .args(line.split_whitespace())
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output =
            command.output().await.with_context(|| format!("cannot start {}", self.pki.display()))?;
        if !output.status.success() {
            bail!("pki {line}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
        }
        self.typed.push(format!("pki {line}"));
        Ok(())
    }

    /// A path as it is typed in the folder.
    pub(crate) fn typed(&self, path: &Path) -> String {
        path.strip_prefix(&self.folder).unwrap_or(path).display().to_string()
    }

    /// All lines that were run.
    pub(crate) fn into_typed(self) -> Vec<String> {
        self.typed
    }
}
