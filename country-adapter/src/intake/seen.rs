//! Which confirmation tokens were counted, for 15 days and one: kept on disk, so that a restart forgets none.
//!
//! `state/seen/<day>.log`, days since 1970 of the exchange: records of 32 octets, token 16, day 2, claim 14. A claim
//! says which report counted it, so that a report which comes again after a kill is no repetition of itself. The first
//! bit of the day is set if the contact was with somebody who was exposed: that advice does not stand in the way of the
//! warning when the same person turns out to be ill. About 60 octets of memory for each token and degree.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use pki::disk::DiskError;
use pki::sign::sha256;
use proto::day::Day;
use proto::limits;
use proto::report::Report;
use zeroize::Zeroizing;

use super::piece::Source;
use crate::durable::{self, Disk, PRIVATE, PRIVATE_DIR};
use crate::herald::secured::ConfirmationToken;
use crate::phones::case_code::Degree;

/// Octets of a record.
const RECORD: usize = 32;
const ENDING: &str = ".log";
/// The bit of a record's day that says second degree: days have 15 bits until 2059.
const SECOND: u16 = 1 << 15;
/// Days for which a token is kept: as long as a report may be old, and one more, as a token that was made before
/// midnight fits a contact of the next day too. The desk refuses what is older.
const KEPT: u16 = Report::MAX_AGE + 1;

/// Which report counted a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim([u8; 14]);

/// Makes the claims of a source's reports. A claim follows from the report and not from its place: what comes again after
/// a kill may come in another order, or with more before it.
pub(super) struct Claims {
    source: [u8; 32],
    times: HashMap<[u8; 32], u32>,
    /// Of its full size from the start: a buffer that grows leaves copies behind.
    octets: Zeroizing<Vec<u8>>,
}

impl Claims {
    pub(super) fn new(source: Source) -> Self {
        let octets = Zeroizing::new(Vec::with_capacity(limits::REPORT_LEN));
        Self { source: source.digest(), times: HashMap::new(), octets }
    }

    /// The claim of the next report; of the same octets each has one of its own.
    pub(super) fn next(&mut self, report: &Report<'_>) -> Claim {
        self.octets.clear();
        report.encode(&mut self.octets);
        let report = sha256(&self.octets);
        let times = self.times.entry(report).or_default();
        let claim = Claim::new(&self.source, &report, *times);
        *times += 1;
        claim
    }
}

impl Claim {
    fn new(source: &[u8; 32], report: &[u8; 32], times: u32) -> Self {
        let hash = sha256(&[&source[..], report, &times.to_be_bytes()].concat());
        let mut claim = [0; 14];
        claim.copy_from_slice(&hash[..14]);
        Self(claim)
    }
}

/// The tokens that were counted.
pub(super) struct Seen {
    disk: Disk,
    dir: PathBuf,
    tokens: HashMap<Key, (Day, Claim)>,
    /// Octets of each file that are whole records.
    lengths: HashMap<Day, u64>,
    /// Not yet on disk.
    fresh: Vec<(Key, Day, Claim)>,
}

/// A token, and what it was counted for.
type Key = (ConfirmationToken, Degree);

impl Seen {
    /// Reads the directory, or makes it. A record that was torn by a kill belonged to nothing that was kept.
    pub(super) fn open(dir: &Path, disk: Disk) -> Result<Self, DiskError> {
        disk.create_dir(dir, PRIVATE_DIR)?;
        let (tokens, lengths, fresh) = (HashMap::new(), HashMap::new(), Vec::new());
        let mut seen = Self { disk, dir: dir.into(), tokens, lengths, fresh };
        for day in seen.days()? {
            let octets = durable::read_if_there(&seen.path(day))?.unwrap_or_default();
            let (records, _torn) = octets.as_chunks::<RECORD>();
            seen.lengths.insert(day, u64::try_from(records.len() * RECORD).unwrap_or(u64::MAX));
            seen.tokens.extend(records.iter().map(|record| {
                let (key, day, claim) = parse(record);
                (key, (day, claim))
            }));
        }
        Ok(seen)
    }

