//! Gateways in this process, with real TLS and real stores: for what a real process could not be made to show.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway::config::Config;
use gateway::{Listeners, StartError};
use pki::ca::{self, CertificateAuthority};
use pki::fixture::{self, Federation, now};
use pki::keylist::{Expected, KeyList, Kind, ListedKey, SignedKeyList};
use pki::seal::{PrivateKey, PublicKey, Suite, seal_push};
use pki::tls::{NodeCertificate, Role};
use pki::trust::TrustList;
use pki::{dial, tls};
use proto::batch::{Manifest, SignedBatch};
use proto::body::Reports;
use proto::day::Day;
use proto::header::EnvelopeHeader;
use proto::ids::{Authority, CountryCode};
use proto::push::Draft;
use proto::report::{JsonReport, Report};
use proto::verdict::Verdict;
use proto::wire;
use proto::wire::delivery_client::DeliveryClient;
use proto::wire::exchange_client::ExchangeClient;
use proto::wire::ingest_client::IngestClient;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Channel;

/// How long anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How many authorities a gateway has a key of.
const KEY_LISTS: &str = "exchange_key_lists_in_force";

/// A federation whose gateways run in this process.
pub(crate) struct Doors {
    pub(crate) federation: Federation,
    pub(crate) doors: BTreeMap<u16, Door>,
    keys: BTreeMap<Authority, PrivateKey>,
    folder: TempDir,
    ports: BTreeMap<u16, u16>,
}

/// One gateway.
pub(crate) struct Door {
    pub(crate) peers: SocketAddr,
    pub(crate) national: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Of a gateway in this process.
    running: Option<(DropGuard, JoinHandle<Result<(), StartError>>)>,
}

impl Doors {
    /// Starts a gateway for every country of these authorities, and publishes every authority's key.
    pub(crate) async fn open(authorities: &[&str]) -> Self {
        let mut doors = Self::closed(authorities);
        for code in doors.codes() {
            doors.start(code).await;
        }
        doors.publish_keys().await;
        doors
    }

    /// As [`Doors::open`], with nothing running yet. The ports are in the trust list already.
    pub(crate) fn closed(authorities: &[&str]) -> Self {
        let federation = Federation::of(authorities);
        let folder = tempfile::tempdir().unwrap();
        let codes: Vec<u16> = federation.countries.keys().map(|code| code.number()).collect();
        let ports = codes.iter().map(|code| (*code, free_port())).collect();
        let doors = Self { federation, doors: BTreeMap::new(), keys: BTreeMap::new(), folder, ports };
        for code in codes {
            doors.federation.install_gateway(code, &doors.path(code));
        }
        doors.install_trust(&doors.draft(1));
        doors
    }

    pub(crate) fn codes(&self) -> Vec<u16> {
        self.ports.keys().copied().collect()
    }

    /// Where a country's gateway has its files.
    pub(crate) fn path(&self, code: u16) -> PathBuf {
        self.folder.path().join(code.to_string())
    }

    /// Where a country's gateway answers its peers.
    pub(crate) fn port(&self, code: u16) -> u16 {
        self.ports[&code]
    }

    /// A trust list draft with the real addresses.
    pub(crate) fn draft(&self, version: u64) -> String {
        let mut draft = self.federation.draft(version);
        for (code, port) in &self.ports {
            let from = format!(
                "name = \"Country {code}\"\nstatus = \"active\"\nendpoints = [\"https://127.0.0.1:1\"]"
            );
            let to = from.replace(":1\"]", &format!(":{port}\"]"));
            assert!(draft.contains(&from));
            draft = draft.replace(&from, &to);
        }
        draft
    }

    /// Puts a signed trust list in front of every gateway.
    pub(crate) fn install_trust(&self, draft: &str) {
        let file = self.federation.signed(draft).file();
        for code in self.codes() {
            std::fs::write(self.path(code).join("trust.json"), &file).unwrap();
        }
    }

