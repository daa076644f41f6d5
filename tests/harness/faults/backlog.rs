//! A backlog: the line to a country is cut while tokens for it pile up; it drains when the line is mended, in order and
//! without a restart, and how fast and in how much memory is compared with what is normal. In the end the gateway that had
//! them is killed, and started with all of them in its store: they are kept for a day after they were delivered.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use tokio::task::JoinSet;

use super::book::Mark;
use crate::direct::{self, Line};
use crate::federation::Federation;
use crate::members::{CountryPlan, Node, authority, country};
use crate::place::AdapterPlace;
use crate::proxy::Trouble;
use crate::reports::{Contact, today};
use crate::{admin, backend};

/// Tokens of a push: as many as there may be.
const PUSH: usize = 5_000;
/// Pushes at the same time.
const AT_ONCE: usize = 4;
/// The most tokens whose way is timed to say what is normal.
const NORMAL: usize = 500_000;
/// How often it is looked how far it is.
const LOOK: Duration = Duration::from_millis(20);
/// The most memory that a gateway may take, octets, and the longest that it may take to be ready, with any backlog.
const MEMORY: u64 = 150_000_000;
const START: Duration = Duration::from_secs(3);
/// Nothing may stand still for longer: a gateway pauses for up to 30 s between two attempts.
const STANDSTILL: Duration = Duration::from_secs(90);

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Backlog {
    /// Everything arrived once and in order, the drain was at least half as fast as normal, no gateway took more than
    /// 150 MB, and the one with the backlog was ready within 3 s.
    pub ok: bool,
    /// Tokens that piled up.
    pub tokens: usize,
    /// Pushed a second while the line was cut.
    pub pushed_per_s: f64,
    /// A second from push to the destination's gateway, with the line whole, before and after.
    pub normal_to_gateway_per_s: f64,
    /// A second from push to the destination's backend, with the line whole, before and after.
    pub normal_to_backend_per_s: f64,
    /// A second from the outbox to the destination's gateway, once it is connected again.
    pub drained_to_gateway_per_s: f64,
    /// A second from the outbox to the destination's backend.
    pub drained_to_backend_per_s: f64,
    /// From the start of the killed gateway, with all of it in its store, until it was ready.
    pub restarted_after_s: f64,
    /// From the mended line to the first batch.
    pub reconnected_after_s: f64,
    /// The lesser of the two rates of the drain, each divided by the normal one.
    pub ratio: f64,
    /// Tokens that did not arrive.
    pub lost: usize,
    /// Copies beyond the first.
    pub duplicated_in_effect: usize,
    /// Tokens behind one that was pushed after they were accepted.
    pub out_of_order: usize,
    /// The most memory that the sending gateway held.
    pub sender_peak_rss_bytes: u64,
    /// The most memory that the receiving gateway held.
    pub receiver_peak_rss_bytes: u64,
    /// The most memory that the receiving adapter held.
    pub adapter_peak_rss_bytes: u64,
}

