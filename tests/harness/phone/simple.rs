//! A phone's part in Herald Simple: what it advertises, which of it a list may name, and whom a published key was.

use std::collections::HashSet;

use anyhow::{Context, Result};
use country_adapter::herald::simple::{self, ContactIdentifier, Generation, KeySchedule, Secret};
use proto::day::Day;
use proto::extended::ExtendedData;
use proto::ids::Authority;
use proto::report::{Report, SimpleKey};

/// Octets of a phone's secret, as the reference libraries draw it.
const SECRET: usize = 2_048;

/// What a phone on Simple keeps.
pub struct Simple {
    secret: Vec<u8>,
    schedule: KeySchedule,
    generation: Generation,
}

impl Simple {
    /// A phone that is fresh from the shop on a day.
    pub fn new(today: Day) -> Result<Self> {
        let mut secret = vec![0; SECRET];
        getrandom::fill(&mut secret).context("the system has no random numbers")?;
        Self::with(secret, today)
    }

    pub(super) fn with(secret: Vec<u8>, today: Day) -> Result<Self> {
        let generation = Generation::of(today).context("no chain of keys is that old")?;
        let schedule = KeySchedule::new(Secret::new(secret.clone())?, generation);
        Ok(Self { secret, schedule, generation })
    }

    pub(super) fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// A day of the generation of its secret.
    pub(super) fn epoch(&self) -> Day {
        self.generation.epoch()
    }

    /// What it advertises at a Unix time.
    pub fn advert(&self, home: Authority, at: u64) -> Result<Vec<u8>> {
        let identifier = self.schedule.contact_identifier(at)?;
        Ok(simple::advert(home, &identifier, ExtendedData::default())?)
    }

    /// Its identifier at a Unix time.
    pub fn identifier(&self, at: u64) -> Result<ContactIdentifier> {
        Ok(self.schedule.contact_identifier(at)?)
    }

    /// The key of a day, to be uploaded when its owner is ill.
    pub fn key(&self, day: Day) -> Result<SimpleKey> {
        Ok(self.schedule.matching_key(day)?)
    }

    /// All that it has advertised on a day and on those before it of which anybody may report.
    pub fn advertised(&self, today: Day) -> Result<HashSet<[u8; 16]>> {
        let first = today.minus(Report::MAX_AGE).max(self.epoch());
        let mut all = HashSet::new();
        for day in (first.number()..=today.number()).map(Day::new) {
            all.extend(simple::identifiers(&self.key(day)?).iter().map(|identifier| *identifier.octets()));
        }
        Ok(all)
    }
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
            assert!(advertised.contains(phone.identifier(at).unwrap().octets()));
        }
        assert!(!advertised.contains(phone.identifier(today.minus(16).unix()).unwrap().octets()));
        let other = Simple::new(today).unwrap();
        assert!(!advertised.contains(other.identifier(today.unix()).unwrap().octets()));
    }
}
