//! The admin listener, for loopback only: health, metrics, and the peers' receipts.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use proto::batch::Stage;
use proto::ids::CountryCode;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::node::Node;
use crate::outbound::receipts;
use crate::{backlog, expiry, health};

const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves until it is stopped.
pub async fn serve(node: Arc<Node>, listener: TcpListener, stop: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/receipts/{peer}/{stage}", get(receipt))
        .with_state(node);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn ready(State(node): State<Arc<Node>>) -> impl IntoResponse {
    let problems = health::problems(&node).await;
    if problems.is_empty() {
        return (StatusCode::OK, "ready\n".to_string());
    }
    (StatusCode::SERVICE_UNAVAILABLE, problems.join("\n") + "\n")
}

async fn metrics(State(node): State<Arc<Node>>) -> impl IntoResponse {
    if let Err(cause) = backlog::show(&node).await {
        node.metrics.nothing_known_to_wait();
        debug!(%cause, "the backlog is not known; /readyz says why");
    }
    node.metrics.key_lists(node.key_lists.ready(node.clock.now()));
    node.metrics.store_size(node.store.size().bytes);
    node.metrics.expiries(&expiry::all(&node));
    ([(header::CONTENT_TYPE, METRICS)], node.metrics.text())
}

/// The last receipt of a peer for a stage, `stored` or `delivered`: an `exchange.v1.AcknowledgeRequest` as it was signed.
async fn receipt(
    State(node): State<Arc<Node>>,
    Path((peer, stage)): Path<(u16, String)>,
) -> Result<Bytes, StatusCode> {
    let peer = CountryCode::new(peer).map_err(|_| StatusCode::NOT_FOUND)?;
    let stage = match stage.as_str() {
        "stored" => Stage::Stored,
        "delivered" => Stage::Delivered,
        _ => return Err(StatusCode::NOT_FOUND),
    };
    let last = receipts::last(&node, peer, stage).await;
    last.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?.ok_or(StatusCode::NOT_FOUND)
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;
    use crate::backlog::Waiting;
    use crate::fixture;

    async fn page(node: &Arc<Node>) -> String {
        let answer = metrics(State(node.clone())).await.into_response();
        let octets = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(octets.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn what_waits_is_not_shown_when_the_store_cannot_say_it() {
        let fixture = fixture::node();
        let (peer, waiting) = (CountryCode::new(250).unwrap(), Waiting { batches: 7, oldest_seconds: 7 });
        fixture.node.metrics.unacknowledged(peer, waiting);
        fixture.node.metrics.cursor_lag(peer, 7);
        fixture.node.metrics.undelivered("826/1".parse().unwrap(), waiting);
        assert_eq!(page(&fixture.node).await.matches("} 7\n").count(), 5);
        fixture.node.store.close().await.unwrap();
        let old = page(&fixture.node).await;
        assert_eq!(old.matches("} 7\n").count(), 0, "{old}");
        assert!(old.contains("exchange_build_info"), "the rest is there");
    }
}
