//! The same for people.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table};

use super::floor::Floor;
use super::measure::Measured;
use super::rig::PARTS;
use super::stage::Stage;
use super::summary::Summary;

/// All that was found.
#[must_use]
pub fn tables(summary: &Summary) -> String {
    let mut text = String::new();
    // Writing into a string cannot fail.
    let machine = &summary.machine;
    let _ = writeln!(
        text,
        "{} cores of {}, Linux {}, stores on {}; load {} when it began{}\n\n{}",
        machine.cores,
        machine.cpu,
        machine.kernel,
        machine.file_system,
        machine.load,
        if machine.is_awake { "; CPUs kept awake" } else { "" },
        rates(&summary.cases)
    );
    if let Some(headline) = summary.cases.first() {
        let _ = writeln!(text, "\nMilliseconds from accepted to opened\n{}", latencies(&summary.cases));
        let _ = writeln!(
            text,
            "\nThe floor of the first case, core microseconds a token\n{}",
            floor(&headline.floor)
        );
        let _ = writeln!(text, "\nCore seconds for a million tokens of the first case\n{}", cores(headline));
        if let Some(reason) = &headline.no_stages {
            let _ = writeln!(text, "Not by stage: {reason}");
        }
    }
    if let Some(files) = &summary.with_files {
        let _ = writeln!(
            text,
            "\nReal adapters with folders of files on both sides: {:.0} tokens/s, {} tokens",
            files.tokens_per_second, files.tokens
        );
    }
    for failed in &summary.failed {
        let _ = writeln!(text, "\nNOT MEASURED  {}: {}", failed.case, failed.error);
    }
    for case in summary.cases.iter().filter(|case| !case.ok) {
        let _ = writeln!(
            text,
            "\nWRONG  {}: {} tokens accepted, {} opened, {} of them again, {} that nobody sent",
            case.case, case.accepted, case.opened, case.repeated, case.strange
        );
    }
    text
}

fn rates(cases: &[Measured]) -> Table {
    let mut table =
        table(&["case", "end to end/s", "floor/s", "of it", "push/s", "pull/s", "memory", "wire", "disk"]);
    for measured in cases {
        table.add_row([
            measured.case.to_string(),
            thousands(measured.end_to_end_tokens_per_second),
            thousands(measured.floor_tokens_per_second),
            format!(
                "{:.0} %",
                100.0 * measured.end_to_end_tokens_per_second / measured.floor_tokens_per_second
            ),
            thousands(measured.push_tokens_per_second),
            thousands(measured.pull_tokens_per_second),
            format!("{:.0} MB", measured.gateway_peak_rss_bytes as f64 / 1e6),
            format!("{:.2}", measured.wire_bytes_per_report_byte),
            format!("{:.2}", measured.disk_bytes_per_report_byte),
        ]);
    }
    table
}

fn latencies(cases: &[Measured]) -> Table {
    let mut table = table(&["case", "load", "tokens/s", "p50", "p95", "p99", "max", "p99 from due"]);
    for measured in cases {
        for latency in &measured.latency {
            let times = latency.from_accepted_ms;
            table.add_row([
                measured.case.to_string(),
                format!("{} %", latency.load_percent),
                thousands(latency.tokens_per_second),
                format!("{:.1}", times.p50),
                format!("{:.1}", times.p95),
                format!("{:.1}", times.p99),
                format!("{:.1}", times.max),
                format!("{:.1}", latency.from_due_ms.p99),
            ]);
        }
    }
    table
}

fn floor(floor: &Floor) -> Table {
    let mut table = table(&["part", "us", "what"]);
    for cost in &floor.parts {
        table.add_row([cost.part.to_owned(), format!("{:.3}", cost.us_per_token), cost.what.to_owned()]);
    }
    table.column_mut(2).into_iter().for_each(|column| column.set_cell_alignment(CellAlignment::Left));
    table
}

/// A row a process, a column a stage that took any time.
fn cores(measured: &Measured) -> Table {
    let named = |stage: Stage| {
        serde_json::to_value(stage).ok().and_then(|name| Some(name.as_str()?.replace('_', " ")))
    };
    let of = |part: &str, stage: Stage| {
        let stages = measured.stages.as_ref().and_then(|parts| parts.get(part));
        stages.and_then(|stages| stages.get(&stage)).copied().unwrap_or_default()
    };
    let used: Vec<Stage> =
        Stage::ALL.into_iter().filter(|stage| PARTS.iter().any(|part| of(part, *stage) > 0.0)).collect();
    let heads = ["process".to_owned(), "all".to_owned()];
    let heads: Vec<_> =
        heads.into_iter().chain(used.iter().map(|stage| named(*stage).unwrap_or_default())).collect();
    let mut table = table(&heads.iter().map(String::as_str).collect::<Vec<_>>());
    for (part, all) in
        PARTS.into_iter().filter_map(|part| Some((part, measured.cpu_seconds_per_million_tokens.get(part)?)))
    {
        if *all > 0.0 {
            let stages = used.iter().map(|stage| format!("{:.2}", of(part, *stage)));
            let row = [part.replace('_', " "), format!("{all:.2}")];
            table.add_row(row.into_iter().chain(stages).collect::<Vec<_>>());
        }
    }
    table
}

fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header(heads.to_vec());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A whole number, with a mark between thousands.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_marked() {
        assert_eq!([0.4, 999.0, 1_000.0, 1_234_567.4].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
