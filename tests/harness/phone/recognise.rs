//! What a phone makes of what its authority publishes: is it I, or somebody I met, or where I was? If so, its risk is
//! added up; if not, or if anything does not fit, the phone stays silent.

use std::collections::HashMap;

use country_adapter::herald::matching::{Heard, HeardLog};
use country_adapter::herald::secured::ConfirmationToken;
use country_adapter::herald::secured::confirmation::Entry;
use country_adapter::herald::secured::totp::TimeCode;
use country_adapter::lists::{Advice, Visit};
use country_adapter::risk::{Mechanism, Subtotal};
use proto::day::Day;
use proto::ids::Authority;
use proto::registry::Family;
use proto::report::SimpleKey;

use super::log::Detected;
use super::secured::{Mismatch, Recognised};
use super::simple::is_day_of;
use super::{Phone, Speaks};

/// A time at a venue at which somebody ill was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exposure {
    authority: Authority,
    location: u32,
    /// Unix times.
    from: u64,
    to: u64,
    score: Option<u16>,
}

impl Exposure {
    /// Without a time of the day it is all of that day.
    pub(super) fn of(visit: &Visit) -> Self {
        let (country, state) = visit.place;
        let midnight = visit.day.unix();
        let (from, to) = match visit.start {
            Some(start) => {
                let from = midnight + u64::from(start.number()) * 900;
                (from, from + u64::from(visit.minutes.number()) * 60)
            }
            None => (midnight, midnight + Day::SECONDS),
        };
        let score = visit.score.map(|score| score.number());
        Self { authority: Authority::State(country, state), location: visit.location, from, to, score }
    }
}

impl Phone {
    /// An entry of the list of contacts, on Secured, with what it adds by the weights of a number.
    pub(super) fn take_contact(
        &mut self,
        entry: &Entry,
        (subtotal, mechanism): (Subtotal, u16),
    ) -> Recognised {
        let Speaks::Secured(secured) = &mut self.speaks else { return Recognised::NotMine };
        if !is_possible(subtotal, mechanism) && secured.given(&entry.confirmation).is_some() {
            return Recognised::Silent(Mismatch::Bounds);
        }
        let recognised = secured.recognise(entry);
        if recognised == Recognised::Own {
            self.warnings.add(entry.day, subtotal, mechanism);
        }
        recognised
    }

    /// The same on Simple: `advertised` is what the phone has said itself, and since when.
    pub(super) fn take_identifier(
        &mut self,
        advertised: &HashMap<[u8; 16], u64>,
        entry: &Entry,
        (subtotal, mechanism): (Subtotal, u16),
    ) -> Recognised {
        let identifier = entry.confirmation.octets();
        let Some(begin) = advertised.get(identifier) else { return Recognised::NotMine };
        if !is_day_of(entry.day, *begin) {
            return Recognised::Silent(Mismatch::Day);
        }
        if !is_possible(subtotal, mechanism) {
            return Recognised::Silent(Mismatch::Bounds);
        }
        if !self.counted.insert(hex::encode(identifier)) {
            return Recognised::Silent(Mismatch::Counted);
        }
        self.warnings.add(entry.day, subtotal, mechanism);
        Recognised::Own
    }

    /// Minutes that the owner was at a venue together with somebody ill.
    pub(super) fn minutes_within(&self, exposure: &Exposure) -> u64 {
        let there = self.diary.visits().filter(|visit| {
            visit.authority() == Some(exposure.authority) && visit.location == exposure.location
        });
        there.map(|visit| visit.minutes_within(exposure.from, exposure.to)).sum()
    }

    /// A venue at which the owner was for so many minutes together with somebody ill, by the name of the entry that says
    /// so: it counts once.
    ///
    /// Without a score the minutes count like those at 2-4 m, and no score adds more than they would at the nearest.
    /// Not epidemiologically validated.
    pub(super) fn take_venue(&mut self, exposure: &Exposure, minutes: u64, name: String) -> Recognised {
        let own = Mechanism::default();
        let by = |weight: u16| Subtotal::new(u16::try_from(minutes * u64::from(weight)).unwrap_or(u16::MAX));
        let score = exposure.score.map_or_else(|| by(own.weights[2]), Subtotal::new);
        if !is_possible(score, own.number) {
            return Recognised::Silent(Mismatch::Bounds);
        }
        if !self.counted.insert(name) {
            return Recognised::Silent(Mismatch::Counted);
        }
        self.warnings.add(Day::of_unix(exposure.from), score.min(by(own.weights[0])), own.number);
        Recognised::Own
    }

    /// Ill persons' keys of days. Each identifier of them that this phone has heard in its own time counts once, by what
    /// the phone measured itself. Gives how many there are.
    pub(super) fn take_daily_keys(&mut self, keys: &[(SimpleKey, Day)]) -> usize {
        let mut found = 0;
        for (name, day, subtotal) in self.heard_of(keys) {
            if self.counted.insert(name) {
                found += 1;
                self.warnings.add(day, subtotal, Mechanism::default().number);
            }
        }
        found
    }

