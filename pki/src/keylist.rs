//! A list of public HPKE keys, signed by its owner: an authority's country keys, or a gateway's ingress keys.
//!
//! `version 1 | kind 1 (1 authority, 2 ingress) | authority 5 | list version 8 | issued 8 | count 2`, then for each
//! key `suite 1 | not before 8 | not after 8 | public key 2 + n`. Times are seconds since 1970, numbers big endian.

use bytes::Bytes;
use proto::batch;
use proto::ids::{Authority, KeyId};
use proto::limits;
use proto::malformed::Malformed;
use proto::octets::Reader;
use proto::wire;

use crate::seal::{PublicKey, Suite};
use crate::sign::SigningKey;
use crate::trust::CertifiedKey;

const VERSION: u8 = 1;
/// The domain that goes in front of a key list when it is signed.
pub const DOMAIN: &str = "exchange/v1 key list";
/// How far a clock may be off before a list counts as issued in the future, in seconds.
const CLOCK_SKEW: u64 = 300;

/// What the keys of a list are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Batches to an authority: opened by its adapter.
    Authority = 1,
    /// Pushes to a gateway: opened in its reseal stage.
    Ingress = 2,
}

/// The public keys of one owner, in one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyList {
    /// What they are for.
    pub kind: Kind,
    /// Whose they are. For ingress keys, the country's national authority.
    pub authority: Authority,
    /// Grows with every change; older versions are refused.
    pub version: u64,
    /// When it was signed, seconds since 1970.
    pub issued: u64,
    /// The keys, in any order.
    pub keys: Vec<ListedKey>,
}

/// One public key and when senders may use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedKey {
    /// The key with its suite.
    pub key: PublicKey,
    /// First second, since 1970.
    pub not_before: u64,
    /// Last second, since 1970.
    pub not_after: u64,
}

impl KeyList {
    /// The key that a sender uses now: of those in force, the one that came last.
    #[must_use]
    pub fn in_force(&self, now: u64) -> Option<&PublicKey> {
        let in_force =
            self.keys.iter().filter(|listed| (listed.not_before..=listed.not_after).contains(&now));
        in_force.max_by_key(|listed| listed.not_before).map(|listed| &listed.key)
    }

    /// The octets that are signed.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        let mut out = vec![VERSION, self.kind as u8];
        out.extend_from_slice(&self.authority.octets());
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&self.issued.to_be_bytes());
        let count =
            u16::try_from(self.keys.len()).expect("a list of more keys would not pass its length limit");
        out.extend_from_slice(&count.to_be_bytes());
        for listed in &self.keys {
            out.push(listed.key.suite().number());
            out.extend_from_slice(&listed.not_before.to_be_bytes());
            out.extend_from_slice(&listed.not_after.to_be_bytes());
            let public = listed.key.octets();
            let len = u16::try_from(public.len()).expect("the longest public key has 1,216 octets");
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(public);
        }
        out
    }

    fn parse(octets: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("key list", octets);
        let found = reader.u8()?;
        if found != VERSION {
            return Err(Malformed::Version { what: "key list", found, known: "1" });
        }
        let kind = match reader.u8()? {
            1 => Kind::Authority,
            2 => Kind::Ingress,
            kind => return Err(Malformed::Value { field: "kind", value: kind.into(), allowed: "1 or 2" }),
        };
        let authority = Authority::parse(reader.take(Authority::LEN)?)?;
        let (version, issued, count) = (reader.u64()?, reader.u64()?, reader.u16()?);
        let keys = (0..count).map(|_| listed_key(&mut reader)).collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(Self { kind, authority, version, issued, keys })
    }

    /// Signs the list with its owner's key.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> SignedKeyList {
        let list = self.octets();
        let signature = key.sign(DOMAIN, &list);
        SignedKeyList { list: list.into(), signature, signing_key: key.public().id() }
    }
}

fn listed_key(reader: &mut Reader<'_>) -> Result<ListedKey, Malformed> {
    let suite = reader.u8()?;
    let value = i64::from(suite);
    let suite =
        Suite::from_number(suite).ok_or(Malformed::Value { field: "suite", value, allowed: "1, 2 or 3" })?;
    let (not_before, not_after) = (reader.u64()?, reader.u64()?);
    let wrong = |_| Malformed::Field { field: "public key", reason: "its octets are no key of its suite" };
    let key = PublicKey::parse(suite, reader.framed()?).map_err(wrong)?;
    Ok(ListedKey { key, not_before, not_after })
}

/// A key list as it travels: signed octets that nobody has checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedKeyList {
    list: Bytes,
    signature: [u8; 64],
    signing_key: KeyId,
}

