//! Herald Simple (payload 0x10): the chain of keys from a phone's secret to what it advertises.
//!
//! A day's matching key is published when its phone's owner falls ill; everybody can expand it to the identifiers
//! of that day, and nobody to those of another day (Herald payload/simple.md). Half of a hash is dropped before
//! the next is taken, and neighbours are combined, so the chain cannot be walked towards the future.

use std::fmt;

use proto::day::Day;
use proto::extended::ExtendedData;
use proto::header::EnvelopeHeader;
use proto::ids::Authority;
use proto::malformed::Malformed;
use proto::octets::Reader;
use proto::report::SimpleKey;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::frame;

/// Payload code of a Simple frame.
pub const CODE: u8 = 0x10;

/// Index of a chain's last day; Herald derives seeds 2000 down to 0.
const LAST_DAY: u16 = 2_000;
/// Index of a day's root; phones advertise the periods 239 down to 0.
const ROOT_PERIOD: u8 = 240;

/// Why a key schedule has no key to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The chain begins later.
    #[error("{day} is before this chain of keys, which begins on {epoch}")]
    BeforeEpoch {
        /// The day that was asked for.
        day: Day,
        /// The first day of the chain.
        epoch: Day,
    },
    /// The chain has run out; the next generation needs a fresh secret.
    #[error(
        "{day} is after this chain of keys, which ends on {last}; begin the next generation with a fresh secret"
    )]
    ChainExhausted {
        /// The day that was asked for.
        day: Day,
        /// The last day of the chain.
        last: Day,
    },
    /// Too few random octets to begin with.
    #[error("the secret is {is} octets long; it must be 256 or more")]
    ShortSecret {
        /// Its length.
        is: usize,
    },
}

/// What a phone keeps to itself, wiped on drop: 256 random octets or more.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Fewest octets: Herald asks for 2048 bits.
    pub const MIN_LEN: usize = 256;

    /// Takes the octets over.
    pub fn new(octets: Vec<u8>) -> Result<Self, ScheduleError> {
        let octets = Zeroizing::new(octets);
        if octets.len() < Self::MIN_LEN {
            return Err(ScheduleError::ShortSecret { is: octets.len() });
        }
        Ok(Self(octets))
    }
}

/// Which chain: a chain lasts 2001 days, and the first began on 2020-09-24 (Herald's epoch).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(u16);

impl Generation {
    const FIRST_EPOCH: Day = Day::new(18_529);
    const DAYS: u16 = LAST_DAY + 1;

    /// The generation whose chain covers a day; none before 2020-09-24.
    #[must_use]
    pub fn of(day: Day) -> Option<Self> {
        day.number().checked_sub(Self::FIRST_EPOCH.number()).map(|days| Self(days / Self::DAYS))
    }

    /// From 0.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }

    /// The chain's first day.
    #[must_use]
    pub fn epoch(self) -> Day {
        // `of` makes no generation that begins after the last day there is.
        Self::FIRST_EPOCH.plus(self.0 * Self::DAYS)
    }

    /// The chain's last day.
    #[must_use]
    pub fn last(self) -> Day {
        self.epoch().plus(LAST_DAY)
    }

    /// Where a day stands in the chain, 0-2000.
    fn index(self, day: Day) -> Result<u16, ScheduleError> {
        let (epoch, last) = (self.epoch(), self.last());
        if day > last {
            return Err(ScheduleError::ChainExhausted { day, last });
        }
        day.number().checked_sub(epoch.number()).ok_or(ScheduleError::BeforeEpoch { day, epoch })
    }
}

/// The six minutes in which one identifier is advertised, 0-239 of a UTC day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(u8);

impl Period {
    /// Seconds of a period.
    pub const SECONDS: u64 = 360;

    /// The period in which a Unix time falls.
    #[must_use]
    pub fn of_unix(seconds: u64) -> Self {
        let period = seconds % Day::SECONDS / Self::SECONDS;
        Self(u8::try_from(period).expect("a day has 240 periods"))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }
}

/// What a Simple phone advertises during one period: 16 octets, never printed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContactIdentifier([u8; 16]);

impl ContactIdentifier {
    /// The octets.
    #[must_use]
    pub fn octets(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for ContactIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("contact identifier: 16 octets")
    }
}

/// A phone's secret and the generation that it was drawn for.
pub struct KeySchedule {
    secret: Secret,
    generation: Generation,
}

impl KeySchedule {
    /// Takes the secret over. Every generation needs its own.
    #[must_use]
    pub fn new(secret: Secret, generation: Generation) -> Self {
        Self { secret, generation }
    }

    /// The key of a day, to be published if the phone's owner falls ill. Walks up to 2000 hashes.
    pub fn matching_key(&self, day: Day) -> Result<SimpleKey, ScheduleError> {
        let index = self.generation.index(day)?;
        let (_, key) = Chain::from(&self.secret.0).link(LAST_DAY - index);
        Ok(SimpleKey::new(*key).expect("SHA-256 gives zeros for no input that anybody knows"))
    }

    /// What the phone advertises at a Unix time.
    pub fn contact_identifier(&self, unix: u64) -> Result<ContactIdentifier, ScheduleError> {
        let key = self.matching_key(Day::of_unix(unix))?;
        Ok(identifier(&key, Period::of_unix(unix)))
    }
}

/// What follows from a day's key for one period of it.
#[must_use]
pub fn identifier(key: &SimpleKey, period: Period) -> ContactIdentifier {
    let (_, contact_key) = Chain::from(key.octets()).link(u16::from(ROOT_PERIOD - period.0));
    first_half(&contact_key)
}

