//! Somebody with a good certificate who asks for ten times its quota and never waits when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use proto::wire;
use proto::wire::exchange_client::ExchangeClient;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::{BACKEND_CALLS, BACKEND_REPORTS, Kind, TIMES};
use crate::direct::{self, Line};
use crate::federation::Federation;
use crate::phones;
use crate::reports::{Contact, today};

/// Calls of the flood that wait for an answer at the same time.
const AT_ONCE: usize = 64;
/// Pushes that are sealed beforehand: the flooder's own work is no part of the measure.
const SEALED: usize = 1_000;

/// A flood that can be let loose and stopped.
pub(super) struct Flood {
    caller: Arc<Caller>,
}

/// Whoever floods.
struct Caller {
    way: Way,
    /// From one call to the next.
    pace: Duration,
    asked: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
}

enum Way {
    Push(Box<Line>, Vec<wire::PushRequest>),
    Pull(ExchangeClient<Channel>),
}

/// A flood that goes on.
pub(super) struct Flooding {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Flood {
    pub(super) async fn prepare(federation: &Federation, kind: Kind) -> Result<Self> {
        let way = match kind {
            Kind::Backend => pushes(federation).await?,
            Kind::Peer => Way::Pull(direct::peer(federation, super::country(250)?, super::country(826)?)?),
        };
        let pace = Duration::from_secs(1) / (TIMES * kind.calls());
        let (asked, accepted, refused) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { caller: Arc::new(Caller { way, pace, asked, accepted, refused }) })
    }

    pub(super) fn start(&self) -> Flooding {
        let stop = CancellationToken::new();
        Flooding { task: tokio::spawn(self.caller.clone().flood(stop.clone())), stop }
    }

    pub(super) async fn stop(&self, flooding: Flooding) {
        flooding.stop.cancel();
        // It ends by itself then.
        let _ = flooding.task.await;
    }

    /// Calls asked for, let through, and refused because of the quota.
    pub(super) fn counts(&self) -> [u64; 3] {
        let Caller { asked, accepted, refused, .. } = &*self.caller;
        [asked, accepted, refused].map(|count| count.load(Ordering::Relaxed))
    }
}

/// Pushes of one authority, each with as many reports as use up both of its quotas at the same time.
async fn pushes(federation: &Federation) -> Result<Way> {
    let tokens = phones::met_on(today(), usize::try_from(BACKEND_REPORTS / BACKEND_CALLS)?)?;
    let to = super::authority("250/0")?;
    let contacts: Vec<_> = tokens.iter().map(|token| Contact::simple(to, token, today())).collect();
    let line = Line::open(federation, super::authority("826/1")?).await?;
    let sealed = (0..SEALED).map(|_| line.seal(&contacts)).collect::<Result<_>>()?;
    Ok(Way::Push(Box::new(line), sealed))
}

impl Caller {
    async fn flood(self: Arc<Self>, stop: CancellationToken) {
        let (mut calls, mut due) = (JoinSet::new(), interval(self.pace));
        while stop.run_until_cancelled(due.tick()).await.is_some() {
            if calls.len() >= AT_ONCE && calls.join_next().await.is_none() {
                continue;
            }
            while calls.try_join_next().is_some() {}
            let number = self.asked.fetch_add(1, Ordering::Relaxed);
            calls.spawn(self.clone().once(number));
        }
        calls.shutdown().await;
    }

    async fn once(self: Arc<Self>, number: u64) {
        let count = match self.call(number).await {
            Ok(()) => &self.accepted,
            Err(status) if status.code() == Code::ResourceExhausted => &self.refused,
            Err(_) => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    async fn call(&self, number: u64) -> Result<(), Status> {
        match &self.way {
            Way::Push(line, sealed) => {
                let push = &sealed[usize::try_from(number).unwrap_or_default() % sealed.len()];
                line.push(push.clone()).await.map(drop)
            }
            Way::Pull(client) => {
                let from_the_begin = wire::PullRequest { after: 0, max_bytes: 2 << 20, wait_ms: 0 };
                client.clone().pull(from_the_begin).await.map(drop)
            }
        }
    }
}
