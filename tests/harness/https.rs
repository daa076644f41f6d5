//! Certificates for HTTPS: what phones reach their own country by. Each country has an authority of its own for that.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};

use crate::place::PhonesPlace;
use crate::setup::write_secret;

/// Makes an authority, and the certificate of a server on loopback. The authority's key is forgotten.
pub(crate) fn make(place: &PhonesPlace) -> Result<()> {
    let authority = CertifiedIssuer::self_signed(authority(), key()?)?;
    let server = key()?;
    let certificate = server_params()?.signed_by(&server, &authority)?;
    save(&place.ca, &authority.pem())?;
    save(&place.certificate, &certificate.pem())?;
    write_secret(&place.key, &server.serialize_pem())
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn server_params() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(vec!["localhost".into()])?;
    params.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn key() -> Result<KeyPair> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("a key cannot be made")
}

fn save(path: &std::path::Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