    /// Keys whose owners were not ill after all. What was counted of them is taken back once, and nothing of them counts
    /// any more: an increment has no order. Gives how many identifiers were taken back.
    pub(super) fn take_back_daily_keys(&mut self, keys: &[(SimpleKey, Day)]) -> usize {
        let mut taken_back = 0;
        for (name, day, subtotal) in self.heard_of(keys) {
            let was_revoked = !self.counted.insert(format!("revoked {name}"));
            if !self.counted.insert(name) && !was_revoked {
                taken_back += 1;
                self.warnings.take_back(day, subtotal, Mechanism::default().number);
            }
        }
        taken_back
    }

    /// What this phone has heard of the owners of these keys: the name of each identifier, the day, and what it adds.
    fn heard_of(&self, keys: &[(SimpleKey, Day)]) -> Vec<(String, Day, Subtotal)> {
        let is_simple =
            |met: &&Detected| met.header().is_some_and(|header| header.assignment().family == Family::Simple);
        let heard = self.log.iter().filter(is_simple).filter_map(|met| {
            let times = Heard { first: met.near.first(), last: met.near.last() };
            Some(((*met.token).try_into().ok()?, times))
        });
        let (mut matched, log) = (Vec::new(), HeardLog::new(heard));
        log.search(keys, |identifier, times| matched.push((*identifier, times.first)));
        let found = matched.into_iter().filter_map(|(identifier, first)| {
            let met = self.log.iter().find(|met| met.token == identifier && met.near.first() == first)?;
            Some((hex::encode(identifier), met.day(), Mechanism::default().subtotal(&met.near.minutes())))
        });
        found.collect()
    }

    /// Whether advice is for this phone: its own token, and the time code that it sealed beside it.
    pub(super) fn is_own_advice(
        &self,
        (token, code, _, _): &(ConfirmationToken, TimeCode, Day, Advice),
    ) -> bool {
        match &self.speaks {
            Speaks::Simple(_) => false,
            Speaks::Secured(secured) => secured.given(token).is_some_and(|known| known.given.code == *code),
        }
    }
}

/// Whether a contact may add this by weights that the app knows; of others it knows no bound.
fn is_possible(subtotal: Subtotal, mechanism: u16) -> bool {
    let own = Mechanism::default();
    mechanism != own.number || subtotal <= own.most()
}

#[cfg(test)]
mod tests {
    use country_adapter::herald::secured::Receipt;
    use country_adapter::herald::secured::report::ReportToken;

    use super::super::testing::{NOW, secured, simple};
    use super::super::{Air, Stay, meet, visit};
    use super::*;

    /// An entry that says nothing but a token and a day.
    fn entry(token: [u8; 16], day: Day) -> Entry {
        let (code, receipt) = (TimeCode::new(1).unwrap(), Receipt::new([1; 16]));
        Entry { confirmation: ConfirmationToken::new(token), code, receipt, day }
    }

    #[test]
    fn an_own_identifier_counts_once_on_its_day_and_within_bounds() {
        let mut phone = simple("36/2");
        let day = Day::of_unix(NOW);
        let own = phone.in_simple().unwrap().advertised(day).unwrap();
        let identifier = *phone.in_simple().unwrap().identifier(NOW).unwrap().octets();
        let mut take = |identifier, day, subtotal| {
            phone.take_identifier(&own, &entry(identifier, day), (Subtotal::new(subtotal), 1))
        };
        assert_eq!(take([9; 16], day, 40), Recognised::NotMine);
        for other in [day.minus(1), day.plus(1)] {
            assert_eq!(take(identifier, other, 40), Recognised::Silent(Mismatch::Day));
        }
        assert_eq!(take(identifier, day, 3_621), Recognised::Silent(Mismatch::Bounds));
        assert_eq!(take(identifier, day, 40), Recognised::Own);
        assert_eq!(take(identifier, day, 40), Recognised::Silent(Mismatch::Counted));
        assert_eq!(phone.warnings().risk(day), 40);
    }

    #[test]
    fn a_subtotal_that_no_contact_adds_is_met_with_silence() {
        let (mut alice, mut bruno) = (secured("826/0"), secured("250/0"));
        meet(&mut Air::default(), [&mut alice, &mut bruno], &Stay::new(NOW, 20, 1.5)).unwrap();
        let token = ReportToken::parse(&alice.log().iter().next().unwrap().token).unwrap();
        let given = bruno.in_secured().unwrap().given(&token.confirmation).unwrap().given;
        let (code, day) = (given.code, given.step.day());
        let entry = Entry { confirmation: token.confirmation, code, receipt: token.receipt, day };
        let mut take = |subtotal, mechanism| bruno.take_contact(&entry, (Subtotal::new(subtotal), mechanism));
        // Six hours below one metre, and two minutes by which rounded parts may be more than the whole.
        assert_eq!(take(3_621, 1), Recognised::Silent(Mismatch::Bounds));
        assert_eq!(take(3_620, 1), Recognised::Own);
        assert_eq!(alice.take_contact(&entry, (Subtotal::new(3_621), 1)), Recognised::NotMine);
    }

