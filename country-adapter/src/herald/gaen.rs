//! GAEN's exposure notification: from a temporary exposure key to what its phone advertised.
//!
//! Exposure Notification, Cryptography Specification v1.2 (Apple and Google, 2020-04): `RPIK = HKDF(tek, nothing,
//! "EN-RPIK", 16)`, `RPI = AES-128(RPIK, "EN-RPI" | zeros 6 | interval u32 little endian)`.

use aes_gcm::aes::Aes128;
use aes_gcm::aes::cipher::{Block, BlockCipherEncrypt, KeyInit};
use hkdf::Hkdf;
use proto::report::{GaenKey, RollingWindow};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Seconds of an interval.
pub const INTERVAL: u64 = 600;

/// The intervals of a key's window, counted from 1970, each with its rolling proximity identifier.
pub fn identifiers(key: &GaenKey, window: RollingWindow) -> impl Iterator<Item = (u32, [u8; 16])> + use<> {
    let mut rolling = Zeroizing::new([0; 16]);
    Hkdf::<Sha256>::new(None, key.octets())
        .expand(b"EN-RPIK", &mut *rolling)
        .expect("HKDF gives up to 8,160 octets");
    let cipher = Aes128::new((&*rolling).into());
    (window.start()..window.start() + u32::from(window.period())).map(move |interval| {
        let mut block = Block::<Aes128>::default();
        block[..6].copy_from_slice(b"EN-RPI");
        block[12..].copy_from_slice(&interval.to_le_bytes());
        cipher.encrypt_block(&mut block);
        (interval, block.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identifiers_are_those_of_the_second_implementation() {
        // Derived by country-adapter/vectors/second_implementation.py.
        let key = GaenKey::new(*b"\x75\xc7\x34\xc6\xdd\x1a\x78\x2d\xe7\xa9\x65\xda\x5e\xb9\x31\x25").unwrap();
        let window = RollingWindow::new(2_642_976, 144).unwrap();
        let all: Vec<_> = identifiers(&key, window).collect();
        assert_eq!(all.len(), 144);
        assert_eq!((all[0].0, hex::encode(all[0].1)), (2_642_976, "8be6cd371c5c891604bfbe49df845096".into()));
        assert_eq!(
            (all[143].0, hex::encode(all[143].1)),
            (2_643_119, "f431b62ecf443102ce4ed0407de54bd4".into())
        );
    }
}
