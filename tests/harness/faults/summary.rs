//! What a run under faults found: one JSON object for machines, a table for people.

use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use serde::Serialize;

use super::Store;
use super::book::Account;
use super::plan::Fault;
use super::scene::Struck;

/// One fault and the account after it.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Which fault.
    pub name: &'static str,
    /// Whether it can be made on this machine. If not, `did` says why.
    pub possible: bool,
    /// How often it happened. A kill that came too late does not count.
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
    /// Each fault that is possible happened while tokens were accepted, and no account is wrong.
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
    /// Each fault.
    pub faults: Vec<Row>,
}

/// Columns of the table.
const WIDTH: u16 = 170;

impl Row {
    pub(super) fn new(fault: Fault, struck: Struck, account: Account, took: Duration) -> Self {
        let (possible, happened, kills, did) = match struck {
            Struck::Yes { did, times, kills } => (true, times, kills, did),
            Struck::NotHere(why) => (false, 0, 0, format!("not possible here: {why}")),
        };
        Self { name: fault.name(), possible, happened, kills, did, account, seconds: tenths(took) }
    }

    /// Whether it shows what it is there for: the fault happened to traffic, and the account is good.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.account.is_good() && (!self.possible || self.happened > 0 && self.account.accepted > 0)
    }
}

impl Summary {
    pub(super) fn new(rows: Vec<Row>, (store, seed): (Store, u64), panics: usize, took: Duration) -> Self {
        let account = rows.iter().fold(Account::default(), |sum, row| sum.with(&row.account));
        Self {
            ok: panics == 0 && rows.iter().all(Row::is_good),
            store,
            seed,
            kills: rows.iter().map(|row| row.kills).sum(),
            account,
            panics,
            not_possible: rows.iter().filter(|row| !row.possible).count(),
            seconds: tenths(took),
            faults: rows,
        }
    }
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
        cells.extend(numbers(Some(row.happened), &row.account));
        cells.extend([right(row.seconds), Cell::new(&row.did)]);
        table.add_row(cells);
    }
    let mut all = vec![Cell::new("all")];
    all.extend(numbers(None, &summary.account));
    all.extend([right(summary.seconds), Cell::new(format!("seed {}", summary.seed))]);
    table.add_row(all);
    let ends = if summary.ok { "Every token is accounted for." } else { "NOT every token is accounted for." };
    format!("{table}\n{} processes killed; {} panics. {ends}", summary.kills, summary.panics)
}

fn numbers(happened: Option<usize>, account: &Account) -> Vec<Cell> {
    let Account { accepted, delivered, lost, duplicated_in_effect, misdelivered, altered, .. } = account;
    let first = happened.map_or_else(|| Cell::new(""), right);
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
    std::iter::once(first).chain(counts.map(right)).collect()
}

fn right(number: impl ToString) -> Cell {
    Cell::new(number.to_string()).set_alignment(CellAlignment::Right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(account: Account, struck: Struck) -> Summary {
        let row = Row::new(Fault::Clock, struck, account, Duration::from_secs(1));
        Summary::new(vec![row], (Store::Sled, 1), 0, Duration::from_secs(1))
    }

    fn once() -> Struck {
        Struck::yes(1, "done".into())
    }

    #[test]
    fn a_run_is_good_only_if_the_fault_happened_to_traffic_and_nothing_is_wrong() {
        let good = Account { accepted: 5, delivered: 5, ..Account::default() };
        assert!(summary(good, once()).ok);
        assert!(!summary(Account::default(), once()).ok, "no traffic");
        assert!(!summary(good, Struck::yes(0, "came too late".into())).ok);
        let wrong: [fn(&mut Account); 6] = [
            |account| account.lost = 1,
            |account| account.duplicated_in_effect = 1,
            |account| account.misdelivered = 1,
            |account| account.altered = 1,
            |account| account.unanswered = 1,
            |account| account.leaked = 1,
        ];
        for make in wrong {
            let mut account = good;
            make(&mut account);
            assert!(!summary(account, once()).ok, "{account:?}");
        }
        let row = Row::new(Fault::Clock, once(), good, Duration::ZERO);
        assert!(!Summary::new(vec![row], (Store::Postgres, 1), 1, Duration::ZERO).ok, "a panic");
    }

    #[test]
    fn what_is_not_possible_is_told_and_not_held_against_the_run() {
        let good = Account { accepted: 5, delivered: 5, ..Account::default() };
        let summary = summary(good, Struck::NotHere("no clock".into()));
        assert!(summary.ok && summary.not_possible == 1);
        assert!(table(&summary).contains("not possible here: no clock"));
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!((&json["lost"], &json["faults"][0]["lost"]), (&0.into(), &0.into()));
    }
}
