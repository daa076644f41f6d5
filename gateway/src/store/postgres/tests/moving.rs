//! All of a store in one file: from the store on one machine into a database, and back.

use std::{io::Cursor as File, path::Path};

use super::*;
use crate::store::{
    Advance,
    archive::{self, ArchiveError},
    sled::{SledOptions, SledStore},
    upkeep::Upkeep,
};

const DAY: u64 = 86_400;

fn on_disk(directory: &Path) -> SledStore {
    SledStore::open(directory, SledOptions { free_floor_bytes: 0, ..SledOptions::default() }).unwrap()
}

async fn archived(store: &dyn Upkeep) -> Vec<u8> {
    let mut damaged = |error| panic!("{error}");
    archive::export(store, Vec::new(), &mut damaged, &mut |_| {}).await.unwrap().0
}

/// Entries of several days, a purged beginning, a stream that is purged to its end, cursors, answers.
async fn filled(store: &dyn Store) {
    let emptied = Stream::new(*b"peer 276");
    for n in 0..40_u8 {
        let both = [STREAM, OTHER, emptied].map(|stream| contract::append(stream, vec![n; usize::from(n)]));
        let to = Cursor { through: u64::from(n) + 1, link: [n; 32] };
        let advances = vec![Advance { cursor: CursorName::new([n; 16]), from: Cursor::default(), to }];
        let once = vec![contract::once(&[n, 1], n, b"the answer")];
        let at = DAY * u64::from(n / 10) + u64::from(n);
        store.commit(Change { once, advances, ..contract::appends(at, both.into()) }).await.unwrap();
    }
    store.purge(OTHER, 20).await.unwrap();
    store.purge(emptied, 40).await.unwrap();
    store.forget(5).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moves_into_a_database_and_back_is_the_same_and_goes_on_where_it_was() {
    let (folder, database) = (tempfile::tempdir().unwrap(), database());
    let old = on_disk(&folder.path().join("old"));
    filled(&old).await;
    let archive = archived(&old).await;
    let new = PostgresStore::open(options(&database)).await.unwrap();
    archive::import(File::new(&archive), &new, &mut |_| {}).await.unwrap();
    assert!(archived(&new).await == archive, "an archive of it is the same octet by octet");
    assert!(!archive::is_unfinished(&new).await.unwrap());
    let back = on_disk(&folder.path().join("back"));
    archive::import(File::new(archived(&new).await), &back, &mut |_| {}).await.unwrap();
    assert!(archived(&back).await == archive);
    for store in [&old as &dyn Store, &new, &back] {
        let next = store.commit(contract::appends(1, vec![contract::append(OTHER, "next")])).await.unwrap();
        assert_eq!(next, Committed::Done { sequences: vec![41] });
        let repeated = Change { once: vec![contract::once(&[7, 1], 7, b"other")], ..Change::default() };
        assert!(matches!(store.commit(repeated).await.unwrap(), Committed::Before(_)));
    }
    assert!(archived(&new).await == archived(&old).await);
    let again = archive::import(File::new(&archive), &new, &mut |_| {}).await;
    assert!(matches!(again, Err(ArchiveError::NotEmpty)), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_are_lost_stay_lost() {
    let (folder, database) = (tempfile::tempdir().unwrap(), database());
    let from = PostgresStore::open(options(&database)).await.unwrap();
    for n in 0..9_u8 {
        from.commit(contract::appends(1, vec![contract::append(STREAM, vec![n])])).await.unwrap();
    }
    let statement = "DELETE FROM exchange.entry WHERE sequence IN (3, 4, 9)";
    cluster::shared().unwrap().sql(&database.name, statement).unwrap();
    let archive = archived(&from).await;
    let to = on_disk(folder.path());
    let contents = archive::import(File::new(&archive), &to, &mut |_| {}).await.unwrap();
    assert_eq!((contents.entries, contents.lost), (6, 3));
    assert_eq!(to.latest(STREAM).await.unwrap().last, 9);
    assert!(archived(&to).await == archive);
}
