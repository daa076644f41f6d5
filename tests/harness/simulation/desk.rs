//! One authority's adapter: the real receiver and desk, with keys that come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use country_adapter::Clock;
use country_adapter::backend::Mark;
use country_adapter::config::Approach;
use country_adapter::durable::Disk;
use country_adapter::gateway::Gateway;
use country_adapter::intake::{self, Folder, Intake, Lines, Modes, Rules};
use country_adapter::receive::{PullLimits, Quarantine, Receiver};
use country_adapter::risk::Mechanism;
use country_adapter::steady::SteadyClock;
use pki::identity::{HpkeKeys, NodeKeys};
use pki::keylist::{KeyList, Kind, ListedKey, SignedKeyList};
use pki::seal::{PrivateKey, PublicKey, Suite};
use pki::secret::Secret;
use pki::trust::TrustKeeper;
use pki::{dial, tls};
use proto::day::Day;
use proto::ids::{Authority, CountryCode, KeyId};
use serde::Deserialize;
use tokio::sync::watch;
use tonic::transport::Channel;

use super::charter::Charter;
use super::letters::{TOKEN, Token};

/// Seconds between the publication of a key and its first use.
const LEAD: u64 = 600;
/// How long an old key opens after its last use, seconds.
pub(super) const OPENS: u64 = 15 * 86_400;
/// Octets of a page: small, so that there are many.
const PAGE: u32 = 4_096;

/// An authority's adapter.
pub(super) struct Desk {
    /// Whose.
    pub(super) authority: Authority,
    /// Of which country.
    pub(super) country: u16,
    /// Its gateway.
    pub(super) gateway: Gateway,
    /// All lists that it has signed, oldest first.
    pub(super) lists: Vec<SignedKeyList>,
    /// How many of them its own gateway has taken.
    pub(super) published: usize,
    /// How far its gateway was told.
    pub(super) acknowledged: Option<Mark>,
    charter: Arc<Charter>,
    folder: PathBuf,
    port: u16,
    keys: Vec<Held>,
    channel: watch::Sender<Channel>,
    keeper: TrustKeeper,
    receiver: Arc<Receiver>,
    clock: Clock,
    /// The names of batches that were in quarantine.
    set_aside: BTreeSet<String>,
}

/// A private key.
struct Held {
    secret: Secret<Vec<u8>>,
    public: PublicKey,
    not_before: u64,
    not_after: u64,
    /// How many lists there were with the one that says when it ends.
    ended_in: usize,
    is_destroyed: bool,
}

/// A line that the authority's backend gets.
#[derive(Deserialize)]
struct Line {
    report: Report,
}

#[derive(Deserialize)]
struct Report {
    token: String,
}

impl Desk {
    /// An adapter with its first key. `port` is where it reaches its gateway; `list` its trust list.
    pub(super) fn new(
        charter: &Arc<Charter>,
        (authority, country): (Authority, u16),
        folder: &Path,
        (port, list): (u16, &Path),
    ) -> Result<Self> {
        let folder = folder.join(authority.to_string().replace('/', "-"));
        fs::create_dir_all(&folder)?;
        let config = charter.trust_config(list.into());
        let keeper = TrustKeeper::open(&config, folder.join("trust.remembered"), charter.begins())?;
        let channel = watch::Sender::new(channel(charter, (authority, country), port, &keeper)?);
        let gateway = Gateway::new(channel.subscribe());
        let key = Held::generate(charter.begins() - 86_400)?;
        let clock = Clock::default();
        let parts = Parts {
            charter,
            of: (authority, country),
            folder: &folder,
            keys: std::slice::from_ref(&key),
            gateway: &gateway,
            keeper: &keeper,
            clock: &clock,
        };
        let receiver = parts.receiver()?;
        let mut desk = Self {
            authority,
            country,
            gateway,
            lists: Vec::new(),
            published: 0,
            acknowledged: None,
            charter: charter.clone(),
            folder,
            port,
            keys: vec![key],
            channel,
            keeper,
            receiver,
            clock,
            set_aside: BTreeSet::new(),
        };
        desk.sign_list(charter.begins());
        Ok(desk)
    }

