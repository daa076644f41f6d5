//! All that is read and checked before the gateway starts, and what `gateway check` says of it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use pki::disk::DiskError;
use pki::identity::{self, IdentityError, NodeKeys};
use pki::sign::SigningKey;
use pki::tls::{self, Identity, Role};
use pki::trust::{KeeperError, Status, TrustKeeper, TrustList};
use proto::ids::CountryCode;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{Config, Listen};
use crate::damage::Lost;
use crate::embedded;
use crate::keylists::KeyLists;
use crate::node::Node;
use crate::quota::Quotas;
use crate::store::StoreError;
use crate::store::archive::ArchiveError;
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
        "the store's last batch for country {country} is {last}, and a receipt in the state folder proves {proven}: an older copy of the store was put in its place, and going on would use numbers again; put the newer one back, or run `gateway store rebuild`"
    )]
    WentBack {
        /// Whose receipt.
        country: CountryCode,
        /// Our last number.
        last: u64,
        /// The number on the receipt.
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
pub fn prepare(
    config: Config,
    clock: Clock,
    stop: CancellationToken,
) -> Result<(Node, TrustKeeper), StartError> {
    let wrong = |reason: String| StartError::NotInTrustList(reason);
    let country = CountryCode::new(config.country).map_err(|cause| wrong(cause.to_string()))?;
    create_private(&config.state)?;
    let keeper = TrustKeeper::open(&config.trust, config.state.join("trust.accepted.json"), clock.now())?;
    let trust = keeper.watch();
    let keys = NodeKeys::read(&config.identity)?;
    let signing = identity::signing_key(&config.signing_key, config.identity.passphrase_file.as_deref())?;
    check_identity(&keys, country)?;
    let list = trust.borrow().clone();
    check_membership(&signing, &list, country, clock.now())?;
    let key_lists = KeyLists::open(config.state.join("keylists"), &list, clock.now())?;
    let store = embedded::open(&config, &clock)?;
    let node = Node {
        country,
        store: Arc::new(store),
        trust,
        certificate: keys.certificate,
        signing: Arc::new(signing),
        ingress: keys.hpke,
        key_lists,
        backends: Quotas::new(&config.quota.backend),
        peers: Quotas::new(&config.quota.peer),
        clock,
        lost: Lost::default(),
        metrics: Metrics::default(),
        progress: Notify::new(),
        stop,
        config,
    };
    Ok((node, keeper))
}

/// Reads and checks all that a configuration names, without opening the store or a socket. Gives a summary, or
/// every problem that could be found.
pub fn check(config: &Config, clock: &Clock) -> Result<String, Vec<String>> {
    let mut problems = Vec::new();
    let mut note = |problem: &dyn std::error::Error| problems.push(chain(problem));
    let keys = NodeKeys::read(&config.identity).map_err(|cause| note(&cause)).ok();
    let signing = identity::signing_key(&config.signing_key, config.identity.passphrase_file.as_deref());
    let signing = signing.map_err(|cause| note(&cause)).ok();
    let trust = TrustKeeper::check(&config.trust, clock.now()).map_err(|cause| note(&cause)).ok();
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

fn create_private(folder: &Path) -> Result<(), DiskError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| DiskError::Write { path: folder.into(), source })
}
