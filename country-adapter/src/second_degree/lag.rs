//! How long a phone waits before it lets anything show: uniform from 0 to 30 minutes, drawn once for each event.
//!
//! A phone that reacted at once would tell whoever stands beside it why. The wait counts inside the three and a half
//! hours that a phone has to report (`herald.md` D18). It belongs to what a phone saves: a restart does not draw it again.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// The longest wait, seconds.
pub const LONGEST: u64 = 30 * 60;

/// The waits that a phone has drawn: when each event may show, Unix seconds, by its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lags(BTreeMap<String, u64>);

impl Lags {
    /// An event has happened; it is drawn for once, however often it is told.
    pub fn happened(&mut self, event: &str, now: u64) {
        if !self.0.contains_key(event) {
            self.0.insert(event.into(), now + StdRng::from_os_rng().random_range(0..=LONGEST));
        }
    }

    /// It is over. If it happens again, that is another event.
    pub fn over(&mut self, event: &str) {
        self.0.remove(event);
    }

    /// From when on an event may show; nothing if it has not happened.
    #[must_use]
    pub fn shows_at(&self, event: &str) -> Option<u64> {
        self.0.get(event).copied()
    }

    /// Every event, and from when on it may show.
    pub fn all(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(event, at)| (event.as_str(), *at))
    }
}

#[cfg(test)]
mod lag_tests {
    use super::*;

    #[test]
    fn a_wait_is_drawn_once_for_an_event_from_all_of_half_an_hour() {
        let mut lags = Lags::default();
        assert_eq!(lags.shows_at("advice 1"), None);
        lags.happened("advice 1", 1_000);
        let first = lags.shows_at("advice 1").unwrap();
        assert!((1_000..=1_000 + LONGEST).contains(&first));
        lags.happened("advice 1", 900_000);
        assert_eq!(lags.shows_at("advice 1"), Some(first));
        (0..50).for_each(|number| lags.happened(&format!("other {number}"), 0));
        let waits: std::collections::HashSet<_> = lags.all().map(|(_, at)| at).collect();
        assert!(waits.len() > 30 && waits.iter().max() > Some(&900), "drawn from all of half an hour");
        lags.over("advice 1");
        lags.happened("advice 1", 900_000);
        assert!(lags.shows_at("advice 1") >= Some(900_000), "another event");
    }
}
