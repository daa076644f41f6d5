//! Which faults happen, in which order, and how long each takes.

use std::fmt;
use std::time::Duration;

use super::{Store, clock, disk, kills, lines, stopped};
use crate::members::Node;
use crate::proxy::Trouble;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing happens: how the others differ from it.
    None,
    /// Each of some processes on a token's way is killed at each stage of a file.
    KillAtStages(Way),
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
    /// The gateways' database ends at once, in the middle of their transactions, and comes back: so many times.
    Database(usize),
    /// Something is wrong with the lines from gateways to their database.
    DatabaseLine(Trouble),
    /// The database's disk is full.
    DatabaseDisk,
    /// An adapter's disk is full.
    AdapterDisk,
    /// Clocks jump by an hour, both ways.
    Clock,
}

/// Who is killed on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Adapters and gateways.
    Whole,
    /// Gateways alone.
    Gateways,
}

impl Way {
    /// The processes in the order in which a token passes them.
    pub(super) fn nodes(self) -> Vec<Node> {
        let [sender, gateways @ .., receiver] = kills::way();
        match self {
            Self::Whole => [&[sender], &gateways[..], &[receiver]].concat(),
            Self::Gateways => gateways.to_vec(),
        }
    }
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
/// How often the database is restarted.
const RESTARTS: usize = 5;
const QUICK_RESTARTS: usize = 2;
/// Troubles of the line to the database that are made quickly, of those below: the first ones.
const QUICK_LINES: usize = 4;
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
        between_kills: Duration::from_millis(300),
        stop: Duration::from_secs(11),
        trouble: Duration::from_millis(1_000),
        patience: Duration::from_secs(60),
    };
}

/// How much of the plan is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Every fault.
    Full,
    /// Every fault over folders; over a database some of those that have to do with it.
    Quick,
}

/// The faults in their order, with so many kills at random moments spread between the others.
pub(super) fn plan(store: Store, extent: Extent, kills: usize) -> Vec<Fault> {
    let lines = [
        Trouble::Cut,
        Trouble::Delay(DELAY),
        Trouble::Drip,
        Trouble::HalfClosed,
        Trouble::Silence,
        Trouble::Garbage,
    ];
    let (mut others, is_cut) = (Vec::new(), store == Store::Postgres && extent == Extent::Quick);
    if !is_cut {
        others.extend(lines.map(Fault::Line));
        others.extend([Fault::Loss, Fault::AdapterDisk, Fault::Clock]);
    }
    match store {
        Store::Sled => others.push(Fault::GatewayDisk),
        Store::Postgres => {
            let times = if is_cut { QUICK_RESTARTS } else { RESTARTS };
            others.push(Fault::Database(times));
            let lines = if is_cut { &lines[..QUICK_LINES] } else { &lines[..] };
            others.extend(lines.iter().copied().map(Fault::DatabaseLine));
            others.push(Fault::DatabaseDisk);
        }
    }
    others.push(Fault::Stop);
    let rows = kills.div_ceil(KILLS_A_ROW);
    let mut random = (0..rows).map(|row| Fault::KillAtRandom(KILLS_A_ROW.min(kills - row * KILLS_A_ROW)));
    let way = if extent == Extent::Quick { Way::Gateways } else { Way::Whole };
    let mut plan = vec![Fault::None, Fault::KillAtStages(way)];
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
            Self::KillAtStages(_) => "kill_at_each_stage",
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
            Self::Database(_) => "database_restarted",
            Self::DatabaseLine(trouble) => database_line(trouble),
            Self::DatabaseDisk => "database_disk_full",
            Self::AdapterDisk => "adapter_disk_full",
            Self::Clock => "clock_jumps",
        }
    }

    /// How often it is to happen.
    pub(super) fn planned(self) -> usize {
        match self {
            Self::None | Self::Loss | Self::AdapterDisk | Self::DatabaseDisk => 1,
            Self::KillAtStages(way) => way.nodes().len() * kills::STAGES.len(),
            Self::KillAtRandom(times) | Self::Database(times) => times,
            Self::Stop => stopped::STOPPED,
            Self::Line(_) => lines::LINES,
            Self::DatabaseLine(_) => lines::DATABASES,
            Self::GatewayDisk => disk::FILLED,
            Self::Clock => clock::SEEN,
        }
    }
}

fn database_line(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::None => "database_line_without_trouble",
        Trouble::Cut => "database_line_cut",
        Trouble::Delay(_) => "database_line_delayed",
        Trouble::Drip => "database_line_throttled",
        Trouble::HalfClosed => "database_line_half_closed",
        Trouble::Silence => "database_line_silent",
        Trouble::Garbage => "database_line_garbage",
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn kills(plan: &[Fault]) -> usize {
        let kills = plan.iter().map(|fault| if let Fault::KillAtRandom(kills) = fault { *kills } else { 0 });
        kills.sum()
    }

    #[test]
    fn every_kill_is_planned_whatever_their_number() {
        for number in [0, 1, 49, 50, 51, 500, 1_000] {
            assert_eq!(kills(&plan(Store::Sled, Extent::Full, number)), number);
        }
    }

    #[test]
    fn the_quick_plan_has_every_fault_over_folders_and_those_of_the_database_over_one() {
        let names =
            |store, extent| -> BTreeSet<_> { plan(store, extent, 20).into_iter().map(Fault::name).collect() };
        let [quick, full] = [Extent::Quick, Extent::Full].map(|extent| names(Store::Sled, extent));
        assert_eq!(quick, full);
        let [quick_database, full_database] =
            [Extent::Quick, Extent::Full].map(|extent| names(Store::Postgres, extent));
        assert!(full_database.is_superset(&quick_database));
        let missing: BTreeSet<_> = full_database.difference(&quick_database).copied().collect();
        let folders = missing.iter().map(|name| name.trim_start_matches("database_"));
        assert!(
            folders.clone().all(|name| quick.contains(name)),
            "what is left out is made over folders: {missing:?}"
        );
        assert_eq!((full.len(), full_database.len(), missing.len()), (14, 21, 11));
    }
}
