//! What others publish and show of their keys. The fuzzed part is signed here, so that it is read and not only
//! refused for its signature.

use std::sync::LazyLock;

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use pki::csr;
use pki::keylist::{self, Expected, Kind, SignedKeyList};
use pki::lint;
use pki::pubfile::PublicFile;
use pki::sign::SigningKey;
use pki::tls::{Identity, PeerCertificate, not_after};
use pki::trust::{Anchors, CertifiedKey, SignedTrustList};
use prost::Message;
use proto::ids::{Authority, CountryCode};
use proto::wire;

pub(crate) static SIGNER: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::from_pkcs8(&SigningKey::generate()).expect("a fresh key is a key"));
/// A moment in the life of the corpus.
const NOW: u64 = 1_795_000_000;

/// An authority's public keys.
pub(crate) fn key_list(octets: &[u8]) {
    if let Ok(message) = wire::SignedKeyList::decode(octets)
        && let Ok(list) = SignedKeyList::parse(message.clone())
    {
        assert_eq!(list.into_wire(), message);
    }
    let signed = wire::SignedKeyList {
        list: Bytes::copy_from_slice(octets),
        signature: SIGNER.sign(keylist::DOMAIN, octets).to_vec().into(),
        signing_key: SIGNER.public().id().octets().to_vec().into(),
    };
    let Ok(list) = SignedKeyList::parse(signed) else { return };
    let signers = [CertifiedKey { key: *SIGNER.public(), not_before: 0, not_after: u64::MAX }];
    for kind in [Kind::Authority, Kind::Ingress] {
        let owner = octets.get(2..7).and_then(|owner| Authority::parse(owner).ok());
        let authority = owner.unwrap_or(Authority::national(CountryCode::new(826).expect("it is a country")));
        if let Ok(list) = list.check(Expected { kind, authority, signers: &signers, now: NOW }) {
            assert_eq!(list.octets(), octets, "a key list has one form");
            let _ = list.in_force(NOW);
        }
    }
}

/// The trust list: its file form, and a document that the anchors have signed.
pub(crate) fn trust_list(octets: &[u8]) {
    let anchors = Anchors { keys: vec![*SIGNER.public()], threshold: 1 };
    if let Ok(list) = SignedTrustList::parse(octets) {
        let again = SignedTrustList::parse(list.file().as_bytes()).expect("what is written can be read");
        assert_eq!(again.file(), list.file());
        let _ = (list.check(&anchors, NOW), list.document_text());
    }
    let document = Base64::encode_string(octets);
    let file = format!(r#"{{"format":"exchange/v1 trust list","document":"{document}","signatures":[]}}"#);
    if let Ok(mut list) = SignedTrustList::parse(file.as_bytes()) {
        list.sign(&SIGNER);
        let _ = list.check(&anchors, NOW);
    }
}

/// A certificate that somebody shows, its name, and what a country's authority is asked to sign.
pub(crate) fn certificate(octets: &[u8]) {
    let country = CountryCode::new(826).expect("it is a country");
    if let Ok(shown) = PeerCertificate::parse(octets) {
        let name = shown.identity.to_string();
        assert_eq!(name.parse(), Ok(shown.identity), "an identity has one spelling");
    }
    let _ = (not_after(octets), lint::check(octets, country));
    if let Ok(text) = std::str::from_utf8(octets) {
        if let Ok(identity) = text.parse::<Identity>() {
            assert_eq!(identity.to_string(), text);
        }
        let _ = text.parse::<Authority>();
    }
}

/// Files that other people hand over: requests and public keys.
pub(crate) fn pem(octets: &[u8]) {
    if let Some(file) = PublicFile::parse(octets) {
        assert!(PublicFile::parse(file.pem().as_bytes()).is_some());
    }
    if let Ok(text) = std::str::from_utf8(octets) {
        let _ = csr::Request::check(text);
    }
}
