//! One case from its start to its account: sustained, each direction alone, and how long tokens take.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde::Serialize;

use super::case::{Case, Store};
use super::clock;
use super::floor::Floor;
use super::latency::Latency;
use super::message::{Order, Progress, Told};
use super::profile::{self, Shares};
use super::rig::{Line, PARTS, Rig};
use super::stage::Stage;
use super::usage::Usage;

/// Tokens that may be accepted and not opened while the sustained rate is measured.
const AHEAD: u64 = 40_000;
/// Fewer pushes than this tell nothing about the slowest of a hundred.
const TIMED: f64 = 100.0;
/// How many times as long it may take to have as many.
const LONGER: f64 = 4.0;
/// How much longer than its plan a paced phase may take.
const LATE: Duration = Duration::from_secs(120);

/// How long things are measured.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Before anything is counted.
    pub warm_up: Duration,
    /// The sustained rate.
    pub window: Duration,
    /// Samples of what cores do.
    pub profile: Duration,
    /// Pushing alone; the pull alone takes what it takes.
    pub alone: Duration,
    /// Each load whose latency is measured.
    pub latency: Duration,
    /// Those loads, percent of the sustained rate.
    pub loads: Vec<u32>,
}

/// What was measured of a case.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// What it was.
    #[serde(flatten)]
    pub case: Case,
    /// Every accepted token was opened once, and nothing else.
    pub ok: bool,
    /// Tokens a second, accepted at the origin's gateway to opened and verified at the destination's adapter, at once.
    pub end_to_end_tokens_per_second: f64,
    /// Tokens a second that the origin accepts while nobody pulls.
    pub push_tokens_per_second: f64,
    /// Tokens a second from a backlog at the origin until they are opened, while nobody pushes.
    pub pull_tokens_per_second: f64,
    /// The same octets through nothing but ciphers, hashes, signatures, messages and syncs.
    pub floor_tokens_per_second: f64,
    /// Milliseconds from accepted to opened that 99 of 100 tokens keep at the lowest load.
    pub latency_p99_ms: f64,
    /// At each load.
    pub latency: Vec<Latency>,
    /// The most memory that a gateway held, octets.
    pub gateway_peak_rss_bytes: u64,
    /// Octets on the line between gateways, in both directions, for each octet of a report.
    pub wire_bytes_per_report_byte: f64,
    /// Octets that the kernel wrote to disks for a gateway, the worse of the two sides, for each octet of a report.
    pub disk_bytes_per_report_byte: f64,
    /// Core seconds for a million tokens end to end, by process.
    pub cpu_seconds_per_million_tokens: BTreeMap<&'static str, f64>,
    /// The same by process and stage; nothing if it could not be sampled.
    pub stages: Option<BTreeMap<&'static str, BTreeMap<Stage, f64>>>,
    /// Why it could not.
    pub no_stages: Option<String>,
    /// Tokens accepted, all phases together.
    pub accepted: u64,
    /// Different tokens opened.
    pub opened: u64,
    /// Copies beyond the first.
    pub repeated: u64,
    /// What nobody sent.
    pub strange: u64,
    /// Calls of the pushing adapter that had to be made again.
    pub calls_made_again: u64,
    /// Batches that they came in.
    pub batches: u64,
    /// What the floor is made of.
    pub floor: Floor,
}

/// The sustained phase.
struct Sustained {
    rate: f64,
    cpu: BTreeMap<&'static str, f64>,
    disk: f64,
    shares: Result<Shares>,
}

/// What all phases have in common.
struct Run<'a> {
    rig: Rig,
    pace: &'a Pace,
    told: &'a dyn Fn(&str),
    accepted: u64,
    again: u64,
}

