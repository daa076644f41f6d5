//! Errors as gRPC statuses, each with a stable reason (`google.rpc.ErrorInfo`): the only file that knows both.
//!
//! A caller learns what it did wrong; never another party's data, a path, or a library's text.

use std::collections::HashMap;
use std::time::Duration;

use pki::keylist::KeyListRefused;
use pki::tls::NotAdmitted;
use proto::ids::Authority;
use proto::malformed::Malformed;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use tracing::error;

use crate::caller::NotAllowed;
use crate::inbound::deliver::DeliverError;
use crate::keylists::KeyListError;
use crate::outbound::ingest::PushError;
use crate::outbound::receipts::ReceiptError;
use crate::outbound::serve::ServeError;
use crate::outbound::sort::Refused;
use crate::page::PageError;
use crate::panics::Panicked;
use crate::quota::Exceeded;
use crate::store::StoreError;

/// Who gives the reasons.
const DOMAIN: &str = "exchange.v1";
/// When a full store is worth another try.
const RETRY_FULL: Duration = Duration::from_secs(10);
/// When a clock that has leapt may be set right.
const RETRY_LEAPT: Duration = Duration::from_secs(10);
/// When a batch that is fetched again may be there.
const RETRY_REFILL: Duration = Duration::from_secs(2);

fn info(reason: &str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new())
}

fn status(code: Code, reason: &str, message: impl Into<String>) -> Status {
    Status::with_error_details(code, message, info(reason))
}

/// Our fault: the cause goes into our log, not to the caller.
fn internal(cause: &dyn std::fmt::Display) -> Status {
    error!(%cause, "a call failed");
    status(Code::Internal, "INTERNAL", "the gateway failed; its log says why")
}

/// The stable reason of a status, or its code if it has none.
#[must_use]
pub fn reason(status: &Status) -> String {
    let named = status.get_details_error_info().map(|info| info.reason);
    named.unwrap_or_else(|| format!("{:?}", status.code()))
}

/// Nobody has published a list for this authority yet.
#[must_use]
pub fn no_key_list(authority: Authority) -> Status {
    status(Code::NotFound, "NO_KEY_LIST", format!("{authority} has not published a key list here"))
}

/// Octets that do not parse, with the field that is wrong.
#[must_use]
pub fn malformed(malformed: &Malformed) -> Status {
    let mut details = info("MALFORMED");
    details.add_bad_request_violation(malformed.field(), malformed.to_string());
    Status::with_error_details(Code::InvalidArgument, malformed.to_string(), details)
}

impl From<NotAllowed> for Status {
    fn from(refused: NotAllowed) -> Self {
        let reason = match refused {
            NotAllowed::Nobody => {
                return status(Code::Unauthenticated, "NO_CERTIFICATE", refused.to_string());
            }
            NotAllowed::NotAdmitted(NotAdmitted::UnknownCountry) => "UNKNOWN_COUNTRY",
            NotAllowed::NotAdmitted(NotAdmitted::CountryOut) => "COUNTRY_OUT",
            NotAllowed::NotAdmitted(NotAdmitted::Revoked) => "CERTIFICATE_REVOKED",
            NotAllowed::NotAdmitted(NotAdmitted::Expired) => "CERTIFICATE_EXPIRED",
            NotAllowed::NotAdmitted(NotAdmitted::ListExpired) => {
                return status(Code::Unavailable, "TRUST_LIST_EXPIRED", refused.to_string());
            }
            NotAllowed::WrongRole { .. } => "WRONG_ROLE",
        };
        status(Code::PermissionDenied, reason, refused.to_string())
    }
}

