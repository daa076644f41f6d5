//! Random operations do to a store what they do to a few maps in memory: by one writer or by several at once, by a
//! clock that steps an hour either way, and whenever it is closed, dropped or killed and opened again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use proptest::{
    collection::{btree_set, vec},
    option,
    prelude::*,
    test_runner::TestRunner,
};
use tokio::task::JoinSet;

use super::maps::{IDS, Model, Outcome, STREAMS, stream};
use super::*;

const HOUR: u64 = 3_600;

#[derive(Debug, Clone)]
enum Operation {
    Commit(Plan),
    /// Several at once; each appends to stream 0 as well, so that their order shows.
    Burst(Vec<Plan>),
    /// The clock goes on by some seconds, or by none: many entries have the same time.
    Wait(u8),
    Step(Way),
    Read {
        stream: u8,
        after: u8,
        max_bytes: u16,
    },
    Purge {
        stream: u8,
        through: u8,
    },
    Forget(Way),
    /// One of two holders asks, for no time at all, so that the other one may be next.
    Lease(bool),
    Release(bool),
    Reopen,
    Drop,
    /// A kill while several commit: each change is kept as a whole or not at all, and what was answered is kept.
    Kill(Vec<Plan>),
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Back,
    Forth,
}

#[derive(Debug, Clone)]
struct Plan {
    once: BTreeSet<u8>,
    advance: Option<(u8, u8)>,
    fence: Option<bool>,
    appends: Vec<(u8, u16)>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let appends = vec((0..STREAMS, 0..1500_u16), 0..4);
    let fence = prop_oneof![3 => Just(None), 1 => any::<bool>().prop_map(Some)];
    let once =
        prop_oneof![1 => btree_set(0..IDS, 0), 3 => btree_set(0..IDS, 1), 1 => btree_set(0..IDS, 2..4)];
    (once, option::of((0..3_u8, 0..3_u8)), fence, appends).prop_map(|(once, advance, fence, appends)| Plan {
        once,
        advance,
        fence,
        appends,
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    let way = || any::<bool>().prop_map(|back| if back { Way::Back } else { Way::Forth });
    prop_oneof![
        12 => plan().prop_map(Operation::Commit),
        3 => vec(plan(), 2..8).prop_map(Operation::Burst),
        3 => (0..3_u8).prop_map(Operation::Wait),
        2 => way().prop_map(Operation::Step),
        4 => (0..STREAMS, 0..20_u8, 1..4000_u16)
            .prop_map(|(stream, after, max_bytes)| Operation::Read { stream, after, max_bytes }),
        3 => (0..STREAMS, 0..20_u8).prop_map(|(stream, through)| Operation::Purge { stream, through }),
        1 => way().prop_map(Operation::Forget),
        3 => any::<bool>().prop_map(Operation::Lease),
        1 => any::<bool>().prop_map(Operation::Release),
        1 => Just(Operation::Reopen),
        1 => Just(Operation::Drop),
        1 => vec(plan(), 1..8).prop_map(Operation::Kill),
    ]
}

/// A store, its model, and what both were told so far.
struct Game<'a, O, K> {
    open: &'a O,
    kill: &'a K,
    name: &'a str,
    store: Option<Arc<dyn Store>>,
    model: Model,
    now: u64,
    turn: u8,
    /// Leases are asked for anew under another name whenever the store was opened.
    opened: u8,
    holders: [(Holder, Option<Fence>); 2],
}

impl<O: AsyncFn(&str) -> Arc<dyn Store>, K: AsyncFn(&str)> Game<'_, O, K> {
    fn store(&self) -> &Arc<dyn Store> {
        self.store.as_ref().expect("it is open but while it is opened again")
    }

