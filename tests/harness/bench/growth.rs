//! What `federation growth` measures: whether a token costs more when there are many in store, many countries, or many
//! calls at once; how long a gateway takes to start with a backlog; and what a peer's poll costs that brings nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use comfy_table::{CellAlignment, Table};
use proto::wire;
use serde::Serialize;

use super::case::{self, Case};
use super::clock;
use super::message::{Order, Told};
use super::rig::{Line, Rig};
use crate::cpu;
use crate::direct;

/// Tokens that the stores have when it is looked at them.
const IN_STORE: [u64; 4] = [1_000, 1_000_000, 3_000_000, 10_000_000];
/// Pushes under way.
const CALLS: [usize; 4] = [1, 4, 16, 64];
/// Countries in the trust list.
const COUNTRIES: [usize; 3] = [2, 50, 200];
/// Pushes under way where it is not about them.
const USUAL: usize = 8;
/// Tokens that may be accepted and not opened.
const AHEAD: u64 = 40_000;
/// Tokens that wait for a destination when the gateway is started again.
const BACKLOG: u64 = 10_000_000;
/// How long each point is looked at, and what comes before.
const WINDOW: Duration = Duration::from_secs(4);
/// The same where tokens in store are counted: they become more meanwhile.
const SHORT: Duration = Duration::from_secs(1);
const WARM_UP: Duration = Duration::from_secs(2);
/// How much more than the cheapest before it a point may cost: what differs by itself from second to second, and some more.
const FLAT: f64 = 1.25;
/// How long a gateway may take to start, octets that it may hold, and octets of a poll that brings nothing.
const READY: Duration = Duration::from_secs(3);
const MEMORY: u64 = 150_000_000;
const POLL: f64 = 1_024.0;
/// Polls that are counted.
const POLLS: u32 = 200;
/// Octets that the stores take while there are most of them.
const ROOM: u64 = 14_000_000_000;
/// How long tokens may take to be accepted or opened.
const LATE: Duration = Duration::from_secs(240);

/// All that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Growth {
    /// No point costs more than 1.25 times what the cheapest before it in its row does, a start stays below 3 s and 150 MB, a poll
    /// below 1 KiB, and every token arrived once.
    pub ok: bool,
    /// By tokens in store.
    pub in_store: Vec<Point>,
    /// By pushes under way, each the mean of two looks.
    pub calls: Vec<Point>,
    /// By countries in the trust list.
    pub countries: Vec<Point>,
    /// Of the origin's gateway, without a backlog and with one.
    pub starts: [Start; 2],
    /// Octets on the line, in both directions, of a pull that finds nothing.
    pub poll_bytes: f64,
    /// Every accepted token was opened once, and nothing else.
    pub all_arrived_once: bool,
}

/// What a token costs.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Point {
    /// How many there are of what the row is about.
    pub number: u64,
    /// Tokens a second end to end.
    pub tokens_per_second: f64,
    /// Core seconds of both gateways for a million tokens.
    pub gateways_cpu_seconds_per_million_tokens: f64,
    /// The same, divided by that of the cheapest point before it in its row.
    pub to_the_least_before: f64,
}

impl Point {
    /// What it was in the middle of two looks of the same length.
    fn mean(&self, other: &Self) -> Self {
        let Self { number, tokens_per_second, gateways_cpu_seconds_per_million_tokens, .. } = *self;
        Self {
            number,
            tokens_per_second: f64::midpoint(tokens_per_second, other.tokens_per_second),
            gateways_cpu_seconds_per_million_tokens: f64::midpoint(
                gateways_cpu_seconds_per_million_tokens,
                other.gateways_cpu_seconds_per_million_tokens,
            ),
            to_the_least_before: 1.0,
        }
    }
}

/// A gateway that starts.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Start {
    /// Tokens that wait in its store.
    pub backlog: u64,
    /// Until it is ready.
    pub milliseconds: f64,
    /// The most memory that it held meanwhile, octets.
    pub peak_rss_bytes: u64,
}

/// Measures everything, one after the other.
pub async fn run() -> Result<Growth> {
    let began = Instant::now();
    let told = |what: &str| eprintln!("{:6.1} s  {what}", began.elapsed().as_secs_f64());
    has_room(&std::env::temp_dir())?;
    let awake = cpu::awake();
    if let Err(cause) = &awake {
        told(&format!("the CPUs may fall asleep, so figures differ more: {cause}"));
    }
    told("a poll that brings nothing");
    let poll_bytes = poll().await?;
    let mut all_arrived_once = true;
    let mut countries = Vec::new();
    for number in COUNTRIES {
        told(&format!("{number} countries; making keys for all of them"));
        let mut run = Run::start(number - 2).await?;
        run.steady(USUAL, WARM_UP).await?;
        add(&mut countries, run.point(number as u64, WINDOW).await?);
        run.rest().await?;
        all_arrived_once &= run.has_all_once().await?;
    }
    told("calls at once");
    let mut run = Run::start(0).await?;
    let empty = run.start_again(0).await?;
    let calls = run.calls().await?;
    all_arrived_once &= run.has_all_once().await?;
    // Its stores leave room for those that follow.
    drop(run);
    told("tokens in store");
    let mut run = Run::start(0).await?;
    let mut in_store = Vec::new();
    run.steady(USUAL, Duration::ZERO).await?;
    for number in IN_STORE {
        run.accepted_by(number).await?;
        add(&mut in_store, run.point(number, SHORT).await?);
    }
    run.rest().await?;
    told("a start with a backlog");
    let backlog = run.pile_up().await?;
    let full = run.start_again(backlog).await?;
    run.rig.mend().await?;
    run.rig.drained(run.accepted).await?;
    all_arrived_once &= run.has_all_once().await?;
    told("done");
    let rows = [&in_store, &calls, &countries];
    let is_flat = rows.into_iter().flatten().all(|point| point.to_the_least_before <= FLAT);
    let starts = [empty, full];
    Ok(Growth {
        ok: is_flat && starts.iter().all(Start::is_short) && poll_bytes < POLL && all_arrived_once,
        in_store,
        calls,
        countries,
        starts,
        poll_bytes,
        all_arrived_once,
    })
}

