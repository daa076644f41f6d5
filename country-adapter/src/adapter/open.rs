//! Opens what a configuration names: keys, trust, the desk with its outlets, the lists.

use std::path::PathBuf;
use std::sync::Arc;

use pki::disk::DiskError;
use pki::identity::{self, IdentityError, NodeKeys};
use pki::tls::{self, Identity, Role};
use pki::trust::{KeeperError, TrustList};
use proto::ids::{Authority, CountryCode};
use tokio::sync::{Notify, watch};
use tonic::transport::Channel;

use crate::admin::Admin;
use crate::backend::BackendError;
use crate::backends::webhook::{Webhook, WebhookError};
use crate::clock::Clock;
use crate::config::{BackendKind, Config, ListsConfig};
use crate::counters::Counters;
use crate::diagnosis::FanOut;
use crate::diagnosis::exports::{self, Exports};
use crate::durable::Disk;
use crate::intake::{Folder, Intake, KeySource, Lines, Modes, Outlet, Parts, Postings, Quotas, Rules};
use crate::lists::{self, Parameters, Places, Poster, queue};
use crate::phones::cases::{self, Policy};
use crate::phones::{self, Cases, Phones};
use crate::publish::Spool;
use crate::second_degree::Edges;
use crate::service_keys::{self, ServiceKeys};
use crate::steady::SteadyClock;

