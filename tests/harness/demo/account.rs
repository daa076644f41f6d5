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

/// Compares what lies in all delivered folders with what was sent.
pub(super) fn account(federation: &Federation, ledger: &Ledger) -> Result<Account> {
    let mut delivered = Vec::new();
    for adapter in federation.adapters() {
        let there = federation.delivered(adapter.authority)?;
        delivered.extend(there.into_iter().map(|report| (adapter.authority, report)));
    }
    Ok(compare(&delivered, ledger))
}

fn compare(delivered: &[(Authority, Delivered)], ledger: &Ledger) -> Account {
    // A report and its duplicate in the same file share a token; the accepted one decides.
    let accepted = ledger.sent().iter().filter(|sent| sent.is_accepted());
    let accepted: HashMap<&[u8], &Sent> = accepted.map(|sent| (sent.token(), sent)).collect();
    let (mut account, mut seen) = (Account::default(), HashSet::new());
    for (at, report) in delivered {
        account.add(*at, report, accepted.get(report.token.as_slice()).copied());
        if !seen.insert((*at, report.token.as_slice())) {
            account.duplicated += 1;
        }
    }
    let has_come = |token: &&[u8], sent: &Sent| sent.plan.to.is_some_and(|to| seen.contains(&(to, *token)));
    account.lost = accepted.iter().filter(|(token, sent)| !has_come(token, sent)).count();
    account
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

#[cfg(test)]
mod tests {
    use proto::day::Day;
    use proto::verdict::Verdict;

    use super::super::ledger::Plan;
    use super::*;
    use crate::authority;
    use crate::reports::Contact;

    fn contact(octet: u8) -> Contact {
        Contact::simple(authority("250/0"), &[octet; 16], Day::new(20_780))
    }

    /// One accepted token for France, and one that was refused.
    fn ledger() -> Ledger {
        let (by, france) = (authority("826/1"), authority("250/0"));
        let mut ledger = Ledger::default();
        ledger.add(by, Plan::accepted(contact(1), france), "accepted");
        ledger.add(by, Plan::refused(contact(1), Verdict::Duplicate), "duplicate");
        ledger.add(by, Plan::refused(contact(2), Verdict::TooOld), "too_old");
        ledger
    }

    /// Lost, duplicated, misdelivered, altered.
    fn faults(delivered: &[(&str, Contact)]) -> [usize; 4] {
        let delivered = delivered.iter().map(|(at, contact)| {
            let (token, report) = (contact.token.clone(), contact.mirror());
            (authority(at), Delivered { file: "file".into(), origin: 826, report, token })
        });
        let Account { lost, duplicated, misdelivered, altered, .. } =
            compare(&delivered.collect::<Vec<_>>(), &ledger());
        [lost, duplicated, misdelivered, altered]
    }

    #[test]
    fn every_fault_is_told_apart() {
        let altered = Contact { day: Day::new(20_781), ..contact(1) };
        assert_eq!(faults(&[("250/0", contact(1))]), [0, 0, 0, 0]);
        assert_eq!(faults(&[]), [1, 0, 0, 0]);
        assert_eq!(faults(&[("250/0", contact(1)), ("250/0", contact(1))]), [0, 1, 0, 0]);
        assert_eq!(faults(&[("36/2", contact(1))]), [1, 0, 1, 0], "at the wrong authority");
        assert_eq!(faults(&[("250/0", contact(1)), ("36/2", contact(1))]), [0, 0, 1, 0]);
        assert_eq!(
            faults(&[("250/0", contact(1)), ("250/0", contact(2))]),
            [0, 0, 1, 0],
            "refused and delivered"
        );
        assert_eq!(faults(&[("250/0", contact(1)), ("250/0", contact(9))]), [0, 0, 1, 0], "sent by nobody");
        assert_eq!(faults(&[("250/0", altered)]), [0, 0, 0, 1]);
    }
}
