//! Entries that the store found damaged: named and counted at once, and told apart by who else may have them.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use proto::batch::Stage;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::names;
use crate::node::Node;
use crate::store::Stream;
use crate::store::upkeep::Damaged;

/// The file below the state folder that names what nobody can bring back.
const LOST: &str = "lost.log";

/// The damaged entries that nobody else has: readers go on behind them.
#[derive(Debug, Default)]
pub struct Lost(Mutex<BTreeSet<(Stream, u64)>>);

impl Lost {
    /// Whether an entry is one of them.
    #[must_use]
    pub fn has(&self, stream: Stream, sequence: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&(stream, sequence))
    }

    /// Gives an entry up: names it in the log and in a file of the state folder, whose line stays when the log is gone.
    /// One that stands there already is told and counted no more.
    pub fn give_up(&self, node: &Node, damaged: &Damaged, why: &str) {
        let (stream, sequence) = (damaged.stream, damaged.sequence);
        if !self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((stream, sequence)) {
            return;
        }
        let name = names::of_stream(stream);
        let link: String = damaged.link.iter().map(|octet| format!("{octet:02x}")).collect();
        let line = format!("{name} sequence {sequence} kept-at {} manifest {link} ", damaged.at);
        let path = node.config.state.join(LOST);
        if fs::read_to_string(&path).is_ok_and(|known| known.lines().any(|known| known.starts_with(&line))) {
            warn!(stream = name, sequence, "still damaged in the store; its loss was told before");
            return;
        }
        error!(
            stream = name,
            sequence,
            at = damaged.at,
            why,
            "LOST: a batch is damaged and nobody else has it; its authority has to publish again"
        );
        node.metrics.lost(names::kind_of_stream(stream));
        let line = format!("{line}{why}: {}\n", damaged.what);
        let written = OpenOptions::new().create(true).append(true).open(&path);
        let written =
            written.and_then(|mut file| file.write_all(line.as_bytes()).and_then(|()| file.sync_all()));
        if let Err(cause) = written {
            error!(path = %path.display(), %cause, "the loss could not be written down");
        }
    }
}

/// Names and counts what is found, until the stop. What of our outboxes is damaged is with us alone.
pub async fn run(node: Arc<Node>, stop: CancellationToken) {
    let Some(mut damaged) = node.store.upkeep().map(|upkeep| upkeep.damaged()) else {
        stop.cancelled().await;
        return;
    };
    let mut told = BTreeSet::new();
    loop {
        let found: Vec<Damaged> = damaged.borrow_and_update().values().cloned().collect();
        for damaged in found {
            if told.insert((damaged.stream, damaged.sequence)) {
                tell(&node, &damaged).await;
            }
        }
        tokio::select! {
            changed = damaged.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

async fn tell(node: &Node, damaged: &Damaged) {
    let Damaged { stream, sequence, what, .. } = damaged;
    let name = names::of_stream(*stream);
    node.metrics.damaged(names::kind_of_stream(*stream));
    error!(
        stream = name,
        sequence,
        place = what,
        "the checksum of a kept batch is wrong; it is not delivered"
    );
    let Some(country) = names::outbox_country(*stream) else { return };
    let stored = node.store.cursor(names::acknowledged(country, Stage::Stored)).await.unwrap_or_default();
    if *sequence <= stored.through {
        error!(stream = name, sequence, "the peer has it: nothing is lost");
    } else {
        node.lost.give_up(node, damaged, "no peer has acknowledged it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[tokio::test]
    async fn a_loss_is_told_once_however_often_it_is_found() {
        let fixture = fixture::node();
        let node = &fixture.node;
        let stream = names::outbox("250".parse().map(proto::ids::CountryCode::new).unwrap().unwrap());
        let mut damaged =
            Damaged { stream, sequence: 3, at: 7, link: [1; 32], head: None, what: "segment 1".into() };
        // As after a restart each.
        for lost in [Lost::default(), Lost::default()] {
            lost.give_up(node, &damaged, "nobody has it");
            lost.give_up(node, &damaged, "nobody has it");
            assert!(lost.has(stream, 3));
        }
        damaged.sequence = 4;
        Lost::default().give_up(node, &damaged, "nobody has it");
        let told = fs::read_to_string(node.config.state.join(LOST)).unwrap();
        assert_eq!(told.lines().count(), 2, "{told}");
        assert!(node.metrics.text().contains("batches_lost_total{stream=\"outbox\"} 2"));
    }
}
