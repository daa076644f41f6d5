//! Whether what gateways and adapters do by themselves did anything, or met a trouble of their line.

use gateway::names;
use pki::keylist::SignedKeyList;
use proto::batch::Stage;
use proto::ids::{Authority, CountryCode};

use super::failure::Told;
use super::line::Line;
use super::traffic::Moved;
use super::world::{Effect, World};

impl World {
    /// A pull, as an operation of a plan.
    pub(super) fn pull_shows(&mut self, country: u16, origin: u16) -> Told<Effect> {
        let met = self.meets(Line::Peers { from: country, to: origin }, country);
        let moved = self.pull(country, origin)?;
        Ok((moved == Moved::Yes || moved == Moved::Failed && met).into())
    }

    /// A look into an inbox, as an operation of a plan.
    pub(super) fn receive_shows(&mut self, authority: Authority) -> Told<Effect> {
        let country = self.desks.get(&authority).map_or(0, |desk| desk.country);
        let met = self.meets(Line::National(authority), country);
        let moved = self.receive(authority)?;
        Ok((moved == Moved::Yes || moved == Moved::Failed && met).into())
    }

    /// Receipts, as an operation of a plan.
    pub(super) fn receipts_show(&mut self, country: u16, origin: u16) -> Told<Effect> {
        let met = self.meets(Line::Peers { from: country, to: origin }, country);
        let before = self.acknowledged(origin, country)?;
        let moved = self.send_receipts(country, origin)?;
        Ok((self.acknowledged(origin, country)? != before || moved == Moved::Failed && met).into())
    }

    /// A round of key lists, as an operation of a plan.
    pub(super) fn keys_show(&mut self, country: u16) -> Told<Effect> {
        let before = self.known_lists(country);
        self.fetch_keys(country)?;
        Ok((self.known_lists(country) != before).into())
    }

    /// A purge, as an operation of a plan.
    pub(super) fn purge_shows(&mut self, country: u16) -> Told<Effect> {
        let before = self.purged();
        self.purge(country)?;
        Ok((self.purged() != before).into())
    }

    /// Whether a gateway runs, and something is wrong with a line.
    fn meets(&self, line: Line, country: u16) -> bool {
        let runs = self.doors.get(&country).is_some_and(|door| door.running.is_some());
        runs && self.links.get(&line).is_some_and(|link| link.fault().is_some())
    }

    /// Up to where an origin was told that a country has its batches, in both stages.
    fn acknowledged(&self, origin: u16, by: u16) -> Told<[u64; 2]> {
        let running = self.doors.get(&origin).and_then(|door| door.running.as_ref());
        let (Some(running), Ok(by)) = (running, CountryCode::new(by)) else { return Ok([0; 2]) };
        let mut through = [0; 2];
        for (through, stage) in through.iter_mut().zip([Stage::Stored, Stage::Delivered]) {
            let cursor = running.store().cursor(names::acknowledged(by, stage));
            *through = self.runtime.block_on(cursor)?.through;
        }
        Ok(through)
    }

    /// Which list of each authority a gateway has.
    fn known_lists(&self, country: u16) -> Vec<Option<SignedKeyList>> {
        let running = self.doors.get(&country).and_then(|door| door.running.as_ref());
        let lists = running
            .into_iter()
            .flat_map(|running| self.desks.keys().map(|authority| running.node.key_lists.signed(*authority)));
        lists.collect()
    }

    /// How many entries were purged so far.
    fn purged(&self) -> u64 {
        let outboxes = self.ledger.outboxes.values().map(|outbox| outbox.purged);
        outboxes.chain(self.ledger.inboxes.values().map(|inbox| inbox.purged)).sum()
    }
}
