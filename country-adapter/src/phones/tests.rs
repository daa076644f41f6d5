//! What phones are answered over real HTTPS.

use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use proto::ids::CountryCode;
use proto::report::{IllKey, ReportType, SimpleKey, TransmissionRisk};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::case_code::{CaseCode, CaseCodes, Degree};
use super::cases::{Parts, Policy};
use super::upload::{SIZE, Upload, UploadedKey};
use super::*;
use crate::diagnosis::FanOut;
use crate::durable::Disk;
use crate::herald::secured::client_id::ClientId;
use crate::lists::{Entry, ListKind, Parameters, Places, Poster, queue};
use crate::publish::Spool;
use crate::risk::{Mechanism, Threshold};
use crate::testing::World;

/// Phones are served at an address.
struct Place {
    world: World,
    address: SocketAddr,
    roots: rustls::RootCertStore,
    poster: Poster,
    _stop: DropGuard,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn problem(&self) -> String {
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
        let document: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(document["status"], self.status.as_u16());
        let name = document["type"].as_str().unwrap().strip_prefix("https://exchange.invalid/problems/");
        name.unwrap().to_owned()
    }
}

fn certificate(folder: &Path) -> (Certificate, rustls::RootCertStore) {
    let (ca_key, key) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    let mut ca = rcgen::CertificateParams::new(vec![]).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = ca.self_signed(&ca_key).unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let leaf = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let certificate = Certificate { chain: folder.join("phones.crt"), key: folder.join("phones.key") };
    std::fs::write(&certificate.chain, leaf.pem()).unwrap();
    pki::disk::create_secret(&certificate.key, key.serialize_pem().as_bytes()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    (certificate, roots)
}

impl Place {
    async fn open() -> Self {
        Self::with(Limits::connections(64)).await
    }

    async fn with(limits: Limits) -> Self {
        let world = World::start().await;
        let state = world.path("state");
        let disk = Disk::default();
        let parts = Parts {
            spool: Arc::new(Spool::open(&state, disk.clone(), world.clock.clone()).unwrap()),
            intake: Arc::new(world.intake(disk.clone()).unwrap()),
            fan_out: FanOut {
                issuer: World::own(),
                own: CountryCode::new(826).unwrap(),
                subscribers: vec![],
            },
            trust: world.trust.subscribe(),
            second_degree: Policy::Off,
            contacts_per_case: 5_000,
            clock: world.clock.clone(),
            wake: Arc::default(),
        };
        let cases = Arc::new(Cases::open(&state, disk.clone(), parts).unwrap());
        let key = pki::sign::SigningKey::from_pkcs8(&pki::sign::SigningKey::generate()).unwrap();
        let parameters = Parameters::new(World::own(), Mechanism::default(), Threshold::default());
        let places = Places { state: &state, public: None };
        let poster = Poster::open(&places, (disk, world.clock.clone()), key, parameters).unwrap();
        let phones = Arc::new(Phones::new(cases, poster.store(), None, Duration::from_secs(300)));
        let (certificate, roots) = certificate(&world.path(""));
        let tls = certificate.read().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, router(phones), (certificate, tls), limits, stop.clone()));
        Self { world, address, roots, poster, _stop: stop.drop_guard() }
    }

    fn code(&self) -> CaseCode {
        self.code_for(Degree::First)
    }

    fn code_for(&self, degree: Degree) -> CaseCode {
        let codes = CaseCodes::open(&self.world.path("state"), Disk::default()).unwrap();
        codes.create(self.world.clock.now() + 600, degree).unwrap()
    }

    fn tls(&self) -> rustls::ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        builder.with_root_certificates(self.roots.clone()).with_no_client_auth()
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let https = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(self.tls());
        let client = Client::builder(TokioExecutor::new()).build(https.https_only().enable_http1().build());
        let mut request = Request::builder().method(method).uri(format!("https://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = client.request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], vec![]).await
    }

    async fn post(&self, code: &str, body: Vec<u8>) -> Answer {
        let path = format!("/v1/cases/{code}/contacts");
        self.ask(Method::POST, &path, &[("content-type", "application/octet-stream")], body).await
    }

    /// An increment of more entries than a connection's buffers hold.
    fn put_down_many(&self) {
        let folder = queue::folder(&self.world.path("state"));
        let records: Vec<u8> =
            (0..1_000).flat_map(|_| queue::record(ListKind::Contacts, &Entry::new([7; 40]))).collect();
        std::fs::write(folder.join(format!("many{}", queue::ENDING)), records).unwrap();
        self.poster.post().unwrap();
    }

    fn put_down(&self, number: u8) {
        let folder = queue::folder(&self.world.path("state"));
        let record = queue::record(ListKind::Contacts, &Entry::new([number; 40]));
        std::fs::write(folder.join(format!("{number}{}", queue::ENDING)), record).unwrap();
        self.poster.post().unwrap();
    }
}

