//! Random operations do to the store what they do to a few maps in memory, whenever it is closed, dropped, killed or
//! loses its index. The contract has the same without the last one.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::store::{Advance, Append, Numbered, Once};

#[derive(Debug, Clone)]
enum Operation {
    Commit { at: u8, once: Option<u8>, advance: Option<(u8, u8)>, appends: Vec<(u8, u16)> },
    Purge { stream: u8, through: u8 },
    Forget { before: u8 },
    Reopen,
    Drop,
    Kill,
    LoseIndex,
}

fn operation() -> impl Strategy<Value = Operation> {
    let appends = vec((0..3_u8, 0..1500_u16), 0..4);
    let commit =
        (0..50_u8, proptest::option::of(0..12_u8), proptest::option::of((0..3_u8, 0..3_u8)), appends)
            .prop_map(|(at, once, advance, appends)| Operation::Commit { at, once, advance, appends });
    prop_oneof![
        12 => commit,
        3 => (0..3_u8, 0..20_u8).prop_map(|(stream, through)| Operation::Purge { stream, through }),
        2 => (0..50_u8).prop_map(|before| Operation::Forget { before }),
        1 => Just(Operation::Reopen),
        1 => Just(Operation::Drop),
        1 => Just(Operation::Kill),
        1 => Just(Operation::LoseIndex),
    ]
}

const fn stream(n: u8) -> Stream {
    Stream::new([n; 8])
}

const NAME: CursorName = CursorName::new([7; 16]);

#[derive(Debug, Default)]
struct Model {
    tails: BTreeMap<Stream, u64>,
    entries: BTreeMap<(Stream, u64), (u64, Bytes)>,
    once: BTreeMap<u8, (u64, Answered)>,
    cursor: u64,
}

impl Model {
    fn commit(&mut self, change: &Change, id: Option<u8>) -> Result<Committed, &'static str> {
        if let Some((_, answered)) = id.and_then(|id| self.once.get(&id)) {
            return Ok(Committed::Before(answered.clone()));
        }
        for advance in &change.advances {
            if advance.to.through < advance.from.through {
                return Err("backwards");
            }
            if advance.from.through != self.cursor {
                return Err("moved");
            }
            self.cursor = advance.to.through;
        }
        if let (Some(id), [once]) = (id, &change.once[..]) {
            self.once.insert(id, (change.at, Answered { digest: once.digest, answer: once.answer.clone() }));
        }
        let mut sequences = Vec::new();
        for append in &change.appends {
            let tail = self.tails.entry(append.stream).or_default();
            *tail += 1;
            sequences.push(*tail);
            self.entries.insert((append.stream, *tail), (change.at, append.body.clone()));
        }
        Ok(Committed::Done { sequences })
    }

    fn purge(&mut self, stream: Stream, through: u64) -> u64 {
        let before = self.entries.len();
        self.entries.retain(|(of, sequence), _| *of != stream || *sequence > through);
        (before - self.entries.len()) as u64
    }

    fn forget(&mut self, before: u64) -> u64 {
        let known = self.once.len();
        self.once.retain(|_, (at, _)| *at >= before);
        (known - self.once.len()) as u64
    }

    async fn check(&self, store: &SledStore) {
        for n in 0..3 {
            let stream = stream(n);
            let expected: Vec<(u64, u64, Bytes)> = self
                .entries
                .iter()
                .filter(|(key, _)| key.0 == stream)
                .map(|(key, (at, body))| (key.1, *at, body.clone()))
                .collect();
            let found = contract::all(store, stream, 0, 2000).await;
            let found: Vec<(u64, u64, Bytes)> =
                found.into_iter().map(|e| (e.sequence, e.at, e.body)).collect();
            assert_eq!(found, expected);
            let oldest = expected.first().map(|(sequence, at, _)| (*sequence, *at));
            assert_eq!(store.oldest(stream).await.unwrap(), oldest);
            let older = expected
                .iter()
                .take_while(|(_, at, _)| *at < 25)
                .last()
                .map_or(0, |(sequence, ..)| *sequence);
            assert_eq!(store.older(stream, 25).await.unwrap(), older);
            assert_eq!(
                store.tail(stream).borrow().last,
                self.tails.get(&stream).copied().unwrap_or_default()
            );
        }
        for id in 0..12 {
            let expected = self.once.get(&id).map(|(_, answered)| answered.clone());
            assert_eq!(store.once(&OnceId::new(&[id]).unwrap()).await.unwrap(), expected);
        }
        assert_eq!(store.cursor(NAME).await.unwrap().through, self.cursor);
    }
}

