//! Chapter 7: somebody between an authority and its phones, who serves other lists.

use std::fs;

use anyhow::{Context, Result, ensure};
use country_adapter::lists::{Entry, Increment, ListKind};
use pki::sign::{SigningKey, VerifyingKey};

use super::cast::Cast;
use super::stage::{Stage, UK, VICTORIA, unix_now};
use super::told::{Fact, Phase, Told};
use crate::members::authority;

pub(super) fn tell(stage: &Stage, cast: &Cast, told: &mut Told) -> Result<()> {
    told.chapter("Lists that no authority has posted");
    let (good, other) = (first(stage, UK)?, first(stage, VICTORIA)?);
    let mut altered = good.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    let says = |octets: &[u8]| verdict(stage, cast, octets);
    let forgeries = [says(&forged(&good, stage.home(UK)?.list_key())?)?, says(&altered)?, says(&other)?];
    let forgery = "the increment was not signed by the authority's key for lists";
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
            forgeries.iter().all(|says| says == forgery),
        )
        .check("the true file is", Fact::same(&says(&good)?.as_str(), &"taken")),
    );
    Ok(())
}

/// What a phone that has read nothing yet says to the octets of an increment.
fn verdict(stage: &Stage, cast: &Cast, increment: &[u8]) -> Result<String> {
    let mut phone = cast.gwen.like_new(stage.home(UK)?)?;
    let length = u32::try_from(increment.len())?.to_be_bytes();
    Ok(match phone.read_list(ListKind::Contacts, &[&length, increment].concat(), unix_now()) {
        Ok(_) => "taken".into(),
        Err(refused) => refused.to_string(),
    })
}

/// A list like the true one, by somebody else's key.
fn forged(good: &[u8], list_key: &VerifyingKey) -> Result<Vec<u8>> {
    let head = Increment::parse(good)?.check(list_key)?.head;
    let key = SigningKey::from_pkcs8(&SigningKey::generate())?;
    Ok(head.seal(&[Entry::new([7; Entry::LEN]); 64], &key).octets)
}

/// The first increment of an authority's list of contacts, as the static file that a network carries.
fn first(stage: &Stage, place: &str) -> Result<Vec<u8>> {
    let adapter = stage.federation.adapter(authority(place))?;
    let folder = &adapter.phones.as_ref().context("every authority here serves phones")?.lists;
    let path = folder.join("v1").join(ListKind::Contacts.name()).join(format!("{:010}.inc", 1));
    ensure!(path.is_file(), "{} is not there", path.display());
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}
