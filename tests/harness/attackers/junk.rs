//! Invented contacts of Herald Secured. Anybody has the public keys that service tokens are sealed to, so junk is
//! cheap (`herald.md` D11); it takes a confirmed case to send it, and the issuer counts it by reason.

use anyhow::{Context, Result};
use country_adapter::herald::secured::report::ReportToken;
use country_adapter::herald::secured::service::DailyKey;
use country_adapter::herald::secured::totp::{Step, TimeCode};
use country_adapter::herald::secured::{CODE, ConfirmationToken, Receipt, ServiceToken, Uuid};
use pki::seal::PublicKey;
use proto::header::EnvelopeHeader;
use proto::ids::Authority;

use crate::phone::{Detected, Stay, seal_service_token};

/// A kind of junk, by what is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Junk {
    /// Sealed to a key that the authority never had.
    UnknownKey,
    /// Sealed beside another confirmation token.
    OfAnotherContact,
    /// Sealed contents that no phone writes.
    Malformed,
    /// Sealed to the next day's key.
    KeyOfAnotherDay,
    /// A time code that is two steps ahead of the step beside it.
    WrongTimeCode,
    /// Made three hours before the contact that it is reported for.
    OutsideOfContact,
    /// Nothing is wrong with it, except that no phone has made it.
    OfNobody,
}

impl Junk {
    /// All that an authority refuses.
    pub const REFUSED: [Self; 6] = [
        Self::UnknownKey,
        Self::OfAnotherContact,
        Self::Malformed,
        Self::KeyOfAnotherDay,
        Self::WrongTimeCode,
        Self::OutsideOfContact,
    ];

    /// The reason under which the authority counts it; none if it passes.
    #[must_use]
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::UnknownKey => Some("unknown_key"),
            Self::OfAnotherContact => Some("not_opened"),
            Self::Malformed => Some("malformed_token"),
            Self::KeyOfAnotherDay => Some("key_of_another_day"),
            Self::WrongTimeCode => Some("wrong_time_code"),
            Self::OutsideOfContact => Some("outside_of_contact"),
            Self::OfNobody => None,
        }
    }

    /// An invented contact with a phone of an authority, sealed to its published keys.
    pub fn contact(self, keys: &[DailyKey<PublicKey>], issuer: Authority, stay: &Stay) -> Result<Detected> {
        let header = EnvelopeHeader::new(CODE, issuer)?;
        let made = if self == Self::OutsideOfContact { stay.from() - 3 * 3_600 } else { stay.from() };
        let step = Step::of_unix(made);
        let day = if self == Self::KeyOfAnotherDay { step.day().plus(1) } else { step.day() };
        let key = keys.iter().find(|key| key.days.contains(&day)).context("keys are published ahead")?;
        let confirmation = ConfirmationToken::new(random()?);
        let beside =
            if self == Self::OfAnotherContact { ConfirmationToken::new(random()?) } else { confirmation };
        let mut service = *seal_service_token(self.contents(step)?, key, header, &beside)?.octets();
        if self == Self::UnknownKey {
            service[..2].copy_from_slice(&key.number.wrapping_add(1_000).to_be_bytes());
        }
        let service = ServiceToken::new(service);
        let token = ReportToken { service, confirmation, receipt: Receipt::new(random()?) };
        Ok(Detected {
            header: header.octets(),
            token: token.octets().to_vec(),
            told: None,
            near: stay.near(),
        })
    }

    /// `UUID 16 | area 4 | model 8 | time code 4 | step 4`.
    fn contents(self, step: Step) -> Result<Vec<u8>> {
        let uuid = Uuid::new(random()?);
        let of = if self == Self::WrongTimeCode { Step::new(step.number() + 2) } else { step };
        let code = TimeCode::of(&uuid, of);
        // A control character is no letter of an area.
        let area: [u8; 4] = if self == Self::Malformed { *b"\x01\x02\x03\x04" } else { *b"S41\0" };
        let model: [u8; 8] = random()?;
        Ok([&uuid.octets()[..], &area, &model, &code.number().to_be_bytes(), &step.number().to_be_bytes()]
            .concat())
    }
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut octets = [0; N];
    getrandom::fill(&mut octets).context("the system has no random numbers")?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use country_adapter::herald::secured::service::{NotOpened, open};
    use country_adapter::herald::secured::validate::{ContactTime, Refused, validate};
    use pki::seal::{PrivateKey, Suite};
    use proto::day::Day;

    use super::*;
    use crate::phone::testing::NOW;

    fn assessed(junk: Junk) -> String {
        let today = Day::of_unix(NOW);
        let private: Vec<_> = [(7, today), (8, today.plus(1))]
            .into_iter()
            .map(|(number, day)| {
                let key = PrivateKey::parse(Suite::P256, &PrivateKey::generate(Suite::P256)).unwrap();
                DailyKey { number, days: day..=day, key }
            })
            .collect();
        let public: Vec<_> = private
            .iter()
            .map(|DailyKey { number, days, key }| DailyKey {
                number: *number,
                days: days.clone(),
                key: key.public().clone(),
            })
            .collect();
        let own = crate::authority("826/0");
        let met = junk.contact(&public, own, &Stay::new(NOW, 20, 1.0)).unwrap();
        let header = EnvelopeHeader::parse(&met.header).unwrap();
        let opened = match open(&ReportToken::parse(&met.token).unwrap(), header, &private) {
            Err(NotOpened::UnknownKey { .. }) => return "unknown_key".into(),
            Err(NotOpened::Seal(_)) => return "not_opened".into(),
            Err(NotOpened::Malformed(_)) => return "malformed_token".into(),
            Ok(opened) => opened,
        };
        let (start, duration) = (Some(met.near.start()), met.near.duration());
        let time = ContactTime { day: met.day(), start, duration };
        match validate(opened, time, own) {
            Ok(_) => "counts".into(),
            Err(Refused::KeyOfAnotherDay) => "key_of_another_day".into(),
            Err(Refused::WrongTimeCode) => "wrong_time_code".into(),
            Err(Refused::OutsideOfContact) => "outside_of_contact".into(),
            Err(other) => other.to_string(),
        }
    }

    #[test]
    fn each_kind_of_junk_is_refused_for_its_own_reason() {
        for junk in Junk::REFUSED {
            assert_eq!(Some(assessed(junk).as_str()), junk.reason(), "{junk:?}");
        }
        assert_eq!(assessed(Junk::OfNobody), "counts", "an authority cannot tell it from a phone's");
    }
}
