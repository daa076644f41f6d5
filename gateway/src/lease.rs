//! Work that one replica does at a time: it holds a lease, and every change that it makes carries the lease's fence.
//!
//! A replica that dies or is cut off loses its leases after a few seconds, by the store's clock, and another one goes on.
//! A replica that does not notice keeps nothing any more: the store refuses what is under an old fence (invariant 8).

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::node::Node;
use crate::store::{Fence, LeaseName};

/// How long a lease is held without a word from its holder.
const TIME: Duration = Duration::from_secs(4);
/// How often its holder asks for more.
const RENEW: Duration = Duration::from_secs(1);
/// How often others ask for it, at most; each waits somewhat less, so that they do not ask all at once.
const ASK: Duration = Duration::from_secs(1);
/// How long giving it back may hold up the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// Works while it holds a lease, whenever it gets it, until it is stopped. Work that loses its lease is dropped at
/// its next wait.
pub async fn while_held<W: Future<Output = ()>>(
    node: Arc<Node>,
    name: LeaseName,
    stop: CancellationToken,
    work: impl Fn(Arc<Node>, Fence) -> W,
) {
    loop {
        let fence = tokio::select! {
            fence = acquire(&node, name) => fence,
            () = stop.cancelled() => return,
        };
        tokio::select! {
            () = work(node.clone(), fence) => {}
            () = lost(&node, fence) => warn!(lease = %shown(name), "lost to another replica, or the store does not answer"),
            () = stop.cancelled() => {}
        }
        // The next one does not have to wait for the time to be over.
        let released = timeout(FAREWELL, node.store.release(fence)).await;
        debug!(lease = %shown(name), ?released, "given back; if not, its time ends by itself");
        if stop.is_cancelled() {
            return;
        }
    }
}

async fn acquire(node: &Node, name: LeaseName) -> Fence {
    loop {
        match node.store.lease(name, node.holder, TIME).await {
            Ok(Some(fence)) => {
                info!(lease = %shown(name), token = fence.token, "held");
                return fence;
            }
            Ok(None) => {}
            Err(error) => debug!(lease = %shown(name), %error, "a lease cannot be asked for"),
        }
        let pause = ASK.mul_f64(rand::rng().random_range(0.5..=1.0));
        sleep(pause).await;
    }
}

/// Renews a lease, and comes back when it is another's or may be.
async fn lost(node: &Node, fence: Fence) {
    let mut until = Instant::now() + TIME;
    loop {
        sleep(RENEW).await;
        // From before the question: the store may have counted from any moment since.
        let asked = Instant::now();
        match node.store.lease(fence.name, node.holder, TIME).await {
            Ok(Some(renewed)) if renewed == fence => until = asked + TIME,
            Ok(_) => return,
            Err(error) => {
                debug!(lease = %shown(fence.name), %error, "a lease cannot be renewed");
                if Instant::now() >= until {
                    return;
                }
            }
        }
    }
}

/// A name for people.
fn shown(name: LeaseName) -> String {
    name.octets().escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::fixture;
    use crate::store::Holder;

    const NAME: LeaseName = LeaseName::new(*b"a lease ");

    #[tokio::test]
    async fn work_begins_with_the_lease_and_gives_it_back_when_it_is_stopped() {
        let fixture = fixture::node();
        let (node, stop) = (fixture.node.clone(), CancellationToken::new());
        let other = Holder::random();
        let held = node.store.lease(NAME, other, Duration::from_secs(3_600)).await.unwrap().unwrap();
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let work = move |_, fence| {
            let begun = begun.clone();
            async move {
                begun.send(fence).unwrap();
                std::future::pending::<()>().await;
            }
        };
        let working = tokio::spawn(while_held(node.clone(), NAME, stop.clone(), work));
        node.store.release(held).await.unwrap();
        let fence = begins.recv().await.unwrap();
        assert!(fence.name == NAME && fence.token != held.token);
        assert_eq!(node.store.lease(NAME, other, TIME).await.unwrap(), None);
        stop.cancel();
        working.await.unwrap();
        assert!(node.store.lease(NAME, other, TIME).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn work_whose_lease_another_has_taken_is_dropped() {
        let fixture = fixture::node();
        let (node, stop) = (fixture.node.clone(), CancellationToken::new());
        let fences = Arc::new(Mutex::new(Vec::new()));
        let (seen, begun) = (fences.clone(), Arc::new(tokio::sync::Notify::new()));
        let bell = begun.clone();
        let work = move |_, fence| {
            seen.lock().unwrap().push(fence);
            bell.notify_one();
            std::future::pending()
        };
        let working = tokio::spawn(while_held(node.clone(), NAME, stop.clone(), work));
        begun.notified().await;
        let first = fences.lock().unwrap()[0];
        node.store.release(first).await.unwrap();
        let thief = node.store.lease(NAME, Holder::random(), Duration::ZERO).await.unwrap().unwrap();
        begun.notified().await;
        let second = fences.lock().unwrap()[1];
        assert!(second.token != first.token && second.token != thief.token);
        stop.cancel();
        working.await.unwrap();
    }
}
