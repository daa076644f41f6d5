//! The names that cross a border, each parsed once and trusted afterwards.

use std::fmt;
use std::str::FromStr;

use crate::malformed::Malformed;
use crate::octets::Reader;

/// A country or region: ISO 3166-1 numeric, 1-65535. 900-999 are user-assigned (international bodies).
///
/// Codes that ISO has not assigned parse: whether anybody answers to one is the trust list's to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CountryCode(u16);

impl CountryCode {
    /// Checks a number; 0 is never a country.
    pub fn new(number: u16) -> Result<Self, Malformed> {
        if number == 0 { Err(Malformed::CountryZero) } else { Ok(Self(number)) }
    }

    /// The ISO 3166-1 number.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for CountryCode {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wrong = || Malformed::Text { what: "country code", text: text.into() };
        let code = Self::new(text.parse().map_err(|_| wrong())?)?;
        spelled(code, text).ok_or_else(wrong)
    }
}

/// A state or health region that a country numbers itself; 0 is the national authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateCode(u16);

impl StateCode {
    /// The national authority, to which tokens of unknown states fall back.
    pub const NATIONAL: Self = Self(0);

    /// Any number is a state.
    #[must_use]
    pub fn new(number: u16) -> Self {
        Self(number)
    }

    /// The number that the country gave it.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for StateCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Who issues a phone's tokens and handles its exposures.
///
/// Text is `826/1`, or `x/0000abcd` for an opaque authority (Herald interop, payload codes 0x00-0x07).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Authority {
    /// A health authority of a country.
    State(CountryCode, StateCode),
    /// A private operator: four octets that only the trust list gives a meaning.
    Opaque(u32),
}

impl Authority {
    /// Octets of an encoded authority: a kind octet and four more.
    pub const LEN: usize = 5;

    /// The national authority of a country: state 0.
    #[must_use]
    pub fn national(country: CountryCode) -> Self {
        Self::State(country, StateCode::NATIONAL)
    }

    /// Kind 0, country u16, state u16; or kind 1, u32; big endian.
    #[must_use]
    pub fn octets(self) -> [u8; Self::LEN] {
        let (kind, number) = match self {
            Self::State(country, state) => (0, (u32::from(country.0) << 16) | u32::from(state.0)),
            Self::Opaque(number) => (1, number),
        };
        let [a, b, c, d] = u32::to_be_bytes(number);
        [kind, a, b, c, d]
    }

    /// The reverse of [`Authority::octets`].
    pub fn parse(octets: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("authority", octets);
        let authority = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(authority)
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.u8()? {
            0 => Ok(Self::State(CountryCode::new(reader.u16()?)?, StateCode::new(reader.u16()?))),
            1 => Ok(Self::Opaque(reader.u32()?)),
            kind => Err(Malformed::Value { field: "authority kind", value: kind.into(), allowed: "0 or 1" }),
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(country, state) => write!(f, "{country}/{state}"),
            Self::Opaque(number) => write!(f, "x/{number:08x}"),
        }
    }
}

impl FromStr for Authority {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wrong = || Malformed::Text { what: "authority", text: text.into() };
        let (country, state) = text.split_once('/').ok_or_else(wrong)?;
        if country == "x" {
            let number = u32::from_str_radix(state, 16).ok().filter(|_| state.len() == 8);
            return number.and_then(|number| spelled(Self::Opaque(number), text)).ok_or_else(wrong);
        }
        let state = state.parse().map_err(|_| wrong())?;
        spelled(Self::State(country.parse()?, StateCode::new(state)), text).ok_or_else(wrong)
    }
}

/// A name, if the text is the one that it prints as: no sign, no leading zero, no capital. Under two spellings one
/// would pass for two.
fn spelled<T: fmt::Display>(name: T, text: &str) -> Option<T> {
    (name.to_string() == text).then_some(name)
}

/// The number of a batch in its stream from one country to another: dense, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sequence(u64);

impl Sequence {
    /// The first batch of a stream.
    pub const FIRST: Self = Self(1);

    /// The highest number. There is room above it, so that nobody's arithmetic on what a peer sends can overflow.
    pub const MAX: u64 = i64::MAX as u64;

