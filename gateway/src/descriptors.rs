//! Open files: a connection is one, and too few of them are refused peers.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::config::Limits;

/// Listeners whose connections are limited.
const LISTENERS: u64 = 2;
/// Connections before their handshake, on each listener.
const STRANGERS: u64 = 1_024;
/// Files of the store, logs, peers that we call, the admin listener.
const OTHERS: u64 = 512;

/// Raises this process's limit to what the system lets it have, and warns if the configured connections need more.
pub fn raise(limits: &Limits) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if let Err(cause) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        warn!(%cause, limit = current, "the limit of open files could not be raised");
    }
    let (needed, now) = (needed(limits), getrlimit(Resource::Nofile).current);
    match now {
        Some(limit) if limit < needed => warn!(
            limit,
            needed,
            "too few open files for limits.connections; raise LimitNOFILE= of the unit, or `ulimit -Hn`"
        ),
        limit => info!(limit, needed, "open files"),
    }
}

fn needed(limits: &Limits) -> u64 {
    LISTENERS * (limits.connections as u64 + STRANGERS) + OTHERS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_goes() {
        raise(&Limits::default());
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
    }

    #[test]
    fn the_systemd_unit_allows_what_the_defaults_need() {
        let unit = include_str!("../../deploy/systemd/gateway.service");
        let allowed = unit.lines().find_map(|line| line.strip_prefix("LimitNOFILE=")?.parse::<u64>().ok());
        assert!(allowed.unwrap() >= needed(&Limits::default()));
    }
}