/// Lets so many tokens pile up, rounded up to whole pushes, and drain.
pub async fn backlog(tokens: usize, keep: Option<PathBuf>) -> Result<Backlog> {
    let began = Instant::now();
    let told = |what: &str| eprintln!("{:6.1} s  {what}", began.elapsed().as_secs_f64());
    let mut run = Run::start(keep).await?;
    let pushes = tokens.max(1).div_ceil(PUSH);
    told("the line is whole");
    let normal = run.normal(pushes.min(NORMAL / PUSH)).await?;
    told(&format!("normal is {:.0} tokens/s to the gateway and {:.0} to the backend", normal[0], normal[1]));
    run.line(Trouble::Cut)?;
    let since = Instant::now();
    run.push(pushes).await?;
    let pushed_per_s = rate(pushes, since.elapsed());
    told(&format!("{} tokens wait, pushed at {pushed_per_s:.0}/s; the line is mended", pushes * PUSH));
    run.line(Trouble::None)?;
    let mended = Instant::now();
    let before = run.batches().await?;
    run.until_batches(before + 1).await?;
    let (reconnected, drain) = (mended.elapsed(), Instant::now());
    let drained = run.arrived(drain, pushes).await?;
    told(&format!(
        "drained with {:.0} tokens/s to the gateway and {:.0} to the backend",
        drained[0], drained[1]
    ));
    // Before and after: a machine that does other things as well is not equally fast all the time.
    let again = run.normal(pushes.min(NORMAL / PUSH)).await?;
    told(&format!(
        "normal is now {:.0} tokens/s to the gateway and {:.0} to the backend",
        again[0], again[1]
    ));
    let normal = [0, 1].map(|at| (normal[at] + again[at]) / 2.0);
    let [lost, duplicated_in_effect, out_of_order] = run.account()?;
    let ratio = (drained[0] / normal[0]).min(drained[1] / normal[1]);
    let drained_rss = run.federation.peak_rss(sender())?;
    let restarted = run.restart().await?;
    told(&format!("after a kill, its gateway was ready in {:.2} s", restarted.as_secs_f64()));
    let sender_peak_rss_bytes = run.federation.peak_rss(sender())?.max(drained_rss);
    let receiver_peak_rss_bytes = run.federation.peak_rss(Node::gateway(250))?;
    let small = sender_peak_rss_bytes.max(receiver_peak_rss_bytes) <= MEMORY && restarted <= START;
    Ok(Backlog {
        ok: lost + duplicated_in_effect + out_of_order == 0 && ratio >= 0.5 && small,
        tokens: pushes * PUSH,
        pushed_per_s,
        normal_to_gateway_per_s: normal[0],
        normal_to_backend_per_s: normal[1],
        drained_to_gateway_per_s: drained[0],
        drained_to_backend_per_s: drained[1],
        restarted_after_s: restarted.as_secs_f64(),
        reconnected_after_s: reconnected.as_secs_f64(),
        ratio,
        lost,
        duplicated_in_effect,
        out_of_order,
        sender_peak_rss_bytes,
        receiver_peak_rss_bytes,
        adapter_peak_rss_bytes: run.federation.peak_rss(Node::adapter("250/0"))?,
    })
}

/// When a push began, and when it was answered.
type Times = (usize, usize);

struct Run {
    federation: Federation,
    line: Line,
    adapter: AdapterPlace,
    mark: Mark,
    /// Pushes so far. Token n is of push n / [`PUSH`].
    pushed: usize,
    /// When each of them began and was answered, on a clock that counts both.
    times: Vec<Times>,
    clock: Arc<AtomicUsize>,
    /// Delivered files that were counted, and the tokens in them.
    counted: HashSet<PathBuf>,
    delivered: usize,
}

impl Run {
    async fn start(keep: Option<PathBuf>) -> Result<Self> {
        let united_kingdom = CountryPlan::new(826, "United Kingdom", &[("826/1", "England")]);
        let france = CountryPlan::new(250, "France", &[("250/0", "France")]);
        let mut builder = Federation::builder().country(united_kingdom).country(france).proxied();
        if let Some(folder) = &keep {
            builder = builder.keep(folder);
        }
        let federation = builder.log_level("warn").start().await?;
        take_them_all(&federation).await?;
        let mut mark = [0; 8];
        getrandom::fill(&mut mark).context("the system has no random numbers")?;
        let line = Line::open(&federation, authority("826/1")).await?;
        let adapter = federation.adapter(authority("250/0"))?.clone();
        Ok(Self {
            federation,
            line,
            adapter,
            mark,
            pushed: 0,
            times: Vec::new(),
            clock: Arc::default(),
            counted: HashSet::new(),
            delivered: 0,
        })
    }

    /// France calls the United Kingdom: that is the line.
    fn line(&self, trouble: Trouble) -> Result<()> {
        self.federation.proxies(country(826))?[0].make(trouble);
        Ok(())
    }

