//! How long tokens take at a load: from the gateway's answer to the push, and from the moment at which the push was
//! due, until they can be read at the destination.

use std::collections::HashMap;

use serde::Serialize;

use super::message::{Arrival, Push};

/// At one load.
#[derive(Debug, Clone, Serialize)]
pub struct Latency {
    /// Of the sustained rate, percent.
    pub load_percent: u32,
    /// Tokens a second that were pushed.
    pub tokens_per_second: f64,
    /// Pushes that were timed.
    pub pushes: usize,
    /// From the gateway's answer, as the pushing adapter has it, until the tokens can be read.
    pub from_accepted_ms: Percentiles,
    /// From the moment at which the push was due, before it was sealed, until the tokens can be read.
    pub from_due_ms: Percentiles,
    /// Tokens that could be read before the answer to their push had come; they count as 0 ms.
    pub before_the_answer: u64,
}

/// Of tokens, milliseconds; the nearest rank.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of the tokens were as fast.
    pub p50: f64,
    /// 95 of 100 were.
    pub p95: f64,
    /// 99 of 100 were.
    pub p99: f64,
    /// All were.
    pub max: f64,
}

impl Percentiles {
    /// Of nanoseconds, each for so many tokens, in any order.
    fn of(mut times: Vec<(u64, u64)>) -> Self {
        times.sort_unstable();
        let all: u64 = times.iter().map(|(_, tokens)| tokens).sum();
        let at = |percent: u64| {
            let (rank, mut passed) = ((all * percent).div_ceil(100), 0);
            let found = times.iter().find(|(_, tokens)| {
                passed += tokens;
                passed >= rank
            });
            found.map_or(0.0, |(time, _)| *time as f64 / 1e6)
        };
        Self { p50: at(50), p95: at(95), p99: at(99), max: at(100) }
    }
}

impl Latency {
    /// Of what was pushed and what was opened, at so many percent of a rate.
    pub(super) fn of(load: (u32, f64), pushes: &[Push], arrivals: &[Arrival]) -> Self {
        let by_number: HashMap<u64, &Push> = pushes.iter().map(|push| (push.number, push)).collect();
        let pairs = || arrivals.iter().filter_map(|arrival| Some((*by_number.get(&arrival.push)?, arrival)));
        let times = |since: fn(&Push) -> u64| {
            let time = |(push, arrival): (&Push, &Arrival)| {
                (arrival.opened.saturating_sub(since(push)), u64::from(arrival.tokens))
            };
            Percentiles::of(pairs().map(time).collect())
        };
        let early = pairs().filter(|(push, arrival)| arrival.opened < push.accepted);
        Self {
            load_percent: load.0,
            tokens_per_second: load.1,
            pushes: pushes.len(),
            from_accepted_ms: times(|push| push.accepted),
            from_due_ms: times(|push| push.due),
            before_the_answer: early.map(|(_, arrival)| u64::from(arrival.tokens)).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_tokens_and_not_of_batches() {
        let times = vec![(9_000_000, 1), (1_000_000, 98), (5_000_000, 1)];
        assert_eq!(Percentiles::of(times), Percentiles { p50: 1.0, p95: 1.0, p99: 5.0, max: 9.0 });
        assert_eq!(Percentiles::of(Vec::new()), Percentiles::default());
    }

    #[test]
    fn a_token_is_timed_by_its_own_push() {
        let pushes = [
            Push { number: 4, due: 1_000_000, accepted: 3_000_000 },
            Push { number: 5, due: 2_000_000, accepted: 9_000_000 },
        ];
        let arrival = |push, opened| Arrival { push, tokens: 10, opened };
        let arrivals = [arrival(4, 5_000_000), arrival(5, 8_000_000), arrival(77, 1)];
        let latency = Latency::of((10, 100.0), &pushes, &arrivals);
        assert_eq!((latency.from_accepted_ms.p50, latency.from_accepted_ms.max), (0.0, 2.0));
        assert_eq!((latency.from_due_ms.p50, latency.from_due_ms.max), (4.0, 6.0));
        assert_eq!((latency.pushes, latency.before_the_answer), (2, 10));
    }
}
