//! What is done when a store was made anew and something is lost: numbers go on behind all that anybody may have seen,
//! and what is missing of the inboxes is pulled again.

use std::collections::{BTreeMap, BTreeSet};

use proto::batch::{Manifest, SignedBatch, Stage};
use proto::ids::{Authority, CountryCode};

use crate::inbound::verify::HOLE;
use crate::names;
use crate::store::upkeep::{Piece, Upkeep};
use crate::store::{Cursor, Entry, StoreError, Stream, Tail};

/// Numbers that are left out: more than can have been given to anybody and be known to no receipt.
pub const LEFT_OUT: u64 = 1 << 20;

/// The link of an end that is known by its number alone.
pub const UNKNOWN: [u8; 32] = [0; 32];

/// Octets that are read of an inbox at once.
const STEP_BYTES: usize = 4 << 20;

/// How our numbers for a country go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outbox {
    /// For which country.
    pub country: CountryCode,
    /// The last number that is known of.
    pub known: u64,
    /// The first number that will be given.
    pub next: u64,
}

/// From where a country's batches are pulled again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inbox {
    /// Which country.
    pub country: CountryCode,
    /// The first sequence.
    pub from: u64,
}

/// Lets the numbers of every outbox go on behind a gap: what a peer has seen of them and the store has not is never
/// given again. A peer that asks for what is in the gap is told that it is not there, and goes on behind it.
pub async fn outboxes(
    store: &dyn Upkeep,
    countries: &BTreeSet<CountryCode>,
    proven: &BTreeMap<CountryCode, u64>,
) -> Result<Vec<Outbox>, StoreError> {
    let kept = store.streams().await?.into_iter().filter_map(names::outbox_country);
    let all: BTreeSet<CountryCode> =
        kept.chain(countries.iter().copied()).chain(proven.keys().copied()).collect();
    let mut outboxes = Vec::new();
    for country in all {
        let stream = names::outbox(country);
        let tail = *store.tail(stream).borrow();
        let acknowledged = store.cursor(names::acknowledged(country, Stage::Stored)).await?;
        let known = [tail.last, acknowledged.through, proven.get(&country).copied().unwrap_or(0)];
        let known = known.into_iter().max().unwrap_or(0);
        let last = known + LEFT_OUT;
        // No manifest is chained to one that nobody has: the peer's cursor stands before a hole, as after a purge.
        store.restore(end(store, stream, Tail { last, link: UNKNOWN }).await?).await?;
        outboxes.push(Outbox { country, known, next: last + 1 });
    }
    Ok(outboxes)
}

/// Brings the ends of key-list streams and their cursors together: whoever adds a list goes by both.
pub async fn key_lists(store: &dyn Upkeep, authorities: &[Authority]) -> Result<(), StoreError> {
    for authority in authorities {
        let (stream, name) = (names::key_lists(*authority), names::key_list(*authority));
        let (tail, cursor) = (*store.tail(stream).borrow(), store.cursor(name).await?);
        if tail.last == cursor.through {
            continue;
        }
        let last = tail.last.max(cursor.through);
        let mut pieces = end(store, stream, Tail { last, ..tail }).await?;
        pieces.push(Piece::Cursor { name, cursor: Cursor { through: last, link: tail.link } });
        store.restore(pieces).await?;
    }
    Ok(())
}

/// Lets the numbers of every inbox go on behind what its adapter has: under a number that it has acknowledged nothing
/// would be waited for.
pub async fn positions(store: &dyn Upkeep, listed: &[Authority]) -> Result<(), StoreError> {
    let kept = store.streams().await?.into_iter().filter_map(names::inbox_authority);
    let authorities: BTreeSet<Authority> = kept.chain(listed.iter().copied()).collect();
    for authority in authorities {
        let taken = store.cursor(names::position(authority)).await?;
        let tail = Tail { last: taken.through, link: UNKNOWN };
        store.restore(end(store, names::inbox(authority), tail).await?).await?;
    }
    Ok(())
}

/// What lets a stream end there; nothing if it does not end before.
async fn end(store: &dyn Upkeep, stream: Stream, tail: Tail) -> Result<Vec<Piece>, StoreError> {
    let known = store.tail(stream).borrow().last;
    if known >= tail.last {
        return Ok(Vec::new());
    }
    let purged = store.oldest(stream).await?.map_or(known, |(first, _)| first - 1);
    Ok(vec![
        Piece::Stream { stream, tail, purged },
        Piece::Lost { stream, first: known + 1, last: tail.last },
    ])
}

