//! Every way in which bytes from outside can fail to parse.
//!
//! Texts name the field, what it is and what would do. They carry header values, lengths and small numbers,
//! never the bytes of a token.

/// Why some bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A layout ends too early.
    #[error("{what} is truncated: {missing} more octets are needed")]
    Truncated {
        /// The layout that was read.
        what: &'static str,
        /// Octets that were asked for and not there.
        missing: usize,
    },
    /// A layout goes on where it should end.
    #[error("{what} has {extra} octets too many at its end")]
    Trailing {
        /// The layout that was read.
        what: &'static str,
        /// Octets that nothing accounts for.
        extra: usize,
    },
    /// A field of another length than its type allows.
    #[error("{field} is {is} octets long; it must be {must}")]
    Length {
        /// The field.
        field: &'static str,
        /// Its length.
        is: usize,
        /// What would do.
        must: &'static str,
    },
    /// A length outside of its bounds.
    #[error("{field} is {is} octets long; it must be {least} to {most}")]
    Bounds {
        /// The field.
        field: &'static str,
        /// Its length.
        is: usize,
        /// The shortest that would do.
        least: usize,
        /// The longest that would do.
        most: usize,
    },
    /// A number outside of its range.
    #[error("{field} is {value}; it must be {allowed}")]
    Value {
        /// The field.
        field: &'static str,
        /// What it says.
        value: i64,
        /// What would do.
        allowed: &'static str,
    },
    /// A text form that does not parse.
    #[error("`{text}` is no {what}")]
    Text {
        /// What it should have been.
        what: &'static str,
        /// The text.
        text: String,
    },
    /// Country 0 is nobody.
    #[error("country is 0; it must be an ISO 3166-1 number, as 826 for the United Kingdom")]
    CountryZero,
    /// A payload code that the registry does not know.
    #[error(
        "payload code {code:#04x} is not assigned{hint}; assigned codes are listed by Herald's interoperability annex D"
    )]
    UnknownCode {
        /// The code octet.
        code: u8,
        /// Says so where the family is known and only the slot is not.
        hint: &'static str,
    },
    /// A token of zeros, which broken phones advertise.
    #[error("{field} is all zeros; the phone's key schedule has run out or never began")]
    AllZero {
        /// The field.
        field: &'static str,
    },
    /// An extended-data section that the strict parser refuses.
    #[error("extended data section {code:#04x}: {reason}")]
    Section {
        /// The section's code octet.
        code: u8,
        /// What is wrong and what would do.
        reason: &'static str,
    },
    /// Something that must never leave a country.
    #[error("{field} may not leave a country; leave it out")]
    Forbidden {
        /// The field or extended-data section.
        field: String,
    },
    /// A field whose text or octets break its own rule.
    #[error("{field}: {reason}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong and what would do.
        reason: &'static str,
    },
    /// A version of a layout that this software does not speak.
    #[error("{what} has version {found}; this software reads version {known}")]
    Version {
        /// The layout.
        what: &'static str,
        /// The version octet that was found.
        found: u8,
        /// The versions that are read.
        known: &'static str,
    },
}

impl Malformed {
    /// What is wrong without what it says: for reports, whose values nobody on the way may tell.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::Truncated { what, .. } | Self::Trailing { what, .. } | Self::Version { what, .. } => what,
            Self::Length { field, .. }
            | Self::Bounds { field, .. }
            | Self::Value { field, .. }
            | Self::AllZero { field }
            | Self::Field { field, .. } => field,
            Self::Text { what, .. } => what,
            Self::CountryZero => "country",
            Self::UnknownCode { .. } => "payload code",
            Self::Section { .. } => "extended data",
            Self::Forbidden { .. } => "a field that may not leave a country",
        }
    }
}