    /// What takes a page.
    pub(super) fn receiver(&self) -> &Arc<Receiver> {
        &self.receiver
    }

    /// Ends and starts again, from what is on its disk.
    pub(super) fn reopen(&mut self) -> Result<()> {
        self.acknowledged = None;
        let parts = Parts {
            charter: &self.charter,
            of: (self.authority, self.country),
            folder: &self.folder,
            keys: &self.keys,
            gateway: &self.gateway,
            keeper: &self.keeper,
            clock: &self.clock,
        };
        self.receiver = parts.receiver()?;
        Ok(())
    }

    /// Its clock follows its country's. Whatever passes here at once has passed: it is no leap of the clock.
    pub(super) fn turn(&self, seconds: i64) {
        self.clock.turn(seconds);
        let _ = fs::remove_file(self.folder.join("state/day"));
    }

    /// Today at its place.
    pub(super) fn today(&self) -> Day {
        self.clock.today()
    }

    /// Loads a newer trust list, and connects anew; whether there was one.
    pub(super) fn reload(&mut self, now: u64) -> Result<bool> {
        let is_newer = self.keeper.reload(now)?.is_some();
        if is_newer {
            let of = (self.authority, self.country);
            self.channel.send_replace(channel(&self.charter, of, self.port, &self.keeper)?);
        }
        Ok(is_newer)
    }

    /// Makes another key, and a list that says from when on it takes the place of the one before.
    pub(super) fn rotate(&mut self, now: u64) -> Result<()> {
        let from = now + LEAD;
        let lists = self.lists.len() + 1;
        if let Some(last) = self.keys.last_mut() {
            (last.not_after, last.ended_in) = (from, lists);
        }
        self.keys.push(Held::generate(from)?);
        self.sign_list(now);
        self.reopen()
    }

    /// Destroys what was replaced long ago, as far as its gateway knows of it. Gives how many keys.
    pub(super) fn retire(&mut self, now: u64) -> Result<usize> {
        let published = self.published;
        let is_over =
            |key: &&mut Held| key.not_after.saturating_add(OPENS) < now && key.ended_in <= published;
        let mut destroyed = 0;
        for key in self.keys.iter_mut().filter(is_over).filter(|key| !key.is_destroyed) {
            key.is_destroyed = true;
            destroyed += 1;
        }
        self.reopen()?;
        Ok(destroyed)
    }

    /// Whether it still has a key.
    pub(super) fn holds(&self, id: KeyId) -> bool {
        self.keys.iter().any(|key| key.public.id() == id && !key.is_destroyed)
    }

    /// A key that it has or had: nobody but the oracle asks.
    pub(super) fn key(&self, id: KeyId) -> Option<PrivateKey> {
        self.keys.iter().find(|key| key.public.id() == id).and_then(|key| key.private().ok())
    }

    fn sign_list(&mut self, now: u64) {
        let listed = |key: &Held| {
            let Held { public, not_before, not_after, .. } = key;
            ListedKey { key: public.clone(), not_before: *not_before, not_after: *not_after }
        };
        let keys = self.keys.iter().filter(|key| !key.is_destroyed).map(listed).collect();
        let version = u64::try_from(self.lists.len()).unwrap_or(u64::MAX) + 1;
        let list = KeyList { kind: Kind::Authority, authority: self.authority, version, issued: now, keys };
        let signer = &self.charter.country(self.country).authorities[&self.authority];
        self.lists.push(list.sign(signer));
    }

    /// How often each token stands in what the backend got.
    pub(super) fn delivered(&self) -> Result<BTreeMap<Token, usize>> {
        let mut found = BTreeMap::new();
        for name in country_adapter::durable::names(&self.folder.join("delivered"))? {
            if !name.ends_with(".ndjson") {
                continue;
            }
            for line in fs::read_to_string(self.folder.join("delivered").join(&name))?.lines() {
                let line: Line = serde_json::from_str(line).with_context(|| name.clone())?;
                *found.entry(token(&line.report.token)?).or_default() += 1;
            }
        }
        Ok(found)
    }

