//! Bounds on what is worked on at once, and on what one caller may ask for.

use serde::Deserialize;

/// Bounds on what is worked on at once.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Pushes being opened, and as many of the largest size being worked on, or more small ones that take their room;
    /// others wait.
    pub pushes_at_work: usize,
    /// Open connections on each listener; others are closed at once.
    pub connections: usize,
    /// Connections of one address that have not shaken hands, 1 to 1,024; others are closed at once.
    pub handshakes_of_one_address: usize,
    /// Octets that stay free on the store's disk; below, pushes are refused.
    pub free_disk_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pushes_at_work: 8,
            connections: 1_024,
            handshakes_of_one_address: 64,
            free_disk_bytes: 256 << 20,
        }
    }
}

impl Limits {
    pub(super) fn problem(&self) -> Option<(&'static str, String, &'static str)> {
        let Limits { pushes_at_work, connections, handshakes_of_one_address, .. } = *self;
        if !(1..=1_024).contains(&pushes_at_work) {
            return Some((
                "pushes_at_work",
                format!("limits.pushes_at_work is {pushes_at_work}"),
                "1 to 1024 (8)",
            ));
        }
        if !(1..=100_000).contains(&connections) {
            return Some((
                "connections",
                format!("limits.connections is {connections}"),
                "1 to 100000 (1024)",
            ));
        }
        if !(1..=1_024).contains(&handshakes_of_one_address) {
            let message = format!("limits.handshakes_of_one_address is {handshakes_of_one_address}");
            return Some(("handshakes_of_one_address", message, "1 to 1024 (64)"));
        }
        None
    }
}

/// How much one caller may ask for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    /// Each of our backends' adapters.
    pub backend: QuotaConfig,
    /// Each peer gateway.
    pub peer: PeerQuota,
}

impl Quota {
    pub(super) fn problem(&self) -> Option<(&'static str, String, &'static str)> {
        if !self.backend.is_good() {
            let help = "calls 10 to 1000000, reports 5000 to 100000000 and KiB 8192 to 100000000 a second; 2 to 10000 calls in flight";
            return Some(("quota.backend", "quota.backend is too small or too large".to_owned(), help));
        }
        if !self.peer.is_good() {
            let help = "calls 10 to 1000000 and KiB 8192 to 100000000 a second; MiB stored 1024 to 100000000 a day; 2 to 10000 calls in flight";
            return Some(("quota.peer", "quota.peer is too small or too large".to_owned(), help));
        }
        None
    }
}

/// The quota of one backend's adapter.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuotaConfig {
    /// Calls, 10 to 1,000,000 a second.
    pub calls_per_second: u32,
    /// Envelopes pushed, 5,000 to 100,000,000 a second.
    pub reports_per_second: u32,
    /// KiB of pushes, 8,192 to 100,000,000 a second.
    pub kibibytes_per_second: u32,
    /// Calls that have begun and not ended, 2 to 10,000; each may hold a whole push or page in memory.
    pub calls_in_flight: usize,
}

impl Default for QuotaConfig {
    // Two cores take about 700,000 reports a second (`federation bench`): three backends that take all they may leave room
    // for the others of their country, and 10 million reports of one still pass within a minute.
    fn default() -> Self {
        Self {
            calls_per_second: 2_000,
            reports_per_second: 200_000,
            kibibytes_per_second: 65_536,
            calls_in_flight: 16,
        }
    }
}

/// The quota of one peer gateway. What it sends is sealed, so its reports cannot be counted: its octets are.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeerQuota {
    /// Calls, 10 to 1,000,000 a second.
    pub calls_per_second: u32,
    /// KiB of pages served to it, and as many of its batches stored, 8,192 to 100,000,000 a second.
    pub kibibytes_per_second: u32,
    /// MiB of its batches stored a day, 1,024 to 100,000,000.
    pub stored_mebibytes_per_day: u32,
    /// Calls that have begun and not ended, 2 to 10,000; each may hold a whole page in memory.
    pub calls_in_flight: usize,
    /// Has no effect and never had one. Earlier files have it, so it is read; the log says at start that it may go.
    pub reports_per_second: Option<u32>,
}

impl Default for PeerQuota {
    // A backlog of a whole day, 10 million reports of 200 octets, is 2 GiB: 64 GiB a day hold back no honest peer.
    fn default() -> Self {
        Self {
            calls_per_second: 2_000,
            kibibytes_per_second: 65_536,
            stored_mebibytes_per_day: 65_536,
            calls_in_flight: 16,
            reports_per_second: None,
        }
    }
}

impl PeerQuota {
    /// A second's quota holds the longest batch, or that batch would never be served.
    fn is_good(&self) -> bool {
        (10..=1_000_000).contains(&self.calls_per_second)
            && (8_192..=100_000_000).contains(&self.kibibytes_per_second)
            && (1_024..=100_000_000).contains(&self.stored_mebibytes_per_day)
            && (2..=10_000).contains(&self.calls_in_flight)
    }
}

impl QuotaConfig {
    /// A second's quota holds the largest call, or that call would never be let through.
    fn is_good(&self) -> bool {
        (10..=1_000_000).contains(&self.calls_per_second)
            && (5_000..=100_000_000).contains(&self.reports_per_second)
            && (8_192..=100_000_000).contains(&self.kibibytes_per_second)
            && (2..=10_000).contains(&self.calls_in_flight)
    }
}