    #[test]
    fn subtotals_by_other_weights_are_kept_apart() {
        let (mut phone, day) = (simple("36/2"), Day::of_unix(NOW));
        let own = phone.in_simple().unwrap().advertised(day).unwrap();
        for (at, mechanism) in [(NOW, 1), (NOW + 360, 2)] {
            let identifier = *phone.in_simple().unwrap().identifier(at).unwrap().octets();
            let taken = phone.take_identifier(&own, &entry(identifier, day), (Subtotal::new(40), mechanism));
            assert_eq!(taken, Recognised::Own);
        }
        assert_eq!((phone.warnings().contacts(), phone.warnings().is_reached(day)), (2, false));
    }

    /// A phone whose owner was at venue 7 of 826/0 for an hour, and somebody ill who was there from half an hour later on.
    fn at_a_venue() -> (Phone, Exposure) {
        let mut phone = secured("826/0");
        let beacon = [&[0x30, 3, 0x3a, 0, 0][..], &7_u32.to_be_bytes()].concat();
        visit(&mut Air::default(), &mut phone, &beacon, &Stay::new(NOW, 60, 1.0)).unwrap();
        let (authority, location) = (crate::authority("826/0"), 7);
        let (from, to) = (NOW + 1_800, NOW + 7_200);
        (phone, Exposure { authority, location, from, to, score: None })
    }

    #[test]
    fn a_venue_counts_for_those_who_were_there_meanwhile() {
        let (mut phone, there) = at_a_venue();
        for elsewhere in [
            Exposure { authority: crate::authority("826/1"), ..there },
            Exposure { location: 8, ..there },
            Exposure { from: NOW + 3_600, ..there },
            Exposure { from: NOW - 900, to: NOW, ..there },
        ] {
            assert_eq!(phone.minutes_within(&elsewhere), 0, "{elsewhere:?}");
        }
        assert_eq!(phone.minutes_within(&there), 30);
        assert_eq!(phone.take_venue(&there, 30, "one".into()), Recognised::Own);
        assert_eq!(phone.take_venue(&there, 30, "one".into()), Recognised::Silent(Mismatch::Counted));
        assert_eq!((phone.warnings().contacts(), phone.warnings().risk(Day::of_unix(NOW))), (1, 30));
    }

    #[test]
    fn a_score_adds_no_more_than_the_minutes_that_were_shared_can() {
        for (score, recognised, risk) in [
            (Some(0), Recognised::Own, 0),
            (Some(40), Recognised::Own, 40),
            (Some(301), Recognised::Own, 300),
            (Some(3_620), Recognised::Own, 300),
            (Some(3_621), Recognised::Silent(Mismatch::Bounds), 0),
            (Some(65_534), Recognised::Silent(Mismatch::Bounds), 0),
        ] {
            let (mut phone, there) = at_a_venue();
            let taken = phone.take_venue(&Exposure { score, ..there }, 30, "one".into());
            assert_eq!((taken, phone.warnings().risk(Day::of_unix(NOW))), (recognised, risk), "{score:?}");
        }
    }

    #[test]
    fn whom_a_phone_has_heard_counts_by_its_own_minutes() {
        let (mut gwen, mut mia, harry) = (simple("826/0"), simple("36/2"), simple("826/0"));
        meet(&mut Air::default(), [&mut gwen, &mut mia], &Stay::new(NOW, 12, 1.5)).unwrap();
        let day = Day::of_unix(NOW);
        let of = |phone: &Phone| [(phone.in_simple().unwrap().key(day).unwrap(), day)];
        assert_eq!(gwen.take_daily_keys(&of(&mia)), 2, "two identifiers of six minutes each");
        assert_eq!(gwen.take_daily_keys(&of(&mia)), 0);
        assert_eq!(gwen.take_daily_keys(&of(&harry)), 0);
        assert_eq!(gwen.warnings().risk(Day::of_unix(NOW)), 48);
    }

    #[test]
    fn what_is_replayed_hours_later_is_no_contact_and_adds_nothing_to_one() {
        let (mut air, mut gwen, mut mia) = (Air::default(), simple("826/0"), simple("36/2"));
        let (mut far, day) = (simple("826/0"), Day::of_unix(NOW));
        meet(&mut air, [&mut gwen, &mut mia], &Stay::new(NOW, 6, 1.5)).unwrap();
        let advert = mia.advert(NOW).unwrap();
        for at in (NOW + 3 * 3_600..NOW + 4 * 3_600).step_by(30) {
            [&mut gwen, &mut far].into_iter().for_each(|phone| phone.detect(&advert, (at, 0.5)).unwrap());
        }
        let key = [(mia.in_simple().unwrap().key(day).unwrap(), day)];
        assert_eq!((far.take_daily_keys(&key), gwen.take_daily_keys(&key)), (0, 1));
        assert_eq!((far.warnings().risk(day), gwen.warnings().risk(day)), (0, 24), "six minutes at 1-2 m");
    }
}