/// Puts the cursors of origins back to before the first batch that is missing in an inbox. What comes twice is known
/// to adapters by its origin and sequence.
///
/// An adapter remembers the last sequence of each origin alone: behind a hole it would take what follows, and for a
/// repetition what comes again. So of an inbox with a hole nothing stays that no adapter has acknowledged. All of it
/// comes again, as its origins keep it until a day after its delivery; if one of them is not among the `active`, what is
/// left stays.
pub async fn inboxes(
    store: &dyn Upkeep,
    countries: &BTreeSet<CountryCode>,
    active: &BTreeSet<CountryCode>,
) -> Result<Vec<Inbox>, StoreError> {
    let authorities: Vec<Authority> =
        store.streams().await?.into_iter().filter_map(names::inbox_authority).collect();
    let (mut back, mut dropped) = (BTreeMap::<CountryCode, Cursor>::new(), Vec::new());
    for authority in &authorities {
        let open = Open::read(store, *authority).await?;
        let comes_again = open.has_hole() && open.origins.keys().all(|origin| active.contains(origin));
        if comes_again {
            dropped.push((names::inbox(*authority), open.last));
        }
        for country in countries {
            let whole = open.whole_through(*country, comes_again, store).await?;
            let Some(whole) = whole else { continue };
            let first = back.entry(*country).or_insert(whole);
            if whole.through < first.through {
                *first = whole;
            }
        }
    }
    let mut inboxes = Vec::new();
    for (country, to) in back {
        let mut cursors = vec![names::pulled(country)];
        cursors.extend(authorities.iter().map(|authority| names::stored(country, *authority)));
        cursors.extend(authorities.iter().map(|authority| names::delivered(country, *authority)));
        let mut pieces = Vec::new();
        for name in cursors {
            if store.cursor(name).await?.through > to.through {
                pieces.push(Piece::Cursor { name, cursor: to });
            }
        }
        store.restore(pieces).await?;
        inboxes.push(Inbox { country, from: to.through + 1 });
    }
    // Not before it is sure to come again.
    for (stream, through) in dropped {
        store.purge(stream, through).await?;
    }
    Ok(inboxes)
}

/// What is there of an inbox behind what its adapter has acknowledged.
struct Open {
    authority: Authority,
    /// The end of the inbox.
    last: u64,
    /// The last batch of each origin.
    origins: BTreeMap<CountryCode, Cursor>,
    /// The same before the first hole, if there is one.
    before_hole: Option<BTreeMap<CountryCode, Cursor>>,
}

impl Open {
    async fn read(store: &dyn Upkeep, authority: Authority) -> Result<Self, StoreError> {
        let stream = names::inbox(authority);
        let last = store.tail(stream).borrow().last;
        let mut open = Self { authority, last, origins: BTreeMap::new(), before_hole: None };
        let mut at = store.cursor(names::position(authority)).await?.through.min(last);
        loop {
            let page = match store.after(stream, at, STEP_BYTES).await {
                // It is in its place, and is fetched again when it is read.
                Err(StoreError::Damaged { sequence, .. }) => {
                    open.step(&mut at, sequence);
                    continue;
                }
                page => page?,
            };
            if page.is_empty() {
                break;
            }
            for entry in &page {
                open.step(&mut at, entry.sequence);
                open.origins.extend(origin(entry));
            }
        }
        open.step(&mut at, last + 1);
        Ok(open)
    }

    fn step(&mut self, at: &mut u64, to: u64) {
        if to != *at + 1 && self.before_hole.is_none() {
            self.before_hole = Some(self.origins.clone());
        }
        *at = to;
    }

    fn has_hole(&self) -> bool {
        self.before_hole.is_some()
    }

    /// How far a country's batches are whole, if some may be missing; without those behind the last acknowledged one if
    /// they all come again.
    async fn whole_through(
        &self,
        country: CountryCode,
        comes_again: bool,
        store: &dyn Upkeep,
    ) -> Result<Option<Cursor>, StoreError> {
        let stored = store.cursor(names::stored(country, self.authority)).await?;
        let delivered = store.cursor(names::delivered(country, self.authority)).await?;
        let whole = self.before_hole.as_ref().unwrap_or(&self.origins);
        let through = whole.get(&country).filter(|_| !comes_again).copied().unwrap_or(delivered);
        let has_sent = stored.through > 0 || self.origins.contains_key(&country);
        let is_missing = has_sent && (self.has_hole() || through.through < stored.through);
        let link = if through.through == 0 { [0; 32] } else { through.link };
        Ok(is_missing.then_some(Cursor { link, ..through }))
    }
}

/// Whose batch an entry is, and where its stream stands behind it.
fn origin(entry: &Entry) -> Option<(CountryCode, Cursor)> {
    let batch = SignedBatch::from_parts(&entry.head, entry.body.clone()).ok()?;
    let manifest = Manifest::parse(&batch.manifest).ok()?;
    let link = if entry.link == [0; 32] { HOLE } else { entry.link };
    Some((manifest.header.origin, Cursor { through: manifest.sequence.number(), link }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::store::sled::{SledOptions, SledStore};

    #[tokio::test]
    async fn an_inbox_goes_on_behind_what_its_adapter_has() {
        let folder = tempfile::tempdir().unwrap();
        let store = SledStore::open(&folder.path().join("store"), SledOptions::default()).unwrap();
        let [kept, gone] = ["826/0", "826/1"].map(|authority| authority.parse().unwrap());
        let position = |authority| {
            let cursor = Cursor { through: 7, link: UNKNOWN };
            Piece::Cursor { name: names::position(authority), cursor }
        };
        let tail = Tail { last: 1, link: [1; 32] };
        let stream = Piece::Stream { stream: names::inbox(kept), tail, purged: 1 };
        store.restore(vec![stream, position(kept), position(gone)]).await.unwrap();
        positions(&store, &[gone]).await.unwrap();
        for authority in [kept, gone] {
            let tail = *store.tail(names::inbox(authority)).borrow();
            assert_eq!(tail, Tail { last: 7, link: UNKNOWN });
        }
        store.close().await.unwrap();
    }
}
