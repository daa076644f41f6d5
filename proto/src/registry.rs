//! The registry of payload codes: which parser a code selects, and the bounds it sets.
//!
//! Ranges are those of Herald's interoperability annex D. Within a family the low three bits are a slot: a new
//! version of a payload takes the next one. A slot nobody has assigned is refused, never guessed.

use std::ops::RangeInclusive;

use crate::malformed::Malformed;

/// How a family's tokens are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Codes 0x00-0x07: a private operator, routed by four opaque octets.
    CustomOpaque,
    /// Codes 0x08-0x0F: an authority's own payload behind a country and state.
    Custom,
    /// Herald Simple: a 16-octet contact identifier.
    Simple,
    /// Herald Secured: service token, confirmation token, exchange receipt.
    Secured,
    /// Herald venue check-in: a beacon's location code.
    Venue,
    /// Google/Apple exposure notification.
    Gaen,
    /// France's ROBERT.
    Robert,
    /// OpenTrace/BlueTrace, text form.
    BlueTraceText,
    /// OpenTrace/BlueTrace, Herald's binary form.
    BlueTraceBinary,
    /// DP-3T.
    Dp3t,
    /// MIT's PACT.
    Pact,
}

/// What is known of one payload code.
#[derive(Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The layout.
    pub family: Family,
    /// A short name for people.
    pub name: &'static str,
    /// The codes it holds.
    codes: RangeInclusive<u8>,
    /// Octets of a frame's body behind the header.
    body: RangeInclusive<usize>,
    /// Octets of the token inside a report.
    token: RangeInclusive<usize>,
}

const fn assigned(
    (family, name): (Family, &'static str),
    codes: RangeInclusive<u8>,
    body: RangeInclusive<usize>,
    token: RangeInclusive<usize>,
) -> Assignment {
    Assignment { family, name, codes, body, token }
}

/// Every assigned slot, in the order of the codes. ROBERT's and DP-3T's sizes are "to be confirmed" in annex D.
static ASSIGNMENTS: [Assignment; 11] = [
    assigned((Family::CustomOpaque, "custom, opaque authority"), 0x00..=0x07, 1..=505, 1..=505),
    assigned((Family::Custom, "custom"), 0x08..=0x0f, 1..=505, 1..=505),
    assigned((Family::Simple, "Herald Simple"), 0x10..=0x10, 16..=505, 16..=16),
    // A report carries service token 119, confirmation token 16 and receipt 16; a frame the whole exchange.
    assigned((Family::Secured, "Herald Secured"), 0x20..=0x20, 65..=505, 151..=151),
    assigned((Family::Venue, "Herald venue check-in"), 0x30..=0x30, 4..=505, 4..=5),
    assigned((Family::Gaen, "GAEN"), 0x80..=0x80, 16..=20, 16..=20),
    assigned((Family::Robert, "ROBERT"), 0x88..=0x88, 1..=505, 1..=505),
    assigned((Family::BlueTraceText, "BlueTrace, text"), 0x90..=0x90, 4..=505, 1..=503),
    assigned((Family::BlueTraceBinary, "BlueTrace, binary"), 0x91..=0x91, 4..=505, 1..=503),
    assigned((Family::Dp3t, "DP-3T"), 0x98..=0x98, 1..=505, 1..=505),
    assigned((Family::Pact, "PACT"), 0xa0..=0xa0, 28..=28, 28..=28),
];

/// The same by code: every report's is looked up several times.
static BY_CODE: [Option<&Assignment>; 256] = by_code(&ASSIGNMENTS);

const fn by_code(mut assignments: &'static [Assignment]) -> [Option<&'static Assignment>; 256] {
    let mut by_code = [None; 256];
    while let [assignment, rest @ ..] = assignments {
        let mut code = *assignment.codes.start() as usize;
        while code <= *assignment.codes.end() as usize {
            by_code[code] = Some(assignment);
            code += 1;
        }
        assignments = rest;
    }
    by_code
}

/// Ranges whose family is known, so that an unassigned slot of them can be told from an unknown family.
const FAMILIES: [RangeInclusive<u8>; 8] =
    [0x10..=0x17, 0x20..=0x27, 0x30..=0x37, 0x80..=0x87, 0x88..=0x8f, 0x90..=0x97, 0x98..=0x9f, 0xa0..=0xa7];

/// Finds what a code means.
#[inline]
pub fn assignment(code: u8) -> Result<&'static Assignment, Malformed> {
    BY_CODE[usize::from(code)].ok_or_else(|| {
        let known = FAMILIES.iter().any(|family| family.contains(&code));
        Malformed::UnknownCode {
            code,
            hint: if known { " (a known family, but an unknown version of it)" } else { "" },
        }
    })
}

