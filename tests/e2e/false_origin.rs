//! An origin that sends what it should not, with its country's true certificate and signature.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use pki::fixture::now;
use pki::sign::sha256;
use pki::tls::{self, Role};
use proto::batch::{BatchHeader, Manifest, SignedBatch};
use proto::ids::{BatchId, CountryCode, Sequence};
use proto::wire;
use proto::wire::exchange_server::{Exchange, ExchangeServer};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::doors::{Doors, PATIENCE};

/// A peer that sends whatever it is told to, with the country's true certificate.
#[derive(Clone, Default)]
pub(crate) struct Liar {
    pages: Arc<std::sync::Mutex<Vec<wire::SignedBatch>>>,
    /// It says nothing.
    hang: bool,
    /// The oldest batch that it says it keeps.
    oldest: Arc<AtomicU64>,
}

#[tonic::async_trait]
impl Exchange for Liar {
    async fn pull(&self, request: Request<wire::PullRequest>) -> Result<Response<wire::PullReply>, Status> {
        let oldest = self.oldest.load(Ordering::Relaxed);
        if request.get_ref().after + 1 < oldest {
            let metadata = std::collections::HashMap::from([("oldest".to_owned(), oldest.to_string())]);
            let details = ErrorDetails::with_error_info("PURGED", "exchange.v1", metadata);
            return Err(Status::with_error_details(Code::FailedPrecondition, "purged", details));
        }
        if self.hang {
            std::future::pending::<()>().await;
        }
        let batches = self.pages.lock().unwrap().clone();
        if batches.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(Response::new(wire::PullReply { batches }))
    }

    async fn acknowledge(
        &self,
        _: Request<wire::AcknowledgeRequest>,
    ) -> Result<Response<wire::AcknowledgeReply>, Status> {
        Ok(Response::new(wire::AcknowledgeReply {}))
    }

    async fn key_list(
        &self,
        _: Request<wire::KeyListRequest>,
    ) -> Result<Response<wire::SignedKeyList>, Status> {
        Err(Status::not_found("none"))
    }
}

impl Liar {
    /// One that takes calls and never answers.
    pub(crate) fn silent() -> Self {
        Self { hang: true, ..Self::default() }
    }

    /// Answers in a country's place, where its gateway would.
    pub(crate) async fn serve(self, doors: &Doors, code: u16) {
        let listener = TcpListener::bind(("127.0.0.1", doors.port(code))).await.unwrap();
        let config = tls::server_config(&doors.certificate(code, Role::Gateway), &doors.trust()).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let routes = Routes::new(ExchangeServer::new(self)).prepare();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, routes) = (acceptor.clone(), routes.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let builder =
                        hyper_util::server::conn::auto::Builder::new(TokioExecutor::new()).http2_only();
                    let _ = builder
                        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
                        .await;
                });
            }
        });
    }

    fn sends(&self, batches: Vec<SignedBatch>) {
        *self.pages.lock().unwrap() = batches.into_iter().map(SignedBatch::into_wire).collect();
    }
}

fn batch(doors: &Doors, alter: impl FnOnce(&mut Manifest)) -> SignedBatch {
    let sealed = Bytes::from_static(b"nobody opens this at a gateway");
    let mut manifest = Manifest {
        header: BatchHeader {
            origin: CountryCode::new(250).unwrap(),
            destination: "826/1".parse().unwrap(),
            key: [1; 8].into(),
            id: BatchId::random(),
            sealed_at: u32::try_from(now() / 60).unwrap(),
        },
        sequence: Sequence::FIRST,
        previous: [0; 32],
        sealed_hash: sha256(&sealed),
        sealed_len: u32::try_from(sealed.len()).unwrap(),
        enc: Bytes::from_static(&[2; 65]),
    };
    alter(&mut manifest);
    let (octets, key) = (manifest.octets(), &doors.federation.country(250).signing);
    let signature = key.sign(Manifest::DOMAIN, &octets);
    SignedBatch { manifest: octets.into(), signature, signing_key: key.public().id(), sealed }
}

/// The United Kingdom's alarm metric comes to show this refusal of France's.
async fn alarm(doors: &Doors, reason: &str) {
    let expected = format!("exchange_batches_refused_total{{peer=\"250\",reason=\"{reason}\"}}");
    doors.shows(826, &expected).await;
}

