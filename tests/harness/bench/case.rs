//! What is measured: how long a report is, how many go in a push, to how many countries, and over which store.

use std::fmt;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use proto::ids::Authority;
use proto::limits;
use serde::Serialize;

use super::tokens;
use crate::members::{CountryPlan, authority};

/// Where gateways keep what they have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// In a folder.
    Sled,
    /// In PostgreSQL: a database for each country, in one server on this machine.
    Postgres,
}

/// Countries that tokens may go to, all of them in use somewhere.
const COUNTRIES: [u16; 26] = [
    250, 36, 40, 56, 100, 191, 196, 203, 208, 233, 246, 276, 300, 348, 372, 380, 428, 440, 442, 470, 528,
    616, 620, 642, 703, 724,
];

/// One load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Case {
    /// Octets of an encoded report.
    pub report_bytes: usize,
    /// Reports of a push.
    pub push: usize,
    /// Countries that they go to.
    pub peers: usize,
    /// Where gateways keep them.
    pub store: Store,
}

impl Case {
    /// What the figures at the top are of.
    pub const HEADLINE: Self = Self { report_bytes: 200, push: 1_000, peers: 1, store: Store::Sled };

    /// Every case of the whole run; the headline first.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut cases = vec![Self::HEADLINE];
        cases.extend([60, 500].map(|report_bytes| Self { report_bytes, ..Self::HEADLINE }));
        cases.extend([10, 100, 5_000].map(|push| Self { push, ..Self::HEADLINE }));
        cases.extend([5, 26].map(|peers| Self { peers, ..Self::HEADLINE }));
        cases.push(Self { store: Store::Postgres, ..Self::HEADLINE });
        cases
    }

    /// An error if it cannot be: reports too short to be told apart or too long, pushes or peers out of bounds.
    pub fn check(&self) -> Result<()> {
        let Self { report_bytes, push, peers, .. } = *self;
        let (least, most) = (*tokens::BYTES.start(), *tokens::BYTES.end());
        ensure!(
            tokens::BYTES.contains(&report_bytes),
            "a report has {least} to {most} octets, not {report_bytes}"
        );
        let most = limits::ENVELOPES_PER_PUSH;
        ensure!((1..=most).contains(&push), "a push has 1 to {most} reports, not {push}");
        ensure!(
            (1..=COUNTRIES.len()).contains(&peers),
            "there are 1 to {} peers, not {peers}",
            COUNTRIES.len()
        );
        Ok(())
    }

    /// Who pushes.
    #[must_use]
    pub fn origin() -> Authority {
        authority("826/0")
    }

    /// Where tokens go.
    #[must_use]
    pub fn destinations(&self) -> Vec<Authority> {
        COUNTRIES[..self.peers].iter().map(|code| authority(&format!("{code}/0"))).collect()
    }

    /// The countries to be set up, the origin first.
    pub(super) fn plans(&self) -> Vec<CountryPlan> {
        let codes = std::iter::once(826).chain(COUNTRIES[..self.peers].iter().copied());
        let plans = codes.map(|code| match self.store {
            Store::Sled => plan(code),
            Store::Postgres => plan(code).postgres(1),
        });
        plans.collect()
    }

    /// So many countries more, which have nothing to do with it.
    pub(super) fn others(number: usize) -> Vec<CountryPlan> {
        let codes = (1..=999).filter(|code| *code != 826 && !COUNTRIES.contains(code));
        codes.take(number).map(plan).collect()
    }

    /// Pushes that are under way at the same time: as many as a gateway works on, and more where they are small.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        if self.push >= 1_000 { 8 } else { 64 }
    }

    /// Octets of reports in so many tokens.
    pub(super) fn octets(&self, tokens: u64) -> f64 {
        self.report_bytes as f64 * tokens as f64
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { report_bytes, push, peers, store } = self;
        let store = match store {
            Store::Sled => "sled",
            Store::Postgres => "postgres",
        };
        let peers = if *peers == 1 { "1 peer".into() } else { format!("{peers} peers") };
        write!(f, "{report_bytes} bytes, {push} a push, {peers}, {store}")
    }
}

fn plan(code: u16) -> CountryPlan {
    let (name, authority) = (format!("Country {code}"), format!("{code}/0"));
    CountryPlan::new(code, &name, &[(&authority, &name)])
}

/// The country of an authority, as it is written in `826/0`.
pub(super) fn country(authority: Authority) -> Result<proto::ids::CountryCode> {
    match authority {
        Authority::State(country, _) => Ok(country),
        Authority::Opaque(_) => None.context("an opaque authority names no country"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_can_be_and_is_there_once() {
        let cases = Case::all();
        for (place, case) in cases.iter().enumerate() {
            case.check().unwrap();
            assert_eq!(case.destinations().len(), case.peers);
            assert!(!cases[..place].contains(case), "{case}");
        }
        assert_eq!(cases[0], Case::HEADLINE);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let headline = Case::HEADLINE;
        for report_bytes in [0, tokens::BYTES.start() - 1, tokens::BYTES.end() + 1] {
            assert!(Case { report_bytes, ..headline }.check().is_err(), "{report_bytes}");
        }
        assert!([0, 5_001].iter().all(|push| Case { push: *push, ..headline }.check().is_err()));
        assert!([0, 27].iter().all(|peers| Case { peers: *peers, ..headline }.check().is_err()));
    }
}
