//! The bench measures what it says, for a moment: its figures are there for machines, and every token is accounted for.

use std::time::Duration;

use harness::bench::{self, Case, Options, Pace, Store, plots};
use serde_json::Value;

/// What the first level of the JSON has at least.
const FIGURES: [&str; 8] = [
    "end_to_end_tokens_per_second",
    "floor_tokens_per_second",
    "push_tokens_per_second",
    "pull_tokens_per_second",
    "latency_p99_ms",
    "gateway_peak_rss_bytes",
    "wire_bytes_per_report_byte",
    "disk_bytes_per_report_byte",
];

/// Too short for figures that mean anything.
fn moment() -> Pace {
    Pace {
        warm_up: Duration::from_millis(300),
        window: Duration::from_secs(1),
        profile: Duration::from_millis(200),
        alone: Duration::from_millis(500),
        latency: Duration::from_millis(500),
        loads: vec![50],
    }
}

async fn measured(case: Case, with_files: usize) -> (bench::Summary, Value) {
    let summary = bench::run(&Options { cases: vec![case], pace: moment(), with_files }).await.unwrap();
    let json: Value = serde_json::to_value(&summary).unwrap();
    assert_eq!(json["ok"], true, "{json}");
    assert_eq!(json["failed"], Value::Array(Vec::new()), "{json}");
    (summary, json)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_bench_has_every_figure_and_accounts_for_every_token() {
    let (summary, found) = measured(Case { push: 100, ..Case::HEADLINE }, 5_000).await;
    // A disk is only written to when the kernel wants to, and not at all in memory.
    for figure in FIGURES.iter().filter(|figure| !figure.starts_with("disk")) {
        assert!(found[figure].as_f64().is_some_and(|number| number > 0.0), "{figure}: {found}");
    }
    assert!(found["disk_bytes_per_report_byte"].is_number(), "{found}");
    let case = &found["cases"][0];
    assert_eq!(case["accepted"], case["opened"], "{case}");
    assert_eq!((&case["repeated"], &case["strange"]), (&0.into(), &0.into()), "{case}");
    assert!(
        case["wire_bytes_per_report_byte"].as_f64() > Some(1.0),
        "sealed reports are not shorter: {case}"
    );
    assert!(case["latency"][0]["pushes"].as_u64() >= Some(1), "{case}");
    for part in ["adapter_push", "gateway_origin", "gateway_destination", "adapter_open"] {
        assert!(case["cpu_seconds_per_million_tokens"][part].is_number(), "{case}");
    }
    assert!(case["stages"].is_object() != case["no_stages"].is_string(), "{case}");
    assert_eq!(found["with_files"]["delivered"], 5_000, "{found}");
    let folder = tempfile::tempdir().unwrap();
    plots::write(&summary, folder.path()).unwrap();
    for picture in ["rate-by-push.svg", "latency-by-load.svg", "cpu-by-process.svg"] {
        assert!(
            std::fs::read_to_string(folder.path().join(picture)).unwrap().contains("</svg>"),
            "{picture}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_peers_over_postgresql_are_measured_as_well() {
    let case = Case { peers: 3, store: Store::Postgres, ..Case::HEADLINE };
    let (_, found) = measured(case, 0).await;
    let case = &found["cases"][0];
    assert_eq!((&case["accepted"], &case["peers"]), (&case["opened"], &3.into()), "{case}");
    assert!(case["cpu_seconds_per_million_tokens"]["database"].as_f64() > Some(0.0), "{case}");
}
