//! PostgreSQL ends as in a power cut while gateways are in the middle of a transaction, and recovers from its log.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cluster::Cluster;
use rand::Rng;
use tokio::task::spawn_blocking;

use super::scene::{Scene, Struck};

/// How long it is looked for an open transaction.
const SOON: Duration = Duration::from_secs(10);
/// Holds gateways up in the middle of what they commit: entries are written, and the process's own row is not.
const HOLD: &str = "BEGIN; LOCK TABLE exchange.writer IN EXCLUSIVE MODE; SELECT pg_sleep(15)";
/// Transactions that gateways have open, that have changed something, and that stand there until they are let go on.
const OPEN: &str = "SELECT count(*) FROM pg_stat_activity \
     WHERE usename = 'exchange' AND backend_xid IS NOT NULL AND wait_event_type = 'Lock'";

/// Restarts it some times, whenever a transaction is open.
pub(super) async fn strike(scene: &mut Scene, times: usize) -> Result<Struck> {
    let cluster = scene.cluster.clone().context("the gateways are over PostgreSQL")?;
    let databases = scene.federation.countries().filter_map(|(_, country)| country.database.as_ref());
    let databases: Arc<[String]> = databases.map(|database| database.name.clone()).collect();
    let (mut met, mut open, longest) = (0, 0, scene.pace.trouble);
    for _ in 0..times {
        let pause = longest.mul_f64(scene.random.random_range(0.2..=1.0));
        scene.hold(pause).await?;
        let (cluster, databases) = (cluster.clone(), databases.clone());
        let found = spawn_blocking(move || restart(&cluster, &databases)).await??;
        met += usize::from(found > 0);
        open += found;
    }
    let did = format!(
        "{times} restarts as in a power cut, {met} of them in the middle of {open} open transactions"
    );
    Ok(Struck::yes(met, did))
}

/// Restarts; how many transactions were open, and ended with it.
fn restart(cluster: &Arc<Cluster>, databases: &[String]) -> Result<usize> {
    thread::scope(|scope| {
        for database in databases {
            // It ends with the server, and that is its error.
            scope.spawn(|| cluster.sql(database, HOLD));
        }
        let (until, mut open) = (Instant::now() + SOON, 0);
        while open == 0 && Instant::now() < until {
            open = cluster.sql("postgres", OPEN)?.parse()?;
        }
        cluster.restart_at_once()?;
        Ok(open)
    })
}
