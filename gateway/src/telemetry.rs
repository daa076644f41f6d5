//! What is counted, and how it is shown: Prometheus text on the admin listener, logs on standard error.

use std::fmt::Display;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use proto::ids::{Authority, CountryCode};
use proto::verdict::Verdict;
use tracing_subscriber::EnvFilter;

use crate::backlog::Waiting;
use crate::config::{LogConfig, LogFormat};

/// Every metric of the gateway. Labels name countries, authorities and reasons; never a token.
pub struct Metrics {
    registry: Registry,
    pushes: Counter,
    envelopes: Family<VerdictLabel, Counter>,
    batches: Family<FlowLabel, Counter>,
    octets: Family<FlowLabel, Counter>,
    refusals: Family<RefusalLabel, Counter>,
    delivered: Family<AuthorityLabel, Counter>,
    handshakes: Family<ReasonLabel, Counter>,
    undelivered_age: Family<AuthorityLabel, Gauge<u64, AtomicU64>>,
    undelivered: Family<AuthorityLabel, Gauge<u64, AtomicU64>>,
    unacknowledged_age: Family<PeerLabel, Gauge<u64, AtomicU64>>,
    unacknowledged: Family<PeerLabel, Gauge<u64, AtomicU64>>,
    pulls_failed: Family<PeerLabel, Counter>,
    over_quota: Family<OverLabel, Counter>,
    store_bytes: Gauge<u64, AtomicU64>,
    damaged: Family<StreamLabel, Counter>,
    mended: Counter,
    lost: Family<StreamLabel, Counter>,
    purged: Counter,
    trust_expires: Gauge<u64, AtomicU64>,
    certificate_expires: Gauge<u64, AtomicU64>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VerdictLabel {
    verdict: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FlowLabel {
    peer: String,
    direction: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RefusalLabel {
    peer: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AuthorityLabel {
    authority: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PeerLabel {
    peer: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StreamLabel {
    stream: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OverLabel {
    caller: String,
    what: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("exchange"),
            pushes: Counter::default(),
            envelopes: Family::default(),
            batches: Family::default(),
            octets: Family::default(),
            refusals: Family::default(),
            delivered: Family::default(),
            handshakes: Family::default(),
            undelivered_age: Family::default(),
            undelivered: Family::default(),
            unacknowledged_age: Family::default(),
            unacknowledged: Family::default(),
            pulls_failed: Family::default(),
            over_quota: Family::default(),
            store_bytes: Gauge::default(),
            damaged: Family::default(),
            mended: Counter::default(),
            lost: Family::default(),
            purged: Counter::default(),
            trust_expires: Gauge::default(),
            certificate_expires: Gauge::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let to = &mut self.registry;
        to.register("pushes", "Pushes kept", self.pushes.clone());
        to.register("envelopes", "Envelopes pushed, by verdict", self.envelopes.clone());
        to.register("batches", "Batches kept for a peer (out) or from a peer (in)", self.batches.clone());
        to.register_with_unit("sealed", "Sealed octets of those batches", Unit::Bytes, self.octets.clone());
        to.register(
            "batches_refused",
            "ALARM: batches of a peer that failed verification",
            self.refusals.clone(),
        );
        to.register(
            "batches_delivered",
            "Batches acknowledged by an authority's adapter",
            self.delivered.clone(),
        );
        to.register("handshakes_failed", "TLS handshakes that failed, by reason", self.handshakes.clone());
        let help = "Age of the oldest batch that an authority's adapter has not taken";
        to.register_with_unit("oldest_undelivered", help, Unit::Seconds, self.undelivered_age.clone());
        to.register(
            "undelivered_batches",
            "Batches that an authority's adapter has not taken",
            self.undelivered.clone(),
        );
        to.register(
            "unacknowledged_batches",
            "Batches that a peer has not acknowledged as delivered",
            self.unacknowledged.clone(),
        );
        to.register(
            "pulls_failed",
            "Pulls from a peer that brought nothing but an error",
            self.pulls_failed.clone(),
        );
        to.register("over_quota", "Calls refused because of the caller's quota", self.over_quota.clone());
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        to.register("build", "The software that runs", build);
        let help = "Age of the oldest batch that a peer has not acknowledged";
        to.register_with_unit("oldest_unacknowledged", help, Unit::Seconds, self.unacknowledged_age.clone());
        to.register_with_unit(
            "store",
            "Octets of the store's segments",
            Unit::Bytes,
            self.store_bytes.clone(),
        );
        let help = "When the trust list in force expires, seconds since 1970";
        to.register_with_unit("trust_list_expiry_timestamp", help, Unit::Seconds, self.trust_expires.clone());
        let help = "When this gateway's certificate expires, seconds since 1970";
        to.register_with_unit(
            "certificate_expiry_timestamp",
            help,
            Unit::Seconds,
            self.certificate_expires.clone(),
        );
        to.register("batches_damaged", "ALARM: kept batches whose checksum is wrong", self.damaged.clone());
        to.register("batches_mended", "Damaged batches that were fetched again", self.mended.clone());
        to.register("batches_lost", "ALARM: damaged batches that nobody else has", self.lost.clone());
        to.register("batches_purged", "Batches removed after their time", self.purged.clone());
    }

    /// Counts a push that was kept, and the batches that came of it.
    pub fn pushed(&self, verdicts: &[Verdict], batches: &[(CountryCode, usize)]) {
        self.pushes.inc();
        for verdict in Verdict::ALL {
            let count = verdicts.iter().filter(|given| **given == verdict).count() as u64;
            if count > 0 {
                self.envelopes.get_or_create(&VerdictLabel { verdict: verdict.name() }).inc_by(count);
            }
        }
        for (peer, octets) in batches {
            self.flow(*peer, "out", (1, *octets));
        }
    }

    /// Counts the batches of a page that was kept.
    pub fn pulled(&self, origin: CountryCode, batches: usize, octets: usize) {
        self.flow(origin, "in", (batches, octets));
    }

    fn flow(&self, peer: CountryCode, direction: &'static str, (batches, octets): (usize, usize)) {
        let label = FlowLabel { peer: peer.to_string(), direction };
        self.batches.get_or_create(&label).inc_by(batches as u64);
        self.octets.get_or_create(&label).inc_by(octets as u64);
    }

    /// Counts a batch that failed verification: an alarm.
    pub fn refused(&self, origin: CountryCode, reason: &'static str) {
        self.refusals.get_or_create(&RefusalLabel { peer: origin.to_string(), reason }).inc();
    }

    /// Counts batches that an adapter has taken.
    pub fn delivered(&self, authority: Authority, batches: u64) {
        self.delivered.get_or_create(&AuthorityLabel { authority: authority.to_string() }).inc_by(batches);
    }

    /// Counts a handshake that failed.
    pub fn handshake_failed(&self, reason: &'static str) {
        self.handshakes.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a kept batch that is found damaged: an alarm.
    pub fn damaged(&self, stream: &'static str) {
        self.damaged.get_or_create(&StreamLabel { stream }).inc();
    }

    /// Counts a damaged batch that was fetched again.
    pub fn mended(&self) {
        self.mended.inc();
    }

    /// Counts a damaged batch that nobody can bring back: an alarm.
    pub fn lost(&self, stream: &'static str) {
        self.lost.get_or_create(&StreamLabel { stream }).inc();
    }

    /// Counts what retention removed.
    pub fn purged(&self, batches: u64) {
        self.purged.inc_by(batches);
    }

    /// What an adapter has not taken.
    pub fn undelivered(&self, authority: Authority, waiting: Waiting) {
        let label = AuthorityLabel { authority: authority.to_string() };
        self.undelivered_age.get_or_create(&label).set(waiting.oldest_seconds);
        self.undelivered.get_or_create(&label).set(waiting.batches);
    }

    /// What a peer has not acknowledged.
    pub fn unacknowledged(&self, peer: CountryCode, waiting: Waiting) {
        let label = PeerLabel { peer: peer.to_string() };
        self.unacknowledged_age.get_or_create(&label).set(waiting.oldest_seconds);
        self.unacknowledged.get_or_create(&label).set(waiting.batches);
    }

    /// Counts a pull that failed.
    pub fn pull_failed(&self, origin: CountryCode) {
        self.pulls_failed.get_or_create(&PeerLabel { peer: origin.to_string() }).inc();
    }

    /// Counts a call that was refused because of its caller's quota.
    pub fn over_quota(&self, caller: &impl Display, what: &'static str) {
        self.over_quota.get_or_create(&OverLabel { caller: caller.to_string(), what }).inc();
    }

    /// When the trust list and our certificate expire, seconds since 1970.
    pub fn expiries(&self, trust_list: u64, certificate: u64) {
        self.trust_expires.set(trust_list);
        self.certificate_expires.set(certificate);
    }

    /// What the store takes up.
    pub fn store_size(&self, octets: u64) {
        self.store_bytes.set(octets);
    }

    /// All of it as Prometheus (OpenMetrics) text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        match text::encode(&mut out, &self.registry) {
            Ok(()) => out,
            Err(_) => String::from("# the metrics could not be written\n"),
        }
    }
}

/// Logs to standard error, as the configuration says; `RUST_LOG` goes before its level.
pub fn log(config: &LogConfig) {
    let filter = EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new(&config.level));
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter);
    let started = match config.format {
        LogFormat::Text => logs.try_init(),
        LogFormat::Json => logs.json().try_init(),
    };
    if let Err(error) = started {
        eprintln!("logging was set up before: {error}");
    }
}
