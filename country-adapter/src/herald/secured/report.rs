//! The token of a Secured contact in a report: 151 octets that only the transmitter's side can read.
//!
//! `service token 119 | confirmation token 16 | exchange receipt 16`. The receiver's authority sends it as it is.

use proto::malformed::Malformed;
use proto::octets::Reader;

use super::exchange::Heard;
use super::{ConfirmationToken, Receipt, ServiceToken};

/// The three parts of a report's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportToken {
    /// For the transmitter's authority.
    pub service: ServiceToken,
    /// For the transmitter's phone.
    pub confirmation: ConfirmationToken,
    /// Shows the transmitter's phone who reports.
    pub receipt: Receipt,
}

impl ReportToken {
    /// Octets of the token.
    pub const LEN: usize = ServiceToken::LEN + ConfirmationToken::LEN + Receipt::LEN;

    /// Reads a report's token; all of it.
    pub fn parse(octets: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("Secured token", octets);
        let service = ServiceToken::new(reader.array()?);
        let confirmation = ConfirmationToken::new(reader.array()?);
        let receipt = Receipt::new(reader.array()?);
        reader.finish()?;
        Ok(Self { service, confirmation, receipt })
    }

    /// Its octets, as a report holds them.
    #[must_use]
    pub fn octets(&self) -> [u8; Self::LEN] {
        let parts = [&self.service.octets()[..], self.confirmation.octets(), self.receipt.octets()];
        parts.concat().try_into().expect("the lengths of the parts are those of LEN")
    }
}

impl From<&Heard> for ReportToken {
    fn from(heard: &Heard) -> Self {
        let (service, confirmation) = (heard.block.service, heard.block.confirmation);
        Self { service, confirmation, receipt: heard.receipt }
    }
}

#[cfg(test)]
mod tests {
    use proto::header::EnvelopeHeader;
    use proto::report::Token;

    use super::*;

    #[test]
    fn a_token_reads_back_at_its_own_length_only() {
        let octets: Vec<u8> = (0..151).collect();
        let token = ReportToken::parse(&octets).unwrap();
        assert_eq!(token.octets()[..], octets);
        assert_eq!((token.confirmation.octets()[0], token.receipt.octets()[0]), (119, 135));
        for len in (0..151).chain([152]) {
            assert!(ReportToken::parse(&vec![7; len]).is_err(), "{len}");
        }
    }

    #[test]
    fn the_registry_takes_it_under_a_secured_header() {
        let header = EnvelopeHeader::new(0x20, "826/4".parse().unwrap()).unwrap();
        assert!(Token::new(header, &[7; ReportToken::LEN]).is_ok());
    }
}
