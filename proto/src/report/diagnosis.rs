//! Kind 2: an ill person's own key, for countries that match on phones (`protocol.md` section 6).

use std::fmt;

use super::fields::{OnsetDays, ReportType, TransmissionRisk};
use crate::day::Day;
use crate::header::EnvelopeHeader;
use crate::ids::{Authority, CountryCode, StateCode};
use crate::malformed::Malformed;
use crate::octets::Reader;

/// One key and what is known of the illness.
///
/// Octets behind kind and version: header 5, issuer 5, family 1, key 32 or 16, rolling start 4, rolling period 1,
/// report type 1, days since onset 1, transmission risk level 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiagnosisKey {
    /// The country, and state or 0, that should have it: visited, or subscribed.
    pub destination: (CountryCode, StateCode),
    /// The authority that confirmed the case.
    pub issuer: Authority,
    /// The key, and when phones advertised what follows from it.
    pub key: IllKey,
    /// How the illness is known.
    pub report_type: ReportType,
    /// Days from the onset of symptoms to the key's day, if told.
    pub onset: Option<OnsetDays>,
    /// GAEN's transmission risk level.
    pub transmission_risk: TransmissionRisk,
}

/// A key of either family with the time in which it was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IllKey {
    /// Herald Simple: the matching key of a whole day.
    Simple(SimpleKey, Day),
    /// GAEN: a temporary exposure key.
    Gaen(GaenKey, RollingWindow),
}

/// Declares a key of fixed length that is not all zeros and is never printed.
macro_rules! ill_key {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Octets of this key.
            pub const LEN: usize = $len;

            /// Checks that it is not all zeros.
            pub fn new(octets: [u8; $len]) -> Result<Self, Malformed> {
                if octets == [0; $len] { Err(Malformed::AllZero { field: "key" }) } else { Ok(Self(octets)) }
            }

            /// The octets.
            #[must_use]
            pub fn octets(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "key: {} octets", Self::LEN)
            }
        }
    };
}

ill_key! {
    /// Herald Simple's matching key of one day.
    SimpleKey, 32
}
ill_key! {
    /// GAEN's temporary exposure key.
    GaenKey, 16
}

/// The 10-minute intervals in which a GAEN key was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollingWindow {
    start: u32,
    period: u8,
}

impl RollingWindow {
    /// Intervals of a day.
    pub const DAY: u8 = 144;
    /// The last interval of the last [`Day`].
    const LAST_START: u32 = Self::start_of(Day::new(u16::MAX)) + Self::DAY as u32 - 1;

    /// Checks a first interval, counted from 1970 and until 2149, and a number of intervals of 1-144.
    pub fn new(start: u32, period: u8) -> Result<Self, Malformed> {
        if start > Self::LAST_START {
            let allowed = "an interval of ten minutes before 2149-06-07, at most 9437183";
            return Err(Malformed::Value { field: "rolling start", value: start.into(), allowed });
        }
        if !(1..=Self::DAY).contains(&period) {
            return Err(Malformed::Value {
                field: "rolling period",
                value: period.into(),
                allowed: "1 to 144",
            });
        }
        Ok(Self { start, period })
    }

    /// First interval of ten minutes since 1970.
    #[must_use]
    pub fn start(self) -> u32 {
        self.start
    }

    /// Number of intervals.
    #[must_use]
    pub fn period(self) -> u8 {
        self.period
    }

    /// The day on which it begins.
    #[must_use]
    pub fn day(self) -> Day {
        let day = self.start / u32::from(Self::DAY);
        Day::new(u16::try_from(day).expect("new keeps the start within the days there are"))
    }

    /// All of a day.
    fn whole(day: Day) -> Self {
        Self { start: Self::start_of(day), period: Self::DAY }
    }

    const fn start_of(day: Day) -> u32 {
        day.number() as u32 * Self::DAY as u32
    }
}

impl IllKey {
    /// The payload code of Simple's tokens.
    pub const SIMPLE_CODE: u8 = 0x10;
    /// The payload code of GAEN's tokens.
    pub const GAEN_CODE: u8 = 0x80;

    const SIMPLE: u8 = 1;
    const GAEN: u8 = 2;

