//! Codes that a health worker gives to somebody whose case is confirmed: good for one upload.
//!
//! `state/cases/open/<hash>` with expiry and degree while a code can be used, `state/cases/used/<day>/<hash>` with the
//! upload's digest afterwards. The hash is the first half of SHA-256, so that a disk does not tell codes. Making one needs
//! no lock: the command works while the adapter runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use pki::disk::DiskError;
use pki::sign::sha256;
use proto::day::Day;
use proto::report::Report;

use crate::durable::{self, Disk, PRIVATE, PRIVATE_DIR};

/// Crockford's base 32: no I, L, O or U, which people mistake.
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Letters of a code: 60 bits.
const LEN: usize = 12;

/// A case code, `XXXX-XXXX-XXXX`. Never printed by accident: it has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct CaseCode([u8; LEN]);

/// What an upload with a code may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Degree {
    /// Contacts of somebody who is ill.
    First,
    /// Contacts of somebody who was exposed.
    Second,
}

/// What is known of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    Unknown,
    /// It can be used.
    Open(Degree),
    /// It could be used until some time ago.
    Expired,
    /// It was used by an upload with this digest.
    Used([u8; 8]),
}

/// No case code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a case code has 12 letters and digits, as 7K3M-9QX2-TB4D")]
pub struct NoCode;

impl CaseCode {
    /// A fresh code from the operating system's generator.
    #[must_use]
    pub fn random() -> Self {
        let random = crate::herald::secured::random::<LEN>();
        Self(random.map(|octet| LETTERS[usize::from(octet % 32)]))
    }

    /// How it is kept. Nobody finds the code from it without trying 2^60 of them; but whoever has the code finds it, so
    /// nothing that comes of an upload bears this name.
    #[must_use]
    pub fn id(&self) -> CodeId {
        let hash = sha256(&[&b"exchange/v1 case code"[..], &self.0].concat());
        CodeId(*hash.first_chunk().expect("a hash has 32 octets"))
    }
}

proto::octet_id! {
    /// Names a case code: the first 16 octets of its hash.
    CodeId, 16, "name of a case code"
}

impl fmt::Display for CaseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, letter) in self.0.iter().enumerate() {
            if at > 0 && at % 4 == 0 {
                f.write_str("-")?;
            }
            write!(f, "{}", char::from(*letter))?;
        }
        Ok(())
    }
}

impl FromStr for CaseCode {
    type Err = NoCode;

    /// Takes small letters and hyphens anywhere, and O for 0, I and L for 1, as Crockford says.
    fn from_str(text: &str) -> Result<Self, NoCode> {
        let letters = text.bytes().filter(|letter| *letter != b'-').map(|letter| {
            let letter = match letter.to_ascii_uppercase() {
                b'O' => b'0',
                b'I' | b'L' => b'1',
                other => other,
            };
            LETTERS.contains(&letter).then_some(letter).ok_or(NoCode)
        });
        let letters = letters.take(LEN + 1).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(letters.try_into().map_err(|_| NoCode)?))
    }
}

/// The codes of an authority.
pub struct CaseCodes {
    disk: Disk,
    open: PathBuf,
    used: PathBuf,
}

/// A code that can be used, as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCode {
    /// The first letters of its hash.
    pub id: String,
    /// Unix seconds.
    pub expires: u64,
    /// What for.
    pub degree: Degree,
}

impl CaseCodes {
    /// Opens the codes in the adapter's directory. Needs no lock on it.
    pub fn open(state: &Path, disk: Disk) -> Result<Self, DiskError> {
        let (open, used) = (state.join("cases").join("open"), state.join("cases").join("used"));
        disk.create_dir(&open, PRIVATE_DIR)?;
        disk.create_dir(&used, PRIVATE_DIR)?;
        Ok(Self { disk, open, used })
    }

    /// Makes a code that can be used until some time.
    pub fn create(&self, expires: u64, degree: Degree) -> Result<CaseCode, DiskError> {
        let code = CaseCode::random();
        let text = format!("{expires} {}", degree.number());
        self.disk.replace(&self.open.join(code.id().to_string()), PRIVATE, text.as_bytes())?;
        Ok(code)
    }

    /// What is known of a code.
    pub fn known(&self, id: CodeId, now: u64) -> Result<Known, DiskError> {
        for day in durable::days(&self.used)? {
            if let Some(digest) = durable::read_if_there(&self.used_path(id, day))? {
                // One that a kill left without its digest was used all the same.
                return Ok(Known::Used(digest.try_into().unwrap_or_default()));
            }
        }
        Ok(match self.entry(id)? {
            None => Known::Unknown,
            Some((expires, _)) if expires < now => Known::Expired,
            Some((_, degree)) => Known::Open(degree),
        })
    }

    /// Marks a code as used: the commit of its upload.
    pub fn mark(&self, id: CodeId, today: Day, digest: [u8; 8]) -> Result<(), DiskError> {
        self.disk.create_dir(&self.used.join(today.number().to_string()), PRIVATE_DIR)?;
        self.disk.replace(&self.used_path(id, today), PRIVATE, &digest)?;
        // What came of the upload has a time, and this has the code's name.
        self.disk.without_time(&self.used_path(id, today))
    }

