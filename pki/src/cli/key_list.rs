//! `pki key-list`: makes and checks the signed list of an owner's public HPKE keys.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context;
use bytes::Bytes;
use clap::{Args, Subcommand, ValueEnum};
use pki::keylist::{Expected, KeyList, Kind, ListedKey, SignedKeyList};
use pki::trust::TrustList;
use pki::{disk, pubfile, sign};
use prost::Message;
use proto::ids::{Authority, CountryCode};
use proto::octets::Reader;
use proto::{limits, wire};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime};

use super::answer::{Answer, Lines, WrongUsage, now, seconds};
use super::secrets::Open;
use super::trust::By;

/// Octets of the largest file: a list and its signature.
const LIMIT: usize = limits::KEY_LIST_LEN + 1_024;
/// How long a key is listed unless told otherwise.
const LISTED: Duration = Duration::days(90);

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make and sign a key list
    Create(Create),
    /// Check a key list against a trust list
    Verify(Verify),
}

#[derive(Args)]
#[command(after_help = "EXAMPLE
  pki key-list create --authority 826/1 --add july.key.pub@2027-07-01..2027-10-01 --add october.key.pub@2027-09-24..2028-01-01 \\
      --version 7 --sign-with signing.key --ask-passphrase --out 826-1.keys")]
pub(super) struct Create {
    /// Whose keys they are
    #[arg(long)]
    authority: Authority,
    /// A public HPKE key and when senders may use it; 90 days from now unless told otherwise
    #[arg(long = "add", value_name = "FILE.pub[@FROM..UNTIL]", required = true)]
    additions: Vec<Addition>,
    /// Grows with every change
    #[arg(long)]
    version: u64,
    /// What is sealed to the keys
    #[arg(long, default_value = "authority")]
    kind: KindName,
    /// The owner's signing key, as the trust list certifies it
    #[arg(long, value_name = "KEY")]
    sign_with: PathBuf,
    /// The file for the list
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    open: Open,
}

#[derive(Clone, Copy, ValueEnum)]
enum KindName {
    /// Batches from abroad, opened by the authority's adapter
    Authority,
    /// Pushes to the country's gateway; the authority is the national one, as 826/0
    Ingress,
}

#[derive(Args)]
#[command(after_help = "EXAMPLE
  pki key-list verify 826-1.keys --trust trust.json --anchors a.pub b.pub c.pub --threshold 2")]
pub(super) struct Verify {
    /// The key list
    file: PathBuf,
    /// The trust list that says who may sign it
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
    #[command(flatten)]
    by: By,
}

/// `FILE.pub`, or `FILE.pub@2027-07-01..2027-10-01`; days begin at 00:00 UTC, and RFC 3339 times do as well.
#[derive(Clone, Debug)]
struct Addition {
    path: PathBuf,
    span: Option<(OffsetDateTime, OffsetDateTime)>,
}

impl FromStr for Addition {
    type Err = WrongUsage;

    fn from_str(text: &str) -> Result<Self, WrongUsage> {
        // A file name may hold an @ as well; the one before a span counts.
        let Some((path, (from, until))) =
            text.rsplit_once('@').and_then(|(path, span)| Some((path, span.split_once("..")?)))
        else {
            return Ok(Self { path: text.into(), span: None });
        };
        let (from, until) = (point(from)?, point(until)?);
        if from >= until {
            return Err(WrongUsage(format!("`{text}`: the key ends before it begins")));
        }
        Ok(Self { path: path.into(), span: Some((from, until)) })
    }
}

fn point(text: &str) -> Result<OffsetDateTime, WrongUsage> {
    let day = Date::parse(text, format_description!("[year]-[month]-[day]"));
    let day = day.map(|day| day.midnight().assume_utc());
    day.or_else(|_| OffsetDateTime::parse(text, &Rfc3339))
        .map_err(|_| WrongUsage(format!("`{text}` is no time; write 2027-07-01 or 2027-07-01T12:00:00Z")))
}

impl Addition {
    fn listed(&self, now: OffsetDateTime) -> anyhow::Result<ListedKey> {
        let (from, until) = self.span.unwrap_or((now, now + LISTED));
        let since_1970 =
            |at: OffsetDateTime| u64::try_from(at.unix_timestamp()).context("a time lies before 1970");
        let key = pubfile::hpke_key(&self.path)?;
        Ok(ListedKey { key, not_before: since_1970(from)?, not_after: since_1970(until)? })
    }
}

impl Command {
    pub(super) fn run(&self) -> anyhow::Result<Answer> {
        match self {
            Self::Create(create) => create.run(),
            Self::Verify(verify) => verify.run(),
        }
    }
}

