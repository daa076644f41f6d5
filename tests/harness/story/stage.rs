//! Where the story plays: three countries that run, a national system, what is on the air, and the time.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use proto::ids::Authority;

use crate::admin;
use crate::citizens::{Citizens, Policy};
use crate::federation::Federation;
use crate::members::{CountryPlan, KeyFiles, authority};
use crate::national::National;
use crate::phone::{Air, Home};

/// How long anything may take to arrive.
pub(super) const SOON: Duration = Duration::from_secs(20);

/// United Kingdom, decentralised, with second degree.
pub const UK: &str = "826/0";
/// France, centralised.
pub const FRANCE: &str = "250/0";
/// Victoria, decentralised.
pub const VICTORIA: &str = "36/2";

/// Everything that runs and everybody who acts.
pub struct Stage {
    /// The countries.
    pub federation: Federation,
    /// The national system of France.
    pub national: National,
    /// What was said over the radio.
    pub air: Air,
    /// Unix time at which the story begins.
    pub now: u64,
}

impl Stage {
    /// Makes the countries and starts them; in this folder, if one is named.
    pub async fn open(keep: Option<&Path>) -> Result<Self> {
        let national = National::start().await?;
        let mut builder = Federation::builder().log_level("trace").tapped();
        for plan in plans(&national) {
            builder = builder.country(plan);
        }
        if let Some(folder) = keep {
            builder = builder.keep(folder);
        }
        let federation = builder.start().await?;
        let stage = Self { federation, national, air: Air::default(), now: unix_now() };
        for place in [UK, FRANCE, VICTORIA] {
            stage.serves(authority(place)).await?;
        }
        Ok(stage)
    }

    /// A phone's way to an authority.
    pub fn home(&self, place: &str) -> Result<Home> {
        Home::of(self.federation.adapter(authority(place))?)
    }

    /// The same as another phone would go it, from an address of its own.
    pub fn home_seen_as(&self, place: &str, last: u8) -> Result<Home> {
        Ok(self.home(place)?.seen_as(Ipv4Addr::new(127, 0, 1, last)))
    }

    /// A metric of an authority's adapter, summed up over all samples with these labels.
    pub async fn metric(&self, place: &str, name: &str, labels: &[(&str, &str)]) -> Result<u64> {
        let text = self.metrics(place).await?;
        // Counters are whole, and far below 2^53.
        Ok(admin::metric(&text, name, labels) as u64)
    }

    /// The metrics page of an authority's adapter.
    pub async fn metrics(&self, place: &str) -> Result<String> {
        let adapter = self.federation.adapter(authority(place))?;
        let phones = adapter.phones.as_ref().context("every authority here serves phones")?;
        Ok(admin::get(phones.admin, "/metrics").await?.1)
    }

    /// Waits for a condition, and says how long it took.
    pub async fn wait<T>(
        &self,
        what: &str,
        condition: impl AsyncFnMut() -> Option<T>,
    ) -> Result<(T, Duration)> {
        let began = Instant::now();
        let found = self.federation.wait_until(what, SOON, condition).await?;
        Ok((found, began.elapsed()))
    }

    /// Waits until an adapter is ready to serve phones.
    async fn serves(&self, place: Authority) -> Result<()> {
        let home = Home::of(self.federation.adapter(place)?)?;
        let ready = async || {
            let answer = home.get("/v1/service-keys", None).await.ok()?;
            answer.status.is_success().then_some(())
        };
        self.federation.wait_until(&format!("{place} serves phones"), SOON, ready).await
    }
}

fn plans(national: &National) -> [CountryPlan; 3] {
    [
        CountryPlan::new(826, "United Kingdom", &[(UK, "United Kingdom")])
            .citizens(Citizens::decentralised().second_degree(Policy::On)),
        CountryPlan::new(250, "France", &[(FRANCE, "France")])
            .keys(KeyFiles::Encrypted)
            .suite(pki::seal::Suite::P256)
            .citizens(Citizens::centralised(national)),
        CountryPlan::new(36, "Australia", &[(VICTORIA, "Victoria")]).citizens(Citizens::decentralised()),
    ]
}

/// Seconds since 1970.
#[must_use]
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
