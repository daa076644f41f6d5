//! A trust list as a person reads it. Nothing is checked here: what is shown is what the file claims.

use anyhow::Context;
use comfy_table::{Table, presets};
use pki::sign::VerifyingKey;
use pki::trust::{Anchors, SignedTrustList};
use serde::Deserialize;

use super::answer::Lines;

/// The parts of the signed document that are shown.
#[derive(Deserialize)]
pub(super) struct View {
    pub(super) version: u64,
    issued: String,
    pub(super) expires: String,
    threshold: usize,
    anchors: Vec<String>,
    pub(super) countries: Vec<CountryView>,
}

#[derive(Deserialize)]
pub(super) struct CountryView {
    country: u16,
    name: String,
    status: String,
    endpoints: Vec<String>,
    signing_keys: Vec<KeyView>,
    authorities: Vec<AuthorityView>,
}

#[derive(Deserialize)]
struct AuthorityView {
    authority: String,
    name: String,
    signing_keys: Vec<KeyView>,
}

#[derive(Deserialize)]
struct KeyView {
    key: String,
    not_after: String,
}

#[derive(Deserialize)]
struct FileView {
    signatures: Vec<SignatureView>,
}

#[derive(Deserialize)]
struct SignatureView {
    anchor: String,
}

impl View {
    pub(super) fn of(list: &SignedTrustList) -> anyhow::Result<Self> {
        serde_json::from_str(&list.document_text())
            .context("the document inside the trust list does not parse")
    }

    /// The anchors that the list itself names.
    pub(super) fn anchors(&self) -> anyhow::Result<Anchors> {
        let key = |hex: &String| {
            let sec1 = hex::decode(hex).ok().and_then(|sec1| VerifyingKey::parse(&sec1).ok());
            sec1.with_context(|| format!("anchor `{hex}` is no P-256 point"))
        };
        let keys = self.anchors.iter().map(key).collect::<anyhow::Result<_>>()?;
        Ok(Anchors { keys, threshold: self.threshold })
    }
}

/// Key ids of those who signed, whether their signatures fit or not.
pub(super) fn signers(list: &SignedTrustList) -> anyhow::Result<Vec<String>> {
    let file: FileView = serde_json::from_str(&list.file())?;
    Ok(file.signatures.into_iter().map(|signature| signature.anchor).collect())
}

/// Heading and table of a trust list file.
pub(super) fn shown(octets: &[u8]) -> anyhow::Result<String> {
    let list = SignedTrustList::parse(octets)?;
    let view = View::of(&list)?;
    let signers = signers(&list)?;
    let anchors: Vec<_> = view.anchors.iter().map(|anchor| key_id(anchor)).collect();
    let heading = Lines::default()
        .add("trust list", format!("version {}; nothing is checked here: pki trust verify", view.version))
        .add("issued", &view.issued)
        .add("expires", &view.expires)
        .add("anchors", format!("{} of: {}", view.threshold, anchors.join(" ")))
        .add("signed by", if signers.is_empty() { "nobody yet".into() } else { signers.join(" ") });
    Ok(format!("{}{}", heading.text(), table(&view)))
}

fn table(view: &View) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_header(["country", "status", "endpoints", "signing keys", "authorities"]);
    for country in &view.countries {
        table.add_row([
            format!("{} {}", country.country, country.name),
            country.status.clone(),
            country.endpoints.join("\n"),
            keys(&country.signing_keys).join("\n"),
            country.authorities.iter().flat_map(authority).collect::<Vec<_>>().join("\n"),
        ]);
    }
    table
}

fn authority(authority: &AuthorityView) -> Vec<String> {
    let mut lines = vec![format!("{} {}", authority.authority, authority.name)];
    lines.extend(keys(&authority.signing_keys).into_iter().map(|key| format!("  {key}")));
    lines
}

fn keys(keys: &[KeyView]) -> Vec<String> {
    keys.iter().map(|key| format!("{} until {}", key_id(&key.key), key.not_after)).collect()
}

fn key_id(hex: &str) -> String {
    let key = hex::decode(hex).ok().and_then(|sec1| VerifyingKey::parse(&sec1).ok());
    key.map_or_else(|| "no key".into(), |key| key.id().to_string())
}
