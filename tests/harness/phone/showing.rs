//! What a phone lets its owner, and whoever stands beside, see: nothing before a wait that it drew once for each event
//! when it read of it (`herald.md` 7 d, D18). What it has read and counted itself shows nowhere else.

use std::collections::BTreeMap;

use country_adapter::lists::Advice;
use country_adapter::second_degree::lag::Lags;
use proto::day::Day;
use serde::{Deserialize, Serialize};

use super::Phone;

/// What there will be to see.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Showing {
    lags: Lags,
    /// By the name of the event.
    advised: BTreeMap<String, Advice>,
}

/// Who says that the owner was exposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// The phone's own sum, which has crossed the threshold.
    Sum,
    /// The national system.
    National,
}

/// What the owner sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// That he or she was exposed.
    pub exposed: bool,
    /// What the authority advises.
    pub advice: Vec<Advice>,
}

impl Says {
    const ALL: [Self; 2] = [Self::Sum, Self::National];

    fn event(self) -> &'static str {
        match self {
            Self::Sum => "exposed by the sum",
            Self::National => "exposed by the national system",
        }
    }
}

impl Showing {
    /// Somebody says whether the owner was exposed.
    pub(super) fn exposed(&mut self, says: Says, is_exposed: bool, now: u64) {
        if is_exposed { self.lags.happened(says.event(), now) } else { self.lags.over(says.event()) }
    }

    /// The authority advises something, by a token that this phone gave.
    pub(super) fn advised(&mut self, token: &[u8; 16], advice: Advice, now: u64) {
        let event = format!("advice {} {advice:?}", hex::encode(token));
        self.lags.happened(&event, now);
        self.advised.insert(event, advice);
    }
}

impl Phone {
    /// What its owner sees at a Unix time.
    #[must_use]
    pub fn shown(&self, now: u64) -> Shown {
        let Showing { lags, advised } = &self.showing;
        let shows = |event: &str| lags.shows_at(event).is_some_and(|at| at <= now);
        let advice = advised.iter().filter(|(event, _)| shows(event)).map(|(_, advice)| *advice);
        Shown { exposed: Says::ALL.iter().any(|says| shows(says.event())), advice: advice.collect() }
    }

    /// From when on its owner sees all that it has found so far; nothing if there is nothing to see.
    #[must_use]
    pub fn all_shown_at(&self) -> Option<u64> {
        self.showing.lags.all().map(|(_, at)| at).max()
    }

    /// Looks whether the sum has crossed the threshold.
    pub(super) fn look_at_the_sum(&mut self, now: u64) {
        let is_reached = self.warnings.is_reached(Day::of_unix(now));
        self.showing.exposed(Says::Sum, is_reached, now);
    }
}

#[cfg(test)]
mod tests {
    use country_adapter::risk::Subtotal;
    use country_adapter::second_degree::lag::LONGEST;

    use super::super::testing::{NOW, home, secured};
    use super::*;

    /// A phone that has read of an exposure and of advice at the same time.
    fn warned() -> Phone {
        let mut phone = secured("826/0");
        phone.warnings.add(Day::of_unix(NOW), Subtotal::new(60), 1);
        phone.look_at_the_sum(NOW);
        phone.showing.advised(&[7; 16], Advice::SuperSpreader, NOW);
        phone
    }

    #[test]
    fn nothing_shows_before_the_drawn_time_and_all_of_it_from_then_on() {
        let phone = warned();
        let (sum, all) =
            (phone.showing.lags.shows_at(Says::Sum.event()).unwrap(), phone.all_shown_at().unwrap());
        assert!((NOW..=NOW + LONGEST).contains(&sum) && (sum..=NOW + LONGEST).contains(&all));
        assert_eq!(phone.shown(NOW - 1), Shown::default());
        assert!(!phone.shown(sum - 1).exposed && phone.shown(sum).exposed);
        assert_eq!(phone.shown(all), Shown { exposed: true, advice: vec![Advice::SuperSpreader] });
        assert_eq!(secured("826/0").all_shown_at(), None);
    }

    #[test]
    fn a_restart_and_a_second_reading_draw_no_other_time() {
        let mut phone = warned();
        let lags = phone.showing.lags.clone();
        phone = Phone::load(&phone.save().unwrap(), home("826/0")).unwrap();
        assert_eq!(phone.showing.lags, lags);
        phone.look_at_the_sum(NOW + 600);
        phone.showing.advised(&[7; 16], Advice::SuperSpreader, NOW + 600);
        assert_eq!(phone.showing.lags, lags);
    }

    #[test]
    fn an_exposure_that_is_over_shows_no_longer_and_another_one_waits_anew() {
        let mut phone = warned();
        let later = NOW + 14 * Day::SECONDS;
        phone.look_at_the_sum(later);
        assert!(!phone.shown(later).exposed);
        phone.warnings.add(Day::of_unix(later), Subtotal::new(60), 1);
        phone.look_at_the_sum(later);
        assert!(!phone.shown(later - 1).exposed && phone.shown(later + LONGEST).exposed);
        phone.showing.exposed(Says::National, true, later);
        phone.look_at_the_sum(later + 14 * Day::SECONDS);
        assert!(phone.shown(later + LONGEST).exposed, "the national system has not taken it back");
    }
}
