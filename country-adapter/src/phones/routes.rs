//! What phones may ask, and what they are answered. `country-adapter/README.md` is the reference.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::{Bytes, BytesMut};
use futures_util::stream::try_unfold;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use proto::report::DateOut;
use serde_json::json;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tracing::error;
use zeroize::Zeroizing;

use super::Phones;
use super::case_code::CaseCode;
use super::cases::{Accepted, Refused};
use super::problem::Problem;
use super::upload::{Place, SIZE, UploadError};
use crate::blocking::blocking;
use crate::lists::{ListKind, Part, SinceError};
use crate::outage;

const OCTETS: &str = "application/octet-stream";
/// How long an upload may take on a bad line.
const UPLOAD: Duration = Duration::from_secs(60);
/// Seconds after which a phone tries again when we are busy or ill.
const AGAIN: u64 = 30;
/// Octets of a body that is read only to be thrown away, so that its sender reads the answer.
const DRAINED: usize = 4 * SIZE;
/// Octets of what a phone is told of its upload.
const RECEIPT: usize = 64;
/// Octets of a list that are read from the disk at once.
const CHUNK: usize = 16 * 1024;

/// All routes.
pub fn router(phones: Arc<Phones>) -> Router {
    let list = |kind| get(move |phones, query, headers| since(kind, phones, query, headers));
    let not_allowed =
        || async { Problem::new("method-not-allowed", "see the documentation for what may be asked") };
    Router::new()
        .route("/v1/cases/{code}/contacts", post(upload))
        .route("/v1/exposures", list(ListKind::Contacts))
        .route("/v1/daily-keys", list(ListKind::DailyKeys))
        .route("/v1/venues", list(ListKind::Venues))
        .route("/v1/advice", list(ListKind::Advice))
        .route("/v1/service-keys", get(service_keys))
        .method_not_allowed_fallback(not_allowed)
        .fallback(|| async { Problem::new("not-found", "phones ask below /v1/") })
        .with_state(phones)
}

async fn upload(
    State(phones): State<Arc<Phones>>,
    code: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    // What is no text is no code either.
    let Path(code) = code.unwrap_or_else(|_| Path(String::new()));
    match take(&phones, &Zeroizing::new(code), &headers, body).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn take(
    phones: &Arc<Phones>,
    code: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let code = match check_code(phones, code).await {
        Ok(code) => code,
        Err(problem) => {
            drain(body).await;
            return Err(problem);
        }
    };
    if headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != OCTETS) {
        drain(body).await;
        return Err(Problem::new("unsupported-media-type", "send application/octet-stream, uncompressed"));
    }
    let busy = || {
        Problem::new("unavailable", "many phones upload at this moment, or one with this code; try again")
            .retry_after(AGAIN)
    };
    let _place = phones.place(code.id()).ok_or_else(busy)?;
    let octets = read(body).await?;
    let this = phones.clone();
    let taken = blocking(move || this.cases.take(&code, &octets)).await;
    let accepted = taken.map_err(|refused| problem(&refused))?;
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::ACCEPTED, headers, receipt(accepted)).into_response())
}

/// What a phone is told of its upload, filled up with spaces: the length on the line says nothing of the numbers.
fn receipt(Accepted { domestic, foreign, keys }: Accepted) -> String {
    let said = json!({ "domestic": domestic, "foreign": foreign, "keys": keys });
    format!("{:RECEIPT$}", said.to_string())
}

/// A right code always passes; wrong ones do so often only.
async fn check_code(phones: &Arc<Phones>, code: &str) -> Result<CaseCode, Problem> {
    let Ok(code) = code.parse::<CaseCode>() else { return Err(wrong_code(phones)) };
    let (this, asked) = (phones.clone(), code.clone());
    match blocking(move || this.cases.check_code(&asked, None)).await {
        // A repetition is told apart only by its octets.
        Ok(_) | Err(Refused::UsedCode { .. }) => Ok(code),
        Err(Refused::UnknownCode) => Err(wrong_code(phones)),
        Err(refused) => Err(problem(&refused)),
    }
}

fn wrong_code(phones: &Phones) -> Problem {
    match phones.wrong_codes.check() {
        Ok(()) => problem(&Refused::UnknownCode),
        Err(_) => Problem::new("too-many-wrong-codes", "wrong codes are tried here; try again later")
            .retry_after(AGAIN),
    }
}

async fn read(body: Body) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let read = async {
        let mut octets = Zeroizing::new(Vec::with_capacity(SIZE));
        let mut body = Limited::new(body, SIZE);
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                octets.extend_from_slice(&data);
            }
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(octets)
    };
    match timeout(UPLOAD, read).await {
        Ok(Ok(octets)) => Ok(octets),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Problem::new("upload-too-large", format!("an upload has {SIZE} octets")))
        }
        Ok(Err(_)) => Err(Problem::new("wrong-size", "the upload broke off; send it again")),
        Err(_) => {
            Err(Problem::new("unavailable", "the upload took too long; send it again").retry_after(AGAIN))
        }
    }
}

/// Reads a body that nobody wants, so that its sender gets to read the answer.
async fn drain(body: Body) {
    let mut body = Limited::new(body, DRAINED);
    // Whatever happens, nobody waits for it.
    let _ = timeout(UPLOAD, async { while let Some(Ok(_)) = body.frame().await {} }).await;
}

