//! What a phone uploads when its owner's case is confirmed: its log, its diary, and on Simple its own keys.

use anyhow::{Context, Result};
use bytes::Bytes;
use country_adapter::herald::secured::ModelHash;
use country_adapter::herald::secured::block::Readings;
use country_adapter::herald::secured::client_id::{ClientId, ClientKey};
use country_adapter::herald::secured::float16::Half;
use country_adapter::herald::secured::totp::Step;
use country_adapter::phones::upload::{Upload, UploadedContact, UploadedKey};
use proto::day::Day;
use proto::extended::ExtendedData;
use proto::header::EnvelopeHeader;
use proto::ids::CountryCode;
use proto::report::{DateOut, IllKey, ReportType, SimpleKey, Token, TransmissionRisk};

use super::Phone;
use super::diary::Visit;
use super::https::Answer;
use super::log::{Detected, Told};
use super::near::Near;

/// What an upload is.
const OCTETS: &str = "application/octet-stream";

/// A case, ready to be uploaded. All of it can be changed: a bad phone would.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The phone's name towards its own authority, for this quarter of an hour.
    pub client: [u8; ClientId::LEN],
    /// Phones that were met, and venues.
    pub contacts: Vec<Detected>,
    /// The owner's own keys, each with its day.
    pub keys: Vec<(SimpleKey, Day)>,
    /// Where the owner has been abroad.
    pub visited: Vec<CountryCode>,
}

impl Phone {
    /// What there is to upload at a Unix time, without own keys: nothing that its authority would not take any more, for
    /// one contact that is too old has all of them refused.
    pub fn case(&self, now: u64) -> Result<Case> {
        let client = *ClientKey::new(*self.client).id(Step::of_unix(now)).octets();
        let today = Day::of_unix(now);
        let visits = self.diary.shared(today).map(Visit::detected);
        let all = self.log.iter().cloned().chain(visits);
        let contacts = all.filter(|met| DateOut::check(met.day(), today).is_ok()).collect();
        Ok(Case { client, contacts, keys: Vec::new(), visited: Vec::new() })
    }

    /// Own keys of some days in the place of contacts, for the countries where the owner has been.
    pub fn case_of_keys(&self, now: u64, days: &[Day], visited: &[CountryCode]) -> Result<Case> {
        let simple = self.in_simple()?;
        let keys = days.iter().map(|day| Ok((simple.key(*day)?, *day))).collect::<Result<_>>()?;
        Ok(Case { contacts: Vec::new(), keys, visited: visited.into(), ..self.case(now)? })
    }

    /// Uploads a case with its code.
    pub async fn upload(&self, code: &str, case: &Case) -> Result<Answer> {
        self.upload_octets(code, case.octets()?).await
    }

    /// Uploads any octets.
    pub async fn upload_octets(&self, code: &str, octets: Vec<u8>) -> Result<Answer> {
        self.home.post(&format!("/v1/cases/{code}/contacts"), OCTETS, Bytes::from(octets)).await
    }
}

impl Case {
    /// Its octets: 1 MiB, whatever is in it.
    pub fn octets(&self) -> Result<Vec<u8>> {
        let contacts = self.contacts.iter().map(uploaded).collect::<Result<_>>()?;
        let keys = self.keys.iter().map(|(key, day)| UploadedKey {
            key: IllKey::Simple(*key, *day),
            report_type: ReportType::ConfirmedTest,
            onset: None,
            transmission_risk: TransmissionRisk::default(),
            visited: self.visited.clone(),
        });
        let upload = Upload { client: ClientId::new(self.client), contacts, keys: keys.collect() };
        let octets = upload.octets().context("the case is too large for an upload")?;
        Ok(octets.to_vec())
    }
}

fn uploaded(met: &Detected) -> Result<UploadedContact<'_>> {
    let told = met.told.unwrap_or(Told { rssi: None, power: None, model: [0; 8] });
    let half = |reading: Option<f64>| reading.and_then(Half::nearest);
    Ok(UploadedContact {
        token: Token::new(EnvelopeHeader::parse(&met.header)?, &met.token)?,
        day: met.day(),
        start: Some(met.near.start()),
        duration: met.near.duration(),
        proximity: met.near.minutes(),
        readings: Readings { rssi: half(told.rssi), power: half(told.power) },
        model: ModelHash::new(told.model),
        extended: ExtendedData::default(),
    })
}

