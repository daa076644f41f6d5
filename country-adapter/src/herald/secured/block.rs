//! What a transmitter's phone closes for the receiver's: readings, two tokens, its model, and extended data.
//!
//! `rssi f16 | transmit power f16 | service token 119 | confirmation token 16 | model hash 8 | extended 0-310`.
//! It carries no UUID (D7): the receiver's authority could follow a phone from contact to contact.

use proto::extended::ExtendedData;
use proto::malformed::Malformed;
use proto::octets::Reader;
use zeroize::Zeroizing;

use super::float16::Half;
use super::{ConfirmationToken, ModelHash, ServiceToken};

/// How strong the transmitter's phone heard the receiver's, and how strong it sent, in dBm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readings {
    /// Strength of the receiver's signal.
    pub rssi: Option<Half>,
    /// Power of its own signal.
    pub power: Option<Half>,
}

/// A block that fits its frame. Both sides of an exchange hold the same.
#[derive(Clone, PartialEq, Eq)]
pub struct Block {
    /// Readings of the transmitter's phone.
    pub readings: Readings,
    /// For the transmitter's authority.
    pub service: ServiceToken,
    /// For the transmitter's phone.
    pub confirmation: ConfirmationToken,
    /// The transmitter's model.
    pub model: ModelHash,
    extended: Vec<u8>,
}

impl Block {
    /// Octets of the block without its extended data.
    pub const FIXED_LEN: usize = 2 + 2 + ServiceToken::LEN + ConfirmationToken::LEN + ModelHash::LEN;
    /// The most extended data that a frame has room for (D17).
    pub const MAX_EXTENDED: usize = 310;

    /// Checks that the extended data fits.
    pub fn new(
        readings: Readings,
        (service, confirmation): (ServiceToken, ConfirmationToken),
        model: ModelHash,
        extended: ExtendedData<'_>,
    ) -> Result<Self, Malformed> {
        let (is, most) = (extended.octets().len(), Self::MAX_EXTENDED);
        if is > most {
            return Err(Malformed::Bounds { field: "extended data", is, least: 0, most });
        }
        Ok(Self { readings, service, confirmation, model, extended: extended.octets().to_vec() })
    }

    /// The extended data.
    #[must_use]
    pub fn extended(&self) -> ExtendedData<'_> {
        ExtendedData::parse(&self.extended).expect("a block is only made of extended data that was parsed")
    }

    /// Reads a block; all of it.
    pub(super) fn parse(octets: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("Secured block", octets);
        let rssi = Half::from_bits("rssi", reader.u16()?)?;
        let power = Half::from_bits("transmit power", reader.u16()?)?;
        let service = ServiceToken::new(reader.array()?);
        let confirmation = ConfirmationToken::new(reader.array()?);
        let model = ModelHash::new(reader.array()?);
        let extended = ExtendedData::parse(reader.rest())?;
        Self::new(Readings { rssi, power }, (service, confirmation), model, extended)
    }

    /// Its octets. They are to be closed in place, so that no copy stays behind.
    pub(super) fn octets(&self) -> Zeroizing<Vec<u8>> {
        let mut octets = Zeroizing::new(Vec::with_capacity(Self::FIXED_LEN + self.extended.len()));
        octets.extend_from_slice(&Half::to_bits(self.readings.rssi).to_be_bytes());
        octets.extend_from_slice(&Half::to_bits(self.readings.power).to_be_bytes());
        octets.extend_from_slice(self.service.octets());
        octets.extend_from_slice(self.confirmation.octets());
        octets.extend_from_slice(self.model.octets());
        octets.extend_from_slice(&self.extended);
        octets
    }
}

#[cfg(test)]
mod tests {
    use proto::extended::put_section;

    use super::super::testing::block;
    use super::*;

    #[test]
    fn a_block_reads_back_and_no_other_length_does() {
        let octets = block(b"\x01\x01\x00").octets();
        assert_eq!(octets.len(), Block::FIXED_LEN + 3);
        assert!(Block::parse(&octets).is_ok_and(|read| read == block(b"\x01\x01\x00")));
        for cut in 0..octets.len() {
            assert_eq!(Block::parse(&octets[..cut]).is_ok(), cut == Block::FIXED_LEN, "cut at {cut}");
        }
        assert!(Block::parse(&[&octets[..], &[0]].concat()).is_err(), "an octet behind the sections");
    }

    #[test]
    fn readings_may_be_left_out_and_must_otherwise_be_finite() {
        let mut block = block(&[]);
        block.readings = Readings::default();
        let mut octets = block.octets();
        assert_eq!(octets[..4], [0x7e, 0, 0x7e, 0]);
        assert!(Block::parse(&octets).is_ok_and(|read| read.readings == Readings::default()));
        for at in [0, 2] {
            octets[at] = 0x7c;
            assert!(Block::parse(&octets).is_err(), "an infinity at {at}");
            octets[at] = 0x7e;
        }
    }

    #[test]
    fn extended_data_ends_at_310_octets() {
        let extended = |last: usize| {
            let mut extended = Vec::new();
            put_section(&mut extended, 0x80, &[7; 255]).unwrap();
            put_section(&mut extended, 0x81, &vec![7; last]).unwrap();
            extended
        };
        let (fits, over) = (extended(51), extended(52));
        assert_eq!((fits.len(), over.len()), (310, 311));
        let made = block(&fits);
        assert_eq!(made.extended().octets(), fits);
        let with = |extended| {
            let tokens = (made.service, made.confirmation);
            Block::new(made.readings, tokens, made.model, ExtendedData::parse(extended).unwrap())
        };
        assert!(with(&fits).is_ok());
        let refused = Malformed::Bounds { field: "extended data", is: 311, least: 0, most: 310 };
        assert_eq!(with(&over).err(), Some(refused));
    }
}