fn problem(refused: &Refused) -> Problem {
    let detail = refused.to_string();
    match refused {
        Refused::UnknownCode => Problem::new("unknown-case-code", detail),
        Refused::ExpiredCode => Problem::new("case-code-expired", detail),
        Refused::UsedCode { same } => Problem::new("case-code-used", detail).with("same_upload", json!(same)),
        Refused::Upload(UploadError::Size { .. }) => Problem::new("wrong-size", detail),
        Refused::Upload(UploadError::TooMany { .. }) | Refused::TooMany { .. } => {
            Problem::new("too-many-contacts", detail)
        }
        Refused::Upload(UploadError::Malformed { place, malformed }) => {
            Problem::new("malformed-upload", detail)
                .with("place", json!(place.to_string()))
                .with("field", json!(malformed.field()))
        }
        Refused::OutOfTime(out) => {
            let name = match (out.out, out.place) {
                (DateOut::TooOld, Place::Key(_)) => "key-too-old",
                (DateOut::FromTheFuture, Place::Key(_)) => "key-from-the-future",
                (DateOut::TooOld, Place::Contact(_) | Place::Frame) => "contact-too-old",
                (DateOut::FromTheFuture, Place::Contact(_) | Place::Frame) => "contact-from-the-future",
            };
            Problem::new(name, detail).with("place", json!(out.place.to_string()))
        }
        Refused::SecondDegreeOff => Problem::new("second-degree-off", detail),
        Refused::Backend(error) => unavailable(error),
    }
}

/// Our fault: the cause goes into our log.
fn unavailable(error: &dyn std::error::Error) -> Problem {
    error!(error = %outage::chain(error), "a phone's request failed");
    Problem::new("unavailable", "this service failed; try again").retry_after(AGAIN)
}

async fn since(
    kind: ListKind,
    State(phones): State<Arc<Phones>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Some(number) = number_in(query.as_deref()) else {
        return Problem::new("not-found", "ask with ?since= and the number of the last increment, or 0")
            .into_response();
    };
    let this = phones.clone();
    match blocking(move || this.lists.since(kind, number)).await {
        Ok(part) => {
            let (etag, length) = (part.etag.clone(), part.length());
            cached(&phones, &headers, &etag, || (length, streamed(part)))
        }
        Err(SinceError::Restarted { last }) => {
            Problem::new("list-restarted", "the list was begun anew; begin at 0")
                .with("last", json!(last))
                .into_response()
        }
        Err(SinceError::Disk(error)) => unavailable(&error).into_response(),
    }
}

async fn service_keys(State(phones): State<Arc<Phones>>, headers: HeaderMap) -> Response {
    match &phones.service_keys {
        Some(keys) => {
            let published = keys.published();
            let length = u64::try_from(published.octets.len()).unwrap_or(u64::MAX);
            cached(&phones, &headers, &published.etag, || (length, Body::from(published.octets)))
        }
        None => Problem::new("not-found", "this authority has no keys for service tokens").into_response(),
    }
}

/// The number behind `since=`, which is all that may be asked.
fn number_in(query: Option<&str>) -> Option<u32> {
    let number = query?.strip_prefix("since=")?;
    let is_plain = number.len() <= 10 && number.bytes().all(|digit| digit.is_ascii_digit());
    number.parse().ok().filter(|_| is_plain)
}

/// An answer that a content delivery network may keep until something new may be there.
fn cached(phones: &Phones, asked: &HeaderMap, etag: &str, body: impl FnOnce() -> (u64, Body)) -> Response {
    let seconds = phones.interval.as_secs().max(1);
    let answer = Response::builder()
        .header(header::ETAG, etag)
        .header(header::CACHE_CONTROL, format!("public, max-age={seconds}"));
    let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known =
        known.flat_map(|value| value.split(',')).map(|value| value.trim().trim_start_matches("W/"));
    let answer = if known.any(|value| value == etag || value == "*") {
        answer.status(StatusCode::NOT_MODIFIED).body(Body::empty())
    } else {
        let (length, body) = body();
        answer.header(header::CONTENT_TYPE, OCTETS).header(header::CONTENT_LENGTH, length).body(body)
    };
    answer.expect("an entity tag is made of digits and letters")
}

/// Read from the disk while it is sent: a phone that is slow holds a file, and a chunk of memory for each request.
fn streamed(part: Part) -> Body {
    let state = (part.files.into_iter(), None::<File>);
    Body::from_stream(try_unfold(state, |(mut files, mut open)| async move {
        if let Some(file) = &mut open {
            let mut chunk = BytesMut::with_capacity(CHUNK);
            if file.read_buf(&mut chunk).await? > 0 {
                return Ok::<_, std::io::Error>(Some((chunk.freeze(), (files, open))));
            }
        }
        let Some((path, length)) = files.next() else { return Ok(None) };
        let file = File::open(path).await?;
        Ok(Some((Bytes::copy_from_slice(&length.to_be_bytes()), (files, Some(file)))))
    }))
}

#[cfg(test)]
mod number_tests {
    use super::{Accepted, RECEIPT, json, number_in, receipt};

    #[test]
    fn what_a_phone_is_told_of_its_upload_has_one_length() {
        // An upload has at most 1 MiB, and some octets for each contact and key.
        for number in [0, 9, 10, 5_000, 99_999] {
            let said = receipt(Accepted { domestic: number, foreign: number, keys: number });
            assert_eq!(said.len(), RECEIPT, "{number}");
            let read: serde_json::Value = serde_json::from_str(&said).unwrap();
            assert_eq!(read, json!({ "domestic": number, "foreign": number, "keys": number }));
        }
    }

    #[test]
    fn a_list_is_asked_for_by_a_plain_number_alone() {
        assert_eq!(number_in(Some("since=0")), Some(0));
        assert_eq!(number_in(Some("since=4294967295")), Some(u32::MAX));
        for wrong in
            ["", "since=", "since=-1", "since=+1", "since=4294967296", "since=1&x=2", "Since=1", "since=٣"]
        {
            assert_eq!(number_in(Some(wrong)), None, "{wrong}");
        }
        assert_eq!(number_in(None), None);
    }
}
