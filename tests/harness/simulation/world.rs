//! A federation that does what a plan says: real gateways and adapters, lines that can be troubled, clocks that turn.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use proto::ids::Authority;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::audit::Auditor;
use super::charter::{Charter, Edition};
use super::desk::Desk;
use super::door::Door;
use super::draw;
use super::failure::Told;
use super::ledger::Ledger;
use super::letters::Tokens;
use super::line::Line;
use super::link::Link;
use super::operations::{COUNTRIES, Operation};
use super::stores::StoreKind;

/// The clocks of a run go forward by at most so many seconds: certificates and lists last longer.
const LONGEST: i64 = 120 * 86_400;

/// A federation, and the ledger of what happened in it.
pub(super) struct World {
    pub(super) charter: Arc<Charter>,
    pub(super) countries: usize,
    pub(super) doors: BTreeMap<u16, Door>,
    pub(super) desks: BTreeMap<Authority, Desk>,
    pub(super) links: BTreeMap<Line, Link>,
    pub(super) ledger: Ledger,
    /// Who is suspended in each edition of the trust list.
    pub(super) editions: Vec<BTreeSet<u16>>,
    /// Which edition each gateway has loaded, counted from 1.
    pub(super) loaded: BTreeMap<u16, usize>,
    /// The latest that each country's clock ever was.
    pub(super) latest: BTreeMap<u16, u64>,
    turned: i64,
    /// Whose next answer is altered before it is read.
    pub(super) misjudged: Option<Authority>,
    /// Gateways that were killed so far.
    pub(super) killed: usize,
    /// Pushes that were refused for want of space.
    pub(super) without_room: usize,
    pub(super) folder: TempDir,
    /// Last, so that it ends last.
    pub(super) runtime: Runtime,
}

/// Whether an operation did anything: one that makes no sense where it stands does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It changed something, or met what stood in its way.
    Some,
    /// All is as if it had not been.
    None,
}

impl From<bool> for Effect {
    fn from(is_some: bool) -> Self {
        if is_some { Self::Some } else { Self::None }
    }
}

