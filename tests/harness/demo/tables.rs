//! What a demo found, for people.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, Table};
use proto::verdict::Verdict;

use super::summary::{AuthoritySummary, Summary};

/// Three tables: what was sent and answered, what arrived where, and the result.
#[must_use]
pub fn tables(summary: &Summary) -> String {
    let Summary { lost, duplicated, misdelivered, altered, leaked, wrong_verdicts, .. } = summary;
    let result = format!(
        "accepted {}, delivered {}: lost {lost}, doubled {duplicated}, misdelivered {misdelivered}, altered {altered}, \
         leaked {leaked}, answered wrongly {wrong_verdicts}",
        summary.accepted, summary.delivered
    );
    let time = format!(
        "delivery of {} single tokens: p50 {} ms, p95 {} ms, p99 {} ms; all of it took {} s",
        summary.delivery_samples,
        summary.delivery_p50_ms,
        summary.delivery_p95_ms,
        summary.delivery_p99_ms,
        summary.seconds
    );
    let leaks = summary.leaks.iter().map(|(file, count)| format!("LEAK: {count} in {}\n", file.display()));
    let ends = if summary.ok { "Every token is accounted for." } else { "NOT every token is accounted for." };
    format!(
        "Sent, by answer\n{}\n\nArrived, by the country it came from\n{}\n\n{result}\n{time}\n{}{ends}",
        sent(summary),
        arrived(summary),
        leaks.collect::<String>()
    )
}

fn sent(summary: &Summary) -> Table {
    let used = Verdict::ALL.iter().map(|verdict| verdict.name());
    let used: Vec<_> = used.filter(|name| summary.verdicts.contains_key(*name)).collect();
    let titles = ["authority", "sent"].into_iter().chain(used.iter().copied());
    let mut table = table(&titles.collect::<Vec<_>>());
    let numbers = |sent: usize, verdicts: &std::collections::BTreeMap<String, usize>| {
        let counts = used.iter().map(|name| verdicts.get(*name).copied().unwrap_or(0));
        std::iter::once(sent).chain(counts).collect::<Vec<_>>()
    };
    for authority in authorities(summary) {
        table.add_row(row(&named(authority), numbers(authority.sent, &authority.verdicts)));
    }
    table.add_row(row("all", numbers(summary.sent, &summary.verdicts)));
    table
}

fn arrived(summary: &Summary) -> Table {
    let countries: Vec<_> = summary.countries.iter().map(|country| country.name.as_str()).collect();
    let titles = ["authority", "delivered"].into_iter().chain(countries).chain(["gateway's peak memory"]);
    let mut table = table(&titles.collect::<Vec<_>>());
    for country in &summary.countries {
        for authority in &country.authorities {
            let from = summary.countries.iter().map(|origin| u64::from(origin.country));
            let from = from.map(|origin| authority.delivered_from.get(&origin).copied().unwrap_or(0));
            let mut cells =
                row(&named(authority), std::iter::once(authority.delivered).chain(from).collect());
            let mebibytes = country.gateway_peak_rss_bytes.div_ceil(1 << 20);
            cells.push(Cell::new(format!("{mebibytes} MiB")).set_alignment(CellAlignment::Right));
            table.add_row(cells);
        }
    }
    table
}

fn table(titles: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_header(titles.iter().map(|title| title.replace('_', " ")));
    table
}

fn row(name: &str, numbers: Vec<usize>) -> Vec<Cell> {
    let numbers = numbers.into_iter().map(|number| Cell::new(number).set_alignment(CellAlignment::Right));
    std::iter::once(Cell::new(name)).chain(numbers).collect()
}

fn named(authority: &AuthoritySummary) -> String {
    format!("{} {}", authority.authority, authority.name)
}

fn authorities(summary: &Summary) -> impl Iterator<Item = &AuthoritySummary> {
    summary.countries.iter().flat_map(|country| &country.authorities)
}
