//! The origin's adapter: seals and pushes as the real one does. What a backend hands over is made out of nothing, so
//! that as little as can be of the cores goes into what no country does.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use country_adapter::Clock;
use country_adapter::gateway::{CallError, Gateway};
use country_adapter::publish::Ingress;
use pki::seal::{self, PublicKey};
use proto::ids::Authority;
use proto::push::Draft;
use proto::verdict::Verdict;
use proto::wire;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::message::{self, Order, Progress, Push, Told};
use super::node::Node;
use super::tokens::{Mold, Name};
use super::{TICK, clock};
use crate::reports::today;

/// How often a call is made again that the gateway does not answer now, and the pause between.
const TRIES: u32 = 500;
const PAUSE: Duration = Duration::from_millis(20);

/// What is pushed.
#[derive(Debug, Clone, clap::Args)]
pub struct Pushed {
    /// The configuration of the adapter in whose name it is pushed
    pub config: PathBuf,
    /// Octets of an encoded report
    #[arg(long)]
    pub bytes: usize,
    /// Reports of a push
    #[arg(long)]
    pub push: usize,
    /// Whose tokens they are
    #[arg(long = "to", required = true)]
    pub to: Vec<Authority>,
}

struct Pusher {
    gateway: Gateway,
    ingress: Ingress,
    authority: Authority,
    molds: Vec<Mold>,
    push: usize,
    /// Pushes begun, tokens accepted, and calls made again.
    begun: AtomicU64,
    accepted: AtomicU64,
    again: AtomicU64,
    opened: watch::Sender<u64>,
}

/// Pushes as it is ordered, until the command is gone.
pub async fn run(pushed: &Pushed) -> Result<()> {
    let pusher = Arc::new(Pusher::new(pushed)?);
    pusher.ingress.key().await?;
    message::say(&Told::Ready)?;
    tokio::spawn(progress(pusher.clone()));
    let (mut orders, mut stop) = (message::orders(), CancellationToken::new());
    while let Some(order) = orders.recv().await {
        match order {
            Order::Opened { tokens } => drop(pusher.opened.send_replace(tokens)),
            Order::Stop => stop.cancel(),
            Order::Steady { .. } | Order::Paced { .. } => {
                stop = CancellationToken::new();
                tokio::spawn(phase(pusher.clone(), order, stop.clone()));
            }
            Order::Record | Order::Recorded | Order::Account => bail!("{order:?} is for who opens"),
        }
    }
    Ok(())
}

async fn progress(pusher: Arc<Pusher>) -> Result<()> {
    let mut last = 0;
    loop {
        let (at, tokens) = (clock::now(), pusher.accepted.load(Ordering::SeqCst));
        if tokens != last {
            message::say(&Told::Progress(Progress { at, tokens }))?;
            last = tokens;
        }
        tokio::time::sleep(TICK).await;
    }
}

async fn phase(pusher: Arc<Pusher>, order: Order, stop: CancellationToken) -> Result<()> {
    let done = match order {
        Order::Paced { every, pushes } => pusher.paced((every, pushes), &stop).await,
        Order::Steady { in_flight, ahead } => {
            pusher.steady((in_flight, ahead), &stop).await.map(|()| Vec::new())
        }
        _ => Ok(Vec::new()),
    };
    message::say(&match done {
        Ok(pushes) => {
            let (tokens, again) =
                (pusher.accepted.load(Ordering::SeqCst), pusher.again.load(Ordering::SeqCst));
            Told::Rested { tokens, again, pushes }
        }
        Err(error) => Told::Failed { error: format!("{error:#}") },
    })
}

impl Pusher {
    fn new(pushed: &Pushed) -> Result<Self> {
        let Node { config, trust, country, gateway, .. } = Node::read(&pushed.config)?;
        let day = today().minus(1);
        let molds = pushed.to.iter().map(|to| Mold::new(*to, pushed.bytes, day));
        Ok(Self {
            ingress: Ingress::new(gateway.clone(), watch::channel(trust).1, country, Clock::default()),
            gateway,
            authority: config.authority,
            molds: molds.collect::<Result<_>>()?,
            push: pushed.push,
            begun: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            again: AtomicU64::new(0),
            opened: watch::Sender::new(0),
        })
    }