/// Measures a case, and says on the way how far it is.
pub(super) async fn case(case: Case, pace: &Pace, told: &dyn Fn(&str)) -> Result<Measured> {
    told(&format!("{case}: making countries with a counted line"));
    let wire = wire(case, pace).await?;
    told(&format!("{wire:.3} octets on the wire for each of a report; making countries with a plain line"));
    let rig = Rig::start(case, Line::Plain).await?;
    let mut run = Run { rig, pace, told, accepted: 0, again: 0 };
    // The machine is faster at one moment than at another: so before and at the end, while the rig rests.
    let before = floor(case).await?;
    told(&format!("{:.0} tokens/s is the floor before", before.tokens_per_second));
    let sustained = run.sustained().await?;
    let mut latency = Vec::new();
    for load in &pace.loads {
        latency.push(run.latency(*load, sustained.rate).await?);
    }
    let rss = run.rig.peak_rss()?;
    let push = run.push_alone().await?;
    let pull = run.pull_alone().await?;
    let account = run.rig.account().await?;
    let after = floor(case).await?;
    told(&format!("{:.0} tokens/s is the floor at the end", after.tokens_per_second));
    let floor = Floor::mean(&before, &after);
    let rss = rss.max(run.rig.peak_rss()?);
    let (stages, no_stages) = match sustained.shares {
        Ok(shares) => (Some(split(&sustained.cpu, shares)), None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    Ok(Measured {
        case,
        ok: account.distinct == run.accepted && account.repeated + account.strange == 0,
        end_to_end_tokens_per_second: sustained.rate,
        push_tokens_per_second: push,
        pull_tokens_per_second: pull,
        floor_tokens_per_second: floor.tokens_per_second,
        latency_p99_ms: latency.first().map_or(0.0, |latency| latency.from_accepted_ms.p99),
        latency,
        gateway_peak_rss_bytes: rss,
        wire_bytes_per_report_byte: wire,
        disk_bytes_per_report_byte: sustained.disk,
        cpu_seconds_per_million_tokens: sustained.cpu,
        stages,
        no_stages,
        accepted: run.accepted,
        opened: account.distinct,
        repeated: account.repeated,
        strange: account.strange,
        calls_made_again: run.again,
        batches: account.batches,
        floor,
    })
}

async fn floor(case: Case) -> Result<Floor> {
    tokio::task::spawn_blocking(move || Floor::measure(&case)).await?
}

impl Run<'_> {
    /// Pushes and opens at once, with no more than so much under way.
    async fn sustained(&mut self) -> Result<Sustained> {
        self.begin(AHEAD).await?;
        let (before, used) = (opened(&self.rig), self.rig.usage()?);
        tokio::time::sleep(self.pace.window).await;
        let (after, used_after) = (opened(&self.rig), self.rig.usage()?);
        let tokens = after.tokens - before.tokens;
        self.rig.opener.check()?;
        self.rig.pusher.check()?;
        ensure!(tokens > 0, "nothing was opened within {} s", self.pace.window.as_secs());
        let used: Vec<Usage> =
            used_after.into_iter().zip(used).map(|(after, before)| after - before).collect();
        let million = tokens as f64 / 1e6;
        let cpu = PARTS.into_iter().zip(&used).map(|(part, used)| (part, used.cpu / million));
        let folder = self.rig.federation.folder();
        let shares = profile::shares(&self.rig.pids()?, self.pace.profile, folder).await;
        self.rest().await?;
        let rate = rate(before, after);
        (self.told)(&format!("{rate:.0} tokens/s end to end"));
        Ok(Sustained { rate, cpu: cpu.collect(), disk: disk(&self.rig.case, &used, tokens), shares })
    }

    /// Pushes at a share of a rate, whatever becomes of those before.
    async fn latency(&mut self, load: u32, sustained: f64) -> Result<Latency> {
        let tokens_per_second = sustained * f64::from(load) / 100.0;
        let a_second = tokens_per_second / self.rig.case.push as f64;
        let usual = self.pace.latency.as_secs_f64() * a_second;
        let pushes = usual.max(TIMED.min(usual * LONGER)).ceil();
        let order = Order::Paced { every: (1e9 / a_second) as u64, pushes: pushes as u64 };
        self.rig.opener.order(&Order::Record).await?;
        self.rig.pusher.order(&order).await?;
        let planned = Duration::from_secs_f64(pushes / a_second);
        let pushes = self.answered(planned + LATE).await?;
        self.rig.drained(self.accepted).await?;
        let Told::Recorded(arrivals) = self.rig.opener.ask(&Order::Recorded).await? else {
            bail!("the opening adapter does not say what it has written down");
        };
        let latency = Latency::of((load, tokens_per_second), &pushes, &arrivals);
        (self.told)(&format!("p99 {:.1} ms at {load} % load", latency.from_accepted_ms.p99));
        Ok(latency)
    }

    /// Nobody pulls; all of it waits at the origin.
    async fn push_alone(&mut self) -> Result<f64> {
        self.rig.cut().await?;
        self.begin(u64::MAX).await?;
        let before = accepted(&self.rig);
        tokio::time::sleep(self.pace.alone).await;
        let rate = rate(before, accepted(&self.rig));
        self.pusher_rests().await?;
        (self.told)(&format!("{rate:.0} tokens/s pushed alone"));
        Ok(rate)
    }

    /// What waits is opened. The time until the first of it comes is no measure, nor is the last twentieth.
    async fn pull_alone(&mut self) -> Result<f64> {
        let opened = self.rig.opener.progress().borrow().tokens;
        let waits = self.accepted - opened;
        self.rig.mend().await?;
        self.rig.drained(self.accepted).await?;
        let reached = |tokens| self.rig.opener.reached(opened + tokens);
        let (Some(from), Some(to)) = (reached(1), reached(waits - waits / 20)) else {
            bail!("nothing waited to be pulled")
        };
        let rate = rate(from, to);
        (self.told)(&format!("{rate:.0} tokens/s pulled alone"));
        Ok(rate)
    }

    async fn begin(&self, ahead: u64) -> Result<()> {
        let in_flight = self.rig.case.in_flight();
        self.rig.pusher.order(&Order::Steady { in_flight, ahead }).await?;
        tokio::time::sleep(self.pace.warm_up).await;
        Ok(())
    }

    /// Stops pushing, and waits until everything has come.
    async fn rest(&mut self) -> Result<()> {
        self.pusher_rests().await?;
        self.rig.drained(self.accepted).await
    }

    async fn pusher_rests(&mut self) -> Result<()> {
        self.rig.pusher.order(&Order::Stop).await?;
        self.answered(LATE).await.map(drop)
    }

    async fn answered(&mut self, limit: Duration) -> Result<Vec<super::message::Push>> {
        let Told::Rested { tokens, again, pushes } = self.rig.pusher.hear(limit).await? else {
            bail!("the pushing adapter does not say that it rests");
        };
        (self.accepted, self.again) = (tokens, again);
        Ok(pushes)
    }
}

/// Octets between gateways for each octet of a report, on a line that is counted and thus slower.
async fn wire(case: Case, pace: &Pace) -> Result<f64> {
    let rig = Rig::start(case, Line::Counted).await?;
    let passed = |rig: &Rig| {
        let countries = rig.federation.countries().map(|(plan, _)| plan.code);
        let proxies = countries.map(|code| rig.federation.proxies(code).map(|[peers, _]| peers.passed()));
        proxies.sum::<Result<u64>>()
    };
    let before = passed(&rig)?;
    let quick = Pace { warm_up: pace.alone, ..pace.clone() };
    let mut run = Run { rig, pace: &quick, told: &|_| {}, accepted: 0, again: 0 };
    run.begin(AHEAD).await?;
    run.rest().await?;
    ensure!(run.accepted > 0, "nothing was pushed over the counted line");
    Ok((passed(&run.rig)? - before) as f64 / case.octets(run.accepted))
}

/// How many are opened at this moment.
fn opened(rig: &Rig) -> Progress {
    Progress { at: clock::now(), tokens: rig.opener.progress().borrow().tokens }
}

/// How many are accepted at this moment.
fn accepted(rig: &Rig) -> Progress {
    Progress { at: clock::now(), tokens: rig.pusher.progress().borrow().tokens }
}

fn rate(from: Progress, to: Progress) -> f64 {
    let time = Duration::from_nanos(to.at.saturating_sub(from.at)).as_secs_f64();
    (to.tokens - from.tokens) as f64 / time.max(f64::EPSILON)
}

/// What a gateway wrote for each octet of a report: the origin's, or one side's share of the others and the database.
fn disk(case: &Case, used: &[Usage], tokens: u64) -> f64 {
    let [_, origin, destination, _, database] = used else { return 0.0 };
    let worse = origin.written.max(destination.written);
    let written = match case.store {
        Store::Sled => worse,
        // Both sides have theirs in one server.
        Store::Postgres => worse + database.written / 2,
    };
    written as f64 / case.octets(tokens)
}

/// Shares of a part's time become core seconds.
fn split(cpu: &BTreeMap<&'static str, f64>, shares: Shares) -> Shares {
    let parts = shares.into_iter().map(|(part, stages)| {
        let all = cpu.get(part).copied().unwrap_or_default();
        (part, stages.into_iter().map(|(stage, share)| (stage, share * all)).collect())
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_what_came_between_two_moments() {
        let from = Progress { at: 1_000_000_000, tokens: 500 };
        assert_eq!(rate(from, Progress { at: 3_000_000_000, tokens: 2_500 }), 1_000.0);
    }

    #[test]
    fn the_worse_gateway_counts_and_half_of_a_database_that_two_share() {
        let of = |written| Usage { cpu: 0.0, written };
        let used = [of(9_999), of(400), of(600), of(9_999), of(1_000)];
        let case = Case { report_bytes: 100, ..Case::HEADLINE };
        assert_eq!(disk(&case, &used, 2), 3.0);
        assert_eq!(disk(&Case { store: Store::Postgres, ..case }, &used, 2), 5.5);
    }
}
