//! Chapter 1: a British owner falls ill, and a French phone is warned by its country's national system.

use anyhow::Result;

use super::cast::Cast;
use super::stage::{FRANCE, Stage, unix_now};
use super::told::{Fact, Phase, Told};
use super::waited::{SHOWS, Waited};
use crate::admin;
use crate::leaks::Secrets;
use crate::members::country;
use crate::phone::{Stay, meet};

/// What 12 minutes at 1-2 m and 3 at less than 1 m add, in tenths of a metre-minute.
const SUBTOTAL: u16 = 12 * 4 + 3 * 10;

pub(super) async fn tell(stage: &mut Stage, cast: &mut Cast, told: &mut Told) -> Result<()> {
    told.chapter("A British owner falls ill, and France warns the French owner");
    meeting(stage, cast, told)?;
    case(stage, cast, told).await?;
    crossing(stage, told).await?;
    recognition(stage, cast, told).await
}

fn meeting(stage: &mut Stage, cast: &mut Cast, told: &mut Told) -> Result<()> {
    let stay = Stay::new(stage.now - 3 * 3_600, 12, 1.5).then(3, 0.8);
    meet(&mut stage.air, [&mut cast.alice, &mut cast.bruno], &stay)?;
    let said = stage.air.said();
    let lengths: Vec<_> = said.iter().map(Vec::len).collect();
    let names = [&cast.alice, &cast.bruno].map(|phone| phone.in_secured().map(|own| own.uuid()));
    let tokens = cast.alice.log().iter().chain(cast.bruno.log().iter()).map(|met| met.token.clone());
    let hidden = names.into_iter().flatten().map(|name| name.to_vec()).chain(tokens).collect::<Vec<_>>();
    let secrets = Secrets::new(&hidden)?;
    let silent = said.iter().all(|octets| secrets.find(octets).is_empty());
    let contacts = [&cast.alice, &cast.bruno].map(|phone| phone.log().iter().count());
    told.end(
        told.step("secured-meeting", Phase::Meeting, "Alice (826/0) and Bruno (250/0)")
            .what(
                "They sit together for 15 minutes. Each phone asks the other once, with a key for this once.",
            )
            .knows("radio", "two headers, 826/0 and 250/0, and four one-time keys")
            .knows("Alice's phone", "two tokens of a phone of 250/0 that it cannot open, and how near it was")
            .knows("Bruno's phone", "the same of a phone of 826/0")
            .check("70 octets ask and 200 answer, both ways", Fact::same(&lengths, &[70, 200, 70, 200]))
            .check("no name and no token is on the air", silent)
            .check("each phone has one contact", Fact::same(&contacts, &[1, 1])),
    );
    Ok(())
}

async fn case(stage: &mut Stage, cast: &Cast, told: &mut Told) -> Result<()> {
    let case = cast.alice.case(stage.now)?;
    let (contacts, size) = (case.contacts.len(), case.octets()?.len());
    let answer = stage.case(&cast.alice, case).await?;
    told.end(
        told.step("british-case", Phase::Case, "Alice (826/0)")
            .what("She tests positive. Her authority makes a one-time case code; her phone uploads its log.")
            .knows(
                "authority 826/0",
                "that a case of its own met a phone of 250/0, and how near; both tokens stay closed",
            )
            .knows("the line to 826/0", "that some phone uploaded 1 MiB; every upload has that size")
            .check("the upload is accepted", Fact::same(&answer.status.is_success(), &true))
            .check("it names one contact, in 1 MiB", Fact::same(&(contacts, size), &(1, 1 << 20))),
    );
    Ok(())
}

async fn crossing(stage: &Stage, told: &mut Told) -> Result<()> {
    let arrived = async || stage.national.events().first().cloned();
    let (event, took) = stage.wait("the French national system has the contact", arrived).await?;
    let metrics = stage.federation.metrics(country(826)).await?;
    let batches =
        |peer| admin::metric(&metrics, "exchange_batches_total", &[("peer", peer), ("direction", "out")]);
    let accepted = admin::metric(&metrics, "exchange_envelopes_total", &[("verdict", "accepted")]);
    let report = event["report"].to_string();
    told.end(
        told.step("britain-to-france", Phase::Crossing, "826/0 to 250/0")
            .what(format!(
                "The report crosses sealed; France opens the service token and posts the contact to its national \
                 system, {:.1} s later.",
                took.as_secs_f64()
            ))
            .knows("gateway of 826", "that one report goes to 250/0")
            .knows("gateway of 250", "that one batch came from 826 for 250/0; it has no key that opens it")
            .knows("authority 250/0", "the name that Bruno's phone seals for it, and minutes by distance; not who is ill")
            .knows("Australia", "nothing")
            .check(
                "one envelope is accepted; one batch goes to France, none to Australia",
                Fact::same(&[accepted, batches("250"), batches("36")], &[1.0, 1.0, 0.0]),
            )
            .check("France computes the subtotal", Fact::same(&event["subtotal"], &SUBTOTAL))
            .check("the report says a quarter hour and no exact time", report.contains("\"start\"") && !report.contains("unix")),
    );
    Ok(())
}

async fn recognition(stage: &Stage, cast: &mut Cast, told: &mut Told) -> Result<()> {
    let status = cast.bruno.ask_national(stage.national.address(), unix_now()).await?;
    let waited = Waited::exposed(&cast.bruno);
    let list = stage.home(FRANCE)?.get("/v1/exposures?since=0", None).await?;
    told.end(
        told.step("warned-by-the-national-system", Phase::Recognition, "Bruno (250/0)")
            .what(format!(
                "His phone asks the national system, which has added up {} of 60: he is told, {} minutes later.",
                status.risk, waited.minutes
            ))
            .knows("Bruno", "that he was exposed, and how much; not by whom or where")
            .knows("other phones of 250/0", "nothing: a centralised country posts no contacts")
            .check("the threshold is reached", status.exposed)
            .check(SHOWS, waited.shows)
            .check("the sum is what his country computed", Fact::same(&status.risk, &SUBTOTAL))
            .check("France's list is empty", Fact::same(&(list.status.as_u16(), list.body.len()), &(200, 0))),
    );
    Ok(())
}
