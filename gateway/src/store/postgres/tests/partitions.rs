//! Days: each has a partition, which goes when all in it is purged.

use cluster::Cluster;

use super::*;

const DAY: u64 = 86_400;

fn partitions(database: &TestDatabase) -> Vec<String> {
    let statement = "SELECT relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid \
         WHERE relkind = 'r' ORDER BY relname";
    let listed = cluster::shared().unwrap().sql(&database.name, statement).unwrap();
    listed.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_day_is_dropped_when_everything_in_it_is_purged_and_the_newest_stays() {
    let database = database();
    let store = open(&database).await;
    for day in 1..=3 {
        let both = vec![contract::append(STREAM, "a"), contract::append(OTHER, "b")];
        store.commit(contract::appends(day * DAY, both)).await.unwrap();
    }
    assert_eq!(partitions(&database), ["entry_1", "entry_2", "entry_3"]);
    store.purge(STREAM, 2).await.unwrap();
    store.forget(0).await.unwrap();
    assert_eq!(partitions(&database).len(), 3, "the other stream needs them");
    store.purge(OTHER, 1).await.unwrap();
    store.forget(0).await.unwrap();
    assert_eq!(partitions(&database), ["entry_2", "entry_3"]);
    assert_eq!(store.oldest(OTHER).await.unwrap(), Some((2, 2 * DAY)));
    for stream in [STREAM, OTHER] {
        store.purge(stream, u64::MAX).await.unwrap();
    }
    store.forget(0).await.unwrap();
    assert_eq!(partitions(&database), ["entry_3"]);
    assert_eq!(store.oldest(OTHER).await.unwrap(), None);
    assert_eq!(store.older(OTHER, u64::MAX).await.unwrap(), 0);
    // A clock that was set back writes to a day that is gone.
    store.commit(contract::appends(DAY, vec![contract::append(STREAM, "late")])).await.unwrap();
    assert_eq!(partitions(&database), ["entry_1", "entry_3"]);
    assert_eq!(store.oldest(STREAM).await.unwrap(), Some((4, DAY)));
}

#[tokio::test(flavor = "multi_thread")]
async fn days_are_dropped_under_readers_and_writers_of_another_process() {
    let database = database();
    let (writer, sweeper) = (open(&database).await, open(&database).await);
    let work = tokio::spawn(async move {
        for n in 0..120 {
            // Every third one goes back to a day that may just have been dropped.
            let at = if n % 3 == 0 { DAY } else { (2 + n / 10) * DAY };
            writer.commit(contract::appends(at, vec![contract::append(STREAM, "a")])).await.unwrap();
            writer.after(STREAM, 0, 1_000).await.unwrap();
        }
    });
    while !work.is_finished() {
        let last = sweeper.latest(STREAM).await.unwrap().last;
        sweeper.purge(STREAM, last).await.unwrap();
        sweeper.forget(0).await.unwrap();
    }
    work.await.unwrap();
    assert_eq!(sweeper.latest(STREAM).await.unwrap().last, 120);
    sweeper.purge(STREAM, 120).await.unwrap();
    sweeper.forget(0).await.unwrap();
    assert_eq!(partitions(&database).len(), 1);
}

#[tokio::test]
async fn a_backup_that_reads_for_long_holds_up_no_new_day() {
    let database = database();
    let store = open(&database).await;
    store.commit(contract::appends(DAY, vec![contract::append(STREAM, "a")])).await.unwrap();
    // As pg_dump does: a lock on every table until its transaction ends.
    let reader = Database::new(&options(&database)).unwrap();
    let mut connection = reader.connection().await.unwrap();
    let backup = connection.transaction().await.unwrap();
    backup.batch_execute("LOCK TABLE entry, entry_1 IN ACCESS SHARE MODE").await.unwrap();
    store.commit(contract::appends(2 * DAY, vec![contract::append(STREAM, "b")])).await.unwrap();
    assert_eq!(partitions(&database), ["entry_1", "entry_2"]);
    store.purge(STREAM, 1).await.unwrap();
    store.forget(0).await.expect("a partition that cannot be dropped now is dropped later");
    assert_eq!(partitions(&database).len(), 2);
    assert_eq!(store.oldest(STREAM).await.unwrap(), Some((2, 2 * DAY)));
    backup.rollback().await.unwrap();
    store.forget(0).await.unwrap();
    assert_eq!(partitions(&database), ["entry_2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_whose_index_the_disk_has_spoiled_keeps_no_other_day() {
    let cluster = Cluster::start().unwrap();
    let database = cluster.database().unwrap();
    let store = open(&database).await;
    for day in 1..=4 {
        store.commit(contract::appends(day * DAY, vec![contract::append(STREAM, "a")])).await.unwrap();
    }
    store.purge(STREAM, 3).await.unwrap();
    spoil(&cluster, &database, "'exchange.entry_1_pkey'::regclass");
    store.forget(0).await.unwrap();
    let days = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class \
         WHERE relname LIKE 'entry_%' AND relkind = 'r'";
    assert_eq!(cluster.sql(&database.name, days).unwrap(), "entry_1 entry_4");
}
