//! Real processes under every fault that this machine can make: the command's own account, as machines read it.

use std::process::Stdio;

use harness::binaries::Binaries;
use harness::turn;
use serde_json::Value;

/// Faults that need nothing of the machine.
const ALWAYS: [&str; 9] = [
    "kill_at_each_stage",
    "kill_at_random",
    "stop_and_continue",
    "line_cut",
    "line_delayed",
    "line_throttled",
    "line_half_closed",
    "line_silent",
    "line_garbage",
];
/// Faults that need rights or libraries; where they are missing the row says so.
const IF_POSSIBLE: [&str; 4] = ["packet_loss", "gateway_disk_full", "adapter_disk_full", "clock_jumps"];

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_loses_doubles_misdelivers_or_leaks_a_token() {
    let _turn = turn::mine().await;
    let federation = Binaries::find().unwrap().federation;
    let mut command = tokio::process::Command::new(federation);
    command.args(["faults", "--quick", "--json"]).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}{}", String::from_utf8_lossy(&output.stdout));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["ok"], true, "{found}");
    let rows = found["faults"].as_array().unwrap();
    for account in rows.iter().chain([&found]) {
        for wrong in ["lost", "duplicated_in_effect", "misdelivered", "altered", "unanswered", "leaked"] {
            assert_eq!(account[wrong], 0, "{wrong}: {account}");
        }
        assert!(account["accepted"].as_u64() > Some(0), "{account}");
        assert_eq!(account["accepted"], account["delivered"], "{account}");
    }
    assert!(found["kills"].as_u64() >= Some(40), "{found}");
    assert_eq!(found["panics"], 0, "{told}");
    let named = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}"));
    assert!(ALWAYS.iter().all(|name| named(name)["happened"].as_u64() > Some(0)), "{found}");
    for name in IF_POSSIBLE {
        let row = named(name);
        let is_told = row["did"].as_str().is_some_and(|did| did.starts_with("not possible here: "));
        assert!(row["happened"].as_u64() > Some(0) || is_told, "{row}");
    }
}
