//! Kind 1: somebody ill met the phone that a token names (`herald.md` 6.2).

use std::fmt;

use super::fields::{Minutes, QuarterHour, Risk, Score};
use crate::body;
use crate::day::Day;
use crate::extended::{ExtendedData, LeavingData, Recipient};
use crate::header::EnvelopeHeader;
use crate::malformed::Malformed;
use crate::octets::{Reader, put_framed};

/// One contact. Says nothing of who is ill, nor of where or when exactly they met.
///
/// Octets behind kind and version: header 5, day 2, start 1, duration 2, proximity 4 x 2, risk kind 1, score 2,
/// mechanism 2, token length 2 and token, extended data length 2 and extended data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contact<'a> {
    /// The issuer and the token that it alone understands.
    pub token: Token<'a>,
    /// The UTC day on which the contact began.
    pub day: Day,
    /// When on that day, if it is told.
    pub start: Option<QuarterHour>,
    /// How long it lasted.
    pub duration: Minutes,
    /// Minutes spent at less than 1 m, 1-2 m, 2-4 m and more than 4 m.
    pub proximity: [Minutes; 4],
    /// The sender's advice.
    pub risk: Risk,
    /// Signal readings, and what the phone closed for the issuer.
    pub extended: LeavingData<'a>,
}

/// What a phone advertised, under its issuer's header, with a length that the payload code allows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    header: EnvelopeHeader,
    octets: &'a [u8],
}

impl<'a> Token<'a> {
    /// Checks the octets against the registry's bounds for the header's payload code.
    #[inline]
    pub fn new(header: EnvelopeHeader, octets: &'a [u8]) -> Result<Self, Malformed> {
        header.assignment().check_token(octets)?;
        Ok(Self { header, octets })
    }

    /// The issuer's header.
    #[must_use]
    pub fn header(&self) -> EnvelopeHeader {
        self.header
    }

    /// The octets, for the issuer's eyes.
    #[must_use]
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }
}

impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, token: {} octets", self.header, self.octets.len())
    }
}

impl<'a> Contact<'a> {
    #[inline]
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let header = EnvelopeHeader::read(reader)?;
        let day = Day::new(reader.u16()?);
        let start = QuarterHour::from_octet(reader.u8()?)?;
        let duration = Minutes::new("duration", reader.u16()?)?;
        let mut proximity = [Minutes::default(); 4];
        for minutes in &mut proximity {
            *minutes = Minutes::new("proximity", reader.u16()?)?;
        }
        let risk =
            Risk { kind: reader.u8()?, score: Score::from_octets(reader.u16()?), mechanism: reader.u16()? };
        let token = Token::new(header, reader.framed()?)?;
        // The header is the issuer's, so what is closed for the issuer may go along.
        let extended = ExtendedData::parse(reader.framed()?)?.leaving(Recipient::Issuer)?;
        Ok(Self { token, day, start, duration, proximity, risk, extended })
    }

    /// Octets that [`Self::put`] appends: 23 before the token, and the two that are framed.
    pub(super) fn len(&self) -> usize {
        23 + body::framed_len(self.token.octets.len()) + body::framed_len(self.extended.octets().len())
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.token.header.octets());
        out.extend_from_slice(&self.day.number().to_be_bytes());
        out.push(QuarterHour::to_octet(self.start));
        out.extend_from_slice(&self.duration.number().to_be_bytes());
        for minutes in self.proximity {
            out.extend_from_slice(&minutes.number().to_be_bytes());
        }
        out.push(self.risk.kind);
        out.extend_from_slice(&Score::to_octets(self.risk.score).to_be_bytes());
        out.extend_from_slice(&self.risk.mechanism.to_be_bytes());
        put_framed(out, self.token.octets);
        put_framed(out, self.extended.octets());
    }
}
