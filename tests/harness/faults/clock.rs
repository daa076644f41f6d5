//! Clocks that jump in real processes, by an hour both ways and by days: libfaketime stands between them and the system's
//! clock.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use super::scene::{Scene, Struck};
use crate::members::{Node, authority, country};
use crate::process::Signal;

/// Where distributions put the library for programs with threads.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
const FOLDERS: [&str; 3] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"];
/// Where the clock is, one step after the other, seconds from the truth.
const STEPS: [&str; 4] = ["+3600", RIGHT, "-3600", RIGHT];
const RIGHT: &str = "+0";
/// What a gateway sealed with such a clock would come to nobody for as long.
const TEN_DAYS: &str = "+864000";
/// Whose clocks jump.
const NODES: usize = 2;
/// How often the log of one of them must show that its clock is wrong: ahead, behind, and days ahead.
pub(super) const SEEN: usize = 2 * NODES + 1;
/// A step has shown if the log has a time so many minutes from the truth.
const SHOWN: u64 = 50;
const DAY: u64 = 24 * 60;
/// How long a process may take to stop.
const STOPPED: Duration = Duration::from_secs(30);

/// Steps the clocks of a gateway and of another country's adapter.
pub(super) async fn strike(scene: &mut Scene) -> Result<Struck> {
    let library = FOLDERS.iter().map(|folder| Path::new(folder).join(LIBRARY)).find(|path| path.is_file());
    let Some(library) = library else {
        return Ok(Struck::NotHere("libfaketime is not installed".into()));
    };
    let nodes = [Node::gateway(250), Node::adapter("826/1")];
    let stepped = steps(scene, &library, nodes).await;
    let mut restarted = Ok(());
    for node in nodes {
        restarted = restarted.and(restart(scene, node).await);
    }
    let times = stepped?;
    restarted?;
    let did = format!(
        "{} and {} an hour ahead, right, an hour behind, right; {} ten days ahead, right; seen in logs {times} times",
        nodes[0], nodes[1], nodes[0]
    );
    Ok(Struck::yes(times, did))
}

/// Without the library. It is not killed: the library takes its shared memory away at the end.
async fn restart(scene: &Scene, node: Node) -> Result<()> {
    scene.federation.kill(node, Signal::TERM)?;
    scene.federation.ended(node, STOPPED).await?;
    scene.federation.launch(node)
}

async fn steps(scene: &mut Scene, library: &Path, nodes: [Node; NODES]) -> Result<usize> {
    let files = ["gateway", "adapter"].map(|node| scene.federation.folder().join(format!("clock-of-{node}")));
    for (node, file) in nodes.into_iter().zip(&files) {
        fs::write(file, RIGHT)?;
        scene.federation.kill_now(node).await?;
        scene.federation.launch_with(node, &environment(library, file))?;
    }
    scene.federation.wait_gateway(nodes[0], Duration::from_secs(30)).await?;
    let logs = [
        scene.federation.country(country(250))?.gateway.log.clone(),
        scene.federation.adapter(authority("826/1"))?.log.clone(),
    ];
    let door = scene.federation.country(country(250))?.gateway.national;
    let mut seen = 0;
    for step in STEPS {
        let from = logs.each_ref().map(|log| length(log));
        files.iter().try_for_each(|file| fs::write(file, step))?;
        if step == RIGHT {
            scene.hold(scene.pace.trouble).await?;
            continue;
        }
        // The library looks at the file once a second, and a log tells only what happens: to a replica that nobody
        // calls, that somebody knocks who cannot shake hands.
        let shows = || {
            knock(door);
            logs.iter().zip(from).filter(|(log, from)| shows_another_time(log, *from)).count()
        };
        scene.hold_until(scene.pace.trouble, |_| shows() == logs.len()).await?;
        seen += shows();
    }
    Ok(seen + usize::from(is_doubted(scene, &files[0], &logs[0]).await?))
}

/// Steps the gateway's clock by days. Whether it has doubted it, as its log says: which adapters call it when there are
/// several replicas is by chance.
async fn is_doubted(scene: &mut Scene, file: &Path, log: &Path) -> Result<bool> {
    let from = length(log);
    fs::write(file, TEN_DAYS)?;
    let doubted = || behind(log, from).contains("minutes at once: pushes wait");
    scene.hold_until(scene.pace.trouble, |_| doubted()).await?;
    let doubted = doubted();
    fs::write(file, RIGHT)?;
    scene.hold(scene.pace.trouble).await?;
    Ok(doubted)
}

/// What is no TLS: it is refused, and the log says so.
fn knock(door: SocketAddr) {
    // A door that is shut logs nothing, and that is what is looked at.
    let _ = TcpStream::connect(door).and_then(|mut stream| stream.write_all(b"knock\r\n"));
}

fn environment<'a>(library: &'a Path, file: &'a Path) -> [(&'static str, &'a OsStr); 5] {
    [
        ("LD_PRELOAD", library.as_os_str()),
        ("FAKETIME_TIMESTAMP_FILE", file.as_os_str()),
        ("FAKETIME_CACHE_DURATION", OsStr::from_bytes(b"1")),
        // Clocks that jump are those of the calendar: time-outs are measured with another one.
        ("FAKETIME_DONT_FAKE_MONOTONIC", OsStr::from_bytes(b"1")),
        ("NO_FAKE_STAT", OsStr::from_bytes(b"1")),
    ]
}

fn length(log: &Path) -> usize {
    fs::metadata(log).map_or(0, |found| usize::try_from(found.len()).unwrap_or(0))
}

/// What a log has behind an offset.
fn behind(log: &Path, from: usize) -> String {
    let text = fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(text.get(from..).unwrap_or_default()).into_owned()
}

/// Whether a log has a line behind an offset whose time is far from now.
fn shows_another_time(log: &Path, from: usize) -> bool {
    let text = behind(log, from);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    text.lines().filter_map(minute).any(|minute| is_far(minute, since / 60 % DAY))
}

/// The minute of the day with which a log line begins, as `2026-03-01T10:15:00.0Z`.
fn minute(line: &str) -> Option<u64> {
    let (hour, rest) = line.split_once('T')?.1.split_once(':')?;
    let minute = rest.split_once(':')?.0;
    Some(hour.parse::<u64>().ok()? * 60 + minute.parse::<u64>().ok()?)
}

fn is_far(one: u64, other: u64) -> bool {
    let apart = one.abs_diff(other);
    apart.min(DAY - apart.min(DAY)) >= SHOWN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_that_is_an_hour_off_is_told_from_others() {
        let at = |line| minute(line).unwrap();
        let now = at("2026-03-01T23:50:07.123456Z  INFO gateway: ready");
        assert_eq!(now, 23 * 60 + 50);
        assert!(is_far(at("2026-03-02T00:50:09Z x"), now) && is_far(at("2026-03-01T22:50:09Z x"), now));
        assert!(!is_far(at("2026-03-02T00:10:09Z x"), now) && !is_far(now, now));
        assert_eq!(minute("  caused by: something at Ten: past: two"), None);
    }
}
