//! Chapter 7, and a step of chapter 8: somebody between an authority and its phones, who serves other lists.

use std::fs;

use anyhow::{Context, Result, ensure};
use country_adapter::lists::{Advice, Entry, Increment, ListKind};
use pki::sign::{SigningKey, VerifyingKey};

use super::cast::Cast;
use super::stage::{Stage, UK, VICTORIA, unix_now};
use super::told::{Fact, Phase, Told};
use crate::members::authority;
use crate::phone::{Phone, Shown};

/// What a phone says to a list that its authority has not signed.
const FORGERY: &str = "the increment was not signed by the authority's key for lists";

pub(super) fn tell(stage: &Stage, cast: &Cast, told: &mut Told) -> Result<()> {
    told.chapter("Lists that no authority has posted");
    let (kind, key) = (ListKind::Contacts, *stage.home(UK)?.list_key());
    let (good, other) = (first(stage, UK, kind)?, first(stage, VICTORIA, kind)?);
    let phone = || cast.gwen.like_new(stage.home(UK)?);
    let says = |octets: &[u8]| Ok::<_, anyhow::Error>(verdict(&mut phone()?, kind, octets));
    let forged = forged(&good, &key, &[Entry::new([7; Entry::LEN]); 64])?;
    let forgeries = [says(&forged)?, says(&altered(&good))?, says(&other)?];
    told.end(
        told.step(
            "forged-list",
            Phase::Recognition,
            "a network that carries static files, and a phone of 826/0",
        )
        .what("It signs a list by a key of its own, alters an octet of a true one, and serves Victoria's.")
        .knows("the phone", "its authority's key for lists, which came with the app")
        .check(
            "none is taken: the signature is not the authority's",
            forgeries.iter().all(|says| says == FORGERY),
        )
        .check("the true file is", Fact::same(&says(&good)?.as_str(), &"taken")),
    );
    Ok(())
}

/// The network would like to frighten Zoe: it knows her tokens from a list that all phones get.
pub(super) fn advice(stage: &Stage, zoe: &Phone, told: &mut Told) -> Result<()> {
    let (kind, key) = (ListKind::Advice, *stage.home(UK)?.list_key());
    let (good, contacts) = (first(stage, UK, kind)?, first(stage, UK, ListKind::Contacts)?);
    let (mut phone, before) = (Phone::load(&zoe.save()?, stage.home(UK)?)?, zoe.all_shown_at());
    phone.read_anew(kind);
    let own = Increment::parse(&good)?.check(&key)?.entries().filter_map(|entry| entry.as_advice());
    let worse: Vec<_> =
        own.map(|(token, code, day, _)| Entry::advice(token, code, day, Advice::SuperSpreader)).collect();
    let of_contacts = verdict(&mut phone, kind, &contacts);
    let forgeries =
        [forged(&good, &key, &worse)?, altered(&good)].map(|octets| verdict(&mut phone, kind, &octets));
    let shown = Shown { exposed: false, advice: vec![Advice::AsymptomaticCarrier] };
    told.end(
        told.step("forged-advice", Phase::Recognition, "a network that carries static files, and Zoe (826/0)")
            .what(
                "It signs worse advice with Zoe's own token and time code by a key of its own, alters an octet of the \
                 true list, and serves the list of contacts in its place.",
            )
            .knows("the network", "tokens and time codes, as every phone does; no key that Zoe's phone would believe")
            .check("forged and altered advice is not taken", forgeries.iter().all(|says| says == FORGERY))
            .check("nor is another list", of_contacts != "taken")
            .check("what she is shown stays", Fact::same(&phone.shown(before.unwrap_or_default()), &shown))
            .check("the true file is taken", Fact::same(&verdict(&mut phone, kind, &good).as_str(), &"taken")),
    );
    Ok(())
}

/// What a phone says to the octets of an increment.
fn verdict(phone: &mut Phone, kind: ListKind, increment: &[u8]) -> String {
    let length = u32::try_from(increment.len()).unwrap_or(u32::MAX).to_be_bytes();
    match phone.read_list(kind, &[&length, increment].concat(), unix_now()) {
        Ok(_) => "taken".into(),
        Err(refused) => refused.to_string(),
    }
}

/// A list like the true one with other entries, by somebody else's key.
fn forged(good: &[u8], list_key: &VerifyingKey, entries: &[Entry]) -> Result<Vec<u8>> {
    let head = Increment::parse(good)?.check(list_key)?.head;
    let key = SigningKey::from_pkcs8(&SigningKey::generate())?;
    Ok(head.seal(entries, &key).octets)
}

fn altered(good: &[u8]) -> Vec<u8> {
    let mut altered = good.to_vec();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    altered
}

/// The first increment of a list of an authority, as the static file that a network carries.
fn first(stage: &Stage, place: &str, kind: ListKind) -> Result<Vec<u8>> {
    let adapter = stage.federation.adapter(authority(place))?;
    let folder = &adapter.phones.as_ref().context("every authority here serves phones")?.lists;
    let path = folder.join("v1").join(kind.name()).join(format!("{:010}.inc", 1));
    ensure!(path.is_file(), "{} is not there", path.display());
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}
