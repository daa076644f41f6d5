//! PostgreSQL ends as in a power cut while gateways are in the middle of a transaction, and recovers from its log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cluster::Cluster;
use rand::Rng;
use tokio::task::spawn_blocking;

use super::scene::{Scene, Struck};

/// How often it is restarted.
const TIMES: usize = 5;
/// How long it is looked for an open transaction.
const SOON: Duration = Duration::from_secs(5);
/// Transactions that gateways have open and that have changed something.
const OPEN: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE usename = 'exchange' AND backend_xid IS NOT NULL";

/// Restarts it some times, whenever a transaction is open.
pub(super) async fn strike(scene: &mut Scene) -> Result<Struck> {
    let cluster = scene.cluster.clone().context("the gateways are over PostgreSQL")?;
    let (mut open, longest) = (0, scene.pace.trouble);
    for _ in 0..TIMES {
        let pause = longest.mul_f64(scene.random.random_range(0.2..=1.0));
        scene.hold(pause).await?;
        let cluster = cluster.clone();
        open += usize::from(spawn_blocking(move || restart(&cluster)).await??);
    }
    let did = format!("{TIMES} restarts as in a power cut, {open} with a transaction open the moment before");
    Ok(Struck::yes(TIMES, did))
}

/// Restarts; whether a transaction was open.
fn restart(cluster: &Arc<Cluster>) -> Result<bool> {
    let until = Instant::now() + SOON;
    let mut is_open = false;
    while !is_open && Instant::now() < until {
        is_open = cluster.sql("postgres", OPEN)? != "0";
    }
    cluster.restart_at_once()?;
    Ok(is_open)
}
