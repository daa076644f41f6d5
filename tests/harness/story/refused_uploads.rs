//! Chapter 5: attackers at the door for phones, each refused with a problem document; nothing of theirs is stored.

use anyhow::{Context, Result};
use http::StatusCode;
use serde_json::Value;

use super::cast::Cast;
use super::stage::{CONTACTS_PER_CASE, Stage, UK};
use super::told::{Fact, Phase, Told};
use crate::desk::Degree;
use crate::members::authority;
use crate::phone::{Answer, Case};

const DAY: u64 = 86_400;
/// Wrong codes that are tried at most until one is refused for their number.
const FLOOD: usize = 200;

pub(super) async fn tell(stage: &mut Stage, cast: &Cast, told: &mut Told) -> Result<()> {
    told.chapter("Attackers at the door for phones");
    replayed_upload(stage, cast, told).await?;
    let code = stage.federation.case_code(authority(UK), Degree::First).await?;
    stale_contacts(stage, cast, (&code, told)).await?;
    too_many_contacts(stage, cast, (&code, told)).await?;
    wrong_size(stage, cast, (&code, told)).await?;
    still_good(cast, (&code, told), stage).await?;
    wrong_codes(stage, cast, told).await
}

async fn replayed_upload(stage: &Stage, cast: &Cast, told: &mut Told) -> Result<()> {
    let (code, case) = stage.uploaded.first().context("somebody has uploaded")?;
    let before = stage.national.events().len();
    let same = cast.alice.upload(code, case).await?;
    let other = cast.alice.upload(code, &Case { contacts: Vec::new(), ..case.clone() }).await?;
    let known = |answer: &Answer| answer.member("same_upload").unwrap_or(Value::Null);
    told.end(
        told.step("replayed-upload", Phase::Case, "an attacker with Alice's case code")
            .what("The code was used. Neither her own upload nor another one is taken with it again.")
            .knows("the attacker", "that the code was used")
            .check(
                "the same upload is told from",
                Fact::same(&(same.in_a_word(), known(&same)), &("409 case-code-used".into(), true.into())),
            )
            .check("another one is refused", Fact::same(&other.in_a_word().as_str(), &"409 case-code-used"))
            .check("France gets nothing more", Fact::same(&stage.national.events().len(), &before)),
    );
    Ok(())
}

async fn stale_contacts(stage: &Stage, cast: &Cast, (code, told): (&str, &mut Told)) -> Result<()> {
    let case = |days: i64| -> Result<Case> {
        let mut case = cast.alice.case(stage.now)?;
        let moved = |met: &mut crate::phone::Detected| met.near = met.near.moved(days * DAY.cast_signed());
        case.contacts.iter_mut().for_each(moved);
        Ok(case)
    };
    let old = cast.alice.upload(code, &case(-16)?).await?;
    let future = cast.alice.upload(code, &case(3)?).await?;
    told.end(
        told.step("stale-contact", Phase::Case, "an attacker with a good case code")
            .what("Contacts of 16 days ago and of three days ahead are refused whole.")
            .knows("the attacker", "which contact is too old or too early: what its own upload said")
            .knows("authority 826/0", "nothing of these contacts: none is stored")
            .check("too old", Fact::same(&old.in_a_word().as_str(), &"422 contact-too-old"))
            .check(
                "from the future",
                Fact::same(&future.in_a_word().as_str(), &"422 contact-from-the-future"),
            ),
    );
    Ok(())
}

async fn too_many_contacts(stage: &Stage, cast: &Cast, (code, told): (&str, &mut Told)) -> Result<()> {
    let mut case = cast.alice.case(stage.now)?;
    let one = case.contacts.first().context("Alice met Bruno")?.clone();
    case.contacts = vec![one; CONTACTS_PER_CASE + 1];
    let answer = cast.alice.upload(code, &case).await?;
    told.end(
        told.step("too-many-contacts", Phase::Case, "the same attacker")
            .what(format!("{} contacts in one case: one more than 826/0 takes.", CONTACTS_PER_CASE + 1))
            .knows("the attacker", "how many contacts a case may have")
            .knows("authority 826/0", "nothing of these contacts: none is stored")
            .check("refused whole", Fact::same(&answer.in_a_word().as_str(), &"422 too-many-contacts")),
    );
    Ok(())
}

async fn wrong_size(stage: &Stage, cast: &Cast, (code, told): (&str, &mut Told)) -> Result<()> {
    let octets = cast.alice.case(stage.now)?.octets()?;
    let short = cast.alice.upload_octets(code, octets[..octets.len() - 1].to_vec()).await?;
    let long = cast.alice.upload_octets(code, [&octets[..], &[0; 1]].concat()).await?;
    let garbage = cast.alice.upload_octets(code, vec![0xa5; octets.len()]).await?;
    told.end(
        told.step("malformed-upload", Phase::Case, "the same attacker")
            .what("An octet less, an octet more, and a mebibyte of nonsense.")
            .knows("the attacker", "the one size that all uploads have, which the documents say too")
            .knows("authority 826/0", "nothing: what has no form is not stored")
            .check("shorter than all others", Fact::same(&short.in_a_word().as_str(), &"400 wrong-size"))
            .check("longer", Fact::same(&long.in_a_word().as_str(), &"413 upload-too-large"))
            .check("no upload at all", Fact::same(&garbage.in_a_word().as_str(), &"400 malformed-upload")),
    );
    Ok(())
}

/// Nothing was stored, and the code was not used up by what was refused.
async fn still_good(cast: &Cast, (code, told): (&str, &mut Told), stage: &Stage) -> Result<()> {
    let case = Case { contacts: Vec::new(), ..cast.alice.case(stage.now)? };
    let answer = cast.alice.upload(code, &case).await?;
    told.end(
        told.step("code-still-good", Phase::Case, "somebody whose phone met nobody")
            .what("The code that the refused uploads named is still good for one that is not.")
            .knows(
                "authority 826/0",
                "that a code was used; an upload without contacts looks like any other on the line",
            )
            .check("an upload without contacts is accepted", Fact::same(&answer.status.is_success(), &true)),
    );
    Ok(())
}

async fn wrong_codes(stage: &mut Stage, cast: &Cast, told: &mut Told) -> Result<()> {
    let case = Case { contacts: Vec::new(), ..cast.alice.case(stage.now)? };
    // The code is looked at first, so there is no need of a body.
    let (mut tried, mut last) = (0, cast.alice.upload_octets("0000-0000-0000", Vec::new()).await?);
    let first = last.in_a_word();
    while tried < FLOOD && last.status != StatusCode::TOO_MANY_REQUESTS {
        last = cast.alice.upload_octets(&format!("0000-0000-{tried:04}"), Vec::new()).await?;
        tried += 1;
    }
    let right = stage.case(&cast.alice, case).await?;
    told.end(
        told.step("flood-of-wrong-codes", Phase::Case, "an attacker who guesses case codes")
            .what(format!("A code is one of 2^60. After {tried} wrong ones there is a pause."))
            .knows("the attacker", "nothing: every wrong code is answered alike")
            .check("a wrong code is unknown", Fact::same(&first.as_str(), &"404 unknown-case-code"))
            .check(
                "too many are refused",
                Fact::same(&last.in_a_word().as_str(), &"429 too-many-wrong-codes"),
            )
            .check("it is said when to come again", last.retry_after().is_some())
            .check("a right code passes meanwhile", right.status.is_success()),
    );
    Ok(())
}
