//! Where pass phrases come from: the arguments that every command with a private key shares.

use std::path::{Path, PathBuf};

use clap::Args;
use pki::keyfile::{Algorithm, KeyFile, Protection};
use pki::passphrase::{NewPassphrase, Passphrase};

/// How a new key file is protected. One of the three is always chosen.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(super) struct Protect {
    /// Encrypt the key with the pass phrase in this file (mode 0600, at least 12 characters)
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Encrypt the key with a pass phrase typed now
    #[arg(long)]
    ask_passphrase: bool,
    /// Do not encrypt the key: for disks that are encrypted elsewhere
    #[arg(long)]
    no_passphrase: bool,
}

impl Protect {
    /// The pass phrase for a new key; nothing if it stays plain.
    pub(super) fn passphrase(&self) -> anyhow::Result<Option<NewPassphrase>> {
        if let Some(path) = &self.passphrase_file {
            return Ok(Some(Passphrase::read(path)?.for_new_key()?));
        }
        if self.ask_passphrase { Ok(Some(Passphrase::ask_new("New pass phrase")?)) } else { Ok(None) }
    }
}

/// How a key file is opened. A plain one needs nothing.
#[derive(Args)]
#[group(multiple = false)]
pub(super) struct Open {
    /// The file with the key's pass phrase (mode 0600)
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Type the key's pass phrase now
    #[arg(long)]
    ask_passphrase: bool,
}

impl Open {
    /// Reads a P-256 key.
    pub(super) fn read(&self, path: &Path) -> anyhow::Result<KeyFile> {
        let passphrase = match &self.passphrase_file {
            Some(file) => Some(Passphrase::read(file)?),
            None if self.ask_passphrase => {
                Some(Passphrase::ask(&format!("Pass phrase of {}", path.display()))?)
            }
            None => None,
        };
        Ok(KeyFile::read_as(path, passphrase.as_ref(), Algorithm::P256)?)
    }
}

/// What a pass phrase, or none, means for a new file.
pub(super) fn protection(passphrase: Option<&NewPassphrase>) -> Protection<'_> {
    passphrase.map_or(Protection::Plain, Protection::Encrypted)
}

/// Says how a new key file is protected.
pub(super) fn described(passphrase: Option<&NewPassphrase>) -> &'static str {
    match passphrase {
        Some(_) => "private key, encrypted",
        None => "private key, not encrypted; only the file's mode protects it",
    }
}
