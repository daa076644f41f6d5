//! Whether this gateway can do its work now: asked over HTTP by people and over gRPC by balancers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proto::wire::delivery_server::DeliveryServer;
use proto::wire::exchange_server::ExchangeServer;
use proto::wire::ingest_server::IngestServer;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tracing::{error, info, warn};

use crate::inbound::deliver::Delivery;
use crate::node::Node;
use crate::outbound::ingest::Ingest;
use crate::outbound::serve::Exchange;
use crate::store::{Advance, Change, Cursor, Once, OnceId, StoreError};
use crate::{expiry, names};

/// How often the gRPC status is brought up to date.
const EVERY: Duration = Duration::from_secs(5);
/// How long the store may take to keep next to nothing.
const PATIENCE: Duration = Duration::from_secs(10);
/// Under which the store is asked to keep something once: it then says whether there is space.
const PROBE: &[u8] = b"health";

/// What keeps the gateway from its work, each with a remedy; nothing if it is ready.
pub async fn problems(node: &Node) -> Vec<String> {
    let mut problems = Vec::new();
    if node.stop.is_cancelled() {
        problems.push("stopping: open calls are finished, new ones are refused".into());
    }
    match tokio::time::timeout(PATIENCE, write(node)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => problems.push(format!("store: {error}")),
        Err(_) => problems.push("store: it does not answer; look at its disk, and at the log".into()),
    }
    let now = node.clock.now();
    let over = expiry::all(node).into_iter().filter(|expiry| expiry.at <= now && expiry.is_ours(node));
    problems.extend(over.map(|expiry| remedy(expiry.what).to_owned()));
    problems
}

fn remedy(what: &str) -> &'static str {
    match what {
        "trust_list" => "trust list: expired; install a newer one",
        "certificate" => "certificate: expired; issue a new one with `pki issue`",
        "country_ca" => {
            "certificate authority: expired; make a new one with `pki ca create`, and ask for a new trust list"
        }
        _ => "signing key: expired in the trust list; ask for a new trust list",
    }
}

/// Writes a little and asks for space. Whoever writes at the same time shows the same.
async fn write(node: &Node) -> Result<(), StoreError> {
    let (cursor, at) = (names::health(), node.clock.now());
    let from = node.store.cursor(cursor).await?;
    let to = Cursor { through: from.through + 1, ..from };
    let advances = vec![Advance { cursor, from, to }];
    match node.store.commit(Change { at, advances, ..Change::default() }).await {
        Ok(_) | Err(StoreError::Moved | StoreError::Backwards) => {}
        Err(failed) => return Err(failed),
    }
    let id = OnceId::new(PROBE).expect("6 octets are within its bounds");
    let once = vec![Once { id: id.clone(), digest: [0; 32], answer: Bytes::new() }];
    match node.store.commit(Change { at, once, ..Change::default() }).await {
        Ok(_) => Ok(()),
        // There is space; that what was kept under this id is damaged is no matter: it says nothing.
        Err(StoreError::Corrupt { .. }) if node.store.knows(&id).await? => Ok(()),
        Err(failed) => Err(failed),
    }
}

/// Keeps the gRPC health service of both listeners up to date until the stop.
pub async fn run(node: Arc<Node>, reporters: [HealthReporter; 2], stop: CancellationToken) {
    let (mut told, mut leapt_before) = (Vec::new(), false);
    loop {
        let (problems, leapt) = (problems(&node).await, node.clock.steady().err());
        report(&reporters, problems.is_empty(), leapt.is_none()).await;
        match leapt {
            Some(leapt) if !leapt_before => error!(%leapt, "the clock is doubted"),
            None if leapt_before => warn!("the clock is believed again"),
            _ => {}
        }
        leapt_before = leapt.is_some();
        if problems != told {
            match problems.as_slice() {
                [] => info!("ready again"),
                problems => warn!(problems = problems.join("; "), "not ready"),
            }
            told = problems;
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => break,
        }
    }
    report(&reporters, false, false).await;
}

/// A gateway whose clock is doubted takes no pushes, and does all the rest.
async fn report([national, peers]: &[HealthReporter; 2], ready: bool, takes_pushes: bool) {
    let status = |ready| if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    let (ingest, status) = (status(ready && takes_pushes), status(ready));
    national.set_service_status("", status).await;
    national.set_service_status(<IngestServer<Ingest> as tonic::server::NamedService>::NAME, ingest).await;
    national
        .set_service_status(<DeliveryServer<Delivery> as tonic::server::NamedService>::NAME, status)
        .await;
    peers.set_service_status("", status).await;
    peers.set_service_status(<ExchangeServer<Exchange> as tonic::server::NamedService>::NAME, status).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    const YEAR: i64 = 365 * 86_400;

    #[tokio::test]
    async fn a_good_gateway_is_ready_however_often_it_is_asked() {
        let fixture = fixture::node();
        for _ in 0..3 {
            assert_eq!(problems(&fixture.node).await, Vec::<String>::new());
        }
        let (one, two) = tokio::join!(problems(&fixture.node), problems(&fixture.node));
        assert!(one.is_empty() && two.is_empty(), "at the same time: {one:?} {two:?}");
    }

    #[tokio::test]
    async fn a_store_that_takes_nothing_more_is_not_ready() {
        let fixture = fixture::node();
        fixture.node.store.close().await.unwrap();
        assert_eq!(problems(&fixture.node).await, ["store: the store is closed; open it again"]);
    }

    #[tokio::test]
    async fn a_disk_below_its_floor_is_not_ready() {
        let fixture = fixture::node_with(|config| {
            config.replace("free_disk_bytes = 1048576", "free_disk_bytes = 9000000000000000")
        });
        let problems = problems(&fixture.node).await;
        assert!(problems[0].starts_with("store: the store is full"), "{problems:?}");
    }

    #[tokio::test]
    async fn what_has_expired_is_named_with_a_remedy() {
        let fixture = fixture::node();
        fixture.node.clock.turn(30 * YEAR);
        let problems = problems(&fixture.node).await;
        for expected in
            ["trust list: expired; install", "certificate: expired; issue", "certificate authority: expired"]
        {
            assert!(problems.iter().any(|problem| problem.starts_with(expected)), "{expected}: {problems:?}");
        }
    }
}
