//! Somebody with a good certificate who asks for ten times its quota and never waits when it is told to.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use proto::wire;
use proto::wire::exchange_client::ExchangeClient;
use tokio::runtime::{self, Runtime};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, interval};
use tokio_util::context::TokioContext;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::{BACKEND_CALLS, BACKEND_REPORTS, Kind};
use crate::cpu;
use crate::direct::{self, Line};
use crate::federation::Federation;
use crate::phones;
use crate::reports::{Contact, today};

/// Calls of the flood that wait for an answer at the same time.
const AT_ONCE: usize = 64;
/// Octets of the pages that are asked for: a second's quota of calls is then nearly one of octets, too.
const PAGE: u32 = 64 << 10;

/// A caller that can be let loose with its quota, or with some times as much.
pub(super) struct Flood {
    caller: Arc<Caller>,
    /// Threads of its own. It is only taken out when it ends.
    runtime: Option<Runtime>,
}

/// Whoever floods.
struct Caller {
    kind: Kind,
    way: Way,
    counts: Mutex<Counts>,
}

enum Way {
    Push(Box<Pushes>),
    Pull(ExchangeClient<Channel>),
}

/// Pushes of one authority, each with as many reports as use up both of its quotas at the same time.
struct Pushes {
    line: Line,
    contacts: Vec<Contact>,
    /// Sealed beforehand. One that is refused comes again, as a backend's would.
    sealed: Mutex<Vec<wire::PushRequest>>,
}

/// What became of the calls at one pace.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    /// Calls asked for.
    pub(super) asked: u64,
    /// Let through.
    pub(super) accepted: u64,
    /// Refused because of the quota.
    pub(super) refused: u64,
    /// How long it went on, seconds.
    pub(super) seconds: f64,
}

/// A flood that goes on.
pub(super) struct Flooding {
    stop: CancellationToken,
    since: Instant,
    task: JoinHandle<()>,
}

impl Flood {
    /// With so many pushes sealed beforehand.
    pub(super) async fn prepare(federation: &Federation, kind: Kind, pushes: usize) -> Result<Self> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("the flooder gets a thread")?;
        // On its only worker: what it does stands for another machine.
        runtime.spawn(async { cpu::give_way() }).await??;
        let way = TokioContext::new(way(federation, kind, pushes), runtime.handle().clone()).await?;
        let caller = Arc::new(Caller { kind, way, counts: Mutex::default() });
        Ok(Self { caller, runtime: Some(runtime) })
    }

    /// Lets it call with so many times its quota.
    pub(super) fn start(&self, times: u32) -> Result<Flooding> {
        *self.caller.counts() = Counts::default();
        let stop = CancellationToken::new();
        let runtime = self.runtime.as_ref().context("the flooder has not ended")?;
        let task = runtime.spawn(self.caller.clone().flood(times, stop.clone()));
        Ok(Flooding { stop, since: Instant::now(), task })
    }

    /// Stops it, and gives what became of its calls.
    pub(super) async fn stop(&self, flooding: Flooding) -> Counts {
        flooding.stop.cancel();
        let seconds = flooding.since.elapsed().as_secs_f64();
        // It ends by itself then.
        let _ = flooding.task.await;
        Counts { seconds, ..*self.caller.counts() }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        // Whoever drops it runs in a runtime, where no other may be waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn way(federation: &Federation, kind: Kind, pushes: usize) -> Result<Way> {
    if kind == Kind::Peer {
        return Ok(Way::Pull(direct::peer(federation, super::country(250)?, super::country(826)?)?));
    }
    let tokens = phones::met_on(today(), usize::try_from(BACKEND_REPORTS / BACKEND_CALLS)?)?;
    let to = super::authority("250/0")?;
    let contacts: Vec<_> = tokens.iter().map(|token| Contact::simple(to, token, today())).collect();
    let line = Line::open(federation, super::authority("826/1")?).await?;
    let sealed = (0..pushes).map(|_| line.seal(&contacts)).collect::<Result<_>>()?;
    Ok(Way::Push(Box::new(Pushes { line, contacts, sealed: Mutex::new(sealed) })))
}

impl Counts {
    pub(super) fn add(&mut self, more: Self) {
        self.asked += more.asked;
        self.accepted += more.accepted;
        self.refused += more.refused;
        self.seconds += more.seconds;
    }
}

impl Caller {
    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn flood(self: Arc<Self>, times: u32, stop: CancellationToken) {
        let pace = Duration::from_secs(1) / (times * self.kind.calls());
        let (mut calls, mut due) = (JoinSet::new(), interval(pace));
        while stop.run_until_cancelled(due.tick()).await.is_some() {
            if calls.len() >= AT_ONCE && calls.join_next().await.is_none() {
                continue;
            }
            while calls.try_join_next().is_some() {}
            self.counts().asked += 1;
            calls.spawn(self.clone().once());
        }
        calls.shutdown().await;
    }

    async fn once(self: Arc<Self>) {
        let called = match &self.way {
            Way::Push(pushes) => pushes.push().await,
            Way::Pull(client) => {
                let from_the_begin = wire::PullRequest { after: 0, max_bytes: PAGE, wait_ms: 0 };
                client.clone().pull(from_the_begin).await.map(drop)
            }
        };
        match called {
            Ok(()) => self.counts().accepted += 1,
            Err(status) if status.code() == Code::ResourceExhausted => self.counts().refused += 1,
            Err(_) => {}
        }
    }
}

impl Pushes {
    fn sealed(&self) -> std::sync::MutexGuard<'_, Vec<wire::PushRequest>> {
        self.sealed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn push(&self) -> Result<(), Status> {
        let next = self.sealed().pop();
        let next = match next {
            Some(next) => next,
            None => self.line.seal(&self.contacts).map_err(|cause| Status::internal(cause.to_string()))?,
        };
        let pushed = self.line.push_once(next.clone()).await;
        if pushed.is_err() {
            self.sealed().push(next);
        }
        pushed.map(drop)
    }
}
