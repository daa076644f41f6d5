//! An increment: one signed document that adds entries to a list, and is never changed again.
//!
//! ```text
//! version u8 = 1 | list u8 | authority 5 | number u32 | posted at u64 | previous 32 | mechanism u16 | threshold u16 |
//! days u8 | count u32 | count x 40 octets | signature 64
//! ```
//! Big endian. The signature is ECDSA P-256 over the domain and the SHA-256 of all octets before it; the same hash of
//! the increment before stands in `previous`, zeros in number 1. So one pass over an increment checks all of it.

use pki::sign::{SigningKey, VerifyingKey, sha256};
use proto::ids::Authority;
use proto::malformed::Malformed;
use proto::octets::Reader;

use super::entry::{Entry, ListKind};
use crate::risk::Threshold;

/// What the signature is bound to.
pub(super) const DOMAIN: &str = "exchange/v1 exposure list";
/// Octets before the entries.
const HEAD: usize = 1 + 1 + Authority::LEN + 4 + 8 + 32 + 2 + 2 + 1 + 4;
/// Octets of the signature.
const SIGNATURE: usize = 64;
const VERSION: u8 = 1;

/// What phones need to know beside the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// Whose list it is.
    pub authority: Authority,
    /// The number of the weights that subtotals were computed with.
    pub mechanism: u16,
    /// When a phone tells its owner.
    pub threshold: Threshold,
}

/// What stands before the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Which list.
    pub kind: ListKind,
    /// From 1, without gaps.
    pub number: u32,
    /// Unix seconds.
    pub posted_at: u64,
    /// Hash of the increment before.
    pub previous: [u8; 32],
    /// What phones need to know.
    pub parameters: Parameters,
}

impl Head {
    /// The signed increment with these entries.
    #[must_use]
    pub fn seal(&self, entries: &[Entry], key: &SigningKey) -> Sealed {
        let mut octets = Vec::with_capacity(HEAD + entries.len() * Entry::LEN + SIGNATURE);
        octets.extend_from_slice(&[VERSION, self.kind.number()]);
        octets.extend_from_slice(&self.parameters.authority.octets());
        octets.extend_from_slice(&self.number.to_be_bytes());
        octets.extend_from_slice(&self.posted_at.to_be_bytes());
        octets.extend_from_slice(&self.previous);
        octets.extend_from_slice(&self.parameters.mechanism.to_be_bytes());
        octets.extend_from_slice(&self.parameters.threshold.least.to_be_bytes());
        octets.push(u8::try_from(self.parameters.threshold.days).unwrap_or(u8::MAX));
        let count = u32::try_from(entries.len()).expect("a list has fewer than 2^32 entries");
        octets.extend_from_slice(&count.to_be_bytes());
        entries.iter().for_each(|entry| octets.extend_from_slice(entry.octets()));
        let hash = sha256(&octets);
        octets.extend_from_slice(&key.sign(DOMAIN, &hash));
        Sealed { octets, hash }
    }
}

/// An increment that was made here.
pub struct Sealed {
    /// All of it.
    pub octets: Vec<u8>,
    /// What the next one is chained to.
    pub hash: [u8; 32],
}

/// An increment as it was read. Nothing of it is believed before [`Increment::check`].
#[derive(Debug, Clone, Copy)]
pub struct Increment<'a> {
    head: Head,
    signed: &'a [u8],
    entries: &'a [[u8; Entry::LEN]],
    signature: &'a [u8; SIGNATURE],
}

/// An increment that its authority signed. Only [`Increment::check`] makes one.
#[derive(Debug, Clone, Copy)]
pub struct Checked<'a> {
    /// What stands before the entries.
    pub head: Head,
    /// What the next one is chained to.
    pub hash: [u8; 32],
    entries: &'a [[u8; Entry::LEN]],
}

/// The signature does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the increment was not signed by the authority's key for lists")]
pub struct Forged;

impl<'a> Increment<'a> {
    /// Reads a whole increment.
    pub fn parse(octets: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("increment", octets);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(Malformed::Version { what: "increment", found: version, known: "1" });
        }
        let number = reader.u8()?;
        let kind = ListKind::from_number(number).ok_or(Malformed::Value {
            field: "list",
            value: number.into(),
            allowed: "1 to 4",
        })?;
        let authority = Authority::parse(reader.take(Authority::LEN)?)?;
        let (number, posted_at, previous) = (reader.u32()?, reader.u64()?, reader.array()?);
        if number == 0 {
            return Err(Malformed::Value { field: "number", value: 0, allowed: "1 or more" });
        }
        let mechanism = reader.u16()?;
        let threshold = Threshold { least: reader.u16()?, days: reader.u8()?.into() };
        let count = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
        let entries = reader.take(count.saturating_mul(Entry::LEN))?;
        let (entries, _) = entries.as_chunks();
        let signature = reader.take(SIGNATURE)?.try_into().expect("take gives 64 octets");
        reader.finish()?;
        let parameters = Parameters { authority, mechanism, threshold };
        let head = Head { kind, number, posted_at, previous, parameters };
        Ok(Self { head, signed: &octets[..octets.len() - SIGNATURE], entries, signature })
    }

    /// Checks the signature.
    pub fn check(&self, key: &VerifyingKey) -> Result<Checked<'a>, Forged> {
        let hash = sha256(self.signed);
        key.check(DOMAIN, &hash, self.signature).map_err(|_| Forged)?;
        Ok(Checked { head: self.head, hash, entries: self.entries })
    }
}

