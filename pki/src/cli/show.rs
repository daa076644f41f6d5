//! `pki show`: says what a file is and what a person needs to know about it.

use std::path::PathBuf;

use anyhow::Context;
use pkcs8::der::pem;
use pki::csr::Request;
use pki::pubfile::PublicFile;
use pki::tls::PeerCertificate;
use pki::{disk, lint};
use x509_parser::certificate::X509Certificate;

use super::answer::{Answer, Lines, fingerprint, seconds};
use super::key::{hpke_id, signing_id};
use super::{key_list, trust_view};

/// Octets of the largest file that is shown: a trust list.
const LIMIT: usize = 4 * 1_024 * 1_024;

#[derive(clap::Args)]
#[command(after_help = "EXAMPLE\n  pki show gateway.crt")]
pub(super) struct Args {
    /// A certificate, a request, a public key, a key list or a trust list
    file: PathBuf,
}

impl Args {
    pub(super) fn run(&self) -> anyhow::Result<Answer> {
        let octets = disk::read(&self.file, LIMIT)?;
        let shown = shown(&octets).with_context(|| format!("cannot show {}", self.file.display()))?;
        Ok(Answer::done(shown))
    }
}

fn shown(octets: &[u8]) -> anyhow::Result<String> {
    if octets.starts_with(b"{") {
        return trust_view::shown(octets);
    }
    let Ok(label) = pem::decode_label(octets) else {
        return key_list::shown(octets).context("it is no PEM, no trust list and no key list");
    };
    match label {
        "CERTIFICATE" => certificates(octets),
        "CERTIFICATE REQUEST" => Ok(request(&Request::check(str::from_utf8(octets)?)?)),
        "PUBLIC KEY" => {
            Ok(public_key(&PublicFile::parse(octets).context("it is no public key of a known algorithm")?))
        }
        "PRIVATE KEY" => Ok("a private key, not encrypted; it is not shown".into()),
        "ENCRYPTED PRIVATE KEY" => Ok("a private key, encrypted; it is not shown".into()),
        other => anyhow::bail!("it holds a `{other}`, which the exchange does not use"),
    }
}

/// Every certificate of a chain.
fn certificates(pem: &[u8]) -> anyhow::Result<String> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().context("the PEM is damaged")?;
    let shown = chain.iter().map(|der| certificate(der)).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(shown.join("\n"))
}

fn certificate(der: &[u8]) -> anyhow::Result<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(der).context("the certificate does not parse")?;
    let lines = if parsed.is_ca() {
        Lines::default().add("certificate", "of an authority").add("name", parsed.subject())
    } else {
        leaf(der)
    };
    let lines = lines
        .add("issuer", parsed.issuer())
        .add("serial", hex::encode(parsed.raw_serial()))
        .add("valid from", seconds(parsed.validity().not_before.timestamp()))
        .add("valid until", validity_end(&parsed))
        .add("SHA-256", fingerprint(der));
    Ok(lines.text())
}

fn leaf(der: &[u8]) -> Lines {
    let lines = Lines::default().add("certificate", "of a node");
    let identity = match PeerCertificate::parse(der) {
        Ok(read) => read.identity,
        Err(error) => return lines.add("invalid", error),
    };
    let lines = lines.add("name", identity).add("country", identity.country);
    match lint::check(der, identity.country) {
        Ok(_) => lines,
        Err(error) => lines.add("invalid", error),
    }
}

fn validity_end(parsed: &X509Certificate<'_>) -> String {
    let end = seconds(parsed.validity().not_after.timestamp());
    if parsed.validity().is_valid() { end } else { format!("{end} (not valid now)") }
}

fn request(request: &Request) -> String {
    let lines = Lines::default().add("request", "for a certificate; its maker holds the key");
    lines.add("key SHA-256", fingerprint(request.point())).text()
}

fn public_key(public: &PublicFile) -> String {
    let lines = Lines::default().add("public key", public.algorithm);
    let lines = match public.algorithm.suite() {
        pki::seal::Suite::P256 => lines.add("signing id", signing_id(public)),
        _ => lines,
    };
    lines.add("HPKE id", hpke_id(public)).add("SHA-256", fingerprint(&public.octets)).text()
}
