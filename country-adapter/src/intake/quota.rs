//! How much of one other country is taken a day: whoever sends junk costs us, and our phones, no more than that (D11).
//!
//! Counted in memory when a piece is kept, so that a piece which comes again costs once; a restart begins anew. Cases of
//! this authority have a bound of their own: a one-time code, and so many contacts for each.

use std::collections::HashMap;

use proto::day::Day;
use proto::ids::CountryCode;

/// What is taken of each other country in a day.
#[derive(Debug, Clone, Copy)]
pub struct Quotas {
    /// Reports of any kind.
    pub reports: u32,
    /// Service tokens that are opened.
    pub tokens: u32,
}

/// How much of a piece is assessed: its first so many reports, and of these the first so many service tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowed {
    pub(super) reports: usize,
    pub(super) tokens: usize,
}

impl Allowed {
    pub(super) const ALL: Self = Self { reports: usize::MAX, tokens: usize::MAX };
}

/// What each country has used of its day. A clone is a trial: it counts when it takes the place of the original.
#[derive(Clone)]
pub(super) struct Used {
    each: Quotas,
    day: Option<Day>,
    used: HashMap<CountryCode, Quotas>,
}

impl Used {
    pub(super) fn new(each: Quotas) -> Self {
        Self { each, day: None, used: HashMap::new() }
    }

    /// Takes so many of a country's reports, or as many as are left. `tokens` says how many there are among the first so
    /// many reports.
    pub(super) fn take(
        &mut self,
        origin: CountryCode,
        today: Day,
        reports: usize,
        tokens: impl FnOnce(usize) -> usize,
    ) -> Allowed {
        if self.day != Some(today) {
            self.day = Some(today);
            self.used.clear();
        }
        let used = self.used.entry(origin).or_insert(Quotas { reports: 0, tokens: 0 });
        let reports = take(&mut used.reports, self.each.reports, reports);
        let tokens = take(&mut used.tokens, self.each.tokens, tokens(reports));
        Allowed { reports, tokens }
    }
}

fn take(used: &mut u32, each: u32, wanted: usize) -> usize {
    let left = each.saturating_sub(*used);
    let taken = u32::try_from(wanted).map_or(left, |wanted| wanted.min(left));
    *used += taken;
    usize::try_from(taken).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_country_has_so_many_reports_and_tokens_a_day_and_takes_none_of_anothers() {
        let mut used = Used::new(Quotas { reports: 5, tokens: 2 });
        let (france, germany) = (CountryCode::new(250).unwrap(), CountryCode::new(276).unwrap());
        let (today, tomorrow) = (Day::new(1), Day::new(2));
        let mut take = |origin, day, reports| {
            let Allowed { reports, tokens } = used.take(origin, day, reports, |within| within);
            (reports, tokens)
        };
        assert_eq!([take(france, today, 1), take(france, today, 3)], [(1, 1), (3, 1)]);
        assert_eq!([take(france, today, 4), take(germany, today, 4)], [(1, 0), (4, 2)]);
        assert_eq!(take(france, tomorrow, usize::MAX), (5, 2));
    }
}
