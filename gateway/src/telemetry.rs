//! What is counted, and how it is shown: Prometheus text on the admin listener, logs on standard error.

use std::fmt::Display;
use std::sync::atomic::AtomicU64;
use std::time::UNIX_EPOCH;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use proto::ids::{Authority, CountryCode};
use proto::verdict::Verdict;
use tonic::Status;
use tracing_subscriber::EnvFilter;

use crate::alert::Failure;
use crate::backlog::Waiting;
use crate::config::{LogConfig, LogFormat};
use crate::expiry::Expiry;
use crate::peers::Gone;
use crate::{circuit, labels, panics, status};

/// Every metric of the gateway. Labels name countries, authorities and reasons; never a token.
pub struct Metrics {
    registry: Registry,
    pushes: Counter,
    envelopes: Family<labels::Verdict, Counter>,
    batches: Family<labels::Flow, Counter>,
    octets: Family<labels::Flow, Counter>,
    refusals: Family<labels::Refused, Counter>,
    delivered: Family<labels::Authority, Counter>,
    handshakes: Family<labels::Handshake, Counter>,
    undelivered_age: Family<labels::Authority, Gauge<u64, AtomicU64>>,
    undelivered: Family<labels::Authority, Gauge<u64, AtomicU64>>,
    unacknowledged_age: Family<labels::Peer, Gauge<u64, AtomicU64>>,
    unacknowledged: Family<labels::Peer, Gauge<u64, AtomicU64>>,
    cursor_lag: Family<labels::Peer, Gauge<u64, AtomicU64>>,
    pushes_waiting: Gauge,
    retries: Family<labels::Outgoing, Counter>,
    circuit_state: Family<labels::Peer, Gauge<u64, AtomicU64>>,
    circuits_opened: Family<labels::Peer, Counter>,
    over_quota: Family<labels::Over, Counter>,
    calls_refused: Family<labels::Failed, Counter>,
    connections_broken: Family<labels::Failed, Counter>,
    store_bytes: Gauge<u64, AtomicU64>,
    damaged: Family<labels::Stream, Counter>,
    mended: Counter,
    lost: Family<labels::Stream, Counter>,
    purged: Counter,
    key_lists: Gauge<u64, AtomicU64>,
    expiries: Family<labels::Expiring, Gauge<u64, AtomicU64>>,
}

/// A push that waits for its turn; dropped, it waits no longer.
pub struct PushWaits(Gauge);

impl Drop for PushWaits {
    fn drop(&mut self) {
        self.0.dec();
    }
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
            cursor_lag: Family::default(),
            pushes_waiting: Gauge::default(),
            retries: Family::default(),
            circuit_state: Family::default(),
            circuits_opened: Family::default(),
            over_quota: Family::default(),
            calls_refused: Family::default(),
            connections_broken: Family::default(),
            store_bytes: Gauge::default(),
            damaged: Family::default(),
            mended: Counter::default(),
            lost: Family::default(),
            purged: Counter::default(),
            key_lists: Gauge::default(),
            expiries: Family::default(),
        };
        metrics.register_flow();
        metrics.register_waiting();
        metrics.register_failures();
        metrics.register_process();
        metrics.begin();
        metrics
    }
}

impl Metrics {
    /// What goes through.
    fn register_flow(&mut self) {
        let to = &mut self.registry;
        to.register("pushes", "Pushes kept", self.pushes.clone());
        to.register("envelopes", "Envelopes pushed, by verdict", self.envelopes.clone());
        to.register("batches", "Batches kept for a peer (out) or from a peer (in)", self.batches.clone());
        to.register_with_unit("sealed", "Sealed octets of those batches", Unit::Bytes, self.octets.clone());
        let help = "Batches acknowledged by an authority's adapter";
        to.register("batches_delivered", help, self.delivered.clone());
        to.register("batches_purged", "Batches removed after their time", self.purged.clone());
    }

