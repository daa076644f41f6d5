//! A small world for tests: real keys and trust lists, real files, and a gateway of another make.

mod remote;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64ct::{Base64UrlUnpadded, Encoding};
use pki::ca::Order;
use pki::csr::{self, Request};
use pki::disk::DiskError;
use pki::fixture::Federation;
use pki::identity::{IdentityConfig, NodeKeys};
use pki::keyfile::{Algorithm, KeyFile, Protection};
use pki::keylist::{KeyList, Kind, ListedKey};
use pki::seal::{self, PublicKey};
use pki::sign::{SigningKey, sha256};
use pki::tls::Role;
use pki::trust::TrustList;
use prost::Message;
use proto::batch::{BatchHeader, Manifest, SignedBatch};
use proto::body;
use proto::ids::{Authority, BatchId, CountryCode, Sequence};
use proto::wire;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

pub(crate) use remote::Remote;

use crate::backend::{Backend, BackendError};
use crate::backends::folder::FolderBackend;
use crate::clock::Clock;
use crate::config::Approach;
use crate::durable::Disk;
use crate::gateway::Gateway;
use crate::herald::reference::SourceProfile;
use crate::intake::{self, Folder, Intake, KeySource, Lines, Modes, Outlet, Quotas, Rules};
use crate::publish::{Ingress, Pending, Publisher};
use crate::receive::{PullLimits, Quarantine, Receiver};
use crate::risk::Mechanism;
use crate::steady::SteadyClock;

/// The adapter of the United Kingdom's authority 1, its gateway, France and Germany.
pub(crate) struct World {
    pub(crate) federation: Arc<Federation>,
    pub(crate) remote: Arc<Remote>,
    pub(crate) gateway: Gateway,
    pub(crate) trust: watch::Sender<Arc<TrustList>>,
    pub(crate) keys: Arc<NodeKeys>,
    pub(crate) clock: Clock,
    folder: TempDir,
}

/// The number of a report that sets off a defect, as no known one does.
pub(crate) const DEFECT: u32 = u32::MAX;

/// A report for France, as the lines of an outgoing file have it. Every number is another token.
pub(crate) fn line(number: u32, clock: &Clock) -> Value {
    line_for(&[0x10, 0x00, 0xfa, 0, 0], number, clock)
}

pub(crate) fn line_for(header: &[u8; 5], number: u32, clock: &Clock) -> Value {
    let frame = [&header[..], &[7; 12], &number.to_be_bytes()].concat();
    json!({
        "frame": Base64UrlUnpadded::encode_string(&frame), "date": clock.today().to_string(),
        "duration_min": 12, "proximity_min": [0, 12, 0, 0]
    })
}

/// The octets of a report that France sends to the United Kingdom's authority 1.
pub(crate) fn report(number: u32, clock: &Clock) -> Vec<u8> {
    report_for(&[0x10, 0x03, 0x3a, 0, 1], number, clock)
}

pub(crate) fn report_for(header: &[u8; 5], number: u32, clock: &Clock) -> Vec<u8> {
    let line = line_for(header, number, clock).to_string();
    crate::backends::folder::parse_line(line.as_bytes(), SourceProfile::Specification)
        .ok()
        .unwrap()
        .octets()
        .to_vec()
}

/// Panics at the report with that number.
pub(crate) fn set_off(report: &[u8]) {
    let marked = [&[7; 12][..], &DEFECT.to_be_bytes()].concat();
    assert!(!report.windows(marked.len()).any(|part| part == marked), "the defect");
}