    /// Claims a token for a degree; whether this report may count it. It is kept by the next [`Seen::settle`].
    ///
    /// A case goes before an exposure, and not the other way round: who is warned needs no advice about the same contact.
    pub(super) fn claim(&mut self, (token, degree): Key, day: Day, claim: Claim) -> bool {
        if let Some((_, known)) = self.tokens.get(&(token, degree)) {
            return *known == claim;
        }
        if degree == Degree::Second && self.tokens.contains_key(&(token, Degree::First)) {
            return false;
        }
        self.tokens.insert((token, degree), (day, claim));
        self.fresh.push(((token, degree), day, claim));
        true
    }

    /// Whether a token was claimed for a degree.
    pub(super) fn has(&self, key: Key) -> bool {
        self.tokens.contains_key(&key)
    }

    /// Brings all claims to the disk.
    pub(super) fn settle(&mut self) -> Result<(), DiskError> {
        self.fresh.sort_unstable_by_key(|(_, day, _)| *day);
        for of_day in self.fresh.chunk_by(|(_, one, _), (_, other, _)| one == other) {
            let Some((_, day, _)) = of_day.first() else { continue };
            let octets: Vec<u8> = of_day.iter().flat_map(record).collect();
            let length = self.lengths.entry(*day).or_default();
            let path = self.dir.join(format!("{}{ENDING}", day.number()));
            self.disk.append(&path, PRIVATE, *length, &octets)?;
            *length += u64::try_from(octets.len()).unwrap_or_default();
        }
        self.fresh.clear();
        Ok(())
    }

    /// Forgets tokens that no report could bring again.
    pub(super) fn forget(&mut self, today: Day) -> Result<(), DiskError> {
        let oldest = today.minus(KEPT);
        for day in self.days()?.into_iter().filter(|day| *day < oldest) {
            self.disk.remove(&self.path(day))?;
            self.lengths.remove(&day);
        }
        self.tokens.retain(|_, (day, _)| *day >= oldest);
        self.fresh.retain(|(_, day, _)| *day >= oldest);
        Ok(())
    }

    fn days(&self) -> Result<Vec<Day>, DiskError> {
        let names = durable::names(&self.dir)?;
        let day = |name: &String| name.strip_suffix(ENDING)?.parse().ok().map(Day::new);
        Ok(names.iter().filter_map(day).collect())
    }

    fn path(&self, day: Day) -> PathBuf {
        self.dir.join(format!("{}{ENDING}", day.number()))
    }
}

fn record(((token, degree), day, claim): &(Key, Day, Claim)) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..16].copy_from_slice(token.octets());
    let bit = if *degree == Degree::Second { SECOND } else { 0 };
    record[16..18].copy_from_slice(&(day.number() & !SECOND | bit).to_be_bytes());
    record[18..].copy_from_slice(&claim.0);
    record
}

