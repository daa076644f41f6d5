//! `country-adapter quarantine`: what was set aside, for a person to look at.
//!
//! Works while the adapter runs, as its user. `deploy/runbooks/quarantine.md` says how to decide.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use country_adapter::config::ConfigFile;
use country_adapter::durable::Disk;
use country_adapter::receive::{InQuarantine, Quarantine};
use proto::batch::Manifest;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the batches that were set aside: name, day, octets, and the first reason
    #[command(after_help = "Example:\n  country-adapter quarantine list /etc/exchange/country-adapter.toml")]
    List {
        /// The configuration file
        config: PathBuf,
    },
    /// Show what is known of a batch, and all reasons
    #[command(
        after_help = "Example:\n  country-adapter quarantine show /etc/exchange/country-adapter.toml 17-250-9f86d081884c7d65"
    )]
    Show(Shown),
    /// Have the adapter take batches again: within half a minute if it runs, or at its next start
    ///
    /// What was taken of a batch before is not taken twice, and no quota holds for the rest. A batch that is still
    /// refused comes back with its reason.
    #[command(
        after_help = "Example:\n  country-adapter quarantine replay /etc/exchange/country-adapter.toml 17-250-9f86d081884c7d65"
    )]
    Replay(Named),
    /// Remove batches for good
    #[command(
        after_help = "Example:\n  country-adapter quarantine drop /etc/exchange/country-adapter.toml 17-250-9f86d081884c7d65"
    )]
    Drop(Named),
}

#[derive(Args)]
pub(crate) struct Shown {
    /// The configuration file
    config: PathBuf,
    /// The batch's name, as `list` shows it
    name: String,
}

#[derive(Args)]
pub(crate) struct Named {
    /// The configuration file
    config: PathBuf,
    /// The batches' names, as `list` shows them
    #[arg(required = true)]
    names: Vec<String>,
}

pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let (Command::List { config }
    | Command::Show(Shown { config, .. })
    | Command::Replay(Named { config, .. })
    | Command::Drop(Named { config, .. })) = command;
    let file = match ConfigFile::read(config) {
        Err(problem) => return Ok(crate::invalid([*problem])),
        Ok(file) => file,
    };
    let quarantine = Quarantine::open(&file.config.state, Disk::default())
        .context("run this as the user of the adapter")?;
    match command {
        Command::List { .. } => list(&quarantine)?,
        Command::Show(Shown { name, .. }) => println!("{}", all(&quarantine, name)?),
        Command::Replay(Named { names, .. }) => replay(&quarantine, names)?,
        Command::Drop(Named { names, .. }) => remove(&quarantine, names)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(quarantine: &Quarantine) -> anyhow::Result<()> {
    let batches = quarantine.list()?;
    if batches.is_empty() {
        eprintln!("nothing is in quarantine");
    }
    batches.iter().for_each(|batch| println!("{}", line(batch)));
    Ok(())
}

fn line(batch: &InQuarantine) -> String {
    let InQuarantine { name, since, octets, reason, is_asked } = batch;
    let asked = if *is_asked { "to be taken again: " } else { "" };
    format!("{name}  {since}  {octets}  {asked}{}", reason.lines().next().unwrap_or_default())
}

fn all(quarantine: &Quarantine, name: &str) -> anyhow::Result<String> {
    let [batch] = <[_; 1]>::try_from(known(quarantine, &[name.to_owned()])?).expect("one for each name");
    let signed = quarantine.batch(name)?.with_context(|| format!("{name} is no batch"))?;
    let manifest = Manifest::parse(&signed.manifest).map_or_else(
        |malformed| format!("the manifest does not parse: {malformed}"),
        |manifest| {
            let header = manifest.header;
            format!(
                "origin       {}\nsequence     {}\nbatch        {}\ndestination  {}\nsealed to    {}\nsealed at    minute {}",
                header.origin, manifest.sequence, header.id, header.destination, header.key, header.sealed_at
            )
        },
    );
    Ok(format!("{}\n{manifest}\n{}", line(&batch), batch.reason))
}

fn replay(quarantine: &Quarantine, names: &[String]) -> anyhow::Result<()> {
    for batch in known(quarantine, names)?.iter().filter(|batch| !batch.is_asked) {
        quarantine.ask(&batch.name)?;
    }
    println!("{} to be taken again; the adapter's log says what becomes of them", names.len());
    Ok(())
}

fn remove(quarantine: &Quarantine, names: &[String]) -> anyhow::Result<()> {
    known(quarantine, names)?.iter().try_for_each(|batch| quarantine.remove(&batch.name))?;
    println!("{} dropped", names.len());
    Ok(())
}

/// The batches of some names, in their order; nothing is done if one is not there.
fn known(quarantine: &Quarantine, names: &[String]) -> anyhow::Result<Vec<InQuarantine>> {
    let all = quarantine.list()?;
    let find = |name: &String| {
        let found = all.iter().find(|batch| batch.name == *name).cloned();
        found.with_context(|| format!("{name} is not in quarantine; `list` shows what is"))
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use proto::wire;

    use super::*;

    #[test]
    fn batches_are_listed_shown_asked_for_and_dropped_by_their_names_and_by_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::open(dir.path(), Disk::default()).unwrap();
        for position in [7, 8] {
            let batch = wire::SignedBatch { manifest: "none".into(), ..wire::SignedBatch::default() };
            quarantine.keep(position, &batch, "first reason\nsecond reason").unwrap();
        }
        let listed = quarantine.list().unwrap();
        let names: Vec<_> = listed.iter().map(|batch| batch.name.clone()).collect();
        assert!(line(&listed[0]).starts_with("7-unknown-") && line(&listed[0]).ends_with("  first reason"));
        let shown = all(&quarantine, &names[0]).unwrap();
        assert!(shown.contains("does not parse") && shown.ends_with("second reason"), "{shown}");
        replay(&quarantine, &names[..1]).unwrap();
        replay(&quarantine, &names[..1]).unwrap();
        assert!(line(&quarantine.list().unwrap()[0]).ends_with("to be taken again: first reason"));
        let strange = [names[1].clone(), "../day".into()];
        assert!(remove(&quarantine, &strange).is_err() && all(&quarantine, "../day").is_err());
        assert_eq!(quarantine.list().unwrap().len(), 2, "nothing is done if one is not there");
        remove(&quarantine, &names).unwrap();
        assert!(quarantine.list().unwrap().is_empty());
    }
}
