//! What a run under faults found: one JSON object for machines, a table for people.

use std::collections::BTreeMap;
use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use serde::Serialize;

use super::book::Account;
use super::plan::Fault;
use super::scene::Struck;
use super::{Options, Store};

/// One fault and the account after it.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Which fault.
    pub name: &'static str,
    /// Whether it can be made on this machine. If not, `did` says why.
    pub possible: bool,
    /// How often it was to happen.
    pub planned: usize,
    /// How often it happened. A kill that came too late does not count, nor a restart of the database that met no open
    /// transaction.
    pub happened: usize,
    /// How many running processes were killed.
    pub kills: usize,
    /// What was done, for people.
    pub did: String,
    /// What became of the tokens.
    #[serde(flatten)]
    pub account: Account,
    /// With the time until everything had come.
    pub seconds: f64,
}

/// Everything that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Each fault that is possible happened as often as planned while tokens were accepted, no account is wrong, and
    /// what is not possible was not asked for.
    pub ok: bool,
    /// Where gateways keep their entries.
    pub store: Store,
    /// What the random moments came from.
    pub seed: u64,
    /// Running processes that were killed.
    pub kills: usize,
    /// All accounts together.
    #[serde(flatten)]
    pub account: Account,
    /// Panics in all logs.
    pub panics: usize,
    /// Faults that cannot be made on this machine.
    pub not_possible: usize,
    /// All of it together.
    pub seconds: f64,
    /// Each kind of fault by its name.
    pub kinds: BTreeMap<&'static str, Times>,
    /// Each fault.
    pub faults: Vec<Row>,
}

/// How often a kind of fault was to happen, and did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Times {
    /// In all rows of it.
    pub planned: usize,
    /// In all rows of it; 0 where it cannot be made.
    pub happened: usize,
}

/// What is held against a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// Faults that did not happen, where they can be made.
    Possible,
    /// Also those that cannot be made on this machine.
    All,
}

/// Columns of the table.
const WIDTH: u16 = 170;

impl Row {
    pub(super) fn new(fault: Fault, struck: Struck, account: Account, took: Duration) -> Self {
        let (possible, happened, kills, did) = match struck {
            Struck::Yes { did, times, kills } => (true, times, kills, did),
            Struck::NotHere(why) => (false, 0, 0, format!("not possible here: {why}")),
        };
        let (name, planned, seconds) = (fault.name(), fault.planned(), tenths(took));
        Self { name, possible, planned, happened, kills, did, account, seconds }
    }

    /// Whether it shows what it is there for: the fault happened to traffic as often as planned, and the account is
    /// good. One that cannot be made is held against no row.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let is_shown = self.happened == self.planned && self.account.accepted > 0;
        self.account.is_good() && (!self.possible || is_shown)
    }
}

impl Summary {
    pub(super) fn new(
        rows: Vec<Row>,
        (options, seed): (&Options, u64),
        panics: usize,
        took: Duration,
    ) -> Self {
        let account = rows.iter().fold(Account::default(), |sum, row| sum.with(&row.account));
        let is_demanded = |row: &Row| row.possible || options.demand == Demand::Possible;
        Self {
            ok: panics == 0 && rows.iter().all(|row| row.is_good() && is_demanded(row)),
            store: options.store,
            seed,
            kills: rows.iter().map(|row| row.kills).sum(),
            account,
            panics,
            not_possible: rows.iter().filter(|row| !row.possible).count(),
            seconds: tenths(took),
            kinds: kinds(&rows),
            faults: rows,
        }
    }
}

fn kinds(rows: &[Row]) -> BTreeMap<&'static str, Times> {
    let mut kinds = BTreeMap::<_, Times>::new();
    for row in rows {
        let times = kinds.entry(row.name).or_default();
        times.planned += row.planned;
        times.happened += row.happened;
    }
    kinds
}

fn tenths(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}

/// The table, and a sentence.
#[must_use]
pub fn table(summary: &Summary) -> String {
    let mut table = Table::new();
    let titles = [
        "fault",
        "planned",
        "happened",
        "accepted",
        "delivered",
        "lost",
        "doubled",
        "misdelivered",
        "altered",
        "unanswered",
        "leaked",
        "s",
        "what was done",
    ];
    table.load_preset(UTF8_FULL_CONDENSED).set_header(titles);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    for row in &summary.faults {
        let mut cells = vec![Cell::new(row.name)];
        cells.extend(numbers(Some([row.planned, row.happened]), &row.account));
        cells.extend([right(row.seconds), Cell::new(&row.did)]);
        table.add_row(cells);
    }
    let mut all = vec![Cell::new("all")];
    all.extend(numbers(None, &summary.account));
    all.extend([right(summary.seconds), Cell::new(format!("seed {}", summary.seed))]);
    table.add_row(all);
    format!("{table}\n{} processes killed; {} panics. {}", summary.kills, summary.panics, verdict(summary))
}

fn verdict(summary: &Summary) -> String {
    if !summary.account.is_good() {
        return "NOT every token is accounted for.".into();
    }
    let missing: Vec<_> = summary.faults.iter().filter(|row| row.happened != row.planned).collect();
    let named = missing.iter().map(|row| format!("{} {} of {}", row.name, row.happened, row.planned));
    let named = named.collect::<Vec<_>>().join(", ");
    match (summary.ok, missing.is_empty()) {
        (true, true) => "Every token is accounted for.".into(),
        (true, false) => format!("Every token is accounted for. Not made on this machine: {named}."),
        (false, true) => "Every token is accounted for, and yet something is WRONG above.".into(),
        (false, false) => format!("Every token is accounted for, but NOT every fault happened: {named}."),
    }
}

