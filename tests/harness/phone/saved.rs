//! What a phone has on its flash memory: all that it holds, so that a restart changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use country_adapter::herald::secured::confirmation::Given;
use country_adapter::herald::secured::service::DailyKey;
use country_adapter::herald::secured::totp::{Step, TimeCode};
use country_adapter::herald::secured::{Area, ConfirmationToken, ModelHash, Receipt, Uuid};
use pki::seal::{PublicKey, Suite};
use proto::day::Day;
use proto::header::EnvelopeHeader;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::asking::Asking;
use super::diary::Diary;
use super::log::Log;
use super::polling::Place;
use super::rhythm::Rhythm;
use super::secured::{GivenAway, Secured};
use super::showing::Showing;
use super::simple::{Chain, Simple};
use super::warnings::Warnings;
use super::{Home, Phone, Speaks, from_hex};

#[derive(Serialize, Deserialize)]
struct Saved {
    name: String,
    client: String,
    speaks: SavedSpeaks,
    rhythm: Rhythm,
    log: Log,
    diary: Diary,
    warnings: Warnings,
    counted: BTreeSet<String>,
    places: BTreeMap<String, Place>,
    due: Option<u64>,
    asking: Asking,
    showing: Showing,
}

#[derive(Serialize, Deserialize)]
enum SavedSpeaks {
    Secured(SavedSecured),
    Simple { chain: SavedChain, former: Option<SavedChain> },
}

/// A secret in hex, and a day of its generation.
#[derive(Serialize, Deserialize)]
struct SavedChain {
    secret: String,
    day: u16,
}

/// Octets in hex.
#[derive(Serialize, Deserialize)]
struct SavedSecured {
    uuid: String,
    named: Option<u16>,
    former: Option<String>,
    area: String,
    model: String,
    code_ahead: i32,
    keys: Vec<SavedKey>,
    keys_issued: u64,
    given: Vec<SavedGiven>,
}

#[derive(Serialize, Deserialize)]
struct SavedKey {
    number: u16,
    day: u16,
    point: String,
}

#[derive(Serialize, Deserialize)]
struct SavedGiven {
    token: String,
    step: u32,
    code: u32,
    to: String,
    receipt: String,
    counted: bool,
}

impl Phone {
    /// All that it holds, as JSON.
    pub fn save(&self) -> Result<Vec<u8>> {
        let speaks = match &self.speaks {
            Speaks::Secured(secured) => SavedSpeaks::Secured(SavedSecured::of(secured)),
            Speaks::Simple(simple) => {
                let (chain, former) = simple.chains();
                SavedSpeaks::Simple { chain: SavedChain::of(chain), former: former.map(SavedChain::of) }
            }
        };
        let (log, diary, warnings) = (self.log.clone(), self.diary.clone(), self.warnings.clone());
        let (name, counted, places) = (self.name.clone(), self.counted.clone(), self.places.clone());
        let (client, showing) = (hex::encode(*self.client), self.showing.clone());
        let (rhythm, due, asking) = (self.rhythm, self.due, self.asking);
        let saved = Saved {
            name,
            client,
            speaks,
            rhythm,
            log,
            diary,
            warnings,
            counted,
            places,
            due,
            asking,
            showing,
        };
        Ok(serde_json::to_vec_pretty(&saved)?)
    }

    /// The phone that was saved. What it pins is not part of that: it belongs to the app.
    pub fn load(octets: &[u8], home: Home) -> Result<Self> {
        let saved: Saved = serde_json::from_slice(octets)?;
        let Saved { name, client, speaks, rhythm, log, diary, warnings, .. } = saved;
        let Saved { counted, places, due, asking, showing, .. } = saved;
        let speaks = match speaks {
            SavedSpeaks::Secured(saved) => Speaks::Secured(Box::new(saved.into_secured()?)),
            SavedSpeaks::Simple { chain, former } => {
                let former = former.map(SavedChain::into_chain).transpose()?;
                Speaks::Simple(Box::new(Simple::of(chain.into_chain()?, former)))
            }
        };
        let client = Zeroizing::new(from_hex(&client)?);
        Ok(Self {
            name,
            home,
            client,
            speaks,
            rhythm,
            log,
            diary,
            warnings,
            counted,
            places,
            due,
            asking,
            showing,
        })
    }
}

impl SavedChain {
    fn of(chain: &Chain) -> Self {
        Self { secret: hex::encode(chain.secret()), day: chain.epoch().number() }
    }

