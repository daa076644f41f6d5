//! Seals without their keys' encapsulation, hashes, and signatures.

use anyhow::{Result, anyhow, ensure};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use pki::sign::{SigningKey, sha256};
use proto::batch::Manifest;

use super::{Load, Part};

/// A push and a batch: each is sealed once and opened once.
const SEALS: usize = 2;
/// The batch's, at its origin, at the destination's gateway and at its adapter. A push needs none: its tag tells it from
/// others.
const HASHES: usize = 3;
/// At the destination's gateway and at its adapter.
const CHECKS: usize = 2;
/// Octets of a manifest with the encapsulated key of X-Wing.
const MANIFEST: usize = 36 + 8 + 32 + 32 + 4 + 2 + 1_120;
/// It never protects anything, and nothing is sealed twice with one key that anybody sees.
const NONCE: [u8; 12] = [0; 12];

/// The cipher of X-Wing's suite, as fast as this machine has it.
pub(super) fn aead(load: Load) -> Result<Box<dyn Part>> {
    let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).map_err(|_| anyhow!("AES-256-GCM takes 32 octets"))?;
    Ok(Box::new(Sealed { key: LessSafeKey::new(key), text: vec![1; load.body] }))
}

struct Sealed {
    key: LessSafeKey,
    text: Vec<u8>,
}

impl Part for Sealed {
    fn once(&mut self) -> Result<()> {
        let wrong = |_| anyhow!("what was sealed does not open");
        for _ in 0..SEALS {
            let nonce = || Nonce::assume_unique_for_key(NONCE);
            self.key.seal_in_place_append_tag(nonce(), Aad::empty(), &mut self.text).map_err(wrong)?;
            let opened = self.key.open_in_place(nonce(), Aad::empty(), &mut self.text).map_err(wrong)?.len();
            self.text.truncate(opened);
        }
        Ok(())
    }
}

/// By all who compare it with something.
pub(super) fn hash(load: Load) -> Result<Box<dyn Part>> {
    Ok(Box::new(Hashed { text: vec![1; load.body], last: 0 }))
}

struct Hashed {
    text: Vec<u8>,
    last: u8,
}

impl Part for Hashed {
    fn once(&mut self) -> Result<()> {
        for _ in 0..HASHES {
            // It depends on the one before, so that none is left out.
            self.text[0] = self.last;
            self.last = sha256(&self.text)[0];
        }
        Ok(())
    }
}

/// Of each batch that a push becomes.
pub(super) fn sign(load: Load) -> Result<Box<dyn Part>> {
    let key = SigningKey::from_pkcs8(&SigningKey::generate())?;
    Ok(Box::new(Signed { key, batches: load.batches, manifest: vec![1; MANIFEST] }))
}

struct Signed {
    key: SigningKey,
    batches: usize,
    manifest: Vec<u8>,
}

impl Part for Signed {
    fn once(&mut self) -> Result<()> {
        for _ in 0..self.batches {
            let signature = self.key.sign(Manifest::DOMAIN, &self.manifest);
            for _ in 0..CHECKS {
                let fits = self.key.public().check(Manifest::DOMAIN, &self.manifest, &signature);
                ensure!(fits.is_ok(), "a signature does not fit what was signed");
            }
        }
        Ok(())
    }
}
