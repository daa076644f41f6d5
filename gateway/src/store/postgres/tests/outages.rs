//! Connections that are cut and servers that die, at any moment of a commit: nothing is lost, and nothing is twice.

use std::sync::atomic::{AtomicBool, Ordering};

use cluster::Cluster;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    task::JoinSet,
};

use super::*;
use crate::store::Once;

/// Writers that repeat what was not answered with a yes, until `stop`; gives how many pushes each has kept.
async fn pushes(stores: &[Arc<dyn Store>], stop: &Arc<AtomicBool>) -> JoinSet<Vec<[u8; 2]>> {
    let mut writers = JoinSet::new();
    for (n, store) in (0_u8..).zip(stores) {
        let (store, stop) = (Arc::clone(store), Arc::clone(stop));
        writers.spawn(async move {
            let mut kept = Vec::new();
            for push in 0..=u8::MAX {
                let id = [n, push];
                let once =
                    Once { id: OnceId::new(&id).unwrap(), digest: [push; 32], answer: id.to_vec().into() };
                let appends = vec![contract::append(STREAM, id.to_vec())];
                let change = Change { once: vec![once], appends, ..Change::default() };
                loop {
                    match store.commit(change.clone()).await {
                        Ok(_) => break,
                        Err(StoreError::Unknown | StoreError::Unreachable { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
                kept.push(id);
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            kept
        });
    }
    writers
}

/// Every push that was answered is there, and none is there twice.
async fn assert_kept_once(store: &dyn Store, kept: Vec<Vec<[u8; 2]>>) {
    let mut expected: Vec<Vec<u8>> = kept.concat().iter().map(|id| id.to_vec()).collect();
    let entries = contract::all(store, STREAM, 0, 10_000).await;
    assert!(entries.iter().zip(1..).all(|(entry, number)| entry.sequence == number), "dense");
    let mut found: Vec<Vec<u8>> = entries.iter().map(|entry| entry.body.to_vec()).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_at_any_moment_lose_and_double_nothing() {
    let database = database();
    let stores = [open(&database).await, open(&database).await];
    let stop = Arc::new(AtomicBool::new(false));
    let writers = pushes(&stores, &stop).await;
    let known = database.clone();
    let cuts = tokio::task::spawn_blocking(move || (0..40).map(|_| cut(&known)).sum::<u32>());
    assert!(cuts.await.unwrap() > 40, "connections were cut");
    stop.store(true, Ordering::Relaxed);
    assert_kept_once(&*stores[0], writers.join_all().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_in_the_middle_of_a_transaction_loses_and_doubles_nothing() {
    let cluster = Arc::new(Cluster::start().unwrap());
    let database = cluster.database().unwrap();
    let stores = [open(&database).await, open(&database).await];
    let stop = Arc::new(AtomicBool::new(false));
    let writers = pushes(&stores, &stop).await;
    let (restarted, mut tail) = (Arc::clone(&cluster), stores[0].tail(STREAM));
    for _ in 0..3 {
        let last = tail.borrow_and_update().last;
        tail.wait_for(|tail| tail.last > last + 5).await.unwrap();
        let cluster = Arc::clone(&restarted);
        tokio::task::spawn_blocking(move || cluster.restart_at_once().unwrap()).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    assert_kept_once(&*stores[1], writers.join_all().await).await;
}

/// When a line is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Never,
    BeforeCommit,
    BehindCommit,
}

/// A line to the server that can be cut at a COMMIT, once each time it is asked to.
async fn line(socket: std::path::PathBuf, cut: Arc<Mutex<Cut>>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = UnixStream::connect(&socket).await.unwrap();
            tokio::spawn(pass(client, server, Arc::clone(&cut)));
        }
    });
    address
}

async fn pass(mut client: TcpStream, mut server: UnixStream, cut: Arc<Mutex<Cut>>) {
    let (mut from_client, mut from_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut is_last = false;
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(read @ 1..) = read else { return };
                let octets = &from_client[..read];
                if octets.windows(7).any(|window| window == b"COMMIT\0") {
                    match std::mem::replace(&mut *cut.lock().unwrap(), Cut::Never) {
                        Cut::Never => {}
                        Cut::BeforeCommit => return,
                        Cut::BehindCommit => is_last = true,
                    }
                }
                if server.write_all(octets).await.is_err() { return }
            }
            read = server.read(&mut from_server) => {
                let Ok(read @ 1..) = read else { return };
                // The server has committed, and nobody will hear of it.
                if is_last || client.write_all(&from_server[..read]).await.is_err() { return }
            }
        }
    }
}

/// Whether the row that tells what became of a process's last commit is there when it commits.
#[derive(Clone, Copy)]
enum Row {
    Kept,
    /// As if the process had been idle for longer than such rows are kept.
    Removed,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_known_and_not_made_twice() {
    commits_without_answers(Row::Kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_known_also_after_a_long_time_without_any() {
    commits_without_answers(Row::Removed).await;
}

async fn commits_without_answers(row: Row) {
    let database = database();
    let cut = Arc::new(Mutex::new(Cut::Never));
    let address = line(database.socket.clone(), Arc::clone(&cut)).await;
    let url = format!("postgres://exchange@{address}/{}?sslmode=disable", database.name);
    let by_line = PostgresOptions { address: url.parse().unwrap(), ca: None, ..options(&database) };
    let store = PostgresStore::open(by_line).await.unwrap();
    for turn in 1..=8_u64 {
        let when = if turn % 2 == 0 { Cut::BeforeCommit } else { Cut::BehindCommit };
        if let Row::Removed = row {
            // Another process starts.
            let idle = "UPDATE exchange.writer SET seen = seen - interval '31 days'";
            cluster::shared().unwrap().sql(&database.name, idle).unwrap();
            open(&database).await.close().await.unwrap();
        }
        *cut.lock().unwrap() = when;
        // Without an id: only the store itself can know.
        let kept = store.commit(contract::appends(1, vec![contract::append(STREAM, "a")])).await.unwrap();
        assert_eq!(*cut.lock().unwrap(), Cut::Never, "it was cut");
        assert_eq!(kept, Committed::Done { sequences: vec![turn] }, "{when:?}");
        assert_eq!(store.tail(STREAM).borrow().last, turn);
    }
    assert_eq!(contract::all(&store, STREAM, 0, 10_000).await.len(), 8);
}
