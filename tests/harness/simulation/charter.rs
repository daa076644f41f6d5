//! The countries of simulations: keys, certificates and trust lists, made once for many runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use pki::ca::{self, CertificateAuthority, Order};
use pki::csr::{self, Request};
use pki::keyfile::{Algorithm, KeyFile, Protection};
use pki::pubfile::PublicFile;
use pki::seal::{PublicKey, Suite};
use pki::sign::SigningKey;
use pki::tls::{NodeCertificate, Role};
use pki::trust::{Anchors, Draft, TrustConfig, TrustList};
use proto::ids::{Authority, CountryCode, StateCode};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

use super::operations::COUNTRIES;

/// Days for which certificates and lists are good: longer than the clocks of any run are turned.
pub(super) const DAYS: u16 = 390;
/// How long before a run its lists are issued, so that clocks may be turned back.
const ISSUED: Duration = Duration::days(30);

/// All countries that a simulation may have.
pub(super) struct Charter {
    folder: TempDir,
    anchors: Vec<SigningKey>,
    countries: BTreeMap<u16, Country>,
    /// When it was made, at a whole minute.
    made: OffsetDateTime,
}

/// One country's secrets.
pub(super) struct Country {
    /// Signs manifests and receipts.
    pub(super) signing: SigningKey,
    /// Of its gateway.
    pub(super) gateway: NodeCertificate,
    /// What pushes to its gateway are sealed to.
    pub(super) ingress: PublicKey,
    /// Each authority's key that signs key lists.
    pub(super) authorities: BTreeMap<Authority, SigningKey>,
    ca: CertificateAuthority,
}

/// What differs between trust lists.
pub(super) struct Edition<'a> {
    /// Grows.
    pub(super) version: u64,
    /// How many countries it has.
    pub(super) countries: usize,
    /// Which of them are suspended.
    pub(super) is_suspended: &'a dyn Fn(u16) -> bool,
    /// Where the gateway of each answers whoever reads this list.
    pub(super) port: &'a dyn Fn(u16) -> u16,
}

impl Charter {
    /// Makes all keys and certificates, in a temporary folder.
    pub(super) fn new() -> Result<Arc<Self>> {
        let folder = tempfile::tempdir()?;
        let now = OffsetDateTime::now_utc().replace_nanosecond(0)?;
        let made = now - Duration::seconds(now.second().into());
        let anchor = |number| Ok(signing_key(&folder.path().join(format!("anchor-{number}.pub")))?.0);
        let anchors = (1..=3).map(anchor).collect::<Result<_>>()?;
        let country = |(code, states): &(u16, &[u16])| Ok((*code, country(folder.path(), *code, states)?));
        let countries = COUNTRIES.iter().map(country).collect::<Result<_>>()?;
        Ok(Arc::new(Self { folder, anchors, countries, made }))
    }

    /// The second at which clocks begin, since 1970.
    #[must_use]
    pub(super) fn begins(&self) -> u64 {
        u64::try_from(self.made.unix_timestamp()).unwrap_or_default()
    }

    /// One country's secrets.
    #[must_use]
    pub(super) fn country(&self, code: u16) -> &Country {
        &self.countries[&code]
    }

    /// A file of a country's gateway, by its name in `deploy/gateway.example.toml`.
    #[must_use]
    pub(super) fn file(&self, code: u16, name: &str) -> PathBuf {
        self.folder.path().join(code.to_string()).join(name)
    }

    /// The public key files of the anchors.
    #[must_use]
    pub(super) fn anchors(&self) -> Vec<PathBuf> {
        (1..=3).map(|number| self.folder.path().join(format!("anchor-{number}.pub"))).collect()
    }

    /// How a list in this file is believed.
    #[must_use]
    pub(super) fn trust_config(&self, list: PathBuf) -> TrustConfig {
        TrustConfig { list, anchors: self.anchors(), threshold: 2 }
    }

    /// Writes an edition of the trust list, signed by two anchors.
    pub(super) fn write_list(&self, edition: &Edition<'_>, to: &Path) -> Result<()> {
        let mut signed = self.draft(edition, to)?;
        self.anchors[..2].iter().for_each(|anchor| signed.sign(anchor));
        // As an operator replaces it: a reader sees the one before or this one.
        let aside = to.with_extension("new");
        fs::write(&aside, signed.file())?;
        Ok(fs::rename(&aside, to)?)
    }

