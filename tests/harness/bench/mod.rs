//! What `federation bench` measures: how many tokens a second go from the origin's gateway to the destination's
//! adapter, how long they take, and what they cost; beside the limit of the machine, measured in the same run.
//!
//! Gateways are the real ones, over real mutual TLS and a real store. The adapters stand in for the real ones: they
//! seal, push, pull, verify, open and acknowledge with its code, but make up reports and only count what they read, so
//! that no national system's files are timed. `files.rs` measures the real ones with theirs.

mod case;
mod child;
pub mod clock;
mod files;
mod floor;
pub mod growth;
mod latency;
mod machine;
mod measure;
mod message;
mod node;
pub mod opener;
pub mod plots;
mod profile;
pub mod pusher;
mod rig;
mod stage;
mod summary;
mod tables;
mod tally;
mod tokens;
mod usage;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

pub use case::{Case, Store};
pub use files::WithFiles;
pub use floor::{Cost, Floor};
pub use latency::{Latency, Percentiles};
pub use machine::Machine;
pub use measure::{Measured, Pace};
pub use rig::SETTINGS;
pub use stage::Stage;
pub use summary::{Failed, Headline, Summary};
pub use tables::tables;
pub use tokens::BYTES;

use crate::cpu;

/// How often the adapters tell how far they are.
const TICK: Duration = Duration::from_millis(10);

/// How it is measured.
#[derive(Debug, Clone)]
pub struct Options {
    /// What, the headline first.
    pub cases: Vec<Case>,
    /// How long.
    pub pace: Pace,
    /// Tokens that go through the real adapters and their files; 0 for none.
    pub with_files: usize,
}

impl Pace {
    /// The headline and its floor within a minute.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            warm_up: Duration::from_secs(2),
            window: Duration::from_secs(6),
            profile: Duration::from_secs(2),
            alone: Duration::from_secs(3),
            latency: Duration::from_secs(5),
            loads: vec![10],
        }
    }

    /// Enough for figures that hold, with so many seconds of sustained load a case.
    #[must_use]
    pub fn whole(window: Duration) -> Self {
        Self {
            warm_up: Duration::from_secs(3),
            window,
            profile: Duration::from_secs(4),
            alone: Duration::from_secs(4),
            latency: Duration::from_secs(10),
            loads: vec![10, 50, 90],
        }
    }
}

/// Measures all cases, one after the other. One that cannot be measured is told, and the others go on.
pub async fn run(options: &Options) -> Result<Summary> {
    let began = Instant::now();
    let told = |what: &str| eprintln!("{:6.1} s  {what}", began.elapsed().as_secs_f64());
    let awake = cpu::awake();
    if let Err(cause) = &awake {
        told(&format!("the CPUs may fall asleep, so figures are lower and differ more: {cause}"));
    }
    let machine = Machine::here(awake.is_ok());
    let (mut cases, mut failed) = (Vec::new(), Vec::new());
    for case in &options.cases {
        case.check()?;
        match measure::case(*case, &options.pace, &told).await {
            Ok(measured) => cases.push(measured),
            Err(error) => {
                told(&format!("{case}: {error:#}"));
                failed.push(Failed { case: *case, error: format!("{error:#}") });
            }
        }
    }
    let with_files = match options.with_files {
        0 => None,
        tokens => {
            told("the real adapters, with folders of files on both sides");
            Some(files::measure(tokens).await.context("the real adapters cannot be measured")?)
        }
    };
    told("done");
    Ok(Summary::new(machine, (cases, failed), with_files))
}
