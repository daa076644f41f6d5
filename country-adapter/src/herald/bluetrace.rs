//! BlueTrace inside Herald (interoperability annex E): 0x90 with the text of a native message, 0x91 in binary.
//!
//! `length u16 | identity length u16 | identity | extended data`; the first length counts all that follows it.

use std::borrow::Cow;
use std::fmt;

use proto::extended::ExtendedData;
use proto::header::EnvelopeHeader;
use proto::ids::Authority;
use proto::malformed::Malformed;
use proto::octets::Reader;

use super::frame;

/// Payload code of the text form.
pub const TEXT: u8 = 0x90;
/// Payload code of the binary form.
pub const BINARY: u8 = 0x91;

/// What a BlueTrace phone is known by, and what it tells of the signal.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity<'a> {
    /// The identity: base64 text in 0x90, any octets in 0x91. Never empty.
    pub id: &'a [u8],
    extended: Cow<'a, [u8]>,
}

impl Identity<'_> {
    /// The extended data, with the transmit power in one octet.
    pub fn extended(&self) -> Result<ExtendedData<'_>, Malformed> {
        ExtendedData::parse(&self.extended)
    }
}

impl fmt::Debug for Identity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "identity: {} octets, extended data: {} octets", self.id.len(), self.extended.len())
    }
}

/// Reads a body of 0x90. Its identity must be base64 with padding, and goes on as that text.
pub fn parse_text(body: &[u8]) -> Result<Identity<'_>, Malformed> {
    let (id, extended) = cut(body)?;
    check_base64(id)?;
    ExtendedData::parse(extended)?;
    Ok(Identity { id, extended: extended.into() })
}

/// Reads a body of 0x91. A transmit power in two octets, as annex E's figure has it, is put into one.
pub fn parse_binary(body: &[u8]) -> Result<Identity<'_>, Malformed> {
    let (id, extended) = cut(body)?;
    let extended = with_short_power(extended)?;
    ExtendedData::parse(&extended)?;
    Ok(Identity { id, extended })
}

/// A frame of 0x90.
pub fn text_frame(
    authority: Authority,
    text: &str,
    extended: ExtendedData<'_>,
) -> Result<Vec<u8>, Malformed> {
    check_base64(text.as_bytes())?;
    build(EnvelopeHeader::new(TEXT, authority)?, text.as_bytes(), extended)
}

/// A frame of 0x91.
pub fn binary_frame(
    authority: Authority,
    id: &[u8],
    extended: ExtendedData<'_>,
) -> Result<Vec<u8>, Malformed> {
    build(EnvelopeHeader::new(BINARY, authority)?, id, extended)
}

fn build(header: EnvelopeHeader, id: &[u8], extended: ExtendedData<'_>) -> Result<Vec<u8>, Malformed> {
    let too_long = |is| Malformed::Bounds { field: "identity", is, least: 1, most: 501 };
    let id_len = u16::try_from(id.len()).map_err(|_| too_long(id.len()))?;
    if id.is_empty() {
        return Err(too_long(0));
    }
    let inner = 2 + id.len() + extended.octets().len();
    let len = u16::try_from(inner).map_err(|_| too_long(id.len()))?;
    frame(header, &[&len.to_be_bytes(), &id_len.to_be_bytes(), id, extended.octets()])
}

/// Identity and extended data of a body whose lengths agree.
fn cut(body: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let mut reader = Reader::new("BlueTrace body", body);
    let len = reader.u16()?;
    if usize::from(len) != reader.rest().len() {
        let reason = "it must count exactly the octets behind it, in big endian";
        return Err(Malformed::Field { field: "BlueTrace length", reason });
    }
    let id = reader.framed()?;
    if id.is_empty() {
        return Err(Malformed::Bounds { field: "identity", is: 0, least: 1, most: 501 });
    }
    Ok((id, reader.rest()))
}

/// The extended data with section 41 in one signed octet. What is wrong otherwise is left for the strict parser.
fn with_short_power(extended: &[u8]) -> Result<Cow<'_, [u8]>, Malformed> {
    const POWER: u8 = 0x41;
    let mut reader = Reader::new("extended data", extended);
    while !reader.is_done() {
        let before = extended.len() - reader.rest().len();
        let (code, len) = (reader.u8()?, reader.u8()?);
        let value = reader.take(len.into())?;
        if let (POWER, [high, low]) = (code, value) {
            let dbm = i8::try_from(i16::from_be_bytes([*high, *low])).map_err(|_| Malformed::Section {
                code: POWER,
                reason: "the transmit power must be -128 to 127 dBm",
            })?;
            let section = [POWER, 1, dbm.cast_unsigned()];
            return Ok([&extended[..before], &section, reader.rest()].concat().into());
        }
    }
    Ok(extended.into())
}

