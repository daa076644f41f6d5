//! Contacts as a backend reports them: good ones, and bad ones that no careful program would write.

use std::time::{SystemTime, UNIX_EPOCH};

use base64ct::{Base64UrlUnpadded, Encoding};
use proto::day::Day;
use proto::ids::Authority;
use serde_json::{Value, json};

/// Payload code of Herald Simple.
pub const SIMPLE: u8 = 0x10;

/// A contact, with nothing checked: every part may be wrong.
#[derive(Debug, Clone)]
pub struct Contact {
    /// Payload code, country and state.
    pub header: [u8; 5],
    /// What the phone advertised behind the header.
    pub token: Vec<u8>,
    /// Extended data.
    pub extended: Vec<u8>,
    /// When they met.
    pub day: Day,
}

impl Contact {
    /// A contact with a Simple phone of an authority.
    #[must_use]
    pub fn simple(issuer: Authority, token: &[u8], day: Day) -> Self {
        let [_, a, b, c, d] = issuer.octets();
        Self { header: [SIMPLE, a, b, c, d], token: token.into(), extended: Vec::new(), day }
    }

    /// What the phone advertised: header, token, extended data.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        [&self.header[..], &self.token, &self.extended].concat()
    }

    /// The line of an outgoing file that holds the frame.
    #[must_use]
    pub fn line(&self) -> String {
        self.line_of(&self.frame())
    }

    /// The same line with other octets in the place of the frame.
    #[must_use]
    pub fn line_of(&self, frame: &[u8]) -> String {
        let mut line = self.circumstances();
        line["frame"] = Base64UrlUnpadded::encode_string(frame).into();
        line.to_string()
    }

    /// The line of an outgoing file that holds the report field by field, as it would cross the border.
    #[must_use]
    pub fn full_line(&self) -> String {
        self.mirror().to_string()
    }

    /// The report as JSON, as a backend gets it. Extended data is left out if there is none.
    #[must_use]
    pub fn mirror(&self) -> Value {
        let [code, a, b, c, d] = self.header;
        let mut line = self.circumstances();
        line["v"] = 1.into();
        line["kind"] = "contact".into();
        line["code"] = code.into();
        line["country"] = u16::from_be_bytes([a, b]).into();
        line["state"] = u16::from_be_bytes([c, d]).into();
        line["token"] = Base64UrlUnpadded::encode_string(&self.token).into();
        if !self.extended.is_empty() {
            line["ext"] = Base64UrlUnpadded::encode_string(&self.extended).into();
        }
        line
    }

    fn circumstances(&self) -> Value {
        json!({
            "date": self.day.to_string(),
            "start": "10:15",
            "duration_min": 12,
            "proximity_min": [0, 12, 0, 0],
            "risk": {"type": 1, "score": 60, "mechanism": 1}
        })
    }

    /// The report's octets, written by hand after section 6 of the protocol, so that they may break its rules.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        let mut out = vec![1, 1];
        out.extend_from_slice(&self.header);
        out.extend_from_slice(&self.day.number().to_be_bytes());
        // 10:15; 12 minutes, all of them at 1 to 2 m; risk of kind 1, score 60, mechanism 1.
        out.extend_from_slice(&[41, 0, 12, 0, 0, 0, 12, 0, 0, 0, 0, 1, 0, 60, 0, 1]);
        for part in [&self.token, &self.extended] {
            let len = u16::try_from(part.len()).unwrap_or(u16::MAX);
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(part);
        }
        out
    }
}

/// Today in UTC.
#[must_use]
pub fn today() -> Day {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Day::of_unix(since.map_or(0, |since| since.as_secs()))
}

#[cfg(test)]
mod tests {
    use proto::report::{JsonReport, Report};

    use super::*;
    use crate::authority;

    #[test]
    fn a_contact_is_the_same_report_in_octets_and_in_json() {
        let mut contact = Contact::simple(authority("826/1"), &[7; 16], Day::new(20_780));
        contact.extended = vec![0x40, 1, 0xc8];
        let octets = contact.octets();
        assert!(Report::decode(&octets).is_ok());
        let mirrored = JsonReport::parse(contact.full_line().as_bytes()).unwrap();
        assert_eq!(mirrored.to_octets().unwrap(), octets);
    }
}
