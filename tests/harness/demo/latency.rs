//! How long a token takes: from the gateway's answer to the report in the destination's folder.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use proto::verdict::Verdict;

use super::ledger::{Ledger, Plan};
use crate::direct::Line;
use crate::federation::Federation;
use crate::place::AdapterPlace;
use crate::reports::{Contact, today};
use crate::{backend, phones};

/// Samples of each pair of authorities, in either direction.
const ROUNDS: usize = 3;
/// How long a single token may take.
const ARRIVED: Duration = Duration::from_secs(20);

/// Delivery times, milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Percentiles {
    /// How many tokens were measured.
    pub samples: usize,
    /// Half of them were as fast.
    pub p50: f64,
    /// 95 of 100 were.
    pub p95: f64,
    /// 99 of 100 were.
    pub p99: f64,
}

impl Percentiles {
    /// Of some times, in any order; the nearest rank.
    #[must_use]
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            times.get(rank - 1).map_or(0.0, |time| (time.as_secs_f64() * 100_000.0).round() / 100.0)
        };
        Self { samples: times.len(), p50: at(50), p95: at(95), p99: at(99) }
    }
}

/// Pushes single tokens, one after the other, from every authority to every other.
pub(super) async fn measure(federation: &Federation, ledger: &mut Ledger) -> Result<Percentiles> {
    let mut times = Vec::new();
    for from in federation.adapters() {
        let line = Line::open(federation, from.authority).await?;
        for to in federation.adapters().filter(|to| to.authority != from.authority) {
            for token in phones::met_on(today(), ROUNDS)? {
                let contact = Contact::simple(to.authority, &token, today());
                times.push(sample(federation, &line, to, &contact).await?);
                ledger.add(from.authority, Plan::accepted(contact, to.authority), Verdict::Accepted.name());
            }
        }
    }
    Ok(Percentiles::of(times))
}

async fn sample(
    federation: &Federation,
    line: &Line,
    to: &AdapterPlace,
    contact: &Contact,
) -> Result<Duration> {
    let known = backend::delivered_files(to)?;
    let verdicts = line.verdicts(std::slice::from_ref(contact)).await?;
    let answered = Instant::now();
    ensure!(verdicts == [Verdict::Accepted], "a good token to {} is answered {verdicts:?}", to.authority);
    let is_there =
        async || backend::has_delivered_since(to, known, &contact.token).is_ok_and(|is| is).then_some(());
    federation.wait_until("a single token arrives", ARRIVED, is_there).await?;
    Ok(answered.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let times = (1..=40).rev().map(Duration::from_millis).collect();
        assert_eq!(Percentiles::of(times), Percentiles { samples: 40, p50: 20.0, p95: 38.0, p99: 40.0 });
        assert_eq!(Percentiles::of(Vec::new()), Percentiles::default());
    }
}
