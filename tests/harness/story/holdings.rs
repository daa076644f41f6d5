//! Chapter 9: what each party holds when everything is over (`herald.md` 4.3), in both directions.

use anyhow::{Context, Result};
use country_adapter::herald::secured::report::ReportToken;

use super::cast::Cast;
use super::stage::{FRANCE, Stage};
use super::told::{Fact, Phase, Told};
use crate::knowledge::{Holding, Party, Secret};
use crate::members::{authority, country};
use crate::phone::{Case, Phone};

/// The name that the contact's phone seals for its authority.
pub const CONTACT_NAME: &str = "the contact's name";
/// The contact's model.
pub const CONTACT_MODEL: &str = "the contact's model";
/// The service token that the contact's phone gave.
pub const SERVICE_TOKEN: &str = "the service token";
/// The confirmation token beside it.
pub const CONFIRMATION: &str = "the confirmation token";
/// The exchange receipt.
pub const RECEIPT: &str = "the exchange receipt";
/// The name that the ill person's phone seals for its authority.
pub const ILL_NAME: &str = "the ill person's name";
/// The ill person's model.
pub const ILL_MODEL: &str = "the ill person's model";
/// The ill person's name for a quarter of an hour, which goes along with an upload.
pub const CLIENT_ID: &str = "the ill person's client id";
/// The one-time code of the case.
pub const CASE_CODE: &str = "the case code";
/// Keys of all exchanges, as they were on the air.
pub const ONE_TIME_KEYS: &str = "one-time keys";

/// All of them.
const ALL: [&str; 10] = [
    CONTACT_NAME,
    CONTACT_MODEL,
    SERVICE_TOKEN,
    CONFIRMATION,
    RECEIPT,
    ILL_NAME,
    ILL_MODEL,
    CLIENT_ID,
    CASE_CODE,
    ONE_TIME_KEYS,
];
/// Names of the parties, in the order of the table.
pub const RADIO: &str = "whoever listens to the radio";
/// See [`RADIO`].
pub const ILL_PHONE: &str = "the ill person's phone";
/// See [`RADIO`].
pub const ILL_AUTHORITY: &str = "the ill person's authority";
/// See [`RADIO`].
pub const ILL_GATEWAY: &str = "the gateway of the ill person's country";
/// See [`RADIO`].
pub const NETWORK: &str = "whoever listens between countries, and between phones and authorities";
/// See [`RADIO`].
pub const CONTACT_GATEWAY: &str = "the gateway of the contact's country";
/// See [`RADIO`].
pub const CONTACT_AUTHORITY: &str = "the contact's authority";
/// See [`RADIO`].
pub const ALL_PHONES: &str = "all phones of the contact's authority";
/// See [`RADIO`].
pub const CONTACT_PHONE: &str = "the contact's phone";
/// See [`RADIO`].
pub const OTHER_COUNTRY: &str = "any other country";

/// Names of the steps, in the same order.
const STEPS: [&str; 10] = [
    "radio-holds",
    "ill-phone-holds",
    "ill-authority-holds",
    "ill-gateway-holds",
    "network-holds",
    "contact-gateway-holds",
    "contact-authority-holds",
    "all-phones-hold",
    "contact-phone-holds",
    "other-country-holds",
];
/// What says who is ill.
const WHO_IS_ILL: [&str; 4] = [ILL_NAME, ILL_MODEL, CLIENT_ID, CASE_CODE];

/// A contact of somebody ill, with everything secret about it.
pub struct Meeting<'a> {
    ill: &'a Phone,
    contact: &'a Phone,
    secrets: Vec<Secret>,
}

impl<'a> Meeting<'a> {
    /// The contact of two phones on Secured, of which the first one's owner is ill and has uploaded.
    pub fn of(stage: &Stage, ill: &'a Phone, contact: &'a Phone) -> Result<Self> {
        let own = contact.in_secured()?;
        let mut tokens = ill.log().iter().filter_map(|met| ReportToken::parse(&met.token).ok());
        let token = tokens.find(|token| own.given(&token.confirmation).is_some());
        let token = token.context("the ill phone met the contact's")?;
        let holds = |case: &Case| case.contacts.iter().any(|met| met.token == token.octets());
        let (code, case) =
            stage.uploaded.iter().find(|(_, case)| holds(case)).context("the ill person has uploaded")?;
        let mut secrets = vec![
            Secret::new(CONTACT_NAME, own.uuid()),
            Secret::new(CONTACT_MODEL, own.model()),
            Secret::new(SERVICE_TOKEN, *token.service.octets()),
            Secret::new(CONFIRMATION, *token.confirmation.octets()),
            Secret::new(RECEIPT, *token.receipt.octets()),
            Secret::new(ILL_NAME, ill.in_secured()?.uuid()),
            Secret::new(ILL_MODEL, ill.in_secured()?.model()),
            Secret::new(CLIENT_ID, case.client),
            Secret::new(CASE_CODE, code.as_bytes()),
            Secret::new(CASE_CODE, code.replace('-', "").as_bytes()),
        ];
        secrets.extend(stage.air.one_time_keys().map(|key| Secret::new(ONE_TIME_KEYS, key)));
        Ok(Self { ill, contact, secrets })
    }

    /// What is secret about it.
    #[must_use]
    pub fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    /// Searches what every party holds. All processes must have stopped: files come and go while they run.
    pub fn search(&self, stage: &Stage) -> Result<Vec<(Phase, Holding)>> {
        let table = self.table(stage)?;
        table.iter().map(|(phase, party)| Ok((*phase, party.search(&self.secrets)?))).collect()
    }

