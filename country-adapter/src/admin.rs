//! Health and metrics over plain HTTP, on the loopback interface. `deploy/metrics.md` lists every name.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use pki::trust::TrustList;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::blocking::blocking;
use crate::clock::Clock;
use crate::counters::{Counters, Snapshot};
use crate::durable;
use crate::intake::Refused;
use crate::lists::Poster;
use crate::panics;

const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What has arrived is posted within this time, or the adapter is ill (`herald.md` D18).
const POSTED: Duration = Duration::from_secs(30 * 60);

/// What there is to show.
pub struct Admin {
    /// What has come and gone.
    pub counters: Arc<Counters>,
    /// The lists, if there are any.
    pub poster: Option<Arc<Poster>>,
    /// What waits for the national system.
    pub webhook_queue: Option<PathBuf>,
    /// What the national system refused for good.
    pub dead_letters: Option<PathBuf>,
    /// The trust list in force.
    pub trust: watch::Receiver<Arc<TrustList>>,
    /// When the adapter's certificate ends, Unix seconds.
    pub certificate_ends: i64,
    /// The time.
    pub clock: Clock,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// Serves until the stop.
pub async fn serve(admin: Arc<Admin>, listener: TcpListener, stop: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(admin);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn ready(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let problems = blocking(move || admin.problems()).await;
    if problems.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, problems.join("\n") + "\n")
}

async fn metrics(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, METRICS)], blocking(move || admin.text()).await)
}

impl Admin {
    /// What keeps the adapter from its work, each with a remedy.
    fn problems(&self) -> Vec<String> {
        let now = self.clock.now();
        let mut problems = Vec::new();
        if self.trust.borrow().expires <= now {
            problems.push("trust list: expired; install a newer one".into());
        }
        if self.certificate_ends <= i64::try_from(now).unwrap_or(i64::MAX) {
            problems.push("certificate: expired; ask the country for a new one and restart".into());
        }
        if self.oldest_waiting() > POSTED {
            problems
                .push("lists: something has been waiting for more than 30 minutes; the log says why".into());
        }
        problems
    }