/// Why an adapter cannot start. Each names the key of the configuration that it comes from.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A certificate or key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The trust list.
    #[error(transparent)]
    Trust(#[from] KeeperError),
    /// A certificate for something else.
    #[error("the certificate is {shown}; the adapter of {authority} needs {needed}")]
    OtherIdentity {
        /// Who the certificate is for.
        shown: Identity,
        /// Whose adapter this is.
        authority: Authority,
        /// Whose certificate it must be.
        needed: Identity,
    },
    /// The authority is in no country of the trust list.
    #[error("authority {authority} is not in the trust list")]
    UnknownAuthority {
        /// The authority.
        authority: Authority,
    },
    /// TLS does not take the certificate, the key or the country's authority.
    #[error("TLS cannot be set up with this certificate and key: {0}")]
    Tls(#[from] rustls::Error),
    /// The address of the gateway.
    #[error("the gateway's address cannot be used")]
    Gateway(#[from] tonic::transport::Error),
    /// Another adapter runs on the same state.
    #[error("{path} is in use by another adapter; stop it first")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The lists for phones.
    #[error("the lists cannot be opened")]
    Lists(#[from] lists::Damaged),
    /// The daily keys.
    #[error("the keys for service tokens cannot be opened")]
    ServiceKeys(#[from] service_keys::KeysDamaged),
    /// What was kept of what arrived.
    #[error(transparent)]
    Intake(#[from] BackendError),
    /// The certificate for phones.
    #[error(transparent)]
    Phones(#[from] phones::CertificateError),
    /// The way to the national system.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// A directory that cannot be made or read.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl OpenError {
    /// Whether it may be over by the next start without a change of the configuration, as a full disk may.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::InUse { .. } | Self::Disk(_) | Self::Intake(BackendError::Disk(_)) => true,
            Self::Trust(KeeperError::Disk(cause)) => matches!(cause, DiskError::Write { .. }),
            _ => false,
        }
    }

    /// The key of the configuration that it comes from.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::Identity(_) | Self::OtherIdentity { .. } | Self::Tls(_) => "identity",
            Self::Trust(_) => "trust",
            Self::UnknownAuthority { .. } => "authority",
            Self::Gateway(_) => "gateway",
            Self::Lists(_) => "lists",
            Self::ServiceKeys(_) => "secured",
            Self::Phones(_) => "phones",
            Self::Webhook(_) => "backend.webhook",
            Self::InUse { .. } | Self::Disk(_) | Self::Intake(_) => "state",
        }
    }
}

/// Where the last accepted trust list is kept.
pub(crate) fn remembered(config: &Config) -> PathBuf {
    config.state.join("trust.remembered")
}

/// Whether a certificate is for the adapter of an authority. Gives the authority's country.
pub(crate) fn check_identity(
    authority: Authority,
    shown: Identity,
    trust: &TrustList,
) -> Result<CountryCode, OpenError> {
    let known = trust.authority(authority).map(|(country, _)| country.code);
    let country = known.ok_or(OpenError::UnknownAuthority { authority })?;
    let needed = Identity { country, role: Role::Adapter(authority) };
    if shown == needed { Ok(country) } else { Err(OpenError::OtherIdentity { shown, authority, needed }) }
}

/// The way to the country's gateway, with this adapter's certificate. Dials when it is first used.
pub fn connect(
    config: &Config,
    keys: &NodeKeys,
    trust: &TrustList,
    country: CountryCode,
) -> Result<Channel, OpenError> {
    let authority = config.authority;
    let country = trust.country(country).ok_or(OpenError::UnknownAuthority { authority })?;
    let tls = tls::client_config(&keys.certificate, country)?;
    Ok(pki::dial::channel(config.gateway.as_str(), Arc::new(tls))?)
}

/// What lists and service keys are signed with.
pub(super) fn lists_key(
    config: &Config,
    lists: &ListsConfig,
) -> Result<pki::sign::SigningKey, IdentityError> {
    identity::signing_key(&lists.signing_key, config.identity.passphrase_file.as_deref())
}

/// The lists, if there are any.
pub(super) fn poster(config: &Config, clock: &Clock, disk: &Disk) -> Result<Option<Arc<Poster>>, OpenError> {
    let Some(lists) = &config.lists else { return Ok(None) };
    let places = Places { state: &config.state, public: lists.folder.as_deref() };
    let parameters = Parameters::new(config.authority, config.risk.mechanism(), config.risk.threshold());
    let parts = (disk.clone(), clock.clone());
    Ok(Some(Arc::new(Poster::open(&places, parts, lists_key(config, lists)?, parameters)?)))
}

/// The keys for service tokens, if they are opened here.
pub(super) fn service_keys(
    config: &Config,
    clock: &SteadyClock,
    disk: &Disk,
) -> Result<Option<Arc<ServiceKeys>>, OpenError> {
    let (Some(_), Some(lists)) = (&config.secured, &config.lists) else { return Ok(None) };
    let keys = ServiceKeys::open(
        (&config.state, lists.folder.as_deref()),
        disk.clone(),
        lists_key(config, lists)?,
        config.authority,
    )?;
    keys.rotate(clock.clock().now(), clock.now()?)?;
    Ok(Some(Arc::new(keys)))
}

/// The desk with all that it puts things into.
pub(super) fn intake(
    config: &Config,
    country: CountryCode,
    (clock, disk): (&Arc<SteadyClock>, &Disk),
    (counters, keys): (Arc<Counters>, Option<Arc<ServiceKeys>>),
) -> Result<Intake, OpenError> {
    let keys = keys.map(|keys| -> KeySource { Arc::new(move || keys.private()) });
    let rules = Rules { own: config.authority, country, mechanism: config.risk.mechanism(), keys };
    let mut outlets: Vec<Box<dyn Outlet>> =
        vec![Box::new(Lines::new(lines_folder(config, disk)?, config.approach))];
    if config.approach.posts() {
        let queue = queue::folder(&config.state);
        let folder = Folder::open(&queue, disk.clone(), queue::ENDING, Modes::PRIVATE)?;
        outlets.push(Box::new(Postings::new(folder)));
    }
    if let Some(exports) = &config.diagnosis_keys.exports {
        let folder = Folder::open(exports, disk.clone(), exports::ENDING, Modes::SHARED)?;
        outlets.push(Box::new(Exports::new(folder)));
    }
    if config.second_degree.enabled {
        outlets.push(Box::new(Edges::open(&config.state, disk.clone())?));
    }
    let quotas = Quotas {
        reports: config.receive.reports_per_origin_and_day,
        tokens: config.secured.as_ref().map_or(u32::MAX, |secured| secured.tokens_per_origin_and_day),
    };
    let parts = Parts { rules, clock: clock.clone(), counters, outlets, quotas };
    Ok(Intake::open(&config.state, disk.clone(), parts)?)
}

fn lines_folder(config: &Config, disk: &Disk) -> Result<Folder, DiskError> {
    match (config.backend.kind, &config.backend.delivered) {
        (BackendKind::Folder, Some(delivered)) => {
            Folder::open(delivered, disk.clone(), ".ndjson", Modes::SHARED)
        }
        (BackendKind::Folder, None) | (BackendKind::Webhook, _) => {
            let queue = webhook_queue(config);
            Folder::numbered(&queue, disk.clone(), ".ndjson", Modes::PRIVATE)
        }
    }
}

/// What waits for the national system.
pub(super) fn webhook_queue(config: &Config) -> PathBuf {
    config.state.join("webhook").join("queue")
}

/// What the phones' side needs of the others.
type Served = (Arc<Intake>, Arc<Spool>, Arc<Notify>, watch::Receiver<Arc<TrustList>>);

/// HTTPS for phones, if it is configured.
pub(super) fn phones(
    config: &Config,
    country: CountryCode,
    (clock, disk): (&Clock, &Disk),
    (intake, spool, wake, trust): Served,
    (poster, service_keys): (&Option<Arc<Poster>>, &Option<Arc<ServiceKeys>>),
) -> Result<Option<(Arc<Phones>, phones::Certificate, rustls::ServerConfig)>, OpenError> {
    let (Some(served), Some(poster), Some(lists)) = (&config.phones, poster, &config.lists) else {
        return Ok(None);
    };
    let fan_out = FanOut {
        issuer: config.authority,
        own: country,
        subscribers: config.diagnosis_keys.subscribers.clone(),
    };
    let second_degree = if config.second_degree.enabled { Policy::On } else { Policy::Off };
    let contacts_per_case = usize::try_from(served.contacts_per_case).unwrap_or(usize::MAX);
    let clock = clock.clone();
    let parts = cases::Parts { spool, intake, fan_out, trust, second_degree, contacts_per_case, clock, wake };
    let cases = Arc::new(Cases::open(&config.state, disk.clone(), parts)?);
    let certificate = phones::Certificate { chain: served.certificate.clone(), key: served.key.clone() };
    let tls = certificate.read()?;
    let phones = Phones::new(cases, poster.store(), service_keys.clone(), lists.interval());
    Ok(Some((Arc::new(phones), certificate, tls)))
}

/// The way to the national system, if it takes JSON over HTTP.
pub(super) fn webhook(config: &Config, disk: &Disk) -> Result<Option<Webhook>, OpenError> {
    match (config.backend.kind, &config.backend.webhook) {
        (BackendKind::Webhook, Some(webhook)) => {
            Ok(Some(Webhook::open(webhook, &webhook_queue(config), disk.clone())?))
        }
        (BackendKind::Webhook | BackendKind::Folder, _) => Ok(None),
    }
}

/// What health and metrics are shown from.
pub(super) fn admin(
    config: &Config,
    clock: &Clock,
    (counters, poster): (Arc<Counters>, Option<Arc<Poster>>),
    (trust, certificate_ends): (watch::Receiver<Arc<TrustList>>, i64),
) -> Arc<Admin> {
    let webhook = config.backend.webhook.as_ref();
    Arc::new(Admin {
        counters,
        poster,
        webhook_queue: webhook.map(|_| webhook_queue(config)),
        dead_letters: webhook.map(|webhook| webhook.dead_letters.clone()),
        trust,
        certificate_ends,
        clock: clock.clone(),
    })
}
