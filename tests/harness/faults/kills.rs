//! `kill -9`: each process on a token's way at each stage of a file, and any process at any moment.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::Rng;

use super::scene::{Scene, Struck};
use crate::admin;
use crate::members::{Node, authority, country};
use crate::process::Signal;

/// How long a stage may take to be reached while the process before it may still be starting.
const REACHED: Duration = Duration::from_secs(30);
/// How long a killed process may take to be gone.
const GONE: Duration = Duration::from_secs(10);

/// Where a file has come, seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It lies in the outgoing folder.
    Submitted,
    /// The adapter has it.
    Claimed,
    /// The gateway has committed it, and the adapter has told so.
    Answered,
    /// The destination's gateway has pulled something since.
    Pulled,
    /// It lies in the delivered folder, and may not be acknowledged yet.
    Delivered,
}

/// All of them.
pub(super) const STAGES: [Stage; 5] =
    [Stage::Submitted, Stage::Claimed, Stage::Answered, Stage::Pulled, Stage::Delivered];

/// Who is on the way from England to France.
pub(super) fn way() -> [Node; 4] {
    [Node::adapter("826/1"), Node::gateway(826), Node::gateway(250), Node::adapter("250/0")]
}

/// Kills a process outright and starts it again at once, without waiting until it is ready; whether it was running.
pub(super) async fn kill(scene: &Scene, node: Node) -> Result<bool> {
    let federation = &scene.federation;
    federation.check_all_run()?;
    federation.kill(node, Signal::KILL)?;
    let end = federation.ended(node, GONE).await?;
    federation.launch(node)?;
    Ok(end.signal() == Some(Signal::KILL.as_raw()))
}

/// Kills each of these on the way from England to France at each stage.
pub(super) async fn at_each_stage(scene: &mut Scene, nodes: &[Node]) -> Result<Struck> {
    let mut kills = 0;
    for node in nodes.iter().copied() {
        for stage in STAGES {
            if reached(scene, stage).await? {
                kills += usize::from(kill(scene, node).await?);
            }
        }
    }
    let did = format!(
        "{} processes killed when a file was submitted, claimed, answered, pulled, delivered",
        nodes.len()
    );
    Ok(Struck::Yes { did, times: kills, kills })
}

/// Hands over a file and waits until it has come to a stage.
async fn reached(scene: &mut Scene, stage: Stage) -> Result<bool> {
    let (by, to) = (authority("826/1"), authority("250/0"));
    let sender = scene.federation.adapter(by)?.clone();
    let (name, number) = scene.traffic.hand_over(&sender, to)?;
    let waits = sender.outgoing.join(format!("{name}.ndjson"));
    match stage {
        Stage::Submitted => Ok(true),
        Stage::Claimed => scene.until(REACHED, |_| !waits.exists()).await,
        Stage::Answered => scene.until(REACHED, |traffic| !traffic.waits(by, &name)).await,
        Stage::Pulled => {
            let answered = scene.until(REACHED, |traffic| !traffic.waits(by, &name)).await?;
            Ok(answered && pulls(scene).await?)
        }
        Stage::Delivered => scene.until(REACHED, |traffic| traffic.book().has_arrived(number)).await,
    }
}

/// Waits until a gateway of France pulls something from the United Kingdom.
async fn pulls(scene: &Scene) -> Result<bool> {
    let france = scene.federation.country(country(250))?;
    let mut before = None;
    let grows = async || {
        let mut now = 0.0;
        for gateway in france.gateways() {
            let (_, text) = admin::get(gateway.admin, "/metrics").await.ok()?;
            now += admin::metric(&text, "exchange_batches_total", &[("peer", "826"), ("direction", "in")]);
        }
        (now > *before.get_or_insert(now)).then_some(())
    };
    Ok(scene.federation.wait_until("France pulls", REACHED, grows).await.is_ok())
}

/// Kills any process at any moment.
pub(super) async fn at_random(scene: &mut Scene, planned: usize) -> Result<Struck> {
    let nodes: Vec<_> = scene.federation.nodes().collect();
    let (mut kills, longest) = (0, scene.pace.between_kills);
    for _ in 0..planned {
        let pause = longest.mul_f64(scene.random.random_range(0.0..=1.0));
        scene.hold(pause).await?;
        let node = nodes[scene.random.random_range(0..nodes.len())];
        kills += usize::from(kill(scene, node).await.with_context(|| node.to_string())?);
    }
    let did = format!("{} of {planned} kills hit a running process, any of {}", kills, nodes.len());
    Ok(Struck::Yes { did, times: kills, kills })
}
