//! The small numbers of a report, each within its range from the moment it exists.

use std::fmt;

use crate::malformed::Malformed;

/// Minutes spent together, 0-360. A longer contact is reported as 360: an exact length could tell who it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Minutes(u16);

impl Minutes {
    /// The most that is reported: six hours.
    pub const MOST: Self = Self(360);

    /// Checks a number under the name of its field.
    pub fn new(field: &'static str, minutes: u16) -> Result<Self, Malformed> {
        if minutes > Self::MOST.0 {
            return Err(Malformed::Value { field, value: minutes.into(), allowed: "0 to 360 minutes" });
        }
        Ok(Self(minutes))
    }

    /// A measured time, cut to the most that is reported.
    #[must_use]
    pub fn capped(minutes: u64) -> Self {
        u16::try_from(minutes).map_or(Self::MOST, |minutes| Self(minutes).min(Self::MOST))
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }
}

/// The quarter hour of the day in UTC in which a contact began, 0-95. Text is `10:15`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QuarterHour(u8);

impl QuarterHour {
    /// Stands for "not told" in octets.
    const NONE: u8 = 255;

    /// Checks a number.
    pub fn new(quarter: u8) -> Result<Self, Malformed> {
        if quarter > 95 {
            return Err(Malformed::Value {
                field: "start",
                value: quarter.into(),
                allowed: "0 to 95, or 255 for none",
            });
        }
        Ok(Self(quarter))
    }

    /// The quarter hour in which a Unix time falls.
    #[must_use]
    pub fn of_unix(seconds: u64) -> Self {
        Self(u8::try_from(seconds % 86_400 / 900).expect("a day has 96 quarter hours"))
    }

    /// Quarter hours since midnight.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    pub(super) fn from_octet(octet: u8) -> Result<Option<Self>, Malformed> {
        if octet == Self::NONE { Ok(None) } else { Self::new(octet).map(Some) }
    }

    pub(super) fn to_octet(quarter: Option<Self>) -> u8 {
        quarter.map_or(Self::NONE, Self::number)
    }

    /// Reads `HH:MM` where the minutes are 00, 15, 30 or 45.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        (0..=95).map(Self).find(|quarter| quarter.to_string() == text)
    }
}

impl fmt::Display for QuarterHour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 4, self.0 % 4 * 15)
    }
}

/// What the sending authority thinks of a contact. Advice: the issuer computes its own risk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Risk {
    /// What kind of risk, as the authorities agree among themselves.
    pub kind: u8,
    /// How much of it.
    pub score: Option<Score>,
    /// How the score was computed; 0 where there is none.
    pub mechanism: u16,
}

/// An advisory risk score, 0-65534.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Score(u16);

impl Score {
    /// Stands for "no score" in octets.
    const NONE: u16 = u16::MAX;

    /// Checks a number; 65535 stands for "no score".
    pub fn new(score: u16) -> Result<Self, Malformed> {
        Self::from_octets(score).ok_or(Malformed::Value {
            field: "score",
            value: score.into(),
            allowed: "0 to 65534",
        })
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }

    pub(super) fn from_octets(number: u16) -> Option<Self> {
        (number != Self::NONE).then_some(Self(number))
    }

    pub(super) fn to_octets(score: Option<Self>) -> u16 {
        score.map_or(Self::NONE, Self::number)
    }
}

/// Days from the onset of symptoms to the day of a key, -14 to 21.
///
/// EFGS uses -14 to 14 for a known onset (DP-3T's `dpppt-backend-sdk-interops`); a week more is taken for long
/// illnesses. Its numbers above 21, which tell other things than days, are for an adapter to translate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OnsetDays(i8);

impl OnsetDays {
    /// Stands for "not told" in octets.
    const NONE: i8 = 127;

