//! What `federation faults` shows: while tokens flow between three countries, processes are killed and stopped, lines
//! cut and spoilt, disks filled and clocks turned; after each fault every token is accounted for from the outside.

mod backlog;
mod book;
mod clock;
mod database;
mod database_disk;
mod disk;
mod kills;
mod leaked;
mod lines;
mod loss;
mod namespace;
mod plan;
mod scene;
mod stopped;
mod summary;
mod traffic;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::ValueEnum;
use cluster::Cluster;
use serde::Serialize;

pub use backlog::{Backlog, backlog};
pub use book::Account;
pub use namespace::{Namespace, enter};
pub use summary::{Demand, Row, Summary, Times, table};

use crate::federation::Federation;
use crate::members::three_countries;
use plan::{Extent, Pace};
use scene::Scene;

/// Kills at random moments, beside those at each stage.
const KILLS: usize = 500;
const QUICK_KILLS: usize = 10;

/// Replicas of each gateway over PostgreSQL.
const REPLICAS: u8 = 3;
const QUICK_REPLICAS: u8 = 2;

/// Where gateways keep their entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// In a folder, one gateway a country.
    Sled,
    /// In PostgreSQL, three replicas a country; two if it is to be quick.
    Postgres,
}

/// How faults are made.
#[derive(Debug, Clone)]
pub struct Options {
    /// A cut of the plan that ends within 90 seconds.
    pub quick: bool,
    /// Where gateways keep their entries.
    pub store: Store,
    /// What the random moments come from; drawn if it is not given.
    pub seed: Option<u64>,
    /// Kills at random moments.
    pub kills: Option<usize>,
    /// Make everything in this folder and leave it there.
    pub keep: Option<PathBuf>,
    /// Where it runs.
    pub namespace: Namespace,
    /// What is held against the run.
    pub demand: Demand,
}

/// Runs all faults, one after the other.
pub async fn run(options: &Options) -> Result<Summary> {
    let began = Instant::now();
    let told = |what: &str| eprintln!("{:6.1} s  {what}", began.elapsed().as_secs_f64());
    let seed = options.seed.map_or_else(drawn, Ok)?;
    let (pace, kills) = if options.quick { (Pace::QUICK, QUICK_KILLS) } else { (Pace::FULL, KILLS) };
    let extent = if options.quick { Extent::Quick } else { Extent::Full };
    let plan = plan::plan(options.store, extent, options.kills.unwrap_or(kills));
    let (federation, cluster) = start(options).await?;
    told(&format!("{} faults with seed {seed}; traffic flows", plan.len()));
    let mut scene = Scene::new((federation, cluster), pace, seed, options.namespace.clone())?;
    let mut rows = Vec::new();
    for fault in plan {
        let row = scene.row(fault).await?;
        told(&format!("{}{}: {}", row.name, if row.is_good() { "" } else { " IS WRONG" }, row.did));
        rows.push(row);
    }
    // Not SIGTERM: gateways would let the open pulls of the others finish, and there is nothing to wait for.
    for node in scene.federation.nodes().collect::<Vec<_>>() {
        scene.federation.kill_now(node).await?;
    }
    let panics = panics(&scene.federation)?;
    Ok(Summary::new(rows, (options, seed), panics, began.elapsed()))
}

async fn start(options: &Options) -> Result<(Federation, Option<Arc<Cluster>>)> {
    let mut builder = Federation::builder().proxied();
    if let Some(folder) = &options.keep {
        builder = builder.keep(folder);
    }
    let mut database = None;
    if options.store == Store::Postgres {
        let cluster = Arc::new(Cluster::start()?);
        let replicas = if options.quick { QUICK_REPLICAS } else { REPLICAS };
        let replicated = three_countries().into_iter().map(|plan| plan.postgres(replicas));
        builder = replicated.fold(builder.cluster(cluster.clone()), |builder, plan| builder.country(plan));
        database = Some(cluster);
    }
    Ok((builder.start().await?, database))
}

fn drawn() -> Result<u64> {
    let mut octets = [0; 4];
    getrandom::fill(&mut octets).context("the system has no random numbers")?;
    Ok(u32::from_be_bytes(octets).into())
}

/// Panics in all logs. None is meant to happen, also where it is contained.
fn panics(federation: &Federation) -> Result<usize> {
    let gateways = federation.countries().flat_map(|(_, country)| country.gateways());
    let logs = gateways.map(|gateway| &gateway.log).chain(federation.adapters().map(|adapter| &adapter.log));
    let count = logs.map(|log| {
        let text = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
        Ok(String::from_utf8_lossy(&text)
            .lines()
            .filter(|line| line.contains("panicked at") || line.contains("PANIC:"))
            .count())
    });
    count.sum()
}
