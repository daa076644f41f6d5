//! A report, as it may leave a country: the one encoder and the one strict decoder (`protocol.md` section 6).
//!
//! `kind u8 | version u8 | fields`, big endian. What decodes has one encoding only, and no field that may not
//! leave; decoding allocates nothing. Tokens and keys are never printed.

mod contact;
mod diagnosis;
mod fields;
mod json;
mod json_fields;

#[cfg(test)]
mod json_tests;
#[cfg(test)]
mod tests;

pub use contact::{Contact, Token};
pub use diagnosis::{DiagnosisKey, GaenKey, IllKey, RollingWindow, SimpleKey};
pub use fields::{Minutes, OnsetDays, QuarterHour, ReportType, Risk, Score, TransmissionRisk};
pub use json::{JsonContact, JsonDiagnosisKey, JsonHeader, JsonReport, JsonRisk};
pub use json_fields::{Base64, JsonProblem};

use crate::day::Day;
use crate::header::EnvelopeHeader;
use crate::limits;
use crate::malformed::Malformed;
use crate::octets::Reader;

/// One report, borrowing its token and extended data from the octets it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report<'a> {
    /// Somebody ill met the phone that this token names.
    Contact(Contact<'a>),
    /// An ill person's own key, for countries that match on phones.
    DiagnosisKey(DiagnosisKey),
}

/// Why a report's date is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DateOut {
    /// Older than any incubation.
    #[error("the date is more than 15 days ago; leave the report out")]
    TooOld,
    /// Later than any clock error explains.
    #[error("the date is later than tomorrow; check the clock")]
    FromTheFuture,
}

impl<'a> Report<'a> {
    /// The version that this software reads and writes.
    pub const VERSION: u8 = 1;
    /// Days that a report may be old.
    pub const MAX_AGE: u16 = 15;

    const CONTACT: u8 = 1;
    const DIAGNOSIS_KEY: u8 = 2;

    /// Reads a whole report of at most 2,048 octets.
    #[inline]
    pub fn decode(octets: &'a [u8]) -> Result<Self, Malformed> {
        if octets.len() > limits::REPORT_LEN {
            let (least, most) = (1, limits::REPORT_LEN);
            return Err(Malformed::Bounds { field: "report", is: octets.len(), least, most });
        }
        let mut reader = Reader::new("report", octets);
        let report = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(report)
    }

    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (kind, version) = (reader.u8()?, reader.u8()?);
        if !(Self::CONTACT..=Self::DIAGNOSIS_KEY).contains(&kind) {
            let allowed = "1 (contact) or 2 (diagnosis key)";
            return Err(Malformed::Value { field: "report kind", value: kind.into(), allowed });
        }
        if version != Self::VERSION {
            return Err(Malformed::Version { what: "report", found: version, known: "1" });
        }
        match kind {
            Self::CONTACT => Contact::read(reader).map(Self::Contact),
            _ => DiagnosisKey::read(reader).map(Self::DiagnosisKey),
        }
    }

    /// Appends the only encoding of this report.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Contact(contact) => {
                out.extend_from_slice(&[Self::CONTACT, Self::VERSION]);
                contact.put(out);
            }
            Self::DiagnosisKey(key) => {
                out.extend_from_slice(&[Self::DIAGNOSIS_KEY, Self::VERSION]);
                key.put(out);
            }
        }
    }

    /// Octets of its encoding.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        2 + match self {
            Self::Contact(contact) => contact.len(),
            Self::DiagnosisKey(key) => key.len(),
        }
    }

    /// The header under which it travels: who must get it.
    #[must_use]
    pub fn header(&self) -> EnvelopeHeader {
        match self {
            Self::Contact(contact) => contact.token.header(),
            Self::DiagnosisKey(key) => key.header(),
        }
    }

    /// The day of the contact, or of the key.
    #[must_use]
    pub fn day(&self) -> Day {
        match self {
            Self::Contact(contact) => contact.day,
            Self::DiagnosisKey(key) => key.key.day(),
        }
    }

    /// Refuses what is more than 15 days old or later than tomorrow.
    pub fn check_age(&self, today: Day) -> Result<(), DateOut> {
        DateOut::check(self.day(), today)
    }
}

impl DateOut {
    /// Refuses a day more than 15 days ago or later than tomorrow.
    pub fn check(day: Day, today: Day) -> Result<(), Self> {
        if day < today.minus(Report::MAX_AGE) {
            return Err(Self::TooOld);
        }
        if day > today.plus(1) {
            return Err(Self::FromTheFuture);
        }
        Ok(())
    }
}
