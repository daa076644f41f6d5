//! Who must not hold what: the knowledge table of Herald Secured (`herald.md` 4.3), searched for from the outside.
//!
//! A meeting has secrets; each party has places where it keeps things. A search goes through all that lies there, in
//! every form in which software prints octets, and must find what a party may know, or it would find no leak either.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::leaks::{Secrets, files_below};

/// Something that not everybody may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// What it is, as `contact's UUID`; several secrets may share a name.
    pub name: &'static str,
    /// 8 octets or more.
    pub octets: Vec<u8>,
}

/// Somebody who takes part, and what it holds.
#[derive(Debug, Clone)]
pub struct Party {
    name: &'static str,
    places: Vec<PathBuf>,
    texts: Vec<Vec<u8>>,
    must_not: BTreeSet<&'static str>,
    must: BTreeSet<&'static str>,
    shows: Vec<(&'static str, Vec<u8>)>,
}

/// What a party was found to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Who.
    pub party: &'static str,
    /// Names of what it holds.
    pub holds: BTreeSet<&'static str>,
    /// What it must not hold, and where that lies.
    pub leaks: Vec<(&'static str, String)>,
    /// What it should hold and does not: the search is blind there, or something did not happen.
    pub missing: Vec<&'static str>,
    /// Octets that were searched.
    pub searched: u64,
}

impl Secret {
    /// Names octets.
    #[must_use]
    pub fn new(name: &'static str, octets: impl Into<Vec<u8>>) -> Self {
        Self { name, octets: octets.into() }
    }
}

impl Party {
    /// Somebody who may hold nothing yet and holds nothing yet.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        let (must_not, must) = (BTreeSet::new(), BTreeSet::new());
        Self { name, places: Vec::new(), texts: Vec::new(), must_not, must, shows: Vec::new() }
    }

    /// It keeps things in a folder or a file.
    #[must_use]
    pub fn at(mut self, place: impl Into<PathBuf>) -> Self {
        self.places.push(place.into());
        self
    }

    /// It holds these octets.
    #[must_use]
    pub fn with(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.texts.push(text.into());
        self
    }

    /// It holds what another party holds too, and the search must come across the same.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.places.extend(other.places);
        self.texts.extend(other.texts);
        self.shows.extend(other.shows);
        self
    }

    /// It must not hold any of these.
    #[must_use]
    pub fn must_not(mut self, names: &[&'static str]) -> Self {
        self.must_not.extend(names);
        self
    }

    /// It holds these, and the search must find them.
    #[must_use]
    pub fn holds(mut self, names: &[&'static str]) -> Self {
        self.must.extend(names);
        self
    }

    /// Something that is no secret and lies there, by a name: a search that does not come across it looks elsewhere.
    #[must_use]
    pub fn shows(mut self, name: &'static str, octets: impl Into<Vec<u8>>) -> Self {
        self.shows.push((name, octets.into()));
        self
    }

    /// Searches all that it holds. It is an error if there is nothing to search.
    pub fn search(&self, secrets: &[Secret]) -> Result<Holding> {
        let known: BTreeSet<_> = secrets.iter().map(|secret| secret.name).collect();
        let unknown = self.must_not.union(&self.must).find(|name| !known.contains(*name));
        ensure!(unknown.is_none(), "{}: {unknown:?} is no secret of this meeting", self.name);
        let octets: Vec<_> = secrets.iter().map(|secret| &secret.octets).collect();
        let forms = Secrets::new(&octets)?;
        let mut holding = Holding {
            party: self.name,
            holds: BTreeSet::new(),
            leaks: Vec::new(),
            missing: Vec::new(),
            searched: 0,
        };
        let mut unseen: Vec<_> = self.shows.iter().collect();
        for (place, text) in self.all()? {
            unseen.retain(|(_, known)| !contains(&text, known));
            holding.searched += text.len() as u64;
            for name in forms.find(&text).into_iter().map(|number| secrets[number].name) {
                holding.holds.insert(name);
                if self.must_not.contains(name) {
                    holding.leaks.push((name, place.clone()));
                }
            }
        }
        ensure!(holding.searched > 0, "{} holds nothing at all; the search is blind there", self.name);
        holding.missing = self.must.difference(&holding.holds).copied().collect();
        holding.missing.extend(unseen.into_iter().map(|(name, _)| *name));
        Ok(holding)
    }

    /// All texts that it holds, the names of files too, with where they lie.
    fn all(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut all: Vec<_> = self.texts.iter().map(|text| ("memory".to_owned(), text.clone())).collect();
        for place in &self.places {
            let files = if place.is_dir() { files_below(place)? } else { vec![place.clone()] };
            for file in files {
                let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
                let name = file.display().to_string();
                all.push((format!("the name of {name}"), name.clone().into_bytes()));
                all.push((name, text));
            }
        }
        Ok(all)
    }
}

fn contains(text: &[u8], known: &[u8]) -> bool {
    text.windows(known.len()).any(|window| window == known)
}

impl Holding {
    /// Whether it holds what it may and nothing else.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.leaks.is_empty() && self.missing.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> [Secret; 2] {
        [Secret::new("name", *b"a name of 16 oct"), Secret::new("token", *b"a token of 17 oct")]
    }

    #[test]
    fn a_party_is_searched_in_its_folders_and_its_memory() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("state")).unwrap();
        fs::write(folder.path().join("state/x"), hex::encode(&secrets()[0].octets)).unwrap();
        let party = Party::new("somebody").at(folder.path()).with(*b"with a token of 17 oct in it");
        let found = party.clone().must_not(&["name"]).holds(&["token"]).search(&secrets()).unwrap();
        assert_eq!(found.leaks.len(), 1);
        assert!(found.leaks[0].1.ends_with("state/x") && found.missing.is_empty() && !found.is_good());
        assert!(party.holds(&["token", "name"]).search(&secrets()).unwrap().is_good());
    }

    #[test]
    fn what_should_be_there_and_is_not_makes_the_search_blind() {
        let found = Party::new("somebody").with(*b"nothing").holds(&["token"]).search(&secrets()).unwrap();
        assert_eq!((found.missing, found.searched), (vec!["token"], 7));
        let party = Party::new("somebody").with(*b"its log").shows("a log", *b"log").shows("keys", *b"key");
        assert_eq!(party.search(&secrets()).unwrap().missing, ["keys"]);
        assert!(Party::new("somebody").search(&secrets()).is_err(), "nothing to search");
        assert!(Party::new("somebody").with(*b"x").must_not(&["no such"]).search(&secrets()).is_err());
    }
}
