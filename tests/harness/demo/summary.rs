//! What a demo found, for machines: one JSON object.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use proto::ids::{Authority, CountryCode};
use serde::Serialize;

use super::account::Account;
use super::latency::Percentiles;
use super::ledger::{Ledger, Sent};
use crate::federation::Federation;

/// Everything that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Nothing was lost, doubled, misdelivered, altered, leaked or answered wrongly.
    pub ok: bool,
    /// Reports that were handed to adapters and gateways.
    pub sent: usize,
    /// Reports that were accepted.
    pub accepted: usize,
    /// Reports in all delivered folders.
    pub delivered: usize,
    /// Accepted reports that arrived nowhere.
    pub lost: usize,
    /// Copies beyond the first.
    pub duplicated: usize,
    /// Reports where they do not belong.
    pub misdelivered: usize,
    /// Reports that arrived otherwise than they were sent.
    pub altered: usize,
    /// Tokens or forbidden texts in files, logs or metrics that must not hold them.
    pub leaked: usize,
    /// Reports that were answered otherwise than they should.
    pub wrong_verdicts: usize,
    /// Single tokens whose delivery was timed.
    pub delivery_samples: usize,
    /// From the gateway's answer to the delivered file, milliseconds.
    pub delivery_p50_ms: f64,
    /// Likewise.
    pub delivery_p95_ms: f64,
    /// Likewise.
    pub delivery_p99_ms: f64,
    /// The largest of the gateways.
    pub gateway_peak_rss_bytes: u64,
    /// All of it together.
    pub seconds: f64,
    /// Reports by verdict.
    pub verdicts: BTreeMap<String, usize>,
    /// Files with leaks, and how many.
    pub leaks: BTreeMap<PathBuf, usize>,
    /// Each country.
    pub countries: Vec<CountrySummary>,
}

/// One country's part.
#[derive(Debug, Clone, Serialize)]
pub struct CountrySummary {
    /// ISO 3166-1 numeric.
    pub country: u16,
    /// For people.
    pub name: String,
    /// The most memory that its gateway held.
    pub gateway_peak_rss_bytes: u64,
    /// Its authorities.
    pub authorities: Vec<AuthoritySummary>,
}

/// One authority's part.
#[derive(Debug, Clone, Serialize)]
pub struct AuthoritySummary {
    /// As `826/1`.
    pub authority: String,
    /// For people.
    pub name: String,
    /// Reports that it handed over.
    pub sent: usize,
    /// Those by verdict.
    pub verdicts: BTreeMap<String, usize>,
    /// Reports that were delivered to it.
    pub delivered: usize,
    /// Those by the country that they came from.
    pub delivered_from: BTreeMap<u64, usize>,
}

/// What a summary is made of, beside the ledger.
pub(super) struct Findings {
    pub(super) account: Account,
    pub(super) leaks: BTreeMap<PathBuf, usize>,
    pub(super) percentiles: Percentiles,
    pub(super) peak_rss: BTreeMap<CountryCode, u64>,
    pub(super) elapsed: Duration,
}

impl Summary {
    pub(super) fn new(federation: &Federation, ledger: &Ledger, findings: Findings) -> Self {
        let Findings { account, leaks, percentiles, peak_rss, elapsed } = findings;
        let Account { lost, duplicated, misdelivered, altered, .. } = account;
        let leaked: usize = leaks.values().sum();
        let wrong_verdicts = ledger.sent().iter().filter(|sent| !sent.is_as_expected()).count();
        let faults = lost + duplicated + misdelivered + altered + leaked + wrong_verdicts;
        Self {
            ok: faults == 0,
            sent: ledger.sent().len(),
            accepted: ledger.accepted(),
            delivered: account.arrived.values().flat_map(BTreeMap::values).sum(),
            lost,
            duplicated,
            misdelivered,
            altered,
            leaked,
            wrong_verdicts,
            delivery_samples: percentiles.samples,
            delivery_p50_ms: percentiles.p50,
            delivery_p95_ms: percentiles.p95,
            delivery_p99_ms: percentiles.p99,
            gateway_peak_rss_bytes: peak_rss.values().copied().max().unwrap_or(0),
            seconds: (elapsed.as_secs_f64() * 10.0).round() / 10.0,
            verdicts: by_verdict(ledger.sent().iter()),
            leaks,
            countries: countries(federation, ledger, (&account, &peak_rss)),
        }
    }
}

fn countries(
    federation: &Federation,
    ledger: &Ledger,
    (account, peak_rss): (&Account, &BTreeMap<CountryCode, u64>),
) -> Vec<CountrySummary> {
    let country = federation.countries().map(|(plan, _)| CountrySummary {
        country: plan.code.number(),
        name: plan.name.clone(),
        gateway_peak_rss_bytes: peak_rss.get(&plan.code).copied().unwrap_or(0),
        authorities: plan.authorities.iter().map(|named| authority(named, ledger, account)).collect(),
    });
    country.collect()
}

fn authority(
    (authority, name): &(Authority, String),
    ledger: &Ledger,
    account: &Account,
) -> AuthoritySummary {
    let delivered_from = account.arrived.get(authority).cloned().unwrap_or_default();
    AuthoritySummary {
        authority: authority.to_string(),
        name: name.clone(),
        sent: ledger.sent_by(*authority).count(),
        verdicts: by_verdict(ledger.sent_by(*authority)),
        delivered: delivered_from.values().sum(),
        delivered_from,
    }
}

fn by_verdict<'a>(sent: impl Iterator<Item = &'a Sent>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for sent in sent {
        *counts.entry(sent.verdict.clone()).or_default() += 1;
    }
    counts
}
