//! The operations by which reports go from one country to another.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use country_adapter::gateway::CallError;
use gateway::inbound::keys::Keys;
use gateway::inbound::pull::Pull;
use gateway::names;
use proto::body;
use proto::ids::{Authority, CountryCode};
use proto::verdict::Verdict;
use proto::wiped::Wiped;
use proto::wire;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::door::Stepped;
use super::draw;
use super::failure::{Failure, Kind, Told};
use super::ledger::Taken;
use super::letters::{self, Letter, View};
use super::operations::Load;
use super::world::{Effect, World};

/// Longer than any call takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a lease is held without a word: a gateway that was killed is not waited for much longer.
pub(super) const LEASE: Duration = Duration::from_millis(500);
/// The reason where there is no space.
const NO_ROOM: &str = "STORE_FULL";
/// Reasons by which a gateway says that it has stored nothing.
const NOTHING_STORED: [&str; 4] = [NO_ROOM, "QUOTA_EXCEEDED", "COUNTRY_OUT", "TRUST_LIST_EXPIRED"];

/// Whether there is more where something came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// Something came or went.
    Yes,
    /// There was nothing.
    No,
    /// It did not work out.
    Failed,
}

impl World {
    /// Seals pushes and sends them all at once.
    pub(super) fn push(&mut self, loads: &[Load]) -> Told<Effect> {
        let known = draw::authorities(self.countries);
        let mut pushes = Vec::new();
        for load in loads.iter().filter(|load| known.contains(&load.pusher)) {
            let today = self.doors[&self.desks[&load.pusher].country].clock.today();
            let letters = letters::draw(load, today, &known, &mut self.ledger.tokens);
            let request = self.sealed(load.pusher, &letters)?;
            pushes.push(self.ledger.note(load.pusher, request, letters));
        }
        self.send(&pushes)?;
        Ok((!pushes.is_empty()).into())
    }

    /// Sends a push again.
    pub(super) fn retry(&mut self, push: usize) -> Told<Effect> {
        let Some(push) = push.checked_rem(self.ledger.pushes.len()) else { return Ok(Effect::None) };
        self.send(&[push])?;
        Ok(Effect::Some)
    }

    /// Sends something else under a push's id. It is refused, whatever became of the push.
    pub(super) fn alter(&mut self, push: usize) -> Told<Effect> {
        let Some(push) = push.checked_rem(self.ledger.pushes.len()) else { return Ok(Effect::None) };
        let pushed = &self.ledger.pushes[push];
        let (pusher, push_id) = (pushed.pusher, pushed.request.push_id.clone());
        let known = draw::authorities(self.countries);
        let country = self.desks[&pusher].country;
        let today = self.doors[&country].clock.today();
        let load = Load { pusher, reports: 3, mix: 1 };
        let letters = letters::draw(&load, today, &known, &mut self.ledger.tokens);
        // The ledger does not know them: wherever they are found, they must not be.
        let request = wire::PushRequest { push_id, ..self.sealed(pusher, &letters)? };
        let gateway = self.desks[&pusher].gateway.clone();
        if self.runtime.block_on(gateway.push(request)).is_ok() {
            let detail = format!("other octets under the id of push {push} were answered");
            return Err(Failure::new(Kind::Verdict, detail));
        }
        self.look(country)?;
        Ok(Effect::Some)
    }

    /// Sends pushes and takes their answers in.
    pub(super) fn send(&mut self, pushes: &[usize]) -> Told<()> {
        for push in pushes {
            if let Some(expected) = self.expected(*push) {
                self.ledger.pushes[*push].expected.push(expected);
            }
        }
        let answers = self.runtime.block_on(async {
            let mut calls = JoinSet::new();
            for push in pushes {
                let pushed = &self.ledger.pushes[*push];
                let (push, gateway, request) =
                    (*push, self.desks[&pushed.pusher].gateway.clone(), pushed.request.clone());
                calls.spawn(async move { (push, gateway.push(request).await) });
            }
            timeout(PATIENCE, calls.join_all()).await.context("a push was not answered in time")
        })?;
        for (push, answer) in answers {
            match answer {
                Ok(reply) => {
                    let pusher = self.ledger.pushes[push].pusher;
                    let (now, reply) = (self.now(self.desks[&pusher].country), self.read(pusher, reply));
                    self.ledger.answered(push, reply, now)?;
                }
                Err(CallError::Again { reason, .. }) if NOTHING_STORED.contains(&reason.as_str()) => {
                    self.ledger.pushes[push].expected.pop();
                    self.without_room += usize::from(reason == NO_ROOM);
                }
                Err(CallError::Again { .. }) => {}
                Err(refused) => {
                    let detail = format!("push {push} is good, and was refused: {refused}");
                    return Err(Failure::new(Kind::Verdict, detail));
                }
            }
        }
        self.bury()?;
        let pushers = pushes.iter().map(|push| self.desks[&self.ledger.pushes[*push].pusher].country);
        let countries: std::collections::BTreeSet<u16> = pushers.collect();
        countries.into_iter().try_for_each(|country| self.look(country))
    }

