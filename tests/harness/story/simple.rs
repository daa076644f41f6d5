//! Chapter 4: phones on Herald Simple of the United Kingdom and Victoria: keys that phones match, and identifiers that
//! are sent home.

use anyhow::Result;
use country_adapter::lists::ListKind;
use proto::day::Day;

use super::cast::Cast;
use super::stage::{Stage, unix_now};
use super::told::{Fact, Phase, Told};
use super::waited::Waited;
use crate::members::country;
use crate::phone::{Stay, meet};

/// What 18 minutes at 1-2 m add.
const SUBTOTAL: u16 = 18 * 4;

pub(super) async fn tell(stage: &mut Stage, cast: &mut Cast, told: &mut Told) -> Result<()> {
    told.chapter("Phones without a secured exchange: the United Kingdom and Victoria");
    meeting(stage, cast, told)?;
    keys(stage, cast, told).await?;
    matched(stage, cast, told).await?;
    identifiers(stage, cast, told).await?;
    recognised(stage, cast, told).await
}

/// Yesterday at noon: a day's key may be published when the day is over.
fn yesterday(stage: &Stage) -> u64 {
    Day::of_unix(stage.now).minus(1).unix() + Day::SECONDS / 2
}

fn meeting(stage: &mut Stage, cast: &mut Cast, told: &mut Told) -> Result<()> {
    let stay = Stay::new(yesterday(stage), 18, 1.5);
    meet(&mut stage.air, [&mut cast.gwen, &mut cast.mia], &stay)?;
    meet(&mut stage.air, [&mut cast.harry, &mut cast.noah], &stay)?;
    let tokens = [&cast.gwen, &cast.mia, &cast.harry, &cast.noah].map(|phone| phone.log().iter().count());
    told.end(
        told.step("simple-meeting", Phase::Meeting, "Gwen (826/0) and Mia (36/2); Harry (826/0) and Noah (36/2)")
            .what("Yesterday they met in pairs for 18 minutes. Each phone advertises a new identifier every 6 minutes.")
            .knows("radio", "headers and identifiers that nobody can link, as long as no key of a day is published")
            .check("each phone heard three identifiers", Fact::same(&tokens, &[3, 3, 3, 3])),
    );
    Ok(())
}

async fn keys(stage: &mut Stage, cast: &Cast, told: &mut Told) -> Result<()> {
    let days = [Day::of_unix(yesterday(stage))];
    let case = cast.mia.case_of_keys(stage.now, &days, &[country(826)])?;
    let answer = stage.case(&cast.mia, case).await?;
    told.end(
        told.step("victorian-case", Phase::Case, "Mia (36/2)")
            .what("She tests positive, and was in the United Kingdom. Her phone uploads its own key of yesterday.")
            .knows("authority 36/2", "what Mia's phone advertised yesterday, and where she was")
            .check("the upload is accepted", Fact::same(&answer.status.is_success(), &true)),
    );
    Ok(())
}

async fn matched(stage: &Stage, cast: &mut Cast, told: &mut Told) -> Result<()> {
    let (found, took) = stage.poll_until(&mut cast.gwen, |found| found.heard > 0).await?;
    let entries = found.entries.get(&ListKind::DailyKeys).copied().unwrap_or(0);
    told.end(
        told.step("victoria-to-britain", Phase::Crossing, "36/2 to 826/0")
            .what(format!(
                "A diagnosis key goes to the country that was visited, which posts {entries} keys {:.1} s later.",
                took.as_secs_f64()
            ))
            .knows("France", "nothing: Mia was not there")
            .knows("phones of 826/0", "what some phone of somewhere advertised yesterday")
            .check("the list is filled up to a multiple of 64", entries > 0 && entries % 64 == 0),
    );
    let today = Day::of_unix(unix_now());
    let risk = cast.gwen.warnings().risk(today);
    told.end(
        told.step("matched-by-key", Phase::Recognition, "Gwen (826/0)")
            .what(format!(
                "Her phone expands all keys to 240 identifiers each, and has heard {} of them.",
                found.heard
            ))
            .knows(
                "Gwen's phone",
                "which of its contacts it was: with keys, phones can tell. With Secured they cannot",
            )
            .check("three identifiers match", Fact::same(&found.heard, &3))
            .check(
                "18 minutes at 1-2 m reach the threshold",
                Fact::same(&(risk, Waited::exposed(&cast.gwen).shows), &(SUBTOTAL, true)),
            ),
    );
    Ok(())
}

async fn identifiers(stage: &mut Stage, cast: &Cast, told: &mut Told) -> Result<()> {
    let case = cast.harry.case(stage.now)?;
    let contacts = case.contacts.len();
    let answer = stage.case(&cast.harry, case).await?;
    told.end(
        told.step("simple-case", Phase::Case, "Harry (826/0)")
            .what("He tests positive, and his phone uploads the identifiers that it heard.")
            .knows("authority 826/0", "identifiers of 36/2 that say nothing to it")
            .check("the upload is accepted", Fact::same(&answer.status.is_success(), &true))
            .check("it names three identifiers", Fact::same(&contacts, &3)),
    );
    Ok(())
}

async fn recognised(stage: &Stage, cast: &mut Cast, told: &mut Told) -> Result<()> {
    let (found, took) = stage.poll_until(&mut cast.noah, |found| found.own >= 3).await?;
    let today = Day::of_unix(unix_now());
    let risk = cast.noah.warnings().risk(today);
    told.end(
        told.step("recognised-at-home", Phase::Recognition, "Noah (36/2)")
            .what(format!(
                "Each identifier goes home to Victoria, which posts it; {:.1} s later his phone knows itself again.",
                took.as_secs_f64()
            ))
            .knows("authority 36/2", "identifiers of some phone of its own; not whose")
            .check("all three are his", Fact::same(&found.own, &3))
            .check("18 minutes at 1-2 m are added, in three parts", Fact::same(&risk, &SUBTOTAL)),
    );
    Ok(())
}
