//! Hours of random operations: what is told of them, and how they end.

use std::process::Stdio;

use harness::binaries::Binaries;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

fn soak(minutes: &str) -> tokio::process::Command {
    let federation = Binaries::find().unwrap().federation;
    let mut command = tokio::process::Command::new(federation);
    command.args(["soak", "--minutes", minutes, "--seed", "1000", "--json"]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soak_tells_what_it_did_and_ends_in_time() {
    let output = soak("0.05").output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["ok"], true, "{found}");
    for fault in ["lost", "duplicated_in_effect", "misdelivered", "leaked"] {
        assert_eq!(found[fault], 0, "{fault}: {found}");
    }
    assert!(found["seeds"].as_u64().unwrap() >= 1 && found["accepted"].as_u64().unwrap() > 0, "{found}");
    assert_eq!(found["failures"].as_array().map(Vec::len), Some(0), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soak_that_is_interrupted_finishes_its_run_and_tells_it() {
    let soaking = soak("600").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut soaking = soaking.unwrap();
    let mut told = BufReader::new(soaking.stderr.take().unwrap()).lines();
    assert_eq!(told.next_line().await.unwrap().as_deref(), Some("seed 1000"));
    let process = Pid::from_raw(i32::try_from(soaking.id().unwrap()).unwrap()).unwrap();
    kill_process(process, Signal::INT).unwrap();
    assert_eq!(told.next_line().await.unwrap().as_deref(), Some("the run that has begun is finished"));
    let output = soaking.wait_with_output().await.unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success() && found["seeds"].as_u64().unwrap() <= 1, "{found}");
}