    fn sealed(&self, pusher: Authority, letters: &[Letter]) -> Told<wire::PushRequest> {
        let key = &self.charter.country(self.desks[&pusher].country).ingress;
        let headers = letters.iter().flat_map(|letter| letter.header).collect();
        let mut text = Wiped::default();
        letters.iter().try_for_each(|letter| body::put_report(&mut text, &letter.octets))?;
        Ok(pki::seal::seal_push(key, pusher, headers, text)?)
    }

    /// What the pusher's gateway has to say to a push now, if it runs.
    fn expected(&self, push: usize) -> Option<Vec<(Verdict, Option<Authority>)>> {
        let pushed = &self.ledger.pushes[push];
        let country = self.desks[&pushed.pusher].country;
        let door = &self.doors[&country];
        let running = door.running.as_ref()?;
        let edition = &self.editions[self.loaded[&country] - 1];
        let is_suspended = |desk: &super::desk::Desk| edition.contains(&desk.country);
        let suspended: BTreeMap<_, _> =
            self.desks.iter().map(|(authority, desk)| (*authority, is_suspended(desk))).collect();
        let now = door.clock.now();
        let has_key = |authority| running.node.key_lists.in_force(authority, now).is_some();
        let today = door.clock.today();
        let view = View { pusher: pushed.pusher, today, suspended: &suspended, has_key: &has_key };
        Some(letters::expected(&pushed.letters, &view))
    }

    /// A gateway fetches a page of an origin.
    pub(super) fn pull(&mut self, country: u16, origin: u16) -> Told<Moved> {
        let (Some(door), Ok(origin)) = (self.doors.get(&country), CountryCode::new(origin)) else {
            return Ok(Moved::No);
        };
        let Some(running) = &door.running else { return Ok(Moved::Failed) };
        let (node, peers) = (running.node.clone(), running.peers.clone());
        let stepped = self.runtime.block_on(door.step(async move {
            let Ok(Some(fence)) = node.store.lease(names::peer(origin), node.holder, LEASE).await else {
                return Moved::Failed;
            };
            let from = node.store.cursor(names::pulled(origin)).await;
            let pulled = Pull::new(node.clone(), peers, origin, fence).step().await;
            let to = node.store.cursor(names::pulled(origin)).await;
            match (pulled, from, to) {
                (Ok(_), Ok(from), Ok(to)) if from == to => Moved::No,
                (Ok(_), Ok(_), Ok(_)) => Moved::Yes,
                _ => Moved::Failed,
            }
        }))?;
        self.look(country)?;
        Ok(match stepped {
            Stepped::Done(moved) => moved,
            Stepped::Dead => Moved::Failed,
        })
    }

    /// A gateway tells an origin what it has.
    pub(super) fn send_receipts(&mut self, country: u16, origin: u16) -> Told<Moved> {
        let (Some(door), Ok(origin)) = (self.doors.get_mut(&country), CountryCode::new(origin)) else {
            return Ok(Moved::No);
        };
        let Some(running) = &mut door.running else { return Ok(Moved::Failed) };
        let receipts = running.receipts(origin);
        let stepped = self.runtime.block_on(door.step(async move { receipts.lock().await.step().await }))?;
        self.look(origin.number())?;
        self.look(country)?;
        Ok(match stepped {
            Stepped::Done(Ok(())) => Moved::No,
            Stepped::Done(Err(_)) | Stepped::Dead => Moved::Failed,
        })
    }

    /// A gateway asks all others for their key lists.
    pub(super) fn fetch_keys(&mut self, country: u16) -> Told<()> {
        let Some(door) = self.doors.get(&country) else { return Ok(()) };
        let Some(running) = &door.running else { return Ok(()) };
        let keys = Keys::new(running.node.clone(), running.peers.clone());
        self.runtime.block_on(door.step(async move { keys.step().await }))?;
        Ok(())
    }

    /// An adapter takes a page, and the ledger learns what it did with it.
    pub(super) fn receive(&mut self, authority: Authority) -> Told<Moved> {
        let Some(desk) = self.desks.get_mut(&authority) else { return Ok(Moved::No) };
        let (receiver, before) = (desk.receiver().clone(), desk.receiver().intake.cursor()?.at.position);
        let step = async { timeout(PATIENCE, receiver.step(&mut desk.acknowledged)).await };
        let received = self.runtime.block_on(step).context("an adapter's step did not end in time")?;
        desk.look_into_quarantine()?;
        let through = receiver.intake.cursor()?.at.position;
        let (country, desk) = (desk.country, &self.desks[&authority]);
        let inbox = self.ledger.inboxes.entry(authority).or_default();
        for position in before + 1..=through.max(before) {
            let is_gone = position <= inbox.purged;
            let key = inbox.entry(position).and_then(|entry| {
                let outbox = self.ledger.outboxes.get(&(entry.what.origin, country))?;
                Some(outbox.entry(entry.what.sequence)?.what.key)
            });
            let Some(key) = key else {
                let detail = format!("{authority} took position {position}, and nothing is there");
                return Err(Failure::new(Kind::Chain, detail));
            };
            let taken = if desk.holds(key) { Taken::Opened(desk.today()) } else { Taken::Closed };
            if let Some(entry) = inbox.entry_mut(position).filter(|_| !is_gone) {
                entry.what.taken = Some(taken);
            }
        }
        self.look(country)?;
        Ok(match received {
            Ok(()) if through > before => Moved::Yes,
            Ok(()) => Moved::No,
            Err(_) => Moved::Failed,
        })
    }
}
