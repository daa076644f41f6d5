//! `pki issue`: signs a certificate for the key in a request. Names come from the arguments, never from the request.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::ValueEnum;
use pki::ca::{CertificateAuthority, Order};
use pki::csr::Request;
use pki::disk;
use pki::tls::{PeerCertificate, Role};
use proto::ids::Authority;
use time::OffsetDateTime;

use super::answer::{Answer, Lines, WrongUsage, fingerprint, moment};
use super::secrets::Open;

/// Octets of the largest certificate or request.
const LIMIT: usize = 64 * 1_024;

#[derive(clap::Args)]
#[command(after_help = "EXAMPLES
  pki issue --ca ca --csr gateway.csr --role gateway --dns gateway.example.org --ask-passphrase --out gateway.crt
  pki issue --ca ca --csr adapter.csr --role adapter --authority 826/1 --ask-passphrase --out adapter.crt")]
pub(super) struct Args {
    /// The authority's folder, with ca.crt and ca.key
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// The request
    #[arg(long, value_name = "FILE")]
    csr: PathBuf,
    /// What the holder of the certificate does
    #[arg(long)]
    role: RoleName,
    /// The adapter's authority: 826/1, or x/0000abcd for an opaque one
    #[arg(long, required_if_eq("role", "adapter"))]
    authority: Option<Authority>,
    /// A host name for the certificate; the exchange itself does not look at it
    #[arg(long, value_name = "NAME")]
    dns: Vec<String>,
    /// An address for the certificate; the exchange itself does not look at it
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<IpAddr>,
    /// How long the certificate is valid, in days
    #[arg(long, default_value_t = Order::DAYS, value_parser = clap::value_parser!(u16).range(1..=398))]
    days: u16,
    /// The file for the certificate
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    open: Open,
}

#[derive(Clone, Copy, ValueEnum)]
enum RoleName {
    /// A country's node at the border
    Gateway,
    /// The process beside one authority's backend
    Adapter,
    /// A person or machine that runs the country's nodes
    Operator,
}

impl Args {
    pub(super) fn run(&self) -> anyhow::Result<Answer> {
        let order = self.order()?;
        let request = disk::read_text(&self.csr, LIMIT)?;
        let request =
            Request::check(&request).with_context(|| format!("{} is refused", self.csr.display()))?;
        let issued = self.authority()?.issue(&request, &order, OffsetDateTime::now_utc())?;
        disk::create_public(&self.out, issued.pem.as_bytes())?;
        let identity = PeerCertificate::parse(&issued.certificate)?.identity;
        let lines = Lines::default()
            .wrote(&self.out)
            .add("name", identity)
            .add("serial", issued.serial)
            .add("valid until", moment(issued.not_after))
            .add("SHA-256", fingerprint(&issued.certificate))
            .next("hand the certificate back to the holder of the key, and note the serial: it is needed to revoke");
        Ok(Answer::done(lines.text()))
    }

    fn order(&self) -> Result<Order, WrongUsage> {
        let role = match (self.role, self.authority) {
            (RoleName::Adapter, Some(authority)) => Role::Adapter(authority),
            (RoleName::Gateway, None) => Role::Gateway,
            (RoleName::Operator, None) => Role::Operator,
            _ => return Err(WrongUsage("--authority goes with --role adapter, and only with it".into())),
        };
        Ok(Order { role, dns: self.dns.clone(), ip: self.ip.clone(), days: self.days })
    }

    fn authority(&self) -> anyhow::Result<CertificateAuthority> {
        let certificate = self.ca.join("ca.crt");
        let text = disk::read_text(&certificate, LIMIT)?;
        let key = self.open.read(&self.ca.join("ca.key"))?;
        CertificateAuthority::open(&text, &key)
            .with_context(|| format!("{} cannot be used", certificate.display()))
    }
}
