//! Frames of the published phone libraries, which write little endian where the specification says big.
//!
//! An authority that runs such phones says so in its configuration; a frame's order is never guessed. Single-octet
//! extended data is the same in both orders, and nothing longer leaves a country.

use proto::header::{EnvelopeHeader, Frame};
use proto::malformed::Malformed;
use proto::registry::{self, Family};
use serde::Deserialize;

/// How the frames of an authority's phones are written. Said in the configuration, never guessed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum SourceProfile {
    /// As the specification has it: big endian.
    #[default]
    #[serde(rename = "herald-spec-be")]
    Specification,
    /// As today's Android and iOS libraries send them: little endian.
    #[serde(rename = "herald-ref-le")]
    Libraries,
}

impl SourceProfile {
    /// A frame as the specification has it.
    pub fn frame(self, octets: Vec<u8>) -> Result<Vec<u8>, Malformed> {
        match self {
            Self::Specification => Ok(octets),
            Self::Libraries => from_little_endian(&octets),
        }
    }
}

/// Rewrites a frame of the Android or iOS library as the specification has it: header, and a venue's location.
///
/// Frames of the C++ library are refused: they have a length before the contact identifier, and its identifiers
/// repeat every day.
pub fn from_little_endian(octets: &[u8]) -> Result<Vec<u8>, Malformed> {
    let Some((header, body)) = octets.split_first_chunk::<{ EnvelopeHeader::LEN }>() else {
        let missing = EnvelopeHeader::LEN - octets.len();
        return Err(Malformed::Truncated { what: "frame", missing });
    };
    let family = registry::assignment(header[0])?.family;
    let mut converted = swapped_header(family, *header)?.to_vec();
    match (family, body) {
        (Family::Simple, _) if is_of_the_cpp_library(body) => return Err(CPP),
        (Family::Venue, [a, b, c, d, extended @ ..]) => {
            converted.extend_from_slice(&[*d, *c, *b, *a]);
            converted.extend_from_slice(extended);
        }
        _ => converted.extend_from_slice(body),
    }
    Frame::parse(&converted)?;
    Ok(converted)
}

const CPP: Malformed = Malformed::Field {
    field: "Simple frame",
    reason: "the C++ library puts a length before the contact identifier and repeats its identifiers daily; update the phone",
};

fn swapped_header(family: Family, header: [u8; 5]) -> Result<[u8; 5], Malformed> {
    let [code, country_low, country_high, state_low, state_high] = header;
    if family == Family::CustomOpaque {
        let reason = "the reference libraries have a country and state only, so no opaque authority";
        return Err(Malformed::Field { field: "payload code", reason });
    }
    Ok([code, country_high, country_low, state_high, state_low])
}

// The C++ library counts 2 and the extended data, and leaves the identifier's 16 octets out.
fn is_of_the_cpp_library(body: &[u8]) -> bool {
    let length = body.first_chunk().map(|length| usize::from(u16::from_le_bytes(*length)));
    body.len() > 16 && length == Some(body.len() - 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opaque_authority_has_no_little_endian_form() {
        assert!(
            from_little_endian(&[0, 1, 0, 0, 0, 7]).unwrap_err().to_string().contains("no opaque authority")
        );
    }

    #[test]
    fn a_short_frame_says_what_is_missing() {
        assert_eq!(from_little_endian(&[0x10, 1]), Err(Malformed::Truncated { what: "frame", missing: 3 }));
        assert!(matches!(from_little_endian(&[0x30, 1, 0, 0, 0, 7]), Err(Malformed::Bounds { .. })));
    }

    #[test]
    fn extended_data_behind_an_identifier_is_kept() {
        let frame = [&[0x10, 0x3a, 3, 1, 0][..], &[7; 16], &[0x40, 1, 0xc8]].concat();
        let converted = from_little_endian(&frame).unwrap();
        assert_eq!(converted[..5], [0x10, 3, 0x3a, 0, 1]);
        assert_eq!(converted[5..], frame[5..]);
    }
}
