//! How much one backend or one peer may ask for, by the name in its certificate and not by its address.
//!
//! Whoever asks for more is told when to come again; it takes nothing from the others.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::config::{PeerQuota, QuotaConfig};
use crate::places::{Place, Places};

/// Octets that count as one.
const UNIT: usize = 1024;
/// When somebody with too many calls in flight may come again.
const SOON: Duration = Duration::from_secs(1);

/// How many calls each caller of one kind may make. Asked before anything of a call is read.
pub struct Calls<K: Copy + Eq + Hash> {
    a_second: DefaultKeyedRateLimiter<K>,
    in_flight: Places<K>,
}

/// How much each caller of one kind may send or be served.
pub struct Volumes<K: Copy + Eq + Hash> {
    /// Of whoever shows how many there are.
    reports: Option<DefaultKeyedRateLimiter<K>>,
    kibibytes: DefaultKeyedRateLimiter<K>,
    /// Who was told to come again, and when.
    due: Mutex<HashMap<K, Instant>>,
}

/// More than the caller's quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more {what} than this caller's quota; try again in {} ms", again.as_millis())]
pub struct Exceeded {
    /// Calls, reports, octets or calls in flight.
    pub what: &'static str,
    /// When the same call would be let through, if nothing else comes.
    pub again: Duration,
}

impl<K: Copy + Eq + Hash> Calls<K> {
    /// Quotas that are all unused: calls a second, and calls in flight.
    #[must_use]
    pub fn new(per_second: u32, in_flight: usize) -> Self {
        Self { a_second: a_second(per_second), in_flight: Places::new(in_flight) }
    }

    /// Lets one call begin. The place is held while it goes on.
    pub fn begin(&self, caller: K) -> Result<Place<K>, Exceeded> {
        let place = self.in_flight.take(caller);
        let place = place.ok_or(Exceeded { what: "calls in flight", again: SOON })?;
        take(&self.a_second, caller, 1, "calls")?;
        Ok(place)
    }
}

impl<K: Copy + Eq + Hash> Volumes<K> {
    /// What backends may push; all of it is unused.
    #[must_use]
    pub fn of_backends(config: &QuotaConfig) -> Self {
        let reports = Some(a_second(config.reports_per_second));
        Self { reports, kibibytes: a_second(config.kibibytes_per_second), due: Mutex::default() }
    }

    /// What peers may be served; all of it is unused.
    #[must_use]
    pub fn of_peers(config: &PeerQuota) -> Self {
        Self { reports: None, kibibytes: a_second(config.kibibytes_per_second), due: Mutex::default() }
    }

    /// Whether a caller who was told when to come again has waited for so long. Who has not is refused unread: the
    /// reading is what a flood costs.
    pub fn is_due(&self, caller: K) -> Result<(), Exceeded> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(when) = due.get(&caller) else { return Ok(()) };
        let again = when.saturating_duration_since(Instant::now());
        if again.is_zero() {
            due.remove(&caller);
            return Ok(());
        }
        Err(Exceeded { what: "calls before their time", again })
    }

    /// Takes reports out of the quota, all or none.
    pub fn reports(&self, caller: K, reports: usize) -> Result<(), Exceeded> {
        let Some(quota) = &self.reports else { return Ok(()) };
        self.told(caller, take(quota, caller, reports, "reports"))
    }

    /// Takes octets out of the quota, all or none.
    pub fn octets(&self, caller: K, octets: usize) -> Result<(), Exceeded> {
        self.told(caller, take(&self.kibibytes, caller, octets.div_ceil(UNIT), "octets"))
    }

    fn told(&self, caller: K, asked: Result<(), Exceeded>) -> Result<(), Exceeded> {
        asked.inspect_err(|exceeded| {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            due.insert(caller, Instant::now() + exceeded.again);
        })
    }
}

fn take<K: Copy + Eq + Hash>(
    from: &DefaultKeyedRateLimiter<K>,
    caller: K,
    number: usize,
    what: &'static str,
) -> Result<(), Exceeded> {
    let Some(number) = u32::try_from(number).ok().and_then(NonZeroU32::new) else { return Ok(()) };
    match from.check_key_n(&caller, number) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(wait)) => Err(Exceeded { what, again: wait.wait_time_from(DefaultClock::default().now()) }),
        // The configuration gives a second's quota room for the largest call there is.
        Err(_) => Err(Exceeded { what, again: SOON }),
    }
}

fn a_second<K: Copy + Eq + Hash>(number: u32) -> DefaultKeyedRateLimiter<K> {
    RateLimiter::keyed(Quota::per_second(NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: QuotaConfig = QuotaConfig {
        calls_per_second: 1_000,
        reports_per_second: 5_000,
        kibibytes_per_second: 4_096,
        calls_in_flight: 2,
    };

    #[test]
    fn a_quota_is_taken_up_to_its_end_and_says_when_to_come_again() {
        let quotas = Volumes::of_backends(&SMALL);
        assert_eq!(quotas.reports(1, 5_000), Ok(()));
        let refused = quotas.reports(1, 5_000).unwrap_err();
        assert_eq!(refused.what, "reports");
        assert!((Duration::from_millis(500)..=Duration::from_secs(1)).contains(&refused.again), "{refused}");
        assert_eq!(quotas.octets(1, 4 << 20), Ok(()));
        assert_eq!(quotas.octets(1, 4 << 20).unwrap_err().what, "octets");
    }

    #[test]
    fn who_comes_again_too_early_is_refused_unread_and_nobody_else_is() {
        let quotas = Volumes::of_backends(&SMALL);
        assert_eq!(quotas.is_due(1), Ok(()));
        while quotas.reports(1, 5_000).is_ok() {}
        let early = quotas.is_due(1).unwrap_err();
        assert!(early.again <= Duration::from_secs(1) && !early.again.is_zero(), "{early}");
        assert_eq!(quotas.is_due(2), Ok(()));
        quotas.due.lock().unwrap().insert(1, Instant::now());
        assert_eq!(quotas.is_due(1), Ok(()));
    }

    #[test]
    fn who_has_used_its_quota_takes_nothing_of_another() {
        let quotas = Volumes::of_backends(&SMALL);
        while quotas.reports(1, 1_000).is_ok() {}
        assert_eq!(quotas.reports(2, 5_000), Ok(()));
        let calls = Calls::new(SMALL.calls_per_second, SMALL.calls_in_flight);
        let first = calls.begin(1).unwrap();
        let _second = calls.begin(1).unwrap();
        assert_eq!(calls.begin(1).err().map(|refused| refused.what), Some("calls in flight"));
        assert!(calls.begin(2).is_ok());
        drop(first);
        assert!(calls.begin(1).is_ok());
    }

    #[test]
    fn calls_are_counted_even_if_they_are_short() {
        let calls = Calls::new(10, SMALL.calls_in_flight);
        let begun = (0..1_000).filter(|_| calls.begin(1).is_ok()).count();
        assert!((10..1_000).contains(&begun), "{begun}");
    }

    #[test]
    fn nothing_costs_nothing() {
        let quotas = Volumes::of_backends(&SMALL);
        while quotas.octets(1, UNIT).is_ok() {}
        assert_eq!(quotas.octets(1, 0), Ok(()), "an empty tail is free");
    }
}
