//! How many service tokens of one country are opened a day: whoever seals junk costs us no more than that (D11).
//!
//! Counted in memory; a restart begins anew.

use std::collections::HashMap;

use proto::day::Day;
use proto::ids::CountryCode;

/// What each country has used of its day.
pub(super) struct Quota {
    each: u32,
    day: Option<Day>,
    used: HashMap<CountryCode, u32>,
}

impl Quota {
    pub(super) fn new(each: u32) -> Self {
        Self { each, day: None, used: HashMap::new() }
    }

    /// Takes so many tokens of a country's day, or as many as are left; gives how many.
    pub(super) fn take(&mut self, origin: CountryCode, today: Day, tokens: usize) -> usize {
        if self.day != Some(today) {
            self.day = Some(today);
            self.used.clear();
        }
        let used = self.used.entry(origin).or_default();
        let left = self.each.saturating_sub(*used);
        let taken = u32::try_from(tokens).map_or(left, |tokens| tokens.min(left));
        *used += taken;
        usize::try_from(taken).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_country_has_so_many_tokens_a_day_and_takes_none_of_anothers() {
        let mut quota = Quota::new(5);
        let (france, germany) = (CountryCode::new(250).unwrap(), CountryCode::new(276).unwrap());
        let (today, tomorrow) = (Day::new(1), Day::new(2));
        assert_eq!([quota.take(france, today, 4), quota.take(france, today, 4)], [4, 1]);
        assert_eq!([quota.take(france, today, 4), quota.take(germany, today, 4)], [0, 4]);
        assert_eq!(quota.take(france, tomorrow, usize::MAX), 5);
    }
}
