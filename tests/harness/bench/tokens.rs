//! Reports that are told apart by a push's number and a place in it, which stand at the front of their tokens.

use std::ops::RangeInclusive;

use anyhow::{Context, Result, ensure};
use proto::day::Day;
use proto::header::EnvelopeHeader;
use proto::ids::Authority;
use proto::report::Report;

use crate::reports::Contact;

/// The first payload code of operators' own: its tokens may have any length.
const OWN: u8 = 0x08;
/// Octets of a report that are not its token, and those of them that stand before it.
const AROUND: usize = 29;
const BEFORE: usize = 27;
/// Octets of a name: the push's number, and the place in it.
const NAME: usize = 12;

/// Octets that an encoded report may have here.
pub const BYTES: RangeInclusive<usize> = AROUND + NAME..=AROUND + 505;

/// Which token it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    /// Number of its push, from 0.
    pub(super) push: u64,
    /// Its place in it, from 0.
    pub(super) place: u32,
}

/// A report for one authority, of the length that all are to have. A name makes it another one.
#[derive(Clone)]
pub(super) struct Mold {
    header: EnvelopeHeader,
    octets: Vec<u8>,
}

impl Mold {
    /// Of reports with so many octets, encoded.
    pub(super) fn new(to: Authority, bytes: usize, day: Day) -> Result<Self> {
        let token = bytes.checked_sub(AROUND).context("a report is longer than what is around its token")?;
        let token: Vec<u8> = (0..token).map(|place| (place * 167 + 13) as u8).collect();
        let mut contact = Contact::simple(to, &token, day);
        contact.header[0] = OWN;
        let octets = contact.octets();
        ensure!(octets.len() == bytes, "a report has {} octets in place of {bytes}", octets.len());
        let header = Report::decode(&octets)?.header();
        Ok(Self { header, octets })
    }

    /// The report with this name, and its header.
    pub(super) fn report(&mut self, name: Name) -> (EnvelopeHeader, &[u8]) {
        let (push, place) = self.octets[BEFORE..][..NAME].split_at_mut(8);
        push.copy_from_slice(&name.push.to_be_bytes());
        place.copy_from_slice(&name.place.to_be_bytes());
        (self.header, &self.octets)
    }
}

/// The name of a report that a [`Mold`] made.
pub(super) fn name(report: &Report<'_>) -> Option<Name> {
    let Report::Contact(contact) = report else { return None };
    let (push, rest) = contact.token.octets().split_first_chunk()?;
    let (place, _) = rest.split_first_chunk()?;
    Some(Name { push: u64::from_be_bytes(*push), place: u32::from_be_bytes(*place) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority;
    use crate::reports::today;

    #[test]
    fn a_report_has_its_length_and_tells_its_name() {
        for bytes in [60, 200, 500, *BYTES.start(), *BYTES.end()] {
            let mut mold = Mold::new(authority("250/0"), bytes, today()).unwrap();
            let told = Name { push: 1 << 40, place: 4_999 };
            let (header, octets) = mold.report(told);
            let report = Report::decode(octets).unwrap();
            assert_eq!((octets.len(), report.header(), name(&report)), (bytes, header, Some(told)));
        }
        assert!(Mold::new(authority("250/0"), BYTES.end() + 1, today()).is_err());
    }
}
