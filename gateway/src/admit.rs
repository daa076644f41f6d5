//! What every call of a listener passes before anything of it is read: who calls, and whether that one may call now.
//!
//! A caller's place is held from the first header to the last octet of the answer, so that neither a request that
//! drips in nor an answer that nobody reads takes more than the caller's share. A panic stays with its own call.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use pki::tls::{Identity, Role};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt;
use tracing::{Instrument, info_span};

use crate::caller::{Caller, NotAllowed};
use crate::node::Node;
use crate::panics;
use crate::places::Place;
use crate::quota::{Calls, Exceeded};
use crate::status;

/// A call from its first header to its answer: longer than a pull waits, and long enough for a whole push on a slow
/// line.
const LONGEST_CALL: Duration = Duration::from_secs(120);

/// Which of the two listeners it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// For peer gateways.
    Peers,
    /// For the adapters of this country.
    National,
}

impl Door {
    /// As the configuration and the metrics have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Peers => "peers",
            Self::National => "national",
        }
    }
}

/// Lets calls of one listener in.
pub struct Admission {
    node: Arc<Node>,
    door: Door,
    calls: Calls<Identity>,
    routes: Routes,
    /// How long a call may take.
    longest: Duration,
}

impl Admission {
    /// For the services behind one listener.
    #[must_use]
    pub fn new(node: Arc<Node>, door: Door, routes: Routes) -> Self {
        let calls = calls(&node, door);
        Self { node, door, calls, routes, longest: LONGEST_CALL }
    }

    /// Which listener it is.
    #[must_use]
    pub fn door(&self) -> Door {
        self.door
    }

    /// Answers one call.
    pub async fn answer<B>(
        self: Arc<Self>,
        caller: Caller,
        mut request: Request<B>,
    ) -> Result<Response<Body>, Infallible>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let identity = caller.0.identity;
        request.extensions_mut().insert(caller);
        // Before a place is given and before the body is read: whom this door is not for takes nothing.
        if let Err(cause) = self.check(identity, &request) {
            return Ok(self.refused(&identity.country.to_string(), cause.into()));
        }
        let name = short(&identity);
        let place = match self.begin(identity, request.uri().path()) {
            Ok(place) => place,
            Err(exceeded) => {
                self.node.metrics.over_quota(&name, exceeded.what);
                return Ok(self.refused(&name, exceeded.into()));
            }
        };
        let span = info_span!("call", caller = %name);
        let call = panics::contained(self.routes.clone().oneshot(request)).instrument(span);
        let response = match timeout(self.longest, call).await {
            Ok(Ok(Ok(response))) => response,
            Ok(Err(panicked)) => return Ok(self.refused(&name, panicked.into())),
            Err(_) => return Ok(self.refused(&name, status::too_slow())),
        };
        if let Some(status) = response.extensions().get::<Status>() {
            self.node.metrics.call_refused(&name, status);
        }
        Ok(response.map(|body| Body::new(Held { body, _place: place })))
    }

    fn check<B>(&self, identity: Identity, request: &Request<B>) -> Result<(), NotAllowed> {
        // Our own people's balancers ask for our health at both doors.
        if identity.country == self.node.country && request.uri().path().starts_with("/grpc.health.") {
            return Ok(());
        }
        match self.door {
            Door::Peers => self.node.calling_gateway(request.extensions()).map(drop),
            Door::National => self.node.calling_adapter(request.extensions()).map(drop),
        }
    }

    /// A place among the caller's calls in flight, unless it is over its quota.
    fn begin(&self, identity: Identity, path: &str) -> Result<Place<Identity>, Exceeded> {
        let place = self.calls.begin(identity)?;
        // Who was told when to come again, and comes before, is not read.
        match (self.door, identity.role) {
            (Door::National, Role::Adapter(authority)) if path.ends_with("Ingest/Push") => {
                self.node.backends.is_due(authority)?;
            }
            (Door::Peers, Role::Gateway) if path.ends_with("Exchange/Pull") => {
                self.node.peers.is_due(identity.country)?;
            }
            _ => {}
        }
        Ok(place)
    }

    fn refused(&self, name: &str, status: Status) -> Response<Body> {
        self.node.metrics.call_refused(name, &status);
        status.into_http()
    }
}

fn calls(node: &Node, door: Door) -> Calls<Identity> {
    let (backend, peer) = (&node.config.quota.backend, &node.config.quota.peer);
    match door {
        Door::Peers => Calls::new(peer.calls_per_second, peer.calls_in_flight),
        Door::National => Calls::new(backend.calls_per_second, backend.calls_in_flight),
    }
}