    pub(crate) fn trust(&self) -> TrustList {
        self.federation.signed(&self.draft(1)).check(&self.federation.trusted(), now()).unwrap()
    }

    /// The configuration of one gateway, as a file that may be edited before it starts.
    pub(crate) fn config(&self, code: u16) -> String {
        include_str!("../../deploy/gateway.example.toml")
            .replace("passphrase_file = \"passphrase\"\n", "")
            .replace("free_disk_bytes = 268435456", "free_disk_bytes = 1048576")
            .replace("wait_seconds = 30", "wait_seconds = 2")
            .replace("country = 826", &format!("country = {code}"))
            .replace("0.0.0.0:7443", &format!("127.0.0.1:{}", self.port(code)))
            .replace("0.0.0.0:7444", "127.0.0.1:0")
            .replace("127.0.0.1:7445", "127.0.0.1:0")
    }

    pub(crate) async fn start(&mut self, code: u16) {
        let config = self.config(code);
        self.start_as(code, &config).await;
    }

    pub(crate) async fn start_as(&mut self, code: u16, config: &str) {
        let path = self.path(code).join("gateway.toml");
        std::fs::write(&path, config).unwrap();
        let door = Door::start(Config::read(&path).unwrap()).await;
        self.doors.insert(code, door);
    }

    /// Takes a gateway of another process in, once it answers.
    pub(crate) async fn adopt(&mut self, code: u16, door: Door) {
        let admin = door.admin;
        until("the other process answers", || std::net::TcpStream::connect(admin).is_ok()).await;
        self.doors.insert(code, door);
    }

    /// Stops a gateway gracefully.
    pub(crate) async fn stop(&mut self, code: u16) {
        let door = self.doors.remove(&code).unwrap();
        let (stop, running) = door.running.expect("it runs in this process");
        drop(stop);
        tokio::time::timeout(PATIENCE, running).await.expect("stops in time").unwrap().unwrap();
    }

    pub(crate) fn door(&self, code: u16) -> &Door {
        &self.doors[&code]
    }

    /// Makes a key for every authority whose gateway runs, publishes it, and waits until all gateways know all.
    pub(crate) async fn publish_keys(&mut self) {
        let authorities: Vec<Authority> = self
            .federation
            .countries
            .values()
            .flat_map(|country| country.authorities.keys().copied())
            .collect();
        for authority in authorities.iter().filter(|authority| self.doors.contains_key(&code_of(**authority)))
        {
            let key = PrivateKey::parse(Suite::P256, &PrivateKey::generate(Suite::P256)).unwrap();
            let list = self.key_list(*authority, key.public(), now());
            self.delivery(*authority).publish_keys(list.into_wire()).await.unwrap();
            self.keys.insert(*authority, key);
        }
        for code in self.doors.keys() {
            let known = async || {
                let known = harness::admin::metric(&self.metrics(*code).await, KEY_LISTS, &[]);
                (known >= self.keys.len() as f64).then_some(())
            };
            harness::wait::until("all key lists are known", PATIENCE, known).await.unwrap();
        }
    }

    pub(crate) fn key_list(&self, authority: Authority, key: &PublicKey, version: u64) -> SignedKeyList {
        let signer = &self.federation.country(code_of(authority)).authorities[&authority];
        let keys = vec![ListedKey { key: key.clone(), not_before: 0, not_after: now() + 86_400 }];
        KeyList { kind: Kind::Authority, authority, version, issued: now(), keys }.sign(signer)
    }

    /// A certificate of the country's own authority.
    pub(crate) fn certificate(&self, code: u16, role: Role) -> NodeCertificate {
        self.federation.country(code).certificate(role)
    }

    /// A line to a gateway, as the holder of a certificate.
    pub(crate) fn line(&self, certificate: &NodeCertificate, to: u16, address: SocketAddr) -> Channel {
        let trust = self.trust();
        let country = trust.country(CountryCode::new(to).unwrap()).unwrap();
        let tls = tls::client_config(certificate, country).unwrap();
        dial::channel(&format!("https://{address}"), Arc::new(tls)).unwrap()
    }

