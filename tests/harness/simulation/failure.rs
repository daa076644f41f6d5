//! What a simulation can find, by what is broken.

use std::fmt;

/// A result that may be a finding.
pub(super) type Told<T> = Result<T, Failure>;

/// A promise that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub kind: Kind,
    /// What was seen.
    pub detail: String,
}

/// The promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// What was accepted did not arrive.
    Lost,
    /// It arrived more than once in effect.
    Doubled,
    /// Somebody else has it, or something that was refused was kept or delivered.
    Misdelivered,
    /// A report stands somewhere in the clear.
    Leaked,
    /// A sequence has a gap, a chain is broken, or two parties have different batches under one number.
    Chain,
    /// A push was answered otherwise than the rules say.
    Verdict,
    /// A receipt says what is not so, or is missing.
    Receipt,
    /// Something was purged before its time, or kept after it.
    Retention,
    /// Something does not come to an end when nothing is in its way.
    Stuck,
    /// The machine or the harness failed.
    Broke,
}

impl Kind {
    /// Its name in a summary.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Misdelivered => "misdelivered",
            Self::Leaked => "leaked",
            Self::Chain => "chain",
            Self::Verdict => "verdict",
            Self::Receipt => "receipt",
            Self::Retention => "retention",
            Self::Stuck => "stuck",
            Self::Broke => "broke",
        }
    }
}

impl Failure {
    /// A finding.
    #[must_use]
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.detail)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(cause: E) -> Self {
        Self::new(Kind::Broke, format!("{:#}", cause.into()))
    }
}
