//! What no party of a federation does by itself, and no plan draws: it shows that the oracle notices.

use std::sync::Arc;

use anyhow::Context;
use gateway::names;
use gateway::store::{Append, Change, Numbered};
use pki::{dial, tls};
use proto::batch::{Receipt, Stage};
use proto::ids::{Authority, CountryCode, Sequence};
use proto::verdict::Verdict;
use proto::wire;
use proto::wire::exchange_client::ExchangeClient;

use super::failure::Told;
use super::world::{Effect, World};

impl World {
    /// The store forgets what comes from now on, once it is killed.
    pub(super) fn forget(&mut self, country: u16) -> Told<Effect> {
        let Some(running) = self.doors.get(&country).and_then(|door| door.running.as_ref()) else {
            return Ok(Effect::None);
        };
        self.runtime.block_on(running.fuse.take_image())?;
        Ok(Effect::Some)
    }

    /// A false receipt with a true signature.
    pub(super) fn boast(&mut self, country: u16, origin: u16) -> Told<Effect> {
        let last =
            self.ledger.outboxes.get(&(origin, country)).and_then(|outbox| {
                Some((Sequence::new(outbox.last()).ok()?, outbox.entries.last()?.what.hash))
            });
        let running = self.doors.get(&origin).and_then(|door| door.running.as_ref());
        let (Some((through, manifest_hash)), Some(running)) = (last, running) else {
            return Ok(Effect::None);
        };
        let (origin_code, destination) = (CountryCode::new(origin)?, CountryCode::new(country)?);
        let stage = Stage::Delivered;
        let receipt = Receipt { origin: origin_code, destination, through, manifest_hash, stage }.octets();
        let key = &self.charter.country(country).signing;
        let request = wire::AcknowledgeRequest {
            signature: key.sign(Receipt::DOMAIN, &receipt).to_vec().into(),
            signing_key: key.public().id().octets().to_vec().into(),
            receipt: receipt.into(),
        };
        let trust = self.charter.read_list(&self.first_list())?;
        let callee = trust.country(origin_code).context("it is in every list")?;
        let tls = tls::client_config(&self.charter.country(country).gateway, callee)?;
        let endpoint = format!("https://{}", running.to_peers);
        self.runtime.block_on(async {
            let mut client = ExchangeClient::new(dial::channel(&endpoint, tls.into())?);
            client.acknowledge(request).await.map_err(anyhow::Error::from)
        })?;
        self.look(origin)?;
        Ok(Effect::Some)
    }

    /// The last batch of a gateway's first outbox stands there once more, under the next number.
    pub(super) fn break_chain(&mut self, country: u16) -> Told<Effect> {
        let Some(running) = self.doors.get(&country).and_then(|door| door.running.as_ref()) else {
            return Ok(Effect::None);
        };
        let (store, at) = (running.store().clone(), self.now(country));
        let broken = self.runtime.block_on(async {
            let outbox = |stream: &_| names::outbox_country(*stream).is_some();
            let Some(stream) = store.streams().await?.into_iter().find(outbox) else {
                return Ok(Effect::None);
            };
            let last = store.latest(stream).await?.last;
            let Some(entry) = store.find(stream, last).await? else { return Ok(Effect::None) };
            let (head, link, body) = (entry.head, entry.link, entry.body);
            let number = Arc::new(move |_| Numbered { head: head.clone(), link });
            let appends = vec![Append { stream, number, body }];
            store.commit(Change { at, appends, ..Change::default() }).await?;
            Ok::<_, anyhow::Error>(Effect::Some)
        })?;
        self.look(country)?;
        Ok(broken)
    }

    /// A gateway's store says that it has purged, and keeps everything.
    pub(super) fn hoard(&mut self, country: u16) -> Effect {
        let running = self.doors.get(&country).and_then(|door| door.running.as_ref());
        running.map_or(Effect::None, |running| {
            running.fuse.hoard();
            Effect::Some
        })
    }

    /// The next answer that an authority gets to a push has another first verdict than its gateway gave.
    pub(super) fn misjudge(&mut self, authority: Authority) -> Effect {
        self.misjudged = Some(authority);
        Effect::Some
    }

    /// What an adapter reads, if somebody alters it.
    pub(super) fn read(&mut self, pusher: Authority, reply: wire::PushReply) -> wire::PushReply {
        let mut verdicts = reply.verdicts.to_vec();
        let Some(verdict) = verdicts.first_mut().filter(|_| self.misjudged == Some(pusher)) else {
            return reply;
        };
        self.misjudged = None;
        let is_accepted = *verdict == Verdict::Accepted.number();
        *verdict = if is_accepted { Verdict::TooOld } else { Verdict::Accepted }.number();
        wire::PushReply { verdicts: verdicts.into(), ..reply }
    }
}
