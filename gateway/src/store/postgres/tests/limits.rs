//! What has a limit: at the limit, and one past it.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt};

use tokio::{task::JoinSet, time::timeout};

use super::*;

const SOON: Duration = Duration::from_secs(20);

fn sql(database: &TestDatabase, statement: &str) {
    cluster::shared().unwrap().sql(&database.name, statement).unwrap();
}

#[tokio::test]
async fn a_page_has_4096_entries_at_most_and_the_next_one_goes_on_behind_it() {
    let database = database();
    let store = open(&database).await;
    for count in [4_096, 1] {
        let all = (0..count).map(|_| contract::append(STREAM, "")).collect();
        store.commit(contract::appends(1, all)).await.unwrap();
        let page = store.after(STREAM, 0, usize::MAX).await.unwrap();
        assert!(page.len() == 4_096 && page.iter().zip(1..).all(|(entry, number)| entry.sequence == number));
    }
    let next = store.after(STREAM, 4_096, usize::MAX).await.unwrap();
    assert_eq!(next.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [4_097]);
}

#[tokio::test]
async fn as_many_ids_as_there_are_are_forgotten_ten_thousand_at_a_time() {
    let database = database();
    let store = open(&database).await;
    for count in [9_999, 10_000, 10_001, 20_000, 20_001] {
        sql(
            &database,
            &format!(
                "INSERT INTO exchange.once (id, at, digest, answer) SELECT int4send(n), n / 2, \
                 decode(repeat('01', 32), 'hex'), '' FROM generate_series(1, {count}) n"
            ),
        );
        let young = contract::once(b"young", 1, b"");
        store.commit(Change { at: 20_000, once: vec![young.clone()], ..Change::default() }).await.unwrap();
        assert_eq!(store.forget(20_000).await.unwrap(), count);
        assert!(store.once(&young.id).await.unwrap().is_some());
        assert_eq!(store.forget(20_001).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn news_names_200_tails_and_beyond_them_says_that_any_may_have_moved() {
    let database = database();
    let (here, there) = (open(&database).await, replicas::told_only(&database).await);
    let mut listens = there.elsewhere();
    timeout(SOON, listens.wait_for(|asked| *asked > 0)).await.unwrap().unwrap();
    for (round, count) in (1..).zip([199_u64, 200, 201]) {
        let streams =
            (0..count).map(|n| Stream::new([&[round], &n.to_be_bytes()[1..]].concat().try_into().unwrap()));
        let streams: Vec<Stream> = streams.collect();
        let all = streams.iter().map(|stream| contract::append(*stream, "a")).collect();
        here.commit(contract::appends(1, all)).await.unwrap();
        for stream in streams {
            let mut tail = there.tail(stream);
            timeout(SOON, tail.wait_for(|tail| tail.last == 1)).await.unwrap().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_connections_are_enough_for_many_callers() {
    let database = database();
    let least = PostgresOptions { connections: 2, ..options(&database) };
    let store: Arc<dyn Store> = Arc::new(PostgresStore::open(least).await.unwrap());
    let mut callers = JoinSet::new();
    for n in 0..40_u8 {
        let store = Arc::clone(&store);
        callers.spawn(async move {
            let day = u64::from(n) * 86_400;
            let kept = store.commit(contract::appends(day, vec![contract::append(STREAM, vec![n])])).await;
            let Ok(Committed::Done { sequences }) = kept else { panic!("{kept:?}") };
            assert_eq!(store.find(STREAM, sequences[0]).await.unwrap().unwrap().body, vec![n]);
            sequences[0]
        });
    }
    let numbers: BTreeSet<u64> = callers.join_all().await.into_iter().collect();
    assert_eq!(numbers, (1..=40).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_exhausted_is_said_to_be_and_serves_again_when_one_comes_back() {
    let database = database();
    let store = PostgresStore::open(PostgresOptions { connections: 2, ..options(&database) }).await.unwrap();
    let held = [store.database.connection().await.unwrap(), store.database.connection().await.unwrap()];
    let change = contract::appends(1, vec![contract::append(STREAM, "a")]);
    let (read, written) = tokio::join!(store.find(STREAM, 1), store.commit(change.clone()));
    for refused in [read.map(drop), written.map(drop)] {
        let is_named =
            matches!(&refused, Err(StoreError::Unreachable { cause, .. }) if cause.contains("wait"));
        assert!(is_named, "{refused:?}");
    }
    drop(held);
    assert_eq!(store.commit(change).await.unwrap(), Committed::Done { sequences: vec![1] });
}

#[tokio::test]
async fn a_password_of_1024_octets_is_read_and_none_that_is_longer() {
    let (database, folder) = (database(), tempfile::tempdir().unwrap());
    let path = folder.path().join("password");
    let said = async |password: &[u8]| {
        fs::write(&path, password).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let options = PostgresOptions { password_file: Some(path.clone()), ..options(&database) };
        PostgresStore::check(options).await.map_err(|error| error.to_string())
    };
    let right = fs::read(&database.password_file).unwrap();
    // White space at the end does not belong to it.
    let longest = [right.clone(), vec![b' '; 1_024 - right.len()]].concat();
    assert_eq!(said(&longest).await, Ok(()));
    let longer = said(&[&longest[..], b" "].concat()).await.unwrap_err();
    assert!(longer.contains("1024"), "{longer}");
    let wrong = said(&[b'w'; 1_024]).await.unwrap_err();
    assert!(wrong.contains("password authentication failed"), "{wrong}");
}

#[tokio::test]
async fn a_file_of_authorities_of_a_mebioctet_is_read_and_none_that_is_longer() {
    let (database, folder) = (database(), tempfile::tempdir().unwrap());
    let path = folder.path().join("ca.crt");
    let said = async |length: usize| {
        let mut text = fs::read(&database.ca).unwrap();
        text.resize(length, b'\n');
        fs::write(&path, text).unwrap();
        let options = PostgresOptions { ca: Some(path.clone()), ..options(&database) };
        PostgresStore::check(options).await.map_err(|error| error.to_string())
    };
    assert_eq!(said(1 << 20).await, Ok(()));
    let longer = said((1 << 20) + 1).await.unwrap_err();
    assert!(longer.contains("1048576"), "{longer}");
    fs::write(&path, "no certificate").unwrap();
    let options = PostgresOptions { ca: Some(path.clone()), ..options(&database) };
    let none = PostgresStore::check(options).await.unwrap_err().to_string();
    assert!(none.contains("holds no certificate"), "{none}");
}

#[tokio::test]
async fn a_server_whose_certificate_names_another_host_is_refused() {
    let database = database();
    let url = database.url.replace("127.0.0.1", "localhost");
    assert_ne!(url, database.url);
    let options = PostgresOptions { address: url.parse().unwrap(), ..options(&database) };
    let refused = PostgresStore::check(options).await.unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, StoreError::Unreachable { .. }) && text.contains("certificate"), "{text}");
}
