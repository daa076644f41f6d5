//! Floods and bombs: memory stays within bounds, and good callers are served meanwhile.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use pki::tls::Role;
use tokio::io::AsyncWriteExt;
use tonic::codegen::Service;

use crate::attacks::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, Raw, SETTINGS, Victim, call,
    field, frame, tcp_from,
};
use crate::doors::header;

/// Connections of one country that have shaken hands: nearly a quarter of all, which is what there is room for.
const SHAKEN: u64 = 240;
/// The most memory that each of them may take while it is idle: 128 KiB.
const MEMORY_OF_ONE: u64 = 128 << 10;

const PULL: &str = "/exchange.v1.Exchange/Pull";

#[tokio::test(flavor = "multi_thread")]
async fn stalled_and_garbled_handshakes_keep_nobody_out() {
    let victim = Victim::start().await;
    let to = victim.peers();
    let attack = async {
        let mut held = Vec::new();
        for n in 0..2_500_u16 {
            // 50 of each address: below the bound for one, so that only the bound for all is left.
            let Ok(mut stream) = tcp_from(n / 50, to).await else { continue };
            let words: &[u8] = match n % 3 {
                0 => b"",
                1 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and no more of it",
                _ => b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n",
            };
            let _ = stream.write_all(words).await;
            held.push(stream);
        }
        held
    };
    let _held = victim.serves_during(attack).await;
    victim
        .counts("exchange_handshakes_failed_total{listener=\"peers\",reason=\"too_many\",alert=\"none\"}")
        .await;
    victim.counts("exchange_handshakes_failed_total{listener=\"peers\",reason=\"not_tls\"").await;
    victim.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_gets_so_many_handshakes_and_no_more() {
    let victim = Victim::start().await;
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(tcp_from(7, victim.peers()).await.unwrap());
    }
    victim.counts("reason=\"too_many_from_one_address\"").await;
    victim.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_cost_little_and_keep_nobody_out() {
    let victim = Victim::start().await;
    let to = victim.peers();
    gateway::descriptors::raise(&gateway::config::Limits::default());
    let open_files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let most = open_files.map_or(10_000, |limit| usize::try_from(limit).unwrap().saturating_sub(2_000));
    let attack = async {
        let mut held = std::collections::VecDeque::new();
        for n in 0..10_000_u16 {
            // Those that come first are closed first by the gateway: their ends here are let go if we need room.
            if held.len() >= most {
                held.pop_front();
            }
            held.extend(tcp_from(n / 50, to).await);
        }
        held
    };
    let _held = victim.serves_during(attack).await;
    // And some hundreds with TLS and HTTP/2, and nothing said on them.
    let (before, mut shaken) = (victim.peak(), Vec::new());
    for _ in 0..SHAKEN {
        shaken.push(victim.french().await);
    }
    let each = (victim.peak() - before) / SHAKEN;
    assert!(each < MEMORY_OF_ONE, "{each} octets for each");
    victim.is_well().await;
    for line in &mut shaken {
        line.say(&frame(PING, 0, 0, &[0; 8])).await.unwrap();
        assert!(line.is_there().await, "they are still served");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_of_a_peer_take_its_own_places_only() {
    let victim = Victim::start_with(|config| config.replace("connections = 1024", "connections = 64")).await;
    let mut held: Vec<Raw> = Vec::new();
    for _ in 0..40 {
        held.extend(victim.try_french().await);
    }
    victim.counts("reason=\"too_many_connections\"").await;
    victim.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_cancelled_at_once_end_the_connection() {
    let victim = Victim::start().await;
    let headers = call(PULL);
    let attack = async {
        for _ in 0..10 {
            let mut line = victim.french().await;
            let mut octets = Vec::new();
            for stream in (1..20_000_u32).step_by(2) {
                octets.extend(frame(HEADERS, END_HEADERS, stream, &headers));
                octets.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            }
            let _ = line.say(&octets).await;
            line.is_hung_up().await;
        }
    };
    victim.serves_during(attack).await;
    victim
        .counts("exchange_connections_broken_total{caller=\"exchange://250/gateway\",reason=\"http2\"}")
        .await;
    victim.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn header_bombs_are_refused_before_they_are_unpacked() {
    let victim = Victim::start().await;
    // One long field goes into the table (RFC 7541, section 6.2.1); each octet behind it names it again.
    let long = [vec![0x40, 1, b'x', 0x7f, 0x81, 0x1e], vec![b'y'; 3_968]].concat();
    let bomb = [call(PULL), long, vec![0xbe; 12_000]].concat();
    let large: Vec<u8> = (0..1_000).flat_map(|_| field("filler", &"z".repeat(100))).collect();
    let attack = async {
        for _ in 0..5 {
            let mut line = victim.french().await;
            let _ = line.say(&frame(HEADERS, END_HEADERS, 1, &bomb)).await;
            line.is_answered(1).await;
            let mut line = victim.french().await;
            let mut octets = frame(HEADERS, 0, 1, &call(PULL));
            for part in large.chunks(16_000) {
                octets.extend(frame(CONTINUATION, 0, 1, part));
            }
            octets.extend(frame(CONTINUATION, END_HEADERS, 1, &[]));
            let _ = line.say(&octets).await;
            line.is_answered(1).await;
        }
    };
    victim.serves_during(attack).await;
    victim.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_continuations_ends_the_connection() {
    let victim = Victim::start().await;
    let attack = async {
        let mut line = victim.french().await;
        let mut octets = frame(HEADERS, 0, 1, &call(PULL));
        octets.extend((0..100_000).flat_map(|_| frame(CONTINUATION, 0, 1, &[])));
        let _ = line.say(&octets).await;
        line.is_hung_up().await;
    };
    victim.serves_during(attack).await;
    victim.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_pings_and_settings_whose_answers_nobody_reads_are_bounded() {
    let victim = Victim::start().await;
    let pings: Vec<u8> = (0..20_000).flat_map(|_| frame(PING, 0, 0, &[0; 8])).collect();
    let settings: Vec<u8> = (0..20_000).flat_map(|_| frame(SETTINGS, 0, 0, &[])).collect();
    for flood in [pings, settings] {
        let mut line = victim.french().await;
        let attack = async {
            for _ in 0..10 {
                // Once its answers find no room, the gateway reads no more of us.
                if tokio::time::timeout(Duration::from_secs(1), line.say(&flood)).await.is_err() {
                    break;
                }
            }
        };
        victim.serves_during(attack).await;
    }
    victim.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_unpacked_so_no_gzip_bomb_goes_off() {
    let victim = Victim::start().await;
    let mut line =
        victim.doors.line(&victim.doors.certificate(250, Role::Gateway), 826, victim.doors.door(826).peers);
    // The first octet of a message says that it is packed; what follows its length would be the bomb.
    let packed = Bytes::from([[1, 0, 0, 16, 0].as_slice(), &[0x1f; 4096]].concat());
    let request = http::Request::post(PULL)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-encoding", "gzip")
        .body(tonic::body::Body::new(Full::new(packed)))
        .unwrap();
    std::future::poll_fn(|context| line.poll_ready(context)).await.unwrap();
    let answer = line.call(request).await.unwrap();
    let code = answer.headers().get("grpc-status").unwrap().clone();
    assert_eq!(code, "12", "UNIMPLEMENTED");
    assert!(answer.into_body().collect().await.unwrap().to_bytes().is_empty());
    victim.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_hold_their_callers_places_only() {
    let victim = Victim::start().await;
    let different: Vec<_> = (1..=250).map(|n| ("250/0", n)).collect();
    let many: Vec<_> = different.iter().cycle().take(2_500).copied().collect();
    for _ in 0..5 {
        victim.doors.push("826/1", &many).await;
    }
    let mut message = vec![0, 0, 0, 0, 5, 0x10];
    message.extend([0x80, 0x80, 0x80, 0x01]);
    let mut held = Vec::new();
    let attack = async {
        for _ in 0..4 {
            let mut line = victim.french().await;
            for stream in (1..120_u32).step_by(2) {
                let asked = [
                    frame(HEADERS, END_HEADERS, stream, &call(PULL)),
                    frame(DATA, END_STREAM, stream, &message),
                ];
                line.say(&asked.concat()).await.unwrap();
            }
            held.push(line);
        }
    };
    victim.serves_during(attack).await;
    victim.counts("exchange_over_quota_total{caller=\"250\",what=\"calls in flight\"}").await;
    victim.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_that_drip_in_hold_their_backends_places_only() {
    let victim = Victim::start().await;
    let dripping = victim.doors.certificate(826, Role::Adapter("826/0".parse().unwrap()));
    let mut held = Vec::new();
    // Each says that a push of 4 MiB comes, and says little of it.
    let begun = [[0].as_slice(), &(4_u32 << 20).to_be_bytes(), &header("250/0").octets()].concat();
    let attack = async {
        for _ in 0..8 {
            let mut line = victim.raw(&dripping, victim.doors.door(826).national).await.unwrap();
            for stream in (1..32_u32).step_by(2) {
                let headers = frame(HEADERS, END_HEADERS, stream, &call("/exchange.v1.Ingest/Push"));
                line.say(&[headers, frame(DATA, 0, stream, &begun)].concat()).await.unwrap();
            }
            held.push(line);
        }
    };
    victim.serves_during(attack).await;
    victim.counts("exchange_over_quota_total{caller=\"826/0\",what=\"calls in flight\"}").await;
    victim.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn octets_that_are_no_http2_end_the_connection_and_are_counted() {
    let victim = Victim::start().await;
    let mut line = victim.french().await;
    line.say(&[0xff; 4096]).await.unwrap();
    line.is_hung_up().await;
    victim
        .counts("exchange_connections_broken_total{caller=\"exchange://250/gateway\",reason=\"http2\"}")
        .await;
    victim.is_well().await;
}

// What the others notice is measured by `federation flood` itself, at length and on a quiet machine.
#[tokio::test(flavor = "multi_thread")]
async fn ten_times_a_quota_is_refused_and_the_others_are_answered_beside_it_and_beside_sick_peers() {
    let options = harness::flood::Options { phase: Duration::from_secs(1), rounds: 1 };
    let summary = harness::flood::run(&options).await.unwrap();
    assert_eq!((summary.floods.len(), summary.sick.len()), (2, 6));
    for flood in &summary.floods {
        assert!(flood.refused > flood.accepted && flood.accepted > 0, "{flood:?}");
    }
    for sick in &summary.sick {
        assert!(sick.suffered > 0, "{sick:?}");
    }
    let floods = summary.floods.iter().flat_map(|flood| &flood.others);
    for other in floods.chain(summary.sick.iter().flat_map(|sick| &sick.others)) {
        assert!(other.samples > 0 && other.with_reports_per_second > 0.0, "{other:?}");
    }
    assert!(summary.counted_over_quota > 0.0 && summary.gateway_peak_bytes < 300 << 20, "{summary:?}");
}
