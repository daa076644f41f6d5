//! A piece of work on its way out: what a backend hands over at once, and what it is answered.

use std::fmt;

use proto::day::Day;
use proto::header::EnvelopeHeader;
use proto::malformed::Malformed;
use proto::report::{DateOut, JsonProblem, Report};
use proto::verdict::Verdict;
use proto::wiped::Wiped;
use serde::{Deserialize, Serialize};

use crate::diagnosis;

/// Names a claimed piece of work; also a file name, so it has no `/` and does not begin with a dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkName(String);

impl WorkName {
    /// Takes a name that can be a file's.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let good = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
        good.then(|| Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One report of a piece of work, as far as it can be read.
pub struct Outgoing {
    /// Its line or place, from 1.
    pub line: u32,
    /// The report, or why it is none.
    pub report: Result<EncodedReport, Rejected>,
}

/// A report that may leave the country. Wiped when it is dropped.
pub struct EncodedReport {
    header: EnvelopeHeader,
    octets: Wiped,
}

impl EncodedReport {
    /// Encodes a report.
    #[must_use]
    pub fn new(report: &Report<'_>) -> Self {
        // A buffer that grows would leave copies of it behind.
        let mut octets = Wiped::with_capacity(report.encoded_len());
        report.encode(&mut octets);
        Self { header: report.header(), octets }
    }

    /// Who must get it.
    #[must_use]
    pub fn header(&self) -> &EnvelopeHeader {
        &self.header
    }

    /// The octets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The gateway's rule on dates, applied here so that nothing is sent in vain.
    pub fn check_age(&self, today: Day) -> Result<(), Rejected> {
        Report::decode(&self.octets)?.check_age(today)?;
        Ok(())
    }

    /// Refuses an ill person's key that is in use at a Unix time, as its destination would.
    pub fn check_use(&self, now: u64) -> Result<(), Rejected> {
        match Report::decode(&self.octets)? {
            Report::DiagnosisKey(key) if diagnosis::over(&key.key) > now => {
                let message =
                    "the key is in use until two hours after its time; hand it over again then".into();
                Err(Rejected { verdict: Verdict::FromTheFuture, message })
            }
            Report::DiagnosisKey(_) | Report::Contact(_) => Ok(()),
        }
    }
}

/// Why a report does not leave. Names the field, its value where that is no part of a token, and what would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The verdict that the gateway would give.
    pub verdict: Verdict,
    /// For people.
    pub message: String,
}

impl From<Malformed> for Rejected {
    fn from(malformed: Malformed) -> Self {
        let verdict = match malformed {
            Malformed::Forbidden { .. } => Verdict::ForbiddenField,
            _ => Verdict::Malformed,
        };
        Self { verdict, message: malformed.to_string() }
    }
}

impl From<JsonProblem> for Rejected {
    fn from(problem: JsonProblem) -> Self {
        let (verdict, message) = match problem {
            JsonProblem::Malformed(malformed) => return malformed.into(),
            // The line of the file stands beside the verdict already; within it there is only one.
            JsonProblem::NotJson { column, .. } => {
                (Verdict::Malformed, format!("column {column}: this is not a JSON object"))
            }
            JsonProblem::Unknown { .. } => (Verdict::ForbiddenField, problem.to_string()),
            _ => (Verdict::Malformed, problem.to_string()),
        };
        Self { verdict, message }
    }
}

impl From<DateOut> for Rejected {
    fn from(out: DateOut) -> Self {
        let verdict = match out {
            DateOut::TooOld => Verdict::TooOld,
            DateOut::FromTheFuture => Verdict::FromTheFuture,
        };
        Self { verdict, message: out.to_string() }
    }
}

/// What became of one report, as the backend is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Its line or place, from 1.
    pub line: u32,
    /// A [`Verdict`]'s name, or `refused` if its whole push was.
    pub verdict: String,
    /// The push that carried it, in hex; absent if it was not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<String>,
    /// What is wrong and what would do; absent if it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Answer {
    /// The verdict of a report whose whole push was refused.
    pub const REFUSED: &str = "refused";

    /// Of a report that never left.
    #[must_use]
    pub fn local(line: u32, rejected: Rejected) -> Self {
        Self { line, verdict: rejected.verdict.name().into(), push: None, message: Some(rejected.message) }
    }
}

/// Where a finished piece of work goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every report has its verdict.
    Answered,
    /// Some pushes were refused whole; the piece is set aside for a person to look at.
    SetAside,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_work_name_is_a_file_name() {
        assert!(WorkName::new("a.0123abcd").is_some());
        for bad in ["", ".hidden", "a/b", "../a", "a\0"] {
            assert!(WorkName::new(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn what_may_not_leave_is_told_apart_from_what_does_not_parse() {
        let unknown = JsonProblem::Unknown { field: "case_id".into(), place: "a contact" };
        assert_eq!(Rejected::from(unknown).verdict, Verdict::ForbiddenField);
        let section = Malformed::Forbidden { field: "extended data section 0x42 (phone model)".into() };
        assert_eq!(Rejected::from(JsonProblem::Malformed(section)).verdict, Verdict::ForbiddenField);
        let not_json = Rejected::from(JsonProblem::NotJson { line: 1, column: 7 });
        assert_eq!(
            (not_json.verdict, not_json.message.as_str()),
            (Verdict::Malformed, "column 7: this is not a JSON object")
        );
    }
}
