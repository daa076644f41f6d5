//! What a process has used of the machine, from `/proc`.

use std::fs;
use std::iter::Sum;
use std::ops::{Add, Sub};

use anyhow::{Context, Result};

/// Of one process, or of several.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Usage {
    /// Seconds that cores were busy with it, in user space and in the kernel.
    pub(super) cpu: f64,
    /// Octets that it made the kernel write to disks.
    pub(super) written: u64,
}

impl Usage {
    /// Since it started, with children that have ended.
    pub(super) fn of(pid: u32) -> Result<Self> {
        Ok(Self { cpu: cpu(&read(pid, "stat")?)?, written: written(&read(pid, "io")?)? })
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        // A process that has ended takes its share with it.
        Self { cpu: (self.cpu - before.cpu).max(0.0), written: self.written.saturating_sub(before.written) }
    }
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { cpu: self.cpu + other.cpu, written: self.written + other.written }
    }
}

impl Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Self::add)
    }
}

/// Of a process and its children. Those that end meanwhile are counted by their parent.
pub(super) fn of_family(pid: u32) -> Result<Usage> {
    Ok(family(pid)?.into_iter().filter_map(|pid| Usage::of(pid).ok()).sum())
}

/// A process and its children.
pub(super) fn family(pid: u32) -> Result<Vec<u32>> {
    let text = read(pid, &format!("task/{pid}/children"))?;
    let children = text.split_whitespace().map(|child| child.parse().context("a child is a number"));
    let mut family = children.collect::<Result<Vec<u32>>>()?;
    family.push(pid);
    Ok(family)
}

fn read(pid: u32, name: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{name}");
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}

/// `proc_pid_stat(5)`: utime, stime, cutime and cstime are fields 14 to 17; the name before them may have spaces.
fn cpu(stat: &str) -> Result<f64> {
    let behind = stat.rsplit_once(')').context("a process has a name")?.1;
    let ticks = behind.split_whitespace().skip(11).take(4).map(str::parse::<u64>);
    let ticks = ticks.sum::<Result<u64, _>>()?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn written(io: &str) -> Result<u64> {
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.context("the kernel counts what is written")?.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_is_no_field() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 7 3 20 0 1 0 100 0 0";
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!(cpu(stat).unwrap(), 310.0 / ticks);
        assert_eq!(written("rchar: 1\nwrite_bytes: 4096\ncancelled_write_bytes: 0\n").unwrap(), 4_096);
    }

    #[test]
    fn our_own_use_grows_and_we_are_of_our_family() {
        let own = std::process::id();
        let before = Usage::of(own).unwrap();
        let used = Usage::of(own).unwrap() - before;
        assert!(used.cpu >= 0.0 && family(own).unwrap().contains(&own));
    }
}
