//! Private HPKE keys of a federation, to show who can open a batch and who cannot.

use std::path::Path;

use anyhow::{Result, ensure};
use pki::keyfile::KeyFile;
use pki::passphrase::Passphrase;
use pki::seal::PrivateKey;
use pki::sign::VerifyingKey;
use proto::batch::{Manifest, SignedBatch};
use proto::body::Reports;
use proto::wire;

use crate::federation::Federation;
use crate::members::Node;
use crate::place::CountryPlace;

/// Reads an HPKE key file of a country.
pub fn private_key(country: &CountryPlace, file: &Path) -> Result<PrivateKey> {
    let passphrase = country.passphrase.as_deref().map(Passphrase::read).transpose()?;
    let file = KeyFile::read(file, passphrase.as_ref())?;
    Ok(PrivateKey::parse(file.algorithm().suite(), file.octets())?)
}

/// Every HPKE key of the federation, with the process that holds it.
pub fn all_private_keys(federation: &Federation) -> Result<Vec<(Node, PrivateKey)>> {
    let mut keys = Vec::new();
    for (plan, country) in federation.countries() {
        keys.push((Node::Gateway(plan.code), private_key(country, &country.gateway.ingress_key)?));
        for adapter in country.adapters.values() {
            keys.push((Node::Adapter(adapter.authority), private_key(country, &adapter.country_key)?));
        }
    }
    Ok(keys)
}

/// A batch whose origin's signature was checked, and what it says.
pub fn signed_batch(message: wire::SignedBatch, signer: &VerifyingKey) -> Result<(Manifest, SignedBatch)> {
    let batch = SignedBatch::parse(message)?;
    ensure!(batch.signing_key == signer.id(), "another key has signed the batch");
    signer.check(Manifest::DOMAIN, &batch.manifest, &batch.signature)?;
    Ok((Manifest::parse(&batch.manifest)?, batch))
}

/// The octets of the reports in a batch, if this key opens it.
pub fn open(key: &PrivateKey, manifest: &Manifest, sealed: &[u8]) -> Option<Vec<Vec<u8>>> {
    let text = key.open_batch(manifest, sealed).ok()?;
    Reports::of_batch(&text).map(|report| report.map(<[u8]>::to_vec).ok()).collect()
}
