//! The operations that come in between: kills, cut lines, full disks, new keys and lists, and what is purged.

use std::collections::BTreeSet;

use anyhow::Context;
use gateway::retention;
use pki::{dial, tls};
use proto::batch::{Receipt, Stage};
use proto::ids::{Authority, CountryCode, Sequence};
use proto::wire;
use proto::wire::exchange_client::ExchangeClient;

use super::door::Stepped;
use super::failure::{Failure, Kind, Told};
use super::liar::Liar;
use super::line::{Fault, Line};
use super::operations::Moment;
use super::world::World;

impl World {
    /// A gateway starts if it does not run. Only who is suspended in the list that lies there is not let to.
    pub(super) fn begin(&mut self, country: u16) -> Told<()> {
        let loopback = self.links.get(&Line::Peers { from: country, to: country }).map(|link| link.port());
        let (Some(loopback), Some(door)) = (loopback, self.doors.get_mut(&country)) else { return Ok(()) };
        if door.running.is_some() {
            return Ok(());
        }
        let started = door.start(self.runtime.handle(), loopback)?;
        if let Err(cause) = started {
            if self.is_suspended(country) {
                return Ok(());
            }
            return Err(Failure::new(Kind::Broke, format!("gateway {country} does not start: {cause}")));
        }
        self.loaded.insert(country, self.editions.len());
        self.lead(country);
        self.look(country)?;
        // As a gateway does first of all.
        self.purge(country)
    }

    /// A gateway stops gracefully.
    pub(super) fn stop(&mut self, country: u16) -> Told<()> {
        let Some(door) = self.doors.get_mut(&country) else { return Ok(()) };
        door.stop()?;
        self.lead(country);
        Ok(())
    }

    /// A gateway is killed, now or at a later commit.
    pub(super) fn kill(&mut self, country: u16, moment: Moment) -> Told<()> {
        let Some(running) = self.doors.get(&country).and_then(|door| door.running.as_ref()) else {
            return Ok(());
        };
        match moment {
            Moment::Now => self.runtime.block_on(running.fuse.blow()),
            later => running.fuse.arm(later),
        }
        self.bury()
    }

    /// The store forgets what comes from now on, once it is killed.
    pub(super) fn forget(&mut self, country: u16) -> Told<()> {
        let Some(running) = self.doors.get(&country).and_then(|door| door.running.as_ref()) else {
            return Ok(());
        };
        Ok(self.runtime.block_on(running.fuse.take_image())?)
    }

    /// A false receipt with a true signature.
    pub(super) fn boast(&mut self, country: u16, origin: u16) -> Told<()> {
        let last =
            self.ledger.outboxes.get(&(origin, country)).and_then(|outbox| {
                Some((Sequence::new(outbox.last()).ok()?, outbox.entries.last()?.what.hash))
            });
        let running = self.doors.get(&origin).and_then(|door| door.running.as_ref());
        let (Some((through, manifest_hash)), Some(running)) = (last, running) else { return Ok(()) };
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
        self.look(origin)
    }

    /// A gateway's disk has room, or none; it is seen when it starts.
    pub(super) fn with_room(&mut self, country: u16, is_full: bool) -> Told<()> {
        let Some(door) = self.doors.get_mut(&country).filter(|door| door.is_full != is_full) else {
            return Ok(());
        };
        door.is_full = is_full;
        if door.running.is_none() {
            return Ok(());
        }
        self.stop(country)?;
        self.begin(country)
    }

    /// Something is wrong with a line from now on, or nothing is.
    pub(super) fn trouble(&mut self, line: Line, fault: Option<Fault>) -> Told<()> {
        let Some(link) = self.links.get(&line) else { return Ok(()) };
        let liar = match (line, fault) {
            (Line::Peers { from, to }, Some(Fault::Lie(lie))) => {
                let third = self.codes().into_iter().find(|code| *code != from && *code != to);
                let trust = self.charter.read_list(&self.first_list())?;
                let parties = [from, to, third.unwrap_or(from)];
                let old = self.desks.iter().filter(|(_, desk)| desk.country == to);
                let old = old.map(|(authority, desk)| (*authority, desk.lists[0].clone().into_wire()));
                Some(Liar::new(lie, &self.charter, parties, &trust)?.with_old(old.collect()))
            }
            _ => None,
        };
        link.set(fault, liar);
        Ok(())
    }

