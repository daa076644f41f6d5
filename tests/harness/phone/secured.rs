//! A phone's part in Herald Secured: it asks other phones, answers them, and knows its own tokens again.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use country_adapter::herald::secured::block::{Block, Readings};
use country_adapter::herald::secured::confirmation::{ConfirmationKey, Entry, Given, GivenTokens};
use country_adapter::herald::secured::exchange::{Answering, Asking, Heard, Request};
use country_adapter::herald::secured::float16::Half;
use country_adapter::herald::secured::report::ReportToken;
use country_adapter::herald::secured::service::DailyKey;
use country_adapter::herald::secured::totp::{Step, TimeCode};
use country_adapter::herald::secured::{Area, ConfirmationToken, ModelHash, ServiceToken, Uuid};
use country_adapter::service_keys::ServiceKeyList;
use pki::seal::{self, PublicKey, ServiceTokenContext};
use proto::day::Day;
use proto::extended::ExtendedData;
use proto::header::EnvelopeHeader;
use proto::ids::Authority;
use proto::report::Report;

use super::log::{Detected, Told};
use super::near::Near;

/// How strong a phone hears another that is near, and how strong it sends, in dBm.
const RSSI: f64 = -61.0;
/// See [`RSSI`].
const POWER: f64 = 12.0;

/// Days for which a phone seals one name for its authority (`herald.md` D8).
const NAME_LASTS: u16 = 28;

/// What a phone on Secured keeps.
pub struct Secured {
    pub(super) uuid: Uuid,
    /// The day on which it was first sealed.
    pub(super) named: Option<Day>,
    /// The name before, as long as anybody may report of it. Tokens remember their own time codes.
    pub(super) former: Option<Uuid>,
    pub(super) area: Area,
    pub(super) model: ModelHash,
    /// Steps by which the generator of time codes runs ahead of the phone's clock; 0 in a good phone.
    pub(super) code_ahead: i32,
    /// Its authority's keys for service tokens, by day.
    keys: Vec<DailyKey<PublicKey>>,
    /// Unix time at which they were signed.
    pub(super) keys_issued: u64,
    /// Its own key of the day. A restarted phone draws another: what it gave stands in the table.
    confirming: Option<(Day, ConfirmationKey)>,
    pub(super) given: BTreeMap<ConfirmationToken, GivenAway>,
}

/// A token that the phone gave, and whether its contact was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenAway {
    /// The exchange.
    pub given: Given,
    /// Whether it was counted.
    pub counted: bool,
}

/// What an entry of a list is to a phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recognised {
    /// Its own, and new.
    Own,
    /// Somebody else's, or nobody's.
    NotMine,
    /// Its own token, and the rest does not fit: it stays silent.
    Silent(Mismatch),
}

/// Why a phone stays silent about an entry with its own token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    /// It was counted before.
    Counted,
    /// The authority did not open the service token.
    Code,
    /// Another phone reports it than the one that the exchange was made with.
    Receipt,
    /// Another day.
    Day,
    /// A subtotal that no contact adds.
    Bounds,
}

impl Secured {
    /// A phone that is fresh from the shop.
    pub fn new(area: [u8; 4], model: [u8; 8]) -> Result<Self> {
        Ok(Self::with(Uuid::random(), Area::new(area)?, ModelHash::new(model)))
    }

    pub(super) fn with(uuid: Uuid, area: Area, model: ModelHash) -> Self {
        let given = BTreeMap::new();
        let (named, former) = (None, None);
        let (keys, keys_issued, confirming) = (Vec::new(), 0, None);
        Self { uuid, named, former, area, model, code_ahead: 0, keys, keys_issued, confirming, given }
    }

    /// Takes a list of keys that its authority has published, unless it has a later one.
    pub fn take_list(&mut self, list: ServiceKeyList) -> Result<()> {
        ensure!(list.issued_at >= self.keys_issued, "the list of service keys is older than the phone's own");
        self.keys_issued = list.issued_at;
        self.take_keys(list.keys);
        Ok(())
    }

    /// Takes keys that it seals to from now on.
    pub(super) fn take_keys(&mut self, keys: Vec<DailyKey<PublicKey>>) {
        self.keys = keys;
    }

    /// Days for which it has a key.
    pub fn days(&self) -> impl Iterator<Item = Day> {
        self.keys.iter().map(|key| *key.days.start())
    }

