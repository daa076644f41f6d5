//! What of an upload leaves the country and what stays (`herald.md` 4.4, 6.2). Pure.
//!
//! Only a report leaves: the client id, the other phone's model, places, texts and exact readings have no field there.

use std::collections::HashSet;

use pki::trust::TrustList;
use proto::extended::{ExtendedData, Recipient};
use proto::ids::Authority;
use proto::report::{Contact, DateOut, Report, Risk};
use proto::{day::Day, extended};

use super::upload::{Place, Upload, UploadedContact};
use crate::herald::secured::float16::Half;

/// Sections of extended data for signal readings: the other phone's last RSSI and transmit power, dBm.
const RSSI: u8 = 0x40;
const POWER: u8 = 0x41;

/// A contact as it may leave, with room for what it borrows.
pub struct Stripped<'a> {
    contact: &'a UploadedContact<'a>,
    extended: Vec<u8>,
}

/// The contacts of an upload, by who handles them.
pub struct Parted<'a> {
    /// Phones that this authority answers for.
    pub domestic: Vec<Stripped<'a>>,
    /// Phones of other authorities, of this country or another.
    pub foreign: Vec<Stripped<'a>>,
}

/// A contact or key that no authority would take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfTime {
    /// Where it stands.
    pub place: Place,
    /// Too old, or from the future.
    pub out: DateOut,
}

impl<'a> Stripped<'a> {
    /// A contact without what may not go to whoever answers for its token.
    #[must_use]
    pub fn new(contact: &'a UploadedContact<'a>, recipient: Recipient) -> Self {
        let mut extended = contact.extended.forwardable(recipient);
        for (code, reading) in [(RSSI, contact.readings.rssi), (POWER, contact.readings.power)] {
            if let Some(reading) = reading.and_then(whole)
                && contact.extended.value(code).is_none()
            {
                // One octet always makes a section.
                let _ = extended::put_section(&mut extended, code, &reading.to_be_bytes());
            }
        }
        Self { contact, extended }
    }

    /// The report of it.
    #[must_use]
    pub fn report(&self) -> Report<'_> {
        let UploadedContact { token, day, start, duration, proximity, .. } = *self.contact;
        let extended = ExtendedData::parse(&self.extended)
            .and_then(|extended| extended.leaving(Recipient::Issuer))
            .expect("only what may leave was put together");
        Report::Contact(Contact { token, day, start, duration, proximity, risk: Risk::default(), extended })
    }
}

impl<'a> Parted<'a> {
    /// Checks the dates and parts the contacts; the same one twice counts once.
    ///
    /// They are parted as the gateway routes: what another state's authority answers for is not this one's, even if this
    /// one is the national.
    pub fn new(
        upload: &'a Upload<'a>,
        (own, trust): (Authority, &TrustList),
        today: Day,
    ) -> Result<Self, OutOfTime> {
        let out_of_time = |place| move |out| OutOfTime { place, out };
        for (place, key) in (1..).zip(&upload.keys) {
            DateOut::check(key.key.day(), today).map_err(out_of_time(Place::Key(place)))?;
        }
        let mut seen = HashSet::new();
        let (mut domestic, mut foreign) = (Vec::new(), Vec::new());
        for (place, contact) in (1..).zip(&upload.contacts) {
            DateOut::check(contact.day, today).map_err(out_of_time(Place::Contact(place)))?;
            let header = contact.token.header();
            if !seen.insert((header.octets(), contact.token.octets(), contact.day, contact.start)) {
                continue;
            }
            let issuer = header.authority();
            let answering = trust.answering(issuer).map(|(_, authority)| authority);
            // A national authority that answers for a state without one has not issued the token.
            let recipient = if answering == Some(issuer) { Recipient::Issuer } else { Recipient::Other };
            let stripped = Stripped::new(contact, recipient);
            if answering == Some(own) {
                domestic.push(stripped);
            } else {
                foreign.push(stripped);
            }
        }
        Ok(Self { domestic, foreign })
    }
}

/// A reading in whole dBm, if it fits.
fn whole(reading: Half) -> Option<i8> {
    let rounded = reading.value().round();
    // The bounds make the cast exact.
    #[expect(clippy::cast_possible_truncation, reason = "checked to be within -128 to 127")]
    (-128.0..=127.0).contains(&rounded).then_some(rounded as i8)
}

#[cfg(test)]
#[path = "split_tests.rs"]
mod tests;
