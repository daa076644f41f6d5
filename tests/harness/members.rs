//! Who takes part: countries, their authorities, and how each keeps its keys.

use std::fmt;

use pki::seal::Suite;
use proto::ids::{Authority, CountryCode};

use crate::citizens::Citizens;

/// A country as it is to be set up.
#[derive(Debug, Clone)]
pub struct CountryPlan {
    /// ISO 3166-1 numeric.
    pub code: CountryCode,
    /// For people.
    pub name: String,
    /// Its health authorities, each with a name; one adapter runs for each.
    pub authorities: Vec<(Authority, String)>,
    /// How its key files are kept.
    pub keys: KeyFiles,
    /// The suite of its authorities' HPKE keys.
    pub suite: Suite,
    /// What its adapters offer to phones.
    pub citizens: Option<Citizens>,
    /// Where its gateway keeps what it has.
    pub store: StorePlan,
}

/// Where a gateway keeps what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorePlan {
    /// In a folder, for one process.
    Folder,
    /// In PostgreSQL, for so many replicas behind a balancer.
    Postgres {
        /// 1 or more.
        replicas: u8,
    },
}

/// How key files are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFiles {
    /// In the clear, protected by their mode only.
    Plain,
    /// Encrypted with a pass phrase that stands in a file.
    Encrypted,
}

impl CountryPlan {
    /// A country with plain key files and X-Wing keys; `code` is 1 or more, and an authority is `826/1` and a name.
    ///
    /// # Panics
    /// If a code or an authority is none: plans are written by hand.
    #[must_use]
    pub fn new(code: u16, name: &str, authorities: &[(&str, &str)]) -> Self {
        let authorities = authorities.iter().map(|(text, name)| (authority(text), (*name).to_owned()));
        Self {
            code: country(code),
            name: name.into(),
            authorities: authorities.collect(),
            keys: KeyFiles::Plain,
            suite: Suite::XWing,
            citizens: None,
            store: StorePlan::Folder,
        }
    }

    /// The same with adapters that serve phones.
    #[must_use]
    pub fn citizens(self, citizens: Citizens) -> Self {
        Self { citizens: Some(citizens), ..self }
    }

    /// The same with another kind of key files.
    #[must_use]
    pub fn keys(self, keys: KeyFiles) -> Self {
        Self { keys, ..self }
    }

    /// The same with so many replicas of its gateway over one PostgreSQL.
    #[must_use]
    pub fn postgres(self, replicas: u8) -> Self {
        Self { store: StorePlan::Postgres { replicas }, ..self }
    }

    /// How many gateways it runs.
    #[must_use]
    pub fn replicas(&self) -> u8 {
        match self.store {
            StorePlan::Folder => 1,
            StorePlan::Postgres { replicas } => replicas.max(1),
        }
    }

    /// The same with another suite.
    #[must_use]
    pub fn suite(self, suite: Suite) -> Self {
        Self { suite, ..self }
    }
}

/// The federation of the demo: two authorities in one country, encrypted keys in another, a state alone in the third.
#[must_use]
pub fn three_countries() -> Vec<CountryPlan> {
    vec![
        CountryPlan::new(826, "United Kingdom", &[("826/0", "United Kingdom"), ("826/1", "England")]),
        CountryPlan::new(250, "France", &[("250/0", "France")]).keys(KeyFiles::Encrypted).suite(Suite::P256),
        CountryPlan::new(36, "Australia", &[("36/2", "Victoria")]),
    ]
}

/// A process of the federation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Node {
    /// A country's gateway; the first one, if it has several.
    Gateway(CountryCode),
    /// Another replica of it, from 2.
    Replica(CountryCode, u8),
    /// An authority's adapter.
    Adapter(Authority),
}

impl Node {
    /// The gateway of the country with this number.
    #[must_use]
    pub fn gateway(code: u16) -> Self {
        Self::Gateway(country(code))
    }

    /// The replica of a country's gateway with this number, from 1.
    #[must_use]
    pub fn replica(code: CountryCode, number: u8) -> Self {
        if number <= 1 { Self::Gateway(code) } else { Self::Replica(code, number) }
    }

    /// Whether it is a gateway.
    #[must_use]
    pub fn is_gateway(self) -> bool {
        matches!(self, Self::Gateway(_) | Self::Replica(..))
    }

    /// The adapter of an authority, as `826/1`.
    #[must_use]
    pub fn adapter(text: &str) -> Self {
        Self::Adapter(authority(text))
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(country) => write!(f, "gateway of {country}"),
            Self::Replica(country, number) => write!(f, "gateway {number} of {country}"),
            Self::Adapter(authority) => write!(f, "adapter of {authority}"),
        }
    }
}

/// The authority that a text names, as `826/1`.
///
/// # Panics
/// If it names none: it is for names written by hand.
#[must_use]
pub fn authority(text: &str) -> Authority {
    text.parse().expect("authorities in tests are written as 826/1")
}

/// The country with this number.
///
/// # Panics
/// If the number is 0: it is for numbers written by hand.
#[must_use]
pub fn country(code: u16) -> CountryCode {
    CountryCode::new(code).expect("countries in tests are ISO 3166-1 numbers")
}
