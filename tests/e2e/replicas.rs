//! A country that runs several gateways over one PostgreSQL behind a plain balancer: any of them may be killed,
//! stopped or restarted at any time, and so may the database.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use cluster::Cluster;
use harness::direct::{self, Line};
use harness::leaks::Secrets;
use harness::members::{CountryPlan, country};
use harness::process::Signal;
use harness::reports::{Contact, today};
use harness::{Federation, Node, admin, authority};
use proto::ids::Authority;
use proto::verdict::Verdict;
use rand::Rng;
use tokio::task::JoinSet;

use crate::callers::{Callers, Made};

const SOON: Duration = Duration::from_secs(60);
/// How long a stopped process may take to end.
const GRACE: Duration = Duration::from_secs(20);
/// Replicas of the United Kingdom.
const REPLICAS: u8 = 3;
/// Reports in each push.
const REPORTS: usize = 5;

/// The United Kingdom with replicas over a database, and France with a folder.
async fn replicated(cluster: Option<Arc<Cluster>>) -> Federation {
    let mut builder = Federation::builder()
        .country(CountryPlan::new(826, "United Kingdom", &[("826/1", "England")]).postgres(REPLICAS))
        .country(CountryPlan::new(250, "France", &[("250/0", "France")]));
    if let Some(cluster) = cluster {
        builder = builder.cluster(cluster);
    }
    builder.start().await.unwrap()
}

fn replicas() -> impl Iterator<Item = Node> {
    (1..=REPLICAS).map(|number| Node::replica(country(826), number))
}

/// Pushes from both countries to each other, until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    pushed: Arc<AtomicUsize>,
    pushers: JoinSet<Pushed>,
}

/// What one pusher saw.
#[derive(Default)]
struct Pushed {
    to: Option<Authority>,
    tokens: Vec<Vec<u8>>,
    /// How often the same push had to be sent, at most.
    most_tries: usize,
}

