//! 1: accept a push from one of our adapters; answer only after the commit (invariant 3).

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use pki::keylist::{KeyList, Kind, ListedKey};
use pki::seal::{self, PublicKey};
use pki::trust::TrustList;
use prost::Message;
use proto::course::Leapt;
use proto::day::Day;
use proto::ids::Authority;
use proto::limits::PUSH_LEN;
use proto::push::Push;
use proto::verdict::Verdict;
use proto::wire;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status};
use tracing::{Instrument, error, info, info_span};

use super::gather::{Gather, Kept, Ready};
use super::outbox;
use super::route::Routes;
use super::sort::{self, Desk, Sorted};
use crate::node::Node;
use crate::status;
use crate::store::{Answered, OnceId, StoreError};

/// How long the gateway's own list of ingress keys is good for, in seconds: adapters ask again well before.
const INGRESS_LIST_SECONDS: u64 = 7 * 86_400;

/// What room in memory is given out in.
const PIECE: usize = 64 << 10;

/// The service that adapters push to.
pub struct Ingest {
    node: Arc<Node>,
    gather: Arc<Gather>,
    /// Bounds the memory that all pushes take that are worked on, in pieces of [`PIECE`] octets.
    room: Arc<Semaphore>,
    /// Bounds how many are opened at once: the threads for it are everybody's.
    opening: Arc<Semaphore>,
    /// Of the trust list that they were read out of.
    routes: Mutex<Option<(Arc<TrustList>, Arc<Routes>)>>,
}

/// Why a push is not answered with verdicts. Nothing of it is stored.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The push itself.
    #[error(transparent)]
    Refused(#[from] sort::Refused),
    /// Its id names another push.
    #[error("this push id was used before with other octets; use a fresh one for every push")]
    IdReused,
    /// It was kept before, and what it was answered cannot be read any more.
    #[error(
        "this push was kept before and goes out, but its answer is damaged; do not publish its reports again"
    )]
    AnswerDamaged {
        /// Where it lies, for the log.
        place: String,
    },
    /// By a clock that may be wrong no report is called too old, and nothing is sealed.
    #[error("the gateway takes no pushes now: {0}")]
    Leapt(#[from] Leapt),
    /// What would be signed now, no peer would take, today or later.
    #[error("the gateway's signing key is not valid in the trust list; its operator must see to that")]
    NotCertified,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A task died.
    #[error("the push could not be worked on; try again")]
    Internal,
}

impl Ingest {
    /// Takes pushes for this node.
    #[must_use]
    pub fn new(node: Arc<Node>) -> Self {
        let at_work = node.config.limits.pushes_at_work;
        let room = Arc::new(Semaphore::new(at_work * PUSH_LEN.div_ceil(PIECE)));
        let (gather, opening) = (Gather::new(node.clone()), Arc::new(Semaphore::new(at_work)));
        Self { node, gather, room, opening, routes: Mutex::default() }
    }

    async fn accept(&self, pusher: Authority, push: Push) -> Result<wire::PushReply, PushError> {
        let waits = self.node.metrics.push_waits();
        let room = self.room.clone().acquire_many_owned(room_of(&push)).await;
        let room = room.map_err(|_| PushError::Internal)?;
        let opening = self.opening.clone().acquire_owned().await.map_err(|_| PushError::Internal)?;
        drop(waits);
        let (id, digest) = (outbox::once_id(pusher, &push.id), digest(&push, pusher));
        match self.keep(pusher, push, (id.clone(), digest), (room, opening)).await {
            Ok(Kept::Now(reply)) => Ok(reply),
            Ok(Kept::Before(before)) => earlier(digest, &before),
            // One that was kept before is answered as it was then, whatever stands in its way: its key may be retired by
            // now, or the store full.
            Err(failed) => match self.node.store.once(&id).await {
                Ok(before) => before.map_or(Err(failed), |before| earlier(digest, &before)),
                // Whoever is told so sets the push aside: what was never kept would be lost.
                Err(StoreError::Corrupt { what }) if self.node.store.knows(&id).await? => {
                    Err(PushError::AnswerDamaged { place: what })
                }
                Err(unknown) => Err(unknown.into()),
            },
        }
    }

