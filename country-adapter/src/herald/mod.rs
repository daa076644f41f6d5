//! What only authorities and phones read: the octets behind a header.
//!
//! A phone's frame becomes the token and the extended data of a report here, and loses what may not leave the country.

pub mod bluetrace;
pub mod gaen;
pub mod matching;
pub mod reference;
pub mod secured;
pub mod signal;
pub mod simple;
pub mod venue;
mod walk;

#[cfg(test)]
mod vectors;

use std::fmt;

use proto::extended::{ExtendedData, Recipient};
use proto::header::{EnvelopeHeader, Frame};
use proto::malformed::Malformed;
use proto::registry::Family;

/// What of a frame goes into a report.
#[derive(Clone, PartialEq, Eq)]
pub struct Parts<'a> {
    /// What the issuer knows its phone by; fits the header's payload code.
    pub token: &'a [u8],
    /// Extended data, stripped to what may go to the issuer.
    pub extended: Vec<u8>,
}

impl fmt::Debug for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "token: {} octets, extended data: {} octets", self.token.len(), self.extended.len())
    }
}

/// Takes a frame apart as its payload code says.
///
/// Of Simple it takes the contact identifier, of a venue the location, of BlueTrace the identity; payloads without
/// extended data of their own go whole. A Secured frame is closed: its phone reports the tokens field by field.
pub fn split<'a>(frame: &Frame<'a>) -> Result<Parts<'a>, Malformed> {
    let body = frame.body;
    let (token, extended) = match frame.header.assignment().family {
        Family::Simple => {
            let (identifier, extended) = simple::parse(body)?;
            (identifier, leaving(extended))
        }
        Family::Venue => {
            let (location, extended) = venue::parse(body)?;
            (location, leaving(extended))
        }
        Family::BlueTraceText => {
            let identity = bluetrace::parse_text(body)?;
            (identity.id, leaving(identity.extended()?))
        }
        Family::BlueTraceBinary => {
            let identity = bluetrace::parse_binary(body)?;
            (identity.id, leaving(identity.extended()?))
        }
        Family::Secured => return Err(SECURED),
        Family::CustomOpaque
        | Family::Custom
        | Family::Gaen
        | Family::Robert
        | Family::Dp3t
        | Family::Pact => (body, Vec::new()),
    };
    frame.header.assignment().check_token(token)?;
    Ok(Parts { token, extended })
}

const SECURED: Malformed = Malformed::Field {
    field: "Secured frame",
    reason: "it opens with the phone's own key only; report its service token, confirmation token and receipt instead",
};

fn leaving(extended: ExtendedData<'_>) -> Vec<u8> {
    extended.forwardable(Recipient::Issuer)
}

/// Puts a body behind its header and checks the whole frame.
fn frame(header: EnvelopeHeader, body: &[&[u8]]) -> Result<Vec<u8>, Malformed> {
    let mut octets = header.octets().to_vec();
    body.iter().for_each(|part| octets.extend_from_slice(part));
    Frame::parse(&octets)?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn octets(header: &str, body: &[u8]) -> Vec<u8> {
        [&hex::decode(header).unwrap(), body].concat()
    }

    #[test]
    fn payloads_without_extended_data_go_whole() {
        for (header, len) in [("00000000ff", 9), ("08033a0001", 9), ("80033a0001", 20), ("88033a0001", 9)] {
            let octets = octets(header, &vec![7; len]);
            let parts = split(&Frame::parse(&octets).unwrap()).unwrap();
            assert_eq!((parts.token.len(), parts.extended.len()), (len, 0), "{header}");
        }
    }

    #[test]
    fn a_simple_frame_keeps_signal_readings_and_loses_the_phone_model_and_the_area() {
        let body = [&[7; 16][..], b"\x01\x01\x00\x05\x03S41\x42\x06CANARY\x40\x01\xc8"].concat();
        let octets = octets("10033a0001", &body);
        let parts = split(&Frame::parse(&octets).unwrap()).unwrap();
        assert_eq!(parts, Parts { token: &[7; 16], extended: b"\x01\x01\x00\x40\x01\xc8".to_vec() });
        assert_eq!(format!("{parts:?}"), "token: 16 octets, extended data: 6 octets");
    }

    #[test]
    fn a_secured_frame_cannot_be_taken_apart() {
        let octets = octets("20033a0001", &[4; 65]);
        let refused = split(&Frame::parse(&octets).unwrap()).unwrap_err();
        assert!(refused.to_string().contains("service token, confirmation token and receipt"), "{refused}");
    }

    #[test]
    fn broken_extended_data_refuses_the_frame() {
        for (header, body) in [
            ("10033a0001", &[&[7; 16][..], &[0x40]].concat()[..]),
            ("30033a0001", &[0, 0, 0, 1, 0x13, 1, b'h']),
            ("91033a0001", b"\0\x06\0\x01A\x40\x02\x00"),
        ] {
            let octets = octets(header, body);
            assert!(split(&Frame::parse(&octets).unwrap()).is_err(), "{header}");
        }
    }

    proptest! {
        #[test]
        fn any_frame_is_taken_apart_or_refused(
            code in prop::sample::select(vec![0, 8, 0x10, 0x20, 0x30, 0x80, 0x88, 0x90, 0x91, 0x98, 0xa0_u8]),
            body in prop::collection::vec(any::<u8>(), 1..506),
        ) {
            let octets = [&[code, 3, 0x3a, 0, 1][..], &body].concat();
            if let Ok(parts) = Frame::parse(&octets).and_then(|frame| split(&frame)) {
                let extended = ExtendedData::parse(&parts.extended).unwrap();
                prop_assert!(extended.leaving(Recipient::Issuer).is_ok());
            }
        }

        #[test]
        fn any_octets_are_converted_or_refused(octets in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(converted) = reference::from_little_endian(&octets) {
                prop_assert!(Frame::parse(&converted).is_ok());
            }
        }
    }
}
