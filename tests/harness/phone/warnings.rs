//! What a phone has counted: each contact's day and subtotal, and whether the sum is to be told to its owner.
//!
//! Subtotals of different weights cannot be added: those of each mechanism have a sum and a threshold of their own.

use std::collections::BTreeMap;

use country_adapter::risk::{Reached, Subtotal, Threshold};
use proto::day::Day;
use serde::{Deserialize, Serialize};

/// The risk that a phone has added up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warnings {
    /// Day, subtotal, and the number of the weights that it was computed with.
    counted: Vec<(u16, u16, u16)>,
    /// The thresholds that its authority has signed, by the number of the weights: the least sum, and days.
    policies: BTreeMap<u16, (u16, u16)>,
}

impl Warnings {
    /// Adds what a contact counts by the weights with this number.
    pub fn add(&mut self, day: Day, subtotal: Subtotal, mechanism: u16) {
        self.counted.push((day.number(), subtotal.number(), mechanism));
    }

    /// Takes back one contact that was added so.
    pub fn take_back(&mut self, day: Day, subtotal: Subtotal, mechanism: u16) {
        let added = (day.number(), subtotal.number(), mechanism);
        if let Some(place) = self.counted.iter().position(|counted| *counted == added) {
            self.counted.remove(place);
        }
    }

    /// Takes the threshold that stands in a list, and the number of the weights that it is for.
    pub fn take_policy(&mut self, mechanism: u16, threshold: Threshold) {
        self.policies.insert(mechanism, (threshold.least, threshold.days));
    }

    /// Contacts that were counted.
    #[must_use]
    pub fn contacts(&self) -> usize {
        self.counted.len()
    }

    /// The sum on a day, the highest of any mechanism.
    #[must_use]
    pub fn risk(&self, today: Day) -> u16 {
        self.sums(today).map(|(sum, _)| sum.number()).max().unwrap_or(0)
    }

    /// Whether the owner is to be told, after a while ([`super::Phone::shown`]): the sum of some mechanism reaches its
    /// threshold.
    pub(super) fn is_reached(&self, today: Day) -> bool {
        self.sums(today).any(|(_, reached)| reached == Reached::Yes)
    }

    fn sums(&self, today: Day) -> impl Iterator<Item = (Subtotal, Reached)> {
        let mut contacts: BTreeMap<u16, Vec<(Day, Subtotal)>> = BTreeMap::new();
        for (day, subtotal, mechanism) in &self.counted {
            contacts.entry(*mechanism).or_default().push((Day::new(*day), Subtotal::new(*subtotal)));
        }
        contacts.into_iter().map(move |(mechanism, contacts)| {
            let signed =
                self.policies.get(&mechanism).map(|(least, days)| Threshold { least: *least, days: *days });
            signed.unwrap_or_default().sum(today, &contacts)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_told_at_the_signed_threshold() {
        let (today, mut warnings) = (Day::new(20_000), Warnings::default());
        warnings.add(today, Subtotal::new(40), 1);
        warnings.add(today.minus(13), Subtotal::new(20), 1);
        warnings.add(today.minus(14), Subtotal::new(500), 1);
        assert!(warnings.is_reached(today));
        assert_eq!((warnings.risk(today), warnings.contacts()), (60, 3));
        warnings.take_policy(1, Threshold { least: 61, days: 14 });
        assert!(!warnings.is_reached(today));
        warnings.take_policy(1, Threshold { least: 61, days: 15 });
        assert!(warnings.is_reached(today));
    }

    #[test]
    fn subtotals_of_different_weights_are_not_added() {
        let (today, mut warnings) = (Day::new(20_000), Warnings::default());
        warnings.add(today, Subtotal::new(40), 1);
        warnings.add(today, Subtotal::new(500), 2);
        warnings.take_policy(2, Threshold { least: 600, days: 14 });
        assert!(!warnings.is_reached(today), "neither sum reaches its own threshold");
        assert_eq!(warnings.risk(today), 500);
        warnings.add(today, Subtotal::new(20), 1);
        assert!(warnings.is_reached(today), "60 by the weights with the number 1");
    }
}
