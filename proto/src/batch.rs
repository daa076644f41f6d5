//! What crosses a border: the exact octets that are sealed and signed.
//!
//! Every layout here has a fixed order and fixed or framed lengths, so no two values share their octets. Each is
//! parsed by one strict function and written by one other; `proto/README.md` shows both with worked examples.

use bytes::Bytes;

use crate::ids::{Authority, BatchId, CountryCode, KeyId, Sequence};
use crate::limits;
use crate::malformed::Malformed;
use crate::octets::{Reader, put_framed};
use crate::wire;

const VERSION: u8 = 1;

fn check_version(what: &'static str, found: u8) -> Result<(), Malformed> {
    if found == VERSION { Ok(()) } else { Err(Malformed::Version { what, found, known: "1" }) }
}

/// What a batch's seal is bound to: its AAD is these 36 octets.
///
/// `version 1 | origin country 2 | destination authority 5 | key id 8 | batch id 16 | sealed-at minute 4`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// The country that sealed and signed it.
    pub origin: CountryCode,
    /// The authority that can open it.
    pub destination: Authority,
    /// Which of the destination's keys it is sealed to.
    pub key: KeyId,
    /// Names it.
    pub id: BatchId,
    /// When it was sealed, in minutes since 1970.
    pub sealed_at: u32,
}

impl BatchHeader {
    /// Octets of an encoded header.
    pub const LEN: usize = 36;

    /// The octets that are the AAD.
    #[must_use]
    pub fn octets(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[0] = VERSION;
        out[1..3].copy_from_slice(&self.origin.number().to_be_bytes());
        out[3..8].copy_from_slice(&self.destination.octets());
        out[8..16].copy_from_slice(self.key.octets());
        out[16..32].copy_from_slice(self.id.octets());
        out[32..].copy_from_slice(&self.sealed_at.to_be_bytes());
        out
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        check_version("batch header", reader.u8()?)?;
        Ok(Self {
            origin: CountryCode::new(reader.u16()?)?,
            destination: Authority::read(reader)?,
            key: reader.array::<{ KeyId::LEN }>()?.into(),
            id: reader.array::<{ BatchId::LEN }>()?.into(),
            sealed_at: reader.u32()?,
        })
    }
}

/// What the origin signs: the header, the place in the stream, and what is sealed.
///
/// `batch header 36 | sequence 8 | previous manifest's SHA-256 32 | sealed body's SHA-256 32 | its length 4 |
/// encapsulated key 2 + n`. The link of the first manifest of a stream is zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What the seal is bound to.
    pub header: BatchHeader,
    /// The place in the stream from the origin to the destination's country.
    pub sequence: Sequence,
    /// SHA-256 of the manifest before it in the same stream.
    pub previous: [u8; 32],
    /// SHA-256 of the sealed body.
    pub sealed_hash: [u8; 32],
    /// Octets of the sealed body.
    pub sealed_len: u32,
    /// HPKE encapsulated key, 32 to 2,048 octets.
    pub enc: Bytes,
}

impl Manifest {
    /// The domain that goes in front of a manifest when it is signed.
    pub const DOMAIN: &'static str = "exchange/v1 manifest";

    /// The octets that are signed, and whose SHA-256 links the next one.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BatchHeader::LEN + 78 + self.enc.len());
        out.extend_from_slice(&self.header.octets());
        out.extend_from_slice(&self.sequence.number().to_be_bytes());
        out.extend_from_slice(&self.previous);
        out.extend_from_slice(&self.sealed_hash);
        out.extend_from_slice(&self.sealed_len.to_be_bytes());
        put_framed(&mut out, &self.enc);
        out
    }

    /// The strict reverse of [`Manifest::octets`]. Check the signature over the octets first.
    pub fn parse(octets: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("manifest", octets);
        let manifest = Self {
            header: BatchHeader::read(&mut reader)?,
            sequence: Sequence::new(reader.u64()?)?,
            previous: reader.array()?,
            sealed_hash: reader.array()?,
            sealed_len: reader.u32()?,
            enc: Bytes::copy_from_slice(reader.framed()?),
        };
        reader.finish()?;
        check_enc(&manifest.enc)?;
        Ok(manifest)
    }
}

