//! Schemas of releases before: brought up to date with all that is in them, under replicas that are still at work.

use super::*;

/// As the first release left it, with an entry and an answer.
fn first_release(database: &TestDatabase) {
    let tables = include_str!("../../../../migrations/0001_store.sql");
    let link = "decode(repeat('07', 32), 'hex')";
    let statements = format!(
        "SET ROLE exchange; CREATE SCHEMA exchange; \
         CREATE TABLE exchange.migration (number integer PRIMARY KEY CHECK (number > 0), name text NOT NULL, \
         applied timestamptz NOT NULL DEFAULT now()); \
         INSERT INTO exchange.migration (number, name) VALUES (1, '0001_store'); {tables} \
         CREATE TABLE exchange.entry_0 (LIKE exchange.entry INCLUDING ALL); \
         ALTER TABLE exchange.entry ATTACH PARTITION exchange.entry_0 FOR VALUES IN (0); \
         INSERT INTO exchange.stream (name) VALUES ('peer 826'); \
         INSERT INTO exchange.once (id, at, digest, answer) VALUES ('\\x01', 1, {link}, 'kept')"
    );
    sql(database, &statements);
    old_append(database, 1);
}

/// What a replica of the first release does when it appends an entry.
fn old_append(database: &TestDatabase, sequence: u64) {
    let link = "decode(repeat('07', 32), 'hex')";
    let statements = format!(
        "UPDATE exchange.stream SET last = {sequence}, link = {link}; \
         INSERT INTO exchange.entry (day, stream, sequence, at, link, head, body) \
         SELECT * FROM unnest(ARRAY[0], ARRAY['peer 826'::bytea], ARRAY[{sequence}::bigint], ARRAY[1::bigint], \
         ARRAY[{link}], ARRAY['head'::bytea], ARRAY['body'::bytea])"
    );
    sql(database, &statements);
}

fn sql(database: &TestDatabase, statement: &str) {
    cluster::shared().unwrap().sql(&database.name, statement).unwrap();
}

#[tokio::test]
async fn what_the_first_release_kept_is_read_and_its_replicas_go_on() {
    let database = database();
    first_release(&database);
    let store = open(&database).await;
    let applied = "SELECT string_agg(name, ' ' ORDER BY number) FROM exchange.migration";
    let applied = cluster::shared().unwrap().sql(&database.name, applied).unwrap();
    assert_eq!(applied, "0001_store 0002_checksums");
    old_append(&database, 2);
    store.commit(contract::appends(1, vec![contract::append(STREAM, "new")])).await.unwrap();
    let entries = contract::all(&*store, STREAM, 0, 10_000).await;
    let bodies: Vec<&[u8]> = entries.iter().map(|entry| &entry.body[..]).collect();
    assert_eq!(bodies, [&b"body"[..], b"body", b"new"]);
    let known = store.once(&OnceId::new(&[1]).unwrap()).await.unwrap();
    assert_eq!(known.unwrap().answer, "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_waits_shortly_for_a_reader_and_goes_on_when_it_ends() {
    let database = database();
    first_release(&database);
    let reader = Database::new(&options(&database)).unwrap();
    let mut connection = reader.connection().await.unwrap();
    let backup = connection.transaction().await.unwrap();
    let statements =
        "SET LOCAL idle_in_transaction_session_timeout = 0; LOCK TABLE entry IN ACCESS SHARE MODE";
    backup.batch_execute(statements).await.unwrap();
    let opening = tokio::spawn(PostgresStore::open(options(&database)));
    let name = database.name.clone();
    let looked = tokio::task::spawn_blocking(move || {
        let sql = |statement: &str| cluster::shared().unwrap().sql(&name, statement).unwrap();
        let waiting =
            "SELECT count(*) FROM pg_locks WHERE relation = 'exchange.entry'::regclass AND NOT granted";
        while sql(waiting) == "0" {}
        // Who reads meanwhile waits for the migration, and that gives up first.
        sql("SET statement_timeout = '10s'; SELECT count(*) FROM exchange.entry")
    });
    assert_eq!(looked.await.unwrap(), "1");
    assert!(!opening.is_finished());
    backup.rollback().await.unwrap();
    let store = tokio::time::timeout(Duration::from_secs(30), opening).await.unwrap().unwrap().unwrap();
    assert_eq!(store.find(STREAM, 1).await.unwrap().unwrap().body, "body");
}
