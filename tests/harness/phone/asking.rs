//! A phone whose owner was exposed asks for a case code: with it the process repeats.
//!
//! The phone cannot make a code, and no authority sends one to a phone: it would learn whom it warned. So the phone tells
//! its owner, who calls the health service; whoever answers gets the test done and makes a code by command. What the
//! owner shows is [`CodeWanted`], and only a phone that has found its owner exposed makes one.

use proto::day::Day;
use proto::ids::Authority;
use serde::{Deserialize, Serialize};

use super::Phone;
use super::status::Exposed;

/// Whether a phone has asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asking {
    /// Whether the national system has said that the owner was exposed.
    pub(super) exposed: Exposed,
    /// The day on which the phone has asked.
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
    /// Asks its owner to get a test and a case code, if the owner was exposed: by what the phone has added up, or by
    /// what the national system says. It asks once within the days for which a contact counts.
    pub fn wants_code(&mut self, today: Day) -> Option<CodeWanted> {
        let is_exposed = self.warnings.is_reached(today) || self.asking.exposed == Exposed::Yes;
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

    use super::super::testing::{NOW, home, secured};
    use super::*;

    #[test]
    fn a_phone_asks_for_a_code_when_the_threshold_is_crossed_and_not_before() {
        let (mut phone, today) = (secured("826/0"), Day::of_unix(NOW));
        assert_eq!(phone.wants_code(today), None);
        phone.warnings.add(today, Subtotal::new(59), 1);
        assert_eq!(phone.wants_code(today), None);
        phone.warnings.add(today, Subtotal::new(1), 1);
        let wanted = phone.wants_code(today).unwrap();
        assert_eq!(wanted.authority(), crate::authority("826/0"));
    }

    #[test]
    fn a_phone_asks_once_also_after_a_restart_and_again_after_two_weeks() {
        let (mut phone, today) = (secured("826/0"), Day::of_unix(NOW));
        phone.warnings.add(today, Subtotal::new(60), 1);
        assert!(phone.wants_code(today).is_some());
        let mut phone = Phone::load(&phone.save().unwrap(), home("826/0")).unwrap();
        assert_eq!(phone.wants_code(today.plus(13)), None);
        phone.warnings.add(today.plus(14), Subtotal::new(60), 1);
        assert!(phone.wants_code(today.plus(14)).is_some());
    }

    #[test]
    fn a_phone_whose_owner_was_told_by_the_national_system_asks_too() {
        let (mut phone, today) = (secured("250/0"), Day::of_unix(NOW));
        phone.asking.exposed = Exposed::Yes;
        assert!(phone.wants_code(today).is_some());
    }
}
