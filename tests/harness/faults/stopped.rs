//! SIGSTOP for longer than the others wait, then SIGCONT: a process that stands still and comes back as if nothing was.

use std::fs;

use anyhow::{Context, Result};

use super::scene::{Scene, Struck};
use crate::members::Node;
use crate::process::Signal;

/// How many processes stand still.
pub(super) const STOPPED: usize = 2;

/// Stops a gateway and another country's adapter at the same time.
pub(super) async fn strike(scene: &mut Scene) -> Result<Struck> {
    let nodes: [Node; STOPPED] = [Node::gateway(250), Node::adapter("36/2")];
    for node in nodes {
        scene.federation.kill(node, Signal::STOP)?;
    }
    let time = scene.pace.stop;
    let held = scene.hold(time).await;
    let mut stood = 0;
    for node in nodes {
        stood += usize::from(stands(scene.federation.pid(node)?)?);
        scene.federation.kill(node, Signal::CONT)?;
    }
    held?;
    let did = format!("{} and {} stood still for {} s", nodes[0], nodes[1], time.as_secs());
    Ok(Struck::yes(stood, did))
}

fn stands(pid: u32) -> Result<bool> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    Ok(status.lines().any(|line| line.starts_with("State:") && line.contains("T (stopped)")))
}
