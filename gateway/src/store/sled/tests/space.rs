//! Space comes back when nothing needs it any more.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
};

use super::*;
use crate::store::upkeep::{KeptAnswer, Piece};

fn files(root: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root.join("segments"))
        .unwrap()
        .map(|item| item.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_segment_is_unlinked_when_nothing_in_it_is_live() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    // Four entries fill a segment.
    fill(&store, [1000; 20]).await;
    assert_eq!(files(root.path()).len(), 5);
    assert_eq!(store.size().segments, 5);
    assert_eq!(store.purge(STREAM, 3).await.unwrap(), 3);
    assert_eq!(store.size().segments, 5);
    assert_eq!(store.purge(STREAM, 16).await.unwrap(), 13);
    assert_eq!(files(root.path()), ["0000000005.seg"]);
    // What is written to stays.
    assert_eq!(store.purge(STREAM, 20).await.unwrap(), 4);
    assert_eq!(files(root.path()), ["0000000005.seg"]);
    // It goes when the next one is begun.
    fill(&store, [1000]).await;
    assert_eq!(files(root.path()), ["0000000006.seg"]);
    // The beginning of a group, the state with a tail and a purge, an entry, the end of the group.
    let bytes = (GROUP + (STATE + 48 + 16) + entry(1000) + END) as u64;
    assert_eq!(store.size(), StoreSize { bytes, segments: 1 });
}

#[tokio::test]
async fn live_counts_survive_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    fill(&store, [1000; 12]).await;
    let size = store.size();
    close(store).await;
    let store = open(root.path());
    assert_eq!(store.size(), size);
    store.purge(STREAM, 10).await.unwrap();
    assert_eq!(files(root.path()), ["0000000003.seg"]);
    assert_eq!(contract::all(&store, STREAM, 0, 1).await.len(), 2);
}

#[tokio::test]
async fn a_purge_of_more_than_one_step_is_whole() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    for _ in 0..5 {
        let many = (0..500).map(|_| contract::append(STREAM, "a")).collect();
        let change = contract::appends(1, many);
        store.commit(change).await.unwrap();
    }
    let other = Stream::new([9; 8]);
    let (purged, committed) = tokio::join!(
        store.purge(STREAM, 2400),
        store.commit(contract::appends(1, vec![contract::append(other, "b")])),
    );
    assert_eq!(purged.unwrap(), 2400);
    committed.unwrap();
    assert_eq!(contract::all(&store, STREAM, 0, 1000).await.len(), 100);
}

#[tokio::test]
async fn as_many_answers_as_one_step_takes_and_one_more_are_forgotten() {
    for count in [1000_u32, 1001] {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path());
        let answer = |n: u32| KeptAnswer {
            id: OnceId::new(&n.to_be_bytes()).unwrap(),
            at: u64::from(n),
            digest: [1; 32],
            answer: "a".into(),
        };
        store.restore((0..=count).map(|n| Piece::Answer(answer(n))).collect()).await.unwrap();
        assert_eq!(store.forget(u64::from(count)).await.unwrap(), u64::from(count));
        let left = store.answers(None, 10).await.unwrap();
        assert_eq!(left, [Ok(answer(count))]);
    }
}

#[tokio::test]
async fn answers_are_carried_on_from_a_segment_without_entries() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    for n in 0..30_u8 {
        let once = contract::once(&[n], n, b"a short answer");
        let change = contract::appends(u64::from(n), vec![contract::append(STREAM, vec![n; 1000])]);
        store.commit(Change { once: vec![once], ..change }).await.unwrap();
    }
    let before = store.size();
    assert_eq!(store.purge(STREAM, 30).await.unwrap(), 30);
    // Steps go between what is asked for; closing and opening does not wait for them.
    while store.size().segments > 2 {
        store.commit(Change::default()).await.unwrap();
    }
    assert!(store.size().bytes < before.bytes / 4, "{:?} of {before:?}", store.size());
    for n in 0..30_u8 {
        let answered = store.once(&OnceId::new(&[n]).unwrap()).await.unwrap().unwrap();
        assert_eq!((answered.digest, &answered.answer[..]), ([n; 32], &b"a short answer"[..]));
    }
    close(store).await;
    let store = open(root.path());
    let repeated = Change { once: vec![contract::once(&[7], 7, b"")], ..Change::default() };
    assert!(matches!(store.commit(repeated).await.unwrap(), Committed::Before(_)));
    assert_eq!(store.forget(u64::MAX).await.unwrap(), 30);
    assert_eq!(store.size().segments, 1);
}

#[tokio::test]
async fn a_damaged_octet_keeps_no_other_segment_and_no_other_answer_where_it_is() {
    // In the header of the first answer, in its length, in its body, and in the header of the second.
    for at in [0, 8, 13 + 40 + 3, GROUP + entry(1000) + END + 13 + 40 + 1 + 14] {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path());
        for n in 0..30_u8 {
            let once = contract::once(&[n], n, b"a short answer");
            let change = contract::appends(u64::from(n), vec![contract::append(STREAM, vec![n; 1000])]);
            store.commit(Change { once: vec![once], ..change }).await.unwrap();
        }
        let first = OpenOptions::new().write(true).open(root.path().join("segments/0000000001.seg")).unwrap();
        first.write_all_at(&[0xff], (GROUP + STATE + at) as u64).unwrap();
        store.purge(STREAM, 30).await.unwrap();
        for _ in 0..40 {
            store.commit(Change::default()).await.unwrap();
        }
        let left = files(root.path());
        assert!(left.len() <= 3 && left[0] == "0000000001.seg", "octet {at}: {left:?}");
        let mut damaged = 0;
        for n in 0..30_u8 {
            match store.once(&OnceId::new(&[n]).unwrap()).await {
                Ok(answered) => assert_eq!(answered.unwrap().digest, [n; 32]),
                Err(StoreError::Corrupt { .. }) => damaged += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(damaged, 1, "octet {at}");
        assert_eq!(store.forget(u64::MAX).await.unwrap(), 30);
        assert_eq!(files(root.path()).len(), 1, "octet {at}");
    }
}

#[tokio::test]
async fn nothing_of_the_index_goes_to_files_that_nobody_syncs() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    for n in 0..300_u32 {
        let id = [&n.to_be_bytes()[..], &[0; 60]].concat();
        let once = contract::once(&id, 1, b"");
        let change = contract::appends(1, (0..20).map(|_| contract::append(STREAM, "")).collect());
        store.commit(Change { once: vec![once], ..change }).await.unwrap();
    }
    store.purge(STREAM, 5000).await.unwrap();
    store.forget(u64::MAX).await.unwrap();
    assert_eq!(fs::read_dir(root.path().join("index/blobs")).unwrap().count(), 0);
    close(store).await;
    close(open(root.path())).await;
    assert_eq!(fs::read_dir(root.path().join("index/blobs")).unwrap().count(), 0);
}
