//! The signed list of public keys, as phones read it.
//!
//! `version u8 = 1 | authority 5 | issued at u64 | count u16 | count x (number u16, day u16, SEC1 point 65) |
//! signature 64`; big endian, ECDSA P-256 over the domain and all octets before the signature.

use pki::seal::{PublicKey, SealError, Suite};
use pki::sign::{SigningKey, VerifyingKey};
use proto::day::Day;
use proto::ids::Authority;
use proto::malformed::Malformed;
use proto::octets::Reader;

use crate::herald::secured::service::DailyKey;

/// What the signature is bound to.
const DOMAIN: &str = "exchange/v1 service keys";
const VERSION: u8 = 1;
const SIGNATURE: usize = 64;

/// What an authority's phones seal to.
pub struct ServiceKeyList {
    /// Unix seconds of the signature: of two lists the later one counts.
    pub issued_at: u64,
    /// One for each day.
    pub keys: Vec<DailyKey<PublicKey>>,
}

impl ServiceKeyList {
    /// The key of a day.
    #[must_use]
    pub fn of(&self, day: Day) -> Option<&DailyKey<PublicKey>> {
        self.keys.iter().find(|key| key.days.contains(&day))
    }
}

/// Why a phone does not take a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysRefused {
    /// The octets are no list.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Somebody else signed it.
    #[error("the list of service keys was not signed by the authority's key for lists")]
    Forged,
    /// Of another authority.
    #[error("the list of service keys is of authority {0}")]
    OtherAuthority(Authority),
    /// No point of P-256.
    #[error(transparent)]
    Key(#[from] SealError),
}

/// Signs a list.
pub(super) fn seal(
    authority: Authority,
    issued_at: u64,
    keys: &[(u16, &PublicKey)],
    signing: &SigningKey,
) -> Vec<u8> {
    let mut octets = vec![VERSION];
    octets.extend_from_slice(&authority.octets());
    octets.extend_from_slice(&issued_at.to_be_bytes());
    let count = u16::try_from(keys.len()).expect("there are keys for some dozens of days");
    octets.extend_from_slice(&count.to_be_bytes());
    for (number, key) in keys {
        // A key is for one day, and has that day's number.
        octets.extend_from_slice(&number.to_be_bytes());
        octets.extend_from_slice(&number.to_be_bytes());
        octets.extend_from_slice(key.octets());
    }
    let signature = signing.sign(DOMAIN, &octets);
    octets.extend_from_slice(&signature);
    octets
}

/// Reads a list and checks who signed it.
pub fn read(octets: &[u8], key: &VerifyingKey, authority: Authority) -> Result<ServiceKeyList, KeysRefused> {
    let mut reader = Reader::new("list of service keys", octets);
    let version = reader.u8()?;
    if version != VERSION {
        let what = "list of service keys";
        return Err(Malformed::Version { what, found: version, known: "1" }.into());
    }
    let of = Authority::parse(reader.take(Authority::LEN)?)?;
    let (issued_at, count) = (reader.u64()?, reader.u16()?);
    let mut listed = Vec::new();
    for _ in 0..count {
        listed.push((reader.u16()?, Day::new(reader.u16()?), reader.array::<65>()?));
    }
    let signed = octets.len() - reader.rest().len();
    let signature = reader.array::<SIGNATURE>()?;
    reader.finish()?;
    key.check(DOMAIN, &octets[..signed], &signature).map_err(|_| KeysRefused::Forged)?;
    if of != authority {
        return Err(KeysRefused::OtherAuthority(of));
    }
    let parse = |(number, day, point): (u16, Day, [u8; 65])| {
        Ok(DailyKey { number, days: day..=day, key: PublicKey::parse(Suite::P256, &point)? })
    };
    Ok(ServiceKeyList { issued_at, keys: listed.into_iter().map(parse).collect::<Result<_, SealError>>()? })
}

#[cfg(test)]
mod tests {
    use pki::seal::PrivateKey;
    use proptest::prelude::*;

    use super::*;

    fn signed(signing: &SigningKey) -> Vec<u8> {
        let key = PrivateKey::parse(Suite::P256, &PrivateKey::generate(Suite::P256)).unwrap();
        seal("826/0".parse().unwrap(), 9, &[(20_000, key.public()), (20_001, key.public())], signing)
    }

    fn key() -> SigningKey {
        SigningKey::from_pkcs8(&SigningKey::generate()).unwrap()
    }

    #[test]
    fn a_list_reads_back_and_no_octet_of_it_can_be_altered() {
        let (signing, own) = (key(), "826/0".parse().unwrap());
        let octets = signed(&signing);
        let list = read(&octets, signing.public(), own).unwrap();
        assert_eq!((list.issued_at, list.keys.len()), (9, 2));
        assert_eq!(list.of(Day::new(20_001)).map(|key| key.number), Some(20_001));
        assert!(list.of(Day::new(20_002)).is_none());
        for at in 0..octets.len() {
            let mut altered = octets.clone();
            altered[at] ^= 1;
            assert!(read(&altered, signing.public(), own).is_err(), "octet {at}");
            assert!(read(&octets[..at], signing.public(), own).is_err(), "cut to {at}");
        }
        assert!(read(&[&octets[..], &[0]].concat(), signing.public(), own).is_err());
    }

    #[test]
    fn anothers_list_is_refused() {
        let (signing, other) = (key(), key());
        let octets = signed(&signing);
        let own = "826/0".parse().unwrap();
        assert_eq!(read(&octets, other.public(), own).err(), Some(KeysRefused::Forged));
        let elsewhere = "826/1".parse().unwrap();
        assert_eq!(read(&octets, signing.public(), elsewhere).err(), Some(KeysRefused::OtherAuthority(own)));
    }

    #[test]
    fn a_signed_point_off_the_curve_is_refused() {
        let signing = key();
        let mut octets = signed(&signing);
        octets.truncate(octets.len() - SIGNATURE);
        let last = octets.len() - 1;
        octets[last] ^= 1;
        let signature = signing.sign(DOMAIN, &octets);
        octets.extend_from_slice(&signature);
        let refused = read(&octets, signing.public(), "826/0".parse().unwrap()).err();
        assert!(matches!(refused, Some(KeysRefused::Key(_))), "{refused:?}");
    }

    proptest! {
        #[test]
        fn any_octets_are_refused_if_nobody_signed_them(
            issued_at in any::<u64>(),
            keys in prop::collection::vec(prop::collection::vec(any::<u8>(), 69), 0..4),
            signature in prop::collection::vec(any::<u8>(), SIGNATURE - 1..=SIGNATURE + 1),
        ) {
            let count = u16::try_from(keys.len()).unwrap().to_be_bytes();
            let begin = [&[VERSION, 0, 3, 0x3a, 0, 0][..], &issued_at.to_be_bytes(), &count].concat();
            let octets = [begin, keys.concat(), signature.clone()].concat();
            let refused = read(&octets, key().public(), "826/0".parse().unwrap()).err();
            let whole = signature.len() == SIGNATURE;
            prop_assert_eq!(matches!(refused, Some(KeysRefused::Forged)), whole);
            prop_assert_eq!(matches!(refused, Some(KeysRefused::Malformed(_))), !whole);
        }

        #[test]
        fn an_altered_list_is_refused(at in any::<prop::sample::Index>(), by in 1..=255_u8) {
            let signing = key();
            let mut octets = signed(&signing);
            let at = at.index(octets.len());
            octets[at] ^= by;
            prop_assert!(read(&octets, signing.public(), "826/0".parse().unwrap()).is_err());
        }
    }
}
