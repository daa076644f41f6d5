//! Herald Secured (payload 0x20): what two phones exchange, and what their authorities make of it.
//!
//! The draft has no reference code; what it leaves open is decided in `herald.md` 4.5 (D1-D20). In order:
//! `exchange` between the phones, `report` from the receiver's authority to the transmitter's, which opens the
//! `service` token and `validate`s it; the transmitter's phone finds its `confirmation` token in what is published.

pub mod block;
pub mod client_id;
pub mod confirmation;
pub mod exchange;
pub mod float16;
pub mod report;
pub mod service;
pub mod totp;
pub mod validate;

#[cfg(test)]
mod journey_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
pub(crate) mod vectors;

use std::fmt;

use proto::header::EnvelopeHeader;
use proto::malformed::Malformed;
use proto::registry::Family;
use zeroize::Zeroizing;

/// Payload code of a Secured frame.
pub const CODE: u8 = 0x20;

/// A phone's own name towards its authority, drawn afresh every 28 days (D8). Never printed, wiped on drop.
pub struct Uuid(Zeroizing<[u8; 16]>);

impl Uuid {
    /// Takes the octets; the caller wipes its own copy.
    #[must_use]
    pub fn new(octets: [u8; 16]) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// A fresh one from the operating system's generator.
    #[must_use]
    pub fn random() -> Self {
        Self(random())
    }

    /// The octets.
    #[must_use]
    pub fn octets(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Defines octets that are told apart and passed on, but never printed.
macro_rules! opaque {
    ($(#[$doc:meta])* $name:ident, $len:literal, $printed:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Octets of it.
            pub const LEN: usize = $len;

            /// Takes the octets, whatever they are.
            #[must_use]
            pub const fn new(octets: [u8; Self::LEN]) -> Self {
                Self(octets)
            }

            /// The octets.
            #[must_use]
            pub const fn octets(&self) -> &[u8; Self::LEN] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($printed)
            }
        }
    };
}

opaque! {
    /// Names a phone's make and model by a hash. The list of models is public, so it hides nothing.
    ModelHash, 8, "model hash: 8 octets"
}

opaque! {
    /// What the transmitter's phone knows a contact by, and nobody else can tell from random octets (D4).
    ConfirmationToken, 16, "confirmation token: 16 octets"
}

opaque! {
    /// Shows that the phone which reports a contact is the one that the exchange was made with (D6).
    Receipt, 16, "exchange receipt: 16 octets"
}

opaque! {
    /// A phone's name, area and time, closed for its authority: key number 2, encapsulated key 65, sealed 52 (D3).
    ServiceToken, 119, "service token: 119 octets"
}

/// Where a phone is at home, in a country's own way of writing: ASCII, with NUL behind it (D16).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Area([u8; 4]);

impl Area {
    /// Checks that it is up to four printable letters of ASCII, and only NUL behind them.
    pub fn new(octets: [u8; 4]) -> Result<Self, Malformed> {
        let letters = octets.iter().take_while(|octet| octet.is_ascii_graphic()).count();
        if octets[letters..].iter().any(|octet| *octet != 0) {
            let reason = "it must be letters of ASCII, and NUL behind them";
            return Err(Malformed::Field { field: "area", reason });
        }
        Ok(Self(octets))
    }

    /// The octets.
    #[must_use]
    pub fn octets(&self) -> &[u8; 4] {
        &self.0
    }
}

impl fmt::Debug for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("area: 4 octets")
    }
}

/// Random octets from the operating system, wiped on drop.
pub(crate) fn random<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut octets = Zeroizing::new([0; N]);
    getrandom::fill(&mut *octets).expect("the operating system gives random octets, or nothing here is safe");
    octets
}

/// Refuses headers of other payloads.
fn check_secured(header: EnvelopeHeader) -> Result<(), Malformed> {
    match header.assignment().family {
        Family::Secured => Ok(()),
        _ => {
            Err(Malformed::Field { field: "payload code", reason: "it must be that of Herald Secured, 0x20" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_is_ascii_with_nul_behind_it() {
        for good in [*b"S41\0", *b"AB12", *b"\0\0\0\0"] {
            assert_eq!(Area::new(good).map(|area| *area.octets()), Ok(good));
        }
        for bad in [*b"S\x004\0", *b"\0AAA", *b"S41\n", *b"S 41", *b"S4\xc3\xa9"] {
            assert!(Area::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn tokens_are_never_printed() {
        assert_eq!(format!("{:?}", ConfirmationToken::new([7; 16])), "confirmation token: 16 octets");
        assert_eq!(format!("{:?}", Receipt::new([7; 16])), "exchange receipt: 16 octets");
        assert_eq!(format!("{:?}", ServiceToken::new([7; 119])), "service token: 119 octets");
        assert_eq!(format!("{:?}", ModelHash::new([7; 8])), "model hash: 8 octets");
        assert_eq!(format!("{:?}", Area::new([b'A'; 4]).unwrap()), "area: 4 octets");
    }

    #[test]
    fn two_phones_do_not_draw_the_same_name() {
        assert_ne!(Uuid::random().octets(), Uuid::random().octets());
    }
}
