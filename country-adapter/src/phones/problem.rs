//! What a phone is told when something is wrong: problem documents with stable types (RFC 9457).
//!
//! A document says what to do and repeats nothing of what was sent. `country-adapter/README.md` lists the types.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::{Value, json};

/// Where the types are described; the names below follow.
const TYPES: &str = "https://exchange.invalid/problems/";

/// A problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    name: &'static str,
    status: StatusCode,
    title: &'static str,
    detail: String,
    /// Seconds after which to try again.
    retry_after: Option<u64>,
    /// Further members.
    more: Vec<(&'static str, Value)>,
}

/// Every type: name, status and title.
pub const ALL: [(&str, u16, &str); 18] = [
    ("unknown-case-code", 404, "No case has this code"),
    ("case-code-used", 409, "The case code was used"),
    ("case-code-expired", 410, "The case code has expired"),
    ("malformed-upload", 400, "The upload does not parse"),
    ("wrong-size", 400, "The upload is not padded to the one size"),
    ("upload-too-large", 413, "The upload is too large"),
    ("contact-too-old", 422, "A contact is too old"),
    ("contact-from-the-future", 422, "A contact is from the future"),
    ("key-too-old", 422, "A key is too old"),
    ("key-from-the-future", 422, "A key is from the future"),
    ("too-many-contacts", 422, "There are too many contacts"),
    ("second-degree-off", 403, "Second degree is switched off"),
    ("unsupported-media-type", 415, "The content type is not supported"),
    ("too-many-wrong-codes", 429, "There were too many wrong codes"),
    ("list-restarted", 404, "The list was begun anew"),
    ("not-found", 404, "There is nothing here"),
    ("method-not-allowed", 405, "The method is not allowed here"),
    ("unavailable", 503, "The service cannot answer now"),
];

impl Problem {
    /// A problem of a known type.
    ///
    /// # Panics
    /// If there is no such type: names are written by hand, and a test asks for each.
    #[must_use]
    pub fn new(name: &'static str, detail: impl Into<String>) -> Self {
        let known = ALL.iter().find(|(known, ..)| *known == name);
        let (name, status, title) = *known.expect("every problem that is made is in the list");
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { name, status, title, detail: detail.into(), retry_after: None, more: Vec::new() }
    }

    /// The same with a time to try again.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// The same with a further member.
    #[must_use]
    pub fn with(mut self, member: &'static str, value: Value) -> Self {
        self.more.push((member, value));
        self
    }

    /// Its type's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut document = json!({
            "type": format!("{TYPES}{}", self.name), "title": self.title,
            "status": self.status.as_u16(), "detail": self.detail,
        });
        for (member, value) in self.more {
            document[member] = value;
        }
        let mut response = Response::builder()
            .status(self.status)
            .header(header::CONTENT_TYPE, "application/problem+json")
            .header(header::CACHE_CONTROL, "no-store");
        if let Some(seconds) = self.retry_after {
            response = response.header(header::RETRY_AFTER, seconds);
        }
        response.body(Body::from(document.to_string())).expect("the headers above are well formed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_described_in_the_documentation() {
        let readme = include_str!("../../README.md");
        for (name, status, title) in ALL {
            assert!(readme.contains(&format!("| `{name}` | {status} |")), "{name} {title}");
            let response = Problem::new(name, "").into_response();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        }
    }
}
