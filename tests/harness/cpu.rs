//! What is asked of this machine's CPUs, so that programs are measured and not the host.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Linux: whoever holds it open says how many microseconds a CPU may take to wake up.
const LATENCY: &str = "/dev/cpu_dma_latency";

/// Lets the calling thread, and those that it starts, run only while a CPU has nothing else to do.
pub(crate) fn give_way() -> Result<()> {
    let thread = rustix::thread::gettid().to_string();
    let set = Command::new("chrt").args(["--idle", "--pid", "0", &thread]).output();
    let set = set.context("chrt runs (it is in util-linux)")?;
    ensure!(set.status.success(), "chrt: {}", String::from_utf8_lossy(&set.stderr).trim());
    Ok(())
}

/// Keeps the CPUs awake while it is held. How long one takes to wake up changes from second to second on a virtual
/// machine, and is a good part of what a call takes on one that does little.
pub(crate) fn awake() -> io::Result<File> {
    let mut latency = OpenOptions::new().write(true).open(LATENCY).map_err(|cause| named(&cause))?;
    latency.write_all(&0_i32.to_ne_bytes()).map_err(|cause| named(&cause))?;
    Ok(latency)
}

fn named(cause: &io::Error) -> io::Error {
    io::Error::new(cause.kind(), format!("{LATENCY}: {cause}"))
}
