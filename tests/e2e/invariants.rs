//! The promises of `ARCHITECTURE.md`, one test each, named after it. What only real processes can show is in
//! `recovery` and `privacy`.

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
use proto::verdict::Verdict;
use proto::wire;
use proto::wire::exchange_server::{Exchange, ExchangeServer};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::doors::{Doors, PATIENCE, header, report, verdicts};

#[tokio::test(flavor = "multi_thread")]
async fn the_header_is_the_aad_an_edited_route_cannot_be_opened() {
    let doors = Doors::open(&["826/0", "826/1", "250/0", "36/2"]).await;
    let push = doors.sealed("826/1", &[("250/0", 1), ("250/0", 2)]).await;
    let rerouted = [header("250/0").octets(), header("36/2").octets()].concat();
    let edited = wire::PushRequest { headers: rerouted.into(), ..push.clone() };
    assert_eq!(doors.ingest("826/1").push(edited).await.unwrap_err().code(), Code::InvalidArgument);
    doors.ingest("826/1").push(push).await.unwrap();
    assert_eq!(doors.delivered("250/0", 2).await.len(), 2);
    assert!(doors.delivered("36/2", 0).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_answered_after_its_commit_and_the_same_push_twice_changes_nothing() {
    let mut doors = Doors::open(&["826/0", "826/1", "250/0"]).await;
    let push = doors.sealed("826/1", &[("250/0", 1), ("999/0", 2)]).await;
    let again = (0..8).map(|_| {
        let (mut client, push) = (doors.ingest("826/1"), push.clone());
        tokio::spawn(async move { client.push(push).await.unwrap().into_inner() })
    });
    let again: Vec<_> = again.collect();
    let first = doors.ingest("826/1").push(push.clone()).await.unwrap().into_inner();
    assert_eq!(verdicts(&first), [Verdict::Accepted, Verdict::Unroutable]);
    for reply in again {
        assert_eq!(reply.await.unwrap(), first, "at the same time, from other connections");
    }
    let other = doors.sealed("826/1", &[("250/0", 3)]).await;
    let other = wire::PushRequest { push_id: push.push_id.clone(), ..other };
    let refused = doors.ingest("826/1").push(other).await.unwrap_err();
    assert!(matches!(refused.code(), Code::AlreadyExists | Code::InvalidArgument), "{refused:?}");
    // It was answered, so it survives; and it is known after a restart.
    doors.stop(826).await;
    doors.start(826).await;
    let later = doors.ingest("826/1").push(push).await.unwrap().into_inner();
    assert_eq!(later, first);
    assert_eq!(doors.delivered("250/0", 1).await, [report("250/0", 1)]);
    // A later token comes after it, so nothing of the repetitions is still on its way.
    doors.push("826/1", &[("250/0", 9)]).await;
    assert_eq!(doors.delivered("250/0", 2).await, [report("250/0", 1), report("250/0", 9)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_push_id_of_two_authorities_are_two_pushes() {
    let doors = Doors::open(&["826/0", "826/1", "250/0"]).await;
    // A push id stands in the AAD, so a second push under it has to be sealed for itself.
    let (first, second) =
        (doors.sealed("826/0", &[("250/0", 1)]).await, doors.sealed("826/1", &[("250/0", 2)]).await);
    doors.ingest("826/0").push(first.clone()).await.unwrap();
    let stolen = wire::PushRequest { push_id: first.push_id.clone(), ..second };
    let refused = doors.ingest("826/1").push(stolen).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "not ALREADY_EXISTS: the ids do not meet");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_country_and_role_come_from_tls_never_from_a_message() {
    let doors = Doors::open(&["826/0", "826/1", "250/0", "36/2"]).await;
    doors.push("826/1", &[("250/0", 1), ("36/2", 2), ("826/0", 3)]).await;
    let pull = wire::PullRequest { after: 0, max_bytes: 1 << 20, wait_ms: 0 };
    for (caller, destination) in [(250, "250/0"), (36, "36/2"), (826, "826/0")] {
        let page = doors.exchange(caller, 826).pull(pull).await.unwrap().into_inner();
        let manifests: Vec<_> =
            page.batches.iter().map(|batch| Manifest::parse(&batch.manifest).unwrap()).collect();
        assert_eq!(manifests.len(), 1);
        assert_eq!(manifests[0].header.destination.to_string(), destination);
        assert_eq!(manifests[0].sequence, Sequence::FIRST, "numbered for each country by itself");
    }
    // Each adapter sees its own authority's batches, whatever it asks.
    assert_eq!(doors.delivered("826/0", 1).await, [report("826/0", 3)]);
    assert!(doors.delivered("826/1", 0).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_for_another_state_go_by_loopback_and_unknown_states_to_the_national_authority() {
    let doors = Doors::open(&["826/0", "826/1", "250/0"]).await;
    let told = doors.push("826/1", &[("826/0", 1), ("826/77", 2), ("826/1", 3)]).await;
    assert_eq!(told, [Verdict::Accepted, Verdict::Accepted, Verdict::OwnAuthority]);
    let mut got = doors.delivered("826/0", 2).await;
    got.sort();
    let mut expected = [report("826/0", 1), report("826/77", 2)];
    expected.sort();
    assert_eq!(got, expected);
}

/// A peer that sends whatever it is told to, with the country's true certificate.
#[derive(Clone, Default)]
struct Liar {
    pages: Arc<std::sync::Mutex<Vec<wire::SignedBatch>>>,
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
    /// Answers in a country's place, where its gateway would.
    async fn serve(self, doors: &Doors, code: u16) {
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

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_to_an_authority_that_left_the_list_holds_up_nobody() {
    let mut doors = Doors::open(&["826/0", "826/1", "250/0", "250/1"]).await;
    doors.push("826/1", &[("250/1", 1)]).await;
    assert_eq!(doors.delivered("250/1", 1).await, [report("250/1", 1)]);
    doors.stop(250).await;
    doors.push("826/1", &[("250/1", 2)]).await;
    doors.push("826/1", &[("250/0", 3)]).await;
    let listed = "[[country.authority]]\nauthority = \"250/1\"\nname = \"Authority 250/1\"\nsigning_keys = [\"250-1.pub\"]\n";
    let draft = doors.draft(2);
    assert!(draft.contains(listed), "{draft}");
    doors.install_trust(&draft.replace(listed, ""));
    doors.start(250).await;
    assert_eq!(doors.delivered("250/0", 1).await, [report("250/0", 3)]);
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

// Invariant 6 and 7: killed between any two steps, an adapter that asks again gets the same, and a receiver that
// asks for what it has gets it once.
#[tokio::test(flavor = "multi_thread")]
async fn cursor_and_entry_move_in_one_commit_and_delivery_is_at_least_once() {
    let mut doors = Doors::open(&["826/0", "826/1", "250/0"]).await;
    for n in 1..=20 {
        doors.push("826/1", &[("250/0", n)]).await;
        if n % 5 == 0 {
            // The receiver restarts in mid-stream; its cursor and its inbox agree.
            doors.stop(250).await;
            doors.start(250).await;
        }
    }
    let expected: Vec<_> = (1..=20).map(|n| report("250/0", n)).collect();
    assert_eq!(doors.delivered("250/0", 20).await, expected, "each once, in order");
    assert_eq!(doors.delivered("250/0", 20).await, expected, "unacknowledged, so they come again");
    let mut delivery = doors.delivery("250/0".parse().unwrap());
    delivery
        .acknowledge(wire::DeliveryAcknowledgeRequest { position: 20, manifest_hash: Bytes::new() })
        .await
        .unwrap();
    delivery
        .acknowledge(wire::DeliveryAcknowledgeRequest { position: 20, manifest_hash: Bytes::new() })
        .await
        .expect("the same again");
    let backwards = delivery
        .acknowledge(wire::DeliveryAcknowledgeRequest { position: 19, manifest_hash: Bytes::new() })
        .await
        .unwrap_err();
    assert_eq!(backwards.code(), Code::FailedPrecondition);
    // The origin gets both receipts.
    let delivered = async || doors.receipt(826, "250/delivered").await;
    harness::wait::until("the origin has the delivered receipt", PATIENCE, delivered).await.unwrap();
    assert!(doors.receipt(826, "250/stored").await.is_some());
}

/// Copies a folder as a backup does.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_notices_that_its_gateways_store_was_restored() {
    let mut doors = Doors::open(&["826/0", "826/1", "250/0", "36/2"]).await;
    let (store, backup) = (doors.path(826).join("store"), doors.path(826).join("backup"));
    doors.stop(826).await;
    copy(&store, &backup);
    doors.start(826).await;
    doors.push("250/0", &[("826/1", 1)]).await;
    let authority = "826/1".parse().unwrap();
    let pull = |after, manifest_hash| wire::DeliveryPullRequest {
        after,
        max_bytes: 1,
        wait_ms: 20_000,
        manifest_hash,
    };
    let page = doors.delivery(authority).pull(pull(0, Bytes::new())).await.unwrap().into_inner();
    let french = Bytes::copy_from_slice(&sha256(&page.delivered[0].batch.as_ref().unwrap().manifest));
    let acknowledge = |manifest_hash| wire::DeliveryAcknowledgeRequest { position: 1, manifest_hash };
    // The store goes back to before the French batch, and the first batch that comes then is another one.
    doors.stop(250).await;
    doors.stop(826).await;
    std::fs::remove_dir_all(&store).unwrap();
    copy(&backup, &store);
    doors.start(826).await;
    doors.push("36/2", &[("826/1", 2)]).await;
    let page = doors.delivery(authority).pull(pull(0, Bytes::new())).await.unwrap().into_inner();
    let australian = Bytes::copy_from_slice(&sha256(&page.delivered[0].batch.as_ref().unwrap().manifest));
    let refused = doors.delivery(authority).acknowledge(acknowledge(french.clone())).await.unwrap_err();
    assert_eq!(
        refused.code(),
        Code::OutOfRange,
        "the Australian batch is not acknowledged by the French one's hash"
    );
    let refused = doors.delivery(authority).pull(pull(1, french)).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    doors.delivery(authority).acknowledge(acknowledge(australian)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sick_peer_delays_nobody_else() {
    let mut doors = Doors::closed(&["826/0", "826/1", "250/0", "36/2"]);
    // France accepts every connection and call, and never answers a pull; nobody listens for Australia's calls.
    Liar { hang: true, ..Liar::default() }.serve(&doors, 250).await;
    doors.start(826).await;
    doors.start(36).await;
    doors.publish_keys().await;
    let start = Instant::now();
    for n in 1..=10 {
        assert_eq!(doors.push("36/2", &[("826/1", n)]).await, [Verdict::Accepted]);
        doors.delivered("826/1", usize::from(n)).await;
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let told = doors.push("36/2", &[("250/0", 1), ("826/1", 99)]).await;
    assert_eq!(told, [Verdict::NoKeyYet, Verdict::Accepted], "the rest of a push goes its way");
}
