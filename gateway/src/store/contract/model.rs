//! Random operations do to a store what they do to a few maps in memory: by one writer or by several at once, by a
//! clock that steps an hour either way, and whenever it is closed or dropped and opened again.

use std::collections::BTreeMap;

use proptest::{collection::vec, option, prelude::*, test_runner::TestRunner};
use tokio::task::JoinSet;

use super::*;

const STREAMS: u8 = 3;
const IDS: u8 = 12;
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
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Back,
    Forth,
}

#[derive(Debug, Clone)]
struct Plan {
    once: Option<u8>,
    advance: Option<(u8, u8)>,
    fence: Option<bool>,
    appends: Vec<(u8, u16)>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let appends = vec((0..STREAMS, 0..1500_u16), 0..4);
    let fence = prop_oneof![3 => Just(None), 1 => any::<bool>().prop_map(Some)];
    (option::of(0..IDS), option::of((0..3_u8, 0..3_u8)), fence, appends)
        .prop_map(|(once, advance, fence, appends)| Plan { once, advance, fence, appends })
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
    ]
}

const fn stream(n: u8) -> Stream {
    Stream::new([n; 8])
}

/// What a store has to be like.
#[derive(Debug, Default)]
struct Model {
    tails: BTreeMap<Stream, Tail>,
    entries: BTreeMap<(Stream, u64), Entry>,
    once: BTreeMap<OnceId, (u64, Answered)>,
    cursor: Cursor,
    holder: Option<bool>,
}

type Outcome = Result<Committed, &'static str>;

impl Model {
    fn commit(&mut self, change: &Change, fence: Option<bool>) -> Outcome {
        if let Some((_, answered)) = change.once.as_ref().and_then(|once| self.once.get(&once.id)) {
            return Ok(Committed::Before(answered.clone()));
        }
        if fence.is_some() && fence != self.holder {
            return Err("fenced");
        }
        for advance in &change.advances {
            if advance.to.through < advance.from.through {
                return Err("backwards");
            }
            if advance.from != self.cursor {
                return Err("moved");
            }
            self.cursor = advance.to;
        }
        if let Some(once) = &change.once {
            let answered = Answered { digest: once.digest, answer: once.answer.clone() };
            self.once.insert(once.id.clone(), (change.at, answered));
        }
        let sequences = change.appends.iter().map(|append| self.append(change.at, append)).collect();
        Ok(Committed::Done { sequences })
    }

    fn append(&mut self, at: u64, append: &Append) -> u64 {
        let tail = self.tails.entry(append.stream).or_default();
        let Numbered { head, link } = (append.number)(*tail);
        *tail = Tail { last: tail.last + 1, link };
        let entry = Entry { sequence: tail.last, at, link, head, body: append.body.clone() };
        self.entries.insert((append.stream, tail.last), entry);
        tail.last
    }

    fn kept(&self, stream: Stream) -> impl Iterator<Item = &Entry> {
        self.entries.range((stream, 0)..=(stream, u64::MAX)).map(|(_, entry)| entry)
    }