    /// Kills the gateway that has the backlog; from its start until it is ready.
    async fn restart(&self) -> Result<Duration> {
        self.federation.kill_now(sender()).await?;
        let started = Instant::now();
        self.federation.restart(sender()).await?;
        Ok(started.elapsed())
    }

    /// Tokens a second with the line whole, to the gateway and to the backend.
    async fn normal(&mut self, pushes: usize) -> Result<[f64; 2]> {
        let began = Instant::now();
        self.push(pushes).await?;
        self.until_batches(self.sealed().await?).await?;
        let to_gateway = began.elapsed();
        self.until_delivered(self.pushed * PUSH).await?;
        Ok([rate(pushes, to_gateway), rate(pushes, began.elapsed())])
    }

    /// Waits until all is there; tokens a second since a moment, to the gateway and to the backend.
    async fn arrived(&mut self, since: Instant, pushes: usize) -> Result<[f64; 2]> {
        self.until_batches(self.sealed().await?).await?;
        let to_gateway = since.elapsed();
        self.until_delivered(self.pushed * PUSH).await?;
        Ok([rate(pushes, to_gateway), rate(pushes, since.elapsed())])
    }

    async fn push(&mut self, pushes: usize) -> Result<()> {
        let mut calls = JoinSet::new();
        self.times.resize(self.pushed + pushes, Times::default());
        for number in self.pushed..self.pushed + pushes {
            if calls.len() == AT_ONCE {
                let (number, times) = calls.join_next().await.context("there are calls")???;
                self.times[number] = times;
            }
            let (line, mark, clock) = (self.line.clone(), self.mark, self.clock.clone());
            let begun = clock.fetch_add(1, Ordering::SeqCst);
            calls.spawn(async move {
                let reply = line.push(line.seal(&contacts(mark, number))?).await?;
                let verdicts = direct::verdicts(&reply)?;
                ensure!(
                    verdicts.iter().all(|verdict| verdict.name() == "accepted"),
                    "a good token is refused"
                );
                anyhow::Ok((number, (begun, clock.fetch_add(1, Ordering::SeqCst))))
            });
        }
        while let Some(call) = calls.join_next().await {
            let (number, times) = call??;
            self.times[number] = times;
        }
        self.pushed += pushes;
        Ok(())
    }

    /// Batches that the pushes so far have become: those that come together are one.
    async fn sealed(&self) -> Result<usize> {
        self.counted(826, [("peer", "250"), ("direction", "out")]).await
    }

    /// Batches that France's gateway has kept.
    async fn batches(&self) -> Result<usize> {
        self.counted(250, [("peer", "826"), ("direction", "in")]).await
    }

    async fn counted(&self, code: u16, labels: [(&str, &str); 2]) -> Result<usize> {
        let text = self.federation.metrics(country(code)).await?;
        let batches = admin::metric(&text, "exchange_batches_total", &labels);
        // A count of batches: small and whole.
        Ok(batches.round() as usize)
    }

    async fn until_batches(&mut self, wanted: usize) -> Result<()> {
        let (mut last, mut moved) = (0, Instant::now());
        loop {
            let found = self.batches().await?;
            if found >= wanted {
                return Ok(());
            }
            self.still_moves((found, wanted), &mut last, &mut moved).await?;
        }
    }

    async fn until_delivered(&mut self, wanted: usize) -> Result<()> {
        let (mut last, mut moved) = (0, Instant::now());
        loop {
            for file in backend::delivered_paths(&self.adapter)? {
                if !self.counted.contains(&file) {
                    let octets =
                        fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
                    self.delivered += octets.iter().filter(|octet| **octet == b'\n').count();
                    self.counted.insert(file);
                }
            }
            if self.delivered >= wanted {
                return Ok(());
            }
            self.still_moves((self.delivered, wanted), &mut last, &mut moved).await?;
        }
    }