    /// The knowledge table, from the radio to the contact's phone, and what of it happens in which phase.
    fn table(&self, stage: &Stage) -> Result<Vec<(Phase, Party)>> {
        let (ill, contact) = (self.ill.authority(), self.contact.authority());
        let gateway = |of| Ok::<_, anyhow::Error>(stage.federation.country_of(of)?.gateway.folder.clone());
        let air = stage.air.said().concat();
        let closed = |name, phase, place| (phase, Party::new(name).at(place).must_not(&ALL));
        let other = &stage.federation.country(country(36))?.folder;
        Ok(vec![
            (
                Phase::Meeting,
                Party::new(RADIO).with(air).must_not(&without(&[ONE_TIME_KEYS])).holds(&[ONE_TIME_KEYS]),
            ),
            (Phase::Meeting, self.ill_phone()?),
            (Phase::Case, self.ill_authority(stage)?),
            closed(ILL_GATEWAY, Phase::Crossing, gateway(ill)?),
            closed(NETWORK, Phase::Crossing, stage.federation.place().network.clone()),
            closed(CONTACT_GATEWAY, Phase::Crossing, gateway(contact)?),
            (Phase::Crossing, self.contact_authority(stage)?),
            (Phase::Recognition, self.all_phones(stage)?),
            (Phase::Recognition, self.contact_phone()?),
            closed(OTHER_COUNTRY, Phase::Recognition, other.clone()),
        ])
    }

    fn ill_phone(&self) -> Result<Party> {
        let tokens = [SERVICE_TOKEN, CONFIRMATION, RECEIPT, CONTACT_MODEL];
        Ok(Party::new(ILL_PHONE)
            .with(self.ill.save()?)
            .must_not(&[CONTACT_NAME, ONE_TIME_KEYS, CASE_CODE])
            .holds(&tokens)
            .holds(&[ILL_NAME]))
    }

    /// It keeps no report when the gateway has it. A centralised one has enrolled the ill person's phone as well.
    fn ill_authority(&self, stage: &Stage) -> Result<Party> {
        let party =
            Party::new(ILL_AUTHORITY).at(stage.federation.adapter(self.ill.authority())?.folder.clone());
        let party = party.must_not(&[CONTACT_NAME, ONE_TIME_KEYS, CASE_CODE]);
        Ok(match self.ill.authority() == authority(FRANCE) {
            true => party.with(stage.national.holdings()?).holds(&[ILL_NAME]),
            false => party.must_not(&[ILL_NAME]),
        })
    }

    /// A decentralised one forgets the name as soon as it has checked the token, a centralised one needs it.
    fn contact_authority(&self, stage: &Stage) -> Result<Party> {
        let place = stage.federation.adapter(self.contact.authority())?.folder.clone();
        let party = Party::new(CONTACT_AUTHORITY).at(place).must_not(&WHO_IS_ILL).must_not(&[ONE_TIME_KEYS]);
        Ok(match self.contact.authority() == authority(FRANCE) {
            true => party.with(stage.national.holdings()?).holds(&[CONTACT_NAME]),
            false => party.must_not(&[CONTACT_NAME, CONTACT_MODEL]).holds(&[CONFIRMATION, RECEIPT]),
        })
    }

    /// What every phone of the contact's country downloads. A centralised one posts no contacts.
    fn all_phones(&self, stage: &Stage) -> Result<Party> {
        let adapter = stage.federation.adapter(self.contact.authority())?;
        let lists = &adapter.phones.as_ref().context("every authority here serves phones")?.lists;
        let party = Party::new(ALL_PHONES).at(lists);
        Ok(match self.contact.authority() == authority(FRANCE) {
            true => party.must_not(&ALL),
            false => party.must_not(&without(&[CONFIRMATION, RECEIPT])).holds(&[CONFIRMATION, RECEIPT]),
        })
    }

    /// It has heard the other phone's model in its own half of the exchange.
    fn contact_phone(&self) -> Result<Party> {
        Ok(Party::new(CONTACT_PHONE)
            .with(self.contact.save()?)
            .must_not(&[ILL_NAME, CLIENT_ID, CASE_CODE, ONE_TIME_KEYS])
            .holds(&[CONTACT_NAME, CONFIRMATION, RECEIPT]))
    }
}

fn without(names: &[&str]) -> Vec<&'static str> {
    ALL.into_iter().filter(|name| !names.contains(name)).collect()
}

pub(super) fn tell(stage: &Stage, cast: &Cast, told: &mut Told) -> Result<()> {
    told.chapter("Who holds what when everything is over");
    let there = Meeting::of(stage, &cast.alice, &cast.bruno)?.search(stage)?;
    let back = Meeting::of(stage, &cast.clara, &cast.dan)?.search(stage)?;
    for ((name, (phase, there)), (_, back)) in STEPS.into_iter().zip(there).zip(back) {
        let says = |holding: &Holding| match holding.holds.is_empty() {
            true => "nothing of it".to_owned(),
            false => holding.holds.iter().copied().collect::<Vec<_>>().join(", "),
        };
        let octets = there.searched + back.searched;
        told.end(
            told.step(name, phase, there.party)
                .what(format!(
                    "{octets} octets are searched for the secrets of two contacts, in 10 forms each."
                ))
                .knows("of Alice and Bruno", says(&there))
                .knows("of Clara and Dan", says(&back))
                .check("from 826/0 to 250/0: what it may hold, and nothing else", good(&there))
                .check("from 250/0 to 826/0: likewise", good(&back)),
        );
    }
    Ok(())
}

fn good(holding: &Holding) -> Fact {
    let found: Vec<_> = holding.leaks.iter().map(|(name, place)| format!("{name} in {place}")).collect();
    let missing: Vec<_> = holding.missing.iter().map(|name| format!("not found: {name}")).collect();
    Fact::same(&[found, missing].concat(), &Vec::<String>::new())
}