    /// Lets its time codes run ahead of its clock by so many steps.
    pub fn run_codes_ahead(&mut self, steps: i32) {
        self.code_ahead = steps;
    }

    /// Its authority's keys.
    #[must_use]
    pub fn keys(&self) -> &[DailyKey<PublicKey>] {
        &self.keys
    }

    /// What it remembers of a token that it gave.
    #[must_use]
    pub fn given(&self, token: &ConfirmationToken) -> Option<&GivenAway> {
        self.given.get(token)
    }

    /// Its authority's key of a day.
    pub fn key(&self, day: Day) -> Result<&DailyKey<PublicKey>> {
        let key = self.keys.iter().find(|key| key.days.contains(&day));
        key.with_context(|| format!("the phone has no key of its authority for {day}"))
    }

    /// Its name towards its authority.
    #[must_use]
    pub fn uuid(&self) -> [u8; 16] {
        *self.uuid.octets()
    }

    /// Where it is at home.
    #[must_use]
    pub fn area(&self) -> [u8; 4] {
        *self.area.octets()
    }

    /// Its model.
    #[must_use]
    pub fn model(&self) -> [u8; 8] {
        *self.model.octets()
    }

    /// Its name towards its authority, in hex.
    #[must_use]
    pub fn name(&self) -> String {
        hex::encode(self.uuid.octets())
    }

    /// The names by which its authority may know it, in hex: its own, and the one before.
    pub fn names(&self) -> impl Iterator<Item = String> {
        [Some(&self.uuid), self.former.as_ref()].into_iter().flatten().map(|uuid| hex::encode(uuid.octets()))
    }

    /// Takes another name when the one that it has was sealed for 28 days, and forgets the one before 15 days later.
    pub(super) fn renew(&mut self, today: Day) {
        let Some(named) = self.named else { return };
        if today >= named.plus(NAME_LASTS) {
            self.former = Some(std::mem::replace(&mut self.uuid, Uuid::random()));
            self.named = Some(today);
        } else if today > named.plus(Report::MAX_AGE) {
            self.former = None;
        }
    }

    /// Asks another phone.
    pub fn ask(&self, home: Authority) -> Result<Asking> {
        Ok(Asking::new(home)?)
    }

    /// Answers another phone's request at a Unix time. Gives the frame to send.
    pub fn answer(&mut self, request: &[u8], home: Authority, at: u64) -> Result<Vec<u8>> {
        let request = Request::parse(request)?;
        let (to, step) = (request.header(), Step::of_unix(at));
        self.named.get_or_insert(step.day());
        let answering = Answering::new(request, home)?;
        let confirmation = self.confirming(step.day()).token(answering.transcript(), step);
        let (service, code) = self.service(answering.transcript().header(), &confirmation, step)?;
        let readings = Readings { rssi: Half::nearest(RSSI), power: Half::nearest(POWER) };
        let block = Block::new(readings, (service, confirmation), self.model, ExtendedData::default())?;
        let answered = answering.close(&block)?;
        let given = Given { step, code, to, receipt: answered.receipt };
        self.given.insert(confirmation, GivenAway { given, counted: false });
        Ok(answered.frame)
    }

    /// What the log keeps of an answer.
    #[must_use]
    pub fn detected(heard: &Heard, near: Near) -> Detected {
        let block = &heard.block;
        let told = Told {
            rssi: block.readings.rssi.map(Half::value),
            power: block.readings.power.map(Half::value),
            model: *block.model.octets(),
        };
        let token = ReportToken::from(heard).octets().to_vec();
        Detected { header: heard.header.octets(), token, told: Some(told), near }
    }

    /// What an entry of the list of contacts is to this phone. Its own counts from now on.
    pub fn recognise(&mut self, entry: &Entry) -> Recognised {
        let Some(known) = self.given.get_mut(&entry.confirmation) else { return Recognised::NotMine };
        if known.counted {
            return Recognised::Silent(Mismatch::Counted);
        }
        let mut tokens = GivenTokens::default();
        tokens.insert(entry.confirmation, known.given);
        match tokens.recognise(entry) {
            Some(_) => {
                known.counted = true;
                Recognised::Own
            }
            None => Recognised::Silent(mismatch(&known.given, entry)),
        }
    }

