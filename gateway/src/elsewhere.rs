//! What other replicas have committed, for whoever waits for more than a tail.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::node::Node;
use crate::store::StoreError;

/// How often it is passed on at most: each time cursors and key lists are looked at.
const AT_MOST_EVERY: Duration = Duration::from_millis(500);

/// Passes on until it is stopped. With one process there is nothing to pass on but a new trust list.
pub async fn run(node: Arc<Node>, stop: CancellationToken) {
    let (mut elsewhere, mut trust) = (node.store.elsewhere(), node.trust.clone());
    loop {
        let done = tokio::select! {
            changed = elsewhere.changed() => if changed.is_ok() { step(&node).await } else { return },
            changed = trust.changed() => if changed.is_ok() { recheck(&node).await } else { return },
            () = stop.cancelled() => return,
        };
        if let Err(error) = done {
            warn!(%error, "what other replicas have committed is not known; it is looked at again");
            elsewhere.mark_changed();
        }
        tokio::select! {
            () = tokio::time::sleep(AT_MOST_EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// An adapter has taken a batch, a peer has acknowledged one, or an authority has published keys.
async fn step(node: &Node) -> Result<(), StoreError> {
    node.progress.ring_all();
    node.key_lists.refresh(&node.trust_list(), node.clock.now()).await
}

async fn recheck(node: &Node) -> Result<(), StoreError> {
    node.key_lists.recheck(&node.trust_list(), node.clock.now()).await
}
