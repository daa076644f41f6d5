//! Back-off that is jittered and bounded, and tells of an outage once when it begins and once when it ends.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The first pause is at most as long as this.
const FIRST: Duration = Duration::from_millis(200);
/// No pause is shorter.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(30);

/// How often something has failed in a row, and since when.
pub struct Outage {
    what: &'static str,
    failures: u32,
    since: Option<Instant>,
    last: String,
}

impl Outage {
    /// Nothing has failed yet.
    #[must_use]
    pub fn new(what: &'static str) -> Self {
        Self { what, failures: 0, since: None, last: String::new() }
    }

    /// It works; tells so if it did not before.
    pub fn over(&mut self) {
        if let Some(since) = self.since.take() {
            info!(
                what = self.what,
                after_s = since.elapsed().as_secs(),
                failures = self.failures,
                "works again"
            );
        }
        self.failures = 0;
        self.last.clear();
    }

    /// It failed; tells so the first time, and when the reason is another one.
    pub fn failed(&mut self, error: &dyn std::error::Error) {
        let text = chain(error);
        if text != self.last {
            warn!(what = self.what, error = %text, "fails; trying again until it works");
        }
        self.last = text;
        self.failures = self.failures.saturating_add(1);
        self.since.get_or_insert_with(Instant::now);
    }

    /// Waits before the next attempt, or until the stop; not less than is asked for.
    pub async fn pause(&self, least: Duration, stop: &CancellationToken) {
        stop.run_until_cancelled(tokio::time::sleep(self.delay(least))).await;
    }

    fn delay(&self, least: Duration) -> Duration {
        delay(self.failures).max(least)
    }
}

/// Full jitter: anything up to 0.2 s doubled by every failure, 30 s at most.
// Without it all adapters of a country whose gateway was down would come back at the same moment.
#[must_use]
pub fn delay(failures: u32) -> Duration {
    let doubled = FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16)));
    let whole = doubled.min(LONGEST);
    whole.mul_f64(StdRng::from_os_rng().random_range(0.0..=1.0)).max(SHORTEST)
}

/// An error with its causes in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_from_a_fifth_of_a_second_to_half_a_minute_and_differ() {
        for failures in 0..100 {
            let delay = delay(failures);
            assert!((SHORTEST..=LONGEST).contains(&delay), "{failures}: {delay:?}");
        }
        assert!(delay(1) <= FIRST);
        let delays: Vec<_> = (0..1_000).map(|_| delay(50)).collect();
        let shorter = delays.iter().filter(|delay| **delay < LONGEST / 2).count();
        assert!((350..650).contains(&shorter), "half of them");
    }

    #[test]
    fn a_pause_that_is_asked_for_is_the_least_one() {
        let mut outage = Outage::new("test");
        outage.failed(&std::io::Error::other("full"));
        assert_eq!(outage.delay(Duration::from_secs(30)), Duration::from_secs(30));
        (0..50).for_each(|_| outage.failed(&std::io::Error::other("full")));
        assert!(outage.delay(Duration::from_secs(1)) >= Duration::from_secs(1));
    }

    #[test]
    fn an_outage_ends_when_it_works() {
        let mut outage = Outage::new("test");
        outage.failed(&std::io::Error::other("first"));
        outage.failed(&std::io::Error::other("first"));
        assert_eq!((outage.failures, outage.since.is_some()), (2, true));
        outage.over();
        assert_eq!((outage.failures, outage.since.is_some()), (0, false));
    }
}
