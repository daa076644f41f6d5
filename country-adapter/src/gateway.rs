//! Calling the own country's gateway, and the one place where its statuses become errors.

use std::time::Duration;

use proto::{limits, wire};
use tokio::sync::watch;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;
use wire::delivery_client::DeliveryClient;
use wire::ingest_client::IngestClient;

use crate::backend::Mark;

/// How long a call may take that does not wait for anything.
const CALL: Duration = Duration::from_secs(60);
/// How much longer than its own waiting a pull may take.
const PULL_MARGIN: Duration = Duration::from_secs(30);
/// The longest pause that a gateway may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The gateway of the own country. Clones share one connection, which changes with the trust list.
#[derive(Clone)]
pub struct Gateway {
    channel: watch::Receiver<Channel>,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Not now: the line is cut, the gateway is full or restarting, or does not let this adapter in yet.
    #[error("the gateway does not answer the call ({code:?}{}): {message}", with_comma(.reason))]
    Again {
        /// The gRPC code.
        code: Code,
        /// The stable reason, if there is one.
        reason: String,
        /// The gateway's words.
        message: String,
        /// How long the gateway asks to be left alone; zero if it does not.
        pause: Duration,
    },
    /// The push is sealed to a key that the gateway no longer has.
    #[error("the gateway does not know the ingress key of this push")]
    UnknownIngressKey,
    /// The gateway has fewer batches than this adapter has taken from it, or another one where it has come to.
    #[error(
        "the gateway has not the batch that this adapter has come to: its store was replaced or restored"
    )]
    CursorBeyondEnd,
    /// What comes next was kept as long as it may be, and is gone.
    #[error("the gateway has purged what comes next{}", .oldest.map_or_else(String::new, |oldest| format!("; the oldest that it keeps is {oldest}")))]
    Purged {
        /// The first position that the gateway still has, if it says so.
        oldest: Option<u64>,
    },
    /// Never: the same call will be refused again.
    #[error("the gateway refuses the call ({code:?}{}): {message}", with_comma(.reason))]
    Refused {
        /// The gRPC code.
        code: Code,
        /// The stable reason, if there is one.
        reason: String,
        /// The gateway's words.
        message: String,
    },
}

fn with_comma(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(", {reason}") }
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        let (reason, metadata) =
            status.get_details_error_info().map(|info| (info.reason, info.metadata)).unwrap_or_default();
        let pause = status.get_details_retry_info().and_then(|info| info.retry_delay).unwrap_or_default();
        let (code, message) = (status.code(), status.message().to_owned());
        match (code, reason.as_str()) {
            (Code::FailedPrecondition, "UNKNOWN_INGRESS_KEY") => Self::UnknownIngressKey,
            (Code::FailedPrecondition, "PURGED" | "DAMAGED") => {
                Self::Purged { oldest: metadata.get("oldest").and_then(|oldest| oldest.parse().ok()) }
            }
            (Code::OutOfRange, "CURSOR_BEYOND_END" | "NEVER_DELIVERED") => Self::CursorBeyondEnd,
            (Code::AlreadyExists | Code::InvalidArgument | Code::OutOfRange, _)
            | (Code::FailedPrecondition, "BACKWARDS") => Self::Refused { code, reason, message },
            // Whoever is not let in today may be tomorrow; what waits to be sent must not be lost for it.
            _ => Self::Again { code, reason, message, pause: pause.min(LONGEST_PAUSE) },
        }
    }
}

impl CallError {
    /// The least pause before the next try, as the gateway asks.
    #[must_use]
    pub fn pause(&self) -> Duration {
        match self {
            Self::Again { pause, .. } => *pause,
            Self::UnknownIngressKey | Self::CursorBeyondEnd | Self::Purged { .. } | Self::Refused { .. } => {
                Duration::ZERO
            }
        }
    }
}

impl Gateway {
    /// Follows a channel that may be replaced.
    #[must_use]
    pub fn new(channel: watch::Receiver<Channel>) -> Self {
        Self { channel }
    }

    /// Hands over a push; the answer comes after its durable commit.
    pub async fn push(&self, push: wire::PushRequest) -> Result<wire::PushReply, CallError> {
        let mut ingest = self.ingest();
        answer(CALL, ingest.push(push)).await
    }

    /// The keys that pushes are sealed to, not checked yet.
    pub async fn ingress_keys(&self) -> Result<wire::SignedKeyList, CallError> {
        let mut ingest = self.ingest();
        answer(CALL, ingest.ingress_keys(wire::IngressKeysRequest {})).await
    }

