//! Chapter 6: attackers with a confirmed case in France, who send what is not theirs or what nobody has made. The
//! issuer counts it by reason and posts nothing; nobody is told.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use country_adapter::herald::secured::report::ReportToken;
use country_adapter::lists::ListKind;

use super::cast::Cast;
use super::stage::{FRANCE, Stage, TOKENS_A_DAY, UK, unix_now};
use super::told::{Fact, Phase, Told};
use crate::attackers::{Junk, carry};
use crate::members::authority;
use crate::phone::{Case, Mismatch, Phone, Stay, meet};

/// What the upload of this chapter makes 826/0 count: each kind of junk once, a clock that is two steps ahead, and a
/// token of another case.
const REFUSED: [(&str, u64); 7] = [
    ("unknown_key", 1),
    ("not_opened", 1),
    ("malformed_token", 1),
    ("key_of_another_day", 1),
    ("wrong_time_code", 2),
    ("outside_of_contact", 1),
    ("already_seen", 1),
];

/// Everybody of this chapter.
struct Scene {
    /// A phone whose time codes run a step ahead.
    ivy: Phone,
    /// A phone whose time codes run two steps ahead.
    jack: Phone,
    /// The attacker's, who is ill.
    mallory: Phone,
    /// What the attacker's upload holds.
    case: Case,
    /// Confirmation tokens of the junk that is refused, and of the one that is not.
    junk: (Vec<[u8; 16]>, [u8; 16]),
}

pub(super) async fn tell(stage: &mut Stage, cast: &mut Cast, told: &mut Told) -> Result<()> {
    told.chapter("An attacker with a confirmed case in France");
    let mut scene = Scene::set(stage, cast).await?;
    let before = counts(stage).await?;
    let answer = stage.case(&scene.mallory, scene.case.clone()).await?;
    // The last good one of the upload: when it is there, so are the counts.
    let (found, _) = stage.poll_until(&mut scene.ivy, |found| found.own > 0).await?;
    let after = counts(stage).await?;
    let added: BTreeMap<_, _> =
        after.iter().map(|(reason, count)| (*reason, count - before[reason])).collect();

    junk(stage, (&answer.in_a_word(), &added), &scene, told)?;
    replayed_token(cast, &added, told).await?;
    relay(cast, told).await?;
    skew(&mut scene, (found.own, &added), told).await?;
    nobodys_token(stage, cast, told).await?;
    flood(stage, cast, told).await
}

impl Scene {
    async fn set(stage: &mut Stage, cast: &mut Cast) -> Result<Self> {
        let mut mallory = stage.secured("Mallory", FRANCE).await?;
        let (mut ivy, mut jack) = (stage.secured("Ivy", UK).await?, stage.secured("Jack", UK).await?);
        let stay = Stay::new(stage.now - 1_800, 20, 1.0);
        ivy.in_secured_mut()?.run_codes_ahead(1);
        jack.in_secured_mut()?.run_codes_ahead(2);
        meet(&mut stage.air, [&mut ivy, &mut mallory], &stay)?;
        meet(&mut stage.air, [&mut jack, &mut mallory], &stay)?;
        carry(&mut stage.air, [&mut cast.emma, &mut mallory], &stay)?;
        let mut case = mallory.case(stage.now)?;
        case.contacts.push(cast.clara.log().iter().next().context("Clara met Dan")?.clone());
        let mut tokens = Vec::new();
        for junk in Junk::REFUSED.into_iter().chain([Junk::OfNobody]) {
            let keys = cast.emma.in_secured()?.keys();
            let invented = junk.contact(keys, authority(UK), &stay)?;
            tokens.push(*ReportToken::parse(&invented.token)?.confirmation.octets());
            case.contacts.push(invented);
        }
        let nobodys = tokens.pop().context("the last one is nobody's")?;
        Ok(Self { ivy, jack, mallory, case, junk: (tokens, nobodys) })
    }
}

