//! The other end of the line: the gateway's promises in memory, and its faults when a test asks for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use pki::fixture::Federation;
use pki::keylist::{KeyList, Kind, ListedKey};
use pki::seal::{PrivateKey, Suite};
use pki::sign::sha256;
use pki::tls::Role;
use prost::Message;
use proto::batch::SignedBatch;
use proto::body::Reports;
use proto::header::EnvelopeHeader;
use proto::ids::{Authority, CountryCode};
use proto::push::Push;
use proto::verdict::Verdict;
use proto::{limits, wire};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};
use wire::delivery_server::DeliveryServer;
use wire::ingest_server::IngestServer;

use super::World;
use crate::gateway::Gateway;

/// A gateway's services for one adapter.
pub(crate) struct Remote {
    state: Mutex<State>,
    federation: Arc<Federation>,
}

/// What it remembers, and what a test has asked for.
#[derive(Default)]
pub(crate) struct State {
    ingress: Vec<PrivateKey>,
    answered: HashMap<Vec<u8>, (Vec<u8>, wire::PushReply)>,
    /// Reports that were accepted, in their order; one that is stored twice stands here twice.
    pub(crate) accepted: Vec<Vec<u8>>,
    /// Pushes that came, answered or not.
    pub(crate) pushes: usize,
    /// Headers of these countries are answered `no_key_yet`.
    pub(crate) without_key: Vec<u16>,
    /// So many pushes are stored and their answers lost.
    pub(crate) lost_answers: usize,
    /// So many calls of any kind fail before anything happens.
    pub(crate) outages: usize,
    /// Every push is refused whole with this code.
    pub(crate) refuse: Option<Code>,
    pub(crate) delivered: Vec<wire::Delivered>,
    /// Acknowledged positions, in their order.
    pub(crate) acknowledged: Vec<u64>,
    /// So many acknowledgements are taken and their answers lost.
    pub(crate) lost_acknowledgements: usize,
    pub(crate) published: Vec<wire::SignedKeyList>,
    /// What was purged: positions up to this one.
    pub(crate) purged: u64,
}

impl Remote {
    pub(crate) fn new(federation: Arc<Federation>) -> Self {
        let remote = Self { state: Mutex::default(), federation };
        remote.rotate();
        remote
    }

    /// Forgets everything but its key.
    pub(crate) fn reset(&self) {
        let mut state = self.state();
        let ingress = std::mem::take(&mut state.ingress);
        *state = State { ingress, ..State::default() };
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Forgets what it has answered: a push that comes again is a new one.
    pub(crate) fn forget_answers(&self) {
        self.state().answered.clear();
    }

    /// Replaces the ingress key: pushes sealed to the old one cannot be opened any more.
    pub(crate) fn rotate(&self) {
        let key = PrivateKey::parse(Suite::X25519, &PrivateKey::generate(Suite::X25519)).unwrap();
        self.state().ingress = vec![key];
    }

    /// Puts batches at the end of the delivery stream.
    pub(crate) fn deliver(&self, batches: impl IntoIterator<Item = SignedBatch>) {
        let mut state = self.state();
        for batch in batches {
            let position = state.delivered.last().map_or(1, |last| last.position + 1);
            state.delivered.push(wire::Delivered { position, batch: Some(batch.into_wire()) });
        }
    }

    /// Serves over plain TCP, and gives the way there.
    pub(crate) async fn serve_plain(self: Arc<Self>) -> Gateway {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(self.clone().serve(stream));
            }
        });
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        let (sender, receiver) = watch::channel(channel);
        // The receiver reads the last value even when nobody can send another.
        drop(sender);
        Gateway::new(receiver)
    }

    /// Serves over mutual TLS as the country's gateway, and gives its address.
    pub(crate) async fn serve_tls(self: Arc<Self>) -> String {
        let certificate = self.federation.country(826).certificate(Role::Gateway);
        let config = pki::tls::server_config(&certificate, &self.federation.trust_list()).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    tokio::spawn(self.clone().serve(stream));
                }
            }
        });
        format!("https://{address}")
    }

    /// Serves one connection.
    pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self: Arc<Self>,
        stream: S,
    ) {
        let ingest = IngestServer::from_arc(self.clone()).max_decoding_message_size(limits::MESSAGE_LEN);
        let delivery = DeliveryServer::from_arc(self).max_encoding_message_size(limits::MESSAGE_LEN);
        let routes = Routes::new(ingest).add_service(delivery);
        let builder = Builder::new(TokioExecutor::new()).http2_only();
        let _ = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)).await;
    }

    fn is_up(&self) -> Result<MutexGuard<'_, State>, Status> {
        let mut state = self.state();
        if state.outages > 0 {
            state.outages -= 1;
            return Err(Status::unavailable("an outage"));
        }
        Ok(state)
    }
}

fn refused(code: Code, reason: &str) -> Status {
    Status::with_error_details(
        code,
        "words",
        ErrorDetails::with_error_info(reason, "exchange.v1", HashMap::new()),
    )
}

impl State {
    /// Refuses a position that means another batch here.
    fn check_history(&self, position: u64, hash: &[u8]) -> Result<(), Status> {
        let here = self.delivered.iter().find(|delivered| delivered.position == position);
        let other =
            here.and_then(|here| here.batch.as_ref()).is_some_and(|here| sha256(&here.manifest) != hash);
        if other && !hash.is_empty() {
            return Err(refused(Code::OutOfRange, "CURSOR_BEYOND_END"));
        }
        Ok(())
    }

