//! Venue check-in (payload 0x30): `location u32`, then what a beacon tells a visitor about the place.
//!
//! Names and addresses stay in the country: the issuer knows its own venues by their location number.

use proto::extended::ExtendedData;
use proto::header::EnvelopeHeader;
use proto::ids::Authority;
use proto::malformed::Malformed;
use proto::octets::Reader;

use super::frame;

/// Payload code of a beacon.
pub const CODE: u8 = 0x30;

/// The location as it stands in the body, 4 octets, and the extended data behind it.
pub fn parse(body: &[u8]) -> Result<(&[u8], ExtendedData<'_>), Malformed> {
    let mut reader = Reader::new("venue body", body);
    let location = reader.take(4)?;
    Ok((location, ExtendedData::parse(reader.rest())?))
}

/// What a beacon of this authority advertises.
pub fn beacon(authority: Authority, location: u32, extended: ExtendedData<'_>) -> Result<Vec<u8>, Malformed> {
    frame(EnvelopeHeader::new(CODE, authority)?, &[&location.to_be_bytes(), extended.octets()])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proto::extended::put_section;
    use proto::header::Frame;

    use super::*;

    proptest! {
        #[test]
        fn any_beacon_reads_back_and_any_body_is_one_or_refused(
            (country, state, location) in (1..=999_u16, any::<u16>(), any::<u32>()),
            area in "[a-zA-Z0-9 ]{1,40}",
            body in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let mut extended = Vec::new();
            put_section(&mut extended, 0x11, area.as_bytes()).unwrap();
            let authority = format!("{country}/{state}").parse().unwrap();
            let octets = beacon(authority, location, ExtendedData::parse(&extended).unwrap()).unwrap();
            let frame = Frame::parse(&octets).unwrap();
            prop_assert_eq!(frame.header.authority(), authority);
            let (read, told) = parse(frame.body).unwrap();
            prop_assert_eq!((read, told.octets()), (&location.to_be_bytes()[..], &extended[..]));
            if let Ok((location, extended)) = parse(&body) {
                prop_assert_eq!([location, extended.octets()].concat(), body);
            }
        }
    }

    #[test]
    fn a_venue_without_its_whole_location_is_truncated() {
        assert_eq!(parse(&[0, 0, 1]), Err(Malformed::Truncated { what: "venue body", missing: 1 }));
    }

    #[test]
    fn a_beacon_does_not_outgrow_its_frame() {
        let extended: Vec<u8> =
            [0x80, 0x81].iter().flat_map(|code| [&[*code, 249][..], &[7; 249]].concat()).collect();
        let authority = "826/1".parse().unwrap();
        assert!(beacon(authority, 1, ExtendedData::parse(&extended[..251]).unwrap()).is_ok());
        assert!(beacon(authority, 1, ExtendedData::parse(&extended).unwrap()).is_err());
    }
}
