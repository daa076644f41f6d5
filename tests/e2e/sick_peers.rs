//! Peers that are up and not well: each costs the others nothing, and is left alone until it is well again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pki::tls::{self, Role};
use proto::verdict::Verdict;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::doors::Doors;

/// What ails a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ailment {
    /// It accepts connections and says nothing, not even TLS.
    Silent,
    /// It shakes hands, and then says one octet a second.
    Slow,
    /// It says what is no TLS.
    NoTls,
    /// It shakes hands, and says what is no HTTP/2.
    NoHttp,
}

/// The begin of an HTTP/2 connection: empty settings. A slow peer takes nine seconds for it.
const BEGIN: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// Stands where a country's gateway should, with its true certificate.
async fn stand_in(doors: &Doors, code: u16, ailment: Ailment) -> tokio::task::AbortHandle {
    let listener = TcpListener::bind(("127.0.0.1", doors.port(code))).await.unwrap();
    let config = tls::server_config(&doors.certificate(code, Role::Gateway), &doors.trust()).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let accepts = async move {
        let mut held = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.spawn(ail(ailment, stream, acceptor.clone()));
        }
    };
    tokio::spawn(accepts).abort_handle()
}

async fn ail(ailment: Ailment, mut stream: TcpStream, acceptor: TlsAcceptor) {
    match ailment {
        Ailment::Silent => std::future::pending().await,
        Ailment::NoTls => drop(stream.write_all(&[0xff; 64]).await),
        Ailment::NoHttp => {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let _ = stream.write_all(&[0xff; 64]).await;
            drain(&mut stream).await;
        }
        Ailment::Slow => {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            for octet in BEGIN.iter().cycle() {
                if stream.write_all(&[*octet]).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn drain(stream: &mut TlsStream<TcpStream>) {
    let mut octets = [0; 1024];
    while stream.read(&mut octets).await.is_ok_and(|read| read > 0) {}
}

/// How long tokens take from Australia's push until England can have them.
async fn times(doors: &Doors, numbers: std::ops::Range<u8>) -> Vec<Duration> {
    let mut times = Vec::new();
    for number in numbers {
        let before = doors.delivered("826/1", 0).await.len();
        let start = Instant::now();
        assert_eq!(doors.push("36/2", &[("826/1", number)]).await, [Verdict::Accepted]);
        doors.delivered("826/1", before + 1).await;
        times.push(start.elapsed());
    }
    times.sort();
    times
}

// `federation flood` prints how much p99 differs; here the bound is wide, so that a busy machine fails nothing.
#[tokio::test(flavor = "multi_thread")]
async fn sick_peers_of_every_kind_delay_nobody_else() {
    let mut doors = Doors::closed(&["826/0", "826/1", "36/2", "250/0", "276/0", "380/0", "724/0"]);
    doors.start(826).await;
    doors.start(36).await;
    doors.publish_keys().await;
    let well = times(&doors, 1..31).await;
    let ailments = [Ailment::Silent, Ailment::Slow, Ailment::NoTls, Ailment::NoHttp];
    let mut sick = Vec::new();
    for (code, ailment) in [250, 276, 380, 724].into_iter().zip(ailments) {
        sick.push(stand_in(&doors, code, ailment).await);
    }
    let beside = times(&doors, 31..61).await;
    let (before, after) = (well[well.len() / 2], beside[beside.len() / 2]);
    assert!(
        after < before * 3 + Duration::from_millis(100),
        "half of them took {before:?}, and then {after:?}"
    );
    sick.into_iter().for_each(|peer| peer.abort());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_fails_in_a_row_is_left_alone_and_found_again() {
    let mut doors = Doors::closed(&["826/0", "826/1", "250/0"]);
    let sick = stand_in(&doors, 250, Ailment::NoHttp).await;
    doors.start(826).await;
    doors.shows(826, "exchange_circuit_state{peer=\"250\"} 2").await;
    doors.shows(826, "exchange_circuits_opened_total{peer=\"250\"}").await;
    doors.shows(826, "exchange_retries_total{peer=\"250\",call=\"pull\"}").await;
    sick.abort();
    // Its port is free when the task has ended.
    let port = doors.port(250);
    crate::doors::until("the port is free", || std::net::TcpListener::bind(("127.0.0.1", port)).is_ok())
        .await;
    doors.start(250).await;
    doors.shows(826, "exchange_circuit_state{peer=\"250\"} 0").await;
    doors.publish_keys().await;
    assert_eq!(doors.push("826/1", &[("250/0", 1)]).await, [Verdict::Accepted]);
    doors.delivered("250/0", 1).await;
}
