//! `pki trust`: makes, signs, checks and shows the list of countries.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use pki::trust::{Anchors, Draft, SignedTrustList, TrustList, TrustRefused};
use pki::{disk, pubfile, sign};
use time::OffsetDateTime;

use super::answer::{Answer, Lines, WrongUsage, fingerprint, now, seconds};
use super::secrets::Open;
use super::trust_view::{self, View};

/// Octets of the largest trust list.
const LIMIT: usize = 4 * 1_024 * 1_024;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a trust list, without signatures, out of a draft
    Create(Create),
    /// Add an anchor's signature
    Sign(Sign),
    /// Check signatures, time and rules
    Verify(Verify),
    /// Show countries, endpoints, authorities and keys
    Show(Show),
}

#[derive(Args)]
#[command(after_help = "EXAMPLE\n  pki trust create draft.toml --out trust.json")]
pub(super) struct Create {
    /// The draft: TOML with paths to certificates and public keys
    draft: PathBuf,
    /// The file for the trust list
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Args)]
#[command(after_help = "EXAMPLE\n  pki trust sign trust.json --anchor anchor.key --ask-passphrase")]
pub(super) struct Sign {
    /// The trust list; the signature goes into the same file
    file: PathBuf,
    /// The anchor's private key
    #[arg(long, value_name = "KEY")]
    anchor: PathBuf,
    #[command(flatten)]
    open: Open,
}

#[derive(Args)]
#[command(after_help = "EXAMPLE\n  pki trust verify trust.json --anchors a.pub b.pub c.pub --threshold 2")]
pub(super) struct Verify {
    /// The trust list
    file: PathBuf,
    #[command(flatten)]
    by: By,
}

#[derive(Args)]
#[command(after_help = "EXAMPLE\n  pki trust show trust.json")]
pub(super) struct Show {
    /// The trust list
    file: PathBuf,
}

/// Whose signatures count.
#[derive(Args)]
pub(super) struct By {
    /// The anchors' public keys as they were handed over in person; without them the list vouches for itself
    #[arg(long, value_name = "FILE", num_args = 1..)]
    anchors: Vec<PathBuf>,
    /// How many of them must have signed; all of them unless told otherwise
    #[arg(long, value_name = "K", requires = "anchors")]
    threshold: Option<usize>,
}

/// A trust list that was found invalid, or why it is believed.
pub(super) struct Checked {
    pub(super) list: Result<TrustList, TrustRefused>,
    pub(super) basis: &'static str,
}

impl Command {
    pub(super) fn run(&self) -> anyhow::Result<Answer> {
        match self {
            Self::Create(create) => create.run(),
            Self::Sign(sign) => sign.run(),
            Self::Verify(verify) => verify.run(),
            Self::Show(show) => Ok(Answer::done(trust_view::shown(&disk::read(&show.file, LIMIT)?)?)),
        }
    }
}

impl Create {
    fn run(&self) -> anyhow::Result<Answer> {
        let list = Draft::read(&self.draft, OffsetDateTime::now_utc())?;
        disk::create_public(&self.out, list.file().as_bytes())?;
        let view = View::of(&list)?;
        let lines = Lines::default()
            .wrote(&self.out)
            .add("version", view.version)
            .add("expires", &view.expires)
            .add("countries", view.countries.len())
            .add("SHA-256", fingerprint(list.document_text().as_bytes()))
            .next(format!(
                "each anchor compares the SHA-256, then: pki trust sign {} --anchor KEY",
                self.out.display()
            ));
        Ok(Answer::done(lines.text()))
    }
}

impl Sign {
    fn run(&self) -> anyhow::Result<Answer> {
        let mut list = SignedTrustList::parse(&disk::read(&self.file, LIMIT)?)?;
        let key = self.open.read(&self.anchor)?;
        let anchor = sign::SigningKey::from_pkcs8(&key.pkcs8())?;
        let (view, id) = (View::of(&list)?, anchor.public().id());
        let anchors = view.anchors()?;
        list.sign(&anchor);
        disk::replace_public(&self.file, list.file().as_bytes())?;
        let signers = trust_view::signers(&list)?;
        let is_own = anchors.keys.contains(anchor.public());
        let lines = Lines::default()
            .wrote(&self.file)
            .add("version", view.version)
            .add(
                "anchor",
                if is_own { id.to_string() } else { format!("{id} (not one that this list names)") },
            )
            .add("SHA-256", fingerprint(list.document_text().as_bytes()))
            .add("signatures", format!("{}; {} are needed", signers.len(), anchors.threshold))
            .next(format!("pki trust verify {}", self.file.display()));
        Ok(Answer::done(lines.text()))
    }
}

impl Verify {
    fn run(&self) -> anyhow::Result<Answer> {
        let Checked { list, basis } = self.by.check(&self.file)?;
        Ok(match list {
            Err(refused) => Answer::invalid(format!("invalid: {refused}")),
            Ok(list) => {
                let until = i64::try_from(list.expires).unwrap_or(i64::MAX);
                let lines = Lines::default()
                    .add("valid", self.file.display())
                    .add("version", list.version)
                    .add("expires", seconds(until))
                    .add("countries", list.countries().count())
                    .add("checked by", basis);
                Answer::done(lines.text())
            }
        })
    }
}

impl By {
    /// Checks a trust list file by the given anchors, or by those that it names itself.
    pub(super) fn check(&self, file: &Path) -> anyhow::Result<Checked> {
        let octets = disk::read(file, LIMIT)?;
        let basis = if self.anchors.is_empty() {
            "the anchors that the list names itself; give --anchors to check by those handed over in person"
        } else {
            "the anchors given"
        };
        let given = self.given()?;
        let list = SignedTrustList::parse(&octets).and_then(|list| {
            let own = || View::of(&list).and_then(|view| view.anchors());
            let own = || own().map_err(|error| TrustRefused::File(format!("{error:#}")));
            list.check(&given.map_or_else(own, Ok)?, now())
        });
        Ok(Checked { list, basis })
    }

    fn given(&self) -> anyhow::Result<Option<Anchors>> {
        if self.anchors.is_empty() {
            return Ok(None);
        }
        let keys =
            self.anchors.iter().map(|path| pubfile::verifying_key(path)).collect::<Result<Vec<_>, _>>();
        let keys = keys.context("an anchor cannot be read")?;
        let threshold = self.threshold.unwrap_or(keys.len());
        if !(1..=keys.len()).contains(&threshold) {
            return Err(
                WrongUsage(format!("--threshold {threshold} of {} anchors cannot be", keys.len())).into()
            );
        }
        Ok(Some(Anchors { keys, threshold }))
    }
}
