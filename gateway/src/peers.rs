//! Calling other countries' gateways: one channel for each, made anew when trust or failures ask for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pki::trust::{Country, Status};
use pki::{dial, tls};
use proto::ids::{CountryCode, Sequence};
use proto::limits;
use proto::wire::exchange_client::ExchangeClient;
use tonic::transport::Channel;
use tonic::{Code, Response, Status as CallStatus};
use tonic_types::StatusExt;
use tracing::info;

use crate::alert::Failure;
use crate::circuit::{Circuit, State};
use crate::node::Node;

/// The longest pause that a peer may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The channels to the gateways of the federation.
pub struct Peers {
    node: Arc<Node>,
    /// Where our own gateway listens: tokens between states of one country go by loopback.
    loopback: String,
    channels: Mutex<HashMap<CountryCode, Line>>,
    /// Which peers are worth calling.
    circuits: Mutex<HashMap<CountryCode, Circuit>>,
}

/// A channel, what it was made of, and which of the endpoints it leads to.
struct Line {
    channel: Channel,
    country: Country,
    endpoint: usize,
}

/// Why a peer does not have a batch any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// Nobody fetched it in time.
    Purged,
    /// Its store was damaged, and nobody else had it.
    Damaged,
}

impl Gone {
    /// A stable name for metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Purged => "purged",
            Self::Damaged => "damaged_at_origin",
        }
    }
}

/// Why a peer gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The trust list has no such peer, or none that is active.
    #[error("country {0} is not active in the trust list")]
    NotActive(CountryCode),
    /// The trust list's time is over.
    #[error("the trust list has expired; install a newer one")]
    ListExpired,
    /// The trust list has no address for it.
    #[error("country {0} has no endpoint in the trust list")]
    NoEndpoint(CountryCode),
    /// No TLS configuration or channel can be made for it.
    #[error("country {country}: {reason}")]
    Channel {
        /// Which.
        country: CountryCode,
        /// Why.
        reason: String,
    },
    /// It answered with an error, or the line failed.
    #[error("country {country}: {}{}", text(status), source_text(status))]
    Answer {
        /// Which.
        country: CountryCode,
        /// What it said.
        status: Box<CallStatus>,
    },
    /// It has not answered several times in a row, and is left alone for a while.
    #[error("country {country} has not answered for some time; it is tried again in {} ms", again.as_millis())]
    Resting {
        /// Which.
        country: CountryCode,
        /// When to ask again.
        again: Duration,
    },
    /// It did not answer in time.
    #[error("country {0} did not answer in time")]
    Late(CountryCode),
}

impl PeerError {
    /// If the peer says that it does not have any more what we ask for: why, and the first that it has behind it.
    #[must_use]
    pub fn lost(&self) -> Option<(Gone, u64)> {
        let Self::Answer { status, .. } = self else { return None };
        let details = status.get_error_details();
        let info = details.error_info()?;
        let why = match info.reason.as_str() {
            "PURGED" => Gone::Purged,
            "DAMAGED" => Gone::Damaged,
            _ => return None,
        };
        let oldest = Sequence::new(info.metadata.get("oldest")?.parse().ok()?).ok()?;
        Some((why, oldest.number()))
    }

    /// Whether the peer itself is sick, and not only unwilling.
    fn is_sickness(&self) -> bool {
        match self {
            Self::Late(_) => true,
            Self::Answer { status, .. } => matches!(
                status.code(),
                Code::Unavailable
                    | Code::Unknown
                    | Code::Cancelled
                    | Code::Internal
                    | Code::DataLoss
                    | Code::DeadlineExceeded
            ),
            Self::NotActive(_)
            | Self::ListExpired
            | Self::NoEndpoint(_)
            | Self::Channel { .. }
            | Self::Resting { .. } => false,
        }
    }

    /// The least pause before the next try, if the peer asks for one.
    #[must_use]
    pub fn pause(&self) -> Duration {
        if let Self::Resting { again, .. } = self {
            return *again;
        }
        let Self::Answer { status, .. } = self else { return Duration::ZERO };
        let asked = status.get_details_retry_info().and_then(|info| info.retry_delay);
        asked.unwrap_or_default().min(LONGEST_PAUSE)
    }
}

fn text(status: &CallStatus) -> String {
    // What a peer writes goes into our log: keep it short and on one line.
    let message: String = status.message().chars().filter(|c| !c.is_control()).take(300).collect();
    format!("{:?}: {message}", status.code())
}

/// A refused certificate shows only in the causes.
fn source_text(status: &CallStatus) -> String {
    let mut out = String::new();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        out = format!(": {error}");
        cause = error.source();
    }
    out
}