fn upload() -> Vec<u8> {
    let upload = Upload { client: ClientId::new([1; 16]), contacts: vec![], keys: vec![] };
    upload.octets().unwrap().to_vec()
}

#[tokio::test]
async fn a_case_is_uploaded_once() {
    let place = Place::open().await;
    let code = place.code().to_string();
    let first = place.post(&code, upload()).await;
    assert_eq!(first.status, StatusCode::ACCEPTED);
    assert_eq!(first.headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(first.body.len(), 64);
    let said: Value = serde_json::from_slice(&first.body).unwrap();
    assert_eq!(said, serde_json::json!({ "domestic": 0, "foreign": 0, "keys": 0 }));
    let again = place.post(&code, upload()).await;
    assert_eq!((again.status, again.problem().as_str()), (StatusCode::CONFLICT, "case-code-used"));
    assert_eq!(serde_json::from_slice::<Value>(&again.body).unwrap()["same_upload"], true);
}

#[tokio::test]
async fn every_wrong_upload_is_told_what_is_wrong_and_leaves_the_code_usable() {
    let place = Place::open().await;
    let code = place.code().to_string();
    for (body, problem) in [
        (vec![0; SIZE], "malformed-upload"),
        (vec![0; SIZE - 1], "wrong-size"),
        (vec![], "wrong-size"),
        (vec![0; SIZE + 1], "upload-too-large"),
    ] {
        assert_eq!(place.post(&code, body).await.problem(), problem);
    }
    let path = format!("/v1/cases/{code}/contacts");
    for kind in [&[][..], &[("content-type", "application/json")]] {
        let answer = place.ask(Method::POST, &path, kind, upload()).await;
        assert_eq!(answer.problem(), "unsupported-media-type");
    }
    for wrong in ["7K3M-9QX2-TB4D", "x", "%00", "%ff", "7K3M"] {
        let answer = place.post(wrong, upload()).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::NOT_FOUND, "unknown-case-code"));
        assert!(!String::from_utf8_lossy(&answer.body).contains("7K3M"), "nothing of it is repeated");
    }
    assert_eq!(place.get(&path).await.problem(), "method-not-allowed");
    assert_eq!(place.get("/v2/").await.problem(), "not-found");
    assert_eq!(place.post(&code, upload()).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_code_of_another_time_or_degree_is_told_so() {
    let place = Place::open().await;
    let (late, second) = (place.code().to_string(), place.code_for(Degree::Second).to_string());
    let off = place.post(&second, upload()).await;
    assert_eq!((off.status, off.problem().as_str()), (StatusCode::FORBIDDEN, "second-degree-off"));
    place.world.clock.turn(601);
    let expired = place.post(&late, upload()).await;
    assert_eq!((expired.status, expired.problem().as_str()), (StatusCode::GONE, "case-code-expired"));
}

#[tokio::test]
async fn a_date_out_of_time_is_told_with_its_place_and_leaves_the_code_usable() {
    let place = Place::open().await;
    let (code, today) = (place.code().to_string(), place.world.clock.today());
    let key = |day| UploadedKey {
        key: IllKey::Simple(SimpleKey::new([1; 32]).unwrap(), day),
        report_type: ReportType::ConfirmedTest,
        onset: None,
        transmission_risk: TransmissionRisk::default(),
        visited: vec![],
    };
    for (day, problem) in [(today.minus(16), "key-too-old"), (today.plus(2), "key-from-the-future")] {
        let keys = vec![key(today), key(day)];
        let upload = Upload { client: ClientId::new([1; 16]), contacts: vec![], keys };
        let answer = place.post(&code, upload.octets().unwrap().to_vec()).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, problem));
        assert_eq!(serde_json::from_slice::<Value>(&answer.body).unwrap()["place"], "key 2");
    }
    assert_eq!(place.post(&code, upload()).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn who_tries_codes_is_slowed_down_and_a_right_code_passes_all_the_same() {
    let place = Place::open().await;
    let code = place.code().to_string();
    let mut slowed = 0;
    for _ in 0..WRONG_AT_ONCE.get() + 40 {
        let answer = place.post("0000-0000-0000", vec![]).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(answer.problem(), "too-many-wrong-codes");
            assert_eq!(answer.headers[header::RETRY_AFTER], "30");
            slowed += 1;
        }
    }
    assert!(slowed > 0);
    assert_eq!(place.post(&code, upload()).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_list_is_served_with_what_a_cache_needs() {
    let place = Place::open().await;
    let empty = place.get("/v1/exposures?since=0").await;
    assert_eq!((empty.status, empty.body.len()), (StatusCode::OK, 0));
    place.put_down(1);
    let first = place.get("/v1/exposures?since=0").await;
    let etag = first.headers[header::ETAG].to_str().unwrap().to_owned();
    assert!(etag.starts_with("\"exposures-0-1-1-"), "{etag}");
    assert_eq!(first.headers[header::CACHE_CONTROL], "public, max-age=300");
    assert!(first.body.len() > 64 * 40);
    let known = [("if-none-match", etag.as_str())];
    let unchanged = place.ask(Method::GET, "/v1/exposures?since=0", &known, vec![]).await;
    assert_eq!((unchanged.status, unchanged.body.len()), (StatusCode::NOT_MODIFIED, 0));
    place.put_down(2);
    let changed = place.ask(Method::GET, "/v1/exposures?since=0", &known, vec![]).await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_ne!(changed.headers[header::ETAG], etag.as_str());
    let second = place.get("/v1/exposures?since=1").await;
    assert_eq!(changed.body, [&first.body[..], &second.body[..]].concat());
    let restarted = place.get("/v1/exposures?since=3").await;
    assert_eq!((restarted.problem().as_str(), restarted.status), ("list-restarted", StatusCode::NOT_FOUND));
    assert_eq!(place.get("/v1/exposures").await.problem(), "not-found");
    for list in ["daily-keys", "venues", "advice"] {
        assert_eq!(place.get(&format!("/v1/{list}?since=0")).await.status, StatusCode::OK, "{list}");
    }
    assert_eq!(place.get("/v1/service-keys").await.problem(), "not-found");
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let place = Place::open().await;
    let code = place.code();
    let stream = TcpStream::connect(place.address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(place.tls()));
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    let head = format!(
        "POST /v1/cases/{code}/contacts HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/octet-stream\r\ncontent-length: {SIZE}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&upload()[..1_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert_eq!(place.post(&code.to_string(), upload()).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_chunked_body_is_cut_at_the_limit() {
    let place = Place::open().await;
    let code = place.code();
    let stream = TcpStream::connect(place.address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(place.tls()));
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    let head = format!(
        "POST /v1/cases/{code}/contacts HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/octet-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = [&b"10000\r\n"[..], &[0; 0x10000], b"\r\n"].concat();
    for _ in 0..17 {
        if stream.write_all(&chunk).await.is_err() {
            break;
        }
    }
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// What a client says that never takes anything: no window for any answer, and two questions.
fn asked_and_not_read() -> Vec<u8> {
    // INITIAL_WINDOW_SIZE = 0
    let settings = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let path = b"/v1/exposures?since=0";
    let length = u8::try_from(path.len()).unwrap();
    // GET, https, :path, :authority, in the plain form of HPACK.
    let head = [&[0x82, 0x87, 0x04, length][..], path, &[0x01, 9], b"localhost"].concat();
    let ask = |stream| frame(1, 0x4 | 0x1, stream, &head);
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), settings, ask(1), ask(3)].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_an_answer_is_hung_up_on_and_others_are_served_meanwhile() {
    let place = Place::with(Limits { connections: 20, unread: Duration::from_millis(300) }).await;
    for _ in 0..40 {
        place.put_down_many();
    }
    let mut tls = place.tls();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    let mut lines = Vec::new();
    for _ in 0..19 {
        let stream = TcpStream::connect(place.address).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let mut stream = connector.connect(name, stream).await.unwrap();
        stream.write_all(&asked_and_not_read()).await.unwrap();
        lines.push(stream);
    }
    assert_eq!(place.get("/v1/exposures?since=0").await.status, StatusCode::OK);
    for line in &mut lines {
        let mut said = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(30), line.read_to_end(&mut said)).await;
        assert!(ended.is_ok(), "it holds its place for ever");
        assert!(said.len() < 64 * 1024, "{} octets without a window", said.len());
    }
    // Whoever reads gets all of it, however patient it is between two parts.
    let all = place.get("/v1/exposures?since=0").await;
    assert!(all.body.len() > 1 << 20, "{}", all.body.len());
}
