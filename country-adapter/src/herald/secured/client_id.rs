//! A phone's name towards its own authority for a quarter of an hour (`herald.md` D10). It crosses no border.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::random;
use super::totp::Step;

const LABEL: &[u8] = b"hgw/cid/v1";

/// A phone's key for its client ids; never printed, wiped on drop.
pub struct ClientKey(Zeroizing<[u8; 32]>);

/// The name of a quarter of an hour: 16 octets. Never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClientId([u8; Self::LEN]);

impl ClientKey {
    /// A fresh key from the operating system's generator.
    #[must_use]
    pub fn random() -> Self {
        Self(random())
    }

    /// Takes the octets; the caller wipes its own copy.
    #[must_use]
    pub fn new(octets: [u8; 32]) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// The client id of a quarter of an hour.
    #[must_use]
    pub fn id(&self, step: Step) -> ClientId {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.0).expect("HMAC takes keys of any length");
        mac.update(LABEL);
        mac.update(&u64::from(step.number()).to_be_bytes());
        let tag: [u8; 32] = mac.finalize().into_bytes().into();
        let mut id = [0; ClientId::LEN];
        id.copy_from_slice(&tag[..ClientId::LEN]);
        ClientId(id)
    }
}

impl ClientId {
    /// Octets of a client id.
    pub const LEN: usize = 16;

    /// Takes the octets.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_is_another_one_every_quarter_of_an_hour_and_for_every_phone() {
        let (one, other) = (ClientKey::new([1; 32]), ClientKey::new([2; 32]));
        assert!(one.id(Step::new(7)) == one.id(Step::new(7)));
        assert!(one.id(Step::new(7)) != one.id(Step::new(8)));
        assert!(one.id(Step::new(7)) != other.id(Step::new(7)));
    }

    #[test]
    fn the_client_id_is_the_one_of_the_second_implementation() {
        // Derived by country-adapter/vectors/second_implementation.py.
        let id = ClientKey::new([7; 32]).id(Step::new(1_888_889));
        assert_eq!(hex::encode(id.octets()), "1d23a2c12166f9028063f17fcf94190d");
    }
}
