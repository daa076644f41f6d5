//! Chapter 3: the exposed citizen falls ill himself, and the process repeats, at home and towards another country.

use anyhow::{Context, Result};
use proto::day::Day;

use super::cast::Cast;
use super::stage::{Stage, UK, unix_now};
use super::told::{Fact, Phase, Told};
use super::waited::Waited;
use crate::phone::{Stay, meet};

/// What 16 minutes at 1-2 m add.
const SUBTOTAL: u16 = 16 * 4;

pub(super) async fn tell(stage: &mut Stage, cast: &mut Cast, told: &mut Told) -> Result<()> {
    told.chapter("The exposed citizen falls ill, and the process repeats");
    meeting(stage, cast, told)?;
    case(stage, cast, told).await?;
    at_home(stage, cast, told).await?;
    abroad(stage, cast, told).await
}

fn meeting(stage: &mut Stage, cast: &mut Cast, told: &mut Told) -> Result<()> {
    let hour_ago = stage.now - 3_600;
    meet(&mut stage.air, [&mut cast.dan, &mut cast.emma], &Stay::new(hour_ago, 16, 1.5))?;
    meet(&mut stage.air, [&mut cast.dan, &mut cast.felix], &Stay::new(hour_ago, 16, 1.2))?;
    let contacts = cast.dan.log().iter().count();
    told.end(
        told.step("third-meeting", Phase::Meeting, "Dan (826/0), Emma (826/0) and Felix (250/0)")
            .what("Before he was warned, Dan met Emma and Felix for 16 minutes.")
            .knows("Dan's phone", "closed tokens of a phone of his own country and of two of 250/0")
            .check("his log has three contacts", Fact::same(&contacts, &3)),
    );
    Ok(())
}

async fn case(stage: &mut Stage, cast: &mut Cast, told: &mut Told) -> Result<()> {
    let waited = Waited::exposed(&cast.dan);
    let at = cast.dan.all_shown_at().context("Dan was warned")?;
    let others = [&mut cast.alice, &mut cast.emma].map(|phone| phone.wants_code(at));
    let before = cast.dan.wants_code(at - 1);
    let wanted = cast.dan.wants_code(at).context("Dan is told, and his phone asks for no case code")?;
    let again = cast.dan.wants_code(at);
    let events = stage.national.events().len();
    let case = cast.dan.case(stage.now)?;
    let answer = stage.case_wanted(&wanted, &cast.dan, case).await?;
    let arrived = async || (stage.national.events().len() >= events + 2).then_some(());
    let ((), took) = stage.wait("France has Dan's two contacts", arrived).await?;
    told.end(
        told.step("third-case", Phase::Case, "Dan (826/0)")
            .what(format!(
                "His phone asks for a case code, and he calls the health service of {}. The test is positive, a health \
                 worker makes the code, and his phone uploads; {:.1} s later France has its two contacts.",
                wanted.authority(),
                took.as_secs_f64()
            ))
            .knows("authority 826/0", "one contact of its own phones, and two that it sends to 250/0")
            .check("his phone had crossed the threshold, and waited", waited.shows && before.is_none())
            .check("phones that had not ask for none", others.iter().all(Option::is_none))
            .check("it asks once", again.is_none())
            .check("the upload is accepted", Fact::same(&answer.status.is_success(), &true))
            .check("France gets two and no more", Fact::same(&stage.national.events().len(), &(events + 2))),
    );
    Ok(())
}

async fn at_home(stage: &Stage, cast: &mut Cast, told: &mut Told) -> Result<()> {
    let before = cast.emma.warnings().risk(Day::of_unix(unix_now()));
    let (_, took) = stage.poll_until(&mut cast.emma, |found| found.own > 0).await?;
    let risk = cast.emma.warnings().risk(Day::of_unix(unix_now())) - before;
    told.end(
        told.step("warned-at-home", Phase::Recognition, "Emma (826/0)")
            .what(format!(
                "Her token never left the country: 826/0 posts it itself, {:.1} s later.",
                took.as_secs_f64()
            ))
            .knows("gateway of 826", "nothing of this contact")
            .check("16 minutes at 1-2 m are added", Fact::same(&risk, &SUBTOTAL))
            .check("she is told, after a wait of her own", Waited::exposed(&cast.emma).shows),
    );
    Ok(())
}

async fn abroad(stage: &Stage, cast: &mut Cast, told: &mut Told) -> Result<()> {
    let before = cast.felix.wants_code(unix_now());
    let status = cast.felix.ask_national(stage.national.address(), unix_now()).await?;
    let (waited, at) = (Waited::exposed(&cast.felix), cast.felix.all_shown_at().unwrap_or_default());
    let after = cast.felix.wants_code(at);
    let refused = stage.metric(UK, "adapter_tokens_refused_total", &[]).await?;
    told.end(
        told.step("warned-abroad", Phase::Recognition, "Felix (250/0)")
            .what(format!("The French national system has added up {} of 60: he is told.", status.risk))
            .knows(
                "Felix",
                "that he was exposed; not that it was the man who was warned of a French case before",
            )
            .check("16 minutes at 1-2 m are added", Fact::same(&status.risk, &SUBTOTAL))
            .check("he is told, after a wait of his own", status.exposed && waited.shows)
            .check(
                "his phone asks for a case code then, and did not before",
                before.is_none() && after.is_some(),
            )
            .check("nobody has refused anything so far", Fact::same(&refused, &0)),
    );
    Ok(())
}