    /// Checks a number: 1 to 2^63 - 1.
    pub fn new(number: u64) -> Result<Self, Malformed> {
        match number {
            0 => Err(Malformed::Value { field: "sequence", value: 0, allowed: "1 or more" }),
            1..=Self::MAX => Ok(Self(number)),
            _ => Err(Malformed::Field { field: "sequence", reason: "it must be below 2^63" }),
        }
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Declares an identifier of fixed length that reads and prints as lower-case hex. A crate that uses it needs `hex`.
#[macro_export]
macro_rules! octet_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Octets of this identifier.
            pub const LEN: usize = $len;

            /// Takes octets of exactly the right length.
            pub fn parse(octets: &[u8]) -> Result<Self, $crate::malformed::Malformed> {
                let fixed = <[u8; $len]>::try_from(octets);
                fixed.map(Self).map_err(|_| $crate::malformed::Malformed::Length { field: $what, is: octets.len(), must: stringify!($len) })
            }

            /// The octets.
            #[must_use]
            pub fn octets(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl From<[u8; $len]> for $name {
            fn from(octets: [u8; $len]) -> Self {
                Self(octets)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::malformed::Malformed;

            fn from_str(text: &str) -> Result<Self, $crate::malformed::Malformed> {
                let octets = hex::decode(text).map_err(|_| $crate::malformed::Malformed::Text { what: $what, text: text.into() })?;
                Self::parse(&octets)
            }
        }
    };
}

octet_id! {
    /// Names one push of one authority; the same id and bytes again change nothing.
    PushId, 16, "push id"
}
octet_id! {
    /// Names one batch, at random.
    BatchId, 16, "batch id"
}
octet_id! {
    /// Names a public key: the first 8 octets of SHA-256 over a domain and the key (see `pki`).
    KeyId, 8, "key id"
}

impl PushId {
    /// A fresh identifier from the operating system's generator.
    #[must_use]
    pub fn random() -> Self {
        Self(random_octets())
    }
}

impl BatchId {
    /// A fresh identifier from the operating system's generator.
    #[must_use]
    pub fn random() -> Self {
        Self(random_octets())
    }
}

fn random_octets() -> [u8; 16] {
    let mut octets = [0; 16];
    getrandom::fill(&mut octets).expect("the operating system gives random octets, or nothing here is safe");
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_leaves_room_above_it() {
        assert!(Sequence::new(0).is_err());
        assert_eq!(Sequence::new(1), Ok(Sequence::FIRST));
        assert_eq!(Sequence::new(Sequence::MAX).map(Sequence::number), Ok(Sequence::MAX));
        assert!(Sequence::new(Sequence::MAX + 1).is_err());
        assert!(Sequence::new(u64::MAX).is_err());
    }

    #[test]
    fn an_authority_reads_back_from_text_and_octets() {
        for text in ["826/0", "826/1", "36/2", "1/65535", "x/0000abcd", "x/ffffffff"] {
            let authority: Authority = text.parse().unwrap();
            assert_eq!(authority.to_string(), text);
            assert_eq!(Authority::parse(&authority.octets()), Ok(authority));
        }
    }

    #[test]
    fn an_authority_that_is_none_is_named() {
        for text in
            ["", "826", "0/1", "826/", "/1", "826/65536", "70000/1", "x/abcd", "x/0000abcg", "826/1/2"]
        {
            assert!(text.parse::<Authority>().is_err(), "{text}");
        }
        assert_eq!(Authority::parse(&[0, 0, 0, 0, 1]), Err(Malformed::CountryZero));
        assert!(matches!(
            Authority::parse(&[2, 0, 1, 0, 1]),
            Err(Malformed::Value { field: "authority kind", .. })
        ));
        assert!(matches!(Authority::parse(&[0, 0, 1, 0]), Err(Malformed::Truncated { .. })));
        assert!(matches!(Authority::parse(&[0, 0, 1, 0, 1, 0]), Err(Malformed::Trailing { .. })));
    }

    #[test]
    fn a_name_has_one_spelling() {
        for text in ["0826", "+826", "00826"] {
            assert!(text.parse::<CountryCode>().is_err(), "{text}");
        }
        for text in
            ["0826/1", "+826/1", "826/01", "826/+1", "826/00", "x/0000ABCD", "x/+000abcd", "X/0000abcd"]
        {
            assert!(text.parse::<Authority>().is_err(), "{text}");
        }
    }

    #[test]
    fn identifiers_take_their_own_length_only() {
        assert!(PushId::parse(&[1; 15]).is_err());
        assert_eq!(PushId::random().to_string().parse::<PushId>().unwrap().octets().len(), 16);
        assert_eq!("00ff00ff00ff00ff".parse::<KeyId>().unwrap().to_string(), "00ff00ff00ff00ff");
        assert!(Sequence::new(0).is_err());
    }
}
