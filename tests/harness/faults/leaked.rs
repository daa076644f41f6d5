//! Looks for the run's tokens in every file that a party wrote. Files that did not change are not read again.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use super::book::Mark;
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

    /// Files below folders that hold a token and did not when they were read last. Below `homes`, where senders put reports
    /// and authorities get them, tokens may lie: which of them lie where, the book says.
    pub(super) fn find(&mut self, folders: &[PathBuf], homes: &[&Path]) -> Result<Vec<PathBuf>> {
        let mut leaks = Vec::new();
        let files = folders.iter().map(|folder| files_below(folder)).collect::<Result<Vec<_>>>()?;
        for file in files.into_iter().flatten() {
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

#[cfg(test)]
mod tests {
    use base64ct::{Base64UrlUnpadded, Encoding};

    use super::*;

    const MARK: Mark = *b"\xe2\xcf\xbe\xb3-\xe92\xc9";

    #[test]
    fn a_token_outside_of_its_homes_is_a_leak_and_is_told_once() {
        let place = tempfile::tempdir().unwrap();
        let (folders, folder, home) =
            ([place.path().to_owned()], place.path(), place.path().join("outgoing"));
        fs::create_dir(&home).unwrap();
        let line = Base64UrlUnpadded::encode_string(&[b"behind", &MARK[..], &[0; 8]].concat());
        fs::write(home.join("file"), &line).unwrap();
        fs::write(folder.join("log"), "nothing").unwrap();
        let mut search = Search::new(MARK).unwrap();
        assert!(search.find(&folders, &[&home]).unwrap().is_empty());
        fs::write(folder.join("log"), format!("nothing, and {line}")).unwrap();
        assert_eq!(search.find(&folders, &[&home]).unwrap(), [folder.join("log")]);
        assert!(search.find(&folders, &[&home]).unwrap().is_empty());
    }

    #[test]
    fn a_search_that_finds_nothing_at_home_is_no_search() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("file"), "nothing").unwrap();
        assert!(Search::new(MARK).unwrap().find(&[place.path().to_owned()], &[place.path()]).is_err());
    }
}
