//! `gateway store rebuild`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use gateway::clock::Clock;
use gateway::config::Config;
use gateway::store::Store;
use gateway::store::sled::SledStore;
use gateway::store::sled::gaps::Missing;
use gateway::store::sled::rebuild::{self, Losses};
use gateway::store::sled::survey::Survey;
use gateway::{embedded, names, prepare, recover, witness};
use pki::trust::{Status, TrustKeeper, TrustList};
use proto::batch::Stage;
use proto::ids::CountryCode;

use super::report::table;
use super::{Broken, DAMAGED};

pub(super) async fn run(
    path: &Path,
    (accept_losses, at_least): (bool, &[(CountryCode, u64)]),
    clock: &Clock,
) -> Result<u8, Broken> {
    let config = super::read(path)?;
    let (folder, mut proven) = (super::folder(&config)?, witness::read(&config.state)?);
    let owed = rebuild::owed(&folder)?;
    let noted = owed.as_deref().map(witness::parse).unwrap_or_default();
    for (country, number) in noted.into_iter().chain(at_least.iter().copied()) {
        let known = proven.entry(country).or_default();
        *known = (*known).max(number);
    }
    let survey = if folder.is_dir() { rebuild::survey(&folder)? } else { Survey::default() };
    let losses = losses(&survey, &proven);
    show(&survey, &losses);
    if proven.is_empty() {
        let state = config.state.display();
        println!(
            "  {state} does not say how far our numbers have been: is it the right folder? If it is gone, see \"Store and state are both gone\" in deploy/runbooks/restore-store.md"
        );
    }
    if losses.is_empty() && owed.is_none() {
        let rebuilt = rebuild::rebuild(&folder, Losses::Refuse, &embedded::stamp(clock))?;
        let Ok(rebuilt) = rebuilt else { return Err(changed()) };
        println!("made anew, nothing is lost; the old index is in {}", rebuilt.aside.display());
        return Ok(0);
    }
    if owed.is_some() {
        println!(
            "  an earlier run accepted losses and did not end: what follows from them is still to be done"
        );
    }
    if !accept_losses {
        println!("nothing was changed; to go on: the same command with --accept-losses");
        return Ok(DAMAGED);
    }
    // Without it nothing of what follows can be done.
    let trust = trust(&config, clock)?;
    prepare::make_state(&config)?;
    write_down(&config, &losses)?;
    rebuild::owe(&folder, &witness::text(&proven))?;
    if !losses.is_empty() {
        let Ok(rebuilt) = rebuild::rebuild(&folder, Losses::Accept, &embedded::stamp(clock))? else {
            return Err(changed());
        };
        println!("made anew; what there was is in {}", rebuilt.aside.display());
    }
    recover(&config, &trust, &proven, clock).await?;
    rebuild::paid(&folder)?;
    println!("start the gateway; peers go on behind the gap by themselves");
    Ok(0)
}

fn changed() -> Broken {
    Broken::Other("the segments changed meanwhile".into())
}

/// It says for whom numbers were given.
fn trust(config: &Config, clock: &Clock) -> Result<TrustList, Broken> {
    TrustKeeper::preview(&config.trust, &prepare::remembered(config), clock.now()).map_err(|cause| {
        Broken::Other(format!("the trust list says for whom numbers were given, and it is not good: {cause}; nothing was changed"))
    })
}

async fn recover(
    config: &Config,
    trust: &TrustList,
    proven: &BTreeMap<CountryCode, u64>,
    clock: &Clock,
) -> Result<(), Broken> {
    let countries: BTreeSet<CountryCode> = trust.countries().map(|country| country.code).collect();
    let authorities: Vec<_> =
        trust.countries().flat_map(|country| country.authorities.keys().copied()).collect();
    let (folder, options) = (super::folder(config)?, embedded::options(config));
    let store = SledStore::open_owing(&folder, options, &embedded::stamp(clock))?;
    let outboxes = recover::outboxes(&store, &countries, proven).await?;
    let active = trust.countries().filter(|country| country.status == Status::Active);
    let active = active.map(|country| country.code).collect();
    recover::positions(&store, &authorities).await?;
    let inboxes = recover::inboxes(&store, &countries, &active).await?;
    recover::key_lists(&store, &authorities).await?;
    store.close().await?;
    let mut table = table(&["country", "our last known number", "goes on with", "pulled again from"]);
    for outbox in outboxes {
        let inbox = inboxes.iter().find(|inbox| inbox.country == outbox.country);
        let from = inbox.map_or("-".to_owned(), |inbox| inbox.from.to_string());
        table.add_row([outbox.country.to_string(), outbox.known.to_string(), outbox.next.to_string(), from]);
    }
    println!("{table}");
    Ok(())
}

/// What cannot be brought back from here, a line each.
fn losses(survey: &Survey, proven: &BTreeMap<CountryCode, u64>) -> Vec<String> {
    let (mut losses, is_there) = (Vec::new(), survey.newest.is_some());
    // A new disk is an empty folder: whoever has a store to make anew had something in it.
    if !is_there {
        losses.push("the whole store: it is not there".to_owned());
    }
    losses.extend(survey.missing.iter().map(|missing| loss(missing, survey)));
    for stretch in &survey.damaged {
        let (segment, offset, octets) = (stretch.segment, stretch.offset, stretch.octets);
        losses.push(format!("segment {segment} offset {offset}: {octets} octets are damaged; an entry that is missing, or the answer of a push"));
    }
    if survey.unnamed > 0 {
        losses.push(format!("{} records of the first format, which name no stream", survey.unnamed));
    }
    if is_there && !survey.is_complete {
        losses.push("the first segments are gone: answers of pushes and cursors may be".to_owned());
    }
    let tails: BTreeMap<_, _> = survey.tails().collect();
    for (country, proven) in proven {
        let last = tails.get(&names::outbox(*country)).map_or(0, |tail| tail.last);
        if is_there && last < *proven {
            losses.push(format!(
                "outbox {country} ends at {last}, and it has been at {proven}: it is an older copy"
            ));
        }
    }
    losses
}

fn loss(missing: &Missing, survey: &Survey) -> String {
    let (stream, first, last) = (missing.stream, missing.first, missing.last);
    let stored = |country| survey.cursor(names::acknowledged(country, Stage::Stored)).through;
    let fate = match (names::outbox_country(stream), names::inbox_authority(stream)) {
        (Some(country), _) if last <= stored(country) => "its peer has them: nothing is lost",
        (Some(_), _) => "LOST unless the peer has them: their authorities publish again",
        (None, Some(_)) => {
            "pulled again from their origins, which keep them until a day after their delivery"
        }
        (None, None) => "receipts and key lists: whoever made them sends newer ones",
    };
    format!("{} {first} to {last}: {fate}", names::of_stream(stream))
}

fn show(survey: &Survey, losses: &[String]) {
    println!("{survey}");
    if let Some(torn) = survey.torn {
        let (octets, segment) = (torn.octets, torn.segment);
        println!(
            "the last {octets} octets of segment {segment} were not written to their end; nobody was answered for them"
        );
    }
    losses.iter().for_each(|loss| println!("  {loss}"));
}

fn write_down(config: &Config, losses: &[String]) -> Result<(), Broken> {
    if losses.is_empty() {
        return Ok(());
    }
    let path = config.state.join("lost.log");
    let text: String = losses.iter().map(|loss| format!("{loss}\n")).collect();
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|cause| Broken::Other(format!("cannot write {}: {cause}", path.display())))
}
