//! What a flood came to, in figures.

use std::time::Duration;

use comfy_table::Table;
use serde::Serialize;

use super::{Kind, TIMES};
use crate::admin::metric;
use crate::demo::Percentiles;

/// How much throughput and p99 of the others may differ.
const ALLOWED: f64 = 0.10;

/// What a good caller did in some phases.
#[derive(Debug, Default, Clone)]
pub struct Side {
    /// Reports that were accepted.
    pub reports: usize,
    /// The time of the phases.
    pub seconds: f64,
    /// Of each push.
    pub times: Vec<Duration>,
}

impl Side {
    pub(super) fn took(&mut self, reports: usize, time: Duration) {
        self.reports += reports;
        self.times.push(time);
    }

    pub(super) fn add(&mut self, phase: Self) {
        self.reports += phase.reports;
        self.seconds += phase.seconds;
        self.times.extend(phase.times);
    }
}

/// All floods.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Throughput and p99 of every good caller stayed within 10 %.
    pub ok: bool,
    /// Each kind.
    pub floods: Vec<FloodSummary>,
    /// Calls that the gateway counted as over a quota.
    pub counted_over_quota: f64,
    /// The most memory that the gateway has held, octets.
    pub gateway_peak_bytes: u64,
}

/// One kind of flood.
#[derive(Debug, Serialize)]
pub struct FloodSummary {
    /// `backend` or `peer`.
    pub flooder: &'static str,
    /// How many times its quota.
    pub times_quota: u32,
    /// Calls asked for.
    pub asked: u64,
    /// Calls let through.
    pub accepted: u64,
    /// Calls answered RESOURCE_EXHAUSTED.
    pub refused: u64,
    /// The good callers.
    pub others: Vec<Compared>,
}

/// A good caller without and with the flood.
#[derive(Debug, Serialize)]
pub struct Compared {
    /// From which authority to which.
    pub caller: String,
    /// Pushes measured in the quiet phases.
    pub samples: usize,
    /// Reports a second without the flood.
    pub quiet_reports_per_second: f64,
    /// Reports a second with it.
    pub flood_reports_per_second: f64,
    /// Half of the pushes were as fast without it, milliseconds.
    pub quiet_p50_ms: f64,
    /// Half of the pushes were as fast with it.
    pub flood_p50_ms: f64,
    /// 99 of 100 were, without it.
    pub quiet_p99_ms: f64,
    /// 99 of 100 were, with it.
    pub flood_p99_ms: f64,
    /// Throughput with it is at least 90 %, and p99 at most 110 %, of what they were without.
    pub ok: bool,
}

impl Summary {
    pub(super) fn new(floods: Vec<FloodSummary>, metrics: &str, gateway_peak_bytes: u64) -> Self {
        Self {
            ok: floods.iter().flat_map(|flood| &flood.others).all(|other| other.ok),
            floods,
            counted_over_quota: metric(metrics, "exchange_over_quota_total", &[]),
            gateway_peak_bytes,
        }
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(comfy_table::presets::UTF8_FULL_CONDENSED);
        let head =
            ["flooder", "asked/accepted", "other", "reports/s", "with flood", "p99 ms", "with flood", ""];
        table.set_header(head);
        for flood in &self.floods {
            for other in &flood.others {
                table.add_row([
                    flood.flooder.to_owned(),
                    format!("{}/{}", flood.asked, flood.accepted),
                    other.caller.clone(),
                    format!("{:.0}", other.quiet_reports_per_second),
                    format!("{:.0}", other.flood_reports_per_second),
                    format!("{:.1}", other.quiet_p99_ms),
                    format!("{:.1}", other.flood_p99_ms),
                    if other.ok { "within 10 %" } else { "more than 10 %" }.to_owned(),
                ]);
            }
        }
        table
    }
}

impl FloodSummary {
    pub(super) fn new(
        kind: Kind,
        [asked, accepted, refused]: [u64; 3],
        names: [String; 2],
        quiet: [Side; 2],
        flood: [Side; 2],
    ) -> Self {
        let flooder = match kind {
            Kind::Backend => "backend",
            Kind::Peer => "peer",
        };
        let sides = names.into_iter().zip(quiet).zip(flood);
        let others = sides.map(|((name, quiet), flood)| Compared::new(name, quiet, flood)).collect();
        Self { flooder, times_quota: TIMES, asked, accepted, refused, others }
    }
}

impl Compared {
    fn new(caller: String, quiet: Side, flood: Side) -> Self {
        let rate = |side: &Side| side.reports as f64 / side.seconds.max(0.001);
        let (quiet_rate, flood_rate) = (rate(&quiet), rate(&flood));
        let (quiet, flood) = (Percentiles::of(quiet.times), Percentiles::of(flood.times));
        Self {
            caller,
            samples: quiet.samples,
            quiet_reports_per_second: quiet_rate,
            flood_reports_per_second: flood_rate,
            quiet_p50_ms: quiet.p50,
            flood_p50_ms: flood.p50,
            quiet_p99_ms: quiet.p99,
            flood_p99_ms: flood.p99,
            ok: flood_rate >= quiet_rate * (1.0 - ALLOWED) && flood.p99 <= quiet.p99 * (1.0 + ALLOWED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(reports: usize, milliseconds: u64) -> Side {
        Side { reports, seconds: 1.0, times: vec![Duration::from_millis(milliseconds); 100] }
    }

    #[test]
    fn more_than_a_tenth_of_difference_is_not_ok() {
        let compared = |flood| Compared::new("a".into(), side(1_000, 100), flood).ok;
        assert!(compared(side(900, 110)) && compared(side(2_000, 1)));
        assert!(!compared(side(899, 100)) && !compared(side(1_000, 111)));
    }
}