fn change(operation: &Operation, turn: usize) -> (Change, Option<u8>) {
    let Operation::Commit { at, once, advance, appends } = operation else {
        return (Change::default(), None);
    };
    let cursor = |n: u8| Cursor { through: u64::from(n), link: [0; 32] };
    let answer = Bytes::from(vec![turn as u8; turn % 300]);
    let appends = appends.iter().map(|(n, length)| Append {
        stream: stream(*n),
        number: Arc::new(|tail| Numbered { head: Bytes::new(), link: [tail.last as u8; 32] }),
        body: Bytes::from(vec![turn as u8; usize::from(*length)]),
    });
    let change = Change {
        at: u64::from(*at),
        once: once
            .map(|id| Once { id: OnceId::new(&[id]).unwrap(), digest: [turn as u8; 32], answer })
            .into_iter()
            .collect(),
        advances: advance
            .iter()
            .map(|(from, to)| Advance { cursor: NAME, from: cursor(*from), to: cursor(*to) })
            .collect(),
        appends: appends.collect(),
        ..Change::default()
    };
    (change, *once)
}

fn plain(committed: Result<Committed, StoreError>) -> Result<Committed, &'static str> {
    committed.map_err(|error| match error {
        StoreError::Moved => "moved",
        StoreError::Backwards => "backwards",
        other => panic!("{other}"),
    })
}

/// The store as a killed process leaves it: its files, and nobody who closes them.
fn killed(folder: &Path, root: &Path, turn: usize) -> PathBuf {
    let left = folder.join(turn.to_string());
    for part in ["", "index", "segments"] {
        copy(&root.join(part), &left.join(part));
    }
    left
}

async fn play(operations: Vec<Operation>) {
    let folder = tempfile::tempdir().unwrap();
    let mut root = folder.path().join("store");
    let (mut store, mut model) = (open(&root), Model::default());
    for (turn, operation) in operations.iter().enumerate() {
        match operation {
            Operation::Commit { .. } => {
                let (change, id) = change(operation, turn);
                let expected = model.commit(&change, id);
                assert_eq!(plain(store.commit(change).await), expected);
            }
            Operation::Purge { stream: n, through } => {
                let expected = model.purge(stream(*n), u64::from(*through));
                assert_eq!(store.purge(stream(*n), u64::from(*through)).await.unwrap(), expected);
            }
            Operation::Forget { before } => {
                assert_eq!(store.forget(u64::from(*before)).await.unwrap(), model.forget(u64::from(*before)));
            }
            Operation::Reopen => {
                close(store).await;
                store = open(&root);
            }
            Operation::Drop => {
                drop(store);
                store = open(&root);
            }
            Operation::Kill => {
                root = killed(folder.path(), &root, turn);
                store = open(&root);
            }
            Operation::LoseIndex => {
                close(store).await;
                std::fs::remove_dir_all(root.join("index")).unwrap();
                let (opened, made) = SledStore::open_or_rebuild(&root, SMALL, &turn.to_string()).unwrap();
                assert!(made.is_none_or(|made| made.survey.is_lossless()));
                store = opened;
                // What was forgotten may have come back.
                model.forget(u64::MAX);
                store.forget(u64::MAX).await.unwrap();
            }
        }
    }
    model.check(&store).await;
    close(store).await;
    let store = open(&root);
    model.check(&store).await;
    assert_eq!(store.verify(&mut |_| {}).unwrap().1, []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn kills_and_lost_indices_change_nothing_of_what_random_operations_do(operations in vec(operation(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(operations));
    }
}
