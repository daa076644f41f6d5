//! Connections that are cut and servers that die, at any moment of a commit: nothing is lost, and nothing is twice.

use std::sync::atomic::{AtomicBool, Ordering};

use cluster::Cluster;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream, UnixStream},
    task::JoinSet,
};

use super::{replicas::append_untold, *};
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
    /// Never, but whoever connects next hears nothing.
    Silent,
}

impl Cut {
    fn take_silence(&mut self) -> bool {
        let is_silent = *self == Self::Silent;
        *self = if is_silent { Self::Never } else { *self };
        is_silent
    }
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
    if cut.lock().unwrap().take_silence() {
        std::future::pending::<()>().await;
    }
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(read @ 1..) = read else { return };
                let octets = &from_client[..read];
                if octets.windows(7).any(|window| window == b"COMMIT\0") {
                    match std::mem::replace(&mut *cut.lock().unwrap(), Cut::Never) {
                        Cut::Never | Cut::Silent => {}
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

/// A store behind a line that can be cut.
async fn open_by_line(database: &TestDatabase, cut: &Arc<Mutex<Cut>>) -> PostgresStore {
    let address = line(database.socket.clone(), Arc::clone(cut)).await;
    let url = format!("postgres://exchange@{address}/{}?sslmode=disable", database.name);
    let by_line = PostgresOptions { address: url.parse().unwrap(), ca: None, ..options(database) };
    PostgresStore::open(by_line).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_which_nothing_can_be_learnt_is_never_said_to_be_not_kept() {
    let database = database();
    let cut = Arc::new(Mutex::new(Cut::Never));
    let store = open_by_line(&database, &cut).await;
    let appends = || contract::appends(1, vec![contract::append(STREAM, "a")]);
    // The first one makes the day, in a transaction of its own.
    store.commit(appends()).await.unwrap();
    // A page that cannot be read, a disk that is full, a right that is missing: only for who asks what became of it.
    for (last, state) in (2..).zip(["XX001", "53100", "42501"]) {
        let asked = format!(
            "CREATE OR REPLACE FUNCTION exchange.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF NEW.kept = OLD.kept THEN RAISE EXCEPTION 'not now' USING ERRCODE = '{state}'; END IF; \
             RETURN NEW; END $$; \
             CREATE OR REPLACE TRIGGER fail BEFORE UPDATE ON exchange.writer \
             FOR EACH ROW EXECUTE FUNCTION exchange.fail()"
        );
        cluster::shared().unwrap().sql(&database.name, &asked).unwrap();
        *cut.lock().unwrap() = Cut::BehindCommit;
        let failed = store.commit(appends()).await;
        assert!(matches!(failed, Err(StoreError::Unknown)), "{state}: {failed:?}");
        assert_eq!(store.latest(STREAM).await.unwrap().last, last, "it is kept, and once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn news_is_asked_for_also_while_the_server_is_silent_to_who_wants_to_listen() {
    let database = database();
    let cut = Arc::new(Mutex::new(Cut::Never));
    let store = open_by_line(&database, &cut).await;
    store.commit(contract::appends(1, vec![contract::append(STREAM, "a")])).await.unwrap();
    let (mut tail, mut elsewhere) = (store.tail(STREAM), store.elsewhere());
    elsewhere.wait_for(|rung| *rung > 0).await.expect("it listens");
    *cut.lock().unwrap() = Cut::Silent;
    let listens = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    assert_eq!(cluster::shared().unwrap().sql(&database.name, listens).unwrap(), "t");
    while *cut.lock().unwrap() == Cut::Silent {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    append_untold(&database);
    let asked = tail.wait_for(|tail| tail.last == 2);
    tokio::time::timeout(Duration::from_secs(3), asked).await.expect("it is asked for").unwrap();
}

#[tokio::test]
async fn a_server_that_accepts_and_stays_silent_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://exchange@{}/a?sslmode=disable", listener.local_addr().unwrap());
    let address = url.parse().unwrap();
    let silent = Database::new(&PostgresOptions { address, ca: None, ..options(&database()) }).unwrap();
    let connected = tokio::time::timeout(Duration::from_secs(10), silent.alone()).await;
    assert!(matches!(connected.expect("in time"), Err(Failure::Away(_))));
}

#[tokio::test]
async fn a_host_that_is_silent_is_passed_for_the_next_one() {
    let database = database();
    let full = TcpSocket::new_v4().unwrap();
    full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = full.listen(1).unwrap();
    let silent = full.local_addr().unwrap();
    // Nobody accepts, so the kernel answers no more when its queue is full.
    let mut queue = Vec::new();
    let connect = || tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(silent));
    while let Ok(connected) = connect().await {
        queue.push(connected.unwrap());
    }
    let url = database.url.replace("@", &format!("@{silent},"));
    let behind = PostgresOptions { address: url.parse().unwrap(), ..options(&database) };
    PostgresStore::check(behind).await.unwrap();
}

#[tokio::test]
async fn a_host_that_accepts_and_stays_silent_is_passed_and_then_asked_last() {
    let (database, mute) = (database(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let url = database.url.replace("@", &format!("@{},", mute.local_addr().unwrap()));
    let behind = PostgresOptions { address: url.parse().unwrap(), ..options(&database) };
    let connected = Database::new(&behind).unwrap();
    drop(connected.alone().await.unwrap());
    let again = tokio::time::timeout(Duration::from_secs(2), connected.alone());
    drop(again.await.expect("the one that served is asked first").unwrap());
    PostgresStore::check(behind).await.unwrap();
}

async fn commits_without_answers(row: Row) {
    let database = database();
    let cut = Arc::new(Mutex::new(Cut::Never));
    let store = open_by_line(&database, &cut).await;
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