    /// The payload code of the tokens that follow from it.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Simple(..) => Self::SIMPLE_CODE,
            Self::Gaen(..) => Self::GAEN_CODE,
        }
    }

    /// The day of the key.
    #[must_use]
    pub fn day(&self) -> Day {
        match self {
            Self::Simple(_, day) => *day,
            Self::Gaen(_, window) => window.day(),
        }
    }

    /// The key's octets: 32 of Simple, 16 of GAEN.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        match self {
            Self::Simple(key, _) => key.octets(),
            Self::Gaen(key, _) => key.octets(),
        }
    }

    /// When it was used; a Simple key is for a whole day.
    #[must_use]
    pub fn window(&self) -> RollingWindow {
        match self {
            Self::Simple(_, day) => RollingWindow::whole(*day),
            Self::Gaen(_, window) => *window,
        }
    }

    /// A Simple key with its day given as a rolling window: it must be exactly one UTC day.
    pub fn simple(key: SimpleKey, window: RollingWindow) -> Result<Self, Malformed> {
        if window != RollingWindow::whole(window.day()) {
            let reason = "a Simple key is for one UTC day: a multiple of 144, and a rolling period of 144";
            return Err(Malformed::Field { field: "rolling start", reason });
        }
        Ok(Self::Simple(key, window.day()))
    }

    fn family(&self) -> u8 {
        match self {
            Self::Simple(..) => Self::SIMPLE,
            Self::Gaen(..) => Self::GAEN,
        }
    }

    /// Reads family, key, and the time in which it was used.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.u8()? {
            Self::SIMPLE => Self::simple(SimpleKey::new(reader.array()?)?, Self::read_window(reader)?),
            Self::GAEN => Ok(Self::Gaen(GaenKey::new(reader.array()?)?, Self::read_window(reader)?)),
            family => {
                let allowed = "1 (Simple daily key) or 2 (GAEN key)";
                Err(Malformed::Value { field: "key family", value: family.into(), allowed })
            }
        }
    }

    fn read_window(reader: &mut Reader<'_>) -> Result<RollingWindow, Malformed> {
        RollingWindow::new(reader.u32()?, reader.u8()?)
    }

    /// Appends what [`IllKey::read`] reads.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.push(self.family());
        out.extend_from_slice(self.octets());
        out.extend_from_slice(&self.window().start.to_be_bytes());
        out.push(self.window().period);
    }
}

impl DiagnosisKey {
    /// Payload code of the key's family, and the destination.
    #[must_use]
    pub fn header(&self) -> EnvelopeHeader {
        let (country, state) = self.destination;
        EnvelopeHeader::new(self.key.code(), Authority::State(country, state))
            .expect("both families have an assigned code that goes with a country and state")
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let header = EnvelopeHeader::read(reader)?;
        let issuer = Authority::read(reader)?;
        let key = IllKey::read(reader)?;
        Ok(Self {
            destination: destination(&header, &key)?,
            issuer,
            key,
            report_type: ReportType::from_number(reader.u8()?)?,
            onset: OnsetDays::from_octet(reader.u8()?)?,
            transmission_risk: TransmissionRisk::new(reader.u8()?)?,
        })
    }

    /// Octets that [`Self::put`] appends: header, issuer, family, key, window, and what is said of it.
    pub(super) fn len(&self) -> usize {
        EnvelopeHeader::LEN + self.issuer.octets().len() + 1 + self.key.octets().len() + 5 + 3
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.header().octets());
        out.extend_from_slice(&self.issuer.octets());
        self.key.put(out);
        out.push(self.report_type.number());
        out.push(OnsetDays::to_octet(self.onset));
        out.push(self.transmission_risk.number());
    }
}

/// The destination in a header whose payload code agrees with the key.
pub(super) fn destination(
    header: &EnvelopeHeader,
    key: &IllKey,
) -> Result<(CountryCode, StateCode), Malformed> {
    match header.authority() {
        Authority::State(country, state) if header.code() == key.code() => Ok((country, state)),
        _ => {
            let reason = "a Simple key goes with payload code 0x10, a GAEN key with 0x80";
            Err(Malformed::Field { field: "payload code", reason })
        }
    }
}
