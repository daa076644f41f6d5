//! `federation soak`: simulations for as long as one likes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use super::failure::Kind;
use super::run::{Finding, Outcome, Simulation};
use super::stores::StoreKind;

/// Operations of one run.
const OPERATIONS: usize = 80;
/// How often progress is told.
const TOLD: Duration = Duration::from_secs(10);

/// How long, and from where.
pub struct Options {
    /// No run begins after this time.
    pub time: Duration,
    /// The seed of the first run; each following run has the next one.
    pub seed: u64,
    /// The kind of store.
    pub kind: StoreKind,
}

/// What it came to.
#[derive(Debug, Default, Serialize)]
pub struct Summary {
    /// Whether every run went well.
    pub ok: bool,
    /// How long it took.
    pub seconds: f64,
    /// The seed of the first run.
    pub first_seed: u64,
    /// Runs, with consecutive seeds.
    pub seeds: u64,
    /// Operations that did something, by name, and in all.
    pub operations: BTreeMap<&'static str, usize>,
    /// All of them.
    pub operations_in_all: usize,
    /// Operations that did nothing where they stood.
    pub idle: usize,
    /// Reports that were pushed.
    pub pushed: usize,
    /// Reports that were accepted.
    pub accepted: usize,
    /// Accepted reports that a backend has.
    pub delivered: usize,
    /// Accepted reports that nobody fetched within 14 days.
    pub expired: usize,
    /// Accepted reports that were fetched after their key was destroyed.
    pub closed: usize,
    /// Accepted reports that were more than 15 days old when they were fetched.
    pub late: usize,
    /// Reports that were kept and not answered, and answered `too old` when their push came again after 17 days.
    pub forgotten: usize,
    /// Batches that were refused and kept as evidence.
    pub evidence: usize,
    /// Runs in which an accepted report did not arrive.
    pub lost: usize,
    /// Runs in which one arrived twice in effect.
    pub duplicated_in_effect: usize,
    /// Runs in which somebody had what it must not have.
    pub misdelivered: usize,
    /// Runs in which a report stood somewhere in the clear.
    pub leaked: usize,
    /// What failed, each with the shortest plan that fails in the same way.
    pub failures: Vec<Failed>,
}

/// A run that failed.
#[derive(Debug, Serialize)]
pub struct Failed {
    /// Its seed.
    pub seed: u64,
    /// Which promise was broken.
    pub kind: &'static str,
    /// What was seen.
    pub detail: String,
    /// The plan, a line an operation.
    pub plan: Vec<String>,
}

/// Runs until the time is over or `stop` is set; a run that has begun is finished.
pub fn run(options: &Options, stop: &AtomicBool) -> Result<Summary> {
    let (begun, simulation) = (Instant::now(), Simulation::new(options.kind)?);
    let mut summary = Summary { first_seed: options.seed, ..Summary::default() };
    let mut told = Instant::now();
    while begun.elapsed() < options.time && !stop.load(Ordering::Relaxed) {
        match simulation.seed(options.seed.wrapping_add(summary.seeds), OPERATIONS) {
            Ok(outcome) => summary.add(&outcome),
            Err(finding) => {
                eprintln!("{finding}");
                summary.fail(&finding);
            }
        }
        summary.seeds += 1;
        if told.elapsed() >= TOLD {
            told = Instant::now();
            summary.tell(begun.elapsed());
        }
    }
    summary.seconds = begun.elapsed().as_secs_f64();
    summary.ok = summary.failures.is_empty();
    Ok(summary)
}

impl Summary {
    fn add(&mut self, outcome: &Outcome) {
        for (name, times) in &outcome.operations {
            *self.operations.entry(name).or_default() += times;
            self.operations_in_all += times;
        }
        self.idle += outcome.idle;
        let account = outcome.account;
        self.pushed += account.pushed;
        self.accepted += account.accepted;
        self.delivered += account.delivered;
        self.expired += account.expired;
        self.closed += account.closed;
        self.late += account.late;
        self.forgotten += account.forgotten;
        self.evidence += account.evidence;
    }

    fn fail(&mut self, finding: &Finding) {
        match finding.failure.kind {
            Kind::Lost => self.lost += 1,
            Kind::Doubled => self.duplicated_in_effect += 1,
            Kind::Misdelivered => self.misdelivered += 1,
            Kind::Leaked => self.leaked += 1,
            Kind::Chain | Kind::Verdict | Kind::Receipt | Kind::Retention | Kind::Stuck | Kind::Broke => {}
        }
        self.failures.push(Failed {
            seed: finding.seed,
            kind: finding.failure.kind.name(),
            detail: finding.failure.detail.clone(),
            plan: finding.plan.to_string().lines().map(str::to_owned).collect(),
        });
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let operations = self.operations.iter().map(|(name, times)| format!("{times} {name}"));
        format!(
            "{} runs from seed {} in {:.0} s: {} operations ({}), and {} that did nothing\n\
             {} reports pushed, {} accepted, {} delivered, {} given up after 14 days, {} closed by a retired key, {} late\n\
             lost {}, duplicated in effect {}, misdelivered {}, leaked {}; {} runs failed",
            self.seeds,
            self.first_seed,
            self.seconds,
            self.operations_in_all,
            operations.collect::<Vec<_>>().join(", "),
            self.idle,
            self.pushed,
            self.accepted,
            self.delivered,
            self.expired,
            self.closed,
            self.late,
            self.lost,
            self.duplicated_in_effect,
            self.misdelivered,
            self.leaked,
            self.failures.len(),
        )
    }

    fn tell(&self, elapsed: Duration) {
        eprintln!(
            "{:6} s: {} runs, {} operations, {} reports accepted, {} delivered, {} failures",
            elapsed.as_secs(),
            self.seeds,
            self.operations_in_all,
            self.accepted,
            self.delivered,
            self.failures.len()
        );
    }
}
