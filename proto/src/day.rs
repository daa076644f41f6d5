//! A day in UTC: the only precision in which a date crosses a border.
//!
//! The calendar is the proleptic Gregorian one, by Howard Hinnant's "chrono-compatible low-level date algorithms".

use std::fmt;
use std::str::FromStr;

use crate::malformed::Malformed;

/// Days since 1970-01-01 UTC, 0-65535: until 2149-06-06. Text is `YYYY-MM-DD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(u16);

impl Day {
    /// Seconds of a day.
    pub const SECONDS: u64 = 86_400;

    /// The day with this number; any number is a day.
    #[must_use]
    pub const fn new(since_1970: u16) -> Self {
        Self(since_1970)
    }

    /// The day on which a Unix time falls; times after 2149-06-06 fall on that day.
    #[must_use]
    pub fn of_unix(seconds: u64) -> Self {
        Self(u16::try_from(seconds / Self::SECONDS).unwrap_or(u16::MAX))
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The Unix time at which it begins.
    #[must_use]
    pub fn unix(self) -> u64 {
        u64::from(self.0) * Self::SECONDS
    }

    /// So many days later, or the last day there is.
    #[must_use]
    pub fn plus(self, days: u16) -> Self {
        Self(self.0.saturating_add(days))
    }

    /// So many days earlier, or the first day there is.
    #[must_use]
    pub fn minus(self, days: u16) -> Self {
        Self(self.0.saturating_sub(days))
    }

    fn of_civil(civil: Civil) -> Option<Self> {
        // Years begin in March here, so that a leap day is the last of its year.
        let year = if civil.month <= 2 { civil.year.checked_sub(1)? } else { civil.year };
        let day_of_year = (153 * ((civil.month + 9) % 12) + 2) / 5 + civil.day.checked_sub(1)?;
        let since_zero = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year;
        let day = u16::try_from(since_zero.checked_sub(Civil::DAYS_BEFORE_1970)?).ok().map(Self)?;
        // Reading it back catches the 31st of a month with 30 days, month 13 and day 0.
        (day.civil() == civil).then_some(day)
    }

    fn civil(self) -> Civil {
        let days = u32::from(self.0) + Civil::DAYS_BEFORE_1970;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = era * 400 + year_of_era + u32::from(month <= 2);
        Civil { year, month, day: day_of_year - (153 * from_march + 2) / 5 + 1 }
    }
}

/// Year, month 1-12 and day 1-31.
#[derive(PartialEq, Eq)]
struct Civil {
    year: u32,
    month: u32,
    day: u32,
}

impl Civil {
    /// From 1 March of the year 0 to 1 January 1970.
    const DAYS_BEFORE_1970: u32 = 719_468;
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day } = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl FromStr for Day {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wrong = || Malformed::Text {
            what: "date as 2026-11-20, from 1970-01-01 to 2149-06-06",
            text: text.into(),
        };
        let [year, month, day] = digits(text).ok_or_else(wrong)?;
        Self::of_civil(Civil { year, month, day }).ok_or_else(wrong)
    }
}

/// The numbers of `dddd-dd-dd`, whatever they are.
fn digits(text: &str) -> Option<[u32; 3]> {
    let mut parts = text.split('-');
    let mut number = |len: usize| {
        let part = parts.next()?;
        let plain = part.len() == len && part.bytes().all(|octet| octet.is_ascii_digit());
        plain.then(|| part.parse().ok()).flatten()
    };
    let numbers = [number(4)?, number(2)?, number(2)?];
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days_have_their_numbers() {
        for (text, number) in [
            ("1970-01-01", 0),
            ("1999-12-31", 10_956),
            ("2000-02-29", 11_016),
            ("2000-03-01", 11_017),
            ("2020-09-24", 18_529),
            ("2026-03-17", 18_529 + 2_000),
            ("2100-02-28", 47_540),
            ("2100-03-01", 47_541),
            ("2149-06-06", u16::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Day::new(number)), "{text}");
            assert_eq!(Day::new(number).to_string(), text);
        }
    }

    #[test]
    fn every_day_there_is_reads_back_from_its_text() {
        for number in 0..=u16::MAX {
            let day = Day::new(number);
            assert_eq!(day.to_string().parse(), Ok(day));
        }
    }

    #[test]
    fn of_all_that_has_the_form_of_a_date_only_what_reads_back_is_one() {
        for (year, month, day) in [0, 1969, 1970, 2024, 2149, 9999]
            .into_iter()
            .flat_map(|year| (0..100).flat_map(move |month| (0..100).map(move |day| (year, month, day))))
        {
            let text = format!("{year:04}-{month:02}-{day:02}");
            if let Ok(parsed) = text.parse::<Day>() {
                assert_eq!(parsed.to_string(), text);
            }
        }
    }

    #[test]
    fn a_date_that_no_calendar_has_is_refused() {
        for text in [
            "2026-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-01-00",
            "2026-03-00",
            "2026-15-00",
            "2026-04-31",
            "1969-12-31",
            "2149-06-07",
            "9999-99-99",
            "0000-01-01",
            "2026-1-01",
            "26-01-01",
            "2026-01-01-",
            "2026/01/01",
            "+026-01-01",
            "",
        ] {
            assert!(matches!(text.parse::<Day>(), Err(Malformed::Text { .. })), "{text}");
        }
    }

    #[test]
    fn a_day_begins_at_midnight_utc() {
        let day: Day = "2020-09-24".parse().unwrap();
        assert_eq!(day.unix(), 1_600_905_600);
        assert_eq!(Day::of_unix(1_600_905_600), day);
        assert_eq!(Day::of_unix(1_600_905_599), day.minus(1));
        assert_eq!(Day::of_unix(1_600_905_600 + 86_400), day.plus(1));
        assert_eq!(Day::of_unix(u64::MAX), Day::new(u16::MAX));
    }
}
