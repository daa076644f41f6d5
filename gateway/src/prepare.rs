//! All that is read and checked before the gateway starts, and what `gateway check` says of it.

use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

use pki::disk::DiskError;
use pki::identity::{self, IdentityError, NodeKeys};
use pki::sign::SigningKey;
use pki::tls::{self, Identity, Role};
use pki::trust::{KeeperError, Status, TrustKeeper, TrustList};
use proto::ids::CountryCode;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::clock::Clock;
use crate::config::{Config, Listen, StoreConfig};
use crate::damage::Lost;
use crate::embedded;
use crate::inbound::progress::Progress;
use crate::keylists::KeyLists;
use crate::node::Node;
use crate::quota::Volumes;
use crate::room::Room;
use crate::state_files;
use crate::store::archive::{self, ArchiveError};
use crate::store::postgres::{Address, PostgresStore};
use crate::store::sled::rebuild;
use crate::store::{Holder, Store, StoreError};
use crate::telemetry::Metrics;

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port that is taken, mostly.
    #[error(
        "cannot listen on {address} (listen.{key}): {cause}; end the process that uses it, or choose another port"
    )]
    Listen {
        /// Which key of the configuration.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        cause: std::io::Error,
    },
    /// Our own keys.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The certificate is not this gateway's.
    #[error(
        "the certificate is for {shown}; the configuration needs one for {needed} (`pki issue --role gateway`)"
    )]
    OtherIdentity {
        /// What it says.
        shown: Identity,
        /// What is needed.
        needed: Identity,
    },
    /// The trust list.
    #[error(transparent)]
    Trust(#[from] KeeperError),
    /// Our country is not in it, or not with this signing key.
    #[error("{0}")]
    NotInTrustList(String),
    /// The state folder.
    #[error(transparent)]
    State(#[from] DiskError),
    /// The store.
    #[error("the store {path} does not open: {cause}")]
    Store {
        /// Where.
        path: String,
        /// Why.
        cause: StoreError,
    },
    /// A copy of the store that is older than what peers have.
    #[error(
        "the store's last batch for country {country} is {last}, and the state folder says that it has been {proven}: an older copy of the store was put in its place, and going on would use numbers again; put the newer one back, or run `gateway store rebuild`"
    )]
    WentBack {
        /// For whom.
        country: CountryCode,
        /// Our last number.
        last: u64,
        /// The number that it has been.
        proven: u64,
    },
    /// An import that broke off.
    #[error("{0}")]
    Unfinished(#[from] ArchiveError),
    /// A part of the gateway ended; its log says why.
    #[error("the stage `{0}` ended by itself; see the log, and start the gateway again")]
    StageEnded(&'static str),
    /// TLS.
    #[error(
        "TLS cannot be set up: {0}; the certificate and the key (identity.certificate, identity.key) must belong together"
    )]
    Tls(#[from] rustls::Error),
}

/// Bound sockets.
pub struct Listeners {
    /// For peers.
    pub peers: TcpListener,
    /// For adapters.
    pub national: TcpListener,
    /// For health and metrics.
    pub admin: TcpListener,
}

impl Listeners {
    /// Binds all three, or says which one is taken.
    pub async fn bind(listen: &Listen) -> Result<Self, StartError> {
        Ok(Self {
            peers: bind("peers", listen.peers).await?,
            national: bind("national", listen.national).await?,
            admin: bind("admin", listen.admin).await?,
        })
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|cause| StartError::Listen { key, address, cause })
}

/// Everything that is read and checked before the first socket is served.
pub async fn prepare(
    config: Config,
    clock: Clock,
    stop: CancellationToken,
) -> Result<(Node, TrustKeeper), StartError> {
    prepare_with(config, clock, stop, |store| store).await
}

