//! What `federation flood` measures: how much two good callers notice while a third asks for ten times its quota, or
//! while peers of their gateway are up and not well.
//!
//! All phases take turns in one run, in an order that is drawn anew for each round, so that whatever else the machine
//! does falls on all alike.

mod attack;
mod good;
mod sick;
mod summary;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proto::ids::{Authority, CountryCode};
use rand::seq::SliceRandom;

pub use sick::Ailment;
pub use summary::{Compared, FloodSummary, SickSummary, Side, Summary};

use crate::admin::metric;
use crate::cpu;
use crate::federation::Federation;
use crate::members::{CountryPlan, Node, three_countries};
use crate::wait::until;
use attack::{Counts, Flood};
use good::Good;
use sick::Sick;

/// Calls a second that a backend may make, and the reports in them; the flooder asks for ten times as many.
const BACKEND_CALLS: u32 = 80;
const BACKEND_REPORTS: u32 = 5_000;
/// Calls a second that a peer may make: the good one fetches every push by itself, and sends receipts.
const PEER_CALLS: u32 = 120;
/// How many times its quota a flooder asks for.
pub const TIMES: u32 = 10;
/// What a flooder had saved up of its quota is spent before it is measured what its flood costs.
const LEAD: Duration = Duration::from_secs(1);
/// What a phase leaves behind is over before the next one begins.
const REST: Duration = Duration::from_millis(500);
/// How long it may take until somebody notices that peers are ill.
const NOTICED: Duration = Duration::from_secs(10);
/// The longest that a peer which is well again is left alone, and more.
const RESTED: Duration = Duration::from_secs(60);
/// The countries whose gateways are ill, each in its own way.
const ILL: [(u16, &str); 5] =
    [(276, "Germany"), (380, "Italy"), (724, "Spain"), (40, "Austria"), (56, "Belgium")];

/// How a flood is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Length of each phase.
    pub phase: Duration,
    /// How often each kind of phase has its turn.
    pub rounds: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { phase: Duration::from_secs(5), rounds: 5 }
    }
}

/// Who floods, and over which calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A backend pushes.
    Backend,
    /// A peer pulls.
    Peer,
}

impl Kind {
    /// The quota of such a caller, calls a second.
    fn calls(self) -> u32 {
        match self {
            Self::Backend => BACKEND_CALLS,
            Self::Peer => PEER_CALLS,
        }
    }
}

/// What the two good callers did in all phases of one kind.
type Sides = [Side; 2];

/// Everybody who takes part.
struct Scene {
    federation: Federation,
    good: Good,
    sick: Vec<Sick>,
    floods: [Flood; 2],
    phase: Duration,
}

/// What has been measured so far.
#[derive(Default)]
struct Measured {
    rounds: usize,
    /// While nobody floods and all peers are well. Twice a round, so that it shows what the machine does by itself.
    quiet: [Sides; 2],
    /// By ailment, and all of them at once: while these are ill, and how often they made somebody wait or gave nothing.
    sick: [(Sides, u64); ILL.len() + 1],
    /// By flooder: with its quota, and with ten times as much.
    floods: [[(Sides, Counts); 2]; 2],
}

/// A place in [`Measured`].
#[derive(Clone, Copy)]
enum Phase {
    Quiet(usize),
    Sick(usize),
    Flood(usize, usize),
}

/// Starts all countries, and measures each kind of flood and each ailment.
pub async fn run(options: &Options) -> Result<Summary> {
    let told = Instant::now();
    let step = |what: &str| eprintln!("{:5.1} s  {what}", told.elapsed().as_secs_f64());
    step(
        "making three countries and five whose gateways will be ill; the United Kingdom's gateway gets small quotas",
    );
    let scene = Scene::prepare(options).await?;
    let awake = cpu::awake();
    if let Err(cause) = &awake {
        step(&format!(
            "the CPUs may fall asleep, so times differ more for no reason of the gateway's: {cause}"
        ));
    }
    let mut measured = Measured::default();
    // The first calls open connections: they are no measure.
    scene.good.run(Duration::from_secs(1)).await?;
    for round in 1..=options.rounds {
        step(&format!(
            "round {round} of {}: quiet, sick peers, floods with {TIMES} times a quota",
            options.rounds
        ));
        measured.round(&scene).await?;
    }
    let metrics = scene.federation.metrics(country(826)?).await?;
    let peak = scene.federation.peak_rss(Node::Gateway(country(826)?))?;
    scene.federation.stop().await?;
    step("done");
    Ok(Summary::new(measured, scene.good.names(), (&metrics, peak)))
}

impl Scene {
    async fn prepare(options: &Options) -> Result<Self> {
        let mut builder = Federation::builder().log_level("warn");
        for plan in three_countries() {
            builder = builder.country(plan);
        }
        for (code, name) in ILL {
            let authority = format!("{code}/0");
            builder = builder.country(CountryPlan::new(code, name, &[(&authority, name)]));
        }
        let federation = builder.start().await?;
        limit(&federation).await?;
        let good = Good::open(&federation, authority("826/0")?, authority("36/2")?).await?;
        let mut sick = Vec::new();
        for ((code, _), ailment) in ILL.into_iter().zip(Ailment::ALL) {
            federation.kill_now(Node::Adapter(authority(&format!("{code}/0"))?)).await?;
            sick.push(Sick::take_place(&federation, Node::Gateway(country(code)?), ailment).await?);
        }
        let seconds = (options.phase + LEAD).as_secs_f64() * options.rounds as f64;
        // With its quota and with more it is let through as often; and what it has saved up comes on top.
        let pushes = (2.5 * seconds * f64::from(BACKEND_CALLS)).ceil() as usize;
        let backend = Flood::prepare(&federation, Kind::Backend, pushes).await?;
        let floods = [backend, Flood::prepare(&federation, Kind::Peer, 0).await?];
        Ok(Self { federation, good, sick, floods, phase: options.phase })
    }

