//! Entries that the store found damaged: named and counted at once, and told apart by who else may have them.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use proto::batch::Stage;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::names;
use crate::node::Node;
use crate::store::upkeep::Damaged;
use crate::store::{StoreError, Stream};

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
    pub fn give_up(&self, node: &Node, damaged: &Damaged, why: &str) {
        let (stream, sequence) = (damaged.stream, damaged.sequence);
        if !self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((stream, sequence)) {
            return;
        }
        let name = names::of_stream(stream);
        error!(
            stream = name,
            sequence,
            at = damaged.at,
            why,
            "LOST: a batch is damaged and nobody else has it; its authority has to publish again"
        );
        node.metrics.lost(names::kind_of_stream(stream));
        let link: String = damaged.link.iter().map(|octet| format!("{octet:02x}")).collect();
        let line = format!(
            "{name} sequence {sequence} kept-at {} manifest {link} {why}: {}\n",
            damaged.at, damaged.what
        );
        let path = node.config.state.join(LOST);
        let written = OpenOptions::new().create(true).append(true).open(&path);
        let written =
            written.and_then(|mut file| file.write_all(line.as_bytes()).and_then(|()| file.sync_all()));
        if let Err(cause) = written {
            error!(path = %path.display(), %cause, "the loss could not be written down");
        }
    }
}

/// Whether an entry is damaged and may still come back.
#[must_use]
pub fn may_be_mended(node: &Node, stream: Stream, sequence: u64) -> bool {
    let is_damaged =
        node.store.upkeep().is_some_and(|upkeep| upkeep.damaged().borrow().contains_key(&(stream, sequence)));
    is_damaged && !node.lost.has(stream, sequence)
}

/// The link of an entry, also if its octets are damaged; nothing if it is not kept.
pub async fn link(node: &Node, stream: Stream, sequence: u64) -> Result<Option<[u8; 32]>, StoreError> {
    match node.store.find(stream, sequence).await {
        Err(StoreError::Damaged { .. }) => {
            let damaged = node.store.upkeep().map(|upkeep| upkeep.damaged());
            Ok(damaged.and_then(|known| known.borrow().get(&(stream, sequence)).map(|entry| entry.link)))
        }
        found => Ok(found?.map(|entry| entry.link)),
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
