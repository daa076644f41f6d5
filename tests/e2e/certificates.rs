//! Who is not let in: certificates, roles, countries that were put out.

use std::sync::Arc;

use pki::fixture;
use pki::tls::{NodeCertificate, Role};
use proto::ids::CountryCode;
use proto::wire;
use proto::wire::exchange_client::ExchangeClient;
use time::{Duration, OffsetDateTime};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::doors::{self, Doors};
use crate::refusals::{PULL, britain_and_france, reason};

/// Pulls from the United Kingdom as the holder of a certificate.
async fn pull_as(doors: &Doors, certificate: &NodeCertificate) -> Result<(), Status> {
    let mut client = ExchangeClient::new(doors.line(certificate, 826, doors.door(826).peers));
    client.pull(PULL).await.map(drop)
}

/// The handshake fails: no call is made.
async fn is_shut_out(doors: &Doors, certificate: &NodeCertificate, (reason, alert): (&str, &str)) {
    let refused = pull_as(doors, certificate).await.expect_err("shut out");
    assert!(matches!(refused.code(), Code::Unavailable | Code::Unknown | Code::Cancelled), "{refused:?}");
    let counted = format!(
        "exchange_handshakes_failed_total{{listener=\"peers\",reason=\"{reason}\",alert=\"{alert}\"}}"
    );
    doors.shows(826, &counted).await;
}

