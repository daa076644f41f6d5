//! What a phone has detected: the tokens of other phones, and how near they were. It stays on the phone until its
//! owner falls ill.

use country_adapter::herald::simple::Period;
use proto::day::Day;
use proto::header::EnvelopeHeader;
use proto::registry::Family;
use proto::report::Report;
use serde::{Deserialize, Serialize};

use super::near::Near;

/// Everything detected within the days for which it may be reported.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Log(Vec<Detected>);

/// Another phone, by one token of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detected {
    /// The header of the other phone's authority.
    pub header: [u8; EnvelopeHeader::LEN],
    /// What its authority knows it by: 16 octets of Simple, 151 of Secured.
    #[serde(with = "hex_octets")]
    pub token: Vec<u8>,
    /// What the other phone said of itself, Secured only.
    pub told: Option<Told>,
    /// How near, and when.
    pub near: Near,
}

/// What is in a Secured block beside the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// How strong the other phone heard this one, dBm.
    pub rssi: Option<f64>,
    /// How strong it sent, dBm.
    pub power: Option<f64>,
    /// Its model.
    #[serde(with = "hex_model")]
    pub model: [u8; 8],
}

impl Log {
    /// Adds a contact.
    pub fn push(&mut self, detected: Detected) {
        self.0.push(detected);
    }

    /// Another estimate for a token that was heard before, or its first.
    ///
    /// An identifier of Simple lasts six minutes. Whoever is heard with it later has replayed it: that is a contact of
    /// its own, so that it adds nothing to the true one.
    pub fn sample(&mut self, header: EnvelopeHeader, token: &[u8], (at, metres): (u64, f64)) {
        let is_simple = header.assignment().family == Family::Simple;
        let header = header.octets();
        let is_same = |known: &&mut Detected| {
            let lasts = !is_simple || at <= known.near.first() + Period::SECONDS;
            known.header == header && known.token == token && lasts
        };
        match self.0.iter_mut().find(is_same) {
            Some(known) => known.near.sample(at, metres),
            None => {
                let near = Near::begin(at, metres);
                self.0.push(Detected { header, token: token.to_vec(), told: None, near });
            }
        }
    }

    /// All contacts.
    pub fn iter(&self) -> impl Iterator<Item = &Detected> {
        self.0.iter()
    }

    /// Forgets what may not be reported any more.
    pub fn forget(&mut self, today: Day) {
        self.0.retain(|detected| detected.day() >= today.minus(Report::MAX_AGE));
    }
}

impl Detected {
    /// The header of the other phone's authority; nothing if a saved log holds none.
    #[must_use]
    pub fn header(&self) -> Option<EnvelopeHeader> {
        EnvelopeHeader::parse(&self.header).ok()
    }

    /// The UTC day on which the contact began.
    #[must_use]
    pub fn day(&self) -> Day {
        Day::of_unix(self.near.first())
    }
}

/// A model as hex.
mod hex_model {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(octets: &[u8; 8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(octets))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 8], D::Error> {
        super::super::from_hex(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Octets as hex.
mod hex_octets {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(octets: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(octets))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        hex::decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_heard_again_is_one_contact() {
        let header = EnvelopeHeader::new(0x10, "36/2".parse().unwrap()).unwrap();
        let mut log = Log::default();
        for at in [0, 30, 60, 90] {
            log.sample(header, &[7; 16], (at, 1.5));
        }
        log.sample(header, &[8; 16], (90, 1.5));
        let minutes: Vec<_> = log.iter().map(|met| met.near.duration().number()).collect();
        assert_eq!(minutes, [2, 1]);
    }

    #[test]
    fn an_identifier_that_is_heard_after_its_time_is_another_contact() {
        let header = |code| EnvelopeHeader::new(code, "36/2".parse().unwrap()).unwrap();
        let contacts = |code, token: &[u8]| {
            let mut log = Log::default();
            [0, 330, 360, 390, 7_200].into_iter().for_each(|at| log.sample(header(code), token, (at, 1.5)));
            log.iter().map(|met| met.near.first()).collect::<Vec<_>>()
        };
        assert_eq!(contacts(0x10, &[7; 16]), [0, 390, 7_200]);
        assert_eq!(contacts(0x91, b"AB123456"), [0], "other payloads say themselves how long they last");
    }

    #[test]
    fn a_contact_is_forgotten_after_15_days() {
        let header = EnvelopeHeader::new(0x10, "36/2".parse().unwrap()).unwrap();
        let mut log = Log::default();
        log.sample(header, &[7; 16], (0, 1.5));
        log.forget(Day::new(15));
        assert_eq!(log.iter().count(), 1);
        log.forget(Day::new(16));
        assert_eq!(log.iter().count(), 0);
    }
}
