//! Who must not be able to read a token, and whether they could: section 3 of the protocol, from the outside.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use proto::ids::{Authority, CountryCode};

use super::ledger::Ledger;
use crate::federation::Federation;
use crate::leaks::Secrets;

/// A secret and the folders that may hold it.
struct Kept<'a> {
    octets: &'a [u8],
    allowed: Vec<&'a Path>,
}

/// Where secrets were found that must not be there: the file, and how many of them.
pub(super) fn leaks(
    federation: &Federation,
    ledger: &Ledger,
    metrics: &BTreeMap<CountryCode, String>,
) -> Result<BTreeMap<PathBuf, usize>> {
    let kept = kept(federation, ledger)?;
    let octets: Vec<_> = kept.iter().map(|kept| kept.octets).collect();
    let secrets = Secrets::new(&octets)?;
    let (mut leaks, mut at_home) = (BTreeMap::new(), BTreeSet::new());
    for found in secrets.find_below(federation.folder())? {
        if kept[found.secret].allowed.iter().any(|folder| found.file.starts_with(folder)) {
            at_home.insert(found.secret);
        } else {
            *leaks.entry(found.file).or_default() += 1;
        }
    }
    // A search that cannot find what is there would find no leak either.
    let accepted = ledger.accepted();
    ensure!(
        at_home.len() >= accepted,
        "the search finds {} of {accepted} accepted tokens at all",
        at_home.len()
    );
    for (code, text) in metrics {
        let found = secrets.find(text.as_bytes()).len();
        if found > 0 {
            leaks.insert(PathBuf::from(format!("metrics of {code}")), found);
        }
    }
    Ok(leaks)
}

/// The sender's outgoing folder may hold a report, and the delivered folder of the authority that it is for.
fn kept<'a>(federation: &'a Federation, ledger: &'a Ledger) -> Result<Vec<Kept<'a>>> {
    let mut by_token: BTreeMap<&[u8], Vec<&Path>> = BTreeMap::new();
    for sent in ledger.sent().iter().filter(|sent| sent.token().iter().any(|octet| *octet != 0)) {
        let allowed = by_token.entry(sent.token()).or_default();
        allowed.push(outgoing(federation, sent.by)?);
        if let Some(to) = sent.plan.to {
            allowed.push(&federation.adapter(to)?.delivered);
        }
    }
    let tokens = by_token.into_iter().map(|(octets, allowed)| Ok(Kept { octets, allowed }));
    let canaries = ledger.canaries().iter().map(|(by, octets)| {
        let allowed = vec![outgoing(federation, *by)?];
        Ok(Kept { octets, allowed })
    });
    tokens.chain(canaries).collect()
}

fn outgoing(federation: &Federation, authority: Authority) -> Result<&Path> {
    Ok(&federation.adapter(authority)?.outgoing)
}
