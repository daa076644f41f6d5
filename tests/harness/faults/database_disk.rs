//! The disk under PostgreSQL is full: gateways refuse what they cannot keep, say that they are not ready, and go on as
//! they are when there is space again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cluster::Cluster;
use tokio::task::block_in_place;

use super::disk::{Pushes, SmallDisk, is_impossible};
use super::scene::{Scene, Struck};
use super::traffic::Flow;
use crate::admin;
use crate::members::country;

/// How long everything here may take to be seen.
const SOON: Duration = Duration::from_secs(30);
/// What a gateway says then.
const FULL: &str = "no space left";
/// Octets of the disk that are free at first.
const FREE: u64 = 64 << 20;

/// Fills the disk under the database of all gateways, and gives the space back.
pub(super) async fn strike(scene: &mut Scene) -> Result<Struck> {
    if let Some(impossible) = is_impossible(scene) {
        return Ok(impossible);
    }
    let cluster = scene.cluster.clone().context("the gateways are over PostgreSQL")?;
    // Adapters would wait for ten seconds after each refusal, as they are asked to.
    scene.traffic.flow(Flow::Nobody);
    let all: Vec<_> = scene.federation.adapters().map(|adapter| adapter.authority).collect();
    let is_quiet = |traffic: &super::traffic::Traffic| !all.iter().any(|one| traffic.has_waiting(*one));
    ensure!(scene.until(SOON, is_quiet).await?, "some files are not answered");
    let data = cluster.folder().join("data");
    block_in_place(|| cluster.stop_at_once())?;
    let disk = SmallDisk::under(&data, FREE)?;
    block_in_place(|| cluster.resume())?;
    let filled = fill(scene, &cluster, &disk).await;
    block_in_place(|| cluster.stop_at_once())?;
    disk.take_away()?;
    block_in_place(|| cluster.resume())?;
    let did = filled?;
    all_ready(scene).await?;
    scene.traffic.flow(Flow::All);
    Ok(Struck::yes(1, did))
}

/// Fills the disk until a push is refused, and clears it until the same push is accepted. Says what was refused how.
async fn fill(scene: &mut Scene, cluster: &Arc<Cluster>, disk: &SmallDisk) -> Result<String> {
    all_ready(scene).await?;
    let mut line = Pushes::open(scene).await?;
    line.push(scene).await?.map_err(|status| anyhow::anyhow!("with space: {status}"))?;
    disk.fill(0)?;
    let refused = line.until_refused(scene).await?;
    let mut lines = vec![line];
    let said = not_ready(scene, &mut lines).await?;
    let pushes = lines.iter().map(|line| line.pushed).sum::<usize>();
    scene.hold(scene.pace.trouble).await?;
    disk.clear()?;
    let restarted = block_in_place(|| revived(cluster))?;
    for line in &mut lines {
        let starts = line.until_accepted(scene).await?;
        ensure!(starts == 0, "a gateway ended by itself while its database had no space");
    }
    all_ready(scene).await?;
    let database = if restarted { "was started again" } else { "ran on" };
    Ok(format!(
        "of {pushes} pushes the last at each replica refused with {refused}, and accepted when there was space; not ready \
         meanwhile: {said}; \
         PostgreSQL {database}"
    ))
}

/// Waits until each gateway of Victoria's country says that it is not ready; gives what the last says.
///
/// One that nobody pushes to knows nothing of the disk. New connections go to the replicas in turn, but adapters make
/// some, too: there is one more line until all of them know.
async fn not_ready(scene: &mut Scene, lines: &mut Vec<Pushes>) -> Result<String> {
    let admins: Vec<_> =
        scene.federation.country(country(36))?.gateways().map(|gateway| gateway.admin).collect();
    let since = Instant::now();
    let mut said = String::new();
    for admin in admins {
        said = loop {
            match admin::get(admin, "/readyz").await {
                Ok((503, text)) if text.contains(FULL) => break text,
                other => ensure!(
                    since.elapsed() < SOON,
                    "a gateway is ready over a database without space: it says {other:?}"
                ),
            }
            let mut line = Pushes::open(scene).await?;
            line.until_refused(scene).await?;
            lines.push(line);
        };
    }
    Ok(said.trim_end().replace('\n', "; "))
}

async fn all_ready(scene: &Scene) -> Result<()> {
    for node in scene.federation.nodes().filter(|node| node.is_gateway()) {
        scene.federation.wait_gateway(node, SOON).await?;
    }
    Ok(())
}

/// Starts the server again if it has ended for want of space, as what supervises it does; whether it had.
fn revived(cluster: &Cluster) -> Result<bool> {
    if cluster.runs() {
        return Ok(false);
    }
    cluster.resume()?;
    Ok(true)
}