    async fn steady(
        self: &Arc<Self>,
        (in_flight, ahead): (usize, u64),
        stop: &CancellationToken,
    ) -> Result<()> {
        let mut workers = JoinSet::new();
        let most = ahead.saturating_add((in_flight * self.push) as u64);
        for _ in 0..in_flight {
            let (this, stop) = (self.clone(), stop.clone());
            workers.spawn(async move {
                while this.has_room(most, &stop).await {
                    this.one(clock::now()).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(worker) = workers.join_next().await {
            worker??;
        }
        Ok(())
    }

    /// Waits until no more than so many tokens are pushed and not opened; false if it is over.
    ///
    /// Those of pushes that are not answered yet count as well: else all that wait for room would begin at once.
    async fn has_room(&self, most: u64, stop: &CancellationToken) -> bool {
        let mut opened = self.opened.subscribe();
        let begun = || self.begun.load(Ordering::SeqCst) * self.push as u64;
        let room = opened.wait_for(|opened| begun().saturating_sub(*opened) <= most);
        stop.run_until_cancelled(room).await.is_some()
    }

    async fn paced(
        self: &Arc<Self>,
        (every, pushes): (u64, u64),
        stop: &CancellationToken,
    ) -> Result<Vec<Push>> {
        let (began, mut calls, made) = (clock::now(), JoinSet::new(), Arc::new(Mutex::new(Vec::new())));
        for number in 0..pushes {
            let due = began + number * every;
            let wait = Duration::from_nanos(due.saturating_sub(clock::now()));
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                break;
            }
            let (this, made) = (self.clone(), made.clone());
            calls.spawn(async move {
                let push = this.one(due).await?;
                made.lock().unwrap_or_else(PoisonError::into_inner).push(push);
                anyhow::Ok(())
            });
        }
        while let Some(call) = calls.join_next().await {
            call??;
        }
        let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *made))
    }

    /// One push, from its reports to its answer.
    async fn one(self: &Arc<Self>, due: u64) -> Result<Push> {
        let number = self.begun.fetch_add(1, Ordering::SeqCst);
        let (this, key) = (self.clone(), self.ingress.key().await?);
        let request = tokio::task::spawn_blocking(move || this.sealed(number, &key)).await??;
        let reply = self.answered(request).await?;
        let accepted = clock::now();
        let good = reply.verdicts.iter().filter(|verdict| **verdict == Verdict::Accepted.number()).count();
        ensure!(good == self.push, "{good} of {} tokens of a push are accepted", self.push);
        self.accepted.fetch_add(good as u64, Ordering::SeqCst);
        Ok(Push { number, due, accepted })
    }

    fn sealed(&self, number: u64, key: &PublicKey) -> Result<wire::PushRequest> {
        let (mut draft, mut molds) = (Draft::default(), self.molds.clone());
        let several = molds.len();
        for place in 0..self.push {
            let name = Name { push: number, place: u32::try_from(place)? };
            let (header, report) = molds[place % several].report(name);
            ensure!(
                draft.has_room(report.len()),
                "{} reports of this length are more than a push takes",
                self.push
            );
            draft.add(&header, report)?;
        }
        let (headers, body) = draft.into_parts();
        Ok(seal::seal_push(key, self.authority, headers, body)?)
    }

    async fn answered(&self, request: wire::PushRequest) -> Result<wire::PushReply> {
        for _ in 0..TRIES {
            match self.gateway.push(request.clone()).await {
                Err(CallError::Again { pause, .. }) => {
                    self.again.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(pause.max(PAUSE)).await;
                }
                answer => return answer.context("the gateway refuses a push"),
            }
        }
        bail!("the gateway does not answer a push")
    }
}