    async fn still_moves(
        &self,
        (found, wanted): (usize, usize),
        last: &mut usize,
        moved: &mut Instant,
    ) -> Result<()> {
        if found > *last {
            (*last, *moved) = (found, Instant::now());
        }
        if moved.elapsed() > STANDSTILL {
            bail!("nothing more arrives: {found} of {wanted}");
        }
        self.federation.check_all_run()?;
        tokio::time::sleep(LOOK).await;
        Ok(())
    }

    /// Lost, duplicated, out of order: from what lies in the delivered folder.
    fn account(&self) -> Result<[usize; 3]> {
        let mut account = Order::new(&self.times);
        for file in backend::delivered_paths(&self.adapter)? {
            let numbers = backend::delivered_in(&file)?.into_iter().map(|report| {
                let number = report.token.strip_prefix(&self.mark).and_then(|rest| rest.try_into().ok());
                number.map(u64::from_be_bytes).context("a token that nobody sent was delivered")
            });
            account.batch(numbers.collect::<Result<Vec<_>>>()?)?;
        }
        let lost = account.seen.iter().filter(|seen| !**seen).count();
        Ok([lost, account.duplicated, account.out_of_order])
    }
}

/// Which tokens have come, and in which order.
struct Order<'a> {
    times: &'a [Times],
    seen: Vec<bool>,
    /// When the latest push began of which something has come.
    latest: usize,
    duplicated: usize,
    out_of_order: usize,
}

impl<'a> Order<'a> {
    fn new(times: &'a [Times]) -> Self {
        Self { times, seen: vec![false; times.len() * PUSH], latest: 0, duplicated: 0, out_of_order: 0 }
    }

    fn batch(&mut self, numbers: Vec<u64>) -> Result<()> {
        for number in numbers {
            let number = usize::try_from(number)?;
            let seen = self.seen.get_mut(number).context("a token that nobody sent was delivered")?;
            self.duplicated += usize::from(std::mem::replace(seen, true));
            // Pushes that were made at the same time may be committed in any order.
            let (begun, answered) = self.times[number / PUSH];
            self.out_of_order += usize::from(answered < self.latest);
            self.latest = self.latest.max(begun);
        }
        Ok(())
    }
}

/// Whose gateway has the backlog.
fn sender() -> Node {
    Node::gateway(826)
}

/// Lets the adapter take everything: more tokens may wait than one country's quota of a day.
async fn take_them_all(federation: &Federation) -> Result<()> {
    let node = Node::adapter("250/0");
    let path = &federation.adapter(authority("250/0"))?.config;
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = format!("{text}\n[receive]\nreports_per_origin_and_day = 100000000\n");
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    federation.kill_now(node).await?;
    federation.restart(node).await
}

fn contacts(mark: Mark, push: usize) -> Vec<Contact> {
    let (to, day) = (authority("250/0"), today().minus(1));
    let tokens =
        (push * PUSH..(push + 1) * PUSH).map(|number| [mark, (number as u64).to_be_bytes()].concat());
    tokens.map(|token| Contact::simple(to, &token, day)).collect()
}

/// Tokens a second.
fn rate(pushes: usize, time: Duration) -> f64 {
    (pushes * PUSH) as f64 / time.as_secs_f64().max(f64::EPSILON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_doubled_and_disordered_tokens_are_counted() {
        // The first two were made at the same time; the third began when both were answered.
        let times = [(0, 3), (1, 2), (4, 5)];
        let mut order = Order::new(&times);
        let of = |push: usize| vec![(push * PUSH) as u64];
        for push in [1, 0, 2] {
            order.batch(of(push)).unwrap();
        }
        assert_eq!((order.duplicated, order.out_of_order), (0, 0), "side by side is no order");
        order.batch(of(0)).unwrap();
        assert_eq!((order.duplicated, order.out_of_order), (1, 1));
        assert!(order.batch(of(3)).is_err());
        assert_eq!(order.seen.iter().filter(|seen| **seen).count(), 3);
    }
}