    async fn play(&mut self, operation: Operation) {
        self.turn = self.turn.wrapping_add(1);
        match operation {
            Operation::Commit(plan) => {
                let (change, fence) = self.change(&plan);
                let expected = self.model.commit(&change, fence);
                assert_eq!(plain(self.store().commit(change).await), expected);
            }
            Operation::Burst(plans) => self.burst(&plans).await,
            Operation::Wait(seconds) => self.now += u64::from(seconds),
            Operation::Step(Way::Back) => self.now -= HOUR,
            Operation::Step(Way::Forth) => self.now += HOUR,
            Operation::Read { stream: n, after, max_bytes } => {
                let (after, max_bytes) = (u64::from(after), usize::from(max_bytes));
                let page = self.store().after(stream(n), after, max_bytes).await.unwrap();
                assert_eq!(page, self.model.page(stream(n), after, max_bytes));
                let one = self.store().find(stream(n), after).await.unwrap();
                assert_eq!(one.as_ref(), self.model.entries.get(&(stream(n), after)));
            }
            Operation::Purge { stream: n, through } => {
                let expected = self.model.purge(stream(n), u64::from(through));
                assert_eq!(self.store().purge(stream(n), u64::from(through)).await.unwrap(), expected);
            }
            Operation::Forget(way) => {
                let before = if matches!(way, Way::Back) { self.now - HOUR } else { self.now };
                assert_eq!(self.store().forget(before).await.unwrap(), self.model.forget(before));
            }
            Operation::Lease(which) => self.lease(which).await,
            Operation::Release(which) => self.release(which).await,
            Operation::Reopen => {
                self.store().close().await.unwrap();
                self.reopen().await;
            }
            Operation::Drop => self.reopen().await,
            Operation::Kill(plans) => self.kill(&plans).await,
        }
    }

    /// Changes that are committed at the same time: what is kept happened in some order, and what was refused had
    /// its reason at some moment.
    async fn burst(&mut self, plans: &[Plan]) {
        let mut tasks = JoinSet::new();
        for plan in plans {
            let (mut change, fence) = self.change(plan);
            change.appends.insert(0, append(stream(0), "together"));
            let store = Arc::clone(self.store());
            tasks.spawn(async move { (change.clone(), fence, plain(store.commit(change).await)) });
        }
        let (mut kept, mut refused) = (Vec::new(), Vec::new());
        for (change, fence, outcome) in tasks.join_all().await {
            match outcome {
                Ok(Committed::Done { sequences }) => kept.push((sequences, change, fence)),
                other => refused.push((change, fence, other)),
            }
        }
        kept.sort_by_key(|(sequences, ..)| sequences[0]);
        let mut stood = vec![self.model.cursor];
        for (sequences, change, fence) in kept {
            assert_eq!(self.model.commit(&change, fence), Ok(Committed::Done { sequences }));
            stood.push(self.model.cursor);
        }
        for (change, fence, outcome) in refused {
            // Leases do not move meanwhile, so who was fenced is known.
            let is_fenced = fence.is_some() && fence != self.model.holder;
            match outcome {
                Ok(before) => {
                    let known = change.once.iter().filter_map(|once| self.model.once.get(&once.id));
                    let mut known = known.map(|(_, answered)| Committed::Before(answered.clone()));
                    assert!(known.any(|answered| answered == before), "only what has an id was before");
                }
                Err("moved") => {
                    assert!(!is_fenced && stood.iter().any(|stood| change.advances[0].from != *stood));
                }
                Err("backwards") => {
                    assert!(!is_fenced && change.advances[0].to.through < change.advances[0].from.through);
                }
                Err(reason) => assert!(is_fenced, "{reason}"),
            }
        }
    }

    /// Changes that nobody waits for, and a kill in the middle of them.
    async fn kill(&mut self, plans: &[Plan]) {
        let answered = Arc::new(Mutex::new(BTreeSet::new()));
        let (mut tasks, mut changes) = (JoinSet::new(), BTreeMap::new());
        for (n, plan) in (0_u8..).zip(plans) {
            let (mut change, fence) = self.change(plan);
            let id = OnceId::new(&[0xff, self.turn, self.opened, n]).expect("a short id");
            change.once = vec![Once { id: id.clone(), digest: [n; 32], answer: Bytes::new() }];
            change.appends.insert(0, append(stream(0), Bytes::copy_from_slice(id.octets())));
            changes.insert(id.clone(), (change.clone(), fence));
            let (store, answered) = (Arc::clone(self.store()), Arc::clone(&answered));
            tasks.spawn(async move {
                if let Ok(Committed::Done { .. }) = store.commit(change).await {
                    answered.lock().expect("nobody panics with it").insert(id);
                }
            });
        }
        // Some of them, all or none are answered before.
        tokio::time::sleep(Duration::from_micros(700) * u32::from(self.turn % 8)).await;
        let answered = answered.lock().expect("nobody panics with it").clone();
        (self.kill)(self.name).await;
        tasks.shutdown().await;
        drop(self.store.take());
        let store = (self.open)(self.name).await;
        let last = self.model.tails.get(&stream(0)).map_or(0, |tail| tail.last);
        for entry in all(&*store, stream(0), last, 10_000).await {
            // A change begins with its id, and may append more to the same stream.
            let begun = OnceId::new(&entry.body).and_then(|id| changes.remove(&id));
            let Some((change, fence)) = begun else { continue };
            let Ok(Committed::Done { sequences }) = self.model.commit(&change, fence) else {
                panic!("what is kept was refused: {change:?}")
            };
            assert_eq!(sequences[0], entry.sequence);
        }
        for id in changes.keys() {
            assert!(!answered.contains(id), "it was answered and is not kept");
            assert_eq!(store.once(id).await.unwrap(), None, "the id alone is kept");
        }
        self.model.check(&*store, self.now).await;
        self.store = Some(store);
        self.forget_leases();
    }

