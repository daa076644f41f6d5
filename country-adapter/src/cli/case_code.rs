//! `country-adapter case-code`: for the health workers who tell somebody that a test was positive.
//!
//! Works while the adapter runs. A code is shown once; the disk keeps its hash only.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use country_adapter::Clock;
use country_adapter::config::ConfigFile;
use country_adapter::durable::Disk;
use country_adapter::phones::case_code::{CaseCode as Code, CaseCodes, Degree};
use serde_json::json;

/// The most codes that are made at once.
const MOST: u16 = 1_000;

#[derive(Subcommand)]
pub(crate) enum CaseCode {
    /// Make codes, each good for one upload, and print them
    #[command(
        after_help = "Example:\n  country-adapter case-code create /etc/exchange/country-adapter.toml --count 20"
    )]
    Create(Create),
    /// Show how many codes can be used, and until when; the codes themselves are not kept
    List {
        /// The configuration file
        config: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Make a code unusable
    #[command(
        after_help = "Example:\n  country-adapter case-code withdraw /etc/exchange/country-adapter.toml 7K3M-9QX2-TB4D"
    )]
    Withdraw {
        /// The configuration file
        config: PathBuf,
        /// The code
        code: String,
    },
}

#[derive(Args)]
pub(crate) struct Create {
    /// The configuration file
    config: PathBuf,
    /// How many, 1 to 1000
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST)))]
    count: u16,
    /// For somebody who was exposed and is not ill: contacts stay in the country, and are told without a score
    #[arg(long)]
    second_degree: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &CaseCode) -> anyhow::Result<ExitCode> {
    let (CaseCode::Create(Create { config, .. })
    | CaseCode::List { config, .. }
    | CaseCode::Withdraw { config, .. }) = command;
    let file = match ConfigFile::read(config) {
        Err(problem) => return Ok(crate::invalid([*problem])),
        Ok(file) => file,
    };
    let Some(phones) = &file.config.phones else {
        bail!("{} has no table [phones], so no phone could use a code", config.display());
    };
    let codes = CaseCodes::open(&file.config.state, Disk::default());
    let codes = codes.context("run this as the user of the adapter")?;
    let now = Clock::default().now();
    match command {
        CaseCode::Create(create) => {
            let off = create.second_degree && !file.config.second_degree.enabled;
            if off {
                bail!("second degree is off; set second_degree.enabled = true in {} first", config.display());
            }
            print_new(create, &codes, now + u64::from(phones.case_code_hours) * 3_600)?;
        }
        CaseCode::List { json, .. } => print_list(&codes, now, *json)?,
        CaseCode::Withdraw { code, .. } => {
            let code: Code = code.parse()?;
            codes.close(code.id()).context("run this as the user of the adapter")?;
            println!("withdrawn; if an upload was taken before, it stays taken");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_new(create: &Create, codes: &CaseCodes, expires: u64) -> anyhow::Result<()> {
    let degree = if create.second_degree { Degree::Second } else { Degree::First };
    let made = (0..create.count).map(|_| codes.create(expires, degree)).collect::<Result<Vec<_>, _>>();
    let made = made.context("run this as the user of the adapter")?;
    let made: Vec<_> = made.iter().map(ToString::to_string).collect();
    if create.json {
        println!("{}", json!({ "codes": made, "expires": expires, "degree": degree.number() }));
    } else {
        made.iter().for_each(|code| println!("{code}"));
    }
    Ok(())
}

fn print_list(codes: &CaseCodes, now: u64, as_json: bool) -> anyhow::Result<()> {
    let open = codes.list(now).context("run this as the user of the adapter")?;
    if as_json {
        let open: Vec<_> = open
            .iter()
            .map(|code| json!({ "id": code.id, "expires": code.expires, "degree": code.degree.number() }))
            .collect();
        println!("{}", json!({ "open": open }));
        return Ok(());
    }
    println!("{} codes can be used", open.len());
    for code in open {
        let hours = code.expires.saturating_sub(now).div_ceil(3_600);
        println!("  {}...  for {hours} h  degree {}", code.id, code.degree.number());
    }
    Ok(())
}
