//! The store in a database, on a real server.

mod damage;
mod failures;
mod limits;
mod migrations;
mod moving;
mod outages;
mod partitions;
mod refusals;
mod replicas;

use std::{collections::BTreeMap, sync::Mutex};

use cluster::Database as TestDatabase;

pub(crate) use self::damage::spoil;
use super::*;
use crate::store::contract;

const STREAM: Stream = Stream::new(*b"peer 826");
const OTHER: Stream = Stream::new(*b"peer 250");

/// An empty database of its own on the server that all tests share.
fn database() -> TestDatabase {
    cluster::shared().unwrap().database().unwrap()
}

fn options(database: &TestDatabase) -> PostgresOptions {
    PostgresOptions {
        address: database.url.parse().unwrap(),
        ca: Some(database.ca.clone()),
        password_file: Some(database.password_file.clone()),
        connections: 6,
        statement: Duration::from_secs(5),
        poll: Duration::from_millis(200),
    }
}

async fn open(database: &TestDatabase) -> Arc<dyn Store> {
    Arc::new(PostgresStore::open(options(database)).await.unwrap())
}

/// The same database for the same name.
#[derive(Default)]
struct Databases(Mutex<BTreeMap<String, TestDatabase>>);

impl Databases {
    fn named(&self, name: &str) -> TestDatabase {
        self.0.lock().unwrap().entry(name.to_owned()).or_insert_with(database).clone()
    }

    async fn open(&self, name: &str) -> Arc<dyn Store> {
        let known = self.named(name);
        // Whoever had it before is dropped. What the server still does for it ends before the next one begins.
        while cut(&known) > 0 {}
        open(&known).await
    }
}

/// Cuts every connection to a database, in the middle of whatever it does; gives how many there were.
fn cut(database: &TestDatabase) -> u32 {
    let statement = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()";
    cluster::shared().unwrap().sql(&database.name, statement).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds() {
    let databases = Databases::default();
    contract::holds(async |name: &str| databases.open(name).await).await;
}

#[test]
fn random_operations_do_what_they_do_to_maps_in_memory() {
    let databases = Databases::default();
    let kill = async |name: &str| {
        cut(&databases.named(name));
    };
    contract::model::holds(24, async |name: &str| databases.open(name).await, kill);
}

#[tokio::test]
async fn a_unix_socket_needs_no_certificate() {
    let database = database();
    let by_socket =
        PostgresOptions { address: database.socket_url.parse().unwrap(), ca: None, ..options(&database) };
    let store = PostgresStore::open(by_socket).await.unwrap();
    store.commit(contract::appends(1, vec![contract::append(STREAM, "a")])).await.unwrap();
    assert_eq!(store.find(STREAM, 1).await.unwrap().unwrap().body, "a");
    store.close().await.unwrap();
}
