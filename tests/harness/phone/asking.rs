//! A phone whose owner was exposed asks for a case code: with it the process repeats.
//!
//! The phone cannot make a code, and no authority sends one to a phone: it would learn whom it warned. So the phone tells
//! its owner, who calls the health service; whoever answers gets the test done and makes a code by command. What the
//! owner shows is [`CodeWanted`], and only a phone that has found its owner exposed makes one.

use proto::day::Day;
use proto::ids::Authority;
use serde::{Deserialize, Serialize};

use super::Phone;

/// Whether a phone has asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asking {
    /// The day on which it has.
    asked: Option<u16>,
}

/// A phone's demand for a case code, shown to its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeWanted {
    authority: Authority,
}

impl CodeWanted {
    /// Whom the owner has to call.
    #[must_use]
    pub fn authority(&self) -> Authority {
        self.authority
    }
}

impl Phone {
    /// Asks its owner to get a test and a case code, once he or she is told of an exposure: by what the phone has added
    /// up, or by what the national system says. It asks once within the days for which a contact counts.
    pub fn wants_code(&mut self, now: u64) -> Option<CodeWanted> {
        let (today, is_exposed) = (Day::of_unix(now), self.shown(now).exposed);
        let has_asked = self.asking.asked.is_some_and(|day| today.number() < day + Self::ASKS_AGAIN);
        if !is_exposed || has_asked {
            return None;
        }
        self.asking.asked = Some(today.number());
        Some(CodeWanted { authority: self.authority() })
    }

    /// Days after which a phone asks again.
    const ASKS_AGAIN: u16 = 14;
}

#[cfg(test)]
mod tests {
    use country_adapter::risk::Subtotal;
    use country_adapter::second_degree::lag::LONGEST;

    use super::super::showing::Says;
    use super::super::testing::{NOW, home, secured};
    use super::*;

    /// A phone that has added up so much on the day of a Unix time.
    fn add(phone: &mut Phone, subtotal: u16, now: u64) {
        phone.warnings.add(Day::of_unix(now), Subtotal::new(subtotal), 1);
        phone.look_at_the_sum(now);
    }

    #[test]
    fn a_phone_asks_for_a_code_when_its_owner_is_told_and_not_before() {
        let mut phone = secured("826/0");
        assert_eq!(phone.wants_code(NOW + LONGEST), None);
        add(&mut phone, 59, NOW);
        assert_eq!(phone.wants_code(NOW + LONGEST), None);
        add(&mut phone, 1, NOW);
        let told = phone.all_shown_at().unwrap();
        assert_eq!(phone.wants_code(told - 1), None, "whoever stands beside the owner would see why");
        let wanted = phone.wants_code(told).unwrap();
        assert_eq!(wanted.authority(), crate::authority("826/0"));
    }

    #[test]
    fn a_phone_asks_once_also_after_a_restart_and_again_after_two_weeks() {
        let mut phone = secured("826/0");
        let days = |days: u64| NOW + days * Day::SECONDS;
        add(&mut phone, 60, NOW);
        let told = phone.all_shown_at().unwrap();
        assert!(phone.wants_code(told).is_some());
        let mut phone = Phone::load(&phone.save().unwrap(), home("826/0")).unwrap();
        assert_eq!(phone.wants_code(days(13)), None);
        add(&mut phone, 60, days(15));
        assert!(phone.wants_code(days(15) + LONGEST).is_some());
    }

    #[test]
    fn a_phone_whose_owner_was_told_by_the_national_system_asks_too() {
        let mut phone = secured("250/0");
        phone.showing.exposed(Says::National, true, NOW);
        assert!(phone.wants_code(NOW + LONGEST).is_some());
    }
}
