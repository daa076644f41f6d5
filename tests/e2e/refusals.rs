//! What is not taken from those who are let in, and what they are told.

use gateway::clock::Clock;
use pki::fixture::now;
use proto::ids::{Authority, CountryCode, KeyId, Sequence};
use proto::wire;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::doors::{Doors, PATIENCE, header, report};

/// All of a stream, without waiting.
pub(crate) const PULL: wire::PullRequest = wire::PullRequest { after: 0, max_bytes: 1 << 20, wait_ms: 0 };

/// The stable reason that a refusal gives.
pub(crate) fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

/// Two countries whose doors are open.
pub(crate) async fn britain_and_france() -> Doors {
    Doors::open(&["826/0", "826/1", "250/0"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_past_a_limit_is_refused_with_the_field_and_nothing_is_stored() {
    let doors = britain_and_france().await;
    let good = doors.sealed("826/1", &[("250/0", 1)]).await;
    let headers = |count: usize| header("250/0").octets().repeat(count);
    let refusals = [
        (
            wire::PushRequest { headers: headers(5_001).into(), ..good.clone() },
            "headers is 25005 octets long",
        ),
        (
            wire::PushRequest { sealed: vec![0; (4 << 20) + 1].into(), ..good.clone() },
            "sealed is 4194305 octets long",
        ),
        (wire::PushRequest { push_id: vec![1; 15].into(), ..good.clone() }, "push id is 15 octets long"),
        (wire::PushRequest { headers: vec![1; 7].into(), ..good.clone() }, "headers is 7 octets long"),
    ];
    for (push, expected) in refusals {
        let refused = doors.ingest("826/1").push(push).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "MALFORMED"));
        assert!(refused.message().starts_with(expected), "{}", refused.message());
        let field = refused.get_error_details().bad_request().unwrap().field_violations[0].field.clone();
        assert!(expected.starts_with(&field), "{field}");
    }
    let huge = wire::PushRequest { sealed: vec![0; 8 << 20].into(), ..good };
    assert_eq!(doors.ingest("826/1").push(huge).await.unwrap_err().code(), Code::OutOfRange);
    assert!(doors.metrics(826).await.contains("exchange_pushes_total 0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_5000_envelopes_is_taken() {
    let doors = britain_and_france().await;
    let different: Vec<_> = (1..=250).map(|n| ("250/0", n)).collect();
    let many: Vec<_> = different.iter().cycle().take(5_000).copied().collect();
    let verdicts = doors.push("826/1", &many).await;
    assert_eq!(verdicts.len(), 5_000);
    assert_eq!(doors.delivered("250/0", 250).await.len(), 250, "all others were duplicates");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_does_not_open_or_uses_an_old_key_is_told_why() {
    let doors = britain_and_france().await;
    let good = doors.sealed("826/1", &[("250/0", 1)]).await;
    let edited = wire::PushRequest { headers: header("826/0").octets().to_vec().into(), ..good.clone() };
    let refused = doors.ingest("826/1").push(edited).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "PUSH_DOES_NOT_OPEN"));
    let refused = doors.ingest("826/0").push(good.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "PUSH_DOES_NOT_OPEN", "another authority's push");
    let unknown = wire::PushRequest { key_id: vec![0; 8].into(), ..good };
    let refused = doors.ingest("826/1").push(unknown).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "UNKNOWN_INGRESS_KEY")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_beyond_the_end_is_told() {
    let doors = britain_and_france().await;
    let refused = doors.exchange(250, 826).pull(wire::PullRequest { after: 7, ..PULL }).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::OutOfRange, "CURSOR_BEYOND_END"));
    let request =
        wire::DeliveryPullRequest { after: 7, max_bytes: 1, wait_ms: 0, manifest_hash: bytes::Bytes::new() };
    let refused = doors.delivery("826/1".parse().unwrap()).pull(request).await.unwrap_err();
    assert_eq!(reason(&refused), "CURSOR_BEYOND_END");
    let request = wire::DeliveryAcknowledgeRequest { position: 7, manifest_hash: bytes::Bytes::new() };
    let refused = doors.delivery("826/1".parse().unwrap()).acknowledge(request).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::OutOfRange, "NEVER_DELIVERED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_tail_costs_less_than_a_kibibyte() {
    use prost::Message;
    let doors = britain_and_france().await;
    let page = doors.exchange(250, 826).pull(PULL).await.unwrap().into_inner();
    assert!(page.batches.is_empty() && page.encoded_len() < 1_024);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_the_push_and_the_process_lives() {
    let mut doors = Doors::closed(&["826/0", "826/1", "250/0"]);
    let config = doors.config(826).replace("free_disk_bytes = 1048576", "free_disk_bytes = 9000000000000000");
    doors.start_as(826, &config).await;
    doors.start(250).await;
    doors.publish_keys().await;
    let push = doors.sealed("826/1", &[("250/0", 1)]).await;
    let refused = doors.ingest("826/1").push(push.clone()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "STORE_FULL"));
    assert!(refused.get_error_details().retry_info().unwrap().retry_delay.is_some());
    // With space again the same push is taken: nothing of it was stored before.
    doors.stop(826).await;
    doors.start(826).await;
    doors.ingest("826/1").push(push).await.unwrap();
    assert_eq!(doors.delivered("250/0", 1).await, [report("250/0", 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_quota_is_refused_with_a_time_and_takes_nothing_of_others() {
    let mut doors = Doors::closed(&["826/0", "826/1", "250/0"]);
    let config = doors.config(826).replace("calls_in_flight = 16", "calls_in_flight = 2");
    let config = config.replacen("calls_per_second = 2000", "calls_per_second = 10", 1);
    doors.start_as(826, &config).await;
    doors.start(250).await;
    doors.publish_keys().await;
    let flood = async {
        loop {
            if let Err(refused) = doors.ingest("826/1").ingress_keys(wire::IngressKeysRequest {}).await {
                return refused;
            }
        }
    };
    let refused = tokio::time::timeout(PATIENCE, flood).await.unwrap();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "QUOTA_EXCEEDED"));
    assert!(refused.get_error_details().retry_info().unwrap().retry_delay.is_some());
    let push = doors.sealed("826/0", &[("250/0", 1)]).await;
    doors.ingest("826/0").push(push).await.expect("the other backend's calls are its own");
    // A peer may wait in two pulls, and not in three.
    let wait = wire::PullRequest { wait_ms: 5_000, after: 1, ..PULL };
    let [mut one, mut two, mut three] = [(); 3].map(|()| doors.exchange(250, 826));
    let (one, two, three) = tokio::join!(one.pull(wait), two.pull(wait), three.pull(wait));
    let refused = one.err().or(two.err()).or(three.err()).expect("one of them is too much");
    assert_eq!(reason(&refused), "QUOTA_EXCEEDED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_a_store_in_use_and_a_newer_store_say_what_to_do() {
    let mut doors = Doors::closed(&["826/0"]);
    doors.start(826).await;
    let path = doors.path(826).join("gateway.toml");
    let config = gateway::config::Config::read(&path).unwrap();
    let taken = gateway::Listeners::bind(&config.listen).await.err().unwrap().to_string();
    assert!(taken.contains("(listen.peers)") && taken.contains("choose another port"), "{taken}");
    let prepare = |config| gateway::prepare::prepare(config, Clock::default(), CancellationToken::new());
    let in_use = prepare(config.clone()).await.err().unwrap().to_string();
    assert!(in_use.contains("in use by another process"), "{in_use}");
    doors.stop(826).await;
    std::fs::write(doors.path(826).join("store/FORMAT"), "exchange-store 3\n").unwrap();
    let newer = prepare(config).await.err().unwrap().to_string();
    assert!(newer.contains("format 3") && newer.contains("knows 2"), "{newer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_does_not_hold_is_refused_with_its_reason() {
    use proto::batch::{Receipt, Stage};
    // France is called by hand here: its own gateway would acknowledge before us.
    let mut doors = Doors::open(&["826/0", "826/1", "250/0"]).await;
    doors.stop(250).await;
    assert_eq!(doors.push("826/1", &[("250/0", 1)]).await, [proto::verdict::Verdict::Accepted]);
    let page = doors.exchange(250, 826).pull(PULL).await.unwrap().into_inner();
    let hash = pki::sign::sha256(&page.batches[0].manifest);
    let code = |number| CountryCode::new(number).unwrap();
    let good = Receipt {
        origin: code(826),
        destination: code(250),
        through: Sequence::FIRST,
        manifest_hash: hash,
        stage: Stage::Stored,
    };
    let signed = |receipt: Receipt, signer: u16| {
        let (octets, key) = (receipt.octets(), &doors.federation.country(signer).signing);
        wire::AcknowledgeRequest {
            signature: key.sign(Receipt::DOMAIN, &octets).to_vec().into(),
            signing_key: key.public().id().octets().to_vec().into(),
            receipt: octets.into(),
        }
    };
    let two = Sequence::new(2).unwrap();
    let mut altered = signed(good, 250);
    altered.signature = vec![1; 64].into();
    let unknown = wire::AcknowledgeRequest {
        signing_key: KeyId::from([0; 8]).octets().to_vec().into(),
        ..signed(good, 250)
    };
    let cases = [
        (signed(Receipt { origin: code(250), ..good }, 250), "OTHER_STREAM"),
        (signed(Receipt { destination: code(826), ..good }, 250), "OTHER_STREAM"),
        (signed(Receipt { through: two, ..good }, 250), "NEVER_SENT"),
        (signed(Receipt { manifest_hash: [0; 32], ..good }, 250), "OTHER_MANIFEST"),
        (signed(good, 826), "UNKNOWN_SIGNER"),
        (unknown, "UNKNOWN_SIGNER"),
        (altered, "BAD_SIGNATURE"),
    ];
    for (request, expected) in cases {
        let refused = doors.exchange(250, 826).acknowledge(request).await.unwrap_err();
        assert_eq!(reason(&refused), expected, "{}", refused.message());
    }
    doors.exchange(250, 826).acknowledge(signed(good, 250)).await.unwrap();
    doors.exchange(250, 826).acknowledge(signed(good, 250)).await.expect("the same again");
    assert!(doors.receipt(826, "250/stored").await.is_some());
    doors.push("826/1", &[("250/0", 2)]).await;
    let second =
        doors.exchange(250, 826).pull(wire::PullRequest { after: 1, ..PULL }).await.unwrap().into_inner();
    let manifest_hash = pki::sign::sha256(&second.batches[0].manifest);
    doors
        .exchange(250, 826)
        .acknowledge(signed(Receipt { through: two, manifest_hash, ..good }, 250))
        .await
        .unwrap();
    let refused = doors.exchange(250, 826).acknowledge(signed(good, 250)).await.unwrap_err();
    assert_eq!(reason(&refused), "BACKWARDS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_list_that_does_not_hold_is_refused_with_its_reason() {
    let doors = britain_and_france().await;
    let authority: Authority = "826/1".parse().unwrap();
    let key = pki::seal::PrivateKey::parse(
        pki::seal::Suite::P256,
        &pki::seal::PrivateKey::generate(pki::seal::Suite::P256),
    )
    .unwrap();
    let publish = async |as_authority: &str, list: pki::keylist::SignedKeyList| {
        let mut client = doors.delivery(as_authority.parse().unwrap());
        client.publish_keys(list.into_wire()).await.map(drop).map_err(|refused| reason(&refused))
    };
    let list = |version| doors.key_list(authority, key.public(), version);
    assert_eq!(
        publish("826/0", list(now() + 9)).await,
        Err("UNKNOWN_SIGNER".into()),
        "another authority's list"
    );
    assert_eq!(publish("826/1", list(1)).await, Err("OLDER_VERSION".into()));
    assert_eq!(publish("826/1", list(now() + 9)).await, Ok(()));
    let request = wire::KeyListRequest { authority: authority.octets().to_vec().into() };
    doors.exchange(250, 826).key_list(request).await.expect("served to peers");
    let foreign =
        wire::KeyListRequest { authority: "250/0".parse::<Authority>().unwrap().octets().to_vec().into() };
    let refused = doors.exchange(250, 826).key_list(foreign).await.unwrap_err();
    assert_eq!(reason(&refused), "NO_KEY_LIST", "a country tells of its own authorities only");
}
