//! Chapter 9: what each party holds when everything is over (`herald.md` 4.3), in both directions.

use anyhow::{Context, Result};
use country_adapter::herald::secured::report::ReportToken;
use country_adapter::phones::case_code::CaseCode;
use proto::ids::Authority;

use super::cast::Cast;
use super::stage::{FRANCE, Stage, VICTORIA};
use super::told::{Fact, Phase, Told};
use crate::knowledge::{Holding, Party, Secret};
use crate::members::{Node, authority};
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
/// By what the ill person's authority knows that the code was used.
pub const CODE_NAME: &str = "the name of the case code";
/// Where the contact is at home, as its phone seals it and as a national system is told.
pub const HOME_AREA: &str = "the contact's home";
/// The second in which the contact began.
pub const EXACT_TIME: &str = "the exact time of the contact";
/// Keys of all exchanges, as they were on the air.
pub const ONE_TIME_KEYS: &str = "one-time keys";

/// All of them.
const ALL: [&str; 13] = [
    HOME_AREA,
    EXACT_TIME,
    CONTACT_NAME,
    CONTACT_MODEL,
    SERVICE_TOKEN,
    CONFIRMATION,
    RECEIPT,
    ILL_NAME,
    ILL_MODEL,
    CLIENT_ID,
    CASE_CODE,
    CODE_NAME,
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
const WHO_IS_ILL: [&str; 5] = [ILL_NAME, ILL_MODEL, CLIENT_ID, CASE_CODE, CODE_NAME];

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
        let met = ill.log().iter().find(|met| met.token == token.octets()).context("it stands in the log")?;
        let mut secrets = vec![
            Secret::new(EXACT_TIME, met.near.first().to_be_bytes()),
            Secret::new(EXACT_TIME, met.near.first().to_string()),
            Secret::new(HOME_AREA, [&own.area()[..], &own.model()].concat()),
            Secret::new(HOME_AREA, format!("\"area\":\"{}\"", String::from_utf8_lossy(&own.area()))),
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
            Secret::new(CODE_NAME, *code.parse::<CaseCode>()?.id().octets()),
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
        let gateway = |name, of| Ok::<_, anyhow::Error>(gateway(stage, name, of)?.must_not(&ALL));
        let air = stage.air.said().concat();
        Ok(vec![
            (
                Phase::Meeting,
                Party::new(RADIO).with(air).must_not(&without(&[ONE_TIME_KEYS])).holds(&[ONE_TIME_KEYS]),
            ),
            (Phase::Meeting, self.ill_phone()?),
            (Phase::Case, self.ill_authority(stage)?),
            (Phase::Crossing, gateway(ILL_GATEWAY, ill)?),
            (Phase::Crossing, network(stage, NETWORK).must_not(&ALL)),
            (Phase::Crossing, gateway(CONTACT_GATEWAY, contact)?),
            (Phase::Crossing, self.contact_authority(stage)?),
            (Phase::Recognition, self.all_phones(stage)?),
            (Phase::Recognition, self.contact_phone()?),
            (Phase::Recognition, whole_country(stage, OTHER_COUNTRY, authority(VICTORIA))?.must_not(&ALL)),
        ])
    }

    fn ill_phone(&self) -> Result<Party> {
        let tokens = [SERVICE_TOKEN, CONFIRMATION, RECEIPT, CONTACT_MODEL];
        Ok(Party::new(ILL_PHONE)
            .with(self.ill.save()?)
            .must_not(&[CONTACT_NAME, HOME_AREA, ONE_TIME_KEYS, CASE_CODE, CODE_NAME])
            .holds(&tokens)
            .holds(&[ILL_NAME, EXACT_TIME]))
    }

    /// It keeps no report when the gateway has it. A centralised one has enrolled the ill person's phone as well.
    fn ill_authority(&self, stage: &Stage) -> Result<Party> {
        let party = adapter(stage, ILL_AUTHORITY, self.ill.authority())?;
        let party = party.must_not(&[CONTACT_NAME, HOME_AREA, EXACT_TIME, ONE_TIME_KEYS, CASE_CODE]);
        let party = party.holds(&[CODE_NAME]);
        Ok(match self.ill.authority() == authority(FRANCE) {
            true => party.with(stage.national.holdings()?).holds(&[ILL_NAME]),
            false => party.must_not(&[ILL_NAME]),
        })
    }

    /// A decentralised one forgets the name as soon as it has checked the token, a centralised one needs it.
    fn contact_authority(&self, stage: &Stage) -> Result<Party> {
        let party = adapter(stage, CONTACT_AUTHORITY, self.contact.authority())?;
        let party = party.must_not(&WHO_IS_ILL).must_not(&[ONE_TIME_KEYS, EXACT_TIME]);
        Ok(match self.contact.authority() == authority(FRANCE) {
            true => party.with(stage.national.holdings()?).holds(&[CONTACT_NAME, HOME_AREA]),
            false => {
                party.must_not(&[CONTACT_NAME, CONTACT_MODEL, HOME_AREA]).holds(&[CONFIRMATION, RECEIPT])
            }
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
            .must_not(&[ILL_NAME, CLIENT_ID, CASE_CODE, CODE_NAME, ONE_TIME_KEYS])
            .holds(&[CONTACT_NAME, CONFIRMATION, RECEIPT]))
    }
}

/// What stands in every log that has everything.
const TRACED: (&str, &[u8]) = ("a log of everything", b"TRACE");
/// The extension of a TLS handshake that says that HTTP/2 follows.
const HANDSHAKE: (&str, &[u8]) = ("a TLS handshake between gateways", b"\x00\x10\x00\x05\x00\x03\x02h2");

/// What the gateway of an authority's country has written and shown.
pub(super) fn gateway(stage: &Stage, name: &'static str, of: Authority) -> Result<Party> {
    let country = stage.federation.country_of(of)?;
    let party = Party::new(name).at(country.gateway.folder.clone()).shows(TRACED.0, TRACED.1);
    let party = party.with(stage.page(Node::Gateway(country.code))?);
    Ok(party.shows("the gateway's metrics", "exchange_pushes_total"))
}

/// What an authority's adapter has written and shown.
pub(super) fn adapter(stage: &Stage, name: &'static str, of: Authority) -> Result<Party> {
    let party = Party::new(name).at(stage.federation.adapter(of)?.folder.clone()).shows(TRACED.0, TRACED.1);
    Ok(party.with(stage.page(Node::Adapter(of))?).shows("the adapter's metrics", "adapter_pushes_total"))
}

/// Everything of an authority's country.
pub(super) fn whole_country(stage: &Stage, name: &'static str, of: Authority) -> Result<Party> {
    let country = stage.federation.country_of(of)?;
    let party = gateway(stage, name, of)?.at(country.folder.clone());
    Ok(party.with(stage.page(Node::Adapter(of))?).shows("the adapter's metrics", "adapter_pushes_total"))
}

/// What passed on the lines between countries, and between phones and authorities.
pub(super) fn network(stage: &Stage, name: &'static str) -> Party {
    Party::new(name).at(stage.federation.place().network.clone()).shows(HANDSHAKE.0, HANDSHAKE.1)
}

fn without(names: &[&str]) -> Vec<&'static str> {
    ALL.into_iter().filter(|name| !names.contains(name)).collect()
}

pub(super) fn tell(stage: &Stage, cast: &Cast, told: &mut Told) -> Result<()> {
    told.chapter("Who holds what when everything is over");
    let there = Meeting::of(stage, &cast.alice, &cast.bruno)?.search(stage)?;
    let back = Meeting::of(stage, &cast.clara, &cast.dan)?.search(stage)?;
    for ((name, (phase, there)), (_, back)) in STEPS.into_iter().zip(there).zip(back) {
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

/// What a party was found to hold.
pub(super) fn says(holding: &Holding) -> String {
    match holding.holds.is_empty() {
        true => "nothing of it".to_owned(),
        false => holding.holds.iter().copied().collect::<Vec<_>>().join(", "),
    }
}

/// Whether it holds what it may and nothing else, and the search saw what there is.
pub(super) fn good(holding: &Holding) -> Fact {
    let found: Vec<_> = holding.leaks.iter().map(|(name, place)| format!("{name} in {place}")).collect();
    let missing: Vec<_> = holding.missing.iter().map(|name| format!("not found: {name}")).collect();
    Fact::same(&[found, missing].concat(), &Vec::<String>::new())
}
