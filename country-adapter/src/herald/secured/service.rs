//! Service tokens: what a phone tells its own authority through strangers (`herald.md` D3).
//!
//! Sealed by HPKE to the authority's key of the day, bound to its header, the key's number and the confirmation
//! token beside it. Anybody can seal one, so that one opens says nothing yet: see `validate`.

use std::ops::RangeInclusive;

use pki::seal::{self, PrivateKey, PublicKey, SealError, ServiceTokenContext};
use proto::day::Day;
use proto::header::EnvelopeHeader;
use proto::malformed::Malformed;
use proto::octets::Reader;
use zeroize::Zeroizing;

use super::report::ReportToken;
use super::totp::{Step, TimeCode};
use super::{Area, ConfirmationToken, ModelHash, Receipt, ServiceToken, Uuid, check_secured};

/// Octets of an encapsulated key: an uncompressed point.
const ENC: usize = 65;

/// An authority's P-256 key for service tokens; the public half in a phone, the private half at the authority.
pub struct DailyKey<K> {
    /// The number in the authority's key list.
    pub number: u16,
    /// The UTC days on which phones seal to it; one, as a rule.
    pub days: RangeInclusive<Day>,
    /// The key.
    pub key: K,
}

/// What a phone tells its authority. Never printed; its UUID is wiped on drop.
///
/// Octets: UUID 16, area 4, model hash 8, time code 4, step 4.
pub struct ServiceContents {
    pub(super) uuid: Uuid,
    pub(super) area: Area,
    pub(super) model: ModelHash,
    pub(super) code: TimeCode,
    pub(super) step: Step,
}

impl ServiceContents {
    const LEN: usize = 16 + 4 + ModelHash::LEN + 4 + 4;

    /// The contents for one exchange, with their time code.
    #[must_use]
    pub fn new(uuid: Uuid, area: Area, model: ModelHash, step: Step) -> Self {
        let code = TimeCode::of(&uuid, step);
        Self { uuid, area, model, code, step }
    }

    /// The same of a phone whose clock says another step than the exchange's.
    #[cfg(test)]
    pub(crate) fn with_clock(uuid: Uuid, area: Area, model: ModelHash, (step, clock): (Step, Step)) -> Self {
        let code = TimeCode::of(&uuid, clock);
        Self { uuid, area, model, code, step }
    }

    /// The phone's own name.
    #[must_use]
    pub fn uuid(&self) -> &Uuid {
        &self.uuid
    }

    /// Where it is at home.
    #[must_use]
    pub fn area(&self) -> Area {
        self.area
    }

    /// Its make and model.
    #[must_use]
    pub fn model(&self) -> ModelHash {
        self.model
    }

    /// When the exchange was.
    #[must_use]
    pub fn step(&self) -> Step {
        self.step
    }

    /// Seals them beside a confirmation token, for the authority with this header.
    pub fn seal(
        &self,
        to: &DailyKey<PublicKey>,
        issuer: EnvelopeHeader,
        confirmation: &ConfirmationToken,
    ) -> Result<ServiceToken, SealError> {
        let context = ServiceTokenContext { issuer, key: to.number, confirmation: *confirmation.octets() };
        let mut text = self.octets();
        let enc = seal::seal_service_token(&to.key, &context, &mut text)?;
        let token = [&to.number.to_be_bytes()[..], &enc, &text].concat();
        Ok(ServiceToken::new(token.try_into().expect("a P-256 seal of the contents has 117 octets")))
    }

    fn octets(&self) -> Zeroizing<Vec<u8>> {
        // Room for the tag, so that sealing in place leaves no copy behind.
        let mut octets = Zeroizing::new(Vec::with_capacity(Self::LEN + seal::overhead()));
        octets.extend_from_slice(self.uuid.octets());
        octets.extend_from_slice(self.area.octets());
        octets.extend_from_slice(self.model.octets());
        octets.extend_from_slice(&self.code.number().to_be_bytes());
        octets.extend_from_slice(&self.step.number().to_be_bytes());
        octets
    }

    fn parse(octets: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("contents of a service token", octets);
        let uuid = Uuid::new(reader.array()?);
        let area = Area::new(reader.array()?)?;
        let model = ModelHash::new(reader.array()?);
        let code = TimeCode::new(reader.u32()?)?;
        let step = Step::new(reader.u32()?);
        reader.finish()?;
        Ok(Self { uuid, area, model, code, step })
    }
}

/// Why a service token was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    /// The number of no key, or of one that was destroyed.
    #[error("the authority has no key number {number} for service tokens")]
    UnknownKey {
        /// The number in the token.
        number: u16,
    },
    /// For another authority, key or contact, or altered.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// It opened, and holds something else.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// A service token that opened under its header, its key and its confirmation token. Only [`open`] makes one.
pub struct OpenedServiceToken {
    pub(super) header: EnvelopeHeader,
    pub(super) days: RangeInclusive<Day>,
    pub(super) contents: ServiceContents,
    pub(super) confirmation: ConfirmationToken,
    pub(super) receipt: Receipt,
}

/// Opens the service token of a report with the key that it names.
pub fn open(
    token: &ReportToken,
    header: EnvelopeHeader,
    keys: &[DailyKey<PrivateKey>],
) -> Result<OpenedServiceToken, NotOpened> {
    check_secured(header)?;
    let mut reader = Reader::new("service token", token.service.octets());
    let (number, enc) = (reader.u16()?, reader.take(ENC)?);
    let key = keys.iter().find(|key| key.number == number).ok_or(NotOpened::UnknownKey { number })?;
    let context =
        ServiceTokenContext { issuer: header, key: number, confirmation: *token.confirmation.octets() };
    let text = key.key.open_service_token(&context, enc, reader.rest())?;
    Ok(OpenedServiceToken {
        header,
        days: key.days.clone(),
        contents: ServiceContents::parse(&text)?,
        confirmation: token.confirmation,
        receipt: token.receipt,
    })
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