fn numbers(times: Option<[usize; 2]>, account: &Account) -> Vec<Cell> {
    let Account { accepted, delivered, lost, duplicated_in_effect, misdelivered, altered, .. } = account;
    let times = times.map_or_else(|| [Cell::new(""), Cell::new("")], |times| times.map(right));
    let counts = [
        accepted,
        delivered,
        lost,
        duplicated_in_effect,
        misdelivered,
        altered,
        &account.unanswered,
        &account.leaked,
    ];
    times.into_iter().chain(counts.map(right)).collect()
}

fn right(number: impl ToString) -> Cell {
    Cell::new(number.to_string()).set_alignment(CellAlignment::Right)
}

#[cfg(test)]
mod tests {
    use super::super::Namespace;
    use super::super::plan::Way;
    use super::*;
    use crate::proxy::Trouble;

    const GOOD: Account = Account {
        accepted: 5,
        refused: 0,
        delivered: 5,
        lost: 0,
        duplicated_in_effect: 0,
        misdelivered: 0,
        altered: 0,
        unanswered: 0,
        leaked: 0,
    };

    fn options(demand: Demand) -> Options {
        let namespace = Namespace::None("it is a test".into());
        Options { quick: true, store: Store::Sled, seed: None, kills: None, keep: None, namespace, demand }
    }

    fn summary(account: Account, struck: Struck) -> Summary {
        of(Fault::Clock, account, struck, Demand::Possible)
    }

    fn of(fault: Fault, account: Account, struck: Struck, demand: Demand) -> Summary {
        let row = Row::new(fault, struck, account, Duration::from_secs(1));
        Summary::new(vec![row], (&options(demand), 1), 0, Duration::from_secs(1))
    }

    fn as_planned() -> Struck {
        Struck::yes(Fault::Clock.planned(), "done".into())
    }

    #[test]
    fn a_run_is_good_only_if_the_fault_happened_to_traffic_and_nothing_is_wrong() {
        assert!(summary(GOOD, as_planned()).ok);
        assert!(!summary(Account::default(), as_planned()).ok, "no traffic");
        assert!(!summary(GOOD, Struck::yes(0, "came too late".into())).ok);
        let wrong: [fn(&mut Account); 6] = [
            |account| account.lost = 1,
            |account| account.duplicated_in_effect = 1,
            |account| account.misdelivered = 1,
            |account| account.altered = 1,
            |account| account.unanswered = 1,
            |account| account.leaked = 1,
        ];
        for make in wrong {
            let mut account = GOOD;
            make(&mut account);
            assert!(!summary(account, as_planned()).ok, "{account:?}");
        }
        let row = Row::new(Fault::Clock, as_planned(), GOOD, Duration::ZERO);
        let panicked = Summary::new(vec![row], (&options(Demand::Possible), 1), 1, Duration::ZERO);
        assert!(!panicked.ok, "a panic");
    }

    #[test]
    fn a_fault_that_happened_less_often_than_planned_is_wrong_and_named() {
        let faults = [
            Fault::KillAtStages(Way::Whole),
            Fault::KillAtRandom(50),
            Fault::Stop,
            Fault::Line(Trouble::Cut),
            Fault::GatewayDisk,
            Fault::Database(5),
            Fault::DatabaseLine(Trouble::Cut),
            Fault::Clock,
        ];
        for fault in faults {
            let struck = |less: usize| Struck::yes(fault.planned() - less, "done".into());
            assert!(of(fault, GOOD, struck(0), Demand::Possible).ok, "{fault}");
            let short = of(fault, GOOD, struck(1), Demand::Possible);
            assert!(!short.ok, "{fault}");
            let told = format!("{fault} {} of {}", fault.planned() - 1, fault.planned());
            assert!(table(&short).contains(&told), "{fault}");
        }
    }

    #[test]
    fn what_is_not_possible_is_told_and_held_against_a_run_only_if_all_is_demanded() {
        let not_here = || Struck::NotHere("no clock".into());
        let lenient = summary(GOOD, not_here());
        assert!(lenient.ok && lenient.not_possible == 1);
        assert!(table(&lenient).contains("not possible here: no clock"));
        assert!(table(&lenient).contains("Not made on this machine: clock_jumps 0 of 5."));
        assert!(!of(Fault::Clock, GOOD, not_here(), Demand::All).ok);
        assert!(of(Fault::Clock, GOOD, as_planned(), Demand::All).ok);
    }

    #[test]
    fn machines_read_how_often_each_kind_was_to_happen_and_did() {
        let row = |times| {
            let struck = Struck::Yes { did: "done".into(), times, kills: times };
            Row::new(Fault::KillAtRandom(50), struck, GOOD, Duration::ZERO)
        };
        let summary = Summary::new(vec![row(50), row(49)], (&options(Demand::All), 1), 0, Duration::ZERO);
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["kinds"]["kill_at_random"], serde_json::json!({"planned": 100, "happened": 99}));
        assert_eq!((&json["faults"][1]["planned"], &json["faults"][1]["happened"]), (&50.into(), &49.into()));
        assert_eq!((&json["lost"], &json["faults"][0]["lost"]), (&0.into(), &0.into()));
        assert!(!summary.ok);
    }
}