    pub(crate) fn exchange(&self, from: u16, to: u16) -> ExchangeClient<Channel> {
        let certificate = self.certificate(from, Role::Gateway);
        ExchangeClient::new(self.line(&certificate, to, self.door(to).peers))
            .max_decoding_message_size(32 << 20)
    }

    fn adapter(&self, authority: Authority) -> Channel {
        let code = code_of(authority);
        self.line(&self.certificate(code, Role::Adapter(authority)), code, self.door(code).national)
    }

    pub(crate) fn ingest(&self, authority: &str) -> IngestClient<Channel> {
        IngestClient::new(self.adapter(authority.parse().unwrap()))
    }

    pub(crate) fn delivery(&self, authority: Authority) -> DeliveryClient<Channel> {
        DeliveryClient::new(self.adapter(authority)).max_decoding_message_size(32 << 20)
    }

    /// A push of one report for each named issuer, sealed to the gateway's current ingress key.
    pub(crate) async fn sealed(&self, pusher: &str, issuers: &[(&str, u8)]) -> wire::PushRequest {
        let mut draft = Draft::default();
        for (issuer, identifier) in issuers {
            let octets = report(issuer, *identifier);
            draft.add(&Report::decode(&octets).unwrap().header(), &octets).unwrap();
        }
        let (headers, body) = draft.into_parts();
        let key = self.ingress_key(pusher).await;
        seal_push(&key, pusher.parse().unwrap(), headers, body).unwrap()
    }

    pub(crate) async fn ingress_key(&self, pusher: &str) -> PublicKey {
        let reply = self.ingest(pusher).ingress_keys(wire::IngressKeysRequest {}).await.unwrap().into_inner();
        let code = CountryCode::new(code_of(pusher.parse().unwrap())).unwrap();
        let trust = self.trust();
        let signers = &trust.country(code).unwrap().signing_keys;
        let authority = Authority::national(code);
        let expected = Expected { kind: Kind::Ingress, authority, signers, now: now() };
        let list = SignedKeyList::parse(reply).unwrap().check(expected).unwrap();
        list.in_force(now()).unwrap().clone()
    }

    /// Pushes, and gives the verdicts.
    pub(crate) async fn push(&self, pusher: &str, issuers: &[(&str, u8)]) -> Vec<Verdict> {
        let push = self.sealed(pusher, issuers).await;
        let reply = self.ingest(pusher).push(push).await.unwrap().into_inner();
        verdicts(&reply)
    }

