//! Who met whom, without names, within this authority only; off unless a country turns it on (`herald.md` 7).
//!
//! `edges` keeps what opened tokens of this authority's own cases say, `graph` finds phones that many ill persons have met,
//! `advice` is signed off by a person and goes to the phones' list, and `lag` is the phone's. A report from abroad names
//! no case, so it adds nothing. Nothing here has a way to `publish`: edges are read from their own folder, and all that
//! leaves it is an entry of the advice list, which has a token that its phone gave and no UUID.

pub mod advice;
mod edges;
mod graph;
pub mod lag;
mod sign_offs;

#[cfg(test)]
mod tests;

use std::path::Path;

use pki::disk::DiskError;
use proto::day::Day;

use crate::durable::Disk;

pub use advice::{Advise, Desk, SignOff};
pub use edges::{Edges, edge_folder};
pub use graph::{Candidate, CandidateNumber, Overview};

/// Days for which contacts are kept and analysed.
pub const DAYS: u16 = 14;
/// Counts below this are never shown.
pub const LEAST: usize = 5;

/// Forgets cases that are over, and finishes a sign-off that a kill has interrupted.
pub fn sweep(state: &Path, now: u64) -> Result<(), DiskError> {
    let disk = Disk::default();
    advice::finish(state, &disk)?;
    edges::forget(state, &disk, Day::of_unix(now))
}