/// Why a key list is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyListRefused {
    /// The octets are no key list.
    #[error("the key list does not parse: {0}")]
    Malformed(#[from] Malformed),
    /// The signer is none that the trust list certifies for this owner and time.
    #[error("signing key {key} is not certified now for {authority} in the trust list")]
    UnknownSigner {
        /// The key that it names.
        key: KeyId,
        /// The owner that was expected.
        authority: Authority,
    },
    /// The signature does not fit.
    #[error("the signature of the key list does not fit")]
    BadSignature,
    /// It is another owner's, or for another use.
    #[error("this is the key list of {found} ({found_kind:?} keys), not of {expected}")]
    OtherOwner {
        /// Whose it is.
        found: Authority,
        /// What its keys are for.
        found_kind: Kind,
        /// Whose it should be.
        expected: Authority,
    },
    /// Its issue time lies ahead.
    #[error("the key list was issued in the future; compare the clocks of both machines")]
    FromTheFuture,
    /// A newer version is already known.
    #[error("version {found} is older than version {known}, which is already known")]
    Older {
        /// The refused version.
        found: u64,
        /// The version that is kept.
        known: u64,
    },
}

/// Whose list is expected, and who may have signed it.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    /// What the keys are for.
    pub kind: Kind,
    /// The owner.
    pub authority: Authority,
    /// The keys that the trust list certifies for the owner.
    pub signers: &'a [CertifiedKey],
    /// Seconds since 1970.
    pub now: u64,
}

impl SignedKeyList {
    /// Checks sizes only.
    pub fn parse(message: wire::SignedKeyList) -> Result<Self, Malformed> {
        let wire::SignedKeyList { list, signature, signing_key } = message;
        if list.len() > limits::KEY_LIST_LEN {
            return Err(Malformed::Bounds {
                field: "key list",
                is: list.len(),
                least: 27,
                most: limits::KEY_LIST_LEN,
            });
        }
        Ok(Self { list, signature: batch::signature(&signature)?, signing_key: KeyId::parse(&signing_key)? })
    }

    /// The message that carries it; its protobuf form is also the file form.
    #[must_use]
    pub fn into_wire(self) -> wire::SignedKeyList {
        wire::SignedKeyList {
            list: self.list,
            signature: Bytes::copy_from_slice(&self.signature),
            signing_key: Bytes::copy_from_slice(self.signing_key.octets()),
        }
    }

    /// Checks signer, signature, owner and time, in this order; only then are the octets parsed and believed.
    pub fn check(&self, expected: Expected<'_>) -> Result<KeyList, KeyListRefused> {
        let Expected { kind, authority, signers, now } = expected;
        let signer = signers.iter().find(|key| key.key.id() == self.signing_key && key.is_valid_at(now));
        let signer = signer.ok_or(KeyListRefused::UnknownSigner { key: self.signing_key, authority })?;
        signer.key.check(DOMAIN, &self.list, &self.signature).map_err(|_| KeyListRefused::BadSignature)?;
        let list = KeyList::parse(&self.list)?;
        if list.authority != authority || list.kind != kind {
            let (found, found_kind) = (list.authority, list.kind);
            return Err(KeyListRefused::OtherOwner { found, found_kind, expected: authority });
        }
        if list.issued > now + CLOCK_SKEW {
            return Err(KeyListRefused::FromTheFuture);
        }
        Ok(list)
    }

    /// As [`SignedKeyList::check`], and refuses what is older than a list already known.
    pub fn check_newer(
        &self,
        expected: Expected<'_>,
        known: Option<&KeyList>,
    ) -> Result<KeyList, KeyListRefused> {
        let list = self.check(expected)?;
        match known {
            Some(known)
                if list.version < known.version || (list.version == known.version && list != *known) =>
            {
                Err(KeyListRefused::Older { found: list.version, known: known.version })
            }
            _ => Ok(list),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::PrivateKey;

    fn signing_key() -> SigningKey {
        SigningKey::from_pkcs8(&SigningKey::generate()).unwrap()
    }

    fn certified(key: &SigningKey) -> CertifiedKey {
        CertifiedKey { key: *key.public(), not_before: 100, not_after: 900 }
    }

    fn key(suite: Suite, not_before: u64, not_after: u64) -> ListedKey {
        let key = PrivateKey::parse(suite, &PrivateKey::generate(suite)).unwrap().public().clone();
        ListedKey { key, not_before, not_after }
    }

    fn list() -> KeyList {
        let keys =
            vec![key(Suite::XWing, 100, 600), key(Suite::P256, 400, 800), key(Suite::X25519, 700, 900)];
        let authority = "826/1".parse().unwrap();
        KeyList { kind: Kind::Authority, authority, version: 3, issued: 500, keys }
    }

    fn expected<'a>(signers: &'a [CertifiedKey]) -> Expected<'a> {
        Expected { kind: Kind::Authority, authority: "826/1".parse().unwrap(), signers, now: 500 }
    }

    #[test]
    fn a_signed_list_is_believed_and_reads_back() {
        let signer = signing_key();
        let signed = list().sign(&signer);
        let again = SignedKeyList::parse(signed.clone().into_wire()).unwrap();
        assert_eq!(again, signed);
        let checked = signed.check(expected(&[certified(&signer)])).unwrap();
        assert_eq!((checked.version, checked.keys.len()), (3, 3));
    }

