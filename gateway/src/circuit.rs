//! Whether a peer is worth calling now: behind some failures in a row nobody calls it for a while, then one call
//! tries.
//!
//! It keeps a sick peer from costing connections and waiting calls, and tells operators which peer is sick.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;

/// Failures in a row that open the circuit.
const MOST_FAILURES: u32 = 5;
/// How long one call may try before another may: longer than any call's deadline.
const TRIAL: Duration = Duration::from_secs(60);
/// Who comes while one tries asks again after this time: mostly the trial is over in less.
const SOON: Duration = Duration::from_millis(500);

/// The circuit to one peer.
#[derive(Debug, Default)]
pub struct Circuit {
    state: State,
    failures: u32,
    last_failure: Option<Instant>,
    backoff: Backoff,
}

/// What a circuit lets through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// Every call.
    #[default]
    Closed,
    /// One call, which tries whether the peer is well again; another one after this time.
    HalfOpen(Instant),
    /// No call before this time.
    Open(Instant),
}

impl State {
    /// As the metrics show it: 0 closed, 1 half-open, 2 open.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen(_) => 1,
            Self::Open(_) => 2,
        }
    }
}

impl Circuit {
    /// What it lets through.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Lets a call through, or says when to ask again.
    pub fn ask(&mut self, now: Instant) -> Result<(), Duration> {
        match self.state {
            State::Closed => Ok(()),
            State::Open(until) if now < until => Err(until - now),
            State::HalfOpen(until) if now < until => Err(SOON.min(until - now)),
            State::HalfOpen(_) | State::Open(_) => {
                self.state = State::HalfOpen(now + TRIAL);
                Ok(())
            }
        }
    }

    /// The peer answered, be it with a refusal.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// A call that began then had no answer.
    pub fn failed(&mut self, began: Instant, now: Instant) {
        // Calls that fail at the same time say the same thing once.
        if self.last_failure.is_some_and(|last| began < last) || matches!(self.state, State::Open(_)) {
            return;
        }
        self.last_failure = Some(now);
        self.failures += 1;
        if self.failures >= MOST_FAILURES {
            self.state = State::Open(now + self.backoff.failed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Fails so many calls, one after the other, a second each.
    fn fail(circuit: &mut Circuit, now: &mut Instant, times: u32) {
        for _ in 0..times {
            let began = *now;
            *now += SECOND;
            circuit.failed(began, *now);
        }
    }

    #[test]
    fn it_opens_behind_failures_in_a_row_and_one_call_tries() {
        let (mut circuit, mut now) = (Circuit::default(), Instant::now());
        fail(&mut circuit, &mut now, MOST_FAILURES - 1);
        assert_eq!(circuit.ask(now), Ok(()));
        fail(&mut circuit, &mut now, 1);
        assert_eq!(circuit.state().number(), 2);
        now += Backoff::LONGEST;
        assert_eq!(circuit.ask(now), Ok(()), "its time is over: one may try");
        assert_eq!(circuit.state().number(), 1);
        assert_eq!(circuit.ask(now), Err(SOON), "and nobody else, who comes again soon");
        let almost = TRIAL - SOON / 2;
        assert_eq!(circuit.ask(now + almost), Err(SOON / 2));
        assert_eq!(circuit.ask(now + TRIAL), Ok(()), "unless that call was never heard of again");
        circuit.succeeded();
        assert_eq!((circuit.state(), circuit.ask(now)), (State::Closed, Ok(())));
    }

    #[test]
    fn a_trial_that_fails_opens_it_again_for_a_bounded_time() {
        let (mut circuit, mut now) = (Circuit::default(), Instant::now());
        fail(&mut circuit, &mut now, MOST_FAILURES);
        for _ in 0..100 {
            now += Backoff::LONGEST;
            circuit.ask(now).unwrap();
            fail(&mut circuit, &mut now, 1);
            let State::Open(until) = circuit.state() else { panic!("{circuit:?}") };
            assert!(until - now <= Backoff::LONGEST);
        }
    }

    #[test]
    fn calls_that_fail_at_the_same_time_count_once() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        for _ in 0..100 {
            circuit.failed(now, now + SECOND);
        }
        assert_eq!(circuit.state(), State::Closed);
    }
}