impl Peers {
    /// No channel is made before it is used.
    #[must_use]
    pub fn new(node: Arc<Node>, loopback: String) -> Self {
        Self { node, loopback, channels: Mutex::default(), circuits: Mutex::default() }
    }

    /// A client for a peer's exchange service, unless the peer is left alone for now.
    pub fn exchange(&self, country: CountryCode) -> Result<ExchangeClient<Channel>, PeerError> {
        let channel = self.channel(country)?;
        let asked = self.circuit(country, |circuit| circuit.ask(Instant::now()));
        asked.map_err(|again| PeerError::Resting { country, again })?;
        Ok(ExchangeClient::new(channel).max_decoding_message_size(2 * limits::MESSAGE_LEN))
    }

    /// Waits for a call, not longer than `deadline`. After a failed line the next endpoint is tried.
    pub async fn call<T>(
        &self,
        country: CountryCode,
        deadline: Duration,
        call: impl Future<Output = Result<Response<T>, CallStatus>>,
    ) -> Result<T, PeerError> {
        let began = Instant::now();
        let answer = match tokio::time::timeout(deadline, call).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => {
                self.note_alert(&status);
                if matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled) {
                    self.next_endpoint(country);
                }
                Err(PeerError::Answer { country, status: Box::new(status) })
            }
            Err(_) => {
                self.next_endpoint(country);
                Err(PeerError::Late(country))
            }
        };
        let is_sick = answer.as_ref().is_err_and(PeerError::is_sickness);
        self.circuit(country, |circuit| match is_sick {
            true => circuit.failed(began, Instant::now()),
            false => circuit.succeeded(),
        });
        answer
    }

    /// Whether a call now tries if the peer is well again: then it should not wait for anything.
    #[must_use]
    pub fn is_trial(&self, country: CountryCode) -> bool {
        self.circuit(country, |circuit| circuit.state() != State::Closed)
    }

    fn circuit<T>(&self, country: CountryCode, act: impl FnOnce(&mut Circuit) -> T) -> T {
        let mut circuits = self.circuits.lock().unwrap_or_else(PoisonError::into_inner);
        let circuit = circuits.entry(country).or_default();
        let before = circuit.state();
        let done = act(circuit);
        let after = circuit.state();
        if before.number() != after.number() {
            info!(%country, ?before, ?after, "the circuit to a peer has changed");
        }
        self.node.metrics.circuit(country, before, after);
        done
    }

    /// Counts the TLS alert that ended a call, if one did: it says why a certificate was refused.
    fn note_alert(&self, status: &CallStatus) {
        let failure = Failure::within(status).filter(|failure| failure.reason != "io");
        if let Some(failure) = failure {
            self.node.metrics.handshake_failed("outgoing", failure);
        }
    }

    /// Drops the line to a country that is no longer in the federation.
    pub fn hang_up(&self, country: CountryCode) {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner).remove(&country);
        self.circuit(country, Circuit::succeeded);
        self.circuits.lock().unwrap_or_else(PoisonError::into_inner).remove(&country);
    }

    fn channel(&self, code: CountryCode) -> Result<Channel, PeerError> {
        let trust = self.node.trust_list();
        if trust.expires <= self.node.clock.now() {
            return Err(PeerError::ListExpired);
        }
        let country = trust.country(code).filter(|country| country.status == Status::Active);
        let country = country.ok_or(PeerError::NotActive(code))?;
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        // A new trust list may name another certificate authority or address: then the old line is dropped.
        if let Some(line) = channels.get(&code).filter(|line| line.country == *country) {
            return Ok(line.channel.clone());
        }
        let line = self.line(country, 0)?;
        let channel = line.channel.clone();
        channels.insert(code, line);
        Ok(channel)
    }

    fn line(&self, country: &Country, endpoint: usize) -> Result<Line, PeerError> {
        let unusable = |reason: String| PeerError::Channel { country: country.code, reason };
        let address = if country.code == self.node.country {
            &self.loopback
        } else {
            let known = country.endpoints.len();
            country.endpoints.get(endpoint % known.max(1)).ok_or(PeerError::NoEndpoint(country.code))?
        };
        let tls = tls::client_config(&self.node.certificate, country)
            .map_err(|error| unusable(error.to_string()))?;
        let channel = dial::channel(address, Arc::new(tls)).map_err(|error| unusable(error.to_string()))?;
        Ok(Line { channel, country: country.clone(), endpoint })
    }

    fn next_endpoint(&self, code: CountryCode) {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(line) = channels.remove(&code) else { return };
        if line.country.endpoints.len() > 1
            && let Ok(line) = self.line(&line.country, line.endpoint + 1)
        {
            channels.insert(code, line);
        }
    }
}