    /// Removes the open form of a code.
    pub fn close(&self, id: CodeId) -> Result<(), DiskError> {
        self.disk.remove(&self.open.join(id.to_string()))
    }

    /// All codes that can still be used, soonest to expire first.
    pub fn list(&self, now: u64) -> Result<Vec<OpenCode>, DiskError> {
        let mut codes = Vec::new();
        for id in self.ids()? {
            if let Some((expires, degree)) = self.entry(id)?.filter(|(expires, _)| *expires >= now) {
                codes.push(OpenCode { id: id.to_string()[..8].to_owned(), expires, degree });
            }
        }
        codes.sort_unstable_by_key(|code| code.expires);
        Ok(codes)
    }

    /// Forgets codes a day after they have expired, and used ones when nobody could repeat the upload.
    pub fn forget(&self, now: u64) -> Result<(), DiskError> {
        for id in self.ids()? {
            if self.entry(id)?.is_some_and(|(expires, _)| expires + Day::SECONDS < now) {
                self.close(id)?;
            }
        }
        let oldest = Day::of_unix(now).minus(Report::MAX_AGE);
        for day in durable::days(&self.used)?.into_iter().filter(|day| *day < oldest) {
            self.disk.remove_dir(&self.used.join(day.number().to_string()))?;
        }
        Ok(())
    }

    fn ids(&self) -> Result<Vec<CodeId>, DiskError> {
        Ok(durable::names(&self.open)?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Until when an open code can be used, and what for.
    fn entry(&self, id: CodeId) -> Result<Option<(u64, Degree)>, DiskError> {
        let text = durable::read_if_there(&self.open.join(id.to_string()))?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let parts = text.split_once(' ');
        Ok(parts.and_then(|(expires, degree)| Some((expires.parse().ok()?, Degree::from_number(degree)?))))
    }

    fn used_path(&self, id: CodeId, day: Day) -> PathBuf {
        self.used.join(day.number().to_string()).join(id.to_string())
    }
}

impl Degree {
    /// 1 or 2.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::First => 1,
            Self::Second => 2,
        }
    }

    /// Reads what [`Degree::number`] gives.
    #[must_use]
    pub fn from_number(text: &str) -> Option<Self> {
        match text {
            "1" => Some(Self::First),
            "2" => Some(Self::Second),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn codes(dir: &Path) -> CaseCodes {
        CaseCodes::open(dir, Disk::default()).unwrap()
    }

    #[test]
    fn a_code_reads_back_as_people_write_it() {
        let code = CaseCode::random();
        let text = code.to_string();
        assert_eq!((text.len(), text.matches('-').count()), (14, 2));
        for written in [text.clone(), text.to_lowercase(), text.replace('-', ""), text.replace('0', "O")] {
            assert!(written.parse::<CaseCode>().ok() == Some(code.clone()), "{written}");
        }
        assert!("1".repeat(12).parse::<CaseCode>().ok() == "iIlL-1111-1111".parse().ok());
        for wrong in ["", "7K3M-9QX2-TB4", "7K3M-9QX2-TB4DD", "7K3M-9QX2-TB4U", "7K3M 9QX2 TB4D"] {
            assert!(wrong.parse::<CaseCode>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_code_is_open_until_it_is_used_or_expires_and_is_then_known_for_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let codes = codes(dir.path());
        let now = 1_795_000_000;
        let id = codes.create(now + 10, Degree::First).unwrap().id();
        assert_eq!(codes.known(id, now).unwrap(), Known::Open(Degree::First));
        assert_eq!(codes.known(id, now + 11).unwrap(), Known::Expired);
        assert_eq!(codes.known(CaseCode::random().id(), now).unwrap(), Known::Unknown);
        assert_eq!(codes.list(now).unwrap().len(), 1);
        codes.mark(id, Day::of_unix(now), [7; 8]).unwrap();
        assert_eq!(codes.known(id, now).unwrap(), Known::Used([7; 8]), "even before it is closed");
        codes.close(id).unwrap();
        assert!(codes.list(now).unwrap().is_empty());
        codes.forget(now + 15 * Day::SECONDS).unwrap();
        assert_eq!(codes.known(id, now).unwrap(), Known::Used([7; 8]));
        codes.forget(now + 16 * Day::SECONDS).unwrap();
        assert_eq!(codes.known(id, now).unwrap(), Known::Unknown);
    }

    #[test]
    fn a_disk_does_not_tell_codes() {
        let dir = tempfile::tempdir().unwrap();
        let code = codes(dir.path()).create(9, Degree::Second).unwrap();
        let names = durable::names(&dir.path().join("cases/open")).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("cases/open").join(&names[0])).unwrap(), "9 2");
        assert!(!names[0].to_uppercase().contains(&code.to_string().replace('-', "")));
    }

    proptest! {
        #[test]
        fn any_text_is_a_code_or_none(text in ".{0,20}") {
            if let Ok(code) = text.parse::<CaseCode>() {
                prop_assert!(code.to_string().parse::<CaseCode>().ok() == Some(code));
            }
        }
    }
}
