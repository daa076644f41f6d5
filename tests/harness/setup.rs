//! Everything that exists before the first process starts: keys, certificates, key lists, trust list, configurations.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result};

use crate::members::CountryPlan;
use crate::operator::Operator;
use crate::place::{AdapterPlace, CountryPlace, FederationPlace, PhonesPlace};
use crate::{configs, https};

/// A country as planned and as placed.
pub(crate) type Member = (CountryPlan, CountryPlace);

/// Makes a federation's files. Gives the `pki` commands that were run.
pub(crate) async fn make(pki: &Path, place: &FederationPlace, members: &[Member]) -> Result<Vec<String>> {
    let folders = members.iter().map(|(plan, country)| Desk::new(pki, place, (plan, country)));
    let mut desks = folders.collect::<Result<Vec<_>>>()?;
    let mut typed = Vec::new();
    for desk in &mut desks {
        desk.country().await?;
    }
    for desk in desks {
        typed.extend(desk.operator.into_typed());
    }
    typed.extend(trust(pki, place, members).await?);
    Ok(typed)
}

/// One country's operator at work.
struct Desk<'a> {
    operator: Operator,
    plan: &'a CountryPlan,
    place: &'a CountryPlace,
}

impl<'a> Desk<'a> {
    fn new(
        pki: &Path,
        place: &FederationPlace,
        (plan, country): (&'a CountryPlan, &'a CountryPlace),
    ) -> Result<Self> {
        country.gateways().try_for_each(|gateway| folder(&gateway.folder))?;
        country.adapters.values().try_for_each(|adapter| folder(&adapter.folder))?;
        if let Some(path) = &country.passphrase {
            write_secret(path, &format!("pass phrase of country {}\n", country.code))?;
        }
        Ok(Self { operator: Operator::new(pki, &place.folder), plan, place: country })
    }

    async fn country(&mut self) -> Result<()> {
        let ca = self.typed(&self.place.ca);
        self.run(&format!("ca create --country {} --out {ca} {}", self.place.code, self.protect())).await?;
        let gateway = &self.place.gateway;
        self.certificate(
            (&gateway.key, &gateway.certificate),
            "--role gateway --dns localhost --ip 127.0.0.1",
        )
        .await?;
        self.key("signing", &gateway.signing_key).await?;
        self.key("hpke", &gateway.ingress_key).await?;
        for adapter in self.place.adapters.values() {
            self.adapter(adapter).await?;
        }
        Ok(())
    }

    async fn adapter(&mut self, adapter: &AdapterPlace) -> Result<()> {
        let role = format!("--role adapter --authority {}", adapter.authority);
        self.certificate((&adapter.key, &adapter.certificate), &role).await?;
        self.key("signing", &adapter.list_key).await?;
        self.key(&format!("hpke --suite {}", self.plan.suite), &adapter.country_key).await?;
        let (key, signer) = (self.typed(&adapter.country_key), self.typed(&adapter.list_key));
        let (list, open) = (self.typed(&adapter.key_list), self.open());
        if let Some(phones) = &adapter.phones {
            self.phones(phones).await?;
        }
        let authority = adapter.authority;
        let create = format!("key-list create --authority {authority} --add {key}.pub --version 1");
        self.run(&format!("{create} --sign-with {signer} --out {list}{open}")).await
    }

    /// What phones know is of another authority than the exchange's: any that they trust would do.
    async fn phones(&mut self, place: &PhonesPlace) -> Result<()> {
        [&place.folder, &place.exports].into_iter().try_for_each(|path| folder(path))?;
        self.key("signing", &place.list_key).await?;
        https::make(place)?;
        let webhook = self.plan.citizens.as_ref().and_then(|citizens| citizens.national.as_ref());
        webhook.map_or(Ok(()), |webhook| write_secret(&place.token, &webhook.token))
    }

    async fn certificate(&mut self, (key, certificate): (&Path, &Path), role: &str) -> Result<()> {
        self.key("tls", key).await?;
        let (ca, open, request) =
            (self.typed(&self.place.ca), self.open(), certificate.with_extension("csr"));
        let (key, request, certificate) = (self.typed(key), self.typed(&request), self.typed(certificate));
        self.run(&format!("csr --key {key} --out {request}{open}")).await?;
        self.run(&format!("issue --ca {ca} --csr {request} {role} --out {certificate}{open}")).await
    }

    async fn key(&mut self, kind: &str, path: &Path) -> Result<()> {
        let path = self.typed(path);
        self.run(&format!("key create --kind {kind} --out {path} {}", self.protect())).await
    }

    async fn run(&mut self, line: &str) -> Result<()> {
        self.operator.pki(line).await
    }

    fn typed(&self, path: &Path) -> String {
        self.operator.typed(path)
    }

    /// How a new key file is protected.
    fn protect(&self) -> String {
        let file = self.place.passphrase.as_deref();
        file.map_or("--no-passphrase".into(), |file| format!("--passphrase-file {}", self.typed(file)))
    }

    /// How a key file is opened.
    fn open(&self) -> String {
        let file = self.place.passphrase.as_deref();
        file.map_or(String::new(), |file| format!(" --passphrase-file {}", self.typed(file)))
    }
}

/// The anchors' part: two of the three sign the list.
async fn trust(pki: &Path, place: &FederationPlace, members: &[Member]) -> Result<Vec<String>> {
    let mut operator = Operator::new(pki, &place.folder);
    for path in place.anchors.iter().chain([&place.trust_list]) {
        folder(path.parent().context("every path here has a folder")?)?;
    }
    for anchor in &place.anchors {
        operator
            .pki(&format!("key create --kind anchor --out {} --no-passphrase", operator.typed(anchor)))
            .await?;
    }
    fs::write(&place.trust_draft, configs::trust_draft(place, members))?;
    let (draft, list) = (operator.typed(&place.trust_draft), operator.typed(&place.trust_list));
    operator.pki(&format!("trust create {draft} --out {list}")).await?;
    for anchor in place.anchors.iter().take(place.threshold) {
        operator.pki(&format!("trust sign {list} --anchor {}", operator.typed(anchor))).await?;
    }
    Ok(operator.into_typed())
}

fn folder(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make {}", path.display()))
}

pub(crate) fn write_secret(path: &Path, text: &str) -> Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))
}
