//! Whether this gateway can do its work now: asked over HTTP by people and over gRPC by balancers.

use std::sync::Arc;
use std::time::Duration;

use proto::wire::delivery_server::DeliveryServer;
use proto::wire::exchange_server::ExchangeServer;
use proto::wire::ingest_server::IngestServer;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tracing::{info, warn};

use crate::inbound::deliver::Delivery;
use crate::node::Node;
use crate::outbound::ingest::Ingest;
use crate::outbound::serve::Exchange;
use crate::store::CursorName;

/// How often the gRPC status is brought up to date.
const EVERY: Duration = Duration::from_secs(2);

/// What keeps the gateway from its work, each with a remedy; nothing if it is ready.
pub async fn problems(node: &Node) -> Vec<String> {
    let now = node.clock.now();
    let mut problems = Vec::new();
    if node.stop.is_cancelled() {
        problems.push("stopping: open calls are finished, new ones are refused".into());
    }
    if let Err(error) = node.store.cursor(CursorName::new([0; 16])).await {
        problems.push(format!("store: {error}"));
    }
    if node.trust_list().expires <= now {
        problems.push("trust list: expired; install a newer one".into());
    }
    if node.certificate.not_after() <= i64::try_from(now).unwrap_or(i64::MAX) {
        problems.push("certificate: expired; issue a new one with `pki issue`".into());
    }
    problems
}

/// Keeps the gRPC health service of both listeners up to date until the stop.
pub async fn run(node: Arc<Node>, reporters: [HealthReporter; 2], stop: CancellationToken) {
    let mut told = Vec::new();
    loop {
        let problems = problems(&node).await;
        report(&reporters, problems.is_empty()).await;
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
    report(&reporters, false).await;
}

async fn report([national, peers]: &[HealthReporter; 2], ready: bool) {
    let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    national.set_service_status("", status).await;
    national.set_service_status(<IngestServer<Ingest> as tonic::server::NamedService>::NAME, status).await;
    national
        .set_service_status(<DeliveryServer<Delivery> as tonic::server::NamedService>::NAME, status)
        .await;
    peers.set_service_status("", status).await;
    peers.set_service_status(<ExchangeServer<Exchange> as tonic::server::NamedService>::NAME, status).await;
}