impl Create {
    fn run(&self) -> anyhow::Result<Answer> {
        let kind = match self.kind {
            KindName::Authority => Kind::Authority,
            KindName::Ingress => Kind::Ingress,
        };
        let now_utc = OffsetDateTime::now_utc();
        let keys =
            self.additions.iter().map(|addition| addition.listed(now_utc)).collect::<anyhow::Result<_>>()?;
        let list = KeyList { kind, authority: self.authority, version: self.version, issued: now(), keys };
        self.check(&list)?;
        let key = sign::SigningKey::from_pkcs8(&self.open.read(&self.sign_with)?.pkcs8())?;
        let file = list.sign(&key).into_wire().encode_to_vec();
        disk::create_public(&self.out, &file)?;
        let lines = Lines::default().wrote(&self.out).add("signed by", key.public().id());
        let next = format!("pki key-list verify {} --trust FILE", self.out.display());
        Ok(Answer::done(listed(lines, &list).next(next).text()))
    }

    fn check(&self, list: &KeyList) -> Result<(), WrongUsage> {
        let len = list.octets().len();
        if len > limits::KEY_LIST_LEN {
            let most = limits::KEY_LIST_LEN;
            return Err(WrongUsage(format!(
                "the list has {len} octets; at most {most} are allowed: add fewer keys"
            )));
        }
        let mut ids: Vec<_> = list.keys.iter().map(|listed| listed.key.id()).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() < list.keys.len() {
            return Err(WrongUsage("a key is added twice; each stands once in a list".into()));
        }
        Ok(())
    }
}

impl Verify {
    fn run(&self) -> anyhow::Result<Answer> {
        let (message, head) = read(&disk::read(&self.file, LIMIT)?)?;
        let trust = self.by.check(&self.trust)?;
        let trust_list = match trust.list {
            Ok(list) => list,
            Err(refused) => return Ok(Answer::invalid(format!("invalid trust list: {refused}"))),
        };
        let signers = signers(&trust_list, &head);
        let expected = Expected { kind: head.kind, authority: head.authority, signers, now: now() };
        let checked = SignedKeyList::parse(message).map_err(Into::into).and_then(|list| list.check(expected));
        Ok(match checked {
            Err(refused) => Answer::invalid(format!("invalid: {refused}")),
            Ok(list) => {
                let lines = listed(Lines::default().add("valid", self.file.display()), &list);
                Answer::done(lines.add("trust list", format!("checked by {}", trust.basis)).text())
            }
        })
    }
}

/// An authority's own keys sign its list; the country's sign its gateway's.
fn signers<'a>(trust: &'a TrustList, head: &Head) -> &'a [pki::trust::CertifiedKey] {
    let country = |code: CountryCode| trust.country(code).map(|country| country.signing_keys.as_slice());
    let signers = match (head.kind, head.authority) {
        (Kind::Authority, authority) => {
            trust.authority(authority).map(|(_, entry)| entry.signing_keys.as_slice())
        }
        (Kind::Ingress, Authority::State(code, _)) => country(code),
        (Kind::Ingress, Authority::Opaque(_)) => None,
    };
    signers.unwrap_or_default()
}

fn listed(lines: Lines, list: &KeyList) -> Lines {
    let until = |at: u64| seconds(i64::try_from(at).unwrap_or(i64::MAX));
    let lines = lines.add("authority", list.authority).add("version", list.version);
    let lines = list.keys.iter().fold(lines, |lines, listed| {
        let (from, until) = (until(listed.not_before), until(listed.not_after));
        lines.add("key", format!("{} {:6} {from} to {until}", listed.key.id(), listed.key.suite()))
    });
    match list.in_force(now()) {
        Some(key) => lines.add("in force", key.id()),
        None => lines.add("in force", "none: senders cannot seal to this owner now"),
    }
}

/// The beginning of a list that nobody has checked yet.
struct Head {
    kind: Kind,
    authority: Authority,
    version: u64,
    issued: u64,
    keys: u16,
}

fn read(file: &[u8]) -> anyhow::Result<(wire::SignedKeyList, Head)> {
    let message =
        wire::SignedKeyList::decode(Bytes::copy_from_slice(file)).context("the file is no key list")?;
    let mut reader = Reader::new("key list", &message.list);
    let _layout = reader.u8()?;
    let kind = if reader.u8()? == Kind::Ingress as u8 { Kind::Ingress } else { Kind::Authority };
    let authority = Authority::parse(reader.take(Authority::LEN)?)?;
    let (version, issued, keys) = (reader.u64()?, reader.u64()?, reader.u16()?);
    Ok((message, Head { kind, authority, version, issued, keys }))
}

/// What a key list file claims.
pub(super) fn shown(file: &[u8]) -> anyhow::Result<String> {
    let (message, head) = read(file)?;
    let lines = Lines::default()
        .add("key list", "nothing is checked here: pki key-list verify")
        .add("authority", head.authority)
        .add("version", head.version)
        .add("issued", seconds(i64::try_from(head.issued).unwrap_or(i64::MAX)))
        .add("keys", head.keys)
        .add("signed by", hex::encode(&message.signing_key));
    Ok(lines.text())
}
