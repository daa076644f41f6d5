//! What `federation story` tells: the four phases of Herald's interoperability as a person would tell them, on real
//! processes; the attackers, each refused; and the citizen whose own phone begins the next round.

mod again;
mod bystanders;
mod cast;
mod forged_lists;
pub mod holdings;
mod refused_tokens;
mod refused_uploads;
mod second_degree;
mod simple;
mod stage;
mod told;
mod waited;
mod warned_by_country;
mod warned_by_lists;

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

pub use cast::Cast;
pub use stage::{FRANCE, Stage, UK, VICTORIA, unix_now};
pub use told::{Aloud, Fact, Phase, Step, Told};

/// How a story is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Make everything in this folder and leave it there.
    pub keep: Option<PathBuf>,
    /// Print each step as it ends.
    pub aloud: Aloud,
    /// Print the commands that made the countries, on standard error.
    pub verbose: bool,
}

/// What was told, for machines.
#[derive(Debug, Clone, Serialize)]
pub struct Account {
    /// Every step in its order.
    pub steps: Vec<Step>,
    /// Whether every step holds, and the story came to its end.
    pub holds: bool,
    /// Why the story broke off, if it did.
    pub error: Option<String>,
    /// Processes that ran.
    pub processes: usize,
    /// How long all of it took.
    pub seconds: f64,
}

/// Tells the story on countries of its own.
pub async fn run(options: &Options) -> Result<Account> {
    let mut told = Told::new(options.aloud);
    told.say("Making keys, certificates and lists, and starting three countries ...");
    let mut stage = Stage::open(options.keep.as_deref()).await?;
    let processes = stage.federation.nodes().count();
    if options.verbose {
        let lines = stage.federation.commands().iter().cloned().chain(stage.federation.launches());
        lines.for_each(|line| eprintln!("  {line}"));
    }
    told.say(&format!(
        "{:5.1} s  {processes} processes run: gateways and adapters of the United Kingdom (826/0, decentralised), \
         France (250/0, centralised) and Victoria (36/2, decentralised)",
        told.seconds()
    ));
    let error = chapters(&mut stage, &mut told).await.err().map(|error| format!("{error:#}"));
    error.iter().for_each(|error| told.say(&format!("\nThe story breaks off: {error}")));
    let (holds, seconds) = (told.holds() && error.is_none(), told.seconds());
    let steps = told.steps().len();
    if options.keep.is_some() {
        told.say(&format!("\nEverything lies in {}", stage.federation.folder().display()));
    }
    told.say(&match holds {
        true => format!("\nAll {steps} steps hold, in {seconds:.1} s."),
        false => format!("\nThe story does NOT hold: see above, {steps} steps were told."),
    });
    Ok(Account { steps: told.steps().to_vec(), holds, error, processes, seconds })
}

async fn chapters(stage: &mut Stage, told: &mut Told) -> Result<()> {
    let mut cast = Cast::gather(stage).await?;
    warned_by_country::tell(stage, &mut cast, told).await?;
    warned_by_lists::tell(stage, &mut cast, told).await?;
    again::tell(stage, &mut cast, told).await?;
    simple::tell(stage, &mut cast, told).await?;
    refused_uploads::tell(stage, &cast, told).await?;
    refused_tokens::tell(stage, &mut cast, told).await?;
    forged_lists::tell(stage, &cast, told)?;
    let carrier = second_degree::tell(stage, told).await?;
    stage.close().await?;
    stage.save(&cast.all())?;
    holdings::tell(stage, &cast, told)?;
    bystanders::tell(stage, &cast, &carrier, told)
}
