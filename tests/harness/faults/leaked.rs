//! Looks for the run's tokens in every file that a party wrote. Files that did not change are not read again.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use super::book::Mark;
use crate::federation::Federation;
use crate::leaks::{Secrets, files_below};

/// The search, and what it has read.
pub(super) struct Search {
    mark: Secrets,
    read: HashMap<PathBuf, (u64, SystemTime)>,
    at_home: bool,
}

impl Search {
    pub(super) fn new(mark: Mark) -> Result<Self> {
        Ok(Self { mark: Secrets::new(&[mark])?, read: HashMap::new(), at_home: false })
    }

    /// Files that hold a token now and did not when they were read last. Senders' outgoing folders and delivered folders
    /// may hold tokens: which of them lie where, the book says.
    pub(super) fn find(&mut self, federation: &Federation) -> Result<Vec<PathBuf>> {
        let homes: Vec<_> =
            federation.adapters().flat_map(|adapter| [&adapter.outgoing, &adapter.delivered]).collect();
        let mut leaks = Vec::new();
        for file in files_below(federation.folder())? {
            let is_home = homes.iter().any(|home| file.starts_with(home));
            // One file at home shows that the search finds what is there.
            if (!is_home || !self.at_home) && self.holds(&file)? {
                self.at_home |= is_home;
                if !is_home {
                    leaks.push(file);
                }
            }
        }
        ensure!(self.at_home, "the search finds no token where tokens are");
        Ok(leaks)
    }

    fn holds(&mut self, file: &Path) -> Result<bool> {
        let context = || format!("cannot read {}", file.display());
        // The processes run: a file may go between being listed and being read.
        let text = match fs::metadata(file).and_then(|found| Ok((found.len(), found.modified()?))) {
            Ok(state) if self.read.get(file) == Some(&state) => return Ok(false),
            Ok(state) => {
                self.read.insert(file.into(), state);
                fs::read(file)
            }
            Err(error) => Err(error),
        };
        match text {
            Ok(text) => Ok(!self.mark.find(&text).is_empty()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(context),
        }
    }
}
