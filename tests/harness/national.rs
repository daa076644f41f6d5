//! A stand-in for a centralised national system: takes events by webhook, knows its enrolled phones, and tells each
//! whether its owner was exposed.
//!
//! Plain HTTP on loopback. It takes each post once, by its `Idempotency-Key`, and can be told to be out of order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use bytes::Bytes;
use country_adapter::risk::{Reached, Subtotal, Threshold};
use proto::day::Day;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::reports::today;

/// Where the adapter posts events.
pub const EVENTS: &str = "/exposures";
/// Where phones enrol, and ask for their status.
pub const ENROL: &str = "/phones";
/// See [`ENROL`].
pub const STATUS: &str = "/status";

/// Octets of the largest post.
const BODY: usize = 8 << 20;

/// A national system that runs. It ends when it is dropped.
pub struct National {
    address: SocketAddr,
    desk: Arc<Desk>,
    _task: AbortOnDropHandle<()>,
}

/// A phone as a centralised system knows it: by the name that it seals for its authority, in hex.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Enrolled {
    /// 32 hex digits.
    pub phone: String,
}

/// What a phone is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The sum of its contacts' subtotals.
    pub risk: u16,
    /// Whether that reaches the threshold.
    pub exposed: bool,
}

/// One post of the adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Post {
    id: String,
    events: Vec<Value>,
}

struct Desk {
    token: String,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    phones: BTreeSet<String>,
    /// By `Idempotency-Key`, in the order in which they came.
    posts: Vec<(String, Post)>,
    /// By phone: each contact's day and what it adds.
    risks: BTreeMap<String, Vec<(Day, Subtotal)>>,
    repeated: usize,
    answer: Option<StatusCode>,
}

impl National {
    /// Begins to listen, with a fresh bearer token.
    pub async fn start() -> Result<Self> {
        let mut token = [0; 16];
        getrandom::fill(&mut token).context("the system has no random numbers")?;
        let desk = Arc::new(Desk { token: hex::encode(token), books: Mutex::default() });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let routes = Router::new()
            .route(EVENTS, post(take))
            .route(ENROL, post(enrol))
            .route(STATUS, post(status))
            .layer(DefaultBodyLimit::max(BODY))
            .with_state(desk.clone());
        // It is aborted when it is dropped, and does not end before.
        let serving = async move { axum::serve(listener, routes).await.unwrap_or_default() };
        Ok(Self { address, desk, _task: AbortOnDropHandle::new(tokio::spawn(serving)) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the adapter must show.
    #[must_use]
    pub fn bearer_token(&self) -> &str {
        &self.desk.token
    }

    /// All events, in the order in which their posts came.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        self.desk.books().posts.iter().flat_map(|(_, post)| post.events.clone()).collect()
    }

    /// Posts that came again under the same key.
    #[must_use]
    pub fn repeated(&self) -> usize {
        self.desk.books().repeated
    }

    /// Answers every post with this from now on, or as it should.
    pub fn answer_with(&self, answer: Option<StatusCode>) {
        self.desk.books().answer = answer;
    }

    /// All that it holds, as text: what whoever takes its disk can read.
    pub fn holdings(&self) -> Result<String> {
        let books = self.desk.books();
        Ok(serde_json::to_string(&(&books.phones, &books.posts))?)
    }
}

impl Desk {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, key: &str, post: Post) -> Result<()> {
        let mut books = self.books();
        if let Some((_, known)) = books.posts.iter().find(|(known, _)| known == key) {
            ensure!(*known == post, "the key {key} came again with other events");
            books.repeated += 1;
            return Ok(());
        }
        for event in &post.events {
            let Some((phone, day, subtotal)) = contact(event)? else { continue };
            if books.phones.contains(&phone) {
                books.risks.entry(phone).or_default().push((day, subtotal));
            }
        }
        books.posts.push((key.into(), post));
        Ok(())
    }

    fn status(&self, phone: &str) -> Option<Status> {
        let books = self.books();
        books.phones.contains(phone).then(|| {
            let contacts = books.risks.get(phone).map(Vec::as_slice).unwrap_or_default();
            let (risk, reached) = Threshold::default().sum(today(), contacts);
            Status { risk: risk.number(), exposed: reached == Reached::Yes }
        })
    }
}

/// The phone, day and subtotal of an event; none if no service token was opened for it.
fn contact(event: &Value) -> Result<Option<(String, Day, Subtotal)>> {
    let Some(phone) = event.get("phone") else { return Ok(None) };
    let phone = phone["uuid"].as_str().context("an opened token names a phone")?;
    let subtotal = event["subtotal"].as_u64().and_then(|number| u16::try_from(number).ok());
    let subtotal = Subtotal::new(subtotal.context("an opened contact has a subtotal")?);
    let day = event["report"]["date"].as_str().context("a report has a date")?.parse()?;
    Ok(Some((phone.into(), day, subtotal)))
}

async fn take(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let shown = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = format!("Bearer {}", desk.token);
    if shown(header::AUTHORIZATION.as_str()) != Some(&bearer) {
        return StatusCode::UNAUTHORIZED;
    }
    let told = desk.books().answer;
    if let Some(answer) = told {
        return answer;
    }
    let (Some(key), Ok(post)) = (shown("idempotency-key"), serde_json::from_slice(&body)) else {
        return StatusCode::BAD_REQUEST;
    };
    desk.take(key, post).map_or(StatusCode::UNPROCESSABLE_ENTITY, |()| StatusCode::NO_CONTENT)
}

async fn enrol(State(desk): State<Arc<Desk>>, body: Bytes) -> StatusCode {
    let Ok(enrolled) = serde_json::from_slice::<Enrolled>(&body) else { return StatusCode::BAD_REQUEST };
    desk.books().phones.insert(enrolled.phone);
    StatusCode::CREATED
}

async fn status(State(desk): State<Arc<Desk>>, body: Bytes) -> Result<Vec<u8>, StatusCode> {
    let asks = serde_json::from_slice::<Enrolled>(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let status = desk.status(&asks.phone).ok_or(StatusCode::NOT_FOUND)?;
    serde_json::to_vec(&status).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn desk() -> Desk {
        let desk = Desk { token: "t".into(), books: Mutex::default() };
        desk.books().phones.insert("ab".into());
        desk
    }

    fn event(phone: &str, subtotal: u16) -> Value {
        json!({
            "origin": 826, "batch": "00",
            "report": {"date": today().to_string()},
            "phone": {"uuid": phone}, "subtotal": subtotal, "mechanism": 1
        })
    }

    fn post(events: &[Value]) -> Post {
        Post { id: "1".into(), events: events.into() }
    }

    #[test]
    fn a_post_counts_once_and_is_never_exchanged() {
        let desk = desk();
        let contact = post(&[event("ab", 40)]);
        desk.take("1", contact.clone()).unwrap();
        desk.take("1", contact).unwrap();
        assert!(desk.take("1", post(&[event("ab", 41)])).is_err());
        assert_eq!(desk.status("ab"), Some(Status { risk: 40, exposed: false }));
        assert_eq!(desk.books().repeated, 1);
    }

    #[test]
    fn a_phone_is_exposed_at_the_threshold_and_a_stranger_is_nobody() {
        let desk = desk();
        desk.take("1", post(&[event("ab", 40), event("cd", 90), json!({"report": {}})])).unwrap();
        desk.take("2", post(&[event("ab", 20)])).unwrap();
        assert_eq!(desk.status("ab"), Some(Status { risk: 60, exposed: true }));
        assert_eq!(desk.status("cd"), None);
    }
}
