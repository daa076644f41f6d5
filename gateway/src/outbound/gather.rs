//! Pushes that wait for the disk go there together: sealed to one batch for each destination, in one commit.
//!
//! A push that comes alone is sealed at once. Those that come while others are sealed wait until these go to the
//! disk, and are then sealed all together while the disk works: small pushes cost little under load, and wait for
//! nobody without it.

use std::collections::HashSet;
use std::sync::{self, Arc, PoisonError};

use proto::wire;
use tokio::sync::{Mutex, MutexGuard, OwnedSemaphorePermit, oneshot};
use tracing::{Instrument, info};

use super::ingest::PushError;
use super::outbox;
use super::reseal;
use super::sort::Sorted;
use crate::clock;
use crate::node::Node;
use crate::store::{Answered, OnceId, StoreError};

/// A group takes no more pushes when their reports have this many octets: a batch stays far below its limit.
const GROUP_OCTETS: usize = 2 << 20;

/// A push that can be sealed.
pub struct Ready {
    /// Its reports.
    pub sorted: Sorted,
    /// What it is answered once it is kept.
    pub reply: wire::PushReply,
    /// Under which it is kept once.
    pub id: OnceId,
    /// Tells it from another one under the same id.
    pub digest: [u8; 32],
}

/// What keeping a push came to.
pub enum Kept {
    /// It is kept; this is its answer.
    Now(wire::PushReply),
    /// A push with this id was kept earlier.
    Before(Answered),
}

/// Where pushes wait.
pub struct Gather {
    node: Arc<Node>,
    waiting: sync::Mutex<Vec<Waiting>>,
    /// One group at a time is sealed, until it is the one that is written: the more wait meanwhile, the less a batch
    /// costs each of them.
    sealing: Mutex<()>,
    writing: Mutex<()>,
}

struct Waiting {
    push: Arc<Ready>,
    answer: oneshot::Sender<Result<Kept, PushError>>,
    /// What bounds the memory that its reports take.
    room: OwnedSemaphorePermit,
}

impl Gather {
    /// Gathers for this node.
    #[must_use]
    pub fn new(node: Arc<Node>) -> Arc<Self> {
        let (waiting, sealing, writing) = Default::default();
        Arc::new(Self { node, waiting, sealing, writing })
    }

    /// Keeps a push, with those that wait beside it. It is kept also if the caller goes.
    pub async fn keep(self: &Arc<Self>, push: Ready, room: OwnedSemaphorePermit) -> Result<Kept, PushError> {
        let (answer, answered) = oneshot::channel();
        self.waiting().push(Waiting { push: Arc::new(push), answer, room });
        // A turn for each push: one that finds nothing left was taken along by another.
        let this = Arc::clone(self);
        tokio::spawn(async move { this.turn().await }.in_current_span());
        answered.await.map_err(|_| PushError::Internal)?
    }

    fn waiting(&self) -> sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn turn(&self) {
        let sealing = self.sealing.lock().await;
        let group = self.group();
        if group.is_empty() {
            return;
        }
        let pushes: Vec<_> = group.iter().map(|waiting| waiting.push.clone()).collect();
        let kept = self.keep_all(&pushes, Some(sealing)).await;
        for (Waiting { answer, room, .. }, kept) in group.into_iter().zip(kept) {
            // Whoever has gone asks again some time, and then gets the answer that is kept.
            drop((answer.send(kept), room));
        }
    }

    /// Those that wait longest, as many as a group takes, and no id twice.
    fn group(&self) -> Vec<Waiting> {
        let (mut octets, mut ids) = (0, HashSet::new());
        let mut waiting = self.waiting();
        let fits = |Waiting { push, .. }: &&Waiting| {
            octets += push.sorted.octets();
            (ids.is_empty() || octets <= GROUP_OCTETS) && ids.insert(push.id.clone())
        };
        let taken = waiting.iter().take_while(fits).count();
        waiting.drain(..taken).collect()
    }

    /// Keeps pushes together or, if one of them may stand in the way of the others, each half of them by itself.
    ///
    /// The turn to seal ends with the first try: halves are few, and are sealed beside the group that follows.
    async fn keep_all(
        &self,
        pushes: &[Arc<Ready>],
        sealing: Option<MutexGuard<'_, ()>>,
    ) -> Vec<Result<Kept, PushError>> {
        match self.keep_together(pushes, sealing).await {
            Ok(None) => pushes.iter().map(|push| Ok(Kept::Now(push.reply.clone()))).collect(),
            Ok(Some(before)) if pushes.len() == 1 => vec![Ok(Kept::Before(before))],
            Err(failed) if pushes.len() == 1 => vec![Err(failed)],
            Err(PushError::Store(failed)) if is_of_all(&failed) => {
                pushes.iter().map(|_| Err(PushError::Store(failed.clone()))).collect()
            }
            Ok(Some(_)) | Err(_) => {
                let (one, other) = pushes.split_at(pushes.len() / 2);
                let mut kept = Box::pin(self.keep_all(one, None)).await;
                kept.extend(Box::pin(self.keep_all(other, None)).await);
                kept
            }
        }
    }

