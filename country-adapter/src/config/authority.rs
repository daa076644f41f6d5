//! What an authority decides for its citizens: what phones get, what counts, and what is analysed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use proto::ids::CountryCode;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::within;
use crate::risk::{Mechanism, Threshold};

/// HTTPS for phones.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhonesConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The server's certificate chain, PEM, leaf first, of an authority that phones know.
    pub certificate: PathBuf,
    /// Its private key, PKCS#8 PEM, mode 0600.
    pub key: PathBuf,
    /// Contacts of one case, 1 to 5,000; 5,000 unless given.
    #[serde(default = "most_contacts", deserialize_with = "within::<_, 1, 5_000>")]
    pub contacts_per_case: u32,
    /// Hours for which a case code can be used, 1 to 336; 24 unless given.
    #[serde(default = "a_day", deserialize_with = "within::<_, 1, 336>")]
    pub case_code_hours: u32,
    /// Connections at once, 8 to 65,536; 1,024 unless given.
    #[serde(default = "connections", deserialize_with = "within::<_, 8, 65_536>")]
    pub connections: u32,
}

/// What phones download.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListsConfig {
    /// The key that signs the lists, ECDSA P-256, used for nothing else.
    pub signing_key: PathBuf,
    /// How often what has arrived is posted, 1 to 840 s; 300 unless given. What has just missed a posting waits for the
    /// next, and a copy on the way to phones may be as old again: twice this is less than 30 minutes.
    #[serde(default = "five_minutes", deserialize_with = "within::<_, 1, 840>")]
    pub interval_s: u32,
    /// The lists are also written here as static files, for a content delivery network.
    pub folder: Option<PathBuf>,
}

/// Service tokens of Herald Secured.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecuredConfig {
    /// Service tokens that are opened a day for one other country, 1 to 100,000,000; 400,000 unless given.
    #[serde(default = "four_hundred_thousand", deserialize_with = "within::<_, 1, 100_000_000>")]
    pub tokens_per_origin_and_day: u32,
}

/// What contacts count, and when a citizen is told. Not epidemiologically validated.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "RiskTable")]
pub struct RiskConfig {
    mechanism: Mechanism,
    threshold: Threshold,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RiskTable {
    /// The number of these weights, 1 to 65,535; another one whenever a weight changes.
    #[serde(deserialize_with = "within::<_, 1, 65_535>")]
    mechanism: u32,
    /// Tenths of a metre-minute for a minute at less than 1 m, 1-2 m, 2-4 m and more than 4 m.
    weights: [u16; 4],
    /// The least sum that is told, 1 to 65,535.
    #[serde(deserialize_with = "within::<_, 1, 65_535>")]
    threshold: u32,
    /// Days that are summed up, 1 to 14.
    #[serde(deserialize_with = "within::<_, 1, 14>")]
    days: u32,
}

/// Analyses of who met whom. Off unless enabled.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecondDegreeConfig {
    /// Whether contacts are kept as an anonymous graph, and advice may be signed off.
    pub enabled: bool,
    /// Distinct cases within 14 days that make a candidate, 5 to 1,000; 5 unless given.
    #[serde(deserialize_with = "within::<_, 5, 1_000>")]
    pub cases: u32,
}

/// Ill persons' own keys.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiagnosisKeysConfig {
    /// Countries, by ISO 3166-1 number, that get every key, whether its owner was there or not.
    #[serde(deserialize_with = "countries")]
    pub subscribers: Vec<CountryCode>,
    /// Where keys that have arrived are written as GAEN export files and EFGS batches.
    pub exports: Option<PathBuf>,
}

/// Health and metrics, plain HTTP.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// Where it listens; on the loopback interface only.
    pub listen: SocketAddr,
}

impl ListsConfig {
    /// How often what has arrived is posted.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_secs(self.interval_s.into())
    }
}

impl RiskConfig {
    /// The weights under their number.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// From when on a phone's owner is told.
    #[must_use]
    pub fn threshold(&self) -> Threshold {
        self.threshold
    }
}

impl TryFrom<RiskTable> for RiskConfig {
    type Error = String;

    fn try_from(table: RiskTable) -> Result<Self, Self::Error> {
        let small = |number: u32| u16::try_from(number).expect("read within 1 to 65,535");
        let mechanism = Mechanism { number: small(table.mechanism), weights: table.weights };
        let known = Mechanism::default();
        // Phones know what the default number means, and refuse what its weights cannot add.
        if mechanism.number == known.number && mechanism.weights != known.weights {
            return Err(format!(
                "mechanism {} means the weights {:?}, and these are {:?}; give other weights another number",
                known.number, known.weights, mechanism.weights
            ));
        }
        let threshold = Threshold { least: small(table.threshold), days: small(table.days) };
        Ok(Self { mechanism, threshold })
    }
}

impl Default for RiskTable {
    fn default() -> Self {
        let (mechanism, threshold) = (Mechanism::default(), Threshold::default());
        Self {
            mechanism: mechanism.number.into(),
            weights: mechanism.weights,
            threshold: threshold.least.into(),
            days: threshold.days.into(),
        }
    }
}

impl Default for SecondDegreeConfig {
    fn default() -> Self {
        Self { enabled: false, cases: 5 }
    }
}

fn countries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<CountryCode>, D::Error> {
    let numbers = Vec::<u16>::deserialize(deserializer)?;
    numbers.into_iter().map(|number| CountryCode::new(number).map_err(D::Error::custom)).collect()
}

fn most_contacts() -> u32 {
    5_000
}

fn a_day() -> u32 {
    24
}

fn connections() -> u32 {
    1_024
}

fn five_minutes() -> u32 {
    300
}

fn four_hundred_thousand() -> u32 {
    400_000
}
