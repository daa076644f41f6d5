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
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use pki::tls::{Identity, Role};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt;
use tracing::{Instrument, info_span};

use crate::caller::{Caller, NotAllowed};
use crate::config::QuotaConfig;
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
}

impl Admission {
    /// For the services behind one listener.
    #[must_use]
    pub fn new(node: Arc<Node>, door: Door, routes: Routes) -> Self {
        let calls = Calls::new(quota(&node, door));
        Self { node, door, calls, routes }
    }

    /// Which listener it is.
    #[must_use]
    pub fn door(&self) -> Door {
        self.door
    }

    /// Answers one call.
    pub async fn answer(
        self: Arc<Self>,
        caller: Caller,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
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
        let response = match timeout(LONGEST_CALL, call).await {
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

fn quota(node: &Node, door: Door) -> &QuotaConfig {
    match door {
        Door::Peers => &node.config.quota.peer,
        Door::National => &node.config.quota.backend,
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