    /// What the good ones notice while some peers are ill, and how often those made somebody wait or gave them nothing.
    async fn beside(&self, ill: &[Sick]) -> Result<(Sides, u64)> {
        let suffered = || ill.iter().map(Sick::suffered).collect::<Vec<u64>>();
        let before = suffered();
        ill.iter().for_each(|peer| peer.fall(true));
        // Gateways pause before they call again whom they have lost. If none does, the summary says so.
        let all_noticed = || suffered().iter().zip(&before).all(|(now, before)| now > before);
        let began = Instant::now();
        while !all_noticed() && began.elapsed() < NOTICED {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let sides = self.good.run(self.phase).await;
        ill.iter().for_each(|peer| peer.fall(false));
        let suffered = suffered().iter().sum::<u64>() - before.iter().sum::<u64>();
        self.all_are_well().await?;
        tokio::time::sleep(REST).await;
        Ok((sides?, suffered))
    }

    /// Until every gateway calls every peer again: the next phase is not to gain from one that is left alone.
    async fn all_are_well(&self) -> Result<()> {
        for plan in three_countries() {
            let called = async || {
                let text = self.federation.metrics(plan.code).await.ok()?;
                (metric(&text, "exchange_circuit_state", &[]) == 0.0).then_some(())
            };
            until(&format!("{} calls every peer again", plan.code), RESTED, called).await?;
        }
        Ok(())
    }

    /// What they notice while somebody asks for so many times its quota.
    async fn during(&self, flood: &Flood, times: u32) -> Result<(Sides, Counts)> {
        let flooding = flood.start(times)?;
        tokio::time::sleep(LEAD).await;
        let sides = self.good.run(self.phase).await;
        let counts = flood.stop(flooding).await;
        tokio::time::sleep(REST).await;
        Ok((sides?, counts))
    }
}

impl Measured {
    /// Each phase once.
    async fn round(&mut self, scene: &Scene) -> Result<()> {
        ensure!(scene.sick.len() == ILL.len(), "each ill country has its ailment");
        let quiet = (0..self.quiet.len()).map(Phase::Quiet);
        let sick = (0..self.sick.len()).map(Phase::Sick);
        let floods = [0, 1].into_iter().flat_map(|flood| [0, 1].map(|pace| Phase::Flood(flood, pace)));
        let mut phases: Vec<_> = quiet.chain(sick).chain(floods).collect();
        phases.shuffle(&mut rand::rng());
        for phase in phases {
            self.phase(scene, phase).await?;
        }
        self.rounds += 1;
        Ok(())
    }

    async fn phase(&mut self, scene: &Scene, phase: Phase) -> Result<()> {
        match phase {
            Phase::Quiet(nth) => add(&mut self.quiet[nth], scene.good.run(scene.phase).await?),
            Phase::Sick(which) => {
                // Behind the last one: all of them.
                let ill = scene.sick.get(which..=which).unwrap_or(&scene.sick);
                let ((sides, suffered), (phase, more)) = (&mut self.sick[which], scene.beside(ill).await?);
                add(sides, phase);
                *suffered += more;
            }
            Phase::Flood(flood, pace) => {
                let during = scene.during(&scene.floods[flood], [1, TIMES][pace]).await?;
                let ((sides, counts), (phase, more)) = (&mut self.floods[flood][pace], during);
                add(sides, phase);
                counts.add(more);
            }
        }
        Ok(())
    }
}

fn add(to: &mut Sides, phases: Sides) {
    to.iter_mut().zip(phases).for_each(|(side, phase)| side.add(phase));
}

/// Restarts the United Kingdom's gateway with small quotas.
async fn limit(federation: &Federation) -> Result<()> {
    let gateway = Node::Gateway(country(826)?);
    let path = &federation.country(country(826)?)?.gateway.config;
    let mut text = std::fs::read_to_string(path).context("the gateway's configuration can be read")?;
    text += &format!(
        "
[quota.backend]
calls_per_second = {BACKEND_CALLS}
reports_per_second = {BACKEND_REPORTS}
kibibytes_per_second = 8192
calls_in_flight = 16

[quota.peer]
calls_per_second = {PEER_CALLS}
kibibytes_per_second = 8192
calls_in_flight = 16
"
    );
    std::fs::write(path, text).context("the gateway's configuration can be written")?;
    federation.kill(gateway, crate::process::Signal::TERM)?;
    federation.ended(gateway, Duration::from_secs(30)).await?;
    federation.restart(gateway).await
}

fn authority(text: &str) -> Result<Authority> {
    Ok(text.parse()?)
}

fn country(code: u16) -> Result<CountryCode> {
    Ok(CountryCode::new(code)?)
}