impl Assignment {
    /// Whether the four routing octets are one opaque number instead of country and state.
    #[must_use]
    #[inline]
    pub fn is_opaque(&self) -> bool {
        self.family == Family::CustomOpaque
    }

    /// Checks a frame's body: its length, and that a Simple contact identifier is not all zeros.
    pub fn check_body(&self, body: &[u8]) -> Result<(), Malformed> {
        check_length("frame body", body.len(), &self.body)?;
        match self.family {
            Family::Simple => check_identifier(&body[..16]),
            _ => Ok(()),
        }
    }

    /// Checks the token inside a report in the same way.
    #[inline]
    pub fn check_token(&self, token: &[u8]) -> Result<(), Malformed> {
        check_length("token", token.len(), &self.token)?;
        match self.family {
            Family::Simple => check_identifier(token),
            _ => Ok(()),
        }
    }
}

#[inline]
fn check_length(field: &'static str, is: usize, allowed: &RangeInclusive<usize>) -> Result<(), Malformed> {
    if allowed.contains(&is) {
        return Ok(());
    }
    Err(Malformed::Bounds { field, is, least: *allowed.start(), most: *allowed.end() })
}

// Phones of the reference libraries advertise zeros once their 2,000 days are over; they name nobody.
#[inline]
fn check_identifier(identifier: &[u8]) -> Result<(), Malformed> {
    if identifier.iter().all(|octet| *octet == 0) {
        return Err(Malformed::AllZero { field: "contact identifier" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_assigned_or_refused_as_annex_d_says() {
        let expected = |code: u8| match code {
            0x00..=0x0f | 0x10 | 0x20 | 0x30 | 0x80 | 0x88 | 0x90 | 0x91 | 0x98 | 0xa0 => None,
            0x10..=0x17 | 0x20..=0x27 | 0x30..=0x37 | 0x80..=0xa7 => Some(true),
            _ => Some(false),
        };
        for code in 0..=u8::MAX {
            let found = match assignment(code) {
                Ok(assigned) if assigned.codes.contains(&code) => None,
                Ok(assigned) => panic!("{code:#04x} is not {}", assigned.name),
                Err(Malformed::UnknownCode { hint, .. }) => Some(!hint.is_empty()),
                Err(other) => panic!("{other}"),
            };
            assert_eq!(found, expected(code), "{code:#04x}");
        }
    }

    #[test]
    fn a_body_outside_its_bounds_is_refused_with_them() {
        let simple = assignment(0x10).unwrap();
        assert!(simple.check_body(&[1; 16]).is_ok());
        assert_eq!(
            simple.check_body(&[1; 15]).unwrap_err().to_string(),
            "frame body is 15 octets long; it must be 16 to 505"
        );
        assert!(assignment(0xa0).unwrap().check_token(&[1; 29]).is_err());
    }

    #[test]
    fn an_all_zero_contact_identifier_is_refused() {
        let refused = Err(Malformed::AllZero { field: "contact identifier" });
        assert_eq!(assignment(0x10).unwrap().check_body(&[0; 16]), refused);
        assert_eq!(assignment(0x10).unwrap().check_token(&[0; 16]), refused);
    }
}
