//! Growing, jittered pauses between attempts that fail.

use std::time::Duration;

use rand::Rng;

const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(30);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Whether the next failure would be the first in a row.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.failures == 0
    }

    /// Begins anew. Gives whether there had been failures.
    pub fn succeeded(&mut self) -> bool {
        std::mem::take(&mut self.failures) > 0
    }

    /// The pause after one more failure: full jitter, between a tenth and the whole of 0.2 s, 0.4 s ... 30 s.
    // Without jitter all peers of a country that was down would come back at the same moment.
    pub fn failed(&mut self) -> Duration {
        let longest = SHORTEST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures += 1;
        longest.mul_f64(rand::rng().random_range(0.1..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let mut backoff = Backoff::default();
        assert!(backoff.is_first());
        assert!(backoff.failed() <= SHORTEST);
        for _ in 0..100 {
            assert!(backoff.failed() <= LONGEST);
        }
        assert!(backoff.succeeded() && backoff.is_first() && !backoff.succeeded());
    }
}
