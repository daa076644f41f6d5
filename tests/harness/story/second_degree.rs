//! Chapter 8: second degree, which the United Kingdom has switched on: somebody whom many ill persons have met, advice
//! that a person signs off, and a contact of somebody who was exposed.

use anyhow::{Context, Result, ensure};
use country_adapter::lists::Advice;
use country_adapter::second_degree::lag::LONGEST;
use proto::day::Day;
use serde_json::Value;

use super::forged_lists;
use super::stage::{Stage, UK, unix_now};
use super::told::{Fact, Phase, Told};
use super::waited::{SHOWS, Waited};
use crate::desk::Degree;
use crate::members::authority;
use crate::phone::{Found, Phone, Stay, meet};

/// Cases that have met the same phone.
const CASES: usize = 5;
/// What all five contacts add: five times five minutes at 2-4 m.
const RISK: u16 = 5 * 5;

/// Whom many have met, and who was there.
pub(super) struct Carrier {
    pub(super) zoe: Phone,
    pub(super) yann: Phone,
    /// The cases.
    pub(super) ill: Vec<Phone>,
    /// By which an operator knows her phone.
    pub(super) number: String,
}

pub(super) async fn tell(stage: &mut Stage, told: &mut Told) -> Result<Carrier> {
    told.chapter("Second degree, within one country: somebody whom many ill persons have met");
    let (mut zoe, mut yann) = (stage.secured("Zoe", UK).await?, stage.secured("Yann", UK).await?);
    let ill = meeting(stage, &mut zoe, &mut yann, told).await?;
    let number = candidate(stage, &ill, &zoe, told).await?;
    sign_off(stage, &number, told).await?;
    advised(stage, &mut zoe, told).await?;
    forged_lists::advice(stage, &zoe, told)?;
    next_degree(stage, &zoe, &mut yann, told).await?;
    Ok(Carrier { zoe, yann, ill, number })
}

async fn meeting(
    stage: &mut Stage,
    zoe: &mut Phone,
    yann: &mut Phone,
    told: &mut Told,
) -> Result<Vec<Phone>> {
    let from = stage.now - 2 * 3_600;
    let mut ill = Vec::new();
    for name in ["Ben", "Cleo", "Finn", "Hana", "Ines"] {
        let mut phone = stage.secured(name, UK).await?;
        meet(&mut stage.air, [&mut *zoe, &mut phone], &Stay::new(from, 5, 3.0))?;
        ill.push(phone);
    }
    meet(&mut stage.air, [zoe, yann], &Stay::new(from, 20, 1.0))?;
    told.end(
        told.step("carrier-meets", Phase::Meeting, "Zoe, and five others who do not know each other (826/0)")
            .what("Zoe feels well. She spends five minutes with each of five people, and twenty with Yann.")
            .knows("each phone", "closed tokens of whom it met, and no name")
            .knows("authority 826/0", "nothing of these meetings")
            .check(
                "each of the five has one contact",
                ill.iter().all(|phone| phone.log().iter().count() == 1),
            ),
    );
    Ok(ill)
}

async fn candidate(stage: &mut Stage, ill: &[Phone], zoe: &Phone, told: &mut Told) -> Result<String> {
    let few = candidates(stage).await?;
    let mut accepted = 0;
    for phone in ill {
        let case = phone.case(stage.now)?;
        accepted += usize::from(stage.case(phone, case).await?.status.is_success());
    }
    let found = candidates(stage).await?;
    let all = found["candidates"].as_array().context("candidates are a list")?;
    let printed = found.to_string();
    let number = all.first().and_then(|one| one["number"].as_str()).unwrap_or_default().to_owned();
    told.end(
        told.step("candidate", Phase::Case, "five cases, and an epidemiologist of 826/0")
            .what("All five fall ill and upload. `country-adapter advice candidates` shows one phone that all have met.")
            .knows("the epidemiologist", "a random number, and that five cases met it; no name and no phone")
            .check("nobody was a candidate before", Fact::same(&few["candidates"], &Value::Array(Vec::new())))
            .check("five uploads are accepted", Fact::same(&accepted, &CASES))
            .check("one phone is a candidate, by five cases", Fact::same(&all.iter().map(|one| &one["cases"]).collect::<Vec<_>>(), &[CASES]))
            .check("the name that Zoe's phone seals is not shown", !printed.contains(&zoe.in_secured()?.name())),
    );
    ensure!(!number.is_empty(), "there is no candidate to go on with: {printed}");
    Ok(number)
}