    #[test]
    fn a_list_is_taken_up_to_its_limit_and_not_one_octet_past_it() {
        let of = |octets: usize| wire::SignedKeyList {
            list: vec![0; octets].into(),
            signature: vec![0; 64].into(),
            signing_key: vec![0; 8].into(),
        };
        assert!(SignedKeyList::parse(of(limits::KEY_LIST_LEN)).is_ok());
        let refused = SignedKeyList::parse(of(limits::KEY_LIST_LEN + 1)).unwrap_err();
        assert!(matches!(refused, Malformed::Bounds { field: "key list", .. }), "{refused}");
    }

    #[test]
    fn the_newest_key_in_force_is_used() {
        let list = list();
        let at = |now| list.in_force(now).map(PublicKey::suite);
        assert_eq!(
            [at(99), at(100), at(400), at(600)],
            [None, Some(Suite::XWing), Some(Suite::P256), Some(Suite::P256)]
        );
        assert_eq!([at(700), at(801), at(901)], [Some(Suite::X25519), Some(Suite::X25519), None]);
    }

    #[test]
    fn every_octet_and_the_signature_count() {
        let signer = signing_key();
        let signed = KeyList { keys: vec![key(Suite::P256, 1, 2)], ..list() }.sign(&signer);
        let signers = [certified(&signer)];
        for at in 0..signed.list.len() {
            let mut altered = signed.list.to_vec();
            altered[at] ^= 1;
            let altered = SignedKeyList { list: altered.into(), ..signed.clone() };
            assert_eq!(altered.check(expected(&signers)), Err(KeyListRefused::BadSignature), "octet {at}");
        }
        let mut signature = signed.signature;
        signature[0] ^= 1;
        let altered = SignedKeyList { signature, ..signed };
        assert_eq!(altered.check(expected(&signers)), Err(KeyListRefused::BadSignature));
    }

    #[test]
    fn a_signer_that_is_not_certified_now_is_refused() {
        let (signer, other) = (signing_key(), signing_key());
        let signed = list().sign(&signer);
        let refused = |signers: &[CertifiedKey], now| {
            matches!(
                signed.check(Expected { now, ..expected(signers) }),
                Err(KeyListRefused::UnknownSigner { .. })
            )
        };
        assert!(refused(&[certified(&other)], 500));
        assert!(refused(&[certified(&signer)], 901), "expired");
        assert!(refused(&[certified(&signer)], 99), "not yet valid");
        assert!(refused(&[], 500));
    }

    #[test]
    fn another_owner_use_or_time_is_refused() {
        let signer = signing_key();
        let signers = [certified(&signer)];
        let ingress = KeyList { kind: Kind::Ingress, ..list() }.sign(&signer);
        assert!(matches!(ingress.check(expected(&signers)), Err(KeyListRefused::OtherOwner { .. })));
        let foreign = KeyList { authority: "826/2".parse().unwrap(), ..list() }.sign(&signer);
        assert!(matches!(foreign.check(expected(&signers)), Err(KeyListRefused::OtherOwner { .. })));
        let ahead = KeyList { issued: 801, ..list() }.sign(&signer);
        assert_eq!(ahead.check(expected(&signers)), Err(KeyListRefused::FromTheFuture));
        let just = KeyList { issued: 800, ..list() }.sign(&signer);
        assert!(just.check(expected(&signers)).is_ok(), "clocks may differ by so much");
    }

    #[test]
    fn an_older_version_never_replaces_a_newer_one() {
        let signer = signing_key();
        let signers = [certified(&signer)];
        let known = list();
        let check = |list: &KeyList| list.sign(&signer).check_newer(expected(&signers), Some(&known));
        assert!(check(&known).is_ok(), "the same again");
        assert!(check(&KeyList { version: 4, ..known.clone() }).is_ok());
        assert!(matches!(check(&KeyList { version: 2, ..known.clone() }), Err(KeyListRefused::Older { .. })));
        let forked = KeyList { issued: 499, ..known.clone() };
        assert!(
            matches!(check(&forked), Err(KeyListRefused::Older { .. })),
            "the same version, other content"
        );
    }

    #[test]
    fn a_list_that_does_not_parse_is_refused_even_if_it_is_signed() {
        let signer = signing_key();
        let sign = |octets: Vec<u8>| {
            let signature = signer.sign(DOMAIN, &octets);
            let signed = SignedKeyList { list: octets.into(), signature, signing_key: signer.public().id() };
            signed.check(expected(&[certified(&signer)]))
        };
        let good = list().octets();
        assert!(sign(good.clone()).is_ok());
        for cut in 0..good.len() {
            assert!(matches!(sign(good[..cut].to_vec()), Err(KeyListRefused::Malformed(_))), "cut at {cut}");
        }
        assert!(matches!(sign([good.as_slice(), &[0]].concat()), Err(KeyListRefused::Malformed(_))));
    }
}