/// Without it gateways would refuse pushes in the middle, as they are to, and nothing would go on.
fn has_room(folder: &Path) -> Result<()> {
    let free =
        pki::disk::free(folder).with_context(|| format!("cannot read how full {} is", folder.display()))?;
    let (needed, gb) = (ROOM as f64 / 1e9, free as f64 / 1e9);
    ensure!(
        free >= ROOM,
        "the stores take up to {needed:.0} GB, and {gb:.1} GB are free in {}; make room there, or set TMPDIR to another folder",
        folder.display()
    );
    Ok(())
}

/// Octets of a pull that finds nothing, once the connection stands.
async fn poll() -> Result<f64> {
    let rig = Rig::start(Case::HEADLINE, Line::Counted).await?;
    let [from, to] = [Case::HEADLINE.destinations()[0], Case::origin()].map(case::country);
    let (from, to) = (from?, to?);
    let mut client = direct::peer(&rig.federation, from, to)?;
    let [line, _] = rig.federation.proxies(to)?;
    let nothing = wire::PullRequest { after: 0, max_bytes: 1 << 20, wait_ms: 0 };
    ensure!(client.pull(nothing).await?.into_inner().batches.is_empty(), "nothing was pushed");
    let before = line.passed();
    for _ in 0..POLLS {
        client.pull(nothing).await?;
    }
    Ok((line.passed() - before) as f64 / f64::from(POLLS))
}

/// Two gateways and what passes through them.
struct Run {
    rig: Rig,
    accepted: u64,
}

impl Run {
    /// Among so many countries that do not run.
    async fn start(others: usize) -> Result<Self> {
        let rig = Rig::start_among(Case::HEADLINE, Line::Plain, Case::others(others)).await?;
        Ok(Self { rig, accepted: 0 })
    }

    async fn steady(&self, in_flight: usize, warm_up: Duration) -> Result<()> {
        self.rig.pusher.order(&Order::Steady { in_flight, ahead: AHEAD }).await?;
        tokio::time::sleep(warm_up).await;
        Ok(())
    }

    /// Waits until so many are accepted.
    async fn accepted_by(&self, tokens: u64) -> Result<()> {
        let mut progress = self.rig.pusher.progress();
        let accepted = progress.wait_for(|progress| progress.tokens >= tokens);
        let accepted = tokio::time::timeout(LATE, accepted).await.context("too few tokens are accepted")?;
        accepted.context("the pushing adapter has ended by itself").map(drop)
    }

    /// Looks for a while at what tokens cost.
    async fn point(&mut self, number: u64, window: Duration) -> Result<Point> {
        let look =
            |rig: &Rig| anyhow::Ok((clock::now(), rig.opener.progress().borrow().tokens, rig.usage()?));
        let (from, before, used_before) = look(&self.rig)?;
        tokio::time::sleep(window).await;
        let (to, after, used_after) = look(&self.rig)?;
        self.rig.pusher.check()?;
        self.rig.opener.check()?;
        let tokens = after - before;
        ensure!(tokens > 0, "nothing was opened within {} s", window.as_secs());
        let [_, origin, destination, ..] = used_after;
        let [_, origin_before, destination_before, ..] = used_before;
        let cpu = (origin - origin_before).cpu + (destination - destination_before).cpu;
        Ok(Point {
            number,
            tokens_per_second: tokens as f64 / Duration::from_nanos(to - from).as_secs_f64(),
            gateways_cpu_seconds_per_million_tokens: cpu / (tokens as f64 / 1e6),
            to_the_least_before: 1.0,
        })
    }

    /// Looks at each number of pushes under way, there and back: a machine that becomes faster or slower meanwhile does
    /// so for each number alike.
    async fn calls(&mut self) -> Result<Vec<Point>> {
        let mut looks = Vec::new();
        for number in CALLS.into_iter().chain(CALLS.into_iter().rev()) {
            self.steady(number, WARM_UP).await?;
            looks.push(self.point(number as u64, WINDOW).await?);
            self.rest().await?;
        }
        let (there, back) = looks.split_at(CALLS.len());
        let mut calls = Vec::new();
        for (there, back) in there.iter().zip(back.iter().rev()) {
            add(&mut calls, there.mean(back));
        }
        Ok(calls)
    }

