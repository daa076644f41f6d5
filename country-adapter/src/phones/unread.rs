//! An end to who asks for a list and does not read it.
//!
//! What is not read costs a chunk of memory, an open file and a place for a connection. So whoever has an answer under
//! way must take something of it from time to time; how slow the line is does not matter.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// The answers of one connection.
#[derive(Debug, Default)]
pub(super) struct Answers {
    open: AtomicUsize,
    /// Answers that were begun, and parts of them that were taken.
    steps: AtomicU64,
}

/// A body that says when a part of it is taken.
struct Counted {
    body: Body,
    open: Open,
}

/// An answer that is under way.
struct Open(Arc<Answers>);

impl Answers {
    /// A body that is counted for as long as it is under way.
    pub(super) fn count(self: &Arc<Self>, body: Body) -> Body {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.step();
        Body::new(Counted { body, open: Open(self.clone()) })
    }

    /// Comes when for so long nothing was taken of answers that are under way.
    pub(super) async fn unread(&self, patience: Duration) {
        let mut seen = self.steps.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(patience).await;
            if self.is_unread_since(&mut seen) {
                return;
            }
        }
    }

    /// Whether answers are under way and nothing was taken of any since this was asked before.
    fn is_unread_since(&self, seen: &mut u64) -> bool {
        let steps = self.steps.load(Ordering::Relaxed);
        let before = std::mem::replace(seen, steps);
        steps == before && self.open.load(Ordering::Relaxed) > 0
    }

    fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.open.0.step();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn two_parts() -> Body {
        let parts = [Bytes::from_static(b"one"), Bytes::from_static(b"two")];
        Body::from_stream(futures_util::stream::iter(parts.map(Ok::<_, std::io::Error>)))
    }

    #[tokio::test]
    async fn who_takes_nothing_of_an_answer_is_given_up_and_who_has_none_or_goes_on_is_not() {
        let (answers, mut seen) = (Arc::<Answers>::default(), 0);
        let mut is_unread = || answers.is_unread_since(&mut seen);
        assert!(!is_unread() && !is_unread(), "it has asked for nothing");
        let mut body = answers.count(two_parts());
        assert!(!is_unread(), "it has just asked");
        assert!(is_unread() && is_unread());
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
        assert!(!is_unread(), "it goes on");
        assert!(is_unread());
        drop(body);
        assert!(!is_unread(), "it has hung up");
        assert_eq!(answers.count(two_parts()).collect().await.unwrap().to_bytes(), "onetwo");
        assert!(!is_unread() && !is_unread(), "all of it was taken");
    }

    #[test]
    fn a_body_that_is_counted_says_its_length_as_before() {
        let answers = Arc::<Answers>::default();
        let counted = answers.count(Body::from("four"));
        assert_eq!(hyper::body::Body::size_hint(&counted).exact(), Some(4));
        assert!(hyper::body::Body::is_end_stream(&answers.count(Body::empty())));
    }
}
