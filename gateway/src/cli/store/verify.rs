//! `gateway store verify`.

use gateway::chains;
use gateway::names;
use gateway::store::sled::rebuild;
use gateway::store::sled::verify::{Finding, Seen};
use gateway::store::{Store, StoreError};
use serde::Serialize;

use super::report::{Progress, table};
use super::{Broken, DAMAGED, Which};

/// One thing that is wrong, for people and for programs.
#[derive(Debug, Serialize)]
struct Wrong {
    kind: &'static str,
    what: String,
    harmless: bool,
    remedy: &'static str,
}

#[derive(Debug, Serialize)]
struct Report {
    store: String,
    entries: u64,
    answers: u64,
    octets: u64,
    findings: Vec<Wrong>,
    good: bool,
}

const REFILL: &str = "start the gateway: it fetches the batch again from its origin";
const ONLY_HERE: &str =
    "nobody else has it unless its peer has acknowledged it: the authority publishes again";
const FORGET: &str = "its push cannot be answered again; it is forgotten at its time";
const INDEX: &str = "make the index anew: gateway store rebuild";
const RESTORE: &str = "it was never right or was altered by hand: compare it with a backup";
const COPY: &str =
    "nothing is lost as long as the index is whole: `gateway store export` and `import` make a whole store";
const NOTHING: &str = "nothing to do: it goes with its segment";

pub(super) async fn run(which: &Which, json: bool) -> Result<u8, Broken> {
    let (directory, _) = which.place()?;
    let report = match which.open() {
        Ok(store) => verified(&store).await?,
        Err(Broken::Store(StoreError::Corrupt { what })) => {
            let survey = rebuild::survey(&directory)?;
            let remedy = if survey.is_lossless() {
                "start the gateway: it makes the index anew, and nothing is lost"
            } else {
                "see what would be lost: gateway store rebuild"
            };
            let (entries, answers) = (survey.entries, survey.answers);
            let what = format!("it does not open: {what}; {survey}");
            let findings = vec![Wrong { kind: "store", what, harmless: false, remedy }];
            Report { store: String::new(), entries, answers, octets: 0, findings, good: false }
        }
        Err(broken) => return Err(broken),
    };
    let report = Report { store: directory.display().to_string(), ..report };
    if json {
        println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
    } else {
        print(&report);
    }
    Ok(if report.good { 0 } else { DAMAGED })
}

async fn verified(store: &gateway::store::sled::SledStore) -> Result<Report, Broken> {
    let progress = Progress::new();
    let verified = store.verify(&mut |seen| progress.say(|| shown(seen)));
    let (seen, mut findings) = match verified {
        Ok((seen, found)) => (seen, found.iter().map(wrong).collect::<Vec<_>>()),
        Err(StoreError::Broken) => {
            let what = "it cannot be read".to_owned();
            let unreadable = Wrong { kind: "index", what, harmless: false, remedy: INDEX };
            (Seen::default(), vec![unreadable])
        }
        Err(error) => return Err(error.into()),
    };
    if !findings.iter().any(|finding| finding.kind == "index") {
        progress.say(|| "chains".into());
        for broken in chains::check(store).await? {
            let place = format!("{} {}", names::of_stream(broken.stream), broken.sequence);
            let what = format!("{place}: {}", broken.what);
            findings.push(Wrong { kind: "chain", what, harmless: false, remedy: RESTORE });
        }
    }
    drop(progress);
    let closed = store.close().await;
    if !matches!(closed, Ok(()) | Err(StoreError::Broken)) {
        closed?;
    }
    let good = findings.iter().all(|finding| finding.harmless);
    let Seen { entries, answers, octets } = seen;
    Ok(Report { store: String::new(), entries, answers, octets, findings, good })
}

fn shown(Seen { entries, answers, octets }: Seen) -> String {
    format!("{entries} entries, {answers} answers, {} MB of segments", octets / 1_000_000)
}

fn wrong(finding: &Finding) -> Wrong {
    let (kind, remedy) = match finding {
        Finding::Entry { stream, .. } if names::inbox_authority(*stream).is_some() => ("entry", REFILL),
        Finding::Entry { .. } => ("entry", ONLY_HERE),
        Finding::Missing { .. } => ("missing", INDEX),
        Finding::Answer { .. } => ("answer", FORGET),
        Finding::Tail { .. } | Finding::Times { .. } | Finding::Counter { .. } => ("index", INDEX),
        Finding::Frame(_) => ("frame", COPY),
        Finding::Waste(_) => ("waste", NOTHING),
    };
    let what = match finding {
        Finding::Entry { stream, sequence, what } => {
            format!("{} {sequence} is damaged at {what}", names::of_stream(*stream))
        }
        Finding::Missing { stream, first, last } => {
            format!("{} {first} to {last} are not there", names::of_stream(*stream))
        }
        Finding::Tail { stream } => {
            format!("the end of {} is not the link of its last entry", names::of_stream(*stream))
        }
        other => other.to_string(),
    };
    Wrong { kind, what, harmless: finding.is_harmless(), remedy }
}

fn print(report: &Report) {
    if !report.findings.is_empty() {
        let mut table = table(&["what", "remedy"]);
        for finding in &report.findings {
            table.add_row([finding.what.as_str(), finding.remedy]);
        }
        println!("{table}");
    }
    let verdict = if report.good { "good" } else { "DAMAGED" };
    let (entries, answers) = (report.entries, report.answers);
    println!("{verdict}: {entries} entries and {answers} answers in {}", report.store);
}