    /// Nothing if all are kept now; else what was answered to one of them that was kept before, and none is.
    async fn keep_together(
        &self,
        pushes: &[Arc<Ready>],
        sealing: Option<MutexGuard<'_, ()>>,
    ) -> Result<Option<Answered>, PushError> {
        let (node, work) = (self.node.clone(), pushes.to_vec());
        // Off the runtime's threads: sealing takes up to some milliseconds.
        let seal = move || {
            let (now, sorted) = (node.clock.steady()?, work.iter().map(|push| &push.sorted));
            Ok((now, reseal::seal(sorted, (node.country, clock::minute(now)))?))
        };
        let span = tracing::Span::current();
        let sealed = tokio::task::spawn_blocking(move || span.in_scope(seal)).await;
        let (now, batches) = sealed.unwrap_or(Err(PushError::Internal))?;
        let sizes: Vec<_> = batches.iter().map(|batch| (batch.country, batch.sealed.len())).collect();
        let writing = self.writing.lock().await;
        // The next group is sealed while this one is written.
        drop(sealing);
        let before = outbox::keep(&self.node, pushes, (now, batches)).await?;
        drop(writing);
        if before.is_none() {
            self.node.metrics.sealed(&sizes);
            info!(pushes = pushes.len(), batches = sizes.len(), "batches kept");
        }
        Ok(before)
    }
}

