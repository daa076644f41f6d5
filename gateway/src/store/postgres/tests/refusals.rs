//! Databases that a gateway does not begin to work with, and what it says of them.

use std::{fs, os::unix::fs::PermissionsExt};

use super::*;
use crate::{clock::Clock, fixture, prepare};

async fn refused(options: PostgresOptions) -> StoreError {
    PostgresStore::open(options).await.err().expect("it is refused")
}

fn sql(database: &TestDatabase, statement: &str) {
    cluster::shared().unwrap().sql(&database.name, statement).unwrap();
}

#[tokio::test]
async fn a_schema_of_a_later_release_is_refused_and_left_as_it_is() {
    let database = database();
    open(&database).await.close().await.unwrap();
    sql(&database, "INSERT INTO exchange.migration (number, name) VALUES (99, '0099_later')");
    for refused in [
        refused(options(&database)).await,
        PostgresStore::check(options(&database)).await.expect_err("it is refused"),
    ] {
        assert!(matches!(refused, StoreError::Newer { found: 99, known: 2 }), "{refused}");
    }
}

#[tokio::test]
async fn a_check_of_an_empty_database_changes_nothing() {
    let database = database();
    PostgresStore::check(options(&database)).await.unwrap();
    let statement = "SELECT count(*) FROM pg_namespace WHERE nspname = 'exchange'";
    assert_eq!(cluster::shared().unwrap().sql(&database.name, statement).unwrap(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_start_together_migrate_once() {
    let database = database();
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let options = options(&database);
        opening.spawn(async move { PostgresStore::open(options).await.unwrap() });
    }
    assert_eq!(opening.join_all().await.len(), 6);
    let applied = cluster::shared().unwrap().sql(&database.name, "SELECT count(*) FROM exchange.migration");
    assert_eq!(applied.unwrap(), "2");
}

#[tokio::test]
async fn a_server_that_another_authority_certifies_is_refused() {
    let (database, folder) = (database(), tempfile::tempdir().unwrap());
    let other = folder.path().join("other.crt");
    let federation = pki::fixture::Federation::of(&["826/0"]);
    federation.install_gateway(826, folder.path());
    fs::copy(folder.path().join("gateway.crt"), &other).unwrap();
    let refused = PostgresStore::check(PostgresOptions { ca: Some(other), ..options(&database) }).await;
    let text = refused.expect_err("it is refused").to_string();
    assert!(text.contains("postgres.ca"), "{text}");
    let none = refused_text(PostgresOptions { ca: None, ..options(&database) }).await;
    assert!(none.contains("`postgres.ca` is missing"), "{none}");
}

async fn refused_text(options: PostgresOptions) -> String {
    refused(options).await.to_string()
}

#[tokio::test]
async fn a_password_is_read_only_from_a_closed_file_and_never_shown() {
    let (database, folder) = (database(), tempfile::tempdir().unwrap());
    let path = folder.path().join("password");
    fs::write(&path, "canary-of-a-password\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let wrong = || PostgresOptions { password_file: Some(path.clone()), ..options(&database) };
    let text = refused_text(wrong()).await;
    assert!(text.contains("chmod 600"), "{text}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!("{0} {0:?} {1:?}", refused(wrong()).await, wrong());
    assert!(text.contains("password authentication failed") && !text.contains("canary"), "{text}");
}

#[tokio::test]
async fn a_server_that_does_not_sync_is_refused() {
    let database = database();
    sql(&database, &format!("ALTER DATABASE {} SET synchronous_commit = off", database.name));
    open(&database).await.close().await.expect("our own setting goes before the database's");
    let unsafe_one = cluster::Cluster::start().unwrap();
    let database = unsafe_one.database().unwrap();
    unsafe_one.sql("postgres", "ALTER SYSTEM SET fsync = off").unwrap();
    unsafe_one.restart_at_once().unwrap();
    let text = refused_text(options(&database)).await;
    assert!(text.contains("`fsync` is not on"), "{text}");
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named() {
    let database = database();
    let url = database.url.replace(&database.name, "nowhere");
    let text = refused_text(PostgresOptions { address: url.parse().unwrap(), ..options(&database) }).await;
    assert!(text.contains("\"nowhere\" does not exist"), "{text}");
    let unreachable = PostgresOptions {
        address: "postgres://exchange@127.0.0.1:1/exchange".parse().unwrap(),
        ..options(&database)
    };
    let refused = PostgresStore::check(unreachable).await.expect_err("nobody listens there");
    assert!(matches!(refused, StoreError::Unreachable { .. }), "{refused}");
}

#[tokio::test]
async fn a_check_says_when_the_database_is_newer_or_does_not_answer() {
    let database = database();
    let (_folder, config) = fixture::config(Some(&database), |config| config);
    let check = || prepare::check(&config, &Clock::default());
    assert!(check().unwrap().starts_with("good: country 826"));
    open(&database).await.close().await.unwrap();
    sql(&database, "INSERT INTO exchange.migration (number, name) VALUES (3, '0003_later')");
    let [newer] = &check().unwrap_err()[..] else { panic!("one problem") };
    assert!(newer.contains("format 3") && newer.contains("knows 2"), "{newer}");
    let statement = format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", database.name);
    cluster::shared().unwrap().sql("postgres", &statement).unwrap();
    let [away] = &check().unwrap_err()[..] else { panic!("one problem") };
    assert!(away.contains(&database.name) && away.contains("not currently accepting"), "{away}");
}
