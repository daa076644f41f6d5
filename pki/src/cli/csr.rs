//! `pki csr`: asks an authority for a certificate.

use std::path::PathBuf;

use anyhow::Context;
use pki::{csr, disk};

use super::answer::{Answer, Lines};
use super::secrets::Open;

#[derive(clap::Args)]
#[command(after_help = "EXAMPLE\n  pki csr --key gateway.key --passphrase-file passphrase --out gateway.csr")]
pub(super) struct Args {
    /// The private key that the certificate is for
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The file for the request
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    open: Open,
}

impl Args {
    pub(super) fn run(&self) -> anyhow::Result<Answer> {
        let key = self.open.read(&self.key)?;
        let request = csr::request(&key).context("the key does not sign")?;
        disk::create_public(&self.out, request.as_bytes())?;
        let next = format!("pki issue --ca DIR --csr {} --role gateway --out FILE", self.out.display());
        let lines = Lines::default()
            .wrote(&self.out)
            .next("hand it to your country's certificate authority, which runs:");
        Ok(Answer::done(lines.add("", next).text()))
    }
}