impl From<StoreError> for Status {
    fn from(failed: StoreError) -> Self {
        match failed {
            StoreError::Full { .. } | StoreError::NoSpace { .. } => {
                let mut details = info("STORE_FULL");
                details.set_retry_info(Some(RETRY_FULL));
                let message = "the gateway's disk is full; nothing was stored, try again later";
                Status::with_error_details(Code::ResourceExhausted, message, details)
            }
            StoreError::Moved | StoreError::Backwards | StoreError::Fenced => status(
                Code::Aborted,
                "CONCURRENT_CALL",
                "another call moved the same cursor; look again and retry",
            ),
            StoreError::Broken
            | StoreError::Closed
            | StoreError::Unreachable { .. }
            | StoreError::Busy { .. }
            | StoreError::Unknown => status(
                Code::Unavailable,
                "STORE_UNAVAILABLE",
                "the gateway's store is not available; try again later",
            ),
            StoreError::TooLarge { .. } => status(
                Code::InvalidArgument,
                "TOO_LARGE",
                "the push gives an entry that is too large; split it",
            ),
            StoreError::Newer { .. }
            | StoreError::Owed { .. }
            | StoreError::InUse
            | StoreError::Defect
            | StoreError::Database { .. }
            | StoreError::Unfit { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Damaged { .. }
            | StoreError::Io { .. } => internal(&failed),
        }
    }
}

impl From<Exceeded> for Status {
    fn from(exceeded: Exceeded) -> Self {
        let mut details = info("QUOTA_EXCEEDED");
        details.set_retry_info(Some(exceeded.again));
        Status::with_error_details(Code::ResourceExhausted, exceeded.to_string(), details)
    }
}

/// A call that goes on for longer than any good one.
#[must_use]
pub fn too_slow() -> Status {
    status(Code::DeadlineExceeded, "TOO_SLOW", "the call was not over in time; it is ended")
}

impl From<Panicked> for Status {
    fn from(panicked: Panicked) -> Self {
        status(Code::Internal, "INTERNAL", panicked.to_string())
    }
}

impl From<PushError> for Status {
    fn from(failed: PushError) -> Self {
        let message = failed.to_string();
        match failed {
            PushError::AnswerDamaged { .. } => status(Code::AlreadyExists, "ANSWER_DAMAGED", message),
            PushError::Leapt(_) => {
                let mut details = info("CLOCK_LEAPT");
                details.set_retry_info(Some(RETRY_LEAPT));
                Status::with_error_details(Code::Unavailable, message, details)
            }
            PushError::NotCertified => status(Code::Unavailable, "NOT_CERTIFIED", message),
            PushError::IdReused => status(Code::AlreadyExists, "PUSH_ID_REUSED", message),
            PushError::Refused(Refused::UnknownIngressKey(_)) => {
                status(Code::FailedPrecondition, "UNKNOWN_INGRESS_KEY", message)
            }
            PushError::Refused(Refused::DoesNotOpen(_)) => {
                status(Code::InvalidArgument, "PUSH_DOES_NOT_OPEN", message)
            }
            PushError::Refused(Refused::Mismatch { .. }) => {
                status(Code::InvalidArgument, "REPORTS_DO_NOT_MATCH_HEADERS", message)
            }
            PushError::Refused(Refused::Unsealable(_)) | PushError::Internal => internal(&message),
            PushError::Store(failed) => failed.into(),
        }
    }
}

impl From<PageError> for Status {
    fn from(failed: PageError) -> Self {
        let message = failed.to_string();
        match failed {
            PageError::BeyondEnd { .. } => status(Code::OutOfRange, "CURSOR_BEYOND_END", message),
            PageError::Purged { oldest, .. } => {
                let metadata = HashMap::from([("oldest".to_owned(), oldest.to_string())]);
                let details = ErrorDetails::with_error_info("PURGED", DOMAIN, metadata);
                Status::with_error_details(Code::FailedPrecondition, message, details)
            }
            PageError::Damaged { oldest, .. } => {
                let metadata = HashMap::from([("oldest".to_owned(), oldest.to_string())]);
                let details = ErrorDetails::with_error_info("DAMAGED", DOMAIN, metadata);
                Status::with_error_details(Code::FailedPrecondition, message, details)
            }
            PageError::Store(failed) => failed.into(),
        }
    }
}

impl From<ServeError> for Status {
    fn from(failed: ServeError) -> Self {
        match failed {
            ServeError::Page(failed) => failed.into(),
            ServeError::Kept(cause) => internal(&cause),
        }
    }
}

impl From<DeliverError> for Status {
    fn from(failed: DeliverError) -> Self {
        let message = failed.to_string();
        match failed {
            DeliverError::Page(failed) => failed.into(),
            DeliverError::Kept(cause) => internal(&cause),
            DeliverError::Refilling { .. } => {
                let mut details = info("REFILLING");
                details.set_retry_info(Some(RETRY_REFILL));
                Status::with_error_details(Code::Unavailable, message, details)
            }
            DeliverError::OtherHistory { .. } => status(Code::OutOfRange, "CURSOR_BEYOND_END", message),
            DeliverError::NeverDelivered { .. } => status(Code::OutOfRange, "NEVER_DELIVERED", message),
            DeliverError::Backwards { .. } => status(Code::FailedPrecondition, "BACKWARDS", message),
            DeliverError::Store(failed) => failed.into(),
        }
    }
}

impl From<ReceiptError> for Status {
    fn from(failed: ReceiptError) -> Self {
        let message = failed.to_string();
        match failed {
            ReceiptError::Malformed(cause) => malformed(&cause),
            ReceiptError::UnknownSigner(_) => status(Code::PermissionDenied, "UNKNOWN_SIGNER", message),
            ReceiptError::BadSignature(_) => status(Code::PermissionDenied, "BAD_SIGNATURE", message),
            ReceiptError::OtherStream { .. } => status(Code::PermissionDenied, "OTHER_STREAM", message),
            ReceiptError::NeverSent { .. } => status(Code::OutOfRange, "NEVER_SENT", message),
            ReceiptError::OtherManifest { .. } => status(Code::FailedPrecondition, "OTHER_MANIFEST", message),
            ReceiptError::Backwards { .. } => status(Code::FailedPrecondition, "BACKWARDS", message),
            ReceiptError::Store(failed) => failed.into(),
        }
    }
}

impl From<KeyListError> for Status {
    fn from(failed: KeyListError) -> Self {
        let message = failed.to_string();
        let reason = match failed {
            KeyListError::Store(failed) => return failed.into(),
            KeyListError::Refused(KeyListRefused::Malformed(cause)) => return malformed(&cause),
            KeyListError::UnknownAuthority(_) => "UNKNOWN_AUTHORITY",
            KeyListError::Refused(KeyListRefused::UnknownSigner { .. }) => "UNKNOWN_SIGNER",
            KeyListError::Refused(KeyListRefused::BadSignature) => "BAD_SIGNATURE",
            KeyListError::Refused(KeyListRefused::OtherOwner { .. }) => "OTHER_OWNER",
            KeyListError::Refused(KeyListRefused::FromTheFuture) => "FROM_THE_FUTURE",
            KeyListError::Refused(KeyListRefused::Older { .. }) => "OLDER_VERSION",
        };
        status(Code::FailedPrecondition, reason, message)
    }
}
