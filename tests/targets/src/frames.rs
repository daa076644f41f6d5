//! What phones advertise, and what backends hand on of it.

use country_adapter::herald;
use country_adapter::herald::secured::Area;
use country_adapter::herald::secured::exchange::{Asking, Request};
use country_adapter::herald::secured::report::ReportToken;
use proto::extended::{ExtendedData, Recipient};
use proto::header::{EnvelopeHeader, Frame};

/// A whole frame, its header, and what its family keeps in it.
pub(crate) fn frame(octets: &[u8]) {
    if let Ok(header) = EnvelopeHeader::parse(octets) {
        assert_eq!(header.octets().as_slice(), octets);
        let _ = header.looks_byte_swapped();
    }
    let Ok(frame) = Frame::parse(octets) else { return };
    if let Ok(parts) = herald::split(&frame) {
        assert!(parts.token.len() <= frame.body.len());
        if let Ok(extended) = ExtendedData::parse(&parts.extended) {
            assert!(extended.leaving(Recipient::Issuer).is_ok(), "only what may leave is split off");
        }
    }
}

/// The section behind a payload.
pub(crate) fn extended(octets: &[u8]) {
    let Ok(data) = ExtendedData::parse(octets) else { return };
    assert_eq!(data.octets(), octets);
    assert!(data.sections().count() <= octets.len());
    for to in [Recipient::Issuer, Recipient::Other] {
        let kept = data.forwardable(to);
        let again = ExtendedData::parse(&kept).expect("what is kept of good data is good");
        assert!(again.leaving(to).is_ok());
        assert_eq!(data.leaving(to).is_ok(), kept == octets);
    }
}

/// What phones of Herald Secured write to each other and upload.
pub(crate) fn secured(octets: &[u8]) {
    if let Ok(request) = Request::parse(octets) {
        assert_eq!(request.octets().as_slice(), octets);
    }
    if let Ok(report) = ReportToken::parse(octets) {
        assert_eq!(report.octets().as_slice(), octets);
    }
    if let Ok(area) = <[u8; 4]>::try_from(octets).map_err(drop).and_then(|four| Area::new(four).map_err(drop))
    {
        assert_eq!(area.octets().as_slice(), octets);
    }
    if let Ok(asking) = Asking::new("826/1".parse().expect("it is an authority")) {
        let _ = asking.open(octets);
    }
}