/// A caller's name in metrics: `250` for a country's gateway, `826/1` for an authority's adapter.
fn short(identity: &Identity) -> String {
    match identity.role {
        Role::Gateway => identity.country.to_string(),
        Role::Adapter(authority) => authority.to_string(),
        Role::Operator => format!("{}/operator", identity.country),
    }
}

/// An answer that holds its caller's place until it is written or given up. One that nobody reads goes with its
/// connection, and is in nobody's way but its caller's.
struct Held {
    body: Body,
    _place: Place<Identity>,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::post;
    use proto::ids::CountryCode;

    use super::*;
    use crate::fixture::{self, Fixture};

    /// A body that panics when it is read.
    struct Bad;

    impl HttpBody for Bad {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            panic!("as a bug would")
        }
    }

    async fn bad() {
        panic!("as a bug would")
    }

    /// The door for peers, where each may make two calls at the same time.
    fn admission() -> (Fixture, Arc<Admission>) {
        let fixture =
            fixture::node_with(|config| config.replace("calls_in_flight = 16", "calls_in_flight = 2"));
        let routes = Router::new()
            .route("/good", post(|| async { "good" }))
            .route("/panics", post(bad))
            .route("/panics-behind-its-head", post(|| async { axum::body::Body::new(Bad) }))
            .route("/slow", post(|| tokio::time::sleep(Duration::from_millis(200))))
            .route("/too-slow", post(std::future::pending::<()>));
        let admission = Admission::new(fixture.node.clone(), Door::Peers, Routes::from(routes));
        (fixture, Arc::new(Admission { longest: Duration::from_secs(2), ..admission }))
    }

    async fn call(fixture: &Fixture, admission: &Arc<Admission>, path: &str) -> Response<Body> {
        let caller = fixture.caller(CountryCode::new(250).unwrap(), Role::Gateway);
        let request = Request::post(path).body(Body::empty()).unwrap();
        admission.clone().answer(caller, request).await.unwrap()
    }

    fn status(response: &Response<Body>) -> Option<tonic::Code> {
        Status::from_header_map(response.headers()).map(|status| status.code())
    }

    #[tokio::test]
    async fn a_panic_in_a_call_fails_it_alone_gives_its_place_back_and_is_counted() {
        let _watched = panics::tests::watched().await;
        let (fixture, admission) = admission();
        let before = panics::counter().get();
        for _ in 0..5 {
            assert_eq!(status(&call(&fixture, &admission, "/panics").await), Some(tonic::Code::Internal));
        }
        assert!(panics::counter().get() >= before + 5);
        let text = fixture.node.metrics.text();
        assert!(
            text.contains("exchange_calls_refused_total{caller=\"250\",reason=\"INTERNAL\"} 5"),
            "{text}"
        );
        // Both places are there: neither of these is over its quota.
        let (one, two) =
            (call(&fixture, &admission, "/good").await, call(&fixture, &admission, "/good").await);
        assert_eq!([status(&one), status(&two)], [None, None]);
        let three = call(&fixture, &admission, "/good").await;
        assert_eq!(status(&three), Some(tonic::Code::ResourceExhausted), "the answers are not read yet");
    }

    #[tokio::test]
    async fn a_panic_while_an_answer_is_read_gives_its_place_back_and_is_counted() {
        let _watched = panics::tests::watched().await;
        let (fixture, admission) = admission();
        let before = panics::counter().get();
        for _ in 0..5 {
            let answer = call(&fixture, &admission, "/panics-behind-its-head").await;
            assert_eq!(status(&answer), None, "it is let in");
            // As the task of its stream reads it.
            let read = tokio::spawn(async move {
                let mut body = Box::pin(answer.into_body());
                std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await.is_some()
            });
            assert!(read.await.unwrap_err().is_panic());
        }
        assert!(panics::counter().get() >= before + 5);
        assert_eq!(status(&call(&fixture, &admission, "/good").await), None);
    }

    #[tokio::test]
    async fn a_call_may_take_so_long_and_no_longer() {
        let (fixture, admission) = admission();
        assert_eq!(status(&call(&fixture, &admission, "/slow").await), None);
        let late = call(&fixture, &admission, "/too-slow").await;
        assert_eq!(status(&late), Some(tonic::Code::DeadlineExceeded));
        assert_eq!(status(&call(&fixture, &admission, "/good").await), None);
    }
}
