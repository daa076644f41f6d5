//! A small federation for tests of all crates: real keys, certificate authorities and trust lists in a folder.
//!
//! Only compiled with the feature `fixture`, which no normal build turns on.

#![allow(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use proto::day::Day;
use proto::extended::{ExtendedData, Recipient};
use proto::header::EnvelopeHeader;
use proto::ids::{Authority, CountryCode};
use proto::report::{Contact, Minutes, Report, Risk, Token};
use rustls_pki_types::CertificateDer;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

use crate::ca::{self, CertificateAuthority, Issued, Order};
use crate::csr::{self, Request};
use crate::keyfile::{Algorithm, KeyFile, Protection};
use crate::pubfile::PublicFile;
use crate::seal::{PrivateKey, PublicKey, Suite};
use crate::secret::Secret;
use crate::sign::SigningKey;
use crate::tls::{NodeCertificate, Role};
use crate::trust::{Anchors, Draft, SignedTrustList, TrustList};

/// Countries with one trust list, whose three anchors sign by two.
pub struct Federation {
    folder: TempDir,
    /// The anchors; two of them must sign.
    pub anchors: Vec<SigningKey>,
    /// By code.
    pub countries: BTreeMap<CountryCode, Country>,
}

/// One country's secrets.
pub struct Country {
    /// Its certificate authority.
    pub ca: CertificateAuthority,
    /// Signs manifests and receipts.
    pub signing: SigningKey,
    signing_file: KeyFile,
    /// Each authority's key that signs key lists.
    pub authorities: BTreeMap<Authority, SigningKey>,
}

/// A signing key, and its public half in a file.
fn signing_key(public: &Path) -> (SigningKey, KeyFile) {
    let file = KeyFile::generate(Algorithm::P256);
    let octets = file.public().to_vec();
    fs::write(public, PublicFile { algorithm: Algorithm::P256, octets }.pem()).unwrap();
    (SigningKey::from_pkcs8(&file.pkcs8()).unwrap(), file)
}

/// A certificate for a role, and the key that belongs to it.
#[must_use]
pub fn certificate_parts(
    ca: &CertificateAuthority,
    role: Role,
) -> (CertificateDer<'static>, Secret<Vec<u8>>) {
    let (issued, key) = certificate_files(ca, role, OffsetDateTime::now_utc());
    (issued.certificate, key.pkcs8())
}

fn certificate_files(ca: &CertificateAuthority, role: Role, issued: OffsetDateTime) -> (Issued, KeyFile) {
    let key = KeyFile::generate(Algorithm::P256);
    let request = Request::check(&csr::request(&key).unwrap()).unwrap();
    let order = Order { role, dns: Vec::new(), ip: vec![Ipv4Addr::LOCALHOST.into()], days: Order::DAYS };
    (ca.issue(&request, &order, issued).unwrap(), key)
}

/// The certificate of a role, and its key.
#[must_use]
pub fn certificate(ca: &CertificateAuthority, role: Role, issued: OffsetDateTime) -> NodeCertificate {
    let (issued, key) = certificate_files(ca, role, issued);
    NodeCertificate::new(vec![issued.certificate], key.pkcs8()).unwrap()
}

impl Federation {
    /// Countries by their authorities, as `["826/0", "826/1", "250/0"]`.
    #[must_use]
    pub fn of(authorities: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let anchors =
            (1..=3).map(|n| signing_key(&folder.path().join(format!("anchor-{n}.pub"))).0).collect();
        let mut countries: BTreeMap<CountryCode, Country> = BTreeMap::new();
        for text in authorities {
            let authority: Authority = text.parse().unwrap();
            let Authority::State(code, _) = authority else { panic!("{text} has no country") };
            let country = countries.entry(code).or_insert_with(|| country(folder.path(), code));
            let file = format!("{}.pub", text.replace('/', "-"));
            country.authorities.insert(authority, signing_key(&folder.path().join(file)).0);
        }
        Self { folder, anchors, countries }
    }

    /// Where the public files are.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// The trust list as its editors would write it, with every country active.
    #[must_use]
    pub fn draft(&self, version: u64) -> String {
        let mut out = format!(
            "version = {version}\nthreshold = 2\nanchors = [\"anchor-1.pub\", \"anchor-2.pub\", \"anchor-3.pub\"]\n"
        );
        for (code, country) in &self.countries {
            let _ = write!(
                out,
                "\n[[country]]\ncountry = {code}\nname = \"Country {code}\"\nstatus = \"active\"\nendpoints = [\"https://127.0.0.1:1\"]\nca = \"{code}.crt\"\nsigning_keys = [\"{code}.pub\"]\n"
            );
            for authority in country.authorities.keys() {
                let file = authority.to_string().replace('/', "-");
                let _ = write!(
                    out,
                    "[[country.authority]]\nauthority = \"{authority}\"\nname = \"Authority {authority}\"\nsigning_keys = [\"{file}.pub\"]\n"
                );
            }
        }
        out
    }