/// Bounds of an encapsulated key: X25519 has 32 octets, X-Wing 1,120.
fn check_enc(enc: &[u8]) -> Result<(), Malformed> {
    if (32..=2_048).contains(&enc.len()) {
        return Ok(());
    }
    Err(Malformed::Bounds { field: "encapsulated key", is: enc.len(), least: 32, most: 2_048 })
}

/// A batch as it travels and is kept: signed octets that nobody has checked yet, and the sealed body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBatch {
    /// The signed octets; [`Manifest::parse`] reads them once the signature is checked.
    pub manifest: Bytes,
    /// r and s of ECDSA P-256.
    pub signature: [u8; 64],
    /// Which of the origin's signing keys made it.
    pub signing_key: KeyId,
    /// HPKE ciphertext.
    pub sealed: Bytes,
}

impl SignedBatch {
    /// Octets before the manifest in [`SignedBatch::head`].
    const HEAD: usize = KeyId::LEN + 64;

    /// Checks sizes only.
    pub fn parse(message: wire::SignedBatch) -> Result<Self, Malformed> {
        if message.sealed.len() > limits::BATCH_LEN {
            let is = message.sealed.len();
            return Err(Malformed::Bounds { field: "sealed body", is, least: 0, most: limits::BATCH_LEN });
        }
        Ok(Self {
            manifest: message.manifest,
            signature: signature(&message.signature)?,
            signing_key: KeyId::parse(&message.signing_key)?,
            sealed: message.sealed,
        })
    }

    /// The message that carries it.
    #[must_use]
    pub fn into_wire(self) -> wire::SignedBatch {
        wire::SignedBatch {
            manifest: self.manifest,
            signature: Bytes::copy_from_slice(&self.signature),
            signing_key: Bytes::copy_from_slice(self.signing_key.octets()),
            sealed: self.sealed,
        }
    }

    /// All but the sealed body, for keeping: `signing key 8 | signature 64 | manifest`.
    #[must_use]
    pub fn head(&self) -> Bytes {
        [self.signing_key.octets().as_slice(), &self.signature, &self.manifest].concat().into()
    }

    /// Puts together what [`SignedBatch::head`] took apart.
    pub fn from_parts(head: &Bytes, sealed: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new("kept batch", head);
        let signing_key = reader.array::<{ KeyId::LEN }>()?.into();
        let signature = reader.array()?;
        Ok(Self { manifest: head.slice(Self::HEAD..), signature, signing_key, sealed })
    }
}

/// The 64 octets of an ECDSA P-256 signature.
pub fn signature(octets: &[u8]) -> Result<[u8; 64], Malformed> {
    let length = |_| Malformed::Length { field: "signature", is: octets.len(), must: "64" };
    octets.try_into().map_err(length)
}

/// How far a batch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// The receiving gateway keeps it durably.
    Stored,
    /// The receiving authority's adapter keeps it durably.
    Delivered,
}

/// What a receiving country signs: everything up to a sequence has come so far. The origin keeps it as proof.
///
/// `version 1 | origin 2 | destination country 2 | sequence 8 | SHA-256 of that sequence's manifest 32 |
/// stage 1 (1 stored, 2 delivered)`: 46 octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Who sent the batches.
    pub origin: CountryCode,
    /// Who signs this.
    pub destination: CountryCode,
    /// This one and all before it.
    pub through: Sequence,
    /// SHA-256 of the manifest with that sequence.
    pub manifest_hash: [u8; 32],
    /// How far they have come.
    pub stage: Stage,
}

impl Receipt {
    /// Octets of an encoded receipt.
    pub const LEN: usize = 46;
    /// The domain that goes in front of a receipt when it is signed.
    pub const DOMAIN: &'static str = "exchange/v1 receipt";