    /// What waits, and for how long.
    fn register_waiting(&mut self) {
        let to = &mut self.registry;
        let help = "Age of the oldest batch that an authority's adapter has not taken";
        to.register_with_unit("oldest_undelivered", help, Unit::Seconds, self.undelivered_age.clone());
        let help = "Batches that an authority's adapter has not taken";
        to.register("undelivered_batches", help, self.undelivered.clone());
        let help = "Age of the oldest batch that a peer has not acknowledged";
        to.register_with_unit("oldest_unacknowledged", help, Unit::Seconds, self.unacknowledged_age.clone());
        let help = "Batches that a peer has not acknowledged as delivered";
        to.register("unacknowledged_batches", help, self.unacknowledged.clone());
        let help = "Batches between the end of a peer's stream and the last one that it says it has stored";
        to.register("cursor_lag_batches", help, self.cursor_lag.clone());
        let help = "Authorities with a key in force, ours included: tokens for all others wait";
        to.register("key_lists_in_force", help, self.key_lists.clone());
        to.register("pushes_waiting", "Pushes that wait to be worked on", self.pushes_waiting.clone());
    }

    /// What goes wrong.
    fn register_failures(&mut self) {
        let to = &mut self.registry;
        let help = "ALARM: batches of a peer that failed verification";
        to.register("batches_refused", help, self.refusals.clone());
        let help = "TLS handshakes that failed, by listener, reason and alert";
        to.register("handshakes_failed", help, self.handshakes.clone());
        let help = "Connections that ended other than they should, behind a good handshake";
        to.register("connections_broken", help, self.connections_broken.clone());
        to.register("calls_refused", "Calls answered with an error, by reason", self.calls_refused.clone());
        to.register("over_quota", "Calls refused because of the caller's quota", self.over_quota.clone());
        let help = "Calls to a peer that failed and are made again";
        to.register("retries", help, self.retries.clone());
        let help = "Whether a peer is called: 0 yes (closed), 1 one call tries (half-open), 2 no (open)";
        to.register("circuit_state", help, self.circuit_state.clone());
        let help = "Times that a peer was left alone because it did not answer";
        to.register("circuits_opened", help, self.circuits_opened.clone());
        let help = "ALARM: kept batches whose checksum is wrong";
        to.register("batches_damaged", help, self.damaged.clone());
        to.register("batches_mended", "Damaged batches that were fetched again", self.mended.clone());
        to.register("batches_lost", "ALARM: damaged batches that nobody else has", self.lost.clone());
        to.register("panics", "ALARM: defects that failed what they happened in", panics::counter());
    }

    /// What the process is and has.
    fn register_process(&mut self) {
        let to = &mut self.registry;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        to.register("build", "The software that runs", build);
        let started: Gauge<u64, AtomicU64> = Gauge::default();
        started.set(UNIX_EPOCH.elapsed().unwrap_or_default().as_secs());
        let help = "When the process started, seconds since 1970";
        to.register_with_unit("start_timestamp", help, Unit::Seconds, started);
        let help = "Octets of the store's segments";
        to.register_with_unit("store", help, Unit::Bytes, self.store_bytes.clone());
        let help = "When something expires that this gateway needs, seconds since 1970";
        to.register_with_unit("expiry_timestamp", help, Unit::Seconds, self.expiries.clone());
    }

    /// Shows at 0 what an alert waits for and may be told only once. A counter that first appears with its value has
    /// not grown: an alert on its growth would miss that.
    fn begin(&self) {
        for verdict in Verdict::ALL {
            self.envelopes.get_or_create(&labels::Verdict { verdict: verdict.name() }).inc_by(0);
        }
        for stream in ["inbox", "outbox", "answer"] {
            self.damaged.get_or_create(&labels::Stream { stream }).inc_by(0);
        }
        for stream in ["inbox", "outbox"] {
            self.lost.get_or_create(&labels::Stream { stream }).inc_by(0);
        }
    }

