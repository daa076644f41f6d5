//! What the authority signs, what it refuses, and openssl's and webpki's opinion of the chain.

use std::fs;
use std::process::Command;

use x509_parser::prelude::{GeneralName, ParsedExtension, X509Certificate};

use super::*;
use crate::tls::PeerCertificate;

struct Country {
    ca: CertificateAuthority,
    key: KeyFile,
    root: Issued,
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn country(code: u16) -> Country {
    let (key, root) = create(CountryCode::new(code).unwrap(), 10, now()).unwrap();
    Country { ca: CertificateAuthority::open(&root.pem, &key).unwrap(), key, root }
}

fn request() -> Request {
    Request::check(&csr::request(&KeyFile::generate(Algorithm::P256)).unwrap()).unwrap()
}

fn order(role: Role) -> Order {
    Order { role, dns: vec![], ip: vec![], days: Order::DAYS }
}

fn parsed(issued: &Issued) -> X509Certificate<'_> {
    x509_parser::parse_x509_certificate(&issued.certificate).unwrap().1
}

fn adapter(authority: &str) -> Role {
    Role::Adapter(authority.parse().unwrap())
}

#[test]
fn an_authority_signs_certificates_and_nothing_below_them() {
    let country = country(826);
    let root = parsed(&country.root);
    assert_eq!(root.subject().to_string(), "CN=Exchange CA 826");
    let constraints = root.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = root.key_usage().unwrap().unwrap().value;
    assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
    assert!(root.name_constraints().unwrap().is_none());
    let days = (root.validity().not_after.timestamp() - root.validity().not_before.timestamp()) / 86_400;
    assert_eq!(days, 3_652);
    assert!(root.verify_signature(None).is_ok());
    assert_eq!(country.ca.country().number(), 826);
}

#[test]
fn a_leaf_has_the_names_and_usages_of_its_role() {
    let country = country(826);
    let roles = [
        (Role::Gateway, "exchange://826/gateway", true),
        (adapter("826/1"), "exchange://826/1/adapter", false),
        (adapter("x/0000abcd"), "exchange://826/x/0000abcd/adapter", false),
        (Role::Operator, "exchange://826/operator", false),
    ];
    for (role, name, is_server) in roles {
        let issued = country.ca.issue(&request(), &order(role), now()).unwrap();
        assert_eq!(PeerCertificate::parse(&issued.certificate).unwrap().identity.to_string(), name);
        let leaf = parsed(&issued);
        let usage = leaf.extended_key_usage().unwrap().unwrap().value;
        assert_eq!((usage.server_auth, usage.client_auth), (is_server, true), "{name}");
        assert!(leaf.key_usage().unwrap().unwrap().value.digital_signature());
        assert!(!leaf.is_ca());
        let root = parsed(&country.root);
        assert!(leaf.verify_signature(Some(root.public_key())).is_ok());
    }
}

#[test]
fn a_leaf_carries_the_requests_key_and_the_authoritys_key_id() {
    let (country, request) = (country(826), request());
    let issued = country.ca.issue(&request, &order(Role::Gateway), now()).unwrap();
    let (leaf, root) = (parsed(&issued), parsed(&country.root));
    assert_eq!(csr::p256_point(leaf.public_key().raw).unwrap(), request.point());
    let own = |certificate: &X509Certificate<'_>| {
        certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        })
    };
    let signers = leaf.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
        _ => None,
    });
    assert!(own(&leaf).is_some() && signers.is_some() && signers == own(&root));
}

#[test]
fn host_names_come_from_the_order() {
    let country = country(826);
    let dns = vec!["gateway.example.org".to_owned()];
    let named = Order { dns, ip: vec!["192.0.2.1".parse().unwrap()], ..order(Role::Gateway) };
    let issued = country.ca.issue(&request(), &named, now()).unwrap();
    let leaf = parsed(&issued);
    let names = &leaf.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert!(names.contains(&GeneralName::DNSName("gateway.example.org")));
    assert!(names.contains(&GeneralName::IPAddress(&[192, 0, 2, 1])));
    assert_eq!(names.len(), 3);
    for bad in ["", "*.example.org", "a b", "exchange://250/gateway"] {
        let order = Order { dns: vec![bad.into()], ..order(Role::Gateway) };
        let refused = country.ca.issue(&request(), &order, now()).unwrap_err();
        assert_eq!(refused, CaError::HostName(bad.into()));
    }
}

