//! What became of each envelope of a push: one true answer for every one.

use std::fmt;

use crate::wire;

/// The gateway's answer for one envelope. The number is what crosses the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Verdict {
    /// Kept durably; it will be delivered.
    Accepted = 1,
    /// Issued by the pushing authority itself; not stored.
    OwnAuthority = 2,
    /// No such country, or no such state and no state 0.
    Unroutable = 3,
    /// The destination is suspended in the trust list.
    Suspended = 4,
    /// The octets do not parse.
    Malformed = 5,
    /// It carries something that may not leave a country.
    ForbiddenField = 6,
    /// The contact was more than 15 days ago.
    TooOld = 7,
    /// The contact is later than tomorrow.
    FromTheFuture = 8,
    /// The same report stands earlier in this push.
    Duplicate = 9,
    /// The destination's key list has not arrived yet; a later push may carry it.
    NoKeyYet = 10,
}

impl Verdict {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Accepted,
        Self::OwnAuthority,
        Self::Unroutable,
        Self::Suspended,
        Self::Malformed,
        Self::ForbiddenField,
        Self::TooOld,
        Self::FromTheFuture,
        Self::Duplicate,
        Self::NoKeyYet,
    ];

    /// The verdict with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.number() == number)
    }

    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// A stable name for metrics, files and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::OwnAuthority => "own_authority",
            Self::Unroutable => "unroutable",
            Self::Suspended => "suspended",
            Self::Malformed => "malformed",
            Self::ForbiddenField => "forbidden_field",
            Self::TooOld => "too_old",
            Self::FromTheFuture => "from_the_future",
            Self::Duplicate => "duplicate",
            Self::NoKeyYet => "no_key_yet",
        }
    }

    /// The same verdict in generated code.
    #[must_use]
    pub fn to_wire(self) -> wire::Verdict {
        wire::Verdict::try_from(i32::from(self.number())).expect("a test holds both lists together")
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_has_the_same_verdicts() {
        for verdict in Verdict::ALL {
            let name = format!("VERDICT_{}", verdict.name().to_uppercase());
            assert_eq!(verdict.to_wire().as_str_name(), name);
            assert_eq!(Verdict::from_number(verdict.number()), Some(verdict));
        }
        assert_eq!(Verdict::from_number(0), None);
        assert!(wire::Verdict::try_from(11).is_err());
    }
}
