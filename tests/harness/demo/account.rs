//! Every token is accounted for: accepted ones arrived once at the right authority, others nowhere.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Result;
use proto::ids::Authority;

use super::ledger::{Ledger, Sent};
use crate::backend::Delivered;
use crate::federation::Federation;

/// What was found in the delivered folders.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Accepted reports that arrived nowhere.
    pub(super) lost: usize,
    /// Copies beyond the first at the right authority.
    pub(super) duplicated: usize,
    /// Reports at an authority that must not have them, or that were refused, or that nobody sent.
    pub(super) misdelivered: usize,
    /// Reports that arrived otherwise than they were sent.
    pub(super) altered: usize,
    /// What arrived at each authority, by the country it came from.
    pub(super) arrived: BTreeMap<Authority, BTreeMap<u64, usize>>,
}

pub(super) fn account(federation: &Federation, ledger: &Ledger) -> Result<Account> {
    // A report and its duplicate in the same file share a token; the accepted one decides.
    let mut accepted: HashMap<&[u8], &Sent> = HashMap::new();
    accepted.extend(ledger.sent().iter().filter(|sent| sent.is_accepted()).map(|sent| (sent.token(), sent)));
    let mut account = Account::default();
    let mut seen = HashSet::new();
    for adapter in federation.adapters() {
        for delivered in federation.delivered(adapter.authority)? {
            account.add(adapter.authority, &delivered, accepted.get(delivered.token.as_slice()).copied());
            seen_once(&mut seen, &mut account, adapter.authority, &delivered);
        }
    }
    account.lost = accepted.iter().filter(|(token, sent)| !arrived(&seen, sent, token)).count();
    Ok(account)
}

impl Account {
    fn add(&mut self, at: Authority, delivered: &Delivered, sent: Option<&Sent>) {
        *self.arrived.entry(at).or_default().entry(delivered.origin).or_default() += 1;
        match sent.filter(|sent| sent.plan.to == Some(at)) {
            None => self.misdelivered += 1,
            Some(sent) if sent.plan.contact.mirror() != delivered.report => self.altered += 1,
            Some(_) => {}
        }
    }
}

fn seen_once(
    seen: &mut HashSet<(Authority, Vec<u8>)>,
    account: &mut Account,
    at: Authority,
    delivered: &Delivered,
) {
    if !seen.insert((at, delivered.token.clone())) {
        account.duplicated += 1;
    }
}

fn arrived(seen: &HashSet<(Authority, Vec<u8>)>, sent: &Sent, token: &[u8]) -> bool {
    sent.plan.to.is_some_and(|to| seen.contains(&(to, token.to_vec())))
}