    /// One look at what is to be purged.
    pub(super) fn purge(&mut self, country: u16) -> Told<()> {
        let Some(door) = self.doors.get(&country) else { return Ok(()) };
        let Some(running) = &door.running else { return Ok(()) };
        let node = running.node.clone();
        let stepped = self.runtime.block_on(door.step(async move { retention::step(&node, None).await }))?;
        self.look(country)?;
        match stepped {
            Stepped::Done(Ok(())) => self.nothing_is_overdue(country),
            Stepped::Done(Err(cause)) => {
                Err(Failure::new(Kind::Retention, format!("gateway {country} cannot purge: {cause}")))
            }
            Stepped::Dead => Ok(()),
        }
    }

    /// An authority has another key.
    pub(super) fn rotate(&mut self, authority: Authority) -> Told<()> {
        let Some(country) = self.desks.get(&authority).map(|desk| desk.country) else { return Ok(()) };
        let now = self.now(country);
        if let Some(desk) = self.desks.get_mut(&authority) {
            desk.rotate(now)?;
        }
        self.publish(authority)
    }

    /// An authority destroys what it may.
    pub(super) fn retire(&mut self, authority: Authority) -> Told<()> {
        let Some(country) = self.desks.get(&authority).map(|desk| desk.country) else { return Ok(()) };
        let now = self.now(country);
        if let Some(desk) = self.desks.get_mut(&authority) {
            desk.retire(now)?;
        }
        Ok(())
    }

    /// An adapter ends and starts again; it publishes its keys then.
    pub(super) fn reopen(&mut self, authority: Authority) -> Told<()> {
        let Some(desk) = self.desks.get_mut(&authority) else { return Ok(()) };
        desk.reopen()?;
        self.publish(authority)
    }

    /// An authority's newest list goes to its gateway, if it gets there.
    pub(super) fn publish(&mut self, authority: Authority) -> Told<()> {
        let Some(desk) = self.desks.get_mut(&authority) else { return Ok(()) };
        let Some(list) = desk.lists.last().cloned() else { return Ok(()) };
        if self.runtime.block_on(desk.gateway.publish_keys(list.into_wire())).is_ok() {
            desk.published = desk.lists.len();
        }
        self.bury()
    }

    /// A new edition of the trust list, with a country out or in.
    pub(super) fn suspend(&mut self, country: u16, is_out: bool) -> Told<()> {
        if !self.doors.contains_key(&country) || self.is_suspended(country) == is_out {
            return Ok(());
        }
        let mut suspended: BTreeSet<u16> = self.editions.last().cloned().unwrap_or_default();
        if is_out {
            suspended.insert(country);
        } else {
            suspended.remove(&country);
        }
        self.editions.push(suspended);
        Ok(self.write_lists()?)
    }

    /// A country's gateway and adapters notice the newest edition.
    pub(super) fn load_trust(&mut self, country: u16) -> Told<()> {
        let Some(door) = self.doors.get_mut(&country) else { return Ok(()) };
        let now = door.clock.now();
        if let Some(running) = &mut door.running
            && let Some(list) = running.keeper.reload(now)?
        {
            self.runtime.block_on(running.node.key_lists.recheck(&list, now))?;
            let suspended = self.editions.last().cloned().unwrap_or_default();
            for code in suspended.into_iter().filter_map(|code| CountryCode::new(code).ok()) {
                running.peers.hang_up(code);
            }
            self.loaded.insert(country, self.editions.len());
        }
        let _inside = self.runtime.enter();
        for desk in self.desks.values_mut().filter(|desk| desk.country == country) {
            desk.reload(now)?;
        }
        Ok(())
    }
}
