//! The time code inside a service token (`herald.md` D9): RFC 6238 with SHA-256 and steps of 15 minutes.
//!
//! Its key is the phone's own UUID, so an authority that opened the token computes it again without knowing the
//! phone. It is kept as the 31 bits of RFC 4226 5.3, without decimal digits.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use proto::day::Day;
use proto::malformed::Malformed;
use sha2::Sha256;

use super::Uuid;

/// A quarter of an hour since 1970 in UTC: the time of an exchange, as precise as anybody keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step(u32);

impl Step {
    /// Seconds of a step.
    pub const SECONDS: u64 = 900;

    /// The step with this number; any number is a step.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The step in which a Unix time falls, or the last there is.
    #[must_use]
    pub fn of_unix(seconds: u64) -> Self {
        Self(u32::try_from(seconds / Self::SECONDS).unwrap_or(u32::MAX))
    }

    /// Steps since 1970.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }

    /// The Unix time at which it begins.
    #[must_use]
    pub fn unix(self) -> u64 {
        u64::from(self.0) * Self::SECONDS
    }

    /// The UTC day on which it lies; steps do not cross midnight.
    #[must_use]
    pub fn day(self) -> Day {
        Day::of_unix(self.unix())
    }

    /// The step itself and its two neighbours.
    fn around(self) -> impl Iterator<Item = Self> {
        [Some(self.0), self.0.checked_sub(1), self.0.checked_add(1)].into_iter().flatten().map(Self)
    }
}

/// A code of 31 bits. Never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TimeCode(u32);

impl TimeCode {
    /// The code of a phone at a step.
    #[must_use]
    pub fn of(uuid: &Uuid, step: Step) -> Self {
        Self(truncated(uuid.octets(), step.0.into()))
    }

    /// Checks that a number has 31 bits.
    pub fn new(number: u32) -> Result<Self, Malformed> {
        if number >> 31 != 0 {
            let field = "time code";
            return Err(Malformed::Value { field, value: number.into(), allowed: "a number of 31 bits" });
        }
        Ok(Self(number))
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }

    /// Whether it is the phone's code at this step, or at the one before or after (RFC 6238 5.2).
    #[must_use]
    pub fn fits(self, uuid: &Uuid, step: Step) -> bool {
        step.around().any(|step| Self::of(uuid, step) == self)
    }
}

impl fmt::Debug for TimeCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("time code: 31 bits")
    }
}

// RFC 4226 5.3: the last four bits say where the 31 bits are taken from.
fn truncated(key: &[u8], counter: u64) -> u32 {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(&counter.to_be_bytes());
    let tag: [u8; 32] = mac.finalize().into_bytes().into();
    let at = usize::from(tag[31] & 0x0f);
    let word = tag.iter().skip(at).take(4).fold(0, |word, octet| word << 8 | u32::from(*octet));
    word & 0x7fff_ffff
}

#[cfg(test)]
mod tests {
    use super::super::vectors::each;
    use super::*;

    #[test]
    fn the_codes_are_those_of_rfc_6238() {
        each("totp-rfc6238-", 6, |vector| {
            let key = vector.inputs["key_ascii"].as_str().unwrap();
            let code = truncated(key.as_bytes(), vector.number("unix") / 30);
            assert_eq!(format!("{code:08x}"), vector.expected["truncated31_hex"], "{}", vector.id);
            assert_eq!(format!("{:08}", code % 100_000_000), vector.expected["otp"], "{}", vector.id);
        });
    }

    #[test]
    fn a_phones_code_is_the_published_one() {
        each("ours-totp31", 1, |vector| {
            let step = Step::of_unix(vector.number("unix"));
            assert_eq!(u64::from(step.number()), vector.number("step"));
            let code = TimeCode::of(&Uuid::new(vector.array("uuid")), step);
            assert_eq!(hex::encode(code.number().to_be_bytes()), vector.expected["hex"]);
        });
    }

    #[test]
    fn a_code_fits_its_own_step_and_one_more_on_either_side() {
        let uuid = Uuid::new([3; 16]);
        let code = TimeCode::of(&uuid, Step::new(100));
        for step in 90..110 {
            assert_eq!(code.fits(&uuid, Step::new(step)), (99..=101).contains(&step), "{step}");
        }
        assert!(!code.fits(&Uuid::new([4; 16]), Step::new(100)), "another phone");
        assert!(TimeCode::of(&uuid, Step::new(0)).fits(&uuid, Step::new(0)));
        assert!(TimeCode::of(&uuid, Step::new(u32::MAX)).fits(&uuid, Step::new(u32::MAX)));
    }

    #[test]
    fn a_code_has_31_bits_and_is_never_printed() {
        let code = TimeCode::new(0x7fff_ffff).unwrap();
        assert_eq!(format!("{code:?}"), "time code: 31 bits");
        assert!(TimeCode::new(0x8000_0000).is_err());
    }

    #[test]
    fn steps_begin_on_the_quarter_hour_and_keep_within_a_day() {
        assert_eq!(Step::of_unix(899), Step::new(0));
        assert_eq!(Step::of_unix(900).unix(), 900);
        assert_eq!(Step::of_unix(86_399).day(), Day::new(0));
        assert_eq!(Step::of_unix(86_400).day(), Day::new(1));
        assert_eq!(Step::of_unix(u64::MAX), Step::new(u32::MAX));
    }
}