    fn set_aside(&self) -> u64 {
        let count = self.poster.as_ref().map_or(0, |poster| poster.set_aside());
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    fn oldest_waiting(&self) -> Duration {
        self.poster.as_ref().and_then(|poster| poster.oldest_waiting()).unwrap_or_default()
    }

    /// All metrics as OpenMetrics text.
    fn text(&self) -> String {
        let mut registry = Registry::with_prefix("adapter");
        counters(&mut registry, &self.counters.snapshot());
        let gauge = |value: u64| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        let files = |folder: &Option<PathBuf>, ending: &str| {
            let names = folder.as_ref().map(|folder| durable::names(folder).unwrap_or_default());
            let count = names.unwrap_or_default().iter().filter(|name| name.ends_with(ending)).count();
            gauge(u64::try_from(count).unwrap_or(u64::MAX))
        };
        let to = &mut registry;
        to.register(
            "oldest_unposted_seconds",
            "Age of the oldest entry that is not posted",
            gauge(self.oldest_waiting().as_secs()),
        );
        to.register(
            "postings_damaged",
            "ALARM: files for the lists that were set aside",
            gauge(self.set_aside()),
        );
        to.register(
            "webhook_waiting",
            "Files that wait for the national system",
            files(&self.webhook_queue, ".ndjson"),
        );
        to.register(
            "webhook_dead_letters",
            "Parts that the national system refused for good",
            files(&self.dead_letters, ".json"),
        );
        to.register(
            "trust_list_expiry_timestamp_seconds",
            "When the trust list in force expires",
            gauge(self.trust.borrow().expires),
        );
        to.register(
            "certificate_expiry_timestamp_seconds",
            "When this adapter's certificate expires",
            ConstGauge::new(self.certificate_ends),
        );
        to.register("panics", "ALARM: defects that failed what they happened in", panics::counter());
        to.register("build", "The software that runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let mut out = String::new();
        match text::encode(&mut out, &registry) {
            Ok(()) => out,
            Err(_) => "# the metrics could not be written\n".into(),
        }
    }
}

fn counters(to: &mut Registry, now: &Snapshot) {
    for (name, help, value) in [
        ("envelopes_accepted", "Envelopes that the gateway accepted", now.accepted),
        ("envelopes_not_accepted", "Envelopes that it answered otherwise", now.not_accepted),
        ("envelopes_refused", "Envelopes whose push was refused whole", now.refused),
        ("lines_rejected", "Lines of outgoing files that were not sent", now.rejected_here),
        ("pushes", "Pushes that were answered", now.pushes),
        ("batches", "Delivered batches that are kept", now.batches),
        ("reports", "Reports in them", now.reports),
        ("batches_replayed", "Batches that had been delivered before", now.replayed),
        ("batches_quarantined", "ALARM: batches that were set aside", now.quarantined),
        ("batches_dropped", "ALARM: batches for which quarantine had no room", now.dropped),
        ("reports_bad", "ALARM: reports that do not decode, or are for others", now.bad_reports),
        ("positions_missing", "ALARM: positions that the gateway left out", now.gaps),
        ("events", "Reports that passed the desk", now.events),
    ] {
        to.register(name, help, ConstCounter::new(value));
    }
    to.register(
        "backlog",
        "Envelopes that are sealed and not answered",
        ConstGauge::new(i64::try_from(now.backlog).unwrap_or(i64::MAX)),
    );
    let refused = Family::<Reason, Counter>::default();
    for (reason, count) in Refused::ALL.into_iter().zip(now.tokens_refused) {
        refused.get_or_create(&Reason { reason: reason.name() }).inc_by(count);
    }
    to.register("tokens_refused", "Reports that came to nothing, by reason", refused);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    async fn admin() -> (World, Admin) {
        let world = World::start().await;
        let trust = world.trust.subscribe();
        let (counters, clock) = (Arc::default(), world.clock.clone());
        let none = (None, None, None);
        let (poster, webhook_queue, dead_letters) = none;
        let admin =
            Admin { counters, poster, webhook_queue, dead_letters, trust, certificate_ends: i64::MAX, clock };
        (world, admin)
    }

    #[tokio::test]
    async fn every_metric_is_on_the_page_and_every_name_of_the_page_is_a_metric() {
        let (_world, admin) = admin().await;
        let text = admin.text();
        let page = include_str!("../../deploy/metrics.md");
        let mut names: Vec<_> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split([' ', '{']).next().unwrap_or_default())
            .collect();
        names.dedup();
        assert!(names.len() > 15);
        for name in &names {
            assert!(page.contains(&format!("`{name}`")), "{name} is not in deploy/metrics.md");
        }
        let documented = page.split('`').filter(|word| word.starts_with("adapter_"));
        for name in documented {
            assert!(names.contains(&name), "{name} is in deploy/metrics.md, and no metric");
        }
    }

    #[tokio::test]
    async fn every_metric_has_the_labels_of_the_page_and_no_others() {
        let (_world, admin) = admin().await;
        let text = admin.text();
        let page = include_str!("../../deploy/metrics.md");
        let mut seen = 0;
        for row in page.lines().filter_map(|line| line.strip_prefix("| `adapter_")) {
            let cells: Vec<_> = row.split('|').collect();
            let name = format!("adapter_{}", cells[0].trim().trim_end_matches('`'));
            let of_page: Vec<_> =
                cells[1].split(',').map(str::trim).filter(|label| !label.is_empty()).collect();
            let samples = text.lines().filter_map(|line| line.strip_prefix(name.as_str()));
            for sample in samples.filter(|rest| rest.starts_with(['{', ' '])) {
                let labels = sample.split_once('}').map_or("", |(labels, _)| labels);
                let labels: Vec<_> =
                    labels.split(['{', ',']).filter_map(|label| Some(label.split_once('=')?.0)).collect();
                assert_eq!(labels, of_page, "{name}");
                seen += 1;
            }
        }
        assert!(seen > 20, "{seen}");
    }

    #[tokio::test]
    async fn what_keeps_it_from_its_work_is_said_with_a_remedy() {
        let (world, mut admin) = admin().await;
        assert!(admin.problems().is_empty());
        admin.certificate_ends = 0;
        assert!(admin.problems()[0].starts_with("certificate: expired; ask"));
        world.clock.turn(20 * 365 * 86_400);
        assert!(admin.problems()[0].starts_with("trust list: expired; install"));
    }
}
