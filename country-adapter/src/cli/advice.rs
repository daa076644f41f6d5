//! `country-adapter advice`: an operator looks at phones that many ill persons have met, and signs off what they are told.
//!
//! Works while the adapter runs. `deploy/runbooks/second-degree.md` says how to decide.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Subcommand, ValueEnum};
use country_adapter::Clock;
use country_adapter::config::ConfigFile;
use country_adapter::durable::Disk;
use country_adapter::second_degree::{Advise, CandidateNumber, Desk};
use proto::day::Day;
use serde_json::json;

#[derive(Subcommand)]
pub(crate) enum Advice {
    /// Show phones that enough ill persons have met within 14 days, by numbers that say nothing of their owners
    Candidates {
        /// The configuration file
        config: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Put advice for a candidate on the list that phones download
    #[command(
        after_help = "Example:\n  country-adapter advice sign-off /etc/exchange/country-adapter.toml 1f0c9a7be2d45583 --advice super-spreader --by \"Dr. A. Lovelace\""
    )]
    SignOff {
        /// The configuration file
        config: PathBuf,
        /// The candidate's number
        number: CandidateNumber,
        /// What its phone is told
        #[arg(long)]
        advice: Kind,
        /// Who decides
        #[arg(long)]
        by: String,
    },
    /// Show what was signed off, by whom and when
    List {
        /// The configuration file
        config: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Kind {
    AsymptomaticCarrier,
    SuperSpreader,
}

pub(crate) fn run(command: &Advice) -> anyhow::Result<ExitCode> {
    let (Advice::Candidates { config, .. } | Advice::SignOff { config, .. } | Advice::List { config }) =
        command;
    let file = match ConfigFile::read(config) {
        Err(problem) => return Ok(crate::invalid([*problem])),
        Ok(file) => file,
    };
    let second_degree = &file.config.second_degree;
    if !second_degree.enabled {
        bail!("second degree is off; set second_degree.enabled = true in {} first", config.display());
    }
    let problems: Vec<_> =
        file.config.contradictions().into_iter().filter(|(key, ..)| *key == "second_degree").collect();
    if !problems.is_empty() {
        let problems = problems.into_iter().map(|(key, wrong, remedy)| file.problem(key, wrong, remedy));
        return Ok(crate::invalid(problems));
    }
    let cases = usize::try_from(second_degree.cases)?;
    let (desk, now) = (Desk::open(&file.config.state, cases, Disk::default())?, Clock::default().now());
    match command {
        Advice::Candidates { json, .. } => candidates(&desk, now, *json)?,
        Advice::SignOff { number, advice, by, .. } => {
            let advice = match advice {
                Kind::AsymptomaticCarrier => Advise::AsymptomaticCarrier,
                Kind::SuperSpreader => Advise::SuperSpreader,
            };
            let signed = desk.sign_off(*number, advice, by, now)?;
            println!("signed off by {} for candidate {number}, met by {} cases", signed.by, signed.cases);
        }
        Advice::List { .. } => {
            for line in desk.signed_off()? {
                let day = Day::of_unix(line.at);
                println!("{day}  {}  {:?}  {} cases  {}", line.candidate, line.advice, line.cases, line.by);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn candidates(desk: &Desk, now: u64, as_json: bool) -> anyhow::Result<()> {
    let (candidates, overview) = desk.candidates(Day::of_unix(now))?;
    if as_json {
        let shown: Vec<_> = candidates
            .iter()
            .map(|candidate| {
                let (first, last) = candidate.days;
                json!({
                    "number": candidate.number.to_string(), "cases": candidate.cases, "risk": candidate.risk,
                    "first": first.to_string(), "last": last.to_string(),
                })
            })
            .collect();
        let overview = json!({
            "cases": overview.cases, "phones": overview.phones,
            "contacts_per_case": overview.contacts_per_case, "spikes": overview.spikes,
        });
        println!("{}", json!({ "candidates": shown, "overview": overview }));
        return Ok(());
    }
    let shown = |count: Option<usize>| count.map_or("fewer than 5".to_owned(), |count| count.to_string());
    println!("cases {}, phones {}", shown(overview.cases), shown(overview.phones));
    for candidate in candidates {
        let (first, last) = candidate.days;
        println!(
            "  {}  {} cases  {first} to {last}  risk {}",
            candidate.number, candidate.cases, candidate.risk
        );
    }
    Ok(())
}