    /// The batches behind a position. Waits at the tail for as long as the request says.
    pub async fn pull(&self, request: wire::DeliveryPullRequest) -> Result<Vec<wire::Delivered>, CallError> {
        let longest = Duration::from_millis(request.wait_ms.into()) + PULL_MARGIN;
        let mut delivery = self.delivery();
        answer(longest, delivery.pull(request)).await.map(|reply| reply.delivered)
    }

    /// Tells that everything up to a mark is kept durably here.
    pub async fn acknowledge(&self, through: Mark) -> Result<(), CallError> {
        let mut delivery = self.delivery();
        let request = wire::DeliveryAcknowledgeRequest {
            position: through.position,
            manifest_hash: through.hash_octets(),
        };
        answer(CALL, delivery.acknowledge(request)).await.map(drop)
    }

    /// Publishes the authority's own key list.
    pub async fn publish_keys(&self, list: wire::SignedKeyList) -> Result<(), CallError> {
        let mut delivery = self.delivery();
        answer(CALL, delivery.publish_keys(list)).await.map(drop)
    }

    fn ingest(&self) -> IngestClient<Channel> {
        IngestClient::new(self.channel.borrow().clone())
            .max_decoding_message_size(limits::MESSAGE_LEN)
            .max_encoding_message_size(limits::MESSAGE_LEN)
    }

    fn delivery(&self) -> DeliveryClient<Channel> {
        DeliveryClient::new(self.channel.borrow().clone())
            .max_decoding_message_size(limits::MESSAGE_LEN)
            .max_encoding_message_size(limits::MESSAGE_LEN)
    }
}

async fn answer<T>(
    longest: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, CallError> {
    let in_time = tokio::time::timeout(longest, call).await;
    let status = in_time.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
    status.map(Response::into_inner).map_err(CallError::from)
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn with_reason(code: Code, reason: &str) -> CallError {
        with_metadata(code, reason, &[])
    }

    fn with_metadata(code: Code, reason: &str, metadata: &[(&str, &str)]) -> CallError {
        let metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let metadata: std::collections::HashMap<String, String> = metadata.collect();
        let details = ErrorDetails::with_error_info(reason, "exchange.v1", metadata);
        Status::with_error_details(code, "words", details).into()
    }

    #[test]
    fn a_purged_stream_may_say_where_it_begins_now() {
        let purged = with_metadata(Code::FailedPrecondition, "PURGED", &[("oldest", "42")]);
        assert_eq!(purged, CallError::Purged { oldest: Some(42) });
        assert!(purged.to_string().contains("the oldest that it keeps is 42"));
    }

    #[test]
    fn only_what_will_never_do_is_refused() {
        for code in (1..=16).map(Code::from_i32) {
            let never = matches!(code, Code::AlreadyExists | Code::InvalidArgument | Code::OutOfRange);
            let error = CallError::from(Status::new(code, "words"));
            assert_eq!(matches!(error, CallError::Refused { .. }), never, "{code:?}");
            assert_eq!(matches!(error, CallError::Again { .. }), !never, "{code:?}");
        }
    }

    #[test]
    fn a_full_store_says_how_long_to_wait() {
        let full = |seconds| {
            let mut details = ErrorDetails::with_error_info("STORE_FULL", "exchange.v1", []);
            details.set_retry_info(Some(Duration::from_secs(seconds)));
            CallError::from(Status::with_error_details(Code::ResourceExhausted, "words", details)).pause()
        };
        assert_eq!([full(30), full(1_000_000)], [Duration::from_secs(30), LONGEST_PAUSE]);
        assert_eq!(with_reason(Code::ResourceExhausted, "STORE_FULL").pause(), Duration::ZERO);
    }

    #[test]
    fn reasons_that_ask_for_something_else_are_told_apart() {
        let full = with_reason(Code::ResourceExhausted, "STORE_FULL");
        assert!(matches!(&full, CallError::Again { reason, .. } if reason == "STORE_FULL"));
        assert!(full.to_string().contains("(ResourceExhausted, STORE_FULL): words"));
        assert_eq!(
            with_reason(Code::FailedPrecondition, "UNKNOWN_INGRESS_KEY"),
            CallError::UnknownIngressKey
        );
        for reason in ["CURSOR_BEYOND_END", "NEVER_DELIVERED"] {
            assert_eq!(with_reason(Code::OutOfRange, reason), CallError::CursorBeyondEnd);
        }
        assert!(matches!(with_reason(Code::FailedPrecondition, "BACKWARDS"), CallError::Refused { .. }));
        assert_eq!(with_reason(Code::FailedPrecondition, "PURGED"), CallError::Purged { oldest: None });
        let reused = with_reason(Code::AlreadyExists, "PUSH_ID_REUSED");
        assert!(matches!(reused, CallError::Refused { reason, .. } if reason == "PUSH_ID_REUSED"));
    }
}
