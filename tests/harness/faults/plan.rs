//! Which faults happen, in which order, and how long each takes.

use std::fmt;
use std::time::Duration;

use super::Store;
use crate::proxy::Trouble;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing happens: how the others differ from it.
    None,
    /// Each process on a token's way is killed at each stage of a file.
    KillAtStages,
    /// So many processes are killed, any of them at any moment.
    KillAtRandom(usize),
    /// A gateway and an adapter stand still for longer than the others wait for them.
    Stop,
    /// Something is wrong with the lines to gateways, from peers and from adapters.
    Line(Trouble),
    /// Packets are lost.
    Loss,
    /// A gateway's disk is full.
    GatewayDisk,
    /// The gateways' database ends at once, in the middle of their transactions, and comes back.
    Database,
    /// An adapter's disk is full.
    AdapterDisk,
    /// Clocks jump by an hour, both ways.
    Clock,
}

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// The longest pause between two kills.
    pub(super) between_kills: Duration,
    /// How long a process stands still.
    pub(super) stop: Duration,
    /// How long a line, a disk or a clock stays wrong.
    pub(super) trouble: Duration,
    /// How long everything may take to come, after a fault.
    pub(super) patience: Duration,
}

/// Kills between two accounts.
const KILLS_A_ROW: usize = 50;
/// What a delayed line adds to each piece.
const DELAY: Duration = Duration::from_millis(400);

impl Pace {
    /// For the whole plan: a process stands still for longer than the longest time-out, 120 s.
    pub(super) const FULL: Self = Self {
        between_kills: Duration::from_millis(1_000),
        stop: Duration::from_secs(130),
        trouble: Duration::from_secs(30),
        patience: Duration::from_secs(180),
    };
    /// For a cut of it: a process stands still for longer than connecting and shaking hands may take, 10 s.
    pub(super) const QUICK: Self = Self {
        between_kills: Duration::from_millis(500),
        stop: Duration::from_secs(15),
        trouble: Duration::from_millis(1_500),
        patience: Duration::from_secs(60),
    };
}

/// Every fault, with so many kills at random moments spread between the others.
pub(super) fn plan(store: Store, kills: usize) -> Vec<Fault> {
    let of_the_store = match store {
        Store::Sled => Fault::GatewayDisk,
        Store::Postgres => Fault::Database,
    };
    let others = [
        Fault::Line(Trouble::Cut),
        Fault::Line(Trouble::Delay(DELAY)),
        Fault::Line(Trouble::Drip),
        Fault::Line(Trouble::HalfClosed),
        Fault::Line(Trouble::Silence),
        Fault::Line(Trouble::Garbage),
        Fault::Loss,
        of_the_store,
        Fault::AdapterDisk,
        Fault::Clock,
        Fault::Stop,
    ];
    let rows = kills.div_ceil(KILLS_A_ROW);
    let mut random = (0..rows).map(|row| Fault::KillAtRandom(KILLS_A_ROW.min(kills - row * KILLS_A_ROW)));
    let mut plan = vec![Fault::None, Fault::KillAtStages];
    for other in others {
        plan.extend(random.next());
        plan.push(other);
    }
    plan.extend(random);
    plan
}

impl Fault {
    /// A name that stays the same from run to run.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "no_fault",
            Self::KillAtStages => "kill_at_each_stage",
            Self::KillAtRandom(_) => "kill_at_random",
            Self::Stop => "stop_and_continue",
            Self::Line(Trouble::None) => "line_without_trouble",
            Self::Line(Trouble::Cut) => "line_cut",
            Self::Line(Trouble::Delay(_)) => "line_delayed",
            Self::Line(Trouble::Drip) => "line_throttled",
            Self::Line(Trouble::HalfClosed) => "line_half_closed",
            Self::Line(Trouble::Silence) => "line_silent",
            Self::Line(Trouble::Garbage) => "line_garbage",
            Self::Loss => "packet_loss",
            Self::GatewayDisk => "gateway_disk_full",
            Self::Database => "database_restarted",
            Self::AdapterDisk => "adapter_disk_full",
            Self::Clock => "clock_jumps",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kills(plan: &[Fault]) -> usize {
        let kills = plan.iter().map(|fault| if let Fault::KillAtRandom(kills) = fault { *kills } else { 0 });
        kills.sum()
    }

    #[test]
    fn every_kill_is_planned_whatever_their_number() {
        for number in [0, 1, 49, 50, 51, 500, 1_000] {
            assert_eq!(kills(&plan(Store::Sled, number)), number);
        }
        assert!(plan(Store::Sled, 0).len() == 13 && plan(Store::Postgres, 500).len() == 23);
    }
}