    /// The list in a file, checked as at the beginning.
    pub(super) fn read_list(&self, file: &Path) -> Result<TrustList> {
        let keys = self.anchors.iter().map(|anchor| *anchor.public()).collect();
        let signed = pki::trust::SignedTrustList::parse(&fs::read(file)?)?;
        Ok(signed.check(&Anchors { keys, threshold: 2 }, self.begins())?)
    }

    fn draft(&self, edition: &Edition<'_>, to: &Path) -> Result<pki::trust::SignedTrustList> {
        let folder = self.folder.path();
        let mut text = format!("version = {}\nvalid_days = {DAYS}\nthreshold = 2\n", edition.version);
        writeln!(text, "anchors = {:?}", self.anchors())?;
        for (code, states) in &COUNTRIES[..edition.countries] {
            let status = if (edition.is_suspended)(*code) { "suspended" } else { "active" };
            let (port, public) = ((edition.port)(*code), folder.join(format!("{code}.pub")));
            write!(
                text,
                "\n[[country]]\ncountry = {code}\nname = \"Country {code}\"\nstatus = \"{status}\"\nendpoints = [\"https://127.0.0.1:{port}\"]\nca = {:?}\nsigning_keys = [{public:?}]\n",
                folder.join(format!("{code}.crt")),
            )?;
            for state in *states {
                let public = folder.join(format!("{code}-{state}.pub"));
                write!(
                    text,
                    "[[country.authority]]\nauthority = \"{code}/{state}\"\nname = \"Authority {code}/{state}\"\nsigning_keys = [{public:?}]\n"
                )?;
            }
        }
        let draft = to.with_extension("draft");
        fs::write(&draft, text)?;
        Ok(Draft::read(&draft, self.made - ISSUED)?)
    }
}

impl Country {
    /// A certificate of one of its adapters.
    pub(super) fn adapter(&self, authority: Authority) -> Result<NodeCertificate> {
        let (pem, key) = certified(&self.ca, Role::Adapter(authority))?;
        certificate(pem, &key)
    }
}

fn country(folder: &Path, code: u16, states: &[u16]) -> Result<Country> {
    let country = CountryCode::new(code)?;
    let (key, issued) = ca::create(country, 10, OffsetDateTime::now_utc() - Duration::days(400))?;
    fs::write(folder.join(format!("{code}.crt")), &issued.pem)?;
    let ca = CertificateAuthority::open(&issued.pem, &key)?;
    let (signing, signing_file) = signing_key(&folder.join(format!("{code}.pub")))?;
    let place = folder.join(code.to_string());
    fs::create_dir(&place)?;
    let (issued, gateway_key) = certified(&ca, Role::Gateway)?;
    fs::write(place.join("gateway.crt"), &issued.pem)?;
    gateway_key.write(&place.join("gateway.key"), Protection::Plain)?;
    signing_file.write(&place.join("signing.key"), Protection::Plain)?;
    let ingress = KeyFile::generate(Algorithm::XWing);
    ingress.write(&place.join("ingress.key"), Protection::Plain)?;
    let ingress = PublicKey::parse(Suite::XWing, ingress.public())?;
    let authority = |state: &u16| {
        let public = folder.join(format!("{code}-{state}.pub"));
        Ok((Authority::State(country, StateCode::new(*state)), signing_key(&public)?.0))
    };
    let authorities = states.iter().map(authority).collect::<Result<_>>()?;
    let gateway = certificate(issued, &gateway_key)?;
    Ok(Country { signing, gateway, ingress, authorities, ca })
}

/// A signing key, whose public half goes into a file.
fn signing_key(public: &Path) -> Result<(SigningKey, KeyFile)> {
    let file = KeyFile::generate(Algorithm::P256);
    fs::write(public, PublicFile { algorithm: Algorithm::P256, octets: file.public().to_vec() }.pem())?;
    Ok((SigningKey::from_pkcs8(&file.pkcs8())?, file))
}

fn certified(ca: &CertificateAuthority, role: Role) -> Result<(ca::Issued, KeyFile)> {
    let key = KeyFile::generate(Algorithm::P256);
    let request = Request::check(&csr::request(&key).context("a P-256 key can ask for a certificate")?)?;
    let order = Order { role, dns: Vec::new(), ip: vec![Ipv4Addr::LOCALHOST.into()], days: DAYS };
    Ok((ca.issue(&request, &order, OffsetDateTime::now_utc())?, key))
}

fn certificate(issued: ca::Issued, key: &KeyFile) -> Result<NodeCertificate> {
    Ok(NodeCertificate::new(vec![issued.certificate], key.pkcs8())?)
}