impl Visit {
    /// The visit in the form of a contact. Whoever was there was at no known distance.
    fn detected(&self) -> Detected {
        let (token, near) = (self.location.to_be_bytes().to_vec(), Near::far(self.from, self.to));
        Detected { header: self.header, token, told: None, near }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW, secured, simple};
    use super::super::{Air, Stay, meet, visit};
    use super::*;

    #[test]
    fn a_case_holds_contacts_and_venues_and_has_one_size() {
        let (mut air, mut alice, mut bruno) = (Air::default(), secured("826/0"), secured("250/0"));
        meet(&mut air, [&mut alice, &mut bruno], &Stay::new(NOW, 20, 1.5)).unwrap();
        let beacon = [&[0x30, 3, 0x3a, 0, 0][..], &7_u32.to_be_bytes()].concat();
        visit(&mut air, &mut alice, &beacon, &Stay::new(NOW, 45, 1.0)).unwrap();
        let octets = alice.case(NOW).unwrap().octets().unwrap();
        assert_eq!(octets.len(), 1 << 20);
        let upload = Upload::parse(&octets).unwrap();
        let contacts: Vec<_> = upload
            .contacts
            .iter()
            .map(|contact| {
                let minutes = contact.proximity.map(|minutes| minutes.number());
                (contact.token.header().code(), contact.duration.number(), minutes)
            })
            .collect();
        assert_eq!(contacts, [(0x20, 20, [0, 20, 0, 0]), (0x30, 45, [0, 0, 0, 45])]);
        assert_eq!(upload.contacts[0].readings.power.map(Half::value), Some(12.0));
        assert_eq!(upload.contacts[0].start.map(|start| start.number()), Some(42));
    }

    #[test]
    fn what_is_too_old_does_not_keep_the_rest_from_being_uploaded() {
        let (mut air, mut alice, mut bruno) = (Air::default(), secured("826/0"), secured("250/0"));
        let beacon = [&[0x30, 3, 0x3a, 0, 0][..], &7_u32.to_be_bytes()].concat();
        meet(&mut air, [&mut alice, &mut bruno], &Stay::new(NOW, 20, 1.5)).unwrap();
        visit(&mut air, &mut alice, &beacon, &Stay::new(NOW, 45, 1.0)).unwrap();
        let codes = |days: u64| -> Vec<u8> {
            let octets = alice.case(NOW + days * Day::SECONDS).unwrap().octets().unwrap();
            let upload = Upload::parse(&octets).unwrap();
            upload.contacts.iter().map(|contact| contact.token.header().code()).collect()
        };
        // Nobody has told the phone to forget anything meanwhile.
        assert_eq!(codes(14), [0x20, 0x30]);
        assert_eq!(codes(15), [0x20], "a visit is shared for two weeks");
        assert!(codes(16).is_empty());
        visit(&mut air, &mut alice, &beacon, &Stay::new(NOW + 16 * Day::SECONDS, 45, 1.0)).unwrap();
        let octets = alice.case(NOW + 16 * Day::SECONDS).unwrap().octets().unwrap();
        assert_eq!(Upload::parse(&octets).unwrap().contacts.len(), 1);
    }

    #[test]
    fn a_case_of_keys_holds_own_keys_and_no_contact() {
        let mia = simple("36/2");
        let (day, visited) = (Day::of_unix(NOW).minus(1), CountryCode::new(826).unwrap());
        let octets = mia.case_of_keys(NOW, &[day], &[visited]).unwrap().octets().unwrap();
        let upload = Upload::parse(&octets).unwrap();
        assert!(upload.contacts.is_empty());
        assert_eq!(upload.keys[0].key, IllKey::Simple(mia.in_simple().unwrap().key(day).unwrap(), day));
        assert_eq!(upload.keys[0].visited, [visited]);
    }

    #[test]
    fn a_phone_has_another_name_for_its_authority_every_quarter_of_an_hour() {
        let phone = simple("36/2");
        let client = |now| phone.case(now).unwrap().client;
        assert_eq!(client(NOW), client(NOW + 899));
        assert_ne!(client(NOW), client(NOW + 900));
        assert_ne!(client(NOW), simple("36/2").case(NOW).unwrap().client);
    }
}