async fn candidates(stage: &Stage) -> Result<Value> {
    let printed =
        stage.federation.command(authority(UK), &["advice", "candidates", "CONFIG", "--json"]).await?;
    ensure!(printed.status == Some(0), "no candidates of {UK}: {}", printed.errors);
    Ok(serde_json::from_str(&printed.text)?)
}

async fn sign_off(stage: &Stage, number: &str, told: &mut Told) -> Result<()> {
    let arguments = [
        "advice",
        "sign-off",
        "CONFIG",
        number,
        "--advice",
        "asymptomatic-carrier",
        "--by",
        "Dr. A. Lovelace",
    ];
    let signed = stage.federation.command(authority(UK), &arguments).await?;
    let again = stage.federation.command(authority(UK), &arguments).await?;
    let listed = stage.federation.command(authority(UK), &["advice", "list", "CONFIG"]).await?;
    told.end(
        told.step("sign-off", Phase::Recognition, "Dr. Lovelace (826/0)")
            .what("She looks into it and signs off the advice to get a test, by command.")
            .knows("authority 826/0", "who has signed off what, in a log whose lines are chained")
            .check("it is taken", Fact::same(&signed.status, &Some(0)))
            .check("not twice", Fact::same(&again.status, &Some(1)))
            .check("the log names her", listed.text.contains("Dr. A. Lovelace")),
    );
    Ok(())
}

async fn advised(stage: &Stage, zoe: &mut Phone, told: &mut Told) -> Result<()> {
    // Two lists, each posted when its own time has come.
    let told_all = |found: &Found| found.own >= CASES && !found.advice.is_empty();
    let (found, _) = stage.poll_until(zoe, told_all).await?;
    let (waited, at) = (is_advised(zoe, Advice::AsymptomaticCarrier), zoe.all_shown_at());
    // The phone is switched off and on again.
    *zoe = Phone::load(&zoe.save()?, stage.home(UK)?)?;
    let now = unix_now();
    told.end(
        told.step("advised", Phase::Recognition, "Zoe (826/0)")
            .what(format!(
                "Her phone finds one of its tokens on a list that its authority has signed, waits {} minutes, drawn \
                 once from 0 to 30, and then tells her.",
                waited.minutes
            ))
            .knows("Zoe", "that she should get a test; not who was ill, nor when she met them")
            .knows("who stands beside her", "nothing from the moment at which her phone speaks up")
            .check("the advice is hers", Fact::same(&found.advice.as_slice(), &[Advice::AsymptomaticCarrier]))
            .check(SHOWS, waited.shows)
            .check("a restart does not draw it again", Fact::same(&zoe.all_shown_at(), &at))
            .check("her contacts alone would not have told her", Fact::same(&(zoe.warnings().risk(Day::of_unix(now)), zoe.shown(now + LONGEST).exposed), &(RISK, false))),
    );
    Ok(())
}

/// The wait of a phone that has found some advice.
fn is_advised(phone: &Phone, advice: Advice) -> Waited {
    Waited::of(phone, unix_now(), |shown| shown.advice == [advice])
}

async fn next_degree(stage: &Stage, zoe: &Phone, yann: &mut Phone, told: &mut Told) -> Result<()> {
    let before = yann.warnings().contacts();
    let code = stage.federation.case_code(authority(UK), Degree::Second).await?;
    let answer = zoe.upload(&code, &zoe.case(stage.now)?).await?;
    let (found, _) = stage.poll_until(yann, |found| !found.advice.is_empty()).await?;
    told.end(
        told.step("second-degree", Phase::Recognition, "Zoe and Yann (826/0)")
            .what("Before her test is back, Zoe uploads with a code of the second degree; Yann's phone is advised.")
            .knows("Yann", "that a contact of his was exposed; no risk is added")
            .check("the upload is accepted", answer.status.is_success())
            .check("his phone is advised", Fact::same(&found.advice.as_slice(), &[Advice::SecondDegree]))
            .check(SHOWS, is_advised(yann, Advice::SecondDegree).shows)
            .check("nothing counts", Fact::same(&yann.warnings().contacts(), &before)),
    );
    Ok(())
}
