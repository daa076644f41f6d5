//! Phones: they meet over the radio, keep what they detected, report it when their owner is ill, and look for
//! themselves in what their authority publishes.
//!
//! A phone's clock is an argument: every call that depends on the time takes it. What a phone holds can be saved and
//! loaded, as over a restart.

mod air;
mod asking;
mod case;
mod diary;
mod https;
mod keys;
mod log;
mod near;
mod polling;
mod radio;
mod recognise;
mod rhythm;
mod saved;
mod secured;
mod showing;
mod simple;
mod status;
#[cfg(test)]
pub(crate) mod testing;
mod warnings;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context, Result, bail};
use proto::day::Day;
use proto::ids::Authority;
use zeroize::Zeroizing;

use asking::Asking;
use polling::Place;
use showing::Showing;

pub use air::{Air, Stay};
pub use asking::CodeWanted;
pub use case::Case;
pub use diary::{Diary, Visit};
pub use https::{Answer, Home};
pub use log::{Detected, Log, Told};
pub use near::Near;
pub use polling::Found;
pub use radio::{hear, meet, visit};
pub use rhythm::Rhythm;
pub use secured::{GivenAway, Mismatch, Recognised, Secured, seal_service_token};
pub use showing::Shown;
pub use simple::Simple;
pub use warnings::Warnings;

/// Seconds between two polls: `herald.md` D18 allows an hour.
const POLL: u64 = 3_600;

/// A phone with its owner's app.
pub struct Phone {
    name: String,
    home: Home,
    /// The key of its names towards its own authority, which go along with uploads.
    client: Zeroizing<[u8; 32]>,
    speaks: Speaks,
    rhythm: Rhythm,
    log: Log,
    diary: Diary,
    warnings: Warnings,
    /// What was counted already, other than tokens of Secured.
    counted: BTreeSet<String>,
    /// How far it has read each list.
    places: BTreeMap<String, Place>,
    showing: Showing,
    /// When it asks for the lists next.
    due: Option<u64>,
    /// Whether its owner was told by the national system, and whether the phone has asked for a case code since.
    asking: Asking,
}

/// Which of Herald's payloads a phone speaks.
pub enum Speaks {
    /// 0x20: an exchange between two phones.
    Secured(Box<Secured>),
    /// 0x10: adverts.
    Simple(Box<Simple>),
}

impl Phone {
    /// A phone on Secured, with the area where it is at home, four letters, and its model.
    pub fn secured(name: &str, home: Home, area: [u8; 4], model: [u8; 8]) -> Result<Self> {
        Self::new(name, home, Speaks::Secured(Box::new(Secured::new(area, model)?)))
    }

    /// A phone on Simple that is switched on at a Unix time.
    pub fn simple(name: &str, home: Home, now: u64) -> Result<Self> {
        Self::new(name, home, Speaks::Simple(Box::new(Simple::new(Day::of_unix(now))?)))
    }

    fn new(name: &str, home: Home, speaks: Speaks) -> Result<Self> {
        let mut client = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *client).context("the system has no random numbers")?;
        Ok(Self {
            name: name.into(),
            home,
            client,
            speaks,
            rhythm: Rhythm::new(POLL)?,
            log: Log::default(),
            diary: Diary::default(),
            warnings: Warnings::default(),
            counted: BTreeSet::new(),
            places: BTreeMap::new(),
            showing: Showing::default(),
            due: None,
            asking: Asking::default(),
        })
    }

    /// Its owner's name, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its way to its authority.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Its authority.
    #[must_use]
    pub fn authority(&self) -> Authority {
        self.home.authority()
    }

    /// When it asks for the lists next, behind a Unix time, whatever has happened meanwhile.
    pub fn next_poll(&self, after: u64) -> Result<u64> {
        self.rhythm.next(after)
    }

    /// When it asks next, once it was awake.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        self.due
    }

    /// What it has detected.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Where its owner was.
    #[must_use]
    pub fn diary(&self) -> &Diary {
        &self.diary
    }

    /// What it has counted.
    #[must_use]
    pub fn warnings(&self) -> &Warnings {
        &self.warnings
    }

    /// Its part in Secured, if it speaks that.
    pub fn in_secured(&self) -> Result<&Secured> {
        match &self.speaks {
            Speaks::Secured(secured) => Ok(secured),
            Speaks::Simple(_) => bail!("the phone of {} is not on Secured", self.name),
        }
    }

    /// See [`Phone::in_secured`].
    pub fn in_secured_mut(&mut self) -> Result<&mut Secured> {
        match &mut self.speaks {
            Speaks::Secured(secured) => Ok(secured),
            Speaks::Simple(_) => bail!("the phone of {} is not on Secured", self.name),
        }
    }

    /// Its part in Simple, if it speaks that.
    pub fn in_simple(&self) -> Result<&Simple> {
        match &self.speaks {
            Speaks::Simple(simple) => Ok(simple),
            Speaks::Secured(_) => bail!("the phone of {} is not on Simple", self.name),
        }
    }

    /// A phone of the same kind that has met nobody and read nothing.
    pub fn like_new(&self, home: Home) -> Result<Self> {
        match &self.speaks {
            Speaks::Secured(own) => Self::secured(&self.name, home, *own.area.octets(), *own.model.octets()),
            Speaks::Simple(own) => Self::simple(&self.name, home, own.chains().0.epoch().unix()),
        }
    }

    /// What a phone does once a day: it forgets what is too old to be of use, and takes another name or begins the next
    /// chain of keys when the time has come.
    pub fn forget(&mut self, today: Day) -> Result<()> {
        self.log.forget(today);
        self.diary.forget(today);
        match &mut self.speaks {
            Speaks::Secured(secured) => {
                secured.forget(today);
                secured.renew(today);
            }
            Speaks::Simple(simple) => simple.renew(today)?,
        }
        Ok(())
    }
}

impl fmt::Display for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.authority())
    }
}

/// Octets of an exact number, out of hex.
fn from_hex<const N: usize>(text: &str) -> Result<[u8; N]> {
    let octets = hex::decode(text).context("a saved phone holds hex")?;
    octets.try_into().ok().with_context(|| format!("a saved phone holds {N} octets there"))
}