    fn into_chain(self) -> Result<Chain> {
        Chain::with(hex::decode(self.secret)?, Day::new(self.day))
    }
}

impl SavedSecured {
    fn of(phone: &Secured) -> Self {
        let keys = phone.keys().iter().map(|key| SavedKey {
            number: key.number,
            day: key.days.start().number(),
            point: hex::encode(key.key.octets()),
        });
        let given = phone.given.iter().map(|(token, GivenAway { given, counted })| SavedGiven {
            token: hex::encode(token.octets()),
            step: given.step.number(),
            code: given.code.number(),
            to: hex::encode(given.to.octets()),
            receipt: hex::encode(given.receipt.octets()),
            counted: *counted,
        });
        Self {
            uuid: hex::encode(phone.uuid.octets()),
            named: phone.named.map(Day::number),
            former: phone.former.as_ref().map(|uuid| hex::encode(uuid.octets())),
            area: hex::encode(phone.area.octets()),
            model: hex::encode(phone.model.octets()),
            code_ahead: phone.code_ahead,
            keys: keys.collect(),
            keys_issued: phone.keys_issued,
            given: given.collect(),
        }
    }

    fn into_secured(self) -> Result<Secured> {
        let area = Area::new(from_hex(&self.area)?)?;
        let (uuid, model) = (Uuid::new(from_hex(&self.uuid)?), ModelHash::new(from_hex(&self.model)?));
        let mut phone = Secured::with(uuid, area, model);
        phone.named = self.named.map(Day::new);
        phone.former = self.former.map(|uuid| anyhow::Ok(Uuid::new(from_hex(&uuid)?))).transpose()?;
        phone.code_ahead = self.code_ahead;
        phone.keys_issued = self.keys_issued;
        phone.take_keys(self.keys.into_iter().map(SavedKey::into_key).collect::<Result<_>>()?);
        phone.given = self.given.into_iter().map(SavedGiven::into_given).collect::<Result<_>>()?;
        Ok(phone)
    }
}

impl SavedKey {
    fn into_key(self) -> Result<DailyKey<PublicKey>> {
        let day = Day::new(self.day);
        let key =
            PublicKey::parse(Suite::P256, &hex::decode(self.point)?).context("a saved key is a point")?;
        Ok(DailyKey { number: self.number, days: day..=day, key })
    }
}

impl SavedGiven {
    fn into_given(self) -> Result<(ConfirmationToken, GivenAway)> {
        let to = EnvelopeHeader::parse(&from_hex::<{ EnvelopeHeader::LEN }>(&self.to)?)?;
        let (step, code) = (Step::new(self.step), TimeCode::new(self.code)?);
        let given = Given { step, code, to, receipt: Receipt::new(from_hex(&self.receipt)?) };
        Ok((ConfirmationToken::new(from_hex(&self.token)?), GivenAway { given, counted: self.counted }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW, home, secured, simple};
    use super::super::{Air, Stay, meet, visit};
    use super::*;

    #[test]
    fn a_restart_changes_nothing() {
        let (mut air, mut alice, mut bruno) = (Air::default(), secured("826/0"), secured("250/0"));
        meet(&mut air, [&mut alice, &mut bruno], &Stay::new(NOW, 20, 1.5)).unwrap();
        let beacon = [&[0x30, 3, 0x3a, 0, 0][..], &[0, 0, 0, 7]].concat();
        visit(&mut air, &mut alice, &beacon, &Stay::new(NOW, 20, 1.5)).unwrap();
        let saved = alice.save().unwrap();
        let again = Phone::load(&saved, home("826/0")).unwrap();
        assert_eq!(again.save().unwrap(), saved);
        assert_eq!(again.in_secured().unwrap().given, alice.in_secured().unwrap().given);
        assert_eq!(again.diary().visits().count(), 1);
        let mut gwen = simple("826/0");
        // Into the next generation, so that there is a chain before.
        let next = country_adapter::herald::simple::Generation::of(Day::of_unix(NOW)).unwrap().last().plus(1);
        gwen.forget(next).unwrap();
        assert!(gwen.in_simple().unwrap().chains().1.is_some());
        let again = Phone::load(&gwen.save().unwrap(), home("826/0")).unwrap();
        assert_eq!(again.advert(NOW).unwrap(), gwen.advert(NOW).unwrap());
    }

    #[test]
    fn what_no_phone_saved_is_refused() {
        let saved = simple("826/0").save().unwrap();
        assert!(Phone::load(&saved[..saved.len() - 3], home("826/0")).is_err());
    }
}
