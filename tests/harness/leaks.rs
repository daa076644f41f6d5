//! Looks for secrets in everything that a process has written, in every form in which software prints octets.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use base64ct::{Base64Unpadded, Base64UrlUnpadded, Encoding};
use bytes::Bytes;

/// Fewer octets would be found by chance.
const SHORTEST: usize = 8;
/// Slots of the sieve that most positions of a text fail at, a power of two.
const SIEVE: usize = 1 << 22;

/// Octets that must not be found.
pub struct Secrets {
    /// Each form, and which secret it is of.
    forms: Vec<(Vec<u8>, usize)>,
    /// Forms by their first four octets.
    by_start: HashMap<[u8; 4], Vec<usize>>,
    /// Whether any form may begin with four octets.
    sieve: Vec<bool>,
}

/// A secret in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Which secret, in the order in which they were given.
    pub secret: usize,
    /// Where.
    pub file: PathBuf,
}

impl Secrets {
    /// Prepares to look for these. Each has at least 8 octets, and not all are the same.
    pub fn new<T: AsRef<[u8]>>(secrets: &[T]) -> Result<Self> {
        let mut all = Self { forms: Vec::new(), by_start: HashMap::new(), sieve: vec![false; SIEVE] };
        for (number, secret) in secrets.iter().map(AsRef::as_ref).enumerate() {
            let varies = secret.windows(2).any(|pair| pair[0] != pair[1]);
            ensure!(secret.len() >= SHORTEST && varies, "secret {number} would be found by chance");
            forms(secret).into_iter().for_each(|form| all.add(form, number));
        }
        Ok(all)
    }

    fn add(&mut self, form: Vec<u8>, secret: usize) {
        let start = [form[0], form[1], form[2], form[3]];
        self.sieve[slot(start)] = true;
        self.by_start.entry(start).or_default().push(self.forms.len());
        self.forms.push((form, secret));
    }

    /// Which of them stand in a text.
    #[must_use]
    pub fn find(&self, text: &[u8]) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        for (at, window) in text.windows(4).enumerate() {
            let start = [window[0], window[1], window[2], window[3]];
            if self.sieve[slot(start)] {
                let forms =
                    self.by_start.get(&start).into_iter().flatten().map(|number| &self.forms[*number]);
                found.extend(
                    forms.filter(|(form, _)| text[at..].starts_with(form)).map(|(_, secret)| *secret),
                );
            }
        }
        found
    }

    /// Looks through all files below a folder.
    pub fn find_below(&self, folder: &Path) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        for file in files_below(folder)? {
            let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            found.extend(self.find(&text).into_iter().map(|secret| Found { secret, file: file.clone() }));
        }
        Ok(found)
    }
}

/// All files below a folder, by name.
pub fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            match files_below(&path) {
                // Where processes run, a folder may go between being listed and being read.
                Err(_) if !path.exists() => {}
                below => files.extend(below?),
            }
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Octets of all files below a folder.
pub fn octets_below(folder: &Path) -> Result<u64> {
    Ok(files_below(folder)?.iter().filter_map(|file| Some(fs::metadata(file).ok()?.len())).sum())
}

fn slot([a, b, c, d]: [u8; 4]) -> usize {
    // Fibonacci hashing; the upper 22 bits are the best mixed.
    let hash = u32::from_be_bytes([a, b, c, d]).wrapping_mul(0x9e37_79b9);
    (hash >> 10) as usize
}

/// Raw, hex, base64 wherever it begins in a longer text, and Rust's two ways to show octets.
fn forms(secret: &[u8]) -> BTreeSet<Vec<u8>> {
    let list: Vec<_> = secret.iter().map(u8::to_string).collect();
    let shown = format!("{:?}", Bytes::copy_from_slice(secret));
    let shown = shown.trim_start_matches("b\"").trim_end_matches('"').to_owned();
    let mut forms: BTreeSet<Vec<u8>> = [
        secret.to_vec(),
        hex::encode(secret).into_bytes(),
        hex::encode_upper(secret).into_bytes(),
        list.join(", ").into_bytes(),
        list.join(",").into_bytes(),
        shown.into_bytes(),
    ]
    .into();
    for before in 0..3 {
        let padded = [&vec![0; before], secret].concat();
        for text in [Base64Unpadded::encode_string(&padded), Base64UrlUnpadded::encode_string(&padded)] {
            // Digits that also hold bits of a neighbour are left out at both ends.
            let (from, to) = ((8 * before).div_ceil(6), 8 * padded.len() / 6);
            forms.insert(text.as_bytes()[from..to].to_vec());
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: [u8; 16] = *b"\xe2\xcf\xbe\xb3-\xe92\xc9\x17\x1ce\x8b_W\xa37";

    fn secrets() -> Secrets {
        Secrets::new(&[[9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3, 4, 5, 6], TOKEN]).unwrap()
    }

    #[test]
    fn a_secret_is_found_in_every_form() {
        for before in 0..5 {
            let longer = [&vec![0xaa; before], &TOKEN[..], &[0xbb; 3]].concat();
            for text in [
                longer.clone(),
                hex::encode(&longer).into_bytes(),
                hex::encode_upper(&longer).into_bytes(),
                Base64Unpadded::encode_string(&longer).into_bytes(),
                Base64UrlUnpadded::encode_string(&longer).into_bytes(),
                format!("{longer:?}").into_bytes(),
                format!("{:?}", Bytes::from(longer)).into_bytes(),
            ] {
                assert_eq!(secrets().find(&text), [1].into(), "{}", String::from_utf8_lossy(&text));
            }
        }
    }

    #[test]
    fn part_of_a_secret_is_not_found() {
        assert!(secrets().find(&TOKEN[..15]).is_empty());
        assert!(secrets().find(hex::encode(&TOKEN[1..]).as_bytes()).is_empty());
        assert!(secrets().find(b"").is_empty());
    }

    #[test]
    fn what_would_be_found_by_chance_is_refused() {
        assert!(Secrets::new(&[[0; 16]]).is_err());
        assert!(Secrets::new(&[[1, 2, 3]]).is_err());
    }

    #[test]
    fn every_file_below_a_folder_is_searched() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/log"), [b"token=", &TOKEN[..]].concat()).unwrap();
        fs::write(folder.path().join("clean"), "nothing").unwrap();
        let found = secrets().find_below(folder.path()).unwrap();
        assert_eq!(found, [Found { secret: 1, file: folder.path().join("a/b/log") }]);
    }
}
