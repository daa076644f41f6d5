//! Opening the embedded store at start: its index is made anew if that loses nothing, and a store that has gone back
//! is refused, because it would use numbers again that peers know.

use std::path::Path;

use proto::day::Day;
use tracing::warn;

use crate::clock::Clock;
use crate::config::Config;
use crate::names;
use crate::prepare::StartError;
use crate::store::Store;
use crate::store::sled::{SledOptions, SledStore};
use crate::witness;

/// How the configuration wants the store.
#[must_use]
pub fn options(config: &Config) -> SledOptions {
    SledOptions { free_floor_bytes: config.limits.free_disk_bytes, ..SledOptions::default() }
}

/// A moment in the name of a folder: `2026-03-01T120000Z`.
#[must_use]
pub fn stamp(clock: &Clock) -> String {
    let seconds = clock.now() % 86_400;
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    format!("{}T{hours:02}{minutes:02}{:02}Z", Day::of_unix(clock.now()), seconds % 60)
}

/// Opens the store in a folder.
pub fn open(folder: &Path, config: &Config, clock: &Clock) -> Result<SledStore, StartError> {
    let path = folder.display().to_string();
    let opened = SledStore::open_or_rebuild(folder, options(config), &stamp(clock));
    let (store, rebuilt) = opened.map_err(|cause| StartError::Store { path, cause })?;
    if let Some(rebuilt) = rebuilt {
        warn!(aside = %rebuilt.aside.display(), found = %rebuilt.survey, "the index of the store was made anew from its segments; nothing is lost, and the old one is set aside");
    }
    for (country, proven) in witness::read(&config.state)? {
        let last = store.tail(names::outbox(country)).borrow().last;
        if proven > last {
            return Err(StartError::WentBack { country, last, proven });
        }
    }
    Ok(store)
}
