//! Where the programs are that a federation is made of: beside the one that is running.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The programs of a federation.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// `gateway`.
    pub gateway: PathBuf,
    /// `country-adapter`.
    pub adapter: PathBuf,
    /// `pki`.
    pub pki: PathBuf,
    /// `federation`.
    pub federation: PathBuf,
}

impl Binaries {
    /// Looks beside the running program; a test runs in `deps/`, one folder below.
    pub fn find() -> Result<Self> {
        let running = std::env::current_exe().context("cannot tell where this program lies")?;
        let folder = running.parent().unwrap_or(Path::new("."));
        let is_test = folder.file_name().is_some_and(|name| name == "deps");
        let folder = if is_test { folder.parent().unwrap_or(folder) } else { folder };
        Ok(Self {
            gateway: program(folder, "gateway")?,
            adapter: program(folder, "country-adapter")?,
            pki: program(folder, "pki")?,
            federation: folder.join("federation"),
        })
    }
}

fn program(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    if !path.is_file() {
        let release = if folder.ends_with("release") { " --release" } else { "" };
        bail!("{} is not there; run `cargo build{release} --workspace --bins` first", path.display());
    }
    Ok(path)
}