fn french(doors: &Doors, issued: OffsetDateTime) -> NodeCertificate {
    fixture::certificate(&doors.federation.country(250).ca, Role::Gateway, issued)
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_are_not_good_are_shut_out() {
    let doors = britain_and_france().await;
    let now = OffsetDateTime::now_utc();
    pull_as(&doors, &french(&doors, now)).await.expect("a good one is let in");
    is_shut_out(&doors, &french(&doors, now - Duration::days(100)), ("expired", "certificate_expired")).await;
    is_shut_out(&doors, &french(&doors, now + Duration::days(2)), ("not_yet_valid", "certificate_expired"))
        .await;
    is_shut_out(&doors, &doors::impostor(250, Role::Gateway), ("bad_signature", "decrypt_error")).await;
    is_shut_out(&doors, &doors::impostor(999, Role::Gateway), ("unknown_issuer", "unknown_ca")).await;
    is_shut_out(&doors, &self_signed("exchange://250/gateway"), ("unknown_issuer", "unknown_ca")).await;
}

fn self_signed(uri: &str) -> NodeCertificate {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into().unwrap())];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.self_signed(&key).unwrap();
    let secret = pki::secret::Secret::new(key.serialize_der());
    NodeCertificate::new(vec![certificate.der().clone()], secret).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_without_a_certificate_is_shut_out() {
    let doors = britain_and_france().await;
    let trust = doors.trust();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trust.country(CountryCode::new(826).unwrap()).unwrap().ca.clone()).unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(pki::tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let address = format!("https://{}", doors.door(826).peers);
    let line = pki::dial::channel(&address, Arc::new(tls)).unwrap();
    let refused = ExchangeClient::new(line).pull(PULL).await.expect_err("shut out");
    assert!(matches!(refused.code(), Code::Unavailable | Code::Unknown | Code::Cancelled), "{refused:?}");
    doors.shows(826, "reason=\"no_certificate\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_certificate_behind_a_strangers_leaf_helps_nothing() {
    let doors = britain_and_france().await;
    let (stranger, key) = fixture::certificate_parts(&doors::stranger(250), Role::Gateway);
    let good = doors.certificate(250, Role::Gateway);
    let ca = doors.trust().country(CountryCode::new(250).unwrap()).unwrap().ca.clone();
    let chain = vec![stranger, good.leaf().clone(), ca];
    is_shut_out(&doors, &NodeCertificate::new(chain, key).unwrap(), ("bad_signature", "decrypt_error")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_with_anothers_key_makes_no_connection() {
    let doors = britain_and_france().await;
    let trust = doors.trust();
    let british = trust.country(CountryCode::new(826).unwrap()).unwrap();
    let parts = |code| fixture::certificate_parts(&doors.federation.country(code).ca, Role::Gateway);
    let ((certificate, _), (_, key)) = (parts(250), parts(826));
    let swapped = NodeCertificate::new(vec![certificate], key).unwrap();
    assert!(pki::tls::client_config(&swapped, british).is_err(), "rustls compares certificate and key");
}

// The hash of a certificate may begin with any octets: nothing here compares it as text or number.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_whose_hash_begins_with_zeros_are_let_in() {
    let doors = britain_and_france().await;
    for zeros in [4, 8] {
        let begins_with_zeros = |certificate: &NodeCertificate| {
            let hash = pki::sign::sha256(certificate.leaf());
            u16::from_be_bytes([hash[0], hash[1]]).leading_zeros() >= zeros
        };
        let found =
            std::iter::repeat_with(|| doors.certificate(250, Role::Gateway)).find(begins_with_zeros).unwrap();
        pull_as(&doors, &found).await.expect("let in");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_make_its_own_calls_only() {
    let doors = britain_and_france().await;
    let as_role = |code: u16, role: Role, address| doors.line(&doors.certificate(code, role), 826, address);
    let (peers, national) = (doors.door(826).peers, doors.door(826).national);
    let adapter = Role::Adapter("826/1".parse().unwrap());
    for role in [adapter, Role::Operator] {
        let refused = ExchangeClient::new(as_role(826, role, peers)).pull(PULL).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "WRONG_ROLE"));
    }
    let french_adapter = Role::Adapter("250/0".parse().unwrap());
    let nobody = Role::Adapter("826/9".parse().unwrap());
    for (code, role) in [(826, Role::Gateway), (250, Role::Gateway), (250, french_adapter), (826, nobody)] {
        let mut ingest = wire::ingest_client::IngestClient::new(as_role(code, role, national));
        let push = doors.sealed("826/1", &[("250/0", 1)]).await;
        let refused = ingest.push(push).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::PermissionDenied, "WRONG_ROLE"),
            "{role:?}"
        );
        let mut delivery = wire::delivery_client::DeliveryClient::new(as_role(code, role, national));
        let request = wire::DeliveryPullRequest {
            after: 0,
            max_bytes: 1,
            wait_ms: 0,
            manifest_hash: bytes::Bytes::new(),
        };
        let refused = delivery.pull(request).await.unwrap_err();
        assert_eq!(reason(&refused), "WRONG_ROLE", "{role:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_offered_on_its_own_listener_only() {
    let doors = britain_and_france().await;
    let push = doors.sealed("826/1", &[("250/0", 1)]).await;
    // Who has no business at a door is told so before the request is read; who has finds no other service there.
    let adapter = (826, Role::Adapter("826/1".parse().unwrap()), Code::PermissionDenied);
    for (country, role, code) in [adapter, (250, Role::Gateway, Code::Unimplemented)] {
        let line = doors.line(&doors.certificate(country, role), 826, doors.door(826).peers);
        let push = wire::ingest_client::IngestClient::new(line).push(push.clone()).await;
        assert_eq!(push.unwrap_err().code(), code, "{country}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_of_another_country_is_not_believed_to_be_the_expected_one() {
    let doors = britain_and_france().await;
    // Called as France, the United Kingdom's gateway shows its own certificate.
    let line = doors.line(&doors.certificate(826, Role::Gateway), 250, doors.door(826).peers);
    let refused = ExchangeClient::new(line).pull(PULL).await.unwrap_err();
    assert!(matches!(refused.code(), Code::Unavailable | Code::Unknown | Code::Cancelled), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_country_that_is_put_out_loses_its_open_connections() {
    let doors = britain_and_france().await;
    let mut open = doors.exchange(250, 826);
    open.pull(PULL).await.expect("active");
    let out = doors.draft(2).replace(
        "name = \"Country 250\"\nstatus = \"active\"",
        "name = \"Country 250\"\nstatus = \"suspended\"",
    );
    doors.install_trust(&out);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        match open.pull(PULL).await {
            Err(refused) if reason(&refused) == "COUNTRY_OUT" => break,
            Err(refused) if refused.code() != Code::PermissionDenied => break,
            _ => assert!(std::time::Instant::now() < deadline, "still served after 60 s"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    is_shut_out(&doors, &doors.certificate(250, Role::Gateway), ("revoked", "certificate_revoked")).await;
    assert_eq!(doors.push("826/1", &[("250/0", 1)]).await, [proto::verdict::Verdict::Suspended]);
}

// The new authority has the old one's name: only what it has signed tells them apart.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_replaced_authority_has_certified_loses_its_open_connections() {
    let doors = britain_and_france().await;
    let old = doors.certificate(250, Role::Gateway);
    let mut open = ExchangeClient::new(doors.line(&old, 826, doors.door(826).peers));
    open.pull(PULL).await.expect("not yet replaced");
    let (key, issued) =
        pki::ca::create(CountryCode::new(250).unwrap(), 10, OffsetDateTime::now_utc()).unwrap();
    std::fs::write(doors.federation.folder().join("250-new.crt"), &issued.pem).unwrap();
    doors.install_trust(&doors.draft(2).replace("ca = \"250.crt\"", "ca = \"250-new.crt\""));
    loses(&mut open).await;
    is_shut_out(&doors, &old, ("bad_signature", "decrypt_error")).await;
    let new = pki::ca::CertificateAuthority::open(&issued.pem, &key).unwrap();
    let new = fixture::certificate(&new, Role::Gateway, OffsetDateTime::now_utc());
    pull_as(&doors, &new).await.expect("certified by the new authority");
}

/// An open connection ends within the minute that it may take.
async fn loses(open: &mut ExchangeClient<Channel>) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while open.pull(PULL).await.is_ok() {
        assert!(std::time::Instant::now() < deadline, "still served after 60 s");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_is_shut_out_and_its_countrys_others_are_not() {
    let doors = britain_and_france().await;
    let (bad, good) = (doors.certificate(250, Role::Gateway), doors.certificate(250, Role::Gateway));
    let mut open = ExchangeClient::new(doors.line(&bad, 826, doors.door(826).peers));
    open.pull(PULL).await.expect("not yet revoked");
    let serial = hex::encode(pki::tls::PeerCertificate::parse(bad.leaf()).unwrap().serial);
    let from = "ca = \"250.crt\"\n";
    let draft = doors.draft(2).replace(from, &format!("{from}revoked_serials = [\"{serial}\"]\n"));
    doors.install_trust(&draft);
    loses(&mut open).await;
    is_shut_out(&doors, &bad, ("revoked", "certificate_revoked")).await;
    pull_as(&doors, &good).await.expect("the country's other certificate");
}