/// As [`prepare`], with a hand on the store before anything else has it.
pub async fn prepare_with(
    config: Config,
    clock: Clock,
    stop: CancellationToken,
    wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
) -> Result<(Node, TrustKeeper), StartError> {
    let now = clock.now();
    for key in config.without_effect() {
        warn!(key, "this key of the configuration has no effect; take it out");
    }
    let (config, read) = blocking(move || read(&config, now).map(|read| (config, read))).await?;
    let trust = read.keeper.watch();
    let list = trust.borrow().clone();
    let store = wrap(open_store(&config, &clock).await?);
    if archive::is_unfinished(&*store).await? {
        return Err(ArchiveError::Unfinished.into());
    }
    let failed = |cause| StartError::Store { path: shown(&config.store), cause };
    let key_lists = KeyLists::open(store.clone(), &list, now).await.map_err(failed)?;
    state_files::take_over(&config.state, &store, &key_lists, (&list, now)).await.map_err(failed)?;
    let node = Node {
        country: read.country,
        store,
        holder: Holder::random(),
        trust,
        certificate: read.keys.certificate,
        signing: Arc::new(read.signing),
        ingress: read.keys.hpke,
        key_lists,
        backends: Volumes::of_backends(&config.quota.backend),
        peers: Volumes::of_peers(&config.quota.peer),
        stored: Room::of_peers(&config.quota.peer),
        clock,
        lost: Lost::default(),
        metrics: Metrics::default(),
        progress: Progress::default(),
        stop,
        config,
    };
    Ok((node, read.keeper))
}

/// What was read from files.
struct Read {
    country: CountryCode,
    keeper: TrustKeeper,
    keys: NodeKeys,
    signing: SigningKey,
}

fn read(config: &Config, now: u64) -> Result<Read, StartError> {
    let wrong = |reason: String| StartError::NotInTrustList(reason);
    let country = CountryCode::new(config.country).map_err(|cause| wrong(cause.to_string()))?;
    make_state(config)?;
    let keeper = TrustKeeper::open(&config.trust, remembered(config), now)?;
    let keys = NodeKeys::read(&config.identity)?;
    let signing = identity::signing_key(&config.signing_key, config.identity.passphrase_file.as_deref())?;
    check_identity(&keys, country)?;
    let list = keeper.watch().borrow().clone();
    check_membership(&signing, &list, country, now)?;
    Ok(Read { country, keeper, keys, signing })
}

/// Makes the state folder if it is not there.
pub fn make_state(config: &Config) -> Result<(), DiskError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&config.state);
    made.map_err(|source| DiskError::Write { path: config.state.clone(), source })
}

/// Where the last accepted trust list is kept.
#[must_use]
pub fn remembered(config: &Config) -> PathBuf {
    config.state.join("trust.accepted.json")
}

/// Opens the store that the configuration names.
async fn open_store(config: &Config, clock: &Clock) -> Result<Arc<dyn Store>, StartError> {
    let failed = |cause| StartError::Store { path: shown(&config.store), cause };
    match &config.store {
        StoreConfig::Folder(folder) => {
            let (folder, config, clock) = (folder.clone(), config.clone(), clock.clone());
            Ok(Arc::new(blocking(move || embedded::open(&folder, &config, &clock)).await?))
        }
        StoreConfig::Postgres(address) => {
            let options = config.postgres.clone().unwrap_or_default().options(address);
            Ok(Arc::new(PostgresStore::open(options).await.map_err(failed)?))
        }
    }
}

fn shown(store: &StoreConfig) -> String {
    match store {
        StoreConfig::Folder(folder) => folder.display().to_string(),
        StoreConfig::Postgres(address) => address.to_string(),
    }
}

/// Runs what reads files on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|cause| StartError::NotInTrustList(cause.to_string()))?
}

/// Whether nothing is owed in the folder; or whether the database answers and is of no later release.
fn check_store(config: &Config) -> Result<(), StartError> {
    let checked = match &config.store {
        StoreConfig::Folder(folder) => rebuild::check_owed(folder),
        StoreConfig::Postgres(address) => check_database(config, address),
    };
    checked.map_err(|cause| StartError::Store { path: shown(&config.store), cause })
}

/// On a thread of its own: the caller may run in a runtime.
fn check_database(config: &Config, address: &Address) -> Result<(), StoreError> {
    let options = config.postgres.clone().unwrap_or_default().options(address);
    let look = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let why = |cause: std::io::Error| StoreError::Unfit { why: cause.to_string() };
        runtime.map_err(why)?.block_on(PostgresStore::check(options))
    };
    std::thread::spawn(look).join().unwrap_or(Err(StoreError::Broken))
}