impl<'a> Checked<'a> {
    /// The entries, real ones and others.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry> + use<'a> {
        self.entries.iter().map(|octets| Entry::new(*octets))
    }
}

/// Number, time and hash of an increment that is known to be our own.
pub(super) fn summary(octets: &[u8]) -> Result<(Head, [u8; 32]), Malformed> {
    let increment = Increment::parse(octets)?;
    Ok((increment.head, sha256(increment.signed)))
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    pub(crate) fn key() -> SigningKey {
        SigningKey::from_pkcs8(&SigningKey::generate()).unwrap()
    }

    pub(crate) fn parameters() -> Parameters {
        Parameters { authority: "826/0".parse().unwrap(), mechanism: 1, threshold: Threshold::default() }
    }

    pub(crate) fn head(number: u32, previous: [u8; 32]) -> Head {
        Head {
            kind: ListKind::Contacts,
            number,
            posted_at: 1_795_000_000,
            previous,
            parameters: parameters(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::testing::{head, key};
    use super::*;

    #[test]
    fn an_increment_reads_back_and_its_layout_is_the_documented_one() {
        let key = key();
        let entries = [Entry::new([1; 40]), Entry::new([2; 40])];
        let sealed = head(3, [9; 32]).seal(&entries, &key);
        let expected = [
            "01",
            "01",
            "00033a0000",
            "00000003",
            &format!("{:016x}", 1_795_000_000),
            &"09".repeat(32),
            "0001",
            "003c",
            "0e",
            "00000002",
        ];
        assert_eq!(hex::encode(&sealed.octets[..HEAD]), expected.concat());
        let checked = Increment::parse(&sealed.octets).unwrap().check(key.public()).unwrap();
        assert_eq!((checked.head, checked.hash), (head(3, [9; 32]), sealed.hash));
        assert_eq!(checked.entries().collect::<Vec<_>>(), entries);
        assert_eq!(summary(&sealed.octets).unwrap(), (head(3, [9; 32]), sealed.hash));
    }

    #[test]
    fn no_octet_of_an_increment_can_be_altered_and_nothing_be_cut_or_added() {
        let key = key();
        let sealed = head(1, [0; 32]).seal(&[Entry::new([1; 40])], &key).octets;
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            let believed = Increment::parse(&altered).is_ok_and(|read| read.check(key.public()).is_ok());
            assert!(!believed, "octet {at}");
            assert!(Increment::parse(&sealed[..at]).is_err(), "cut to {at}");
        }
        assert!(Increment::parse(&[&sealed[..], &[0]].concat()).is_err());
    }

    #[test]
    fn anothers_key_and_another_domain_are_no_signature() {
        let (key, other) = (key(), key());
        let sealed = head(1, [0; 32]).seal(&[], &other);
        assert_eq!(Increment::parse(&sealed.octets).unwrap().check(key.public()).unwrap_err(), Forged);
        let mut elsewhere = sealed.octets;
        let end = elsewhere.len() - SIGNATURE;
        let hash = sha256(&elsewhere[..end]);
        elsewhere[end..].copy_from_slice(&key.sign("another domain", &hash));
        assert_eq!(Increment::parse(&elsewhere).unwrap().check(key.public()).unwrap_err(), Forged);
    }

    proptest! {
        #[test]
        fn any_octets_are_an_increment_that_nobody_signed_or_refused(
            kind in 1..=4_u8,
            head in prop::collection::vec(any::<u8>(), HEAD - 7 - 4),
            entries in 0..4_u32,
            rest in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let exact = usize::try_from(entries).unwrap() * Entry::LEN + SIGNATURE;
            let long_enough: Vec<_> = rest.iter().copied().cycle().take(if rest.is_empty() { 0 } else { exact }).collect();
            for rest in [rest, long_enough] {
                let begin = [&[VERSION, kind, 0, 3, 0x3a, 0, 0][..], &head, &entries.to_be_bytes()].concat();
                let octets = [begin, rest].concat();
                if let Ok(increment) = Increment::parse(&octets) {
                    prop_assert_eq!(increment.entries.len(), usize::try_from(entries).unwrap());
                    prop_assert!(increment.check(key().public()).is_err());
                }
            }
        }

        #[test]
        fn an_altered_or_cut_increment_is_not_believed(
            count in 0..5_usize,
            (at, by) in (any::<prop::sample::Index>(), 1..=255_u8),
            end in any::<prop::sample::Index>(),
        ) {
            let key = key();
            let octets = head(7, [3; 32]).seal(&vec![Entry::new([1; 40]); count], &key).octets;
            let mut altered = octets.clone();
            altered[at.index(octets.len())] ^= by;
            let cut = &octets[..end.index(octets.len())];
            for wrong in [&altered[..], cut] {
                prop_assert!(!Increment::parse(wrong).is_ok_and(|read| read.check(key.public()).is_ok()));
            }
        }

        #[test]
        fn any_entries_read_back(entries in prop::collection::vec(any::<[u8; 32]>(), 0..20), number in 1_u32..) {
            let key = key();
            let widen = |short: &[u8; 32]| {
                let mut octets = [7; 40];
                octets[..32].copy_from_slice(short);
                Entry::new(octets)
            };
            let entries: Vec<_> = entries.iter().map(widen).collect();
            let sealed = head(number, [0; 32]).seal(&entries, &key);
            let read = Increment::parse(&sealed.octets).unwrap().check(key.public()).unwrap();
            prop_assert_eq!(read.entries().collect::<Vec<_>>(), entries);
            prop_assert_eq!(read.head.number, number);
        }
    }
}
