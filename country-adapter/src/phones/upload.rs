//! What a phone uploads when its owner's case is confirmed: one size, whatever is in it.
//!
//! ```text
//! version u8 = 1 | client id 16 | contacts u16 | contacts | keys u16 | keys | zeros, up to 1 MiB
//! contact: length u16 | header 5 | day u16 | start u8 | duration u16 | proximity 4 x u16 | rssi f16 | power f16 |
//!          model 8 | token length u16, token | extended length u16, extended
//! key:     length u16 | family u8 | key 32 or 16 | rolling start u32 | rolling period u8 | report type u8 |
//!          onset i8 | transmission risk u8 | visited u8, visited x country u16
//! ```
//! Big endian. `start` is 255 and `onset` 127 for none, readings are 0x7e00, a model is zeros. The client id and the
//! model stay in the country, and so does most extended data.

use proto::day::Day;
use proto::extended::ExtendedData;
use proto::header::EnvelopeHeader;
use proto::ids::CountryCode;
use proto::malformed::Malformed;
use proto::octets::Reader;
use proto::report::{IllKey, Minutes, OnsetDays, QuarterHour, ReportType, Token, TransmissionRisk};
use zeroize::Zeroizing;

use crate::herald::secured::ModelHash;
use crate::herald::secured::block::Readings;
use crate::herald::secured::client_id::ClientId;
use crate::herald::secured::float16::Half;
use crate::risk;

/// Octets of every upload.
pub const SIZE: usize = 1 << 20;
/// Contacts of an upload, at most.
pub const MOST_CONTACTS: usize = 5_000;
/// Keys of an upload, at most: two weeks, with room for keys of part of a day.
pub const MOST_KEYS: usize = 64;
const VERSION: u8 = 1;

/// An upload. Borrows tokens and extended data.
pub struct Upload<'a> {
    /// Who uploads; for the own authority alone.
    pub client: ClientId,
    /// Whom the phone met.
    pub contacts: Vec<UploadedContact<'a>>,
    /// The ill person's own keys.
    pub keys: Vec<UploadedKey>,
}

/// A contact as the phone logged it.
#[derive(Clone, PartialEq, Eq)]
pub struct UploadedContact<'a> {
    /// What the other phone advertised, or gave in an exchange.
    pub token: Token<'a>,
    /// The UTC day on which the contact began.
    pub day: Day,
    /// When on that day.
    pub start: Option<QuarterHour>,
    /// How long it lasted.
    pub duration: Minutes,
    /// Minutes at less than 1 m, 1-2 m, 2-4 m and more.
    pub proximity: [Minutes; 4],
    /// Signal readings.
    pub readings: Readings,
    /// The other phone's model.
    pub model: ModelHash,
    /// All extended data; what may not leave the country is left out later.
    pub extended: ExtendedData<'a>,
}

/// A key with which the ill person's phone made what it advertised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedKey {
    /// The key and when it was used.
    pub key: IllKey,
    /// How the illness is known.
    pub report_type: ReportType,
    /// Days from the onset of symptoms to the key's day.
    pub onset: Option<OnsetDays>,
    /// GAEN's transmission risk level.
    pub transmission_risk: TransmissionRisk,
    /// Countries where its owner was.
    pub visited: Vec<CountryCode>,
}

/// What is wrong with an upload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// Not exactly 1 MiB.
    #[error("an upload has 1048576 octets, filled up with zeros; this one has {is}")]
    Size {
        /// Its octets.
        is: usize,
    },
    /// More contacts or keys than one case has.
    #[error("an upload has at most {most} {what}")]
    TooMany {
        /// Contacts or keys.
        what: &'static str,
        /// How many there may be.
        most: usize,
    },
    /// A field.
    #[error("{place}: {malformed}")]
    Malformed {
        /// Where.
        place: Place,
        /// What.
        malformed: Malformed,
    },
}

/// Where something is wrong; places count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Before the first contact, or behind the last key.
    Frame,
    /// A contact.
    Contact(usize),
    /// A key.
    Key(usize),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Frame => f.write_str("upload"),
            Self::Contact(place) => write!(f, "contact {place}"),
            Self::Key(place) => write!(f, "key {place}"),
        }
    }
}

impl<'a> Upload<'a> {
    /// Reads an upload; all of it.
    pub fn parse(octets: &'a [u8]) -> Result<Self, UploadError> {
        if octets.len() != SIZE {
            return Err(UploadError::Size { is: octets.len() });
        }
        let at = |place| move |malformed| UploadError::Malformed { place, malformed };
        let mut reader = Reader::new("upload", octets);
        let version = reader.u8().map_err(at(Place::Frame))?;
        if version != VERSION {
            let malformed = Malformed::Version { what: "upload", found: version, known: "1" };
            return Err(at(Place::Frame)(malformed));
        }
        let client = ClientId::new(reader.array().map_err(at(Place::Frame))?);
        let mut contacts = Vec::new();
        for place in 1..=count(&mut reader, ("contacts", MOST_CONTACTS))? {
            let part = reader.framed().map_err(at(Place::Contact(place)))?;
            contacts.push(UploadedContact::parse(part).map_err(at(Place::Contact(place)))?);
        }
        let mut keys = Vec::new();
        for place in 1..=count(&mut reader, ("keys", MOST_KEYS))? {
            let part = reader.framed().map_err(at(Place::Key(place)))?;
            keys.push(UploadedKey::parse(part).map_err(at(Place::Key(place)))?);
        }
        if reader.rest().iter().any(|octet| *octet != 0) {
            let malformed = Malformed::Field { field: "padding", reason: "it must be zeros" };
            return Err(at(Place::Frame)(malformed));
        }
        Ok(Self { client, contacts, keys })
    }