impl World {
    /// Starts the first countries, each authority's key published and known to all.
    pub(super) fn start(charter: &Arc<Charter>, countries: usize, kind: StoreKind) -> Told<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let folder = tempfile::tempdir()?;
        let (codes, known) =
            (COUNTRIES[..countries].iter().map(|(code, _)| *code), draw::authorities(countries));
        let codes: Vec<u16> = codes.collect();
        let peers = codes.iter().flat_map(|from| codes.iter().map(|to| Line::Peers { from: *from, to: *to }));
        let lines = peers.chain(known.iter().map(|authority| Line::National(*authority)));
        let links = lines.map(|line| Ok((line, runtime.block_on(Link::open())?)));
        let door = |code: &u16| Ok((*code, Door::new(charter, *code, folder.path(), kind)?));
        let mut mark = [0; 8];
        getrandom::fill(&mut mark).map_err(|cause| anyhow::anyhow!("no random octets: {cause}"))?;
        let mut world = Self {
            charter: charter.clone(),
            countries,
            doors: codes.iter().map(door).collect::<Result<_>>()?,
            desks: BTreeMap::new(),
            links: links.collect::<Result<_>>()?,
            ledger: Ledger::new(Tokens::new(mark)),
            editions: vec![BTreeSet::new()],
            loaded: BTreeMap::new(),
            latest: codes.iter().map(|code| (*code, charter.begins())).collect(),
            turned: 0,
            misjudged: None,
            killed: 0,
            without_room: 0,
            folder,
            runtime,
        };
        world.write_lists()?;
        std::fs::copy(world.doors[&codes[0]].list(), world.first_list())?;
        codes.iter().try_for_each(|code| world.begin(*code))?;
        for authority in known {
            world.employ(authority)?;
            world.publish(authority)?;
        }
        codes.iter().try_for_each(|code| world.fetch_keys(*code))?;
        Ok(world)
    }

    /// Where everything lies: `CODE/life-N` and `CODE/log` of gateways, `CODE-STATE/delivered` of adapters.
    #[must_use]
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Does one operation, and looks at what it did.
    pub(super) fn apply(&mut self, operation: &Operation) -> Told<Effect> {
        let effect = match operation {
            Operation::Push(loads) => self.push(loads)?,
            Operation::Retry(push) => self.retry(*push)?,
            Operation::Alter(push) => self.alter(*push)?,
            Operation::Pull(country, origin) => self.pull_shows(*country, *origin)?,
            Operation::Receipts(country, origin) => self.receipts_show(*country, *origin)?,
            Operation::Keys(country) => self.keys_show(*country)?,
            Operation::Receive(authority) => self.receive_shows(*authority)?,
            Operation::Reopen(authority) => self.reopen(*authority)?,
            Operation::Turn(minutes) => self.turn(i64::from(*minutes) * 60),
            Operation::Back(country) => self.turn_one(*country, -3_600),
            Operation::Purge(country) => self.purge_shows(*country)?,
            Operation::Kill(country, moment) => {
                self.kill(*country, *moment)?;
                Effect::None
            }
            Operation::Stop(country) => self.stop(*country)?,
            Operation::Start(country) => self.start_again(*country)?,
            Operation::Forget(country) => self.forget(*country)?,
            Operation::Boast(country, origin) => self.boast(*country, *origin)?,
            Operation::Break(country) => self.break_chain(*country)?,
            Operation::Hoard(country) => self.hoard(*country),
            Operation::Misjudge(authority) => self.misjudge(*authority),
            Operation::Fill(country) => self.with_room(*country, true)?,
            Operation::Free(country) => self.with_room(*country, false)?,
            Operation::Fault(line, fault) => self.trouble(*line, Some(*fault))?,
            Operation::Heal(line) => self.trouble(*line, None)?,
            Operation::Rotate(authority) => self.rotate(*authority)?,
            Operation::Retire(authority) => self.retire(*authority)?,
            Operation::Suspend(country) => self.suspend(*country, true)?,
            Operation::Readmit(country) => self.suspend(*country, false)?,
            Operation::Trust(country) => self.load_trust(*country)?,
        };
        self.bury()?;
        Ok(effect)
    }

    /// Puts away who was killed.
    pub(super) fn bury(&mut self) -> Told<()> {
        for door in self.doors.values_mut() {
            if door.bury()? {
                self.killed += 1;
                lead(&self.links, door.country, None);
            }
        }
        Ok(())
    }

    /// Looks at what a gateway holds now, if it lives.
    pub(super) fn look(&mut self, country: u16) -> Told<()> {
        self.bury()?;
        let Some(door) = self.doors.get(&country) else { return Ok(()) };
        let Some(running) = &door.running else { return Ok(()) };
        let auditor = auditor(&self.charter, &self.desks, door, self.latest[&country]);
        self.runtime.block_on(auditor.look(running, &mut self.ledger))
    }

    /// Nothing may be there that retention should have purged just now.
    pub(super) fn nothing_is_overdue(&self, country: u16) -> Told<()> {
        let door = &self.doors[&country];
        auditor(&self.charter, &self.desks, door, self.latest[&country]).nothing_is_overdue(&self.ledger)
    }

    /// A new edition of the trust list, in front of everybody.
    pub(super) fn write_lists(&self) -> Result<()> {
        let suspended = self.editions.last().context("there is always an edition")?;
        for (code, door) in &self.doors {
            let port = |to: u16| self.links[&Line::Peers { from: *code, to }].port();
            let edition = Edition {
                version: u64::try_from(self.editions.len())?,
                countries: self.countries,
                is_suspended: &|country| suspended.contains(&country),
                port: &port,
            };
            self.charter.write_list(&edition, &door.list())?;
        }
        Ok(())
    }

    /// The first edition, in which everybody is active.
    pub(super) fn first_list(&self) -> PathBuf {
        self.folder().join("first.json")
    }

    /// An adapter begins to work.
    fn employ(&mut self, authority: Authority) -> Result<()> {
        let Authority::State(country, _) = authority else { return Ok(()) };
        let (country, line) = (country.number(), Line::National(authority));
        let place = (self.links[&line].port(), self.doors[&country].list());
        // The adapter's calls are made on our runtime.
        let _inside = self.runtime.enter();
        let desk = Desk::new(&self.charter, (authority, country), self.folder.path(), (place.0, &place.1))?;
        self.desks.insert(authority, desk);
        Ok(())
    }

    /// All clocks go on.
    pub(super) fn turn(&mut self, seconds: i64) -> Effect {
        if self.turned + seconds > LONGEST {
            return Effect::None;
        }
        self.turned += seconds;
        for code in self.codes() {
            self.turn_one(code, seconds);
        }
        Effect::Some
    }

    /// The clocks of one country.
    pub(super) fn turn_one(&mut self, country: u16, seconds: i64) -> Effect {
        let Some(door) = self.doors.get(&country) else { return Effect::None };
        door.clock.turn(seconds);
        self.desks.values().filter(|desk| desk.country == country).for_each(|desk| desk.turn(seconds));
        let latest = self.latest.entry(country).or_default();
        *latest = door.clock.now().max(*latest);
        Effect::Some
    }

    /// All clocks show the same again: the latest that one ever showed, as nobody takes what seems to come from the future.
    pub(super) fn align(&mut self) {
        let latest = self.latest.values().copied().max().unwrap_or_default();
        for code in self.codes() {
            let behind = latest.saturating_sub(self.now(code));
            self.turn_one(code, i64::try_from(behind).unwrap_or_default());
        }
    }

    /// A country's time.
    pub(super) fn now(&self, country: u16) -> u64 {
        self.doors[&country].clock.now()
    }

    /// The countries' numbers.
    pub(super) fn codes(&self) -> Vec<u16> {
        self.doors.keys().copied().collect()
    }

    /// Whether a country is suspended in the newest edition.
    pub(super) fn is_suspended(&self, country: u16) -> bool {
        self.editions.last().is_some_and(|suspended| suspended.contains(&country))
    }

    /// Where calls to a gateway go from now on.
    pub(super) fn lead(&self, country: u16) {
        let door = &self.doors[&country];
        let to = door.running.as_ref().map(|running| (running.to_peers, running.to_adapters));
        lead(&self.links, country, to);
    }
}

fn auditor<'a>(
    charter: &'a Charter,
    desks: &'a BTreeMap<Authority, Desk>,
    door: &Door,
    latest: u64,
) -> Auditor<'a> {
    Auditor { charter, desks, country: door.country, now: door.clock.now(), latest }
}

type Addresses = (std::net::SocketAddr, std::net::SocketAddr);

fn lead(links: &BTreeMap<Line, Link>, country: u16, to: Option<Addresses>) {
    for (line, link) in links {
        match line {
            Line::Peers { to: callee, .. } if *callee == country => link.leads_to(to.map(|to| to.0)),
            Line::National(Authority::State(of, _)) if of.number() == country => {
                link.leads_to(to.map(|to| to.1));
            }
            _ => {}
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Nothing of it is needed any more.
        self.doors.values_mut().for_each(Door::abandon);
    }
}