    /// Everything in an authority's inbox behind a position, opened. Waits until it is at least so much.
    pub(crate) async fn delivered(&self, authority: &str, at_least: usize) -> Vec<Vec<u8>> {
        let authority: Authority = authority.parse().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let request = wire::DeliveryPullRequest {
                after: 0,
                max_bytes: 2 << 20,
                wait_ms: 200,
                manifest_hash: bytes::Bytes::new(),
            };
            let page = self.delivery(authority).pull(request).await.unwrap().into_inner();
            let reports: Vec<_> = page
                .delivered
                .into_iter()
                .flat_map(|batch| self.opened(authority, batch.batch.unwrap()))
                .collect();
            if reports.len() >= at_least {
                return reports;
            }
            assert!(Instant::now() < deadline, "{} of {at_least} reports came", reports.len());
        }
    }

    pub(crate) fn opened(&self, authority: Authority, batch: wire::SignedBatch) -> Vec<Vec<u8>> {
        let batch = SignedBatch::parse(batch).unwrap();
        let manifest = Manifest::parse(&batch.manifest).unwrap();
        let text = self.keys[&authority].open_batch(&manifest, &batch.sealed).unwrap();
        Reports::of_batch(&text).map(|report| report.unwrap().to_vec()).collect()
    }

    /// The last receipt that a gateway has, as `250/stored`.
    pub(crate) async fn receipt(&self, code: u16, which: &str) -> Option<Vec<u8>> {
        let path = format!("/receipts/{which}");
        let (status, octets) = harness::admin::octets(self.door(code).admin, &path).await.unwrap();
        (status == 200).then_some(octets)
    }

    /// The metrics page of a gateway.
    pub(crate) async fn metrics(&self, code: u16) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(self.door(code).admin).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    /// Waits until a gateway's metrics show this. Whoever was refused may know so before it is counted.
    pub(crate) async fn shows(&self, code: u16, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let metrics = self.metrics(code).await;
            if metrics.contains(what) {
                return;
            }
            assert!(Instant::now() < deadline, "{what} is not in {metrics}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Door {
    async fn start(config: Config) -> Self {
        let listeners = Listeners::bind(&config.listen).await.unwrap();
        let address = |listener: &TcpListener| listener.local_addr().unwrap();
        let (peers, national, admin) =
            (address(&listeners.peers), address(&listeners.national), address(&listeners.admin));
        let stop = CancellationToken::new();
        let running = tokio::spawn(gateway::run(config, listeners, stop.clone()));
        let mut running = running;
        // The admin page answers once everything is up; a start that fails shows its reason here.
        tokio::select! {
            ended = &mut running => panic!("the gateway did not start: {:?}", ended.unwrap().err()),
            () = answers(admin) => {}
        }
        Self { peers, national, admin, running: Some((stop.drop_guard(), running)) }
    }

    /// A gateway in another process.
    pub(crate) fn elsewhere(peers: u16, national: u16, admin: u16) -> Self {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self { peers: at(peers), national: at(national), admin: at(admin), running: None }
    }
}

async fn answers(address: SocketAddr) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

/// A contact report as an adapter encodes it.
pub(crate) fn report(issuer: &str, identifier: u8) -> Vec<u8> {
    let Authority::State(country, state) = issuer.parse().unwrap() else { panic!("{issuer}") };
    let (today, token) = (Day::of_unix(now()), base64url(&[identifier; 16]));
    let json = format!(
        r#"{{"v":1,"kind":"contact","code":16,"country":{country},"state":{state},"date":"{today}","duration_min":12,"proximity_min":[0,12,0,0],"risk":{{"type":0,"mechanism":0}},"token":"{token}"}}"#
    );
    JsonReport::parse(json.as_bytes()).unwrap().to_octets().unwrap()
}

fn base64url(octets: &[u8]) -> String {
    use base64ct::{Base64UrlUnpadded, Encoding};
    Base64UrlUnpadded::encode_string(octets)
}

/// A readable header of a Simple token.
pub(crate) fn header(issuer: &str) -> EnvelopeHeader {
    EnvelopeHeader::new(0x10, issuer.parse().unwrap()).unwrap()
}

pub(crate) fn verdicts(reply: &wire::PushReply) -> Vec<Verdict> {
    reply.verdicts.iter().map(|number| Verdict::from_number(*number).unwrap()).collect()
}

pub(crate) fn code_of(authority: Authority) -> u16 {
    let Authority::State(country, _) = authority else { panic!("{authority}") };
    country.number()
}

/// Polls until something holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A certificate of an authority that uses a country's name and is not in the trust list.
pub(crate) fn impostor(code: u16, role: Role) -> NodeCertificate {
    fixture::certificate(&stranger(code), role, time::OffsetDateTime::now_utc())
}

/// Such an authority.
pub(crate) fn stranger(code: u16) -> CertificateAuthority {
    let (key, issued) =
        ca::create(CountryCode::new(code).unwrap(), 10, time::OffsetDateTime::now_utc()).unwrap();
    CertificateAuthority::open(&issued.pem, &key).unwrap()
}

pub(crate) fn free_port() -> u16 {
    // Held by nobody in between: the range lies below the ports that systems give to outgoing calls.
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    let base = 10_000 + u16::try_from(std::process::id() % 400).unwrap() * 10;
    loop {
        let port = base.wrapping_add(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 5_000);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
