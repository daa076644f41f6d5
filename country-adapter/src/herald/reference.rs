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
    /// As the C++ library sends them: little endian too, and Simple frames of a form that is refused.
    #[serde(rename = "herald-ref-cpp")]
    CppLibrary,
}

impl SourceProfile {
    /// A frame as the specification has it.
    pub fn frame(self, octets: Vec<u8>) -> Result<Vec<u8>, Malformed> {
        match self {
            Self::Specification => Ok(octets),
            Self::Libraries => from_little_endian(&octets),
            Self::CppLibrary => from_cpp(&octets),
        }
    }
}

/// Rewrites a frame of the Android or iOS library as the specification has it: header, and a venue's location.
pub fn from_little_endian(octets: &[u8]) -> Result<Vec<u8>, Malformed> {
    let Some((header, body)) = octets.split_first_chunk::<{ EnvelopeHeader::LEN }>() else {
        let missing = EnvelopeHeader::LEN - octets.len();
        return Err(Malformed::Truncated { what: "frame", missing });
    };
    let family = registry::assignment(header[0])?.family;
    let mut converted = swapped_header(family, *header)?.to_vec();
    match (family, body) {
        (Family::Venue, [a, b, c, d, extended @ ..]) => {
            converted.extend_from_slice(&[*d, *c, *b, *a]);
            converted.extend_from_slice(extended);
        }
        _ => converted.extend_from_slice(body),
    }
    Frame::parse(&converted)?;
    Ok(converted)
}

/// The same for the C++ library. Its Simple frames have a length before the contact identifier, and its identifiers
/// repeat every day, so that they are none.
fn from_cpp(octets: &[u8]) -> Result<Vec<u8>, Malformed> {
    let family = octets.first().map(|code| registry::assignment(*code)).transpose()?;
    if family.is_some_and(|assignment| assignment.family == Family::Simple) {
        return Err(CPP);
    }
    from_little_endian(octets)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_frame_that_is_turned_and_turned_again_is_itself(
            code in prop::sample::select(vec![8, 0x10, 0x30, 0x90, 0x91_u8]),
            country in 1..=999_u16,
            state in any::<u16>(),
            body in prop::collection::vec(any::<u8>(), 4..100),
        ) {
            let (country, state) = (country.to_be_bytes(), state.to_be_bytes());
            let frame = [&[code][..], &country, &state, &body].concat();
            prop_assume!(Frame::parse(&frame).is_ok());
            let mut turned = frame.clone();
            turned[1..3].reverse();
            turned[3..5].reverse();
            if code == 0x30 {
                turned[5..9].reverse();
            }
            prop_assert_eq!(from_little_endian(&turned), Ok(frame));
        }
    }

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
    fn an_identifier_may_begin_like_any_length() {
        // What the C++ library would put before an identifier: 2, and 3 octets of extended data.
        let frame = [&[0x10, 0x3a, 3, 1, 0][..], &[5, 0], &[7; 14], &[0x40, 1, 0xc8]].concat();
        let converted = SourceProfile::Libraries.frame(frame.clone()).unwrap();
        assert_eq!(converted[5..], frame[5..], "the profile says what it is, and nothing in the frame");
        assert_eq!(SourceProfile::CppLibrary.frame(frame), Err(CPP));
    }

    #[test]
    fn a_venue_of_the_cpp_library_is_one() {
        let frame = vec![0x30, 0x3a, 3, 1, 0, 4, 3, 2, 1];
        assert_eq!(SourceProfile::CppLibrary.frame(frame), Ok(vec![0x30, 3, 0x3a, 0, 1, 1, 2, 3, 4]));
        assert!(SourceProfile::CppLibrary.frame(Vec::new()).is_err());
    }

    #[test]
    fn extended_data_behind_an_identifier_is_kept() {
        let frame = [&[0x10, 0x3a, 3, 1, 0][..], &[7; 16], &[0x40, 1, 0xc8]].concat();
        let converted = from_little_endian(&frame).unwrap();
        assert_eq!(converted[..5], [0x10, 3, 0x3a, 0, 1]);
        assert_eq!(converted[5..], frame[5..]);
    }
}