    /// The same for a peer that is pulled from now on. What one of the two has lost is told once and stepped over; any
    /// other refusal comes again with the next pull.
    pub fn follow(&self, peer: CountryCode) {
        for reason in [Gone::Purged.name(), Gone::Damaged.name(), "our_store_is_damaged"] {
            self.refusals.get_or_create(&labels::Refused { peer: peer.to_string(), reason }).inc_by(0);
        }
    }

    /// Counts a push that was kept.
    pub fn pushed(&self, verdicts: &[Verdict]) {
        self.pushes.inc();
        // By their numbers, which begin at 1.
        let mut counts = [0; Verdict::ALL.len() + 1];
        for verdict in verdicts {
            counts[usize::from(verdict.number())] += 1;
        }
        for verdict in Verdict::ALL {
            let count = counts[usize::from(verdict.number())];
            if count > 0 {
                self.envelopes.get_or_create(&labels::Verdict { verdict: verdict.name() }).inc_by(count);
            }
        }
    }

    /// Counts batches that were sealed and kept: whose gateway pulls each, and its octets.
    pub fn sealed(&self, batches: &[(CountryCode, usize)]) {
        for (peer, octets) in batches {
            self.flow(*peer, "out", (1, *octets));
        }
    }

    /// Counts the batches of a page that was kept.
    pub fn pulled(&self, origin: CountryCode, batches: usize, octets: usize) {
        self.flow(origin, "in", (batches, octets));
    }

    fn flow(&self, peer: CountryCode, direction: &'static str, (batches, octets): (usize, usize)) {
        let label = labels::Flow { peer: peer.to_string(), direction };
        self.batches.get_or_create(&label).inc_by(batches as u64);
        self.octets.get_or_create(&label).inc_by(octets as u64);
    }

    /// Counts a batch that failed verification: an alarm.
    pub fn refused(&self, origin: CountryCode, reason: &'static str) {
        self.refusals.get_or_create(&labels::Refused { peer: origin.to_string(), reason }).inc();
    }

    /// Counts batches that an adapter has taken.
    pub fn delivered(&self, authority: Authority, batches: u64) {
        self.delivered.get_or_create(&labels::Authority { authority: authority.to_string() }).inc_by(batches);
    }

    /// Counts a handshake that failed, on a listener or on the way out.
    pub fn handshake_failed(&self, listener: &'static str, failure: Failure) {
        let Failure { reason, alert } = failure;
        self.handshakes.get_or_create(&labels::Handshake { listener, reason, alert }).inc();
    }

    /// Counts a connection that did not end as it should.
    pub fn connection_broken(&self, caller: &impl Display, reason: &'static str) {
        let label = labels::Failed { caller: caller.to_string(), reason: reason.into() };
        self.connections_broken.get_or_create(&label).inc();
    }

    /// Counts a call that was answered with an error.
    pub fn call_refused(&self, caller: &str, refused: &Status) {
        let label = labels::Failed { caller: caller.to_string(), reason: status::reason(refused) };
        self.calls_refused.get_or_create(&label).inc();
    }

    /// Counts a kept batch that is found damaged: an alarm.
    pub fn damaged(&self, stream: &'static str) {
        self.damaged.get_or_create(&labels::Stream { stream }).inc();
    }

    /// Counts a damaged batch that was fetched again.
    pub fn mended(&self) {
        self.mended.inc();
    }

    /// Counts a damaged batch that nobody can bring back: an alarm.
    pub fn lost(&self, stream: &'static str) {
        self.lost.get_or_create(&labels::Stream { stream }).inc();
    }

    /// Counts what retention removed.
    pub fn purged(&self, batches: u64) {
        self.purged.inc_by(batches);
    }