/// All 240 identifiers of a day's key, in the order of their periods.
#[must_use]
pub fn identifiers(key: &SimpleKey) -> Vec<ContactIdentifier> {
    let chain = Chain::from(key.octets()).skip(1).take(ROOT_PERIOD.into());
    let mut identifiers: Vec<_> = chain.map(|(_, contact_key)| first_half(&contact_key)).collect();
    identifiers.reverse();
    identifiers
}

/// The identifier in a frame's body, 16 octets, and the extended data behind it.
pub fn parse(body: &[u8]) -> Result<(&[u8], ExtendedData<'_>), Malformed> {
    let mut reader = Reader::new("Simple body", body);
    let identifier = reader.take(16)?;
    Ok((identifier, ExtendedData::parse(reader.rest())?))
}

/// What a phone of this authority advertises.
pub fn advert(
    authority: Authority,
    identifier: &ContactIdentifier,
    extended: ExtendedData<'_>,
) -> Result<Vec<u8>, Malformed> {
    frame(EnvelopeHeader::new(CODE, authority)?, &[identifier.octets(), extended.octets()])
}

fn first_half(key: &[u8; 32]) -> ContactIdentifier {
    let mut half = [0; 16];
    half.copy_from_slice(&key[..16]);
    ContactIdentifier(half)
}

type Hash = Zeroizing<[u8; 32]>;

/// Seeds and their keys from the last index down. Herald walks two of them: days, and the periods of a day.
pub(super) struct Chain {
    seed: Hash,
}

impl Chain {
    /// Begins at the root: the hash of the secret, or of a day's key.
    pub(super) fn from(root: &[u8]) -> Self {
        Self { seed: hash(root) }
    }

    /// Seed and key so many steps below the root.
    pub(super) fn link(mut self, steps: u16) -> (Hash, Hash) {
        for _ in 0..steps {
            self.seed = before(&self.seed);
        }
        let previous = before(&self.seed);
        let key = key(&self.seed, &previous);
        (self.seed, key)
    }
}

impl Iterator for Chain {
    type Item = (Hash, Hash);

    fn next(&mut self) -> Option<(Hash, Hash)> {
        let previous = before(&self.seed);
        let key = key(&self.seed, &previous);
        Some((std::mem::replace(&mut self.seed, previous), key))
    }
}

fn before(seed: &Hash) -> Hash {
    hash(&seed[..16])
}

fn key(seed: &Hash, previous: &Hash) -> Hash {
    let mut combined = Zeroizing::new([0; 32]);
    for (octet, (a, b)) in combined.iter_mut().zip(seed.iter().zip(previous.iter())) {
        *octet = a ^ b;
    }
    hash(&*combined)
}

fn hash(data: &[u8]) -> Hash {
    let mut digest: [u8; 32] = Sha256::digest(data).into();
    let kept = Zeroizing::new(digest);
    digest.zeroize();
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedule(generation: &str) -> KeySchedule {
        let generation = Generation::of(generation.parse().unwrap()).unwrap();
        KeySchedule::new(Secret::new(vec![3; 256]).unwrap(), generation)
    }

    #[test]
    fn a_secret_shorter_than_2048_bits_is_refused() {
        assert_eq!(Secret::new(vec![1; 255]).err(), Some(ScheduleError::ShortSecret { is: 255 }));
        assert!(Secret::new(vec![1; 256]).is_ok());
    }

    #[test]
    fn the_second_generation_begins_when_the_first_has_run_out() {
        let of = |text: &str| Generation::of(text.parse().unwrap());
        assert_eq!(of("2020-09-23"), None);
        assert_eq!(of("2020-09-24").map(Generation::number), Some(0));
        assert_eq!(of("2026-03-17").map(Generation::number), Some(0));
        assert_eq!(of("2026-03-18").map(Generation::number), Some(1));
        assert_eq!(of("2026-03-18").unwrap().epoch().to_string(), "2026-03-18");
        assert_eq!(of("2026-03-18").unwrap().last().to_string(), "2031-09-08");
        assert_eq!(of("2149-06-06").unwrap().last(), Day::new(u16::MAX));
    }

    #[test]
    fn a_day_outside_of_the_chain_has_no_key() {
        let second = schedule("2026-03-18");
        let key = |text: &str| second.matching_key(text.parse().unwrap());
        assert!(key("2026-03-18").is_ok() && key("2031-09-08").is_ok());
        assert!(matches!(key("2026-03-17"), Err(ScheduleError::BeforeEpoch { .. })));
        assert!(matches!(key("2031-09-09"), Err(ScheduleError::ChainExhausted { .. })));
    }

    #[test]
    fn a_published_key_expands_to_what_its_phone_advertised() {
        let phone = schedule("2026-03-18");
        let day: Day = "2026-11-20".parse().unwrap();
        let expanded = identifiers(&phone.matching_key(day).unwrap());
        assert_eq!(expanded.len(), 240);
        for period in [0, 1, 120, 238, 239] {
            let advertised = phone.contact_identifier(day.unix() + period * Period::SECONDS).unwrap();
            assert_eq!(expanded[usize::try_from(period).unwrap()], advertised);
        }
        let next = identifiers(&phone.matching_key(day.plus(1)).unwrap());
        assert!(next.iter().all(|identifier| !expanded.contains(identifier)));
    }

    #[test]
    fn an_identifier_is_never_printed() {
        let identifier = schedule("2026-03-18").contact_identifier(1_795_000_000).unwrap();
        assert_eq!(format!("{identifier:?}"), "contact identifier: 16 octets");
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok((identifier, extended)) = parse(&body) {
                prop_assert_eq!([identifier, extended.octets()].concat(), body);
            }
        }

        #[test]
        fn every_time_has_a_key_or_says_why_not(unix in any::<u64>()) {
            let found = Period::of_unix(unix).number();
            prop_assert!(found < 240);
        }
    }
}