    /// Checks a number; negative is before the onset.
    pub fn new(days: i8) -> Result<Self, Malformed> {
        if (-14..=21).contains(&days) {
            return Ok(Self(days));
        }
        let allowed = "-14 to 21, or 127 for none";
        Err(Malformed::Value { field: "days since onset", value: days.into(), allowed })
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> i8 {
        self.0
    }

    pub(super) fn from_octet(octet: u8) -> Result<Option<Self>, Malformed> {
        let days = octet.cast_signed();
        if days == Self::NONE { Ok(None) } else { Self::new(days).map(Some) }
    }

    pub(super) fn to_octet(days: Option<Self>) -> u8 {
        days.map_or(Self::NONE, Self::number).cast_unsigned()
    }
}

/// GAEN's transmission risk level, 0-8; 0 is "not used".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TransmissionRisk(u8);

impl TransmissionRisk {
    /// Checks a number.
    pub fn new(level: u8) -> Result<Self, Malformed> {
        if level > 8 {
            let field = "transmission risk level";
            return Err(Malformed::Value { field, value: level.into(), allowed: "0 to 8" });
        }
        Ok(Self(level))
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }
}

/// How an ill person's status is known. The numbers are GAEN's and EFGS's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum ReportType {
    /// Not told.
    #[default]
    Unknown = 0,
    /// A laboratory said so.
    ConfirmedTest = 1,
    /// A physician said so.
    ConfirmedClinical = 2,
    /// The person said so.
    SelfReport = 3,
    /// An earlier contact fell ill.
    Recursive = 4,
    /// The earlier report was wrong.
    Revoked = 5,
}

impl ReportType {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Unknown,
        Self::ConfirmedTest,
        Self::ConfirmedClinical,
        Self::SelfReport,
        Self::Recursive,
        Self::Revoked,
    ];

    /// The type with this number.
    pub fn from_number(number: u8) -> Result<Self, Malformed> {
        let wrong = Malformed::Value { field: "report type", value: number.into(), allowed: "0 to 5" };
        Self::ALL.get(usize::from(number)).copied().ok_or(wrong)
    }

    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::ConfirmedTest => "confirmed_test",
            Self::ConfirmedClinical => "confirmed_clinical",
            Self::SelfReport => "self_report",
            Self::Recursive => "recursive",
            Self::Revoked => "revoked",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_end_at_six_hours() {
        assert_eq!(Minutes::new("duration", 360), Ok(Minutes::MOST));
        assert_eq!(
            Minutes::new("duration", 361).unwrap_err().to_string(),
            "duration is 361; it must be 0 to 360 minutes"
        );
        assert_eq!(Minutes::capped(361), Minutes::MOST);
        assert_eq!(Minutes::capped(u64::MAX), Minutes::MOST);
        assert_eq!(Minutes::capped(12).number(), 12);
    }

    #[test]
    fn a_quarter_hour_is_one_of_96() {
        assert_eq!(QuarterHour::of_unix(86_399).to_string(), "23:45");
        assert_eq!(QuarterHour::from_text("10:15"), Some(QuarterHour(41)));
        assert!(
            ["10:14", "24:00", "1:00", "10:15:00", ""]
                .iter()
                .all(|text| QuarterHour::from_text(text).is_none())
        );
        assert_eq!(QuarterHour::from_octet(255), Ok(None));
        assert!(QuarterHour::from_octet(96).is_err());
        assert!(QuarterHour::from_octet(254).is_err());
    }

    #[test]
    fn the_numbers_that_mean_none_are_no_values() {
        assert!(Score::new(u16::MAX).is_err());
        assert!(OnsetDays::new(127).is_err());
        assert!(QuarterHour::new(255).is_err());
    }

    #[test]
    fn days_since_onset_keep_to_the_known_range() {
        for days in i8::MIN..=i8::MAX {
            assert_eq!(OnsetDays::new(days).is_ok(), (-14..=21).contains(&days), "{days}");
        }
    }

    #[test]
    fn report_types_keep_their_numbers() {
        for (number, report_type) in (0_u8..).zip(ReportType::ALL) {
            assert_eq!(report_type.number(), number);
            assert_eq!(ReportType::from_number(number), Ok(report_type));
        }
        assert!(ReportType::from_number(6).is_err());
        assert!(TransmissionRisk::new(9).is_err());
    }
}