    /// A draft without signatures, issued some time ago so that clocks may be turned back.
    #[must_use]
    pub fn unsigned(&self, draft: &str) -> SignedTrustList {
        let path = self.folder.path().join("draft.toml");
        fs::write(&path, draft).unwrap();
        Draft::read(&path, OffsetDateTime::now_utc() - Duration::days(30)).unwrap()
    }

    /// A draft, signed by the first two anchors.
    #[must_use]
    pub fn signed(&self, draft: &str) -> SignedTrustList {
        let mut list = self.unsigned(draft);
        self.anchors[..2].iter().for_each(|anchor| list.sign(anchor));
        list
    }

    /// The anchors as a configuration names them.
    #[must_use]
    pub fn trusted(&self) -> Anchors {
        Anchors { keys: self.anchors.iter().map(|anchor| *anchor.public()).collect(), threshold: 2 }
    }

    /// The first trust list.
    #[must_use]
    pub fn trust_list(&self) -> TrustList {
        self.signed(&self.draft(1)).check(&self.trusted(), now()).unwrap()
    }

    /// Writes the files of one country's gateway into a folder, under the names of `deploy/gateway.example.toml`:
    /// certificate and key, signing and ingress key, trust list and anchors; without a pass phrase.
    pub fn install_gateway(&self, code: u16, folder: &Path) {
        let country = self.country(code);
        let (issued, key) = certificate_files(&country.ca, Role::Gateway, OffsetDateTime::now_utc());
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("gateway.crt"), issued.pem).unwrap();
        key.write(&folder.join("gateway.key"), Protection::Plain).unwrap();
        country.signing_file.write(&folder.join("signing.key"), Protection::Plain).unwrap();
        KeyFile::generate(Algorithm::XWing).write(&folder.join("ingress.key"), Protection::Plain).unwrap();
        fs::write(folder.join("trust.json"), self.signed(&self.draft(1)).file()).unwrap();
        for n in 1..=3 {
            let anchor = format!("anchor-{n}.pub");
            fs::copy(self.folder.path().join(&anchor), folder.join(anchor)).unwrap();
        }
    }

    /// One country's secrets.
    #[must_use]
    pub fn country(&self, code: u16) -> &Country {
        &self.countries[&CountryCode::new(code).unwrap()]
    }
}

/// Seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap()
}

/// A contact of today with a phone of an authority, and its header. Encoded it is so many octets long, 30 to 534; each
/// number gives another one.
#[must_use]
pub fn report(authority: Authority, octets: usize, number: u64) -> (EnvelopeHeader, Vec<u8>) {
    let header = EnvelopeHeader::new(0x08, authority).unwrap();
    // What a contact has beside its token.
    let len = octets - 29;
    let token: Vec<u8> = number.to_be_bytes().into_iter().rev().cycle().take(len).collect();
    let contact = Contact {
        token: Token::new(header, &token).unwrap(),
        day: Day::of_unix(now()),
        start: None,
        duration: Minutes::default(),
        proximity: [Minutes::default(); 4],
        risk: Risk::default(),
        extended: ExtendedData::default().leaving(Recipient::Issuer).unwrap(),
    };
    let mut out = Vec::with_capacity(octets);
    Report::Contact(contact).encode(&mut out);
    assert_eq!(out.len(), octets);
    (header, out)
}

/// A key to which nothing can be sealed, as no list has one: its part for X25519 is a point of small order.
#[must_use]
pub fn unsealable_key() -> PublicKey {
    let key = PrivateKey::parse(Suite::XWing, &PrivateKey::generate(Suite::XWing)).unwrap();
    let mut octets = key.public().octets().to_vec();
    octets[1_184..].fill(0);
    PublicKey::unchecked(Suite::XWing, &octets).unwrap()
}

fn country(folder: &Path, code: CountryCode) -> Country {
    let (key, issued) = ca::create(code, 10, OffsetDateTime::now_utc() - Duration::days(400)).unwrap();
    fs::write(folder.join(format!("{code}.crt")), &issued.pem).unwrap();
    let ca = CertificateAuthority::open(&issued.pem, &key).unwrap();
    let (signing, signing_file) = signing_key(&folder.join(format!("{code}.pub")));
    Country { ca, signing, signing_file, authorities: BTreeMap::new() }
}

impl Country {
    /// A certificate for a role, valid now.
    #[must_use]
    pub fn certificate(&self, role: Role) -> NodeCertificate {
        certificate(&self.ca, role, OffsetDateTime::now_utc())
    }
}
