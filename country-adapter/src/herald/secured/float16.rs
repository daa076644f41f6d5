//! Signal readings as IEEE 754 binary16, big endian (`herald.md` D20): the nearest value, ties to even.
//!
//! Herald's Android library rounds ties away from zero; who compares readings allows for that.

use std::fmt;

use proto::malformed::Malformed;

/// A finite number in binary16, -65504 to 65504.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Half(u16);

impl Half {
    /// Stands for "not measured" in octets: the quiet NaN, and no other one.
    const NONE: u16 = 0x7e00;
    /// All bits of the exponent: infinities and what is no number.
    const EXPONENT: u16 = 0x7c00;
    const SIGN: u16 = 0x8000;
    /// The smallest number with an exponent of its own, as a power of two.
    const LEAST_EXPONENT: i32 = -14;
    /// Bits of the fraction.
    const FRACTION: i32 = 10;

    /// The nearest to a number; none if that is an infinity or no number.
    #[must_use]
    pub fn nearest(number: f64) -> Option<Self> {
        let magnitude = number.abs();
        if !magnitude.is_finite() {
            return None;
        }
        let exponent = exponent(magnitude).max(Self::LEAST_EXPONENT);
        // Scaling by a power of two is exact, so this is the only rounding.
        let fraction = (magnitude * power(Self::FRACTION - exponent)).round_ties_even();
        // A fraction that was rounded up to the next power carries into the exponent, as it should; below the
        // least exponent the leading bit is missing, and so is the one that is added for it here.
        let bits = f64::from((exponent - Self::LEAST_EXPONENT) << Self::FRACTION) + fraction;
        if bits >= f64::from(Self::EXPONENT) {
            return None;
        }
        let sign = if number.is_sign_negative() { Self::SIGN } else { 0 };
        // Whole and below 0x7c00.
        Some(Self(sign | bits as u16))
    }

    /// Its value, which is exact.
    #[must_use]
    pub fn value(self) -> f64 {
        let (exponent, fraction) = (i32::from((self.0 & Self::EXPONENT) >> Self::FRACTION), self.0 & 0x3ff);
        let magnitude = match exponent {
            0 => f64::from(fraction) * power(Self::LEAST_EXPONENT - Self::FRACTION),
            _ => f64::from(0x400 | fraction) * power(exponent - 1 + Self::LEAST_EXPONENT - Self::FRACTION),
        };
        if self.0 & Self::SIGN == 0 { magnitude } else { -magnitude }
    }

    /// Reads a field; an infinity, or a NaN that does not stand for "not measured", is refused.
    pub(crate) fn from_bits(field: &'static str, bits: u16) -> Result<Option<Self>, Malformed> {
        if bits == Self::NONE {
            return Ok(None);
        }
        if bits & Self::EXPONENT == Self::EXPONENT {
            return Err(Malformed::Field { field, reason: "it must be finite, or 7e00 for none" });
        }
        Ok(Some(Self(bits)))
    }

    pub(crate) fn to_bits(half: Option<Self>) -> u16 {
        half.map_or(Self::NONE, |half| half.0)
    }
}

impl fmt::Debug for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().fmt(f)
    }
}

/// The exponent of a finite number, not biased; -1023 for 0.
fn exponent(magnitude: f64) -> i32 {
    i32::try_from(magnitude.to_bits() >> 52 & 0x7ff).expect("eleven bits") - 1023
}

/// 2 to a power between -1022 and 1023, exactly.
fn power(exponent: i32) -> f64 {
    f64::from_bits(u64::try_from(1023 + exponent).expect("a normal number") << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_half_is_nearest_to_its_own_value() {
        for bits in 0..=u16::MAX {
            match Half::from_bits("reading", bits) {
                Ok(Some(half)) => {
                    let nearest = Half::nearest(half.value()).unwrap();
                    assert_eq!(nearest.0, bits, "{half:?}");
                    assert_eq!(Half::to_bits(Some(nearest)), bits);
                }
                Ok(None) => assert_eq!(bits, 0x7e00),
                Err(refused) => {
                    assert_eq!(bits & 0x7c00, 0x7c00, "{refused}");
                    assert_ne!(bits, 0x7e00);
                }
            }
        }
    }

    #[test]
    fn neighbours_meet_halfway_at_the_even_one() {
        for bits in 0..0x7bff {
            let (low, high) = (Half(bits).value(), Half(bits + 1).value());
            let even = if bits % 2 == 0 { bits } else { bits + 1 };
            let middle = f64::midpoint(low, high);
            assert_eq!(Half::nearest(middle), Some(Half(even)), "{middle}");
            assert_eq!(Half::nearest(-middle), Some(Half(even | 0x8000)), "-{middle}");
            assert_eq!(Half::nearest(middle.next_down()), Some(Half(bits)), "below {middle}");
            assert_eq!(Half::nearest(middle.next_up()), Some(Half(bits + 1)), "above {middle}");
        }
    }

    #[test]
    fn what_no_finite_half_is_nearest_to_has_none() {
        assert_eq!(Half::nearest(65_519.99), Half::nearest(65_504.0));
        for number in [65_520.0, -65_520.0, f64::MAX, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            assert_eq!(Half::nearest(number), None, "{number}");
        }
        assert_eq!(Half::nearest(f64::MIN_POSITIVE / 4.0), Some(Half(0)));
    }
}