impl Load {
    async fn start(federation: &Federation, pushers: &[(&str, &str)]) -> Self {
        let (stop, pushed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for (from, to) in pushers {
            let line = Line::open(federation, authority(from)).await.unwrap();
            tasks.spawn(pusher(line, authority(to), stop.clone(), pushed.clone()));
        }
        Self { stop, pushed, pushers: tasks }
    }

    /// Waits until so many more pushes were answered.
    async fn goes_on(&self, federation: &Federation, more: usize) {
        let until = self.pushed.load(Ordering::Relaxed) + more;
        let reached = async || (self.pushed.load(Ordering::Relaxed) >= until).then_some(());
        federation.wait_until("pushes are answered", SOON, reached).await.unwrap();
    }

    async fn ended(self) -> Vec<Pushed> {
        self.stop.store(true, Ordering::Relaxed);
        self.pushers.join_all().await
    }
}

async fn pusher(line: Line, to: Authority, stop: Arc<AtomicBool>, pushed: Arc<AtomicUsize>) -> Pushed {
    let mut seen = Pushed { to: Some(to), ..Pushed::default() };
    while !stop.load(Ordering::Relaxed) {
        let contacts: Vec<Contact> =
            (0..REPORTS).map(|_| Contact::simple(to, &rand::rng().random::<[u8; 16]>(), today())).collect();
        let request = line.seal(&contacts).unwrap();
        let mut tries = 1;
        let reply = loop {
            match line.push(request.clone()).await {
                Ok(reply) => break reply,
                Err(status) => {
                    assert!(tries < 100, "{status:?}");
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        assert!(direct::verdicts(&reply).unwrap().iter().all(|verdict| *verdict == Verdict::Accepted));
        seen.most_tries = seen.most_tries.max(tries);
        seen.tokens.extend(contacts.into_iter().map(|contact| contact.token));
        pushed.fetch_add(1, Ordering::Relaxed);
    }
    seen
}

/// What was accepted has arrived once at its authority, and nothing else has arrived anywhere.
async fn all_arrived_once(federation: &Federation, pushed: &[Pushed]) {
    for to in ["826/1", "250/0"].map(authority) {
        let for_it = pushed.iter().filter(|pushed| pushed.to == Some(to));
        let expected: BTreeSet<Vec<u8>> = for_it.flat_map(|pushed| pushed.tokens.iter().cloned()).collect();
        let all_there = async || {
            let delivered = federation.delivered(to).ok()?;
            (delivered.len() >= expected.len()).then_some(())
        };
        let what = format!("{} tokens arrive at {to}", expected.len());
        federation.wait_until(&what, SOON, all_there).await.unwrap();
        let delivered = federation.delivered(to).unwrap();
        let found: BTreeSet<Vec<u8>> = delivered.iter().map(|report| report.token.clone()).collect();
        assert_eq!(found.len(), delivered.len(), "{to}: doubled");
        assert_eq!(found, expected, "{to}: lost or misdelivered");
    }
}

/// A metric, summed over all replicas.
async fn total(federation: &Federation, name: &str, labels: &[(&str, &str)]) -> f64 {
    let mut total = 0.0;
    for gateway in federation.country(country(826)).unwrap().gateways() {
        let (_, text) = admin::get(gateway.admin, "/metrics").await.unwrap();
        total += admin::metric(&text, name, labels);
    }
    total
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_over_one_database_are_one_gateway() {
    let federation = replicated(None).await;
    let ways = [("826/1", "250/0"), ("826/1", "250/0"), ("826/1", "250/0"), ("250/0", "826/1")];
    let load = Load::start(&federation, &ways).await;
    load.goes_on(&federation, 60).await;
    let pushed = load.ended().await;
    all_arrived_once(&federation, &pushed).await;
    assert_eq!(pushed.iter().map(|pushed| pushed.most_tries).max(), Some(1), "no call failed");
    let out = total(&federation, "exchange_batches_total", &[("peer", "250"), ("direction", "out")]).await;
    let pushes: usize = pushed[..].iter().map(|pushed| pushed.tokens.len() / REPORTS).sum();
    let incoming =
        total(&federation, "exchange_batches_total", &[("peer", "250"), ("direction", "in")]).await;
    assert_eq!((out + incoming) as usize, pushes, "each batch was numbered and pulled by one of them");
    // Each knows what all have: the receipts of France, whoever took them.
    let latest = async || {
        let mut known = BTreeSet::new();
        for gateway in federation.country(country(826)).unwrap().gateways() {
            known.insert(admin::octets(gateway.admin, "/receipts/250/delivered").await.ok()?);
        }
        known.iter().all(|(status, _)| *status == 200).then_some(known.len()).filter(|count| *count == 1)
    };
    federation.wait_until("every replica has the same receipt", SOON, latest).await.unwrap();
    for (node, end) in federation.stop().await.unwrap() {
        assert!(end.success(), "{node}: {end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_killed_at_random_moments_lose_and_double_nothing() {
    let federation = replicated(None).await;
    let ways = [("826/1", "250/0"), ("826/1", "250/0"), ("250/0", "826/1"), ("250/0", "826/1")];
    let load = Load::start(&federation, &ways).await;
    for _ in 0..4 {
        for node in replicas() {
            let pause = Duration::from_millis(rand::rng().random_range(0..300));
            tokio::time::sleep(pause).await;
            federation.kill_now(node).await.unwrap();
            federation.launch(node).unwrap();
        }
        load.goes_on(&federation, 10).await;
    }
    let pushed = load.ended().await;
    all_arrived_once(&federation, &pushed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_under_load_loses_nothing_and_fails_no_call_twice() {
    let federation = replicated(None).await;
    let ways = [("826/1", "250/0"), ("826/1", "250/0"), ("826/1", "250/0"), ("250/0", "826/1")];
    let load = Load::start(&federation, &ways).await;
    let callers = Callers::start(&federation).await;
    for node in replicas() {
        load.goes_on(&federation, 10).await;
        federation.kill(node, Signal::TERM).unwrap();
        let end = federation.ended(node, GRACE).await.unwrap();
        assert!(end.success(), "{node}: {end}");
        federation.restart(node).await.unwrap();
    }
    load.goes_on(&federation, 10).await;
    let pushed = load.ended().await;
    let most = pushed.iter().map(|pushed| pushed.most_tries).max().unwrap();
    assert!(most <= 2, "a push was sent {most} times");
    for Made { call, calls, failed } in callers.ended().await {
        assert!(calls >= 10 && failed.len() <= 1, "{call:?}: {calls} calls, and one failed with {failed:?}");
    }
    all_arrived_once(&federation, &pushed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_dies_in_the_middle_of_transactions_is_waited_for() {
    let cluster = Arc::new(Cluster::start().unwrap());
    let federation = replicated(Some(cluster.clone())).await;
    let ways = [("826/1", "250/0"), ("826/1", "250/0"), ("250/0", "826/1"), ("250/0", "826/1")];
    let load = Load::start(&federation, &ways).await;
    for _ in 0..3 {
        load.goes_on(&federation, 8).await;
        let cluster = cluster.clone();
        tokio::task::spawn_blocking(move || cluster.restart_at_once().unwrap()).await.unwrap();
    }
    load.goes_on(&federation, 8).await;
    let pushed = load.ended().await;
    all_arrived_once(&federation, &pushed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_rows_of_an_inbox_are_fetched_again_from_their_origin() {
    let cluster = Arc::new(Cluster::start().unwrap());
    let federation = replicated(Some(cluster.clone())).await;
    let database = federation.country(country(826)).unwrap().database.clone().unwrap();
    let sql = |statement: &str| cluster.sql(&database.name, statement).unwrap();
    federation.kill_now(Node::adapter("826/1")).await.unwrap();
    let load = Load::start(&federation, &[("250/0", "826/1")]).await;
    load.goes_on(&federation, 6).await;
    let pushed = load.ended().await;
    let batches = pushed.iter().map(|pushed| pushed.tokens.len() / REPORTS).sum::<usize>();
    let inbox = "FROM exchange.entry WHERE get_byte(stream, 0) = ascii('i')";
    let count = format!("SELECT count(*) {inbox}");
    let kept = async || (sql(&count) == batches.to_string()).then_some(());
    federation.wait_until("all batches are in the inbox", SOON, kept).await.unwrap();
    // Of the first the sealed body is hit, of the second the manifest that says where it is from.
    for (sequence, column) in [(1, "body"), (2, "head")] {
        let octet = format!("set_byte({column}, 80, get_byte({column}, 80) # 1)");
        sql(&format!(
            "UPDATE exchange.entry SET {column} = {octet} WHERE get_byte(stream, 0) = ascii('i') AND sequence = {sequence}"
        ));
    }
    federation.restart(Node::adapter("826/1")).await.unwrap();
    all_arrived_once(&federation, &pushed).await;
    assert!(total(&federation, "exchange_batches_damaged_total", &[("stream", "inbox")]).await >= 2.0);
    assert!(total(&federation, "exchange_batches_mended_total", &[]).await >= 2.0);
    assert_eq!(sql("SELECT count(*) FROM exchange.mended"), "2");
}

/// A holder that sleeps through its lease wakes up under an old fence: what it had begun is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_sleeps_through_its_lease_moves_no_cursor_when_it_wakes() {
    let cluster = Arc::new(Cluster::start().unwrap());
    let federation = replicated(Some(cluster.clone())).await;
    let database = federation.country(country(826)).unwrap().database.clone().unwrap();
    let statement = "SELECT token FROM exchange.lease WHERE name = '\\x7000fa0000000000'";
    let token = || cluster.sql(&database.name, statement).unwrap();
    let load = Load::start(&federation, &[("250/0", "826/1")]).await;
    load.goes_on(&federation, 5).await;
    let held = token();
    let (mut asleep, mut taken) = (None, false);
    for node in replicas() {
        federation.kill(node, Signal::STOP).unwrap();
        // One that sleeps within a transaction keeps the lease's row until the database ends that, after 10 s.
        let changed = async || (token() != held).then_some(());
        taken = harness::wait::until("another replica takes over", Duration::from_secs(25), changed)
            .await
            .is_ok();
        asleep = Some(node);
        if taken {
            break;
        }
        federation.kill(node, Signal::CONT).unwrap();
    }
    assert!(taken, "nobody held the lease");
    load.goes_on(&federation, 5).await;
    federation.kill(asleep.unwrap(), Signal::CONT).unwrap();
    load.goes_on(&federation, 5).await;
    let pushed = load.ended().await;
    all_arrived_once(&federation, &pushed).await;
}

/// Whoever runs the database reads what whoever has the gateway's disk reads: nothing of a report.
#[tokio::test(flavor = "multi_thread")]
async fn the_database_and_its_driver_write_nothing_that_can_be_read() {
    let cluster = Arc::new(Cluster::start().unwrap());
    let federation = Federation::builder()
        .cluster(cluster.clone())
        .country(CountryPlan::new(826, "United Kingdom", &[("826/1", "England")]).postgres(1))
        .country(CountryPlan::new(250, "France", &[("250/0", "France")]).postgres(1))
        .log_level("trace")
        .start()
        .await
        .unwrap();
    let (england, france) = (authority("826/1"), authority("250/0"));
    let token = rand::rng().random::<[u8; 16]>();
    let contact = Contact::simple(france, &token, today());
    federation.push(england, &[contact.line()]).await.unwrap();
    let arrived = async || (federation.delivered(france).ok()?.len() == 1).then_some(());
    federation.wait_until("the token arrives", SOON, arrived).await.unwrap();
    cluster.sql("postgres", "CHECKPOINT").unwrap();
    let secrets = Secrets::new(&[token.to_vec(), contact.octets()]).unwrap();
    for part in ["data/base", "data/pg_wal"] {
        assert_eq!(secrets.find_below(&cluster.folder().join(part)).unwrap(), [], "{part}");
    }
    for code in [826, 250] {
        let gateway = &federation.country(country(code)).unwrap().gateway;
        assert_eq!(secrets.find_below(&gateway.folder).unwrap(), []);
        let log = std::fs::read_to_string(&gateway.log).unwrap();
        assert!(log.contains("TRACE") && !log.contains("with parameters"), "{code}");
    }
}
