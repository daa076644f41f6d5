//! The command that everybody runs first says the truth, in a form that machines read.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use harness::binaries::Binaries;
use harness::members::CountryPlan;
use harness::{Federation, turn};
use serde_json::Value;

/// Accepted -> readable by the destination's adapter: section 8 of the protocol.
const P95_MS: f64 = 2_000.0;
const PEAK_RSS: u64 = 150_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_accounts_for_every_token() {
    let _turn = turn::mine().await;
    let federation = Binaries::find().unwrap().federation;
    let mut command = tokio::process::Command::new(federation);
    command.args(["demo", "--json"]).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["ok"], true, "{found}");
    for fault in ["lost", "duplicated", "misdelivered", "altered", "leaked", "wrong_verdicts"] {
        assert_eq!(found[fault], 0, "{fault}: {found}");
    }
    let number = |field: &str| found[field].as_u64().unwrap();
    assert!(number("accepted") > 2_000 && number("delivered") == number("accepted"), "{found}");
    assert!(number("delivery_samples") >= 30, "{found}");
    assert!(found["delivery_p95_ms"].as_f64().unwrap() < P95_MS, "{found}");
    assert!(number("gateway_peak_rss_bytes") < PEAK_RSS, "{found}");
    assert!(found["seconds"].as_f64().unwrap() < 60.0, "{found}");
    assert_eq!(found["countries"].as_array().map(Vec::len), Some(3), "{found}");
}

#[test]
fn wrong_usage_ends_with_2() {
    let federation = Binaries::find().unwrap().federation;
    let output = std::process::Command::new(federation).args(["demo", "--nothing"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn what_breaks_off_says_so_in_json_too() {
    let federation = Binaries::find().unwrap().federation;
    let full = tempfile::tempdir().unwrap();
    std::fs::write(full.path().join("something"), "").unwrap();
    for (command, verdict) in [("demo", "ok"), ("story", "holds")] {
        let mut started = std::process::Command::new(&federation);
        let output = started.args([command, "--json", "--keep"]).arg(full.path()).output().unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&told[verdict], output.status.code()), (&false.into(), Some(1)), "{told}");
        assert!(told["error"].as_str().is_some_and(|error| error.contains("empty")), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_federation_that_is_dropped_leaves_nothing_behind() {
    let plan = CountryPlan::new(826, "United Kingdom", &[("826/0", "United Kingdom")]);
    let federation = Federation::builder().country(plan).start().await.unwrap();
    let folder: PathBuf = federation.folder().into();
    let nodes: Vec<_> = federation.nodes().collect();
    let processes: Vec<_> =
        nodes.iter().map(|node| format!("/proc/{}", federation.pid(*node).unwrap())).collect();
    assert_eq!(processes.len(), 2);
    assert!(folder.is_dir() && processes.iter().all(|process| Path::new(process).is_dir()));
    drop(federation);
    assert!(!folder.exists() && !processes.iter().any(|process| Path::new(process).exists()));
}
