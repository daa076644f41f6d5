//! The promises of `ARCHITECTURE.md`, one test each, named after it. What only real processes can show is in
//! `recovery` and `privacy`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use pki::sign::sha256;
use proto::batch::Manifest;
use proto::ids::Sequence;
use proto::verdict::Verdict;
use proto::wire;
use tonic::Code;

use crate::doors::{Doors, PATIENCE, header, report, verdicts};
use crate::false_origin::Liar;

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
    Liar::silent().serve(&doors, 250).await;
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