#[test]
fn a_leaf_begins_five_minutes_ago_and_ends_with_its_days() {
    let (country, now) = (country(826), now());
    let issued = country.ca.issue(&request(), &order(Role::Gateway), now).unwrap();
    let validity = parsed(&issued).validity().clone();
    assert_eq!(validity.not_before.timestamp(), now.unix_timestamp() - 300);
    assert_eq!(validity.not_after.timestamp(), now.unix_timestamp() - 300 + 90 * 86_400);
    assert_eq!(validity.not_after.timestamp(), issued.not_after.unix_timestamp());
    for days in [0, 399] {
        let order = Order { days, ..order(Role::Gateway) };
        assert_eq!(country.ca.issue(&request(), &order, now).unwrap_err(), CaError::Days { days });
    }
    assert!(country.ca.issue(&request(), &Order { days: 398, ..order(Role::Gateway) }, now).is_ok());
}

#[test]
fn no_leaf_outlives_its_authority() {
    let country = country(826);
    let late = now() + Duration::days(3_652 - 30);
    let refused = country.ca.issue(&request(), &order(Role::Gateway), late).unwrap_err();
    assert!(matches!(refused, CaError::BeyondAuthority { left: 29 | 30 }), "{refused}");
    let after = now() + Duration::days(5_000);
    let refused = country.ca.issue(&request(), &order(Role::Gateway), after).unwrap_err();
    assert_eq!(refused, CaError::BeyondAuthority { left: 0 });
    assert!(matches!(create(country.ca.country(), 0, now()), Err(CaError::Years { years: 0 })));
}

#[test]
fn an_authority_certifies_its_own_country_only() {
    let country = country(826);
    let refused = country.ca.issue(&request(), &order(adapter("250/1")), now()).unwrap_err();
    assert!(matches!(refused, CaError::OtherCountry { .. }));
}

#[test]
fn serials_are_positive_of_16_octets_and_differ() {
    let country = country(826);
    let one = country.ca.issue(&request(), &order(Role::Gateway), now()).unwrap();
    let two = country.ca.issue(&request(), &order(Role::Gateway), now()).unwrap();
    assert_ne!(one.serial, two.serial);
    for issued in [one, two, country.root] {
        assert_eq!(hex::encode(parsed(&issued).raw_serial()), issued.serial.to_string());
        assert_eq!(issued.serial.to_string().len(), 32);
        assert!(parsed(&issued).raw_serial()[0] < 0x80);
    }
}

#[test]
fn an_authority_opens_with_its_own_certificate_and_key_only() {
    let (one, two) = (country(826), country(826));
    let open = |pem: &str, key: &KeyFile| CertificateAuthority::open(pem, key).err().unwrap();
    assert_eq!(open(&one.root.pem, &two.key), CaError::OtherKey);
    assert_eq!(open("no PEM", &one.key), CaError::NotCertificate);
    let leaf = one.ca.issue(&request(), &order(Role::Gateway), now()).unwrap();
    assert_eq!(open(&leaf.pem, &one.key), CaError::NotAuthority);
}

#[test]
fn webpki_takes_the_chain() {
    use rustls::server::WebPkiClientVerifier;
    use rustls_pki_types::UnixTime;
    let (ours, other) = (country(826), country(826));
    let issued = ours.ca.issue(&request(), &order(Role::Gateway), now()).unwrap();
    let is_taken = |root: &Issued| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(root.certificate.clone()).unwrap();
        let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), crate::tls::provider());
        builder.build().unwrap().verify_client_cert(&issued.certificate, &[], UnixTime::now()).is_ok()
    };
    assert!(is_taken(&ours.root) && !is_taken(&other.root));
}

#[test]
fn openssl_takes_the_chain() {
    let country = country(826);
    let issued = country.ca.issue(&request(), &order(Role::Gateway), now()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (root, leaf) = (dir.path().join("ca.crt"), dir.path().join("gateway.crt"));
    fs::write(&root, &country.root.pem).unwrap();
    fs::write(&leaf, &issued.pem).unwrap();
    for purpose in ["sslserver", "sslclient"] {
        let mut openssl = Command::new("openssl");
        openssl.args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile"]).arg(&root).arg(&leaf);
        // Where openssl is not installed there is nothing to compare with.
        let Ok(verified) = openssl.output() else { return };
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    }
}
