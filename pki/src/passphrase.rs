//! The pass phrases that key files are encrypted with: from a closed file or typed, and wiped when dropped.
//!
//! Never from an argument or the environment: both show in process lists, histories and crash reports.

use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::disk::{self, DiskError};
use crate::secret::Secret;

/// Octets of the longest pass phrase file.
const LIMIT: usize = 1_024;

/// Why there is no pass phrase.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// The file cannot be read, or others can.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file with nothing in it, or only the Enter key pressed.
    #[error("the pass phrase is empty")]
    Empty,
    /// Some other file, by mistake.
    #[error("{path} has more than one line; a pass phrase file holds the pass phrase and nothing else")]
    Lines {
        /// The file.
        path: PathBuf,
    },
    /// Too few characters to protect a new key.
    #[error("the pass phrase has {is} characters; a new key needs at least {}", NewPassphrase::LEAST)]
    Short {
        /// How many it has.
        is: usize,
    },
    /// The second time it was typed otherwise.
    #[error("the two pass phrases differ; type the same one twice")]
    Differ,
    /// Nobody can type here.
    #[error("no terminal to ask for the pass phrase; use --passphrase-file")]
    Terminal(#[source] io::Error),
}

/// A pass phrase that may open a key file.
pub struct Passphrase(Secret<Vec<u8>>);

impl Passphrase {
    /// Reads it from a file that is closed to group and others. One line end behind it does not count.
    pub fn read(path: &Path) -> Result<Self, PassphraseError> {
        let read = disk::read_secret(path, LIMIT)?;
        let text = read.expose().strip_suffix(b"\n").unwrap_or(read.expose());
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.contains(&b'\n') {
            return Err(PassphraseError::Lines { path: path.into() });
        }
        Self::parse(text)
    }

    /// Asks for it at the terminal; what is typed is not shown.
    pub fn ask(prompt: &str) -> Result<Self, PassphraseError> {
        let typed = rpassword::prompt_password(format!("{prompt}: ")).map_err(PassphraseError::Terminal)?;
        Self::parse(Zeroizing::new(typed).as_bytes())
    }

    /// Asks for a new one, twice.
    pub fn ask_new(prompt: &str) -> Result<NewPassphrase, PassphraseError> {
        let first = Self::ask(prompt)?.for_new_key()?;
        let second = Self::ask("The same again")?;
        if first.0.octets() == second.octets() { Ok(first) } else { Err(PassphraseError::Differ) }
    }

    /// Takes the octets of one, at least one of them.
    pub fn parse(octets: &[u8]) -> Result<Self, PassphraseError> {
        if octets.is_empty() {
            return Err(PassphraseError::Empty);
        }
        Ok(Self(Secret::new(octets.to_vec())))
    }

    /// Checks that it is long enough to protect a new key.
    pub fn for_new_key(self) -> Result<NewPassphrase, PassphraseError> {
        let octets = self.octets();
        let is = str::from_utf8(octets).map_or(octets.len(), |text| text.chars().count());
        if is < NewPassphrase::LEAST { Err(PassphraseError::Short { is }) } else { Ok(NewPassphrase(self)) }
    }

    pub(crate) fn octets(&self) -> &[u8] {
        self.0.expose()
    }
}

/// A pass phrase that may protect a new key. Only [`Passphrase::for_new_key`] makes one.
pub struct NewPassphrase(Passphrase);

impl NewPassphrase {
    /// Characters of the shortest one.
    pub const LEAST: usize = 12;

    /// The pass phrase, to open the file again.
    #[must_use]
    pub fn passphrase(&self) -> &Passphrase {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8]) -> Result<Passphrase, PassphraseError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        disk::create_secret(&path, content).unwrap();
        Passphrase::read(&path)
    }

    #[test]
    fn one_line_end_does_not_count() {
        for content in ["correct horse", "correct horse\n", "correct horse\r\n"] {
            assert_eq!(read(content.as_bytes()).unwrap().octets(), b"correct horse");
        }
        assert_eq!(read(b" two spaces  \n").unwrap().octets(), b" two spaces  ");
    }

    #[test]
    fn nothing_and_several_lines_are_no_pass_phrase() {
        assert!(matches!(read(b"\n"), Err(PassphraseError::Empty)));
        assert!(matches!(read(b""), Err(PassphraseError::Empty)));
        assert!(matches!(read(b"one\ntwo\n"), Err(PassphraseError::Lines { .. })));
        assert!(matches!(read(&[b'x'; 2_000]), Err(PassphraseError::Disk(DiskError::TooLarge { .. }))));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        disk::create_public(&path, b"correct horse").unwrap();
        let refused = Passphrase::read(&path).err().unwrap();
        assert!(matches!(&refused, PassphraseError::Disk(DiskError::Exposed { mode: 0o644, .. })));
    }

    #[test]
    fn a_new_key_needs_twelve_characters() {
        assert!(Passphrase::parse(b"twelve chars").unwrap().for_new_key().is_ok());
        let short = Passphrase::parse(b"eleven char").unwrap().for_new_key().err().unwrap();
        assert!(matches!(short, PassphraseError::Short { is: 11 }), "{short}");
        // Characters, not octets.
        assert!(Passphrase::parse("ééééééé".as_bytes()).unwrap().for_new_key().is_err());
    }
}
