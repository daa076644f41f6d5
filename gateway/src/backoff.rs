//! Growing, jittered pauses between attempts that fail.

use std::time::Duration;

use rand::Rng;

/// The first pause is at most as long as this.
const FIRST: Duration = Duration::from_millis(200);
/// No pause is shorter: a peer that refuses at once is not asked without end.
const SHORTEST: Duration = Duration::from_millis(10);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The longest pause.
    pub const LONGEST: Duration = Duration::from_secs(30);

    /// Whether the next failure would be the first in a row.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.failures == 0
    }

    /// Begins anew. Gives whether there had been failures.
    pub fn succeeded(&mut self) -> bool {
        std::mem::take(&mut self.failures) > 0
    }

    /// The pause after one more failure: full jitter, anything up to 0.2 s, 0.4 s ... 30 s.
    // Without jitter all peers of a country that was down would come back at the same moment.
    pub fn failed(&mut self) -> Duration {
        let longest = FIRST.saturating_mul(1 << self.failures.min(10)).min(Self::LONGEST);
        self.failures = self.failures.saturating_add(1);
        longest.mul_f64(rand::rng().random_range(0.0..=1.0)).max(SHORTEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let mut backoff = Backoff::default();
        assert!(backoff.is_first());
        assert!(backoff.failed() <= FIRST);
        for _ in 0..100 {
            assert!((SHORTEST..=Backoff::LONGEST).contains(&backoff.failed()));
        }
        assert!(backoff.succeeded() && backoff.is_first() && !backoff.succeeded());
    }

    #[test]
    fn pauses_lie_anywhere_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..1_000).map(|_| backoff.failed()).skip(20).collect();
        let below = |part: u32| pauses.iter().filter(|pause| **pause < Backoff::LONGEST / part).count();
        assert!((350..650).contains(&below(2)) && below(10) > 30, "half and a tenth of them");
    }
}
