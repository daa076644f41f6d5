//! The end of a run: every trouble is over, and everything that can still arrive does.

use super::failure::{Failure, Kind, Told};
use super::line::Line;
use super::traffic::Moved;
use super::world::World;

/// Attempts after which something that nothing stands in the way of must have come to its end.
const ATTEMPTS: usize = 8;
/// Rounds after which nothing may be on its way any more: each brings a page from everybody to everybody.
const ROUNDS: usize = 400;

impl World {
    /// Mends everything, has every push answered, and lets all that is on its way arrive.
    pub(super) fn settle(&mut self) -> Told<()> {
        self.mend()?;
        self.answer_all()?;
        self.arrive()
    }

    fn mend(&mut self) -> Told<()> {
        let lines: Vec<Line> = self.links.keys().copied().collect();
        lines.into_iter().try_for_each(|line| self.trouble(line, None).map(drop))?;
        self.align();
        let codes = self.codes();
        codes.iter().try_for_each(|code| self.suspend(*code, false).map(drop))?;
        for code in &codes {
            self.with_room(*code, false)?;
            self.load_trust(*code)?;
            self.begin(*code)?;
            // A fuse that is still armed would go off at any time.
            self.stop(*code)?;
            self.begin(*code)?;
        }
        let authorities: Vec<_> = self.desks.keys().copied().collect();
        for authority in authorities {
            self.until(&format!("{authority} publishes its keys"), |world| {
                world.reopen(authority)?;
                let desk = &world.desks[&authority];
                Ok(desk.published == desk.lists.len())
            })?;
        }
        for code in codes {
            self.until(&format!("gateway {code} knows all keys"), |world| {
                world.fetch_keys(code)?;
                Ok(world.knows_all_keys(code))
            })?;
        }
        Ok(())
    }

    fn knows_all_keys(&self, code: u16) -> bool {
        let Some(running) = &self.doors[&code].running else { return false };
        let is_newest = |desk: &super::desk::Desk| {
            running.node.key_lists.signed(desk.authority).as_ref() == desk.lists.last()
        };
        self.desks.values().all(is_newest)
    }

    fn answer_all(&mut self) -> Told<()> {
        for push in 0..self.ledger.pushes.len() {
            if self.ledger.pushes[push].reply.is_none() {
                self.until(&format!("push {push} is answered"), |world| {
                    world.send(&[push])?;
                    Ok(world.ledger.pushes[push].reply.is_some())
                })?;
            }
        }
        Ok(())
    }

    /// Rounds of pulls, deliveries and receipts until one in which nothing moved and nothing failed.
    fn arrive(&mut self) -> Told<()> {
        let codes = self.codes();
        let authorities: Vec<_> = self.desks.keys().copied().collect();
        for _ in 0..ROUNDS {
            let mut moved = Vec::new();
            for country in &codes {
                for origin in &codes {
                    moved.push(self.pull(*country, *origin)?);
                }
            }
            for authority in &authorities {
                moved.push(self.receive(*authority)?);
            }
            for country in &codes {
                for origin in &codes {
                    moved.push(self.send_receipts(*country, *origin)?);
                }
            }
            if moved.iter().all(|moved| *moved == Moved::No) {
                return Ok(());
            }
        }
        Err(Failure::new(Kind::Stuck, format!("after {ROUNDS} rounds something is still on its way")))
    }

    fn until(&mut self, what: &str, mut attempt: impl FnMut(&mut Self) -> Told<bool>) -> Told<()> {
        for _ in 0..ATTEMPTS {
            if attempt(self)? {
                return Ok(());
            }
        }
        Err(Failure::new(Kind::Stuck, format!("{what}: not within {ATTEMPTS} attempts")))
    }
}
