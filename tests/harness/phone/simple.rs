//! A phone's part in Herald Simple: what it advertises, which of it a list may name, and whom a published key was.

use std::collections::HashMap;

use anyhow::{Context, Result};
use country_adapter::herald::simple::{self, ContactIdentifier, Generation, KeySchedule, Period, Secret};
use proto::day::Day;
use proto::extended::ExtendedData;
use proto::ids::Authority;
use proto::report::{Report, SimpleKey};

/// Octets of a phone's secret, as the reference libraries draw it.
const SECRET: usize = 2_048;

/// What a phone on Simple keeps.
pub struct Simple {
    chain: Chain,
    /// The chain of the generation before, as long as anybody may report of it.
    former: Option<Chain>,
}

/// A generation's secret and what follows from it.
pub(super) struct Chain {
    secret: Vec<u8>,
    schedule: KeySchedule,
    generation: Generation,
}

impl Chain {
    fn fresh(today: Day) -> Result<Self> {
        let mut secret = vec![0; SECRET];
        getrandom::fill(&mut secret).context("the system has no random numbers")?;
        Self::with(secret, today)
    }

    /// The chain of a secret, in the generation of a day.
    pub(super) fn with(secret: Vec<u8>, day: Day) -> Result<Self> {
        let generation = Generation::of(day).context("no chain of keys is that old")?;
        let schedule = KeySchedule::new(Secret::new(secret.clone())?, generation);
        Ok(Self { secret, schedule, generation })
    }

    pub(super) fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// A day of its generation.
    pub(super) fn epoch(&self) -> Day {
        self.generation.epoch()
    }
}

impl Simple {
    /// A phone that is fresh from the shop on a day.
    pub fn new(today: Day) -> Result<Self> {
        Ok(Self::of(Chain::fresh(today)?, None))
    }

    pub(super) fn of(chain: Chain, former: Option<Chain>) -> Self {
        Self { chain, former }
    }

    /// The chain in use, and the one before it.
    pub(super) fn chains(&self) -> (&Chain, Option<&Chain>) {
        (&self.chain, self.former.as_ref())
    }

    /// Begins the next chain on the first day of its generation, and forgets the one before 15 days later.
    pub(super) fn renew(&mut self, today: Day) -> Result<()> {
        if Generation::of(today).is_some_and(|generation| generation > self.chain.generation) {
            self.former = Some(std::mem::replace(&mut self.chain, Chain::fresh(today)?));
        }
        let first = today.minus(Report::MAX_AGE);
        self.former = self.former.take().filter(|chain| chain.generation.last() >= first);
        Ok(())
    }

    fn schedule(&self, day: Day) -> &KeySchedule {
        let is_of = |chain: &&Chain| Generation::of(day) == Some(chain.generation);
        self.former.as_ref().filter(is_of).map_or(&self.chain.schedule, |former| &former.schedule)
    }

    /// What it advertises at a Unix time.
    pub fn advert(&self, home: Authority, at: u64) -> Result<Vec<u8>> {
        let identifier = self.identifier(at)?;
        Ok(simple::advert(home, &identifier, ExtendedData::default())?)
    }

    /// Its identifier at a Unix time.
    pub fn identifier(&self, at: u64) -> Result<ContactIdentifier> {
        Ok(self.schedule(Day::of_unix(at)).contact_identifier(at)?)
    }

    /// The key of a day, to be uploaded when its owner is ill.
    pub fn key(&self, day: Day) -> Result<SimpleKey> {
        Ok(self.schedule(day).matching_key(day)?)
    }

    /// All that it has advertised on a day and on those before it of which anybody may report, each with the Unix time
    /// at which it began to.
    pub fn advertised(&self, today: Day) -> Result<HashMap<[u8; 16], u64>> {
        let begin = self.former.as_ref().map_or(self.chain.epoch(), Chain::epoch);
        let first = today.minus(Report::MAX_AGE).max(begin);
        let mut all = HashMap::new();
        for day in (first.number()..=today.number()).map(Day::new) {
            let identifiers = simple::identifiers(&self.key(day)?);
            let times = (0..).map(|period| day.unix() + period * Period::SECONDS);
            all.extend(identifiers.iter().map(|identifier| *identifier.octets()).zip(times));
        }
        Ok(all)
    }
}

/// Whether a contact that began on a day may be with a phone that advertised from a Unix time on for a period, by clocks
/// that are a period apart at most.
pub(super) fn is_day_of(day: Day, begin: u64) -> bool {
    let first = Day::of_unix(begin.saturating_sub(Period::SECONDS));
    (first..=Day::of_unix(begin + 2 * Period::SECONDS - 1)).contains(&day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_knows_what_it_has_advertised() {
        let today = Day::new(20_780);
        let phone = Simple::new(today).unwrap();
        let advertised = phone.advertised(today).unwrap();
        assert_eq!(advertised.len(), 16 * 240);
        for at in [today.unix(), today.unix() + 86_399, today.minus(15).unix()] {
            assert!(advertised.contains_key(phone.identifier(at).unwrap().octets()));
        }
        assert!(!advertised.contains_key(phone.identifier(today.minus(16).unix()).unwrap().octets()));
        let other = Simple::new(today).unwrap();
        assert!(!advertised.contains_key(other.identifier(today.unix()).unwrap().octets()));
    }

    #[test]
    fn a_contact_may_begin_on_the_other_side_of_midnight_by_a_period() {
        let day = Day::new(20_780);
        for (begin, days) in [
            (day.unix(), [true, true, false]),
            (day.unix() + 360, [false, true, false]),
            (day.unix() + 86_400 - 720, [false, true, false]),
            (day.unix() + 86_400 - 360, [false, true, true]),
        ] {
            let found = [day.minus(1), day, day.plus(1)].map(|other| is_day_of(other, begin));
            assert_eq!(found, days, "{begin}");
        }
    }

    #[test]
    fn a_phone_begins_the_next_generation_and_knows_the_one_before_for_15_days() {
        let last = Generation::of(Day::new(20_000)).unwrap().last();
        let mut phone = Simple::new(last).unwrap();
        let (key, advert) = (phone.key(last).unwrap(), phone.identifier(last.unix()).unwrap());
        phone.renew(last).unwrap();
        assert!(phone.key(last).unwrap() == key && phone.identifier(last.plus(1).unix()).is_err());
        phone.renew(last.plus(1)).unwrap();
        assert!(phone.identifier(last.plus(1).unix()).is_ok(), "the next generation");
        assert!(phone.key(last).unwrap() == key, "the key of yesterday can be reported");
        assert!(phone.advertised(last.plus(1)).unwrap().contains_key(advert.octets()));
        phone.renew(last.plus(15)).unwrap();
        assert!(phone.advertised(last.plus(15)).unwrap().contains_key(advert.octets()));
        phone.renew(last.plus(16)).unwrap();
        assert!(phone.chains().1.is_none(), "nobody may report of it any more");
        assert_eq!(phone.advertised(last.plus(16)).unwrap().len(), 16 * 240);
    }
}
