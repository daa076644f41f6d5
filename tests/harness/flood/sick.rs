//! Peers that are up and not well: each stands where a country's gateway should, with that gateway's own certificate.
//!
//! When a phase is not its own, a stand-in is well: it lets a pull wait and then has nothing, as a good peer does.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use pki::identity::{IdentityConfig, NodeKeys};
use pki::tls;
use rand::RngCore;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Interval, interval};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::direct;
use crate::federation::Federation;
use crate::members::Node;

/// How a call ended, as gRPC says it.
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// How long a peer that is well lets a pull wait that has nothing to give.
const WAIT: Duration = Duration::from_secs(2);
/// From one octet of a dripping answer to the next, and how many it says that there will be.
const DRIP: Duration = Duration::from_secs(1);
const DRIPPING: u32 = 1 << 20;
/// Octets of an answer that means nothing.
const GARBAGE: usize = 4_096;

/// What ails a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ailment {
    /// It takes TCP connections and never says anything.
    NeverAnswers,
    /// It shakes hands over TLS and HTTP/2, and answers no call.
    SilentAfterHandshake,
    /// Its answers come one octet a second.
    OneOctetASecond,
    /// Its answers come at once, and are no protobuf.
    Garbage,
    /// Its answers come at once, and nothing is in them.
    EmptyAtOnce,
}

impl Ailment {
    /// Each of them.
    pub const ALL: [Self; 5] = [
        Self::NeverAnswers,
        Self::SilentAfterHandshake,
        Self::OneOctetASecond,
        Self::Garbage,
        Self::EmptyAtOnce,
    ];

    /// As the summary has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NeverAnswers => "never_answers",
            Self::SilentAfterHandshake => "silent_after_handshake",
            Self::OneOctetASecond => "one_octet_a_second",
            Self::Garbage => "garbage",
            Self::EmptyAtOnce => "empty_at_once",
        }
    }
}

/// A stand-in for one country's gateway. It ends when it is dropped.
pub(super) struct Sick {
    is_ill: watch::Sender<bool>,
    suffered: Arc<AtomicU64>,
    _task: AbortOnDropHandle<()>,
}

/// What its connections share.
#[derive(Clone)]
struct Condition {
    ailment: Ailment,
    is_ill: watch::Receiver<bool>,
    suffered: Arc<AtomicU64>,
}

impl Sick {
    /// Ends a gateway and takes its place. It is well until it is told otherwise.
    pub(super) async fn take_place(federation: &Federation, node: Node, ailment: Ailment) -> Result<Self> {
        federation.kill_now(node).await?;
        let gateway = federation.gateway(node)?;
        let keys = NodeKeys::read(&IdentityConfig {
            certificate: gateway.certificate.clone(),
            key: gateway.key.clone(),
            passphrase_file: None,
            hpke_keys: vec![gateway.ingress_key.clone()],
        })?;
        let tls = tls::server_config(&keys.certificate, &direct::trust_list(federation)?)?;
        Self::start(TcpListener::bind(gateway.peers).await?, tls, ailment)
    }

    fn start(listener: TcpListener, tls: ServerConfig, ailment: Ailment) -> Result<Self> {
        let ((is_ill, receiver), suffered) = (watch::channel(false), Arc::new(AtomicU64::new(0)));
        let condition = Condition { ailment, is_ill: receiver, suffered: suffered.clone() };
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let task = tokio::spawn(async move {
            // An error of accepting ends the stand-in, and then nobody suffers from it any more.
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(condition.clone().connection(stream, acceptor.clone()));
            }
        });
        Ok(Self { is_ill, suffered, _task: AbortOnDropHandle::new(task) })
    }

    /// From now on it is ill, or well again; all its connections end.
    pub(super) fn fall(&self, is_ill: bool) {
        self.is_ill.send_replace(is_ill);
    }

    /// Connections or calls that it has let suffer.
    pub(super) fn suffered(&self) -> u64 {
        self.suffered.load(Ordering::Relaxed)
    }
}

impl Condition {
    async fn connection(self, stream: TcpStream, acceptor: TlsAcceptor) {
        let mut changed = self.is_ill.clone();
        let is_ill = *changed.borrow_and_update();
        tokio::select! {
            () = self.serve(stream, acceptor, is_ill) => {}
            _ = changed.changed() => {}
        }
    }

    async fn serve(self, stream: TcpStream, acceptor: TlsAcceptor, is_ill: bool) {
        if is_ill && self.ailment == Ailment::NeverAnswers {
            self.suffers();
            return std::future::pending().await;
        }
        let Ok(stream) = acceptor.accept(stream).await else { return };
        let service = service_fn(move |request| self.clone().answer(request, is_ill));
        let builder = Builder::new(TokioExecutor::new()).http2_only();
        // It ends when the gateway hangs up.
        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(self, request: Request<Incoming>, is_ill: bool) -> Result<Response<Answer>, Infallible> {
        if !is_ill {
            return Ok(well(request.uri().path()).await);
        }
        self.suffers();
        let answer = match self.ailment {
            Ailment::NeverAnswers | Ailment::SilentAfterHandshake => return std::future::pending().await,
            Ailment::OneOctetASecond => {
                Answer { parts: VecDeque::from([Frame::data(head(DRIPPING))]), drip: Some(interval(DRIP)) }
            }
            Ailment::Garbage => {
                let mut octets = vec![0; GARBAGE];
                rand::rng().fill_bytes(&mut octets);
                Answer::whole(&octets)
            }
            Ailment::EmptyAtOnce => Answer::whole(&[]),
        };
        Ok(grpc(answer))
    }

    fn suffers(&self) {
        self.suffered.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a peer says that has nothing: to a pull behind a wait, and that it does not know the rest.
async fn well(path: &str) -> Response<Answer> {
    if path.ends_with("/Pull") {
        tokio::time::sleep(WAIT).await;
        return grpc(Answer::whole(&[]));
    }
    let mut unknown = grpc(Answer { parts: VecDeque::new(), drip: None });
    unknown.headers_mut().insert(STATUS, HeaderValue::from_static("5"));
    unknown
}

fn grpc(answer: Answer) -> Response<Answer> {
    let mut response = Response::new(answer);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// What stands before a message: that it is not packed, and its length.
fn head(octets: u32) -> Bytes {
    [[0].as_slice(), &octets.to_be_bytes()].concat().into()
}

/// An answer's body: its parts, and then octets that drip.
struct Answer {
    parts: VecDeque<Frame<Bytes>>,
    drip: Option<Interval>,
}

impl Answer {
    /// One message, and that all is good.
    fn whole(message: &[u8]) -> Self {
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let good = HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))]);
        let octets = [head(length).as_ref(), message].concat().into();
        Self { parts: VecDeque::from([Frame::data(octets), Frame::trailers(good)]), drip: None }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(part) = self.parts.pop_front() {
            return Poll::Ready(Some(Ok(part)));
        }
        let Some(due) = &mut self.drip else { return Poll::Ready(None) };
        ready!(due.poll_tick(context));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0])))))
    }
}