    /// The octets that are signed.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN);
        out.push(VERSION);
        out.extend_from_slice(&self.origin.number().to_be_bytes());
        out.extend_from_slice(&self.destination.number().to_be_bytes());
        out.extend_from_slice(&self.through.number().to_be_bytes());
        out.extend_from_slice(&self.manifest_hash);
        out.push(match self.stage {
            Stage::Stored => 1,
            Stage::Delivered => 2,
        });
        out
    }

    /// The strict reverse of [`Receipt::octets`]. Check the signature over the octets first.
    pub fn parse(octets: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("receipt", octets);
        check_version("receipt", reader.u8()?)?;
        let receipt = Self {
            origin: CountryCode::new(reader.u16()?)?,
            destination: CountryCode::new(reader.u16()?)?,
            through: Sequence::new(reader.u64()?)?,
            manifest_hash: reader.array()?,
            stage: match reader.u8()? {
                1 => Stage::Stored,
                2 => Stage::Delivered,
                value => {
                    return Err(Malformed::Value { field: "stage", value: value.into(), allowed: "1 or 2" });
                }
            },
        };
        reader.finish()?;
        Ok(receipt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            header: BatchHeader {
                origin: CountryCode::new(826).unwrap(),
                destination: "250/0".parse().unwrap(),
                key: [7; 8].into(),
                id: [8; 16].into(),
                sealed_at: 29_000_000,
            },
            sequence: Sequence::new(3).unwrap(),
            previous: [9; 32],
            sealed_hash: [10; 32],
            sealed_len: 1_000,
            enc: Bytes::from_static(&[11; 65]),
        }
    }

    fn receipt() -> Receipt {
        Receipt {
            origin: CountryCode::new(826).unwrap(),
            destination: CountryCode::new(250).unwrap(),
            through: Sequence::new(3).unwrap(),
            manifest_hash: [9; 32],
            stage: Stage::Delivered,
        }
    }

    /// Every octet counts: changed, it is an error or another value, never the same.
    fn assert_injective<T: PartialEq + std::fmt::Debug>(
        octets: &[u8],
        parse: impl Fn(&[u8]) -> Result<T, Malformed>,
    ) {
        let original = parse(octets).unwrap();
        for at in 0..octets.len() {
            let mut altered = octets.to_vec();
            altered[at] ^= 1;
            assert!(parse(&altered).map_or(true, |other| other != original), "octet {at}");
            assert!(parse(&octets[..at]).is_err(), "cut at {at}");
        }
        assert!(parse(&[octets, &[0]].concat()).is_err(), "trailing octet");
    }

    #[test]
    fn a_manifest_reads_back_and_every_octet_counts() {
        assert_eq!(Manifest::parse(&manifest().octets()).unwrap(), manifest());
        assert_injective(&manifest().octets(), Manifest::parse);
    }

    #[test]
    fn a_receipt_reads_back_and_every_octet_counts() {
        assert_eq!(Receipt::parse(&receipt().octets()).unwrap(), receipt());
        assert_eq!(receipt().octets().len(), Receipt::LEN);
        assert_injective(&receipt().octets(), Receipt::parse);
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut octets = manifest().octets();
        octets[0] = 2;
        let refused = Manifest::parse(&octets).unwrap_err().to_string();
        assert_eq!(refused, "batch header has version 2; this software reads version 1");
    }

    #[test]
    fn a_kept_batch_is_put_together_again() {
        let batch = SignedBatch {
            manifest: manifest().octets().into(),
            signature: [5; 64],
            signing_key: [6; 8].into(),
            sealed: Bytes::from_static(b"sealed"),
        };
        assert_eq!(SignedBatch::from_parts(&batch.head(), batch.sealed.clone()).unwrap(), batch);
        assert_eq!(SignedBatch::parse(batch.clone().into_wire()).unwrap(), batch);
        assert!(SignedBatch::from_parts(&Bytes::from_static(&[0; 71]), Bytes::new()).is_err());
    }

    #[test]
    fn a_batch_of_8_mib_passes_and_one_octet_more_does_not() {
        let sized = |len: usize| wire::SignedBatch {
            manifest: Bytes::new(),
            signature: vec![0; 64].into(),
            signing_key: vec![0; 8].into(),
            sealed: vec![0; len].into(),
        };
        assert!(SignedBatch::parse(sized(8 << 20)).is_ok());
        assert!(SignedBatch::parse(sized((8 << 20) + 1)).is_err());
    }
}