    /// Opens, checks and keeps a push, if it is new.
    async fn keep(
        &self,
        pusher: Authority,
        push: Push,
        (id, digest): (OnceId, [u8; 32]),
        permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
    ) -> Result<Kept, PushError> {
        // By a wrong clock the key below may seem to be out.
        self.node.clock.steady()?;
        if !self.node.is_certified() {
            return Err(PushError::NotCertified);
        }
        let (sorted, room) = self.sort(pusher, push, permits).await?;
        let (verdicts, reply) = (sorted.verdicts.clone(), outbox::reply(&sorted));
        let kept = self.gather.keep(Ready { sorted, reply, id, digest }, room).await?;
        if matches!(kept, Kept::Now(_)) {
            self.node.metrics.pushed(&verdicts);
            let accepted = verdicts.iter().filter(|verdict| **verdict == Verdict::Accepted).count();
            info!(envelopes = verdicts.len(), accepted, "push kept");
        }
        Ok(kept)
    }

    /// Off the runtime's threads: opening takes up to some milliseconds.
    ///
    /// The work goes on when the caller is gone, so both permits go with the work.
    async fn sort(
        &self,
        pusher: Authority,
        push: Push,
        (room, opening): (OwnedSemaphorePermit, OwnedSemaphorePermit),
    ) -> Result<(Sorted, OwnedSemaphorePermit), PushError> {
        let (node, routes) = (self.node.clone(), self.routes());
        let work = move || {
            let now = node.clock.steady()?;
            let key = |authority| node.key_lists.in_force(authority, now);
            let desk = desk(&node, &routes, &key, Day::of_unix(now));
            let sorted = sort::sort(&push, pusher, &desk)?;
            drop(opening);
            Ok((sorted, room))
        };
        let span = tracing::Span::current();
        let done = tokio::task::spawn_blocking(move || span.in_scope(work)).await;
        done.map_err(|_| PushError::Internal)?
    }

    /// Read out of the trust list when there is a newer one.
    fn routes(&self) -> Arc<Routes> {
        let trust = self.node.trust_list();
        let mut known = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((of, routes)) if Arc::ptr_eq(of, &trust) => routes.clone(),
            _ => {
                let routes = Arc::new(Routes::new(&trust));
                *known = Some((trust, routes.clone()));
                routes
            }
        }
    }

    fn ingress_keys(&self) -> wire::SignedKeyList {
        let now = self.node.clock.now();
        let first = &self.node.ingress.all()[0];
        let (not_before, not_after) = (now.saturating_sub(3_600), now + INGRESS_LIST_SECONDS);
        let keys = vec![ListedKey { key: first.public().clone(), not_before, not_after }];
        let authority = Authority::national(self.node.country);
        let list = KeyList { kind: Kind::Ingress, authority, version: now, issued: now, keys };
        list.sign(&self.node.signing).into_wire()
    }
}

#[tonic::async_trait]
impl wire::ingest_server::Ingest for Ingest {
    async fn push(&self, request: Request<wire::PushRequest>) -> Result<Response<wire::PushReply>, Status> {
        let pusher = self.node.calling_adapter(request.extensions())?;
        let push = Push::parse(request.into_inner()).map_err(|cause| status::malformed(&cause))?;
        self.node.counted(&pusher, self.node.backends.reports(pusher, push.envelopes()))?;
        self.node.counted(&pusher, self.node.backends.octets(pusher, push.sealed.len()))?;
        let span = info_span!("push", %pusher, id = %push.id);
        let reply = self.accept(pusher, push).instrument(span.clone()).await;
        if let Err(PushError::AnswerDamaged { place }) = &reply {
            let _push = span.enter();
            error!(place, "the kept answer of a push is damaged; its adapter sets the push aside");
            self.node.metrics.damaged("answer");
        }
        Ok(Response::new(reply?))
    }

    async fn ingress_keys(
        &self,
        request: Request<wire::IngressKeysRequest>,
    ) -> Result<Response<wire::SignedKeyList>, Status> {
        self.node.calling_adapter(request.extensions())?;
        Ok(Response::new(self.ingress_keys()))
    }
}

/// The answer that a push got when it came first, if it is the same push.
fn earlier(digest: [u8; 32], before: &Answered) -> Result<wire::PushReply, PushError> {
    if digest != before.digest {
        return Err(PushError::IdReused);
    }
    wire::PushReply::decode(before.answer.clone()).map_err(|_| PushError::Internal)
}

