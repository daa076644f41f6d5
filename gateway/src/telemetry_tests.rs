//! Every metric has its place on the page, and every name of the page is a metric.

use super::*;
use crate::circuit::State;

/// Everything has happened once.
fn busy() -> Metrics {
    let (metrics, france) = (Metrics::default(), CountryCode::new(250).unwrap());
    let (authority, waiting) = ("826/1".parse().unwrap(), Waiting { batches: 1, oldest_seconds: 1 });
    metrics.pushed(&Verdict::ALL);
    metrics.sealed(&[(france, 100)]);
    metrics.pulled(france, 1, 100);
    metrics.refused(france, "gap");
    metrics.delivered(authority, 1);
    metrics.handshake_failed("peers", Failure::without_alert("timeout"));
    metrics.connection_broken(&france, "altered");
    metrics.call_refused("826/1", &Status::unimplemented("none"));
    metrics.purged(1);
    metrics.undelivered(authority, waiting);
    metrics.unacknowledged(france, waiting);
    metrics.cursor_lag(france, 1);
    metrics.retried(france, "pull");
    metrics.circuit(france, State::Closed, State::Open(std::time::Instant::now()));
    metrics.over_quota(&authority, "calls");
    metrics.expiries(&[Expiry { what: "certificate", of: "826".into(), at: 1 }]);
    metrics.store_size(1);
    metrics.damaged("inbox");
    metrics.mended();
    metrics.lost("outbox");
    metrics
}

/// What Prometheus' own `promtool check metrics` finds wrong in names and texts.
fn lint(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        let (Some("#"), Some(what), Some(name), Some(rest)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let mut wrong = |is: bool, problem: &str| {
            if is {
                problems.push(format!("{name}: {problem}"));
            }
        };
        let parts: Vec<_> = name.split('_').collect();
        wrong(what == "HELP" && rest.trim().is_empty(), "no help text");
        wrong(name.chars().any(|c| !c.is_ascii_lowercase() && c != '_'), "not in snake_case");
        let types = ["counter", "gauge", "histogram", "summary", "metric", "count", "sum", "bucket", "info"];
        wrong(parts.iter().any(|part| types.contains(part)), "a type in the name");
        wrong(name.ends_with("_total"), "the suffix is written by the encoder, for counters alone");
        let units =
            ["ms", "milliseconds", "minutes", "hours", "days", "kb", "kibibytes", "megabytes", "octets"];
        wrong(parts.iter().any(|part| units.contains(part)), "not a base unit");
        let timed = ["age", "oldest", "timestamp"].iter().any(|word| parts.contains(word));
        wrong(timed && !name.ends_with("_seconds"), "a time without its unit");
    }
    problems
}

#[test]
fn every_name_follows_the_conventions_of_prometheus() {
    let text = busy().text();
    assert_eq!(lint(&text), Vec::<String>::new());
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    for line in samples.filter(|line| line.contains("_total")) {
        assert!(line.split(['{', ' ']).next().unwrap().ends_with("_total"), "{line}");
    }
    assert_eq!(lint("# HELP a_ms Time\n# TYPE a_gauge gauge").len(), 2);
}

#[test]
fn every_metric_is_on_the_page_and_every_name_of_the_page_is_a_metric() {
    let text = busy().text();
    let page = include_str!("../../deploy/metrics.md");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let shown: Vec<_> = samples.map(|line| line.split(['{', ' ']).next().unwrap()).collect();
    for name in &shown {
        assert!(page.contains(&format!("`{name}`")), "{name} is not in deploy/metrics.md");
    }
    for name in page.split('`').filter(|word| word.starts_with("exchange_")) {
        assert!(shown.contains(&name), "{name} is in deploy/metrics.md, and no metric");
    }
    let alerts = include_str!("../../deploy/alerts.rules.yml");
    let words = alerts.split(|c: char| !c.is_ascii_lowercase() && c != '_');
    for name in words.filter(|word| word.starts_with("exchange_")) {
        assert!(shown.contains(&name), "{name} is in deploy/alerts.rules.yml, and no metric");
    }
}

#[test]
fn every_metric_has_the_labels_of_the_page_and_no_others() {
    let text = busy().text();
    let page = include_str!("../../deploy/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `exchange_"));
    let mut seen = 0;
    for row in rows {
        let cells: Vec<_> = row.split('|').collect();
        let name = format!("exchange_{}", cells[0].trim().trim_end_matches('`'));
        let of_page: Vec<_> = cells[1].split(',').map(str::trim).filter(|label| !label.is_empty()).collect();
        let samples = text.lines().filter_map(|line| line.strip_prefix(name.as_str()));
        for sample in samples.filter(|rest| rest.starts_with(['{', ' '])) {
            let labels = sample.split_once('}').map_or("", |(labels, _)| labels);
            let labels: Vec<_> =
                labels.split(['{', ',']).filter_map(|label| Some(label.split_once('=')?.0)).collect();
            assert_eq!(labels, of_page, "{name}");
            seen += 1;
        }
    }
    assert!(seen > 25, "{seen}");
}

#[test]
fn what_no_longer_expires_is_no_longer_shown() {
    let metrics = busy();
    metrics.expiries(&[]);
    assert!(!metrics.text().contains("certificate"));
}

#[test]
fn what_is_told_once_begins_at_zero() {
    let metrics = Metrics::default();
    metrics.follow(CountryCode::new(250).unwrap());
    let text = metrics.text();
    let of = |name: &str, label: &str, values: &[&str]| {
        for value in values {
            let sample = format!("exchange_{name}_total{{{label}=\"{value}\"}} 0");
            assert!(text.lines().any(|line| line == sample), "{sample} is not in {text}");
        }
    };
    of("envelopes", "verdict", &Verdict::ALL.map(Verdict::name));
    of("batches_damaged", "stream", &["inbox", "outbox", "answer"]);
    of("batches_lost", "stream", &["inbox", "outbox"]);
    let told_once = ["purged", "damaged_at_origin", "our_store_is_damaged"];
    of("batches_refused", "peer=\"250\",reason", &told_once);
    metrics.refused(CountryCode::new(250).unwrap(), "purged");
    metrics.follow(CountryCode::new(250).unwrap());
    assert!(metrics.text().contains("reason=\"purged\"} 1"), "a peer that comes back keeps its count");
}
