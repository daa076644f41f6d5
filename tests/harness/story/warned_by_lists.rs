//! Chapter 2: a French owner falls ill; one British phone finds itself in a list, and another one a venue.

use anyhow::Result;
use country_adapter::herald::venue;
use country_adapter::lists::ListKind;
use proto::extended::ExtendedData;

use super::cast::Cast;
use super::stage::{Stage, UK, unix_now};
use super::told::{Fact, Phase, Told};
use super::waited::Waited;
use crate::members::authority;
use crate::phone::{Found, Stay, meet, visit};

/// What 20 minutes at 1-2 m add.
const SUBTOTAL: u16 = 20 * 4;
/// A public house in London, by its number.
pub(super) const LOCATION: u32 = 123_456;

pub(super) async fn tell(stage: &mut Stage, cast: &mut Cast, told: &mut Told) -> Result<()> {
    told.chapter("A French owner falls ill, and British phones warn their owners themselves");
    meeting(stage, cast, told)?;
    at_the_venue(stage, cast, told)?;
    case(stage, cast, told).await?;
    let found = crossing(stage, cast, told).await?;
    recognition(cast, &found, told).await?;
    same_venue(stage, cast, told).await
}

fn meeting(stage: &mut Stage, cast: &mut Cast, told: &mut Told) -> Result<()> {
    let stay = Stay::new(stage.now - 2 * 3_600, 20, 1.5);
    meet(&mut stage.air, [&mut cast.clara, &mut cast.dan], &stay)?;
    let minutes =
        cast.clara.log().iter().next().map(|met| met.near.minutes().map(|minutes| minutes.number()));
    told.end(
        told.step("second-meeting", Phase::Meeting, "Clara (250/0) and Dan (826/0)")
            .what("They stand together for 20 minutes, between one and two metres apart.")
            .knows("Clara's phone", "two closed tokens of a phone of 826/0, and 20 minutes at 1-2 m")
            .check("minutes are counted by distance", Fact::same(&minutes, &Some([0, 20, 0, 0]))),
    );
    Ok(())
}

fn at_the_venue(stage: &mut Stage, cast: &mut Cast, told: &mut Told) -> Result<()> {
    let beacon = venue::beacon(authority(UK), LOCATION, ExtendedData::parse(b"\x11\x03bar")?)?;
    let from = stage.now - 90 * 60;
    visit(&mut stage.air, &mut cast.clara, &beacon, &Stay::new(from, 60, 5.0))?;
    visit(&mut stage.air, &mut cast.emma, &beacon, &Stay::new(from + 15 * 60, 60, 5.0))?;
    let visits = [&cast.clara, &cast.emma].map(|phone| phone.diary().visits().count());
    told.end(
        told.step("venue-visit", Phase::Meeting, "Clara (250/0) and Emma (826/0)")
            .what("They are at the same public house in London and do not meet. Its beacon says 826/0 and a number.")
            .knows("each phone's diary", "the venue's number, from when and until when")
            .check("each diary has one visit", Fact::same(&visits, &[1, 1])),
    );
    Ok(())
}

async fn case(stage: &mut Stage, cast: &Cast, told: &mut Told) -> Result<()> {
    let case = cast.clara.case(stage.now)?;
    let contacts = case.contacts.len();
    let answer = stage.case(&cast.clara, case).await?;
    told.end(
        told.step("french-case", Phase::Case, "Clara (250/0)")
            .what("She tests positive. Her phone uploads one contact and one visit.")
            .knows(
                "authority 250/0",
                "that a case of its own met a phone of 826/0 and was at a venue of 826/0",
            )
            .check("the upload is accepted", Fact::same(&answer.status.is_success(), &true))
            .check("it names a contact and a venue", Fact::same(&contacts, &2)),
    );
    Ok(())
}

async fn crossing(stage: &Stage, cast: &mut Cast, told: &mut Told) -> Result<Found> {
    let is_posted = async || stage.posted(UK).is_ok_and(|posted| !posted.is_empty()).then_some(());
    let ((), took) = stage.wait("826/0 posts the contact", is_posted).await?;
    let (found, early) = stage.sleep(&mut cast.dan).await?;
    let entries = found.entries.get(&ListKind::Contacts).copied().unwrap_or(0);
    let passed = stage.metric(UK, "adapter_events_total", &[]).await?;
    told.end(
        told.step("france-to-britain", Phase::Crossing, "250/0 to 826/0")
            .what(format!(
                "826/0 opens the service token, checks it, and posts {entries} entries of 40 octets, {:.1} s later.",
                took.as_secs_f64()
            ))
            .knows("authority 826/0", "for a moment, the name that Dan's phone seals for it; then the posted entry alone")
            .knows("all phones of 826/0", "tokens that say nothing to any phone but one, days, and subtotals")
            .check("a contact and a visit pass its checks", Fact::same(&passed, &2))
            .check("Dan's phone asks at its own time within the hour, and not before", Fact::same(&early, &0))
            .check("the list is filled up to a multiple of 64", entries > 0 && entries % 64 == 0),
    );
    Ok(found)
}

async fn recognition(cast: &mut Cast, found: &Found, told: &mut Told) -> Result<()> {
    let today = proto::day::Day::of_unix(unix_now());
    let (risk, waited) = (cast.dan.warnings().risk(today), Waited::exposed(&cast.dan));
    let again = cast.dan.poll(unix_now()).await?;
    told.end(
        told.step("warned-by-the-list", Phase::Recognition, "Dan (826/0)")
            .what(format!("His phone finds its own token among all, adds {risk} of 60, waits {} minutes, drawn once from 0 to 30, and tells him.", waited.minutes))
            .knows("Dan", "that he was exposed, and how much; not by whom or where")
            .knows("authority 826/0", "not whose token it was: every phone downloads the same list")
            .check("token, time code, receipt and day fit one exchange", Fact::same(&found.own, &1))
            .check("the sum reaches the threshold: he is told", waited.shows)
            .check("it is 20 minutes at 1-2 m", Fact::same(&risk, &SUBTOTAL))
            .check("nothing counts twice", Fact::same(&again.own, &0)),
    );
    Ok(())
}

async fn same_venue(stage: &Stage, cast: &mut Cast, told: &mut Told) -> Result<()> {
    let (found, _) = stage.poll_until(&mut cast.emma, |found| found.venue_minutes > 0).await?;
    let entries = found.entries.get(&ListKind::Venues).copied().unwrap_or(0);
    told.end(
        told.step("warned-of-the-venue", Phase::Recognition, "Emma (826/0)")
            .what(format!(
                "Her phone finds the venue in its diary: {} minutes together.",
                found.venue_minutes
            ))
            .knows("Emma", "that somebody ill was at that venue at that time")
            .knows("authority 826/0", "the venue and the time; not that Emma was there")
            .check("the times overlap by 30 minutes or more", found.venue_minutes >= 30)
            .check("no contact is hers", Fact::same(&found.own, &0))
            .check("the list of venues is filled up too", entries > 0 && entries % 64 == 0),
    );
    Ok(())
}
