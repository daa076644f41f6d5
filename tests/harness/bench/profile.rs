//! Where the processes spend their time, by `perf`, if it is there and may.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use super::rig::PARTS;
use super::stage::Stage;

/// Samples a second and core; no divisor of the timer's own.
const SAMPLES: &str = "499";

/// The share of each stage in each of the [`PARTS`]; the shares of a part add up to 1, or are none.
pub(super) type Shares = BTreeMap<&'static str, BTreeMap<Stage, f64>>;

/// Samples processes for a time.
pub(super) async fn shares(pids: &[Vec<u32>; PARTS.len()], time: Duration, folder: &Path) -> Result<Shares> {
    let data = folder.join("perf.data");
    let all: Vec<String> = pids.iter().flatten().map(u32::to_string).collect();
    let seconds = time.as_secs_f64().to_string();
    let mut record = Command::new("perf");
    record.args(["record", "-F", SAMPLES, "-e", "cpu-clock", "-p", &all.join(","), "-o"]).arg(&data);
    run(record.args(["--", "sleep", &seconds])).await?;
    let mut script = Command::new("perf");
    let text = run(script.args(["script", "-F", "pid,ip,sym,dso", "-i"]).arg(&data)).await?;
    let shares = count(&text, pids);
    ensure!(!shares.is_empty(), "perf took no sample");
    Ok(shares)
}

async fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.context("perf is not there; Debian has it in linux-perf")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "perf is not allowed to look: {}", errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn count(text: &str, pids: &[Vec<u32>; PARTS.len()]) -> Shares {
    let parts: HashMap<u32, &'static str> = PARTS
        .into_iter()
        .zip(pids)
        .flat_map(|(part, pids)| pids.iter().map(move |pid| (*pid, part)))
        .collect();
    let mut counts = BTreeMap::<&'static str, BTreeMap<Stage, f64>>::new();
    for (pid, function, place) in text.lines().filter_map(sample) {
        if let Some(part) = parts.get(&pid) {
            *counts.entry(part).or_default().entry(Stage::of(function, place)).or_default() += 1.0;
        }
    }
    for stages in counts.values_mut() {
        let all: f64 = stages.values().sum();
        stages.values_mut().for_each(|count| *count /= all);
    }
    counts
}

/// `PID ADDRESS FUNCTION (PLACE)`, where a function may have spaces.
fn sample(line: &str) -> Option<(u32, &str, &str)> {
    let (pid, rest) = line.trim().split_once(char::is_whitespace)?;
    let (_, rest) = rest.trim_start().split_once(' ')?;
    let (function, place) = rest.rsplit_once(" (")?;
    Some((pid.parse().ok()?, function, place.trim_end_matches(')')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_counted_by_process_and_stage() {
        let text = "    7 ffffffff81d335f7 tcp_sendmsg ([kernel.kallsyms])\n    7     55d1 <a as sled::B>::c (/bin/gateway)\n\
                    9 1 x (/bin/y)\n  7 2 sled::d (/bin/gateway)\n  8 3 [unknown] (/bin/federation)\n";
        let shares = count(text, &[vec![8], vec![7], Vec::new(), Vec::new(), Vec::new()]);
        assert_eq!(shares["gateway_origin"][&Stage::Store], 2.0 / 3.0);
        assert_eq!(shares["adapter_push"], BTreeMap::from([(Stage::Other, 1.0)]));
        assert_eq!(shares.len(), 2);
    }
}
