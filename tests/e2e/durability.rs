//! An acknowledgement without a real sync is a defect: watched from below, at the system calls.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use proto::verdict::Verdict;
use rustix::process::{Pid, Signal, kill_process};

use crate::doors::{Door, Doors, free_port, verdicts};

/// Seconds since 1970, as strace prints them with `-ttt`.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

#[derive(Debug, PartialEq)]
enum Call {
    Write,
    Sync,
}

#[derive(Debug)]
struct Event {
    call: Call,
    path: String,
    began: f64,
    ended: f64,
}

/// Reads `strace -f -y -ttt -T`: which file was written or synced, from when to when.
fn events(trace: &str) -> Vec<Event> {
    let mut events = Vec::new();
    let mut unfinished: BTreeMap<&str, (Call, String, f64)> = BTreeMap::new();
    for line in trace.lines() {
        let mut words = line.split_whitespace();
        let (Some(thread), Some(began)) =
            (words.next(), words.next().and_then(|time| time.parse::<f64>().ok()))
        else {
            continue;
        };
        if line.contains(" resumed>") {
            if let Some((call, path, since)) = unfinished.remove(thread) {
                events.push(Event { call, path, began: since, ended: began });
            }
            continue;
        }
        let Some((call, path)) = call(line) else { continue };
        if line.contains("<unfinished ...>") {
            unfinished.insert(thread, (call, path, began));
            continue;
        }
        let took = line.rsplit_once('<').and_then(|(_, took)| took.trim_end_matches('>').parse::<f64>().ok());
        events.push(Event { call, path, began, ended: began + took.unwrap_or(0.0) });
    }
    events
}

fn call(line: &str) -> Option<(Call, String)> {
    let (name, rest) = line.split_whitespace().nth(2)?.split_once('(')?;
    let call = match name {
        "fsync" | "fdatasync" => Call::Sync,
        "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" => Call::Write,
        _ => return None,
    };
    let path = rest.split_once('<')?.1.split_once('>')?.0;
    Some((call, path.to_owned()))
}

/// Ends the traced gateway, whatever happens to the test.
struct Traced(Child);

impl Drop for Traced {
    fn drop(&mut self) {
        // strace ends with the process that it follows; killed itself, it would let that one go on.
        let strace = self.0.id();
        let children =
            std::fs::read_to_string(format!("/proc/{strace}/task/{strace}/children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
            let _ = kill_process(child, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

fn traced(config: &Path, trace: &Path) -> Traced {
    let gateway = harness::binaries::Binaries::find().unwrap().gateway;
    let calls = "trace=write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync";
    let started = Command::new("strace")
        .args(["-f", "-y", "-ttt", "-T", "-e", calls, "-o"])
        .args([trace, &gateway, Path::new("run"), config])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Traced(started.expect("strace runs; install it with `apt-get install strace`"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_that_a_commit_wrote_is_synced_before_the_answer() {
    let mut doors = Doors::open(&["826/0", "826/1", "250/0"]).await;
    // France's key is known; France itself would pull at once and write on its own account.
    doors.stop(250).await;
    doors.stop(826).await;
    let (national, admin) = (free_port(), free_port());
    let config = doors.config(826);
    let config = config.replacen("127.0.0.1:0", &format!("127.0.0.1:{national}"), 1);
    let config = config.replacen("127.0.0.1:0", &format!("127.0.0.1:{admin}"), 1);
    let (path, trace) = (doors.path(826).join("traced.toml"), doors.path(826).join("trace"));
    std::fs::write(&path, config).unwrap();
    let _traced = traced(&path, &trace);
    doors.adopt(826, Door::elsewhere(doors.port(826), national, admin)).await;

    let push = doors.sealed("826/1", &[("250/0", 1)]).await;
    let mut ingest = doors.ingest("826/1");
    ingest.ingress_keys(proto::wire::IngressKeysRequest {}).await.unwrap();
    let sent = now();
    let reply = ingest.push(push).await.unwrap().into_inner();
    let answered = now();
    assert_eq!(verdicts(&reply), [Verdict::Accepted]);

    let store = doors.path(826).join("store").display().to_string();
    let below = |trace: &str, since: f64, part: &str| -> Vec<Event> {
        let folder = format!("{store}/{part}");
        let of_it = |event: &Event| event.path.starts_with(&folder) && event.began >= since;
        events(trace).into_iter().filter(of_it).collect()
    };
    let during = below(&std::fs::read_to_string(&trace).unwrap(), sent, "segments");
    let during: Vec<_> = during.into_iter().filter(|event| event.began < answered).collect();
    assert!(during.iter().any(|event| event.call == Call::Write), "the body was written: {during:#?}");
    assert_eq!(unsynced(&during, answered), Vec::<&str>::new(), "{during:#?}");

    // The index only repeats what the segments say, and follows.
    let deadline = answered + 20.0;
    loop {
        let index = below(&std::fs::read_to_string(&trace).unwrap(), sent, "index");
        let is_written =
            index.iter().any(|event| event.call == Call::Write && event.path.ends_with("index/db"));
        if is_written && unsynced(&index, deadline).is_empty() {
            break;
        }
        assert!(now() < deadline, "the index is not on disk: {index:#?}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// Which files were written, and not synced after that and before a time.
fn unsynced(events: &[Event], until: f64) -> Vec<&str> {
    let mut written: BTreeMap<&str, f64> = BTreeMap::new();
    for event in events.iter().filter(|event| event.call == Call::Write) {
        written.insert(&event.path, event.ended);
    }
    let is_synced = |path: &str, last: f64| {
        events.iter().any(|event| {
            event.call == Call::Sync && event.path == path && event.began >= last && event.ended <= until
        })
    };
    written.into_iter().filter(|(path, last)| !is_synced(path, *last)).map(|(path, _)| path).collect()
}