/// Pieces of memory that a push takes.
fn room_of(push: &Push) -> u32 {
    u32::try_from(push.sealed.len().div_ceil(PIECE)).unwrap_or(u32::MAX).max(1)
}

/// What sorting needs to know of a node today.
#[must_use]
pub fn desk<'a>(
    node: &'a Node,
    routes: &'a Routes,
    key: &'a dyn Fn(Authority) -> Option<PublicKey>,
    today: Day,
) -> Desk<'a> {
    Desk { ingress: &node.ingress, routes, key, today }
}

/// Tells a push from another one under the same id: SHA-256 over what its seal is bound to, the encapsulated key, and
/// the seal's tag, which is a MAC of the sealed reports under a key that no other push has.
#[must_use]
pub fn digest(push: &Push, pusher: Authority) -> [u8; 32] {
    let tag = &push.sealed[push.sealed.len().saturating_sub(seal::overhead())..];
    let mut context = Context::new(&SHA256);
    for part in [push.aad(pusher).as_slice(), &push.enc, tag] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref().try_into().expect("SHA-256 gives 32 octets")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use cluster::Cluster;
    use pki::seal::seal_push;
    use proto::header::EnvelopeHeader;
    use proto::push::Draft;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::clock::Clock;
    use crate::fixture;
    use crate::prepare::prepare;
    use crate::store::postgres::tests::spoil;

    /// A push of one report that is none: that is a verdict, too.
    fn push(node: &Node, pusher: Authority) -> Push {
        let header = EnvelopeHeader::new(0x10, "250/0".parse().unwrap()).unwrap();
        let mut draft = Draft::default();
        draft.add(&header, &[7; 40]).unwrap();
        let (headers, body) = draft.into_parts();
        Push::parse(seal_push(node.ingress.all()[0].public(), pusher, headers, body).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_push_that_was_kept_is_answered_as_it_was_then_though_it_opens_no_more() {
        let fixture = fixture::node();
        let (ingest, pusher) = (Ingest::new(fixture.node.clone()), "826/1".parse().unwrap());
        let unopenable = |mut push: Push| {
            let mut sealed = push.sealed.to_vec();
            sealed[0] ^= 1;
            push.sealed = sealed.into();
            push
        };
        let (kept, new) = (push(&fixture.node, pusher), push(&fixture.node, pusher));
        let answer = ingest.accept(pusher, kept.clone()).await.unwrap();
        assert_eq!(ingest.accept(pusher, unopenable(kept.clone())).await.unwrap(), answer);
        let refused = ingest.accept(pusher, unopenable(new.clone())).await;
        assert!(matches!(refused, Err(PushError::Refused(sort::Refused::DoesNotOpen(_)))), "{refused:?}");
        let mut other = new;
        other.id = kept.id;
        assert!(matches!(ingest.accept(pusher, other).await, Err(PushError::IdReused)));
    }

    #[tokio::test]
    async fn a_push_that_was_kept_is_answered_as_it_was_then_though_the_disk_is_full_by_now() {
        let (_folder, mut config) = fixture::config(None, |config| config);
        let pusher = "826/1".parse().unwrap();
        let node = async |config| {
            let prepared = prepare(config, Clock::default(), CancellationToken::new()).await;
            Arc::new(prepared.unwrap().0)
        };
        let before = node(config.clone()).await;
        let (kept, new) = (push(&before, pusher), push(&before, pusher));
        let answer = Ingest::new(before.clone()).accept(pusher, kept.clone()).await.unwrap();
        before.store.close().await.unwrap();
        drop(before);
        config.limits.free_disk_bytes = u64::MAX;
        let full = Ingest::new(node(config).await);
        let refused = full.accept(pusher, new).await;
        assert!(matches!(refused, Err(PushError::Store(StoreError::Full { .. }))), "{refused:?}");
        assert_eq!(full.accept(pusher, kept).await.unwrap(), answer);
    }

    #[tokio::test]
    async fn nothing_is_kept_that_no_peer_would_take_since_the_signing_key_is_out() {
        let fixture = fixture::node();
        let (ingest, pusher) = (Ingest::new(fixture.node.clone()), "826/1".parse().unwrap());
        let (kept, new) = (push(&fixture.node, pusher), push(&fixture.node, pusher));
        let answer = ingest.accept(pusher, kept.clone()).await.unwrap();
        let own = fixture.node.trust_list().country(fixture.node.country).unwrap().clone();
        let end = own.signing_key(fixture.node.signing.public().id()).unwrap().not_after;
        fixture.node.clock.turn(i64::try_from(end - fixture.node.clock.now()).unwrap() + 1);
        let status = Status::from(ingest.accept(pusher, new).await.unwrap_err());
        assert_eq!((status.code(), &*status::reason(&status)), (tonic::Code::Unavailable, "NOT_CERTIFIED"));
        assert_eq!(ingest.accept(pusher, kept).await.unwrap(), answer);
    }

    #[tokio::test]
    async fn pushes_wait_while_nobody_knows_whether_the_clock_is_right() {
        let fixture = fixture::node();
        let (node, pusher) = (&fixture.node, "826/1".parse().unwrap());
        let (ingest, kept, new) = (Ingest::new(node.clone()), push(node, pusher), push(node, pusher));
        let answer = ingest.accept(pusher, kept.clone()).await.unwrap();
        node.clock.set_ahead(5 * 86_400);
        let status = Status::from(ingest.accept(pusher, new.clone()).await.unwrap_err());
        assert_eq!((status.code(), &*status::reason(&status)), (tonic::Code::Unavailable, "CLOCK_LEAPT"));
        assert_eq!(ingest.accept(pusher, kept).await.unwrap(), answer);
        node.clock.set_ahead(-5 * 86_400);
        assert_eq!(ingest.accept(pusher, new).await.unwrap().verdicts.len(), 1);
    }

    #[tokio::test]
    async fn a_push_whose_kept_answer_is_damaged_is_told_so_for_good() {
        let fixture = fixture::node();
        let (ingest, pusher) = (Ingest::new(fixture.node.clone()), "826/1".parse().unwrap());
        let (bad, good) = (push(&fixture.node, pusher), push(&fixture.node, pusher));
        let answer = ingest.accept(pusher, bad.clone()).await.unwrap();
        ingest.accept(pusher, good.clone()).await.unwrap();
        assert_eq!(ingest.accept(pusher, bad.clone()).await.unwrap(), answer);
        let segment = fixture.node.config.store.folder().unwrap().join("segments/0000000001.seg");
        let mut octets = fs::read(&segment).unwrap();
        let id = outbox::once_id(pusher, &bad.id);
        let at = octets.windows(id.octets().len()).position(|found| found == id.octets()).unwrap();
        octets[at + id.octets().len()] ^= 1;
        fs::write(&segment, octets).unwrap();
        let refused = ingest.accept(pusher, bad).await;
        assert!(matches!(refused, Err(PushError::AnswerDamaged { .. })), "{refused:?}");
        let status = Status::from(refused.unwrap_err());
        assert_eq!(
            (status.code(), &*status::reason(&status)),
            (tonic::Code::AlreadyExists, "ANSWER_DAMAGED")
        );
        ingest.accept(pusher, good).await.unwrap();
        assert_eq!(crate::health::problems(&fixture.node).await, Vec::<String>::new());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_push_that_a_spoiled_page_keeps_out_is_not_told_that_it_was_kept() {
        let cluster = Cluster::start().unwrap();
        let database = cluster.database().unwrap();
        let (_folder, config) = fixture::config(Some(&database), |config| config);
        let prepared = prepare(config, Clock::default(), CancellationToken::new()).await;
        let node = Arc::new(prepared.unwrap().0);
        let (ingest, pusher) = (Ingest::new(node.clone()), "826/1".parse().unwrap());
        ingest.accept(pusher, push(&node, pusher)).await.unwrap();
        spoil(&cluster, &database, "'exchange.once_pkey'::regclass");
        let failed = ingest.accept(pusher, push(&node, pusher)).await;
        assert!(matches!(failed, Err(PushError::Store(StoreError::Corrupt { .. }))), "{failed:?}");
        assert_eq!(Status::from(failed.unwrap_err()).code(), tonic::Code::Internal);
        let problems = crate::health::problems(&node).await;
        assert!(problems[0].starts_with("store: the store is damaged"), "{problems:?}");
    }
}
