//! What reaches a country's own processes: configurations, phones' uploads, and what phones download.

use country_adapter::lists::reader::Reader;
use country_adapter::lists::{Increment, ListKind};
use country_adapter::phones::Stripped;
use country_adapter::phones::case_code::CaseCode;
use country_adapter::phones::upload::{SIZE, Upload};
use country_adapter::service_keys;
use proto::extended::Recipient;
use proto::ids::Authority;

use crate::keys::SIGNER;

fn authority() -> Authority {
    "826/1".parse().expect("it is an authority")
}

/// Both configuration files.
pub(crate) fn config(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    let _ = gateway::config::Config::parse(text, "fuzzed.toml");
    if let Ok(config) = toml::from_str::<country_adapter::Config>(text) {
        let _ = config.contradictions();
    }
}

/// The body of a phone's upload, filled up to the one size, and the code in its path.
pub(crate) fn upload(octets: &[u8]) {
    if let Ok(text) = std::str::from_utf8(octets) {
        let _ = text.parse::<CaseCode>();
    }
    let mut body = octets.to_vec();
    body.resize(SIZE, 0);
    let Ok(upload) = Upload::parse(&body) else { return };
    assert_eq!(upload.octets().expect("it had room before").as_slice(), body, "an upload has one form");
    for contact in &upload.contacts {
        for recipient in [Recipient::Issuer, Recipient::Other] {
            let _ = Stripped::new(contact, recipient).report();
        }
    }
}

/// What phones download: increments of a list, and the list of service keys.
pub(crate) fn lists(octets: &[u8]) {
    let _ = Increment::parse(octets);
    for kind in ListKind::ALL {
        let mut reader = Reader::new(kind, authority(), *SIGNER.public());
        let _ = reader.read(octets, |checked| assert!(checked.entries().len() <= octets.len()));
    }
    let _ = service_keys::read(octets, SIGNER.public(), authority());
}
