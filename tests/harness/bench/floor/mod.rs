//! The limit of this machine: the octets of a push through what no exchange of this kind can do without, and nothing
//! else: ciphers, record layers, hashes, signatures, messages, and syncs to the disk.
//!
//! Each part runs on all cores at once, and its cost is the time that cores were busy. The floor is what all cores
//! could carry if nothing else had to be done, or what the disk can take, if that is less.

mod ciphers;
mod disk;
mod messages;
mod records;

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use proto::body;
use serde::Serialize;

use super::case::Case;
use super::clock;

/// How long each part runs, and how long the disk is written to: it takes its time by fits and starts.
const TIME: Duration = Duration::from_millis(400);
const DISK_TIME: Duration = Duration::from_millis(1_500);
/// Gateways that write on this machine's disk.
const WRITERS: usize = 2;

/// What the machine could do at most.
#[derive(Debug, Clone, Serialize)]
pub struct Floor {
    /// The lesser of the two below.
    pub tokens_per_second: f64,
    /// All cores, busy with the parts alone.
    pub cores_tokens_per_second: f64,
    /// Two writers on the disk that syncs, whatever else waits.
    pub disk_tokens_per_second: f64,
    /// Cores.
    pub cores: usize,
    /// Core microseconds of a token in each part.
    pub parts: Vec<Cost>,
}

/// What a part costs.
#[derive(Debug, Clone, Serialize)]
pub struct Cost {
    /// Its name.
    pub part: &'static str,
    /// What is done.
    pub what: &'static str,
    /// Core microseconds of a token.
    pub us_per_token: f64,
}

/// What a push is made of.
#[derive(Debug, Clone, Copy)]
struct Load {
    /// Octets of its reports, each behind its length.
    body: usize,
    /// Reports.
    push: usize,
    /// Batches that it becomes.
    batches: usize,
    /// Pushes that can share a sync.
    in_flight: usize,
}

/// A part of the work, ready to be done again and again.
trait Part {
    /// Does it for one push.
    fn once(&mut self) -> Result<()>;
    /// How many pushes that was.
    fn pushes(&self) -> usize {
        1
    }
}

/// Makes a part for one thread.
type Make = fn(Load) -> Result<Box<dyn Part>>;

/// Those of the floor, with their names.
const PARTS: [(&str, &str, Make); 6] = [
    ("aead", "AES-256-GCM of aws-lc: sealed and opened twice", ciphers::aead),
    ("tls", "TLS 1.3 records over three lines, in memory", records::tls),
    ("hash", "SHA-256 of the batch by three parties", ciphers::hash),
    ("sign", "each batch signed once and checked twice", ciphers::sign),
    ("protobuf", "a message on each of three lines, encoded and decoded", messages::protobuf),
    ("sync", "written and synced by two gateways; all pushes under way share a sync", disk::sync),
];

impl Floor {
    /// Measures it. Blocks, and keeps all cores busy.
    pub(super) fn measure(case: &Case) -> Result<Self> {
        let load = Load {
            body: case.push * body::framed_len(case.report_bytes),
            push: case.push,
            batches: case.peers.min(case.push),
            in_flight: case.in_flight(),
        };
        let cores = thread::available_parallelism().context("the number of cores is not known")?.get();
        let a_token = |spent: Spent| spent.core.as_secs_f64() * 1e6 / load.push as f64;
        let mut parts = Vec::new();
        for (part, what, make) in PARTS {
            parts.push(Cost { part, what, us_per_token: a_token(spend((load, make), cores, TIME)?) });
        }
        // Each writer does the work of both gateways, and there are two.
        let spent = spend((load, disk::sync), WRITERS, DISK_TIME)?;
        let written = spent.wall.as_secs_f64() / WRITERS as f64;
        Ok(Self::of(cores, parts, load.push as f64 / written))
    }

    /// What it was in the middle between two moments.
    pub(super) fn mean(one: &Self, other: &Self) -> Self {
        let mean = |(one, other): (&Cost, &Cost)| Cost {
            us_per_token: f64::midpoint(one.us_per_token, other.us_per_token),
            ..one.clone()
        };
        let parts = one.parts.iter().zip(&other.parts).map(mean).collect();
        // As with the parts, it is times that are in the middle.
        let disk = 1.0 / f64::midpoint(1.0 / one.disk_tokens_per_second, 1.0 / other.disk_tokens_per_second);
        Self::of(one.cores, parts, disk)
    }

    fn of(cores: usize, parts: Vec<Cost>, disk_tokens_per_second: f64) -> Self {
        let cost: f64 = parts.iter().map(|cost| cost.us_per_token).sum();
        let cores_tokens_per_second = cores as f64 * 1e6 / cost;
        Self {
            tokens_per_second: cores_tokens_per_second.min(disk_tokens_per_second),
            cores_tokens_per_second,
            disk_tokens_per_second,
            cores,
            parts,
        }
    }
}

/// What one push takes on one of several threads.
#[derive(Debug, Clone, Copy)]
struct Spent {
    /// Of a core.
    core: Duration,
    /// By the clock on the wall.
    wall: Duration,
}

/// Does a part on so many threads at once, for a time.
fn spend(part: (Load, Make), threads: usize, time: Duration) -> Result<Spent> {
    let start = Barrier::new(threads);
    let spent = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| spend_here(part, time, &start))).collect();
        let spent =
            threads.into_iter().map(|thread| thread.join().expect("a part of the floor does not panic"));
        spent.collect::<Result<Vec<_>>>()
    })?;
    let mean =
        |of: fn(&Spent) -> Duration| spent.iter().map(of).sum::<Duration>().div_f64(spent.len() as f64);
    Ok(Spent { core: mean(|spent| spent.core), wall: mean(|spent| spent.wall) })
}

fn spend_here((load, make): (Load, Make), time: Duration, start: &Barrier) -> Result<Spent> {
    // Everybody comes to the barrier, also who has nothing to do.
    let ready = make(load).and_then(|mut part| part.once().map(|()| part));
    start.wait();
    let (mut part, mut pushes) = (ready?, 0);
    let (began, worked) = (Instant::now(), clock::worked());
    while began.elapsed() < time {
        part.once()?;
        pushes += part.pushes();
    }
    let (wall, core) = (began.elapsed(), clock::worked().saturating_sub(worked));
    Ok(Spent { core: core.div_f64(pushes as f64), wall: wall.div_f64(pushes as f64) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_costs_something_and_the_floor_is_their_sum() {
        let floor = Floor::measure(&Case { push: 100, ..Case::HEADLINE }).unwrap();
        assert!(floor.parts.iter().all(|cost| cost.us_per_token > 0.0), "{floor:?}");
        let sum: f64 = floor.parts.iter().map(|cost| cost.us_per_token).sum();
        let cores = floor.cores as f64 * 1e6 / sum;
        assert!((cores / floor.cores_tokens_per_second - 1.0).abs() < 1e-9);
        assert_eq!(floor.tokens_per_second, cores.min(floor.disk_tokens_per_second));
    }

    #[test]
    fn a_machine_that_was_half_as_fast_at_one_of_two_moments_is_two_thirds_as_fast_on_the_whole() {
        let floor =
            |us_per_token, disk| Floor::of(2, vec![Cost { part: "one", what: "work", us_per_token }], disk);
        let mean = Floor::mean(&floor(1.0, 6e6), &floor(2.0, 3e6));
        assert!((mean.cores_tokens_per_second - 4e6 / 3.0).abs() < 1.0, "{mean:?}");
        assert!((mean.disk_tokens_per_second - 4e6).abs() < 1.0, "{mean:?}");
    }
}
