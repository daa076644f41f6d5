//! Everything that expires: what of ours and of our peers ends when, and a warning that names it in time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pki::tls;
use pki::trust::{CertifiedKey, Status};
use proto::day::Day;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::node::Node;

const DAY: u64 = 86_400;
/// Warned of from then on.
pub const SOON: u64 = 30 * DAY;
/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(600);

/// One thing that expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// The kind of thing, as metrics and log name it.
    pub what: &'static str,
    /// The country or authority that must see to it.
    pub of: String,
    /// From then on it counts for nothing, seconds since 1970.
    pub at: u64,
}

impl Expiry {
    /// Without it this gateway exchanges nothing.
    #[must_use]
    pub fn is_ours(&self, node: &Node) -> bool {
        matches!(self.what, "trust_list" | "certificate" | "signing_key")
            || (self.what == "country_ca" && self.of == node.country.to_string())
    }
}

/// All of them. Of keys that follow each other, the last one's end counts.
#[must_use]
pub fn all(node: &Node) -> Vec<Expiry> {
    let (trust, us) = (node.trust_list(), node.country.to_string());
    let expiry = |what, of: String, at| Expiry { what, of, at };
    let certificate = u64::try_from(node.certificate.not_after()).unwrap_or_default();
    let mut all =
        vec![expiry("trust_list", us.clone(), trust.expires), expiry("certificate", us.clone(), certificate)];
    let own = trust.country(node.country).and_then(|own| own.signing_key(node.signing.public().id()));
    // One that was withdrawn has ended.
    all.push(expiry("signing_key", us, own.map_or(0, |key| key.not_after)));
    for country in trust.countries().filter(|country| country.status == Status::Active) {
        let code = country.code.to_string();
        let ca = tls::not_after(&country.ca).and_then(|at| u64::try_from(at).ok());
        all.extend(ca.map(|at| expiry("country_ca", code.clone(), at)));
        all.extend(last(&country.signing_keys).map(|at| expiry("country_signing_keys", code.clone(), at)));
        for (authority, entry) in &country.authorities {
            let end = last(&entry.signing_keys);
            all.extend(end.map(|at| expiry("authority_signing_keys", authority.to_string(), at)));
        }
    }
    let lists = node.key_lists.ends();
    all.extend(lists.into_iter().map(|(authority, at)| expiry("key_list", authority.to_string(), at)));
    all
}

fn last(keys: &[CertifiedKey]) -> Option<u64> {
    keys.iter().map(|key| key.not_after).max()
}

/// Warns of each thing once a day, until the stop.
pub async fn run(node: Arc<Node>, stop: CancellationToken) {
    let mut told = HashMap::new();
    loop {
        warn_of(&due(&node, &mut told));
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// What ends soon and was not told of today.
fn due(node: &Node, told: &mut HashMap<(&'static str, String), u64>) -> Vec<(Expiry, u64)> {
    let now = node.clock.now();
    let soon = all(node).into_iter().filter(|expiry| expiry.at < now + SOON);
    let fresh = soon.filter(|expiry| {
        let last = told.insert((expiry.what, expiry.of.clone()), now / DAY);
        last != Some(now / DAY)
    });
    fresh.map(|expiry| (expiry.clone(), expiry.at.saturating_sub(now) / DAY)).collect()
}

fn warn_of(due: &[(Expiry, u64)]) {
    for (Expiry { what, of, at }, days) in due {
        warn!(what, of, on = %Day::of_unix(*at), days, "expires soon; whose it is must see to a new one");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn everything_that_expires_is_listed_with_whose_it_is() {
        let fixture = fixture::node();
        let all = all(&fixture.node);
        let has = |what, of: &str| all.iter().any(|expiry| expiry.what == what && expiry.of == of);
        for (what, of) in [
            ("trust_list", "826"),
            ("certificate", "826"),
            ("signing_key", "826"),
            ("country_ca", "250"),
            ("country_signing_keys", "250"),
            ("authority_signing_keys", "250/0"),
        ] {
            assert!(has(what, of), "{what} of {of}: {all:?}");
        }
        assert!(all.iter().all(|expiry| expiry.at > fixture.node.clock.now()));
    }

    #[test]
    fn what_ends_within_30_days_is_told_once_a_day_and_not_before() {
        let fixture = fixture::node();
        let node = &fixture.node;
        let mut told = HashMap::new();
        let certificate = all(node).into_iter().find(|expiry| expiry.what == "certificate").unwrap();
        let names = |due: Vec<(Expiry, u64)>| -> Vec<_> {
            due.into_iter().filter(|(expiry, _)| expiry.what == "certificate").map(|(_, days)| days).collect()
        };
        let until = i64::try_from(certificate.at - SOON - node.clock.now()).unwrap();
        node.clock.turn(until - 60);
        assert!(names(due(node, &mut told)).is_empty());
        node.clock.turn(120);
        assert_eq!(names(due(node, &mut told)), [29]);
        assert!(names(due(node, &mut told)).is_empty(), "once a day");
        node.clock.turn(i64::try_from(DAY).unwrap());
        assert_eq!(names(due(node, &mut told)), [28]);
    }
}
