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
const IF_POSSIBLE: [&str; 3] = ["packet_loss", "adapter_disk_full", "clock_jumps"];
/// Faults over a database that need nothing of the machine. What does not depend on the store is not made there quickly.
const OF_A_DATABASE: [&str; 8] = [
    "kill_at_each_stage",
    "kill_at_random",
    "stop_and_continue",
    "database_restarted",
    "database_line_cut",
    "database_line_delayed",
    "database_line_throttled",
    "database_line_half_closed",
];
/// What `--quick` may take, seconds.
const QUICK: f64 = 90.0;
/// What its row without a fault takes at most on a machine that has nothing else to do, seconds. On one that has, all
/// rows take longer, and may.
const NO_FAULT: f64 = 2.5;

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_loses_doubles_misdelivers_or_leaks_a_token() {
    let found = found("sled").await;
    assert!(found["kills"].as_u64() >= Some(20), "{found}");
    happened(&found, &ALWAYS);
    happened_if_possible(&found, &IF_POSSIBLE);
    happened_if_possible(&found, &["gateway_disk_full"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_of_a_database_loses_doubles_misdelivers_or_leaks_a_token() {
    let found = found("postgres").await;
    assert!(found["kills"].as_u64() >= Some(20), "{found}");
    happened(&found, &OF_A_DATABASE);
    happened_if_possible(&found, &["database_disk_full"]);
}

/// What the command found, quickly and over a store. Nothing may be wrong with it.
async fn found(store: &str) -> Value {
    let _turn = turn::alone().await;
    let federation = Binaries::find().unwrap().federation;
    let mut command = tokio::process::Command::new(federation);
    command.args(["faults", "--quick", "--json", "--store", store]);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}{}", String::from_utf8_lossy(&output.stdout));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["ok"], true, "{found}");
    for account in rows(&found).iter().chain([&found]) {
        for wrong in ["lost", "duplicated_in_effect", "misdelivered", "altered", "unanswered", "leaked"] {
            assert_eq!(account[wrong], 0, "{wrong}: {account}");
        }
        assert!(account["accepted"].as_u64() > Some(0), "{account}");
        assert_eq!(account["accepted"], account["delivered"], "{account}");
    }
    assert_eq!(found["panics"], 0, "{told}");
    let seconds = |account: &Value| account["seconds"].as_f64().unwrap();
    let (took, no_fault) = (seconds(&found), seconds(&rows(&found)[0]));
    assert_eq!(rows(&found)[0]["name"], "no_fault");
    eprintln!("--quick over {store}: {took} s, and {no_fault} s without a fault");
    let limit = QUICK * (no_fault / NO_FAULT).max(1.0);
    assert!(took <= limit, "--quick takes {took} s; without a fault {no_fault} s\n{told}");
    found
}

fn rows(found: &Value) -> &[Value] {
    found["faults"].as_array().unwrap()
}

fn happened(found: &Value, names: &[&str]) {
    for name in names {
        let kind = &found["kinds"][name];
        assert!(kind["happened"].as_u64() > Some(0), "{name}: {found}");
        assert_eq!(kind["happened"], kind["planned"], "{name}: {found}");
    }
}

fn happened_if_possible(found: &Value, names: &[&str]) {
    for name in names {
        let row = rows(found).iter().find(|row| row["name"] == *name).unwrap_or_else(|| panic!("{name}"));
        if row["possible"] == true {
            happened(found, &[name]);
        } else {
            let did = row["did"].as_str().unwrap();
            assert!(did.starts_with("not possible here: ") && row["happened"] == 0, "{row}");
        }
    }
}