    /// What an adapter has not taken.
    pub fn undelivered(&self, authority: Authority, waiting: Waiting) {
        let label = labels::Authority { authority: authority.to_string() };
        self.undelivered_age.get_or_create(&label).set(waiting.oldest_seconds);
        self.undelivered.get_or_create(&label).set(waiting.batches);
    }

    /// What a peer has not acknowledged.
    pub fn unacknowledged(&self, peer: CountryCode, waiting: Waiting) {
        let label = labels::Peer { peer: peer.to_string() };
        self.unacknowledged_age.get_or_create(&label).set(waiting.oldest_seconds);
        self.unacknowledged.get_or_create(&label).set(waiting.batches);
    }

    /// How far a peer's cursor is behind the end of its stream.
    pub fn cursor_lag(&self, peer: CountryCode, batches: u64) {
        self.cursor_lag.get_or_create(&labels::Peer { peer: peer.to_string() }).set(batches);
    }

    /// What waits is not known now: old figures would look like new ones.
    pub fn nothing_known_to_wait(&self) {
        for family in [&self.undelivered, &self.undelivered_age] {
            family.clear();
        }
        for family in [&self.unacknowledged, &self.unacknowledged_age, &self.cursor_lag] {
            family.clear();
        }
    }

    /// Counts a push that waits for its turn, for as long as it does.
    #[must_use]
    pub fn push_waits(&self) -> PushWaits {
        self.pushes_waiting.inc();
        PushWaits(self.pushes_waiting.clone())
    }

    /// Counts a call to a peer that failed and is made again.
    pub fn retried(&self, peer: CountryCode, call: &'static str) {
        self.retries.get_or_create(&labels::Outgoing { peer: peer.to_string(), call }).inc();
    }

    /// Shows what the circuit to a peer lets through, and counts if it has opened.
    pub fn circuit(&self, peer: CountryCode, before: circuit::State, after: circuit::State) {
        let label = labels::Peer { peer: peer.to_string() };
        self.circuit_state.get_or_create(&label).set(after.number());
        if matches!(after, circuit::State::Open(_)) && before != after {
            self.circuits_opened.get_or_create(&label).inc();
        }
    }

    /// Counts a call that was refused because of its caller's quota.
    pub fn over_quota(&self, caller: &impl Display, what: &'static str) {
        self.over_quota.get_or_create(&labels::Over { caller: caller.to_string(), what }).inc();
    }

    /// When everything expires that does, and nothing else.
    pub fn expiries(&self, all: &[Expiry]) {
        self.expiries.clear();
        for Expiry { what, of, at } in all {
            self.expiries.get_or_create(&labels::Expiring { what, of: of.clone() }).set(*at);
        }
    }

    /// How many authorities have a key that can be sealed to.
    pub fn key_lists(&self, in_force: usize) {
        self.key_lists.set(in_force as u64);
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

/// What others may say at most, whatever is asked for. sled writes a line of debug when the last thread that used it is
/// gone; the logger's own thread locals are gone by then, and the process would abort after a clean stop. Below this
/// level the driver of the database writes the values of its statements.
const QUIET: [&str; 3] = ["sled=info", "tokio_postgres=info", "postgres_protocol=info"];

/// Logs to standard error, as the configuration says; `RUST_LOG` goes before its level.
pub fn log(config: &LogConfig) {
    let filter = EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new(&config.level));
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info"));
    let filter = QUIET.iter().fold(filter, |filter, quiet| {
        filter.add_directive(quiet.parse().expect("a target and a level are a directive"))
    });
    // A log that cannot be written is told nowhere: to print so where it cannot be printed either would be a panic.
    let logs = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter);
    let logs = logs.log_internal_errors(false);
    let started = match config.format {
        LogFormat::Text => logs.try_init(),
        LogFormat::Json => logs.json().try_init(),
    };
    if let Err(error) = started {
        eprintln!("logging was set up before: {error}");
    }
}

#[cfg(test)]
#[path = "telemetry_tests.rs"]
mod tests;
