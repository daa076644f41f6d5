//! What the doors take: at each limit, and one past it.

use std::time::Duration;

use bytes::Bytes;
use pki::fixture;
use pki::seal::seal_push;
use prost::Message;
use proto::push::Draft;
use proto::wire;
use tokio::io::AsyncReadExt;
use tonic::{Code, Status};

use crate::attacks::{END_HEADERS, HEADERS, PING, RST_STREAM, Victim, call, field, frame, tcp_from};
use crate::doors::{Doors, PATIENCE};

/// A message of exactly so many octets: `grow` gives it with so many in its longest field.
fn sized<M: Message>(octets: usize, grow: impl Fn(usize) -> M) -> M {
    let around = grow(octets).encoded_len() - octets;
    // A shorter field may have a shorter length before it.
    let spare = octets - grow(octets - around).encoded_len();
    let message = grow(octets - around + spare);
    assert_eq!(message.encoded_len(), octets);
    message
}

/// A message at the limit is read, and refused for what it says; one octet more is not read.
fn is_limit(at: Result<(), Status>, beyond: Result<(), Status>) {
    let codes = [at, beyond].map(|refused| refused.unwrap_err().code());
    assert_eq!(codes, [Code::InvalidArgument, Code::OutOfRange]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_read_up_to_its_limit_and_not_one_octet_beyond() {
    let doors = Doors::open(&["826/0", "250/0"]).await;
    let receipt = |octets| async move {
        let receipt = |octets| wire::AcknowledgeRequest { receipt: zeros(octets), ..Default::default() };
        sized(octets, receipt)
    };
    let mut exchange = doors.exchange(250, 826);
    let [at, beyond] = [16 << 10, (16 << 10) + 1].map(receipt);
    is_limit(
        exchange.acknowledge(at.await).await.map(drop),
        exchange.acknowledge(beyond.await).await.map(drop),
    );
    let list = |octets| sized(octets, |n| wire::SignedKeyList { list: zeros(n), ..Default::default() });
    let mut delivery = doors.delivery("826/0".parse().unwrap());
    let most = 68 << 10;
    is_limit(
        delivery.publish_keys(list(most)).await.map(drop),
        delivery.publish_keys(list(most + 1)).await.map(drop),
    );
    let push = |octets| sized(octets, |n| wire::PushRequest { sealed: zeros(n), ..Default::default() });
    let mut ingest = doors.ingest("826/0");
    let most = (4 << 20) + (256 << 10);
    is_limit(ingest.push(push(most)).await.map(drop), ingest.push(push(most + 1)).await.map(drop));
}

fn zeros(octets: usize) -> Bytes {
    vec![0; octets].into()
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_read_up_to_their_limit_and_not_one_octet_beyond() {
    let victim = Victim::start().await;
    // Name, value and 32 octets for each (RFC 9113, section 6.5.2).
    let of_call: usize = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "gateway"),
        (":path", PULL),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    .iter()
    .map(|(name, value)| name.len() + value.len() + 32)
    .sum();
    let with = |octets: usize| {
        let mut left = octets - of_call;
        let mut headers = call(PULL);
        while left > 0 {
            // The last one takes what is left, and is never too short to be one.
            let this = if left <= 150 { left } else { left.min(150).min(left - 40) };
            headers.extend(field("filler", &"z".repeat(this - 32 - "filler".len())));
            left -= this;
        }
        headers
    };
    // The library reads what is shorter than the limit.
    for (octets, is_read) in [((16 << 10) - 1, true), (16 << 10, false)] {
        let mut line = victim.french().await;
        let headers = with(octets);
        assert!(headers.len() <= 16_384, "one frame");
        line.say(&frame(HEADERS, END_HEADERS | 1, 1, &headers)).await.unwrap();
        let (kind, block) = line.answer(1).await;
        // ":status: 200" is one octet (RFC 7541, appendix A); whatever gRPC answers comes with it.
        assert_eq!(kind == HEADERS && block.first() == Some(&0x88), is_read, "{octets}: {kind} {block:x?}");
    }
    victim.is_well().await;
}

const PULL: &str = "/exchange.v1.Exchange/Pull";

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_cancelled_up_to_their_limit_and_one_more_ends_the_connection() {
    let victim = Victim::start().await;
    let headers = call(PULL);
    for (resets, lives) in [(20_u32, true), (21, false)] {
        let mut line = victim.french().await;
        let mut octets = Vec::new();
        for stream in (1..).step_by(2).take(resets as usize) {
            octets.extend(frame(HEADERS, END_HEADERS, stream, &headers));
            octets.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        }
        octets.extend(frame(PING, 0, 0, b"are you?"));
        line.say(&octets).await.unwrap();
        assert_eq!(line.is_there().await, lives, "{resets}");
    }
    victim.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_as_many_handshakes_as_the_configuration_says_and_not_one_more() {
    let few =
        |config: String| config.replace("handshakes_of_one_address = 64", "handshakes_of_one_address = 3");
    let victim = Victim::start_with(few).await;
    let refused = "reason=\"too_many_from_one_address\"";
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(tcp_from(7, victim.peers()).await.unwrap());
    }
    // They are let in before anybody who comes later.
    let mut other = tcp_from(8, victim.peers()).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(1), other.read_u8()).await;
    assert!(closed.is_err(), "another address has its own");
    assert!(!victim.doors.metrics(826).await.contains(refused), "at the limit");
    let mut fourth = tcp_from(7, victim.peers()).await.unwrap();
    let closed = tokio::time::timeout(PATIENCE, fourth.read_u8()).await.expect("it is closed at once");
    assert!(closed.is_err());
    victim.counts(&format!("{refused},alert=\"none\"}} 1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_brings_more_than_its_quota_is_pulled_more_slowly_and_nothing_is_lost() {
    let mut doors = Doors::open(&["826/0", "250/0"]).await;
    doors.stop(826).await;
    let (own, to) = ("250/0", "826/0".parse().unwrap());
    let key = doors.ingress_key(own).await;
    let (pushes, each) = (5, 5_000);
    for push in 0..pushes {
        let mut draft = Draft::default();
        for number in push * each..(push + 1) * each {
            let (header, octets) = fixture::report(to, 534, number);
            draft.add(&header, &octets).unwrap();
        }
        let (headers, body) = draft.into_parts();
        doors.ingest(own).push(seal_push(&key, own.parse().unwrap(), headers, body).unwrap()).await.unwrap();
    }
    // 13 MiB wait, and 8 MiB a second may be stored.
    let config = doors.config(826);
    let (backends, peers) = config.split_once("[quota.peer]").unwrap();
    let small = peers.replacen("kibibytes_per_second = 65536", "kibibytes_per_second = 8192", 1);
    assert_ne!(small, peers);
    doors.start_as(826, &format!("{backends}[quota.peer]{small}")).await;
    doors.shows(826, "exchange_over_quota_total{caller=\"250\",what=\"octets stored\"}").await;
    let of_all = |text: &str| harness::admin::metric(text, "exchange_batches_total", &[("direction", "in")]);
    let arrived = async {
        while of_all(&doors.metrics(826).await) < pushes as f64 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, arrived).await.expect("all of it arrives");
}