/// Whether each push of a group would fail like the group.
fn is_of_all(failed: &StoreError) -> bool {
    !matches!(failed, StoreError::Defect | StoreError::Corrupt { .. } | StoreError::TooLarge { .. })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pki::seal::{PrivateKey, PublicKey, Suite};
    use proto::ids::Authority;
    use proto::push::Push;
    use tokio::sync::Semaphore;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::fixture::{self, Fixture};
    use crate::names;
    use crate::outbound::route::Routes;
    use crate::outbound::{ingest, sort};

    fn key() -> PublicKey {
        let suite = Suite::XWing;
        PrivateKey::parse(suite, &PrivateKey::generate(suite)).unwrap().public().clone()
    }

    struct World {
        fixture: Fixture,
        gather: Arc<Gather>,
        room: Arc<Semaphore>,
        key: PublicKey,
    }

    impl World {
        fn new() -> Self {
            let fixture = fixture::node();
            let gather = Gather::new(fixture.node.clone());
            Self { fixture, gather, room: Arc::new(Semaphore::new(100)), key: key() }
        }

        fn ready_for(&self, destination: &str, key: &PublicKey) -> Ready {
            let node = &self.fixture.node;
            let mut traffic = self.fixture.traffic();
            traffic.destinations = vec![destination.parse().unwrap()];
            let push = Push::parse(traffic.push(10, 0)).unwrap();
            let (routes, key) = (Routes::new(&node.trust_list()), |_: Authority| Some(key.clone()));
            let desk = ingest::desk(node, &routes, &key, node.clock.today());
            let sorted = sort::sort(&push, traffic.pusher, &desk).unwrap();
            let (reply, id) = (outbox::reply(&sorted), outbox::once_id(traffic.pusher, &push.id));
            Ready { sorted, reply, id, digest: [7; 32] }
        }

        fn ready(&self) -> Ready {
            self.ready_for("250/0", &self.key)
        }

        /// Begins to keep a push.
        fn begin(&self, push: Ready) -> JoinHandle<Result<Kept, PushError>> {
            let (gather, room) = (self.gather.clone(), self.room.clone().try_acquire_owned().unwrap());
            tokio::spawn(async move { gather.keep(push, room).await })
        }

        /// Begins to keep pushes while others are sealed: one behind the other, so that their order is known.
        async fn queue(&self, pushes: Vec<Ready>) -> Vec<JoinHandle<Result<Kept, PushError>>> {
            let mut begun = Vec::new();
            for push in pushes {
                begun.push(self.begin(push));
                self.until(|gather| gather.waiting().len() == begun.len()).await;
            }
            begun
        }

        async fn until(&self, so: impl Fn(&Gather) -> bool) {
            while !so(&self.gather) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }

        /// Keeps pushes that all come while others are sealed. Gives what becomes of each.
        async fn keep(&self, pushes: Vec<Ready>) -> Vec<Result<Kept, PushError>> {
            let busy = self.gather.sealing.lock().await;
            let begun = self.queue(pushes).await;
            drop(busy);
            let mut kept = Vec::new();
            for begun in begun {
                kept.push(begun.await.unwrap());
            }
            assert_eq!(self.room.available_permits(), 100);
            kept
        }

        async fn batches_for(&self, country: u16) -> u64 {
            let stream = names::outbox(proto::ids::CountryCode::new(country).unwrap());
            self.fixture.node.store.latest(stream).await.unwrap().last
        }
    }

    fn again(push: &Ready, other: Ready) -> Ready {
        Ready { id: push.id.clone(), ..other }
    }

    #[tokio::test]
    async fn pushes_that_wait_become_one_batch_and_one_that_comes_alone_waits_for_nobody() {
        let world = World::new();
        let room = world.room.clone().acquire_owned().await.unwrap();
        assert!(matches!(world.gather.keep(world.ready(), room).await, Ok(Kept::Now(_))));
        assert_eq!(world.batches_for(250).await, 1);
        let pushes: Vec<_> = (0..5).map(|_| world.ready()).collect();
        let ids: Vec<_> = pushes.iter().map(|push| push.id.clone()).collect();
        let kept = world.keep(pushes).await;
        assert!(kept.iter().all(|kept| matches!(kept, Ok(Kept::Now(reply)) if reply.verdicts.len() == 10)));
        assert_eq!(world.batches_for(250).await, 2);
        for id in ids {
            assert!(world.fixture.node.store.once(&id).await.unwrap().is_some(), "each has its answer");
        }
    }

    #[tokio::test]
    async fn one_group_is_sealed_while_another_is_written_and_what_comes_then_goes_together() {
        let world = World::new();
        let disk = world.gather.writing.lock().await;
        let first = world.begin(world.ready());
        // Whoever seals has taken along what waited.
        world.until(|gather| gather.sealing.try_lock().is_err() && gather.waiting().is_empty()).await;
        let behind = world.queue(vec![world.ready(), world.ready()]).await;
        assert_eq!(world.batches_for(250).await, 0);
        drop(disk);
        for kept in [first].into_iter().chain(behind) {
            assert!(matches!(kept.await.unwrap(), Ok(Kept::Now(_))));
        }
        assert_eq!(world.batches_for(250).await, 2);
    }

    #[tokio::test]
    async fn a_push_that_was_kept_before_is_not_in_the_way_of_those_beside_it() {
        let world = World::new();
        let first = world.ready();
        let (same, once_more) = (again(&first, world.ready()), again(&first, world.ready()));
        let room = world.room.clone().acquire_owned().await.unwrap();
        assert!(matches!(world.gather.keep(first, room).await, Ok(Kept::Now(_))));
        let kept = world.keep(vec![world.ready(), same, once_more, world.ready()]).await;
        let now = kept.iter().map(|kept| matches!(kept, Ok(Kept::Now(_)))).collect::<Vec<_>>();
        assert_eq!(now, [true, false, false, true]);
        assert!(matches!(kept[1..3], [Ok(Kept::Before(_)), Ok(Kept::Before(_))]));
    }

    #[tokio::test]
    async fn two_with_one_id_that_wait_together_are_kept_once() {
        let world = World::new();
        let first = world.ready();
        let second = again(&first, world.ready());
        let kept = world.keep(vec![first, second]).await;
        assert!(matches!(kept[..], [Ok(Kept::Now(_)), Ok(Kept::Before(_))]));
        assert_eq!(world.batches_for(250).await, 1);
    }

    #[tokio::test]
    async fn a_clock_that_leaps_before_the_seal_lets_nothing_be_sealed() {
        let world = World::new();
        let pushes = vec![world.ready(), world.ready()];
        world.fixture.node.clock.set_ahead(86_400);
        let kept = world.keep(pushes).await;
        assert!(matches!(kept[..], [Err(PushError::Leapt(_)), Err(PushError::Leapt(_))]));
        assert_eq!(world.batches_for(250).await, 0);
    }

    #[tokio::test]
    async fn a_push_that_cannot_be_sealed_fails_alone() {
        let world = World::new();
        let bad = world.ready_for("826/1", &pki::fixture::unsealable_key());
        let kept = world.keep(vec![world.ready(), bad, world.ready()]).await;
        assert!(matches!(kept[..], [Ok(Kept::Now(_)), Err(PushError::Refused(_)), Ok(Kept::Now(_))]));
        assert_eq!((world.batches_for(250).await, world.batches_for(826).await), (2, 0));
    }
}