// Invariant 5, and what a repeat, a gap or a fork leaves behind: evidence, an alarm, and nothing in the inbox.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_verified_batch_enters_the_inbox() {
    let mut doors = Doors::closed(&["826/0", "826/1", "250/0"]);
    let liar = Liar::default();
    liar.clone().serve(&doors, 250).await;
    doors.start(826).await;
    let gap = batch(&doors, |manifest| manifest.sequence = Sequence::new(2).unwrap());
    let fork = batch(&doors, |manifest| manifest.previous = [3; 32]);
    let foreign = batch(&doors, |manifest| manifest.header.destination = "36/2".parse().unwrap());
    let unknown = batch(&doors, |manifest| manifest.header.destination = "826/9".parse().unwrap());
    let mut forged = batch(&doors, |_| {});
    forged.signature[0] ^= 1;
    let mut body = batch(&doors, |_| {});
    body.sealed = Bytes::from_static(b"other bytes");
    let cases = [
        (gap, "gap"),
        (fork, "broken_chain"),
        (foreign, "other_destination"),
        (unknown, "other_destination"),
        (forged, "bad_signature"),
        (body, "other_body"),
    ];
    for (bad, reason) in cases {
        liar.sends(vec![bad]);
        alarm(&doors, reason).await;
    }
    assert!(doors.metrics(826).await.contains("exchange_batches_refused_total"));
    let evidence = std::fs::read_dir(doors.path(826).join("state/evidence/250")).unwrap().count();
    assert!(evidence >= 5, "{evidence}");
    // The good batch before a bad one is kept, and the stream goes on where it stood.
    let good = batch(&doors, |_| {});
    let link = sha256(&good.manifest);
    let after_gap = batch(&doors, |manifest| manifest.sequence = Sequence::new(3).unwrap());
    liar.sends(vec![good, after_gap]);
    let delivery = || async {
        let request = wire::DeliveryPullRequest {
            after: 0,
            max_bytes: 1 << 20,
            wait_ms: 500,
            manifest_hash: Bytes::new(),
        };
        doors.delivery("826/1".parse().unwrap()).pull(request).await.unwrap().into_inner().delivered.len()
    };
    let deadline = Instant::now() + PATIENCE;
    while delivery().await == 0 {
        assert!(Instant::now() < deadline);
    }
    let next = batch(&doors, |manifest| {
        manifest.sequence = Sequence::new(2).unwrap();
        manifest.previous = link;
    });
    liar.sends(vec![next]);
    while delivery().await < 2 {
        assert!(Instant::now() < deadline);
    }
    // It goes on sending number 2: a repeat, which changes nothing.
    alarm(&doors, "repeat").await;
    assert_eq!(delivery().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_origin_has_purged_raises_an_alarm_and_is_stepped_over() {
    let mut doors = Doors::closed(&["826/0", "826/1", "250/0"]);
    let liar = Liar::default();
    liar.oldest.store(5, Ordering::Relaxed);
    liar.clone().serve(&doors, 250).await;
    liar.sends(vec![batch(&doors, |manifest| {
        manifest.sequence = Sequence::new(5).unwrap();
        manifest.previous = [4; 32];
    })]);
    doors.start(826).await;
    alarm(&doors, "purged").await;
    assert_eq!(first_delivered(&doors, "826/1").await, 5);
}

// The number in an answer is not signed: an origin that shows us another's stream may name one beyond the end of ours.
#[tokio::test(flavor = "multi_thread")]
async fn a_hole_is_stepped_over_only_with_a_batch_of_our_stream_behind_it() {
    let mut doors = Doors::closed(&["826/0", "826/1", "250/0"]);
    let liar = Liar::default();
    liar.oldest.store(5, Ordering::Relaxed);
    liar.clone().serve(&doors, 250).await;
    doors.start(826).await;
    alarm(&doors, "purged").await;
    liar.sends(vec![batch(&doors, |_| ())]);
    alarm(&doors, "repeat").await;
    liar.oldest.store(0, Ordering::Relaxed);
    assert_eq!(first_delivered(&doors, "826/1").await, 1, "asked for from where it was");
}

/// The number at its origin of the first batch that an authority is given.
async fn first_delivered(doors: &Doors, of: &str) -> u64 {
    let request = wire::DeliveryPullRequest {
        after: 0,
        max_bytes: 1 << 20,
        wait_ms: 20_000,
        manifest_hash: Bytes::new(),
    };
    let page = doors.delivery(of.parse().unwrap()).pull(request).await.unwrap().into_inner();
    Manifest::parse(&page.delivered[0].batch.as_ref().unwrap().manifest).unwrap().sequence.number()
}
