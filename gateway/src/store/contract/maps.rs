//! What a store has to be like: a few maps in memory.

use std::collections::BTreeMap;

use super::*;

/// How many streams and ids there are.
pub(super) const STREAMS: u8 = 3;
pub(super) const IDS: u8 = 12;

pub(super) const fn stream(n: u8) -> Stream {
    Stream::new([n; 8])
}

/// What a store has to be like.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) tails: BTreeMap<Stream, Tail>,
    pub(super) entries: BTreeMap<(Stream, u64), Entry>,
    pub(super) once: BTreeMap<OnceId, (u64, Answered)>,
    pub(super) cursor: Cursor,
    pub(super) holder: Option<bool>,
}

/// What became of a change.
pub(super) type Outcome = Result<Committed, &'static str>;

impl Model {
    pub(super) fn commit(&mut self, change: &Change, fence: Option<bool>) -> Outcome {
        if let Some((_, answered)) = change.once.iter().find_map(|once| self.once.get(&once.id)) {
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
        for once in &change.once {
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

    pub(super) fn page(&self, stream: Stream, after: u64, max_bytes: usize) -> Vec<Entry> {
        let mut octets = 0;
        let fits = |(n, entry): &(usize, &Entry)| {
            octets += entry.head.len() + entry.body.len();
            *n == 0 || octets <= max_bytes
        };
        let behind = self.kept(stream).filter(|entry| entry.sequence > after);
        behind.enumerate().take_while(fits).map(|(_, entry)| entry.clone()).collect()
    }

    pub(super) fn purge(&mut self, stream: Stream, through: u64) -> u64 {
        let before = self.entries.len();
        self.entries.retain(|(of, sequence), _| *of != stream || *sequence > through);
        (before - self.entries.len()) as u64
    }

    pub(super) fn forget(&mut self, before: u64) -> u64 {
        let known = self.once.len();
        self.once.retain(|_, (at, _)| *at >= before);
        (known - self.once.len()) as u64
    }

    pub(super) async fn check(&self, store: &dyn Store, now: u64) {
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
        let ids = (0..IDS).map(|id| OnceId::new(&[id]).unwrap());
        for id in ids.chain(self.once.keys().cloned()) {
            let expected = self.once.get(&id).map(|(_, answered)| answered.clone());
            assert_eq!(store.once(&id).await.unwrap(), expected);
        }
        assert_eq!(store.cursor(CURSOR).await.unwrap(), self.cursor);
        assert_eq!(store.streams().await.unwrap(), self.tails.keys().copied().collect::<Vec<_>>());
    }
}
