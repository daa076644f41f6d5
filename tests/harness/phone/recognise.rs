//! What a phone makes of what its authority publishes: is it I, or somebody I met, or where I was? If so, its risk is
//! added up; if not, or if anything does not fit, the phone stays silent.

use std::collections::HashSet;

use country_adapter::herald::secured::ConfirmationToken;
use country_adapter::herald::secured::confirmation::Entry;
use country_adapter::herald::secured::totp::TimeCode;
use country_adapter::herald::simple;
use country_adapter::lists::{Advice, Visit};
use country_adapter::risk::{Mechanism, Subtotal};
use proto::day::Day;
use proto::ids::Authority;
use proto::report::SimpleKey;

use super::secured::Recognised;
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
    /// An entry of the list of contacts, on Secured.
    pub(super) fn take_contact(&mut self, entry: &Entry, subtotal: Subtotal) -> Recognised {
        let Speaks::Secured(secured) = &mut self.speaks else { return Recognised::NotMine };
        let recognised = secured.recognise(entry);
        if recognised == Recognised::Own {
            self.warnings.add(entry.day, subtotal);
        }
        recognised
    }

    /// The same on Simple: `advertised` is what the phone has said itself.
    pub(super) fn take_identifier(
        &mut self,
        advertised: &HashSet<[u8; 16]>,
        entry: &Entry,
        subtotal: Subtotal,
    ) -> Recognised {
        let identifier = entry.confirmation.octets();
        if !advertised.contains(identifier) || !self.counted.insert(hex::encode(identifier)) {
            return Recognised::NotMine;
        }
        self.warnings.add(entry.day, subtotal);
        Recognised::Own
    }

    /// A venue. Gives the minutes that the owner was there meanwhile; it counts once.
    ///
    /// Without a score the minutes count like those at 2-4 m. Not epidemiologically validated.
    pub(super) fn take_venue(&mut self, exposure: &Exposure) -> u64 {
        let there = self.diary.visits().filter(|visit| {
            visit.authority() == Some(exposure.authority) && visit.location == exposure.location
        });
        let minutes = there.map(|visit| visit.minutes_within(exposure.from, exposure.to)).sum();
        let name = format!("{} {} {}", exposure.authority, exposure.location, exposure.from);
        if minutes > 0 && self.counted.insert(name) {
            let weight = u64::from(Mechanism::default().weights[2]);
            let own = || u16::try_from(minutes * weight).unwrap_or(u16::MAX);
            let subtotal = Subtotal::new(exposure.score.unwrap_or_else(own));
            self.warnings.add(Day::of_unix(exposure.from), subtotal);
        }
        minutes
    }

    /// An ill person's key of a day. Each identifier of it that this phone has heard counts once, by what the phone
    /// measured itself. Gives how many there are.
    pub(super) fn take_daily_key(&mut self, key: &SimpleKey, day: Day) -> usize {
        let ill: HashSet<_> =
            simple::identifiers(key).iter().map(|identifier| *identifier.octets()).collect();
        let mut found = 0;
        for met in self.log.iter().filter(|met| met.day().number().abs_diff(day.number()) <= 1) {
            if ill.contains(&met.token[..]) && self.counted.insert(hex::encode(&met.token)) {
                found += 1;
                self.warnings.add(met.day(), Mechanism::default().subtotal(&met.near.minutes()));
            }
        }
        found
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

#[cfg(test)]
mod tests {
    use country_adapter::herald::secured::Receipt;

    use super::super::testing::{NOW, secured, simple};
    use super::super::{Air, Stay, meet, visit};
    use super::*;

    #[test]
    fn an_own_identifier_counts_once() {
        let mut phone = simple("36/2");
        let day = Day::of_unix(NOW);
        let own = phone.in_simple().unwrap().advertised(day).unwrap();
        let identifier = *phone.in_simple().unwrap().identifier(NOW).unwrap().octets();
        let (code, receipt) = (TimeCode::new(1).unwrap(), Receipt::new([1; 16]));
        let mut take = |identifier| {
            let entry = Entry { confirmation: ConfirmationToken::new(identifier), code, receipt, day };
            phone.take_identifier(&own, &entry, Subtotal::new(40))
        };
        assert_eq!(take([9; 16]), Recognised::NotMine);
        assert_eq!(take(identifier), Recognised::Own);
        assert_eq!(take(identifier), Recognised::NotMine);
        assert_eq!(phone.warnings().risk(day), 40);
    }

    #[test]
    fn a_venue_counts_for_those_who_were_there_meanwhile() {
        let mut phone = secured("826/0");
        let beacon = [&[0x30, 3, 0x3a, 0, 0][..], &7_u32.to_be_bytes()].concat();
        visit(&mut Air::default(), &mut phone, &beacon, &Stay::new(NOW, 60, 1.0)).unwrap();
        let there = Exposure {
            authority: crate::authority("826/0"),
            location: 7,
            from: NOW + 1_800,
            to: NOW + 7_200,
            score: None,
        };
        for elsewhere in [
            Exposure { authority: crate::authority("826/1"), ..there },
            Exposure { location: 8, ..there },
            Exposure { from: NOW + 3_600, ..there },
            Exposure { from: NOW - 900, to: NOW, ..there },
        ] {
            assert_eq!(phone.take_venue(&elsewhere), 0, "{elsewhere:?}");
        }
        assert_eq!(phone.take_venue(&there), 30);
        assert_eq!(phone.take_venue(&there), 30);
        assert_eq!((phone.warnings().contacts(), phone.warnings().risk(Day::of_unix(NOW))), (1, 30));
    }

    #[test]
    fn whom_a_phone_has_heard_counts_by_its_own_minutes() {
        let (mut gwen, mut mia, harry) = (simple("826/0"), simple("36/2"), simple("826/0"));
        meet(&mut Air::default(), [&mut gwen, &mut mia], &Stay::new(NOW, 12, 1.5)).unwrap();
        let day = Day::of_unix(NOW);
        let key = mia.in_simple().unwrap().key(day).unwrap();
        assert_eq!(gwen.take_daily_key(&key, day), 2, "two identifiers of six minutes each");
        assert_eq!(gwen.take_daily_key(&key, day), 0);
        assert_eq!(gwen.take_daily_key(&harry.in_simple().unwrap().key(day).unwrap(), day), 0);
        assert_eq!(gwen.warnings().risk(Day::of_unix(NOW)), 48);
    }
}
