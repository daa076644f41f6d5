//! The operations that come in between: kills, cut lines, full disks, new keys and lists, and what is purged.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway::retention::Retention;
use proto::day::Day;
use proto::ids::{Authority, CountryCode};

use super::door::Stepped;
use super::failure::{Failure, Kind, Told};
use super::liar::Liar;
use super::line::{Fault, Line};
use super::operations::Moment;
use super::world::{Effect, World};

impl World {
    /// A gateway starts if it does not run. Only who is suspended in the list that lies there is not let to.
    pub(super) fn start_again(&mut self, country: u16) -> Told<Effect> {
        let runs = |world: &Self| world.doors.get(&country).is_some_and(|door| door.running.is_some());
        let before = runs(self);
        self.begin(country)?;
        Ok((!before && runs(self)).into())
    }

    /// The same; what comes of it is no matter.
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
    pub(super) fn stop(&mut self, country: u16) -> Told<Effect> {
        let Some(door) = self.doors.get_mut(&country) else { return Ok(Effect::None) };
        let runs = door.running.is_some();
        door.stop()?;
        self.lead(country);
        Ok(runs.into())
    }

    /// A gateway is killed, now or at a later commit: [`World::bury`] counts it.
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

    /// A gateway's disk is full from now on, or has room again. A database is not on a disk of the simulation's.
    pub(super) fn with_room(&mut self, country: u16, is_full: bool) -> Told<Effect> {
        let Some(door) = self.doors.get_mut(&country) else { return Ok(Effect::None) };
        if !door.has_disk() || door.is_full == is_full {
            return Ok(Effect::None);
        }
        door.is_full = is_full;
        // One that runs meets it as it runs, if the disk is its own already; otherwise it gets one when it starts.
        if door.fill_or_clear()? || door.running.is_none() {
            return Ok(Effect::Some);
        }
        self.stop(country)?;
        self.begin(country)?;
        Ok(Effect::Some)
    }

    /// Something is wrong with a line from now on, or nothing is.
    pub(super) fn trouble(&mut self, line: Line, fault: Option<Fault>) -> Told<Effect> {
        let Some(link) = self.links.get(&line) else { return Ok(Effect::None) };
        if link.fault() == fault {
            return Ok(Effect::None);
        }
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
        Ok(Effect::Some)
    }

    /// One look at what is to be purged.
    pub(super) fn purge(&mut self, country: u16) -> Told<()> {
        let Some(door) = self.doors.get(&country) else { return Ok(()) };
        let Some(running) = &door.running else { return Ok(()) };
        let retention = Retention::new(running.node.clone(), None, Arc::default());
        let instant = Instant::now();
        // Days pass at once here, which a gateway believes after one more.
        let looks = async move {
            retention.step(instant).await?;
            retention.step(instant + Duration::from_secs(Day::SECONDS)).await
        };
        let stepped = self.runtime.block_on(door.step(looks))?;
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
    pub(super) fn rotate(&mut self, authority: Authority) -> Told<Effect> {
        let Some(country) = self.desks.get(&authority).map(|desk| desk.country) else {
            return Ok(Effect::None);
        };
        let now = self.now(country);
        if let Some(desk) = self.desks.get_mut(&authority) {
            desk.rotate(now)?;
        }
        self.publish(authority)?;
        Ok(Effect::Some)
    }

    /// An authority destroys what it may.
    pub(super) fn retire(&mut self, authority: Authority) -> Told<Effect> {
        let Some(country) = self.desks.get(&authority).map(|desk| desk.country) else {
            return Ok(Effect::None);
        };
        let now = self.now(country);
        let destroyed = self.desks.get_mut(&authority).map_or(Ok(0), |desk| desk.retire(now))?;
        Ok((destroyed > 0).into())
    }

    /// An adapter ends and starts again; it publishes its keys then.
    pub(super) fn reopen(&mut self, authority: Authority) -> Told<Effect> {
        let Some(desk) = self.desks.get_mut(&authority) else { return Ok(Effect::None) };
        desk.reopen()?;
        self.publish(authority)?;
        Ok(Effect::Some)
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
    pub(super) fn suspend(&mut self, country: u16, is_out: bool) -> Told<Effect> {
        if !self.doors.contains_key(&country) || self.is_suspended(country) == is_out {
            return Ok(Effect::None);
        }
        let mut suspended: BTreeSet<u16> = self.editions.last().cloned().unwrap_or_default();
        if is_out {
            suspended.insert(country);
        } else {
            suspended.remove(&country);
        }
        self.editions.push(suspended);
        self.write_lists()?;
        Ok(Effect::Some)
    }

    /// A country's gateway and adapters notice the newest edition.
    pub(super) fn load_trust(&mut self, country: u16) -> Told<Effect> {
        let Some(door) = self.doors.get_mut(&country) else { return Ok(Effect::None) };
        let mut effect = Effect::None;
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
            effect = Effect::Some;
        }
        let _inside = self.runtime.enter();
        for desk in self.desks.values_mut().filter(|desk| desk.country == country) {
            if desk.reload(now)? {
                effect = Effect::Some;
            }
        }
        Ok(effect)
    }
}