impl World {
    pub(crate) async fn start() -> Self {
        let federation = Arc::new(Federation::of(&["826/0", "826/1", "250/0", "276/0"]));
        let folder = tempfile::tempdir().unwrap();
        install(&federation, folder.path());
        let keys = Arc::new(NodeKeys::read(&identity(folder.path())).unwrap());
        let remote = Arc::new(Remote::new(federation.clone()));
        let trust = watch::Sender::new(Arc::new(federation.trust_list()));
        let gateway = remote.clone().serve_plain().await;
        Self { federation, remote, gateway, trust, keys, clock: Clock::default(), folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Empties the folders and the gateway: a new day for the same keys.
    pub(crate) fn reset(&self) {
        for folder in ["outgoing", "delivered", "state"] {
            let _ = fs::remove_dir_all(self.path(folder));
        }
        self.remote.reset();
    }

    pub(crate) fn own() -> Authority {
        "826/1".parse().unwrap()
    }

    pub(crate) fn backend(&self, disk: Disk) -> Result<Arc<dyn Backend>, DiskError> {
        Ok(Arc::new(FolderBackend::open(&self.path("outgoing"), disk, SourceProfile::Specification)?))
    }

    /// A desk that hands everything over to the delivered folder, and posts nothing.
    pub(crate) fn intake(&self, disk: Disk) -> Result<Intake, BackendError> {
        let folder = Folder::open(&self.path("delivered"), disk.clone(), ".ndjson", Modes::SHARED)?;
        self.intake_with(disk, vec![Box::new(Lines::new(folder, Approach::Centralised))], None)
    }

    /// A desk with these outlets, and these keys for service tokens.
    pub(crate) fn intake_with(
        &self,
        disk: Disk,
        outlets: Vec<Box<dyn Outlet>>,
        keys: Option<KeySource>,
    ) -> Result<Intake, BackendError> {
        let country = CountryCode::new(826).unwrap();
        let rules = Rules { own: Self::own(), country, mechanism: Mechanism::default(), keys };
        let state = self.path("state");
        let clock = Arc::new(SteadyClock::new(&state, disk.clone(), self.clock.clone()));
        let counters = Arc::default();
        let quotas = Quotas { reports: 1_100, tokens: 1_000 };
        let parts = intake::Parts { rules, clock, counters, outlets, quotas };
        Intake::open(&state, disk, parts)
    }

    pub(crate) fn publisher(&self, disk: Disk) -> Result<Arc<Publisher>, DiskError> {
        let country = CountryCode::new(826).unwrap();
        Ok(Arc::new(Publisher {
            backend: self.backend(disk.clone())?,
            pending: Pending::open(&self.path("state"), disk)?,
            ingress: Ingress::new(self.gateway.clone(), self.trust.subscribe(), country, self.clock.clone()),
            gateway: self.gateway.clone(),
            authority: Self::own(),
            clock: self.clock.clone(),
            counters: Arc::default(),
        }))
    }

    pub(crate) fn receiver(&self, disk: Disk) -> Result<Arc<Receiver>, BackendError> {
        Ok(Arc::new(Receiver {
            intake: Arc::new(self.intake(disk.clone())?),
            quarantine: Quarantine::open(&self.path("state"), disk)?,
            gateway: self.gateway.clone(),
            trust: self.trust.subscribe(),
            keys: self.keys.clone(),
            authority: Self::own(),
            limits: PullLimits { page_bytes: 1 << 20, max_wait: std::time::Duration::ZERO },
            counters: Arc::default(),
        }))
    }

    /// Drops a file into the outgoing folder.
    pub(crate) fn drop_file(&self, name: &str, lines: &[String]) {
        let folder = self.path("outgoing");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), lines.join("\n")).unwrap();
    }

    /// The lines of all files of a folder, null where they are no JSON. Only files whose name ends in `.ndjson`, by file name.
    pub(crate) fn lines(&self, folder: &str) -> Vec<(String, Vec<Value>)> {
        let names = crate::durable::names(&self.path(folder)).unwrap_or_default();
        let files = names.into_iter().filter(|name| name.ends_with(".ndjson"));
        let read = |name: String| {
            let text = fs::read_to_string(self.path(folder).join(&name)).unwrap();
            let lines = text.lines().map(|line| serde_json::from_str(line).unwrap_or_default()).collect();
            (name, lines)
        };
        files.map(read).collect()
    }

    /// A batch from France.
    pub(crate) fn batch(&self, sequence: u64, reports: &[Vec<u8>]) -> SignedBatch {
        self.plan(sequence).seal(reports)
    }

    /// A batch from France that a test may alter before it is sealed and signed.
    pub(crate) fn plan(&self, sequence: u64) -> BatchPlan<'_> {
        self.plan_from(250, sequence)
    }

    /// The same from another country.
    pub(crate) fn plan_from(&self, country: u16, sequence: u64) -> BatchPlan<'_> {
        let key = self.keys.hpke.all()[0].public();
        let header = BatchHeader {
            origin: CountryCode::new(country).unwrap(),
            destination: Self::own(),
            key: key.id(),
            id: BatchId::random(),
            sealed_at: u32::try_from(self.clock.now() / 60).unwrap(),
        };
        BatchPlan { header, sequence, key, signer: &self.federation.country(country).signing }
    }
}

