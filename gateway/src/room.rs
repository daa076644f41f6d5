//! How much of a peer's batches may be stored: so many octets a second and a day, of each peer by itself.
//!
//! What was pulled is kept, even if it is more than there is room for; the next pull then waits until there is room
//! again. So nothing is fetched twice, and nothing is lost: batches wait at their origin.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use proto::ids::CountryCode;

use crate::config::PeerQuota;

/// The room of every peer.
pub struct Room {
    second: Rate,
    day: Rate,
    peers: Mutex<HashMap<CountryCode, [Left; 2]>>,
}

/// So many octets in a time, which may come all at once.
#[derive(Debug, Clone, Copy)]
struct Rate {
    octets: f64,
    time: Duration,
}

/// Octets that a peer had left at a moment; less than nothing if it brought more than there was room for.
#[derive(Debug, Clone, Copy)]
struct Left {
    octets: f64,
    at: Instant,
}

impl Room {
    /// All of it is free.
    #[must_use]
    pub fn of_peers(quota: &PeerQuota) -> Self {
        let second =
            Rate { octets: f64::from(quota.kibibytes_per_second) * 1024.0, time: Duration::from_secs(1) };
        let mebibytes = f64::from(quota.stored_mebibytes_per_day);
        let day = Rate { octets: mebibytes * 1024.0 * 1024.0, time: Duration::from_secs(86_400) };
        Self { second, day, peers: Mutex::default() }
    }

    /// How long the next pull of a peer waits; no time if there is room for it.
    #[must_use]
    pub fn pause(&self, peer: CountryCode, now: Instant) -> Duration {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(left) = peers.get(&peer) else { return Duration::ZERO };
        let pauses = self.rates().into_iter().zip(left).map(|(rate, left)| rate.pause(*left, now));
        pauses.max().unwrap_or_default()
    }

    /// Takes what a peer brought.
    pub fn take(&self, peer: CountryCode, octets: usize, now: Instant) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let full = self.rates().map(|rate| Left { octets: rate.octets, at: now });
        let left = peers.entry(peer).or_insert(full);
        for (rate, left) in self.rates().into_iter().zip(left) {
            *left = Left { octets: rate.now(*left, now) - octets as f64, at: now };
        }
    }

    fn rates(&self) -> [Rate; 2] {
        [self.second, self.day]
    }
}

impl Rate {
    /// What is left by now of what was left then.
    fn now(self, left: Left, now: Instant) -> f64 {
        let since = now.saturating_duration_since(left.at).as_secs_f64();
        (left.octets + since / self.time.as_secs_f64() * self.octets).min(self.octets)
    }

    fn pause(self, left: Left, now: Instant) -> Duration {
        let missing = -self.now(left, now);
        if missing > 0.0 { self.time.mul_f64(missing / self.octets) } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DAY: Duration = Duration::from_secs(86_400);

    fn room() -> (Room, CountryCode, Instant) {
        let quota = PeerQuota {
            kibibytes_per_second: 8_192,
            stored_mebibytes_per_day: 1_024,
            ..PeerQuota::default()
        };
        (Room::of_peers(&quota), CountryCode::new(250).unwrap(), Instant::now())
    }

    #[test]
    fn a_second_of_octets_passes_and_one_more_has_the_next_pull_wait() {
        let (room, france, now) = room();
        assert_eq!(room.pause(france, now), Duration::ZERO);
        room.take(france, 8 << 20, now);
        assert_eq!(room.pause(france, now), Duration::ZERO, "at the limit");
        room.take(france, 4 << 20, now);
        assert_eq!(room.pause(france, now), SECOND / 2, "4 MiB more than 8 a second");
        assert_eq!(room.pause(france, now + SECOND / 2), Duration::ZERO);
        assert_eq!(room.pause(CountryCode::new(36).unwrap(), now), Duration::ZERO, "of another peer");
    }

    #[test]
    fn a_day_of_octets_passes_and_what_is_beyond_it_waits_for_its_share_of_the_next() {
        let (room, france, mut now) = room();
        for _ in 0..128 {
            room.take(france, 8 << 20, now);
            assert!(room.pause(france, now) < SECOND, "1 GiB a day");
            now += SECOND;
        }
        // As much as has become free meanwhile, and 8 MiB.
        let free = (1_u64 << 30) * 127 / 86_400;
        room.take(france, usize::try_from(free).unwrap() + (8 << 20), now);
        let pause = room.pause(france, now);
        let expected = DAY / 128;
        assert!(pause > expected - 2 * SECOND && pause < expected + 2 * SECOND, "{pause:?}");
        assert_eq!(room.pause(france, now + pause + SECOND), Duration::ZERO);
    }

    #[test]
    fn a_day_without_anything_gives_the_whole_room_back_and_not_more() {
        let (room, france, now) = room();
        room.take(france, 3 << 30, now);
        assert!(room.pause(france, now) > DAY);
        let later = now + 10 * DAY;
        room.take(france, 1 << 30, later);
        let pause = room.pause(france, later + 1_000 * SECOND);
        assert_eq!(pause, Duration::ZERO, "all of it is free again");
        room.take(france, 1 << 30, later);
        assert!(room.pause(france, later + 1_000 * SECOND) > DAY / 2, "and no more than that");
    }
}