    async fn lease(&mut self, which: bool) {
        let name = self.lease_name();
        let holder = self.holders[usize::from(which)].0;
        let given = self.store().lease(name, holder, Duration::ZERO).await.unwrap();
        assert!(given.is_some(), "the time of whoever had it is over");
        self.holders[usize::from(which)].1 = given;
        self.model.holder = Some(which);
    }

    async fn release(&mut self, which: bool) {
        if let Some(fence) = self.holders[usize::from(which)].1 {
            self.store().release(fence).await.unwrap();
            self.model.holder = self.model.holder.filter(|holder| *holder != which);
        }
    }

    async fn reopen(&mut self) {
        // The old one goes first: a folder is open once.
        drop(self.store.take());
        self.store = Some((self.open)(self.name).await);
        self.forget_leases();
    }

    fn forget_leases(&mut self) {
        self.opened += 1;
        self.model.holder = None;
        self.holders = [(); 2].map(|()| (Holder::random(), None));
    }

    fn lease_name(&self) -> LeaseName {
        LeaseName::new([self.opened; 8])
    }

    fn change(&self, plan: &Plan) -> (Change, Option<bool>) {
        let Plan { once, advance, fence, appends } = plan;
        let once = once.iter().map(|id| Once {
            id: OnceId::new(&[*id]).unwrap(),
            digest: [self.turn; 32],
            answer: vec![self.turn; usize::from(self.turn)].into(),
        });
        let held = fence.and_then(|which| self.holders[usize::from(which)].1);
        let place = |n: u8| if n == 0 { Cursor::default() } else { cursor(u64::from(n)) };
        let change = Change {
            at: self.now,
            fence: held,
            room: Room::Common,
            once: once.collect(),
            advances: advance
                .iter()
                .map(|(from, to)| Advance { cursor: CURSOR, from: place(*from), to: place(*to) })
                .collect(),
            appends: appends
                .iter()
                .map(|(n, length)| append(stream(*n), vec![self.turn; usize::from(*length)]))
                .collect(),
        };
        (change, held.and(*fence))
    }
}

fn plain(committed: Result<Committed, StoreError>) -> Outcome {
    committed.map_err(|error| match error {
        StoreError::Moved => "moved",
        StoreError::Backwards => "backwards",
        StoreError::Fenced => "fenced",
        other => panic!("{other}"),
    })
}

/// Plays `cases` random games, each on a store of a name of its own. It makes a runtime for each.
///
/// `kill` is called while the store of a name is at work: what is opened next under that name is what would be left if
/// the process had been killed at a moment of that call. The store is dropped behind it.
pub fn holds(cases: u32, open: impl AsyncFn(&str) -> Arc<dyn Store>, kill: impl AsyncFn(&str)) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let games = std::cell::Cell::new(0);
    let played = TestRunner::new(config).run(&vec(operation(), 1..40), |operations| {
        games.set(games.get() + 1);
        let name = format!("game-{}", games.get());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(game(&name, (&open, &kill), operations));
        Ok(())
    });
    if let Err(failed) = played {
        panic!("{failed}");
    }
}

async fn game(
    name: &str,
    (open, kill): (&impl AsyncFn(&str) -> Arc<dyn Store>, &impl AsyncFn(&str)),
    operations: Vec<Operation>,
) {
    let store = Some(open(name).await);
    let holders = [(); 2].map(|()| (Holder::random(), None));
    let model = Model::default();
    let mut game = Game { open, kill, name, store, model, now: AT, turn: 0, opened: 0, holders };
    for operation in operations {
        game.play(operation).await;
    }
    game.model.check(&**game.store(), game.now).await;
    game.store().close().await.unwrap();
    game.reopen().await;
    game.model.check(&**game.store(), game.now).await;
    game.store().close().await.unwrap();
}