/// RFC 4648 section 4, with padding: whole quanta, and `=` in the last two places only.
fn check_base64(text: &[u8]) -> Result<(), Malformed> {
    let padding = text.iter().rev().take_while(|letter| **letter == b'=').count();
    let plain = &text[..text.len() - padding];
    let known = |letter: &u8| letter.is_ascii_alphanumeric() || matches!(letter, b'+' | b'/');
    if text.is_empty() || !text.len().is_multiple_of(4) || padding > 2 || !plain.iter().all(known) {
        return Err(Malformed::Field { field: "identity", reason: "it must be base64 text with padding" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(len: u16, rest: &[u8]) -> Vec<u8> {
        [&len.to_be_bytes()[..], rest].concat()
    }

    #[test]
    fn both_lengths_must_agree_with_the_octets() {
        assert!(parse_binary(&body(3, b"\0\x01A")).is_ok());
        for (len, rest) in [(2, &b"\0\x01A"[..]), (4, b"\0\x01A"), (3, b"\0\x02A"), (2, b"\0\0"), (1, b"\0")]
        {
            assert!(parse_binary(&body(len, rest)).is_err(), "{len} {rest:?}");
        }
        // As the C library writes it.
        assert!(parse_binary(b"\x03\0\x01\0A").unwrap_err().to_string().contains("big endian"));
    }

    #[test]
    fn an_identity_in_text_is_base64() {
        for (text, good) in [
            (&b"BD7GJW9F"[..], true),
            (b"AA==", true),
            (b"AAA=", true),
            (b"A===", false),
            (b"AAAAA", false),
            (b"AA=A", false),
            (b"A-_A", false),
            (b"AA A", false),
            (b"====", false),
            (b"", false),
        ] {
            assert_eq!(check_base64(text).is_ok(), good, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_transmit_power_of_two_octets_becomes_one() {
        let extended = |octets| parse_binary_extended(octets);
        assert_eq!(
            extended(b"\x40\x01\xc8\x41\x02\xff\xf4\x42\x01m"),
            Ok(b"\x40\x01\xc8\x41\x01\xf4\x42\x01m".to_vec())
        );
        assert_eq!(extended(b"\x41\x01\x0c"), Ok(b"\x41\x01\x0c".to_vec()));
        let refused = extended(b"\x41\x02\x00\x80").unwrap_err();
        assert!(refused.to_string().contains("-128 to 127"), "{refused}");
        assert!(extended(b"\x41\x02\x00\x0c\x41\x01\x0c").is_err(), "twice");
        assert!(extended(b"\x40\x02\x00\x0c").is_err(), "section 40 has no such form");
    }

    fn parse_binary_extended(extended: &[u8]) -> Result<Vec<u8>, Malformed> {
        let rest = [b"\0\x01A", extended].concat();
        let body = body(u16::try_from(rest.len()).unwrap(), &rest);
        parse_binary(&body).and_then(|identity| Ok(identity.extended()?.octets().to_vec()))
    }

    #[test]
    fn a_frame_that_cannot_be_is_not_built() {
        let authority = "826/4".parse().unwrap();
        let none = ExtendedData::default();
        assert!(binary_frame(authority, &[], none).is_err());
        assert!(binary_frame(authority, &[1; 501], none).is_ok());
        assert!(binary_frame(authority, &[1; 502], none).is_err());
        assert!(binary_frame(authority, &[1; 70_000], none).is_err());
        assert!(text_frame(authority, "no base64", none).is_err());
    }

    fn extended_of(rssi: Option<i8>) -> Vec<u8> {
        rssi.map_or(Vec::new(), |rssi| [&[0x40, 1][..], &rssi.to_be_bytes()].concat())
    }

    proptest! {
        #[test]
        fn any_identity_reads_back_from_its_frame(
            id in prop::collection::vec(any::<u8>(), 1..300),
            quanta in "([A-Za-z0-9+/]{4}){1,60}",
            padding in prop::sample::select(vec!["", "AA==", "AAA="]),
            rssi in any::<Option<i8>>(),
        ) {
            let (authority, text) = ("826/4".parse().unwrap(), quanta + padding);
            let octets = extended_of(rssi);
            let extended = ExtendedData::parse(&octets).unwrap();
            let binary = binary_frame(authority, &id, extended).unwrap();
            let read = parse_binary(&binary[EnvelopeHeader::LEN..]).unwrap();
            prop_assert_eq!((read.id, read.extended().unwrap().octets()), (&id[..], &octets[..]));
            let frame = text_frame(authority, &text, extended).unwrap();
            let read = parse_text(&frame[EnvelopeHeader::LEN..]).unwrap();
            prop_assert_eq!((read.id, read.extended().unwrap().octets()), (text.as_bytes(), &octets[..]));
        }

        #[test]
        fn any_body_is_read_or_refused(octets in prop::collection::vec(any::<u8>(), 0..100)) {
            for body in [octets.clone(), body(u16::try_from(octets.len()).unwrap(), &octets)] {
                let _ = parse_text(&body);
                if let Ok(identity) = parse_binary(&body) {
                    prop_assert!(identity.extended().is_ok());
                }
            }
        }
    }
}
