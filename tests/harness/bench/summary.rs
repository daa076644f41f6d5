//! What was found, as machines read it.

use serde::Serialize;

use super::case::Case;
use super::files::WithFiles;
use super::machine::Machine;
use super::measure::Measured;
use super::rig::SETTINGS;

/// The whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Every case could be measured, and lost and doubled nothing.
    pub ok: bool,
    /// The first case; nothing if it could not be measured.
    #[serde(flatten)]
    pub headline: Option<Headline>,
    /// What it ran on.
    pub machine: Machine,
    /// Tables of the gateways' configuration that are not their defaults.
    pub settings: Vec<&'static str>,
    /// All cases that were measured.
    pub cases: Vec<Measured>,
    /// Those that could not be.
    pub failed: Vec<Failed>,
    /// Through the real adapters.
    pub with_files: Option<WithFiles>,
}

/// The figures at the top, each as in the case.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "each field is one of `Measured` under the same name")]
pub struct Headline {
    pub end_to_end_tokens_per_second: f64,
    pub floor_tokens_per_second: f64,
    /// The first divided by the second.
    pub part_of_the_floor: f64,
    pub push_tokens_per_second: f64,
    pub pull_tokens_per_second: f64,
    pub latency_p99_ms: f64,
    pub gateway_peak_rss_bytes: u64,
    pub wire_bytes_per_report_byte: f64,
    pub disk_bytes_per_report_byte: f64,
}

/// A case that could not be measured.
#[derive(Debug, Clone, Serialize)]
pub struct Failed {
    /// Which.
    #[serde(flatten)]
    pub case: Case,
    /// Why.
    pub error: String,
}

impl Summary {
    pub(super) fn new(
        machine: Machine,
        (cases, failed): (Vec<Measured>, Vec<Failed>),
        with_files: Option<WithFiles>,
    ) -> Self {
        let files_ok = with_files.as_ref().is_none_or(|files| files.ok);
        Self {
            ok: failed.is_empty() && files_ok && cases.iter().all(|case| case.ok),
            headline: cases.first().map(Headline::of),
            machine,
            settings: SETTINGS
                .lines()
                .filter(|line| !line.is_empty())
                .chain(["[log]", "level = \"warn\""])
                .collect(),
            cases,
            failed,
            with_files,
        }
    }
}

impl Headline {
    fn of(case: &Measured) -> Self {
        Self {
            end_to_end_tokens_per_second: case.end_to_end_tokens_per_second,
            floor_tokens_per_second: case.floor_tokens_per_second,
            part_of_the_floor: case.end_to_end_tokens_per_second / case.floor_tokens_per_second,
            push_tokens_per_second: case.push_tokens_per_second,
            pull_tokens_per_second: case.pull_tokens_per_second,
            latency_p99_ms: case.latency_p99_ms,
            gateway_peak_rss_bytes: case.gateway_peak_rss_bytes,
            wire_bytes_per_report_byte: case.wire_bytes_per_report_byte,
            disk_bytes_per_report_byte: case.disk_bytes_per_report_byte,
        }
    }
}