    /// Its octets, filled up to the one size; nothing if there is more than fits.
    #[must_use]
    pub fn octets(&self) -> Option<Zeroizing<Vec<u8>>> {
        let mut octets = Zeroizing::new(Vec::with_capacity(SIZE));
        octets.push(VERSION);
        octets.extend_from_slice(self.client.octets());
        put_count(&mut octets, self.contacts.len(), MOST_CONTACTS)?;
        for contact in &self.contacts {
            put_framed(&mut octets, |octets| contact.put(octets))?;
        }
        put_count(&mut octets, self.keys.len(), MOST_KEYS)?;
        for key in &self.keys {
            put_framed(&mut octets, |octets| key.put(octets))?;
        }
        if octets.len() > SIZE {
            return None;
        }
        octets.resize(SIZE, 0);
        Some(octets)
    }
}

impl<'a> UploadedContact<'a> {
    fn parse(octets: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("contact", octets);
        let header = EnvelopeHeader::parse(reader.take(EnvelopeHeader::LEN)?)?;
        let day = Day::new(reader.u16()?);
        let start = match reader.u8()? {
            u8::MAX => None,
            quarter => Some(QuarterHour::new(quarter)?),
        };
        let duration = Minutes::new("duration", reader.u16()?)?;
        let mut proximity = [Minutes::default(); 4];
        for minutes in &mut proximity {
            *minutes = Minutes::new("proximity", reader.u16()?)?;
        }
        if !risk::is_possible(duration, &proximity) {
            return Err(IMPOSSIBLE);
        }
        let rssi = Half::from_bits("rssi", reader.u16()?)?;
        let power = Half::from_bits("transmit power", reader.u16()?)?;
        let model = ModelHash::new(reader.array()?);
        let token = Token::new(header, reader.framed()?)?;
        let extended = ExtendedData::parse(reader.framed()?)?;
        reader.finish()?;
        let readings = Readings { rssi, power };
        Ok(Self { token, day, start, duration, proximity, readings, model, extended })
    }

    fn put(&self, octets: &mut Vec<u8>) -> Option<()> {
        octets.extend_from_slice(&self.token.header().octets());
        octets.extend_from_slice(&self.day.number().to_be_bytes());
        octets.push(self.start.map_or(u8::MAX, QuarterHour::number));
        octets.extend_from_slice(&self.duration.number().to_be_bytes());
        for minutes in self.proximity {
            octets.extend_from_slice(&minutes.number().to_be_bytes());
        }
        octets.extend_from_slice(&Half::to_bits(self.readings.rssi).to_be_bytes());
        octets.extend_from_slice(&Half::to_bits(self.readings.power).to_be_bytes());
        octets.extend_from_slice(self.model.octets());
        for part in [self.token.octets(), self.extended.octets()] {
            octets.extend_from_slice(&u16::try_from(part.len()).ok()?.to_be_bytes());
            octets.extend_from_slice(part);
        }
        Some(())
    }
}

const IMPOSSIBLE: Malformed = Malformed::Field {
    field: "proximity",
    reason: "its minutes are more than those of the contact, by over two",
};

impl UploadedKey {
    fn parse(octets: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("key", octets);
        let key = IllKey::read(&mut reader)?;
        let report_type = ReportType::from_number(reader.u8()?)?;
        let onset = match reader.u8()?.cast_signed() {
            127 => None,
            days => Some(OnsetDays::new(days)?),
        };
        let transmission_risk = TransmissionRisk::new(reader.u8()?)?;
        let count = reader.u8()?;
        let visited = (0..count).map(|_| CountryCode::new(reader.u16()?)).collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(Self { key, report_type, onset, transmission_risk, visited })
    }

    fn put(&self, octets: &mut Vec<u8>) -> Option<()> {
        self.key.put(octets);
        octets.push(self.report_type as u8);
        octets.extend_from_slice(&self.onset.map_or(127, OnsetDays::number).to_be_bytes());
        octets.extend_from_slice(&[self.transmission_risk.number(), u8::try_from(self.visited.len()).ok()?]);
        self.visited.iter().for_each(|country| octets.extend_from_slice(&country.number().to_be_bytes()));
        Some(())
    }
}

fn count(reader: &mut Reader<'_>, (what, most): (&'static str, usize)) -> Result<usize, UploadError> {
    let malformed = |malformed| UploadError::Malformed { place: Place::Frame, malformed };
    let count = usize::from(reader.u16().map_err(malformed)?);
    if count > most { Err(UploadError::TooMany { what, most }) } else { Ok(count) }
}

fn put_count(octets: &mut Vec<u8>, count: usize, most: usize) -> Option<()> {
    let count = u16::try_from(count).ok().filter(|_| count <= most)?;
    octets.extend_from_slice(&count.to_be_bytes());
    Some(())
}

fn put_framed(octets: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<()> {
    let at = octets.len();
    octets.extend_from_slice(&[0; 2]);
    put(octets)?;
    let length = u16::try_from(octets.len() - at - 2).ok()?;
    octets[at..at + 2].copy_from_slice(&length.to_be_bytes());
    Some(())
}

#[cfg(test)]
#[path = "upload_tests.rs"]
mod tests;
