//! When a phone asks for the lists: at a fixed interval with jitter, whatever has happened to it.
//!
//! Who watches the line must not learn from a phone's questions that it was warned, or that its owner is ill.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// A phone's rhythm. Its beats lie on a grid of its own; jitter does not move the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rhythm {
    phase: u64,
    interval: u64,
    jitter: u64,
}

impl Rhythm {
    /// Seconds between two beats, at least 10. The phase is drawn, and the jitter is a tenth of the interval at most.
    pub fn new(interval: u64) -> Result<Self> {
        let interval = interval.max(10);
        Ok(Self { phase: drawn(interval)?, interval, jitter: interval / 10 })
    }

    /// When to ask next: a Unix time behind the one that is given.
    pub fn next(&self, after: u64) -> Result<u64> {
        Ok(self.beat(after) + drawn(self.jitter + 1)?)
    }

    /// The first beat behind a Unix time.
    fn beat(&self, after: u64) -> u64 {
        let since = (after + self.interval - self.phase) % self.interval;
        after + self.interval - since
    }
}

/// Uniform below a bound, from the operating system. The bias of a remainder of 64 bits is of no matter here.
fn drawn(below: u64) -> Result<u64> {
    let mut octets = [0; 8];
    getrandom::fill(&mut octets).context("the system has no random numbers")?;
    Ok(u64::from_be_bytes(octets) % below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_keep_to_the_grid_and_jitter_to_a_tenth() {
        let rhythm = Rhythm { phase: 17, interval: 3_600, jitter: 360 };
        assert_eq!(
            (rhythm.beat(0), rhythm.beat(16), rhythm.beat(17), rhythm.beat(3_616)),
            (17, 17, 3_617, 3_617)
        );
        for beat in (0..20_u64).map(|number| 17 + number * 3_600) {
            let next = rhythm.next(beat + 100).unwrap();
            assert!((beat + 3_600..=beat + 3_960).contains(&next), "{next}");
        }
    }

    #[test]
    fn phones_do_not_beat_together() {
        let phases: std::collections::HashSet<_> =
            (0..50).map(|_| Rhythm::new(3_600).unwrap().phase).collect();
        assert!(phases.len() > 40);
        assert_eq!(Rhythm::new(0).unwrap().interval, 10);
    }
}
