//! The Envelope header: the five octets that any country can read, and all that routing ever reads.
//!
//! `code u8 | country u16 | state u16`, big endian (Herald specs/payload-interop.md). For codes 0x00-0x07 the
//! last four octets are one opaque authority.

use crate::ids::{Authority, CountryCode, StateCode};
use crate::iso3166;
use crate::malformed::Malformed;
use crate::octets::Reader;
use crate::registry::{self, Assignment};

/// A header whose payload code is assigned and whose country is not 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnvelopeHeader {
    code: u8,
    authority: Authority,
}

impl EnvelopeHeader {
    /// Octets of a header.
    pub const LEN: usize = 5;

    /// Checks the parts of a header: an assigned code, and the kind of authority that goes with it.
    pub fn new(code: u8, authority: Authority) -> Result<Self, Malformed> {
        let opaque = registry::assignment(code)?.is_opaque();
        if opaque != matches!(authority, Authority::Opaque(_)) {
            let reason = "codes 0x00-0x07 go with an opaque authority, all others with a country and state";
            return Err(Malformed::Field { field: "payload code", reason });
        }
        Ok(Self { code, authority })
    }

    /// Reads a header off the front of a frame or out of a push.
    pub fn parse(octets: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("header", octets);
        let header = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(header)
    }

    #[inline]
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let code = reader.u8()?;
        let authority = match registry::assignment(code)? {
            assigned if assigned.is_opaque() => Authority::Opaque(reader.u32()?),
            _ => Authority::State(CountryCode::new(reader.u16()?)?, StateCode::new(reader.u16()?)),
        };
        Ok(Self { code, authority })
    }

    /// The five octets as they stand in a frame.
    #[must_use]
    pub fn octets(&self) -> [u8; Self::LEN] {
        let [_, a, b, c, d] = self.authority.octets();
        [self.code, a, b, c, d]
    }

    /// The payload code: which parser reads the body.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.code
    }

    /// What the registry says of the payload code.
    #[must_use]
    pub fn assignment(&self) -> &'static Assignment {
        registry::assignment(self.code).expect("a header is only made of an assigned code")
    }

    /// Who issued the token.
    #[must_use]
    pub fn authority(&self) -> Authority {
        self.authority
    }

    /// The assigned country that this header would name with its octets swapped, if it names none as it is.
    ///
    /// A hint for people only: the published phone libraries write little endian where the specification says big.
    #[must_use]
    pub fn looks_byte_swapped(&self) -> Option<CountryCode> {
        let Authority::State(country, _) = self.authority else { return None };
        let swapped = country.number().swap_bytes();
        let plausible = !iso3166::is_assigned(country.number()) && iso3166::is_assigned(swapped);
        CountryCode::new(swapped).ok().filter(|_| plausible)
    }
}

/// A Herald payload as a phone advertised it, cut into header and body: 6-510 octets in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The readable header.
    pub header: EnvelopeHeader,
    /// What follows it: 1-505 octets, within the bounds that the registry gives for the code.
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The longest frame: what one Bluetooth attribute write carries.
    pub const MAX_LEN: usize = 510;

    /// Cuts a frame and checks its length against the registry.
    pub fn parse(octets: &'a [u8]) -> Result<Self, Malformed> {
        if octets.len() > Self::MAX_LEN {
            return Err(Malformed::Length { field: "frame", is: octets.len(), must: "6 to 510" });
        }
        let mut reader = Reader::new("frame", octets);
        let header = EnvelopeHeader::read(&mut reader)?;
        header.assignment().check_body(reader.rest())?;
        Ok(Self { header, body: reader.rest() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(octets: [u8; 5]) -> EnvelopeHeader {
        EnvelopeHeader::parse(&octets).unwrap()
    }

    #[test]
    fn a_header_is_code_country_and_state_in_big_endian() {
        let simple = header([0x10, 0x03, 0x3a, 0x00, 0x01]);
        assert_eq!(simple.authority().to_string(), "826/1");
        assert_eq!(simple.octets(), [0x10, 0x03, 0x3a, 0x00, 0x01]);
    }

    #[test]
    fn the_first_eight_codes_route_by_one_opaque_number() {
        for code in 0x00..=0x07 {
            assert_eq!(header([code, 0, 0, 0xab, 0xcd]).authority(), Authority::Opaque(0xabcd));
        }
        assert!(EnvelopeHeader::new(0x10, Authority::Opaque(1)).is_err());
        assert!(EnvelopeHeader::new(0x00, Authority::national(CountryCode::new(826).unwrap())).is_err());
    }

    #[test]
    fn country_zero_is_refused() {
        assert_eq!(EnvelopeHeader::parse(&[0x10, 0, 0, 0, 1]), Err(Malformed::CountryZero));
    }

    #[test]
    fn a_truncated_header_says_what_is_missing() {
        let refused = EnvelopeHeader::parse(&[0x10, 0x03, 0x3a]);
        assert_eq!(refused, Err(Malformed::Truncated { what: "header", missing: 2 }));
    }

    #[test]
    fn a_swapped_country_is_recognised_and_a_true_one_is_not() {
        assert_eq!(header([0x10, 0x3a, 0x03, 0x01, 0x00]).looks_byte_swapped().unwrap().number(), 826);
        assert_eq!(header([0x10, 0x03, 0x3a, 0x00, 0x01]).looks_byte_swapped(), None);
    }

    #[test]
    fn a_frame_of_511_octets_is_refused_and_one_of_510_is_not() {
        let mut octets = vec![0x08, 0x03, 0x3a, 0, 1];
        octets.resize(510, 7);
        assert_eq!(Frame::parse(&octets).unwrap().body.len(), 505);
        octets.push(7);
        assert_eq!(
            Frame::parse(&octets),
            Err(Malformed::Length { field: "frame", is: 511, must: "6 to 510" })
        );
        assert!(Frame::parse(&octets[..5]).is_err(), "an empty body");
    }
}