    fn push(&mut self, request: wire::PushRequest) -> Result<wire::PushReply, Status> {
        self.pushes += 1;
        if let Some(code) = self.refuse {
            return Err(refused(code, "BY_REQUEST"));
        }
        let reply = self.answer(request)?;
        if self.lost_answers > 0 {
            self.lost_answers -= 1;
            return Err(Status::unavailable("the answer is lost"));
        }
        Ok(reply)
    }

    /// Stores a push, or finds the answer that it had before.
    fn answer(&mut self, request: wire::PushRequest) -> Result<wire::PushReply, Status> {
        let octets = request.encode_to_vec();
        if let Some((known, reply)) = self.answered.get(request.push_id.as_ref()) {
            let same = *known == octets;
            return if same {
                Ok(reply.clone())
            } else {
                Err(refused(Code::AlreadyExists, "PUSH_ID_REUSED"))
            };
        }
        let id = request.push_id.to_vec();
        let push = Push::parse(request).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let key = self.ingress.iter().find(|key| key.id() == push.key);
        let key = key.ok_or_else(|| refused(Code::FailedPrecondition, "UNKNOWN_INGRESS_KEY"))?;
        let text = key.open_push(&push, World::own());
        let text = text.map_err(|_| refused(Code::InvalidArgument, "PUSH_DOES_NOT_OPEN"))?;
        let mut verdicts = Vec::new();
        for (header, report) in push.headers().zip(Reports::of_push(&text)) {
            let verdict = self.verdict(&EnvelopeHeader::parse(header).unwrap());
            if verdict == Verdict::Accepted {
                self.accepted.push(report.unwrap().to_vec());
            }
            verdicts.push(verdict.number());
        }
        let reply = wire::PushReply { verdicts: verdicts.into(), problems: Vec::new() };
        self.answered.insert(id, (octets, reply.clone()));
        Ok(reply)
    }

    fn verdict(&self, header: &EnvelopeHeader) -> Verdict {
        match header.authority() {
            Authority::State(country, _) if self.without_key.contains(&country.number()) => Verdict::NoKeyYet,
            Authority::State(country, _) if [250, 826].contains(&country.number()) => Verdict::Accepted,
            _ => Verdict::Unroutable,
        }
    }
}

#[tonic::async_trait]
impl wire::ingest_server::Ingest for Remote {
    async fn push(&self, request: Request<wire::PushRequest>) -> Result<Response<wire::PushReply>, Status> {
        self.is_up()?.push(request.into_inner()).map(Response::new)
    }

    async fn ingress_keys(
        &self,
        _: Request<wire::IngressKeysRequest>,
    ) -> Result<Response<wire::SignedKeyList>, Status> {
        let state = self.is_up()?;
        let now = pki::fixture::now();
        let listed = |key: &PrivateKey| ListedKey {
            key: key.public().clone(),
            not_before: now - 60,
            not_after: now + 3_600,
        };
        let keys = state.ingress.iter().map(listed).collect();
        let authority = Authority::national(CountryCode::new(826).unwrap());
        let list = KeyList { kind: Kind::Ingress, authority, version: 1, issued: now, keys };
        Ok(Response::new(list.sign(&self.federation.country(826).signing).into_wire()))
    }
}

#[tonic::async_trait]
impl wire::delivery_server::Delivery for Remote {
    async fn pull(
        &self,
        request: Request<wire::DeliveryPullRequest>,
    ) -> Result<Response<wire::DeliveryPullReply>, Status> {
        let wire::DeliveryPullRequest { after, wait_ms, manifest_hash, .. } = request.into_inner();
        let page = {
            let state = self.is_up()?;
            state.check_history(after, &manifest_hash)?;
            if after > state.delivered.last().map_or(0, |last| last.position) {
                return Err(refused(Code::OutOfRange, "CURSOR_BEYOND_END"));
            }
            if after < state.purged {
                let metadata = HashMap::from([("oldest".to_owned(), (state.purged + 1).to_string())]);
                let details = ErrorDetails::with_error_info("PURGED", "exchange.v1", metadata);
                return Err(Status::with_error_details(Code::FailedPrecondition, "words", details));
            }
            let behind = state.delivered.iter().filter(|delivered| delivered.position > after);
            behind.take(3).cloned().collect::<Vec<_>>()
        };
        if page.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(wait_ms.min(50).into())).await;
        }
        Ok(Response::new(wire::DeliveryPullReply { delivered: page }))
    }

    async fn acknowledge(
        &self,
        request: Request<wire::DeliveryAcknowledgeRequest>,
    ) -> Result<Response<wire::DeliveryAcknowledgeReply>, Status> {
        let mut state = self.is_up()?;
        let wire::DeliveryAcknowledgeRequest { position, manifest_hash } = request.into_inner();
        state.check_history(position, &manifest_hash)?;
        if position > state.delivered.last().map_or(0, |last| last.position) {
            return Err(refused(Code::OutOfRange, "NEVER_DELIVERED"));
        }
        state.acknowledged.push(position);
        if state.lost_acknowledgements > 0 {
            state.lost_acknowledgements -= 1;
            return Err(Status::unavailable("the answer is lost"));
        }
        Ok(Response::new(wire::DeliveryAcknowledgeReply {}))
    }

    async fn publish_keys(
        &self,
        request: Request<wire::SignedKeyList>,
    ) -> Result<Response<wire::PublishKeysReply>, Status> {
        self.is_up()?.published.push(request.into_inner());
        Ok(Response::new(wire::PublishKeysReply {}))
    }
}
