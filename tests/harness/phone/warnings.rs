//! What a phone has counted: each contact's day and subtotal, and whether the sum is to be told to its owner.

use country_adapter::risk::{Reached, Subtotal, Threshold};
use proto::day::Day;
use serde::{Deserialize, Serialize};

/// The risk that a phone has added up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warnings {
    counted: Vec<(u16, u16)>,
    /// The threshold that its authority has signed: the least sum, and days.
    policy: Option<(u16, u16)>,
}

impl Warnings {
    /// Adds what a contact counts.
    pub fn add(&mut self, day: Day, subtotal: Subtotal) {
        self.counted.push((day.number(), subtotal.number()));
    }

    /// Takes the threshold that stands in a list.
    pub fn take_policy(&mut self, threshold: Threshold) {
        self.policy = Some((threshold.least, threshold.days));
    }

    /// Contacts that were counted.
    #[must_use]
    pub fn contacts(&self) -> usize {
        self.counted.len()
    }

    /// The sum on a day.
    #[must_use]
    pub fn risk(&self, today: Day) -> u16 {
        self.sum(today).0.number()
    }

    /// Whether the owner is to be told, after a while: [`super::Phone::shown`].
    pub(super) fn is_reached(&self, today: Day) -> bool {
        self.sum(today).1 == Reached::Yes
    }

    fn sum(&self, today: Day) -> (Subtotal, Reached) {
        let contacts = self.counted.iter().map(|(day, subtotal)| (Day::new(*day), Subtotal::new(*subtotal)));
        let threshold =
            self.policy.map_or_else(Threshold::default, |(least, days)| Threshold { least, days });
        threshold.sum(today, &contacts.collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_told_at_the_signed_threshold() {
        let (today, mut warnings) = (Day::new(20_000), Warnings::default());
        warnings.add(today, Subtotal::new(40));
        warnings.add(today.minus(13), Subtotal::new(20));
        warnings.add(today.minus(14), Subtotal::new(500));
        assert!(warnings.is_reached(today));
        assert_eq!((warnings.risk(today), warnings.contacts()), (60, 3));
        warnings.take_policy(Threshold { least: 61, days: 14 });
        assert!(!warnings.is_reached(today));
        warnings.take_policy(Threshold { least: 61, days: 15 });
        assert!(warnings.is_reached(today));
    }
}