/// What goes into a batch.
pub(crate) struct BatchPlan<'a> {
    pub(crate) header: BatchHeader,
    pub(crate) sequence: u64,
    pub(crate) key: &'a PublicKey,
    pub(crate) signer: &'a SigningKey,
}

impl BatchPlan<'_> {
    pub(crate) fn seal(self, reports: &[Vec<u8>]) -> SignedBatch {
        let mut text = Vec::new();
        reports.iter().for_each(|report| body::put_report(&mut text, report).unwrap());
        self.seal_text(text)
    }

    pub(crate) fn seal_text(self, mut text: Vec<u8>) -> SignedBatch {
        body::pad(&mut text);
        let enc = seal::seal_batch(self.key, &self.header, &mut text).unwrap();
        let manifest = Manifest {
            header: self.header,
            sequence: Sequence::new(self.sequence).unwrap(),
            previous: [0; 32],
            sealed_hash: sha256(&text),
            sealed_len: u32::try_from(text.len()).unwrap(),
            enc: enc.into(),
        };
        let manifest = manifest.octets();
        SignedBatch {
            signature: self.signer.sign(Manifest::DOMAIN, &manifest),
            signing_key: self.signer.public().id(),
            manifest: manifest.into(),
            sealed: text.into(),
        }
    }
}

pub(crate) fn identity(folder: &Path) -> IdentityConfig {
    IdentityConfig {
        certificate: folder.join("adapter.crt"),
        key: folder.join("adapter.key"),
        passphrase_file: None,
        hpke_keys: vec![folder.join("country.key")],
    }
}

/// Writes the files of the adapter of 826/1 into a folder, and a configuration that names them.
pub(crate) fn install(federation: &Federation, folder: &Path) {
    let country = federation.country(826);
    let key = KeyFile::generate(Algorithm::P256);
    let request = Request::check(&csr::request(&key).unwrap()).unwrap();
    let role = Role::Adapter(World::own());
    let order = Order { role, dns: Vec::new(), ip: Vec::new(), days: Order::DAYS };
    let issued = country.ca.issue(&request, &order, time::OffsetDateTime::now_utc()).unwrap();
    fs::write(folder.join("adapter.crt"), issued.pem).unwrap();
    key.write(&folder.join("adapter.key"), Protection::Plain).unwrap();
    KeyFile::generate(Algorithm::X25519).write(&folder.join("country.key"), Protection::Plain).unwrap();
    fs::write(folder.join("trust.json"), federation.signed(&federation.draft(1)).file()).unwrap();
    for n in 1..=3 {
        let anchor = format!("anchor-{n}.pub");
        fs::copy(federation.folder().join(&anchor), folder.join(anchor)).unwrap();
    }
    let keys = NodeKeys::read(&identity(folder)).unwrap();
    write_key_list(federation, folder, 1, &[keys.hpke.all()[0].public()]);
}

/// Writes the key list of 826/1, as `pki key-list create` does.
pub(crate) fn write_key_list(federation: &Federation, folder: &Path, version: u64, keys: &[&PublicKey]) {
    let now = pki::fixture::now();
    let listed =
        |key: &&PublicKey| ListedKey { key: (*key).clone(), not_before: now - 60, not_after: now + 86_400 };
    let keys = keys.iter().map(listed).collect();
    let list = KeyList { kind: Kind::Authority, authority: World::own(), version, issued: now, keys };
    let signed = list.sign(&federation.country(826).authorities[&World::own()]).into_wire();
    fs::write(folder.join("authority.keys"), wire::SignedKeyList::encode_to_vec(&signed)).unwrap();
}

/// Writes a configuration for the files of [`install`], and gives its path.
pub(crate) fn write_config(folder: &Path, gateway: &str, alter: impl Fn(String) -> String) -> PathBuf {
    let example = include_str!("../../../deploy/country-adapter.example.toml");
    let text = [
        ("https://127.0.0.1:7444", gateway),
        ("127.0.0.1:7446", "127.0.0.1:0"),
        ("/var/lib/country-adapter", "state"),
        ("passphrase_file = \"adapter.passphrase\"\n", ""),
        ("\"country-2026-11.key\", \"country-2026-10.key\"", "\"country.key\""),
        ("/srv/exchange/", ""),
        ("poll_ms = 1000", "poll_ms = 10"),
        ("max_wait_ms = 30000", "max_wait_ms = 50"),
    ];
    let text = text.into_iter().fold(example.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    let path = folder.join("adapter.toml");
    fs::write(&path, alter(text)).unwrap();
    path
}