fn parse(record: &[u8; RECORD]) -> (Key, Day, Claim) {
    let (mut token, mut claim) = ([0; 16], [0; 14]);
    token.copy_from_slice(&record[..16]);
    claim.copy_from_slice(&record[18..]);
    let day = u16::from_be_bytes([record[16], record[17]]);
    let degree = if day & SECOND == 0 { Degree::First } else { Degree::Second };
    ((ConfirmationToken::new(token), degree), Day::new(day & !SECOND), Claim(claim))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::piece::UploadId;
    use super::*;

    const TODAY: Day = Day::new(20_000);

    fn source(number: u8) -> Source {
        let (id, origin) = (UploadId::from([number; 16]), "826".parse().unwrap());
        Source::Upload { id, origin, degree: Degree::First }
    }

    fn claim(source: Source, report: u32) -> Claim {
        Claim::new(&source.digest(), &sha256(&report.to_be_bytes()), 0)
    }

    fn token(number: u8) -> Key {
        (ConfirmationToken::new([number; 16]), Degree::First)
    }

    fn opened(dir: &Path) -> Seen {
        Seen::open(dir, Disk::default()).unwrap()
    }

    #[test]
    fn a_token_counts_once_and_for_the_same_report_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut seen = opened(dir.path());
        let (first, second) = (claim(source(1), 0), claim(source(1), 1));
        assert!(seen.claim(token(1), TODAY, first) && seen.claim(token(1), TODAY, first));
        assert!(!seen.claim(token(1), TODAY, second), "another report");
        assert!(!seen.claim(token(1), TODAY, claim(source(2), 0)), "another source");
        assert!(!seen.claim(token(1), TODAY.plus(1), second), "whatever its day");
        assert!(seen.claim(token(2), TODAY, second));
    }

    #[test]
    fn a_case_counts_after_an_exposure_and_an_exposure_not_after_a_case() {
        let dir = tempfile::tempdir().unwrap();
        let second = |number| (token(number).0, Degree::Second);
        let mut seen = opened(dir.path());
        assert!(seen.claim(second(1), TODAY, claim(source(1), 0)));
        assert!(!seen.claim(second(1), TODAY, claim(source(2), 0)), "one exposure is advice enough");
        assert!(seen.claim(token(1), TODAY, claim(source(3), 0)));
        assert!(seen.claim(token(2), TODAY, claim(source(3), 1)));
        seen.settle().unwrap();
        let mut again = opened(dir.path());
        assert!(!again.claim(token(1), TODAY, claim(source(4), 0)));
        assert!(again.claim(second(1), TODAY, claim(source(1), 0)), "its own claim after a restart");
        assert!(!again.claim(second(2), TODAY, claim(source(4), 1)));
    }

    #[test]
    fn what_was_settled_is_known_after_a_restart_and_what_was_not_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut seen = opened(dir.path());
        for (number, day) in [(1, TODAY), (2, TODAY.minus(3)), (3, TODAY)] {
            seen.claim(token(number), day, claim(source(number), 0));
        }
        seen.settle().unwrap();
        seen.claim(token(4), TODAY, claim(source(4), 0));
        let mut again = opened(dir.path());
        for number in 1..=3 {
            assert!(!again.claim(token(number), TODAY, claim(source(9), 0)), "{number}");
            assert!(again.claim(token(number), TODAY, claim(source(number), 0)), "{number}");
        }
        assert!(again.claim(token(4), TODAY, claim(source(9), 0)));
    }

    #[test]
    fn a_torn_record_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut seen = opened(dir.path());
        seen.claim(token(1), TODAY, claim(source(1), 0));
        seen.settle().unwrap();
        let path = dir.path().join("20000.log");
        let mut octets = std::fs::read(&path).unwrap();
        octets.extend_from_slice(&[7; 20]);
        std::fs::write(&path, octets).unwrap();
        let mut seen = opened(dir.path());
        seen.claim(token(2), TODAY, claim(source(2), 0));
        seen.settle().unwrap();
        assert_eq!(std::fs::read(&path).unwrap().len(), 2 * RECORD);
        let mut seen = opened(dir.path());
        assert!(!seen.claim(token(2), TODAY, claim(source(9), 0)));
    }

    #[test]
    fn a_token_is_remembered_as_long_as_a_report_could_bring_it_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut seen = opened(dir.path());
        seen.claim(token(1), TODAY, claim(source(1), 0));
        seen.settle().unwrap();
        // A token of one day fits a contact of the next, and that is reported for 15 days more.
        seen.forget(TODAY.plus(16)).unwrap();
        assert!(!seen.claim(token(1), TODAY, claim(source(9), 0)));
        seen.forget(TODAY.plus(17)).unwrap();
        assert!(durable::names(dir.path()).unwrap().is_empty());
        assert!(seen.claim(token(1), TODAY.plus(17), claim(source(9), 0)));
    }

    #[test]
    fn a_record_reads_back() {
        for degree in [Degree::First, Degree::Second] {
            let written = ((token(7).0, degree), Day::new(32_767), claim(source(1), u32::MAX));
            assert!(parse(&record(&written)) == written);
        }
    }

    proptest! {
        #[test]
        fn any_record_reads_back(octets in any::<[u8; RECORD]>()) {
            prop_assert_eq!(record(&parse(&octets)), octets);
        }
    }
}
