//! `pki ca`: makes a country's certificate authority.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use pki::{ca, disk};
use proto::ids::CountryCode;
use time::OffsetDateTime;

use super::answer::{Answer, Lines, fingerprint, moment};
use super::secrets::{self, Protect};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a country's authority: a folder with ca.crt and ca.key
    Create(Create),
}

#[derive(Args)]
#[command(after_help = "EXAMPLE\n  pki ca create --country 826 --out ca --ask-passphrase")]
pub(super) struct Create {
    /// The country: ISO 3166-1 numeric
    #[arg(long)]
    country: CountryCode,
    /// The folder for ca.crt and ca.key; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How long the authority lives, in years
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=25))]
    years: u8,
    #[command(flatten)]
    protect: Protect,
}

impl Command {
    pub(super) fn run(&self) -> anyhow::Result<Answer> {
        let Self::Create(create) = self;
        create.run()
    }
}

impl Create {
    fn run(&self) -> anyhow::Result<Answer> {
        let passphrase = self.protect.passphrase()?;
        let passphrase = passphrase.as_ref();
        let (key, root) = ca::create(self.country, self.years, OffsetDateTime::now_utc())?;
        let folder = DirBuilder::new().recursive(true).mode(0o700).create(&self.out);
        folder.with_context(|| format!("cannot make the folder {}", self.out.display()))?;
        let (key_path, certificate_path) = (self.out.join("ca.key"), self.out.join("ca.crt"));
        key.write(&key_path, secrets::protection(passphrase))?;
        disk::create_public(&certificate_path, root.pem.as_bytes())?;
        let lines = Lines::default()
            .wrote(&key_path)
            .add("", secrets::described(passphrase))
            .wrote(&certificate_path)
            .add("", format!("certificate of the authority of country {}", self.country))
            .add("serial", root.serial)
            .add("valid until", moment(root.not_after))
            .add("SHA-256", fingerprint(&root.certificate))
            .next("hand ca.crt to the editors of the trust list, and keep ca.key off the network")
            .next(format!("pki issue --ca {} --csr FILE --role gateway --out FILE", self.out.display()));
        Ok(Answer::done(lines.text()))
    }
}