    /// Forgets tokens that nobody may report any more.
    pub fn forget(&mut self, today: Day) {
        self.given.retain(|_, known| known.given.step.day() >= today.minus(Report::MAX_AGE));
    }

    fn confirming(&mut self, day: Day) -> &ConfirmationKey {
        let fresh = || (day, ConfirmationKey::random());
        let known = self.confirming.take().filter(|(of, _)| *of == day);
        &self.confirming.insert(known.unwrap_or_else(fresh)).1
    }

    fn service(
        &self,
        issuer: EnvelopeHeader,
        confirmation: &ConfirmationToken,
        step: Step,
    ) -> Result<(ServiceToken, TimeCode)> {
        let of = step.number().saturating_add_signed(self.code_ahead);
        let code = TimeCode::of(&self.uuid, Step::new(of));
        let contents = contents(self, code, step);
        Ok((seal_service_token(contents, self.key(step.day())?, issuer, confirmation)?, code))
    }
}

/// The contents of a service token, field by field, so that any of them may be wrong.
fn contents(phone: &Secured, code: TimeCode, step: Step) -> Vec<u8> {
    let (uuid, area, model) = (phone.uuid.octets(), phone.area.octets(), phone.model.octets());
    [&uuid[..], area, model, &code.number().to_be_bytes(), &step.number().to_be_bytes()].concat()
}

/// Seals any contents as a service token: everybody has the key that it takes.
pub fn seal_service_token(
    mut contents: Vec<u8>,
    to: &DailyKey<PublicKey>,
    issuer: EnvelopeHeader,
    confirmation: &ConfirmationToken,
) -> Result<ServiceToken> {
    let context = ServiceTokenContext { issuer, key: to.number, confirmation: *confirmation.octets() };
    let enc = seal::seal_service_token(&to.key, &context, &mut contents)?;
    let token = [&to.number.to_be_bytes()[..], &enc, &contents].concat();
    Ok(ServiceToken::new(token.try_into().ok().context("a service token has 119 octets")?))
}

fn mismatch(given: &Given, entry: &Entry) -> Mismatch {
    match (given.code == entry.code, given.receipt == entry.receipt) {
        (false, _) => Mismatch::Code,
        (true, false) => Mismatch::Receipt,
        (true, true) => Mismatch::Day,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW, secured};
    use super::super::{Air, Stay, meet};
    use super::*;

    #[test]
    fn a_phone_seals_another_name_every_28_days_and_still_knows_what_it_gave() {
        let (mut dan, mut clara) = (secured("826/0"), secured("250/0"));
        let today = Day::of_unix(NOW);
        dan.forget(today.plus(400)).unwrap();
        let own = |phone: &super::super::Phone| phone.in_secured().unwrap().names().collect::<Vec<_>>();
        let first = own(&dan);
        assert_eq!(first.len(), 1);
        meet(&mut Air::default(), [&mut clara, &mut dan], &Stay::new(NOW, 20, 1.5)).unwrap();
        assert_eq!(own(&dan), first, "28 days count from its first use");

        dan.forget(today.plus(27)).unwrap();
        assert_eq!(own(&dan), first);
        dan.forget(today.plus(28)).unwrap();
        let both = own(&dan);
        assert_eq!((both.len(), &both[1]), (2, &first[0]));
        dan.forget(today.plus(28 + 15)).unwrap();
        assert_eq!(own(&dan), both, "somebody may still report of it");
        dan.forget(today.plus(28 + 16)).unwrap();
        assert_eq!(own(&dan), both[..1]);
    }

    #[test]
    fn a_token_of_the_name_before_counts() {
        let (mut dan, mut clara) = (secured("826/0"), secured("250/0"));
        meet(&mut Air::default(), [&mut clara, &mut dan], &Stay::new(NOW, 20, 1.5)).unwrap();
        let token = ReportToken::parse(&clara.log().iter().next().unwrap().token).unwrap();
        let own = dan.in_secured_mut().unwrap();
        let Given { step, code, .. } = own.given(&token.confirmation).unwrap().given;
        own.named = Some(step.day().minus(27));
        own.renew(step.day().plus(1));
        assert!(own.former.is_some());
        let entry = Entry { confirmation: token.confirmation, code, receipt: token.receipt, day: step.day() };
        assert_eq!(own.recognise(&entry), Recognised::Own);
    }
}