    fn page(&self, stream: Stream, after: u64, max_bytes: usize) -> Vec<Entry> {
        let mut octets = 0;
        let fits = |(n, entry): &(usize, &Entry)| {
            octets += entry.head.len() + entry.body.len();
            *n == 0 || octets <= max_bytes
        };
        let behind = self.kept(stream).filter(|entry| entry.sequence > after);
        behind.enumerate().take_while(fits).map(|(_, entry)| entry.clone()).collect()
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

    async fn check(&self, store: &dyn Store, now: u64) {
        for stream in (0..STREAMS).map(stream) {
            let expected: Vec<Entry> = self.kept(stream).cloned().collect();
            assert_eq!(all(store, stream, 0, 2000).await, expected);
            let oldest = expected.first().map(|entry| (entry.sequence, entry.at));
            assert_eq!(store.oldest(stream).await.unwrap(), oldest);
            let older = expected.iter().take_while(|entry| entry.at < now).last();
            assert_eq!(store.older(stream, now).await.unwrap(), older.map_or(0, |entry| entry.sequence));
            let tail = self.tails.get(&stream).copied().unwrap_or_default();
            assert_eq!(store.latest(stream).await.unwrap(), tail);
            assert_eq!(*store.tail(stream).borrow(), tail);
        }
        for id in (0..IDS).map(|id| OnceId::new(&[id]).unwrap()) {
            let expected = self.once.get(&id).map(|(_, answered)| answered.clone());
            assert_eq!(store.once(&id).await.unwrap(), expected);
        }
        assert_eq!(store.cursor(CURSOR).await.unwrap(), self.cursor);
        assert_eq!(store.streams().await.unwrap(), self.tails.keys().copied().collect::<Vec<_>>());
    }
}

/// A store, its model, and what both were told so far.
struct Game<'a, O> {
    open: &'a O,
    name: &'a str,
    store: Option<Arc<dyn Store>>,
    model: Model,
    now: u64,
    turn: u8,
    /// Leases are asked for anew under another name whenever the store was opened.
    opened: u8,
    holders: [(Holder, Option<Fence>); 2],
}

impl<O: AsyncFn(&str) -> Arc<dyn Store>> Game<'_, O> {
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
                other => refused.push((change, other)),
            }
        }
        kept.sort_by_key(|(sequences, ..)| sequences[0]);
        let mut stood = vec![self.model.cursor];
        for (sequences, change, fence) in kept {
            assert_eq!(self.model.commit(&change, fence), Ok(Committed::Done { sequences }));
            stood.push(self.model.cursor);
        }
        for (change, outcome) in refused {
            match outcome {
                Ok(before) => {
                    let id = change.once.expect("only what has an id was before").id;
                    assert_eq!(Committed::Before(self.model.once[&id].1.clone()), before);
                }
                Err("moved") => assert!(stood.iter().any(|stood| change.advances[0].from != *stood)),
                Err("backwards") => assert!(change.advances[0].to.through < change.advances[0].from.through),
                Err(reason) => assert_eq!(reason, "fenced"),
            }
        }
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
        self.opened += 1;
        self.model.holder = None;
        self.holders = [(); 2].map(|()| (Holder::random(), None));
    }

    fn lease_name(&self) -> LeaseName {
        LeaseName::new([self.opened; 8])
    }

    fn change(&self, plan: &Plan) -> (Change, Option<bool>) {
        let Plan { once, advance, fence, appends } = plan;
        let id = once.map(|id| Once {
            id: OnceId::new(&[id]).unwrap(),
            digest: [self.turn; 32],
            answer: vec![self.turn; usize::from(self.turn)].into(),
        });
        let held = fence.and_then(|which| self.holders[usize::from(which)].1);
        let place = |n: u8| if n == 0 { Cursor::default() } else { cursor(u64::from(n)) };
        let change = Change {
            at: self.now,
            fence: held,
            room: Room::Common,
            once: id,
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
pub fn holds(cases: u32, open: impl AsyncFn(&str) -> Arc<dyn Store>) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let games = std::cell::Cell::new(0);
    let played = TestRunner::new(config).run(&vec(operation(), 1..40), |operations| {
        games.set(games.get() + 1);
        let name = format!("game-{}", games.get());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(game(&name, &open, operations));
        Ok(())
    });
    if let Err(failed) = played {
        panic!("{failed}");
    }
}

async fn game(name: &str, open: &impl AsyncFn(&str) -> Arc<dyn Store>, operations: Vec<Operation>) {
    let store = Some(open(name).await);
    let holders = [(); 2].map(|()| (Holder::random(), None));
    let model = Model::default();
    let mut game = Game { open, name, store, model, now: AT, turn: 0, opened: 0, holders };
    for operation in operations {
        game.play(operation).await;
    }
    game.model.check(&**game.store(), game.now).await;
    game.store().close().await.unwrap();
    game.reopen().await;
    game.model.check(&**game.store(), game.now).await;
    game.store().close().await.unwrap();
}
