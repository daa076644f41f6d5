//! Entries that the store found damaged: named and counted at once, and told apart by who else may have them.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proto::batch::Stage;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::names;
use crate::node::Node;
use crate::store::upkeep::Damaged;
use crate::store::{StoreError, Stream};

/// The file below the state folder that names what nobody can bring back.
const LOST: &str = "lost.log";
/// How soon it is asked again who else has an entry, if the store did not say.
const AGAIN: Duration = Duration::from_secs(5);

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
        let are_told = tell_all(&node, &found, &mut told).await;
        tokio::select! {
            changed = damaged.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN), if !are_told => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Tells each once; gives whether all are told now.
async fn tell_all(node: &Node, found: &[Damaged], told: &mut BTreeSet<(Stream, u64)>) -> bool {
    let mut are_told = true;
    for damaged in found {
        let place @ (stream, sequence) = (damaged.stream, damaged.sequence);
        if told.contains(&place) {
            continue;
        }
        match tell(node, damaged).await {
            Ok(()) => drop(told.insert(place)),
            Err(error) => {
                let stream = names::of_stream(stream);
                warn!(stream, sequence, %error, "who else has a damaged batch is not known; it is asked again");
                are_told = false;
            }
        }
    }
    are_told
}

async fn tell(node: &Node, damaged: &Damaged) -> Result<(), StoreError> {
    let Damaged { stream, sequence, what, .. } = damaged;
    let name = names::of_stream(*stream);
    // Before anything is said: what is given up stays so, and must not be for an error that passes.
    let stored = match names::outbox_country(*stream) {
        Some(country) => Some(node.store.cursor(names::acknowledged(country, Stage::Stored)).await?),
        None => None,
    };
    node.metrics.damaged(names::kind_of_stream(*stream));
    error!(
        stream = name,
        sequence,
        place = what,
        "the checksum of a kept batch is wrong; it is not delivered"
    );
    match stored {
        Some(stored) if *sequence <= stored.through => {
            error!(stream = name, sequence, "the peer has it: nothing is lost");
        }
        Some(_) => node.lost.give_up(node, damaged, "no peer has acknowledged it"),
        None => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proto::ids::CountryCode;

    use super::*;
    use crate::clock::Clock;
    use crate::fixture;
    use crate::prepare::prepare;
    use crate::store::{Advance, Change, Cursor};

    #[tokio::test]
    async fn what_the_peer_has_is_not_given_up_for_a_store_that_does_not_say_so_now() {
        let database = cluster::shared().unwrap().database().unwrap();
        let (_folder, config) = fixture::config(Some(&database), |config| config);
        let node = prepare(config, Clock::default(), CancellationToken::new()).await.unwrap().0;
        let country = CountryCode::new(250).unwrap();
        let (cursor, from) = (names::acknowledged(country, Stage::Stored), Cursor::default());
        let advances = vec![Advance { cursor, from, to: Cursor { through: 3, ..from } }];
        node.store.commit(Change { advances, ..Change::default() }).await.unwrap();
        let (stream, what) = (names::outbox(country), "a page".to_owned());
        let found = [Damaged { stream, sequence: 3, at: 7, link: [1; 32], head: None, what }];
        let may = |may| cluster::shared().unwrap().sql(&database.name, may).unwrap();
        let mut told = BTreeSet::new();
        may("REVOKE SELECT ON exchange.cursor FROM exchange");
        assert!(!tell_all(&node, &found, &mut told).await && told.is_empty());
        assert!(!node.lost.has(stream, 3));
        may("GRANT SELECT ON exchange.cursor TO exchange");
        assert!(tell_all(&node, &found, &mut told).await && told.contains(&(stream, 3)));
        assert!(!node.lost.has(stream, 3), "the peer has it");
        assert!(node.metrics.text().contains("batches_damaged_total{stream=\"outbox\"} 1"), "counted once");
    }

    #[tokio::test]
    async fn a_loss_is_told_once_however_often_it_is_found() {
        let fixture = fixture::node();
        let node = &fixture.node;
        let stream = names::outbox(CountryCode::new(250).unwrap());
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