    /// Notes which batches lie in quarantine: they leave it after 15 days.
    pub(super) fn look_into_quarantine(&mut self) -> Result<()> {
        let names = country_adapter::durable::names(&self.folder.join("state/quarantine"))?;
        self.set_aside.extend(names.into_iter().filter(|name| name.ends_with(".batch")));
        Ok(())
    }

    /// How many batches were set aside.
    pub(super) fn quarantined(&self) -> usize {
        self.set_aside.len()
    }
}

fn token(text: &str) -> Result<Token> {
    use base64ct::{Base64UrlUnpadded, Encoding};
    let mut token = [0; TOKEN];
    let decoded = Base64UrlUnpadded::decode(text, &mut token).map_err(|_| anyhow::anyhow!("{text}"))?;
    anyhow::ensure!(decoded.len() == TOKEN, "{text} is no token of a simulation");
    Ok(token)
}

impl Held {
    fn generate(not_before: u64) -> Result<Self> {
        let secret = PrivateKey::generate(Suite::P256);
        let public = PrivateKey::parse(Suite::P256, &secret)?.public().clone();
        let (not_after, ended_in) = (u64::MAX, usize::MAX);
        Ok(Self { secret, public, not_before, not_after, ended_in, is_destroyed: false })
    }

    fn private(&self) -> Result<PrivateKey> {
        Ok(PrivateKey::parse(Suite::P256, &self.secret)?)
    }
}

/// What a receiver is made of.
struct Parts<'a> {
    charter: &'a Charter,
    of: (Authority, u16),
    folder: &'a Path,
    keys: &'a [Held],
    gateway: &'a Gateway,
    keeper: &'a TrustKeeper,
    clock: &'a Clock,
}

impl Parts<'_> {
    fn receiver(&self) -> Result<Arc<Receiver>> {
        let ((authority, country), disk) = (self.of, Disk::default());
        let state = self.folder.join("state");
        let folder = Folder::open(&self.folder.join("delivered"), disk.clone(), ".ndjson", Modes::SHARED)?;
        let rules = Rules {
            own: authority,
            country: CountryCode::new(country)?,
            mechanism: Mechanism::default(),
            keys: None,
        };
        let parts = intake::Parts {
            rules,
            clock: Arc::new(SteadyClock::new(&state, disk.clone(), self.clock.clone())),
            counters: Arc::default(),
            outlets: vec![Box::new(Lines::new(folder, Approach::Centralised))],
            quotas: intake::Quotas { reports: u32::MAX, tokens: u32::MAX },
        };
        let held = self.keys.iter().filter(|key| !key.is_destroyed);
        let hpke = HpkeKeys::new(held.map(Held::private).collect::<Result<_>>()?);
        let certificate = self.charter.country(country).adapter(authority)?;
        Ok(Arc::new(Receiver {
            intake: Arc::new(Intake::open(&state, disk.clone(), parts)?),
            quarantine: Quarantine::open(&state, disk)?,
            gateway: self.gateway.clone(),
            trust: self.keeper.watch(),
            keys: Arc::new(NodeKeys { certificate, hpke }),
            authority,
            limits: PullLimits { page_bytes: PAGE, max_wait: Duration::ZERO },
            counters: Arc::default(),
        }))
    }
}

fn channel(
    charter: &Charter,
    (authority, country): (Authority, u16),
    port: u16,
    keeper: &TrustKeeper,
) -> Result<Channel> {
    let trust = keeper.watch().borrow().clone();
    let entry = trust.country(CountryCode::new(country)?).context("its country is in every list")?;
    let tls = tls::client_config(&charter.country(country).adapter(authority)?, entry)?;
    Ok(dial::channel(&format!("https://127.0.0.1:{port}"), Arc::new(tls))?)
}