    /// Stops pushing.
    async fn stop(&mut self) -> Result<()> {
        self.rig.pusher.order(&Order::Stop).await?;
        let Told::Rested { tokens, .. } = self.rig.pusher.hear(LATE).await? else {
            anyhow::bail!("the pushing adapter does not say that it rests");
        };
        self.accepted = tokens;
        Ok(())
    }

    /// Stops pushing, and waits until everything has come.
    async fn rest(&mut self) -> Result<()> {
        self.stop().await?;
        self.rig.drained(self.accepted).await
    }

    /// Pushes a backlog for a destination that is down.
    async fn pile_up(&mut self) -> Result<u64> {
        self.rig.cut().await?;
        let before = self.accepted;
        self.rig.pusher.order(&Order::Steady { in_flight: USUAL, ahead: u64::MAX }).await?;
        self.accepted_by(before + BACKLOG).await?;
        self.stop().await?;
        Ok(self.accepted - before)
    }

    /// Starts the origin's gateway again, with so many tokens that wait in it.
    async fn start_again(&self, backlog: u64) -> Result<Start> {
        let (federation, origin) = (&self.rig.federation, Rig::origin()?);
        super::rig::end(federation, origin).await?;
        let began = Instant::now();
        federation.launch(origin)?;
        federation.wait_gateway(origin, LATE).await?;
        let milliseconds = began.elapsed().as_secs_f64() * 1e3;
        Ok(Start { backlog, milliseconds, peak_rss_bytes: federation.peak_rss(origin)? })
    }

    async fn has_all_once(&mut self) -> Result<bool> {
        let account = self.rig.account().await?;
        Ok(account.distinct == self.accepted && account.repeated + account.strange == 0)
    }
}

impl Start {
    fn is_short(&self) -> bool {
        self.milliseconds < READY.as_secs_f64() * 1e3 && self.peak_rss_bytes < MEMORY
    }
}

fn add(row: &mut Vec<Point>, point: Point) {
    let cost = |point: &Point| point.gateways_cpu_seconds_per_million_tokens;
    let least = row.iter().map(cost).reduce(f64::min);
    let to_the_least_before = least.map_or(1.0, |least| cost(&point) / least);
    row.push(Point { to_the_least_before, ..point });
}

impl Growth {
    /// For people.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(comfy_table::presets::UTF8_FULL_CONDENSED);
        table.set_header([
            "what grows",
            "number",
            "tokens/s",
            "gateways, core s/million",
            "to the least before",
        ]);
        let rows = [
            ("tokens in store", &self.in_store),
            ("pushes at once", &self.calls),
            ("countries", &self.countries),
        ];
        for (what, points) in rows {
            for point in points {
                table.add_row([
                    what.to_owned(),
                    point.number.to_string(),
                    format!("{:.0}", point.tokens_per_second),
                    format!("{:.2}", point.gateways_cpu_seconds_per_million_tokens),
                    format!("{:.2}", point.to_the_least_before),
                ]);
            }
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// What is no row.
    #[must_use]
    pub fn facts(&self) -> String {
        let start = |start: &Start| {
            let Start { backlog, milliseconds, peak_rss_bytes } = start;
            format!(
                "ready {milliseconds:.0} ms after a start with {backlog} tokens, {} MB\n",
                peak_rss_bytes / 1_000_000
            )
        };
        let starts: String = self.starts.iter().map(start).collect();
        format!("{starts}a poll that brings nothing: {:.0} octets on the line\n", self.poll_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_compared_with_the_cheapest_before_them() {
        let point = |cost| Point {
            number: 1,
            tokens_per_second: 1.0,
            gateways_cpu_seconds_per_million_tokens: cost,
            to_the_least_before: 1.0,
        };
        let mut row = Vec::new();
        [2.0, 1.0, 3.0].into_iter().for_each(|cost| add(&mut row, point(cost)));
        let compared: Vec<_> = row.iter().map(|point| point.to_the_least_before).collect();
        assert_eq!(compared, [1.0, 0.5, 3.0]);
    }

    #[test]
    fn two_looks_at_a_point_count_alike() {
        let look = |tokens_per_second, cost| Point {
            number: 4,
            tokens_per_second,
            gateways_cpu_seconds_per_million_tokens: cost,
            to_the_least_before: 1.0,
        };
        let mean = look(100.0, 2.0).mean(&look(200.0, 3.0));
        assert_eq!(
            (mean.number, mean.tokens_per_second, mean.gateways_cpu_seconds_per_million_tokens),
            (4, 150.0, 2.5)
        );
    }

    #[test]
    fn a_start_has_three_seconds_and_150_megabytes() {
        let start =
            |milliseconds, peak_rss_bytes| Start { backlog: 1, milliseconds, peak_rss_bytes }.is_short();
        assert!(start(2_999.0, 149_999_999));
        assert!(!start(3_000.0, 1) && !start(1.0, 150_000_000));
    }
}