/// What 826/0 has refused so far, by reason.
async fn counts(stage: &Stage) -> Result<BTreeMap<&'static str, u64>> {
    let mut counts = BTreeMap::new();
    for (reason, _) in REFUSED {
        counts.insert(reason, stage.refused(UK, reason).await?);
    }
    Ok(counts)
}

fn junk(
    stage: &Stage,
    (answer, added): (&str, &BTreeMap<&'static str, u64>),
    scene: &Scene,
    told: &mut Told,
) -> Result<()> {
    let wanted: BTreeMap<_, _> = REFUSED.into_iter().collect();
    let posted = stage.posted(UK)?;
    let is_posted = |token: &[u8; 16]| posted.windows(16).any(|window| window == token);
    told.end(
        told.step("sealed-junk", Phase::Crossing, "Mallory (250/0)")
            .what(
                "She seals invented service tokens to the public keys of 826/0, in six ways that are wrong.",
            )
            .knows("Mallory", format!("that her upload was taken ({answer}), and nothing else"))
            .knows("authority 826/0", "how many tokens came to nothing, by reason, and that 250 sent them")
            .check("each is counted under its own reason", Fact::same(added, &wanted))
            .check("none is posted", !scene.junk.0.iter().any(is_posted))
            .check("what is well sealed is, though no phone made it", is_posted(&scene.junk.1))
            .check("her upload is answered like any other", answer.starts_with('2')),
    );
    Ok(())
}

async fn replayed_token(cast: &mut Cast, added: &BTreeMap<&'static str, u64>, told: &mut Told) -> Result<()> {
    let contacts = cast.dan.warnings().contacts();
    let found = cast.dan.poll(unix_now()).await?;
    told.end(
        told.step("replayed-token", Phase::Crossing, "Mallory (250/0) and Dan (826/0)")
            .what("She reports a token of Dan's that Clara has reported before.")
            .knows("Mallory", "nothing: her report is taken as any other")
            .knows("authority 826/0", "that a token of its own came twice; not whose it is")
            .check("826/0 has seen it", Fact::same(&added.get("already_seen"), &Some(&1)))
            .check("it is not posted again", Fact::same(&(found.own, found.silent.len()), &(0, 0)))
            .check("Dan's risk stays", Fact::same(&cast.dan.warnings().contacts(), &contacts)),
    );
    Ok(())
}

async fn relay(cast: &mut Cast, told: &mut Told) -> Result<()> {
    let contacts = cast.emma.warnings().contacts();
    let found = cast.emma.poll(unix_now()).await?;
    told.end(
        told.step("relayed-token", Phase::Recognition, "a relay between Emma (826/0) and Mallory (250/0)")
            .what(
                "A device near Emma ended the exchange itself and carried her tokens to Mallory, who is ill. 826/0 \
                 opens the token: it is good. Emma's phone sees another exchange receipt than its own.",
            )
            .knows("Emma", "nothing: her phone stays silent")
            .check("the receipt differs", Fact::same(&found.silent.as_slice(), &[Mismatch::Receipt]))
            .check("Emma's risk stays", Fact::same(&cast.emma.warnings().contacts(), &contacts)),
    );
    Ok(())
}

async fn skew(
    scene: &mut Scene,
    (own, added): (usize, &BTreeMap<&'static str, u64>),
    told: &mut Told,
) -> Result<()> {
    let jack = scene.jack.poll(unix_now()).await?;
    told.end(
        told.step("clock-skew", Phase::Crossing, "Ivy and Jack (826/0)")
            .what("Ivy's time codes are a step of 15 minutes ahead, Jack's two. Both met Mallory.")
            .knows("Jack", "nothing")
            .check("one step is accepted, and Ivy's phone finds itself", Fact::same(&own, &1))
            .check("two steps are refused and counted", Fact::same(&added.get("wrong_time_code"), &Some(&2)))
            .check("nothing of Jack's is posted", Fact::same(&(jack.own, jack.silent.len()), &(0, 0))),
    );
    Ok(())
}

async fn nobodys_token(stage: &Stage, cast: &mut Cast, told: &mut Told) -> Result<()> {
    let mut kate = stage.secured("Kate", UK).await?;
    let (met_nobody, met_bruno) = (kate.poll(unix_now()).await?, cast.alice.poll(unix_now()).await?);
    let recognised = [&met_nobody, &met_bruno].map(|found| found.own + found.silent.len());
    let read = met_nobody.entries.get(&ListKind::Contacts).copied().unwrap_or(0);
    told.end(
        told.step("nobodys-token", Phase::Recognition, "Mallory (250/0) and all phones of 826/0")
            .what(
                "One invented token has nothing wrong with it, except that no phone made it. It is posted, and no \
                 phone knows it.",
            )
            .knows("authority 826/0", "nothing of this: junk that is sealed well costs it work, up to the quota of 250")
            .check("Kate's phone, which has met nobody, reads the whole list", read >= 64)
            .check("neither it nor Alice's, which has met somebody, finds itself", Fact::same(&recognised, &[0, 0])),
    );
    Ok(())
}

/// Half as many tokens again as a country may have opened in a day, sealed so well that each would be posted.
async fn flood(stage: &mut Stage, cast: &Cast, told: &mut Told) -> Result<()> {
    let mallory = stage.secured("Mallory again", FRANCE).await?;
    let mut case = mallory.case(stage.now)?;
    let (stay, keys) = (Stay::new(stage.now - 1_800, 20, 1.0), cast.emma.in_secured()?.keys());
    let sent = usize::try_from(TOKENS_A_DAY)? * 3 / 2;
    for _ in 0..sent {
        case.contacts.push(Junk::OfNobody.contact(keys, authority(UK), &stay)?);
    }
    let tokens = case.contacts.iter().map(|met| Ok(*ReportToken::parse(&met.token)?.confirmation.octets()));
    let tokens = tokens.collect::<Result<Vec<[u8; 16]>>>()?;
    let (passed, refused) = passed_and_refused(stage).await?;
    let answer = stage.case(&mallory, case).await?;
    let counted = async || {
        let (now_passed, now_refused) = passed_and_refused(stage).await.ok()?;
        let (passed, refused) = (now_passed - passed, now_refused - refused);
        (passed + refused >= sent as u64).then_some((passed, refused))
    };
    let ((passed, refused), _) = stage.wait("826/0 has counted the flood", counted).await?;
    let posted = async || {
        let posted = stage.posted(UK).ok()?;
        let found = tokens.iter().filter(|token| posted.windows(16).any(|window| window == *token)).count();
        (found as u64 >= passed).then_some(found as u64)
    };
    let (posted, _) = stage.wait("826/0 has posted what is within the quota", posted).await?;
    told.end(
        told.step("flood", Phase::Crossing, "Mallory (250/0)")
            .what(format!(
                "With another case she sends {sent} invented tokens that open. 826/0 opens {TOKENS_A_DAY} of one country \
                 in a day: {passed} more are posted, and {refused} wait in quarantine for a person to look at.",
            ))
            .knows("Mallory", "nothing: her upload is answered like any other")
            .knows("all phones of 826/0", format!("{posted} entries that are nobody's"))
            .check("her upload is answered like any other", answer.status.is_success())
            .check("no more than the quota passes", passed <= u64::from(TOKENS_A_DAY))
            .check("the rest is refused and counted", refused >= u64::from(TOKENS_A_DAY / 2))
            .check("and not posted", Fact::same(&posted, &passed)),
    );
    Ok(())
}

async fn passed_and_refused(stage: &Stage) -> Result<(u64, u64)> {
    let passed = stage.metric(UK, "adapter_events_total", &[]).await?;
    Ok((passed, stage.refused(UK, "over_quota").await?))
}