/// Reads and checks all that a configuration names, without opening the store's folder or a socket; a database is
/// asked, and not changed. Gives a summary, or
/// every problem that could be found.
pub fn check(config: &Config, clock: &Clock) -> Result<String, Vec<String>> {
    let mut problems = Vec::new();
    let mut note = |problem: &dyn std::error::Error| problems.push(chain(problem));
    let keys = NodeKeys::read(&config.identity).map_err(|cause| note(&cause)).ok();
    let signing = identity::signing_key(&config.signing_key, config.identity.passphrase_file.as_deref());
    let signing = signing.map_err(|cause| note(&cause)).ok();
    let trust = TrustKeeper::preview(&config.trust, &remembered(config), clock.now());
    let trust = trust.map_err(|cause| note(&cause)).ok();
    let country = CountryCode::new(config.country).map_err(|cause| note(&cause)).ok();
    if let (Some(keys), Some(country)) = (&keys, country)
        && let Err(cause) = check_identity(keys, country)
    {
        note(&cause);
    }
    if let (Some(signing), Some(trust), Some(country)) = (&signing, &trust, country)
        && let Err(cause) = check_membership(signing, trust, country, clock.now())
    {
        note(&cause);
    }
    if let (Some(keys), Some(trust)) = (&keys, &trust)
        && let Err(cause) = tls::check_own(&keys.certificate, trust, clock.now())
    {
        note(&StartError::Tls(cause));
    }
    if let Err(cause) = check_store(config) {
        note(&cause);
    }
    match (problems.is_empty(), trust) {
        (true, Some(trust)) => Ok(format!(
            "good: country {}, trust list version {} with {} countries",
            config.country,
            trust.version,
            trust.countries().count()
        )),
        _ => {
            // One missing file may be in the way of several checks.
            problems.dedup();
            Err(problems)
        }
    }
}

/// An error with its causes, on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !out.contains(&text) {
            out = format!("{out}: {text}");
        }
        cause = error.source();
    }
    out
}

fn check_membership(
    signing: &SigningKey,
    trust: &TrustList,
    country: CountryCode,
    now: u64,
) -> Result<(), StartError> {
    let wrong = |reason: String| StartError::NotInTrustList(reason);
    let entry =
        trust.country(country).ok_or_else(|| wrong(format!("country {country} is not in the trust list")))?;
    if entry.status != Status::Active {
        return Err(wrong(format!(
            "country {country} is {:?} in the trust list; no peer lets it in",
            entry.status
        )));
    }
    let key = signing.public().id();
    if let Some(certified) = entry.signing_key(key) {
        let is_valid = certified.is_valid_at(now);
        let late =
            || wrong(format!("signing_key {key} is not valid now in the trust list; ask for a new list"));
        return is_valid.then_some(()).ok_or_else(late);
    }
    Err(wrong(format!(
        "signing_key {key} is none of country {country}'s in the trust list; peers would refuse every batch"
    )))
}

fn check_identity(keys: &NodeKeys, country: CountryCode) -> Result<(), StartError> {
    let (shown, needed) = (keys.certificate.identity(), Identity { country, role: Role::Gateway });
    if shown == needed { Ok(()) } else { Err(StartError::OtherIdentity { shown, needed }) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use pki::fixture::Federation;

    use super::*;
    use crate::fixture;

    #[test]
    fn a_check_goes_by_the_trust_list_that_was_accepted_last_as_a_start_does() {
        let (_folder, config) = fixture::config(None, |config| config);
        let check = || check(&config, &Clock::default());
        assert!(check().unwrap().contains("trust list version 1"));
        assert!(!config.state.exists(), "a check changes nothing");
        let others = Federation::of(&["826/0"]);
        let accepted = others.signed(&others.draft(1)).file();
        fs::create_dir(&config.state).unwrap();
        fs::write(remembered(&config), &accepted).unwrap();
        let problems = check().unwrap_err();
        assert!(problems[0].contains("0 of the current anchors signed this list"), "{problems:?}");
        assert_eq!(fs::read_to_string(remembered(&config)).unwrap(), accepted);
    }
}
