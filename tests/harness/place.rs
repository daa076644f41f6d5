//! Where everything of a federation lies in its folder, and at which addresses its gateways answer.
//!
//! ```text
//! anchors/       1.key 2.key 3.key, each with its .pub
//! trust/         draft.toml, trust.json
//! 826/ca/        ca.crt ca.key
//! 826/gateway-2/ gateway.toml, state/, gateway.log of a second replica, if there is one
//! 826/gateway/   gateway.toml, certificate, keys, store/, state/, gateway.log
//! 826/1/         adapter.toml, certificate, keys, outgoing/, delivered/, state/, adapter.log
//! 826/1/phones/  for countries that serve phones: ca.crt, server.crt, server.key, lists.key, lists/, dead-letters/
//! network/       what passed between countries and to phones, if the lines are tapped
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use cluster::Database;
use proto::ids::{Authority, CountryCode};

use crate::members::{CountryPlan, KeyFiles};

/// What all countries share.
#[derive(Debug, Clone)]
pub struct FederationPlace {
    /// The folder of everything.
    pub folder: PathBuf,
    /// The draft of the trust list.
    pub trust_draft: PathBuf,
    /// The signed trust list.
    pub trust_list: PathBuf,
    /// Private keys of the anchors, in the clear; the public one lies beside each as `.pub`.
    pub anchors: Vec<PathBuf>,
    /// How many of them sign.
    pub threshold: usize,
    /// What passed on the lines, if they are tapped: one file each.
    pub network: PathBuf,
}

/// One country's things.
#[derive(Debug, Clone)]
pub struct CountryPlace {
    /// ISO 3166-1 numeric.
    pub code: CountryCode,
    /// Its folder.
    pub folder: PathBuf,
    /// The folder of its certificate authority: `ca.crt` and `ca.key`.
    pub ca: PathBuf,
    /// The pass phrase of all its key files, if they are encrypted.
    pub passphrase: Option<PathBuf>,
    /// Its gateway; the first one, if it has several.
    pub gateway: GatewayPlace,
    /// Its other replicas, from the second.
    pub replicas: Vec<GatewayPlace>,
    /// The database that they share, if it has one.
    pub database: Option<Database>,
    /// Its adapters.
    pub adapters: BTreeMap<Authority, AdapterPlace>,
}

/// A gateway's files and addresses.
#[derive(Debug, Clone)]
pub struct GatewayPlace {
    /// Its folder.
    pub folder: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// Its certificate.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The key that signs manifests and receipts.
    pub signing_key: PathBuf,
    /// The HPKE key that pushes are sealed to.
    pub ingress_key: PathBuf,
    /// Batches, cursors, push ids.
    pub store: PathBuf,
    /// Key lists, receipts, evidence, the accepted trust list.
    pub state: PathBuf,
    /// All that it writes to its outputs.
    pub log: PathBuf,
    /// For peers.
    pub peers: SocketAddr,
    /// Where peers reach it: the same, unless somebody stands in the line.
    pub endpoint: SocketAddr,
    /// For adapters.
    pub national: SocketAddr,
    /// Where adapters reach it: the same, unless somebody stands in the line.
    pub entrance: SocketAddr,
    /// Health and metrics, plain HTTP.
    pub admin: SocketAddr,
}

/// An adapter's files.
#[derive(Debug, Clone)]
pub struct AdapterPlace {
    /// Whose it is.
    pub authority: Authority,
    /// Its folder.
    pub folder: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// Its certificate.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The key that signs the authority's key lists.
    pub list_key: PathBuf,
    /// The authority's HPKE key: it opens what is delivered.
    pub country_key: PathBuf,
    /// The signed list of the authority's public keys.
    pub key_list: PathBuf,
    /// Where the backend puts files of reports.
    pub outgoing: PathBuf,
    /// Where their answers appear.
    pub answers: PathBuf,
    /// Where reports from abroad appear.
    pub delivered: PathBuf,
    /// Pushes under way and cursors.
    pub state: PathBuf,
    /// All that it writes to its outputs.
    pub log: PathBuf,
    /// What it has for phones, if it serves them.
    pub phones: Option<PhonesPlace>,
}

/// What an adapter has for phones.
#[derive(Debug, Clone)]
pub struct PhonesPlace {
    /// The folder.
    pub folder: PathBuf,
    /// HTTPS.
    pub listen: SocketAddr,
    /// Where phones reach it: the same, unless the line is tapped.
    pub endpoint: SocketAddr,
    /// Health and metrics of the adapter, plain HTTP.
    pub admin: SocketAddr,
    /// The certificate authority that phones know, PEM.
    pub ca: PathBuf,
    /// The server's certificate, PEM.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The key that signs what phones download; the public half, which phones know, lies beside it as `.pub`.
    pub list_key: PathBuf,
    /// The lists as static files.
    pub lists: PathBuf,
    /// Where exports of keys from abroad appear.
    pub exports: PathBuf,
    /// The bearer token for the national system.
    pub token: PathBuf,
    /// What the national system has refused for good.
    pub dead_letters: PathBuf,
}

/// The addresses of a country's processes.
pub(crate) struct Addresses {
    /// A gateway's listeners: for peers, for adapters, for operators; and where peers and adapters reach it.
    pub(crate) gateway: [SocketAddr; 5],
    /// The listeners of each other replica.
    pub(crate) replicas: Vec<[SocketAddr; 3]>,
    /// For each authority an adapter's: for phones, for operators; and where phones reach it.
    pub(crate) adapters: Vec<[SocketAddr; 3]>,
}

impl FederationPlace {
    pub(crate) fn new(folder: &Path) -> Self {
        let (anchors, trust) = (folder.join("anchors"), folder.join("trust"));
        Self {
            folder: folder.into(),
            trust_draft: trust.join("draft.toml"),
            trust_list: trust.join("trust.json"),
            anchors: (1..=3).map(|number| anchors.join(format!("{number}.key"))).collect(),
            threshold: 2,
            network: folder.join("network"),
        }
    }
}

impl CountryPlace {
    /// Its gateways: the first one, and the other replicas.
    pub fn gateways(&self) -> impl Iterator<Item = &GatewayPlace> {
        std::iter::once(&self.gateway).chain(&self.replicas)
    }

    pub(crate) fn new(root: &Path, plan: &CountryPlan, addresses: &Addresses) -> Self {
        let folder = root.join(plan.code.to_string());
        let mut phones = addresses.adapters.iter().filter(|_| plan.citizens.is_some());
        let gateway = GatewayPlace::new(&folder.join("gateway"), addresses.gateway);
        let replicas = (2..).zip(&addresses.replicas);
        let replicas = replicas
            .map(|(number, listen)| gateway.replica(&folder.join(format!("gateway-{number}")), *listen));
        let adapters = plan
            .authorities
            .iter()
            .map(|(authority, _)| AdapterPlace::new(&folder, *authority, phones.next()));
        Self {
            code: plan.code,
            ca: folder.join("ca"),
            passphrase: (plan.keys == KeyFiles::Encrypted).then(|| folder.join("passphrase")),
            replicas: replicas.collect(),
            database: None,
            adapters: adapters.map(|place| (place.authority, place)).collect(),
            gateway,
            folder,
        }
    }
}

impl GatewayPlace {
    fn new(folder: &Path, [peers, national, admin, endpoint, entrance]: [SocketAddr; 5]) -> Self {
        let at = |name: &str| folder.join(name);
        Self {
            config: at("gateway.toml"),
            certificate: at("gateway.crt"),
            key: at("gateway.key"),
            signing_key: at("signing.key"),
            ingress_key: at("ingress.key"),
            store: at("store"),
            state: at("state"),
            log: at("gateway.log"),
            folder: folder.into(),
            peers,
            endpoint,
            national,
            entrance,
            admin,
        }
    }

    /// Another replica: the same identity, and files and listeners of its own.
    fn replica(&self, folder: &Path, [peers, national, admin]: [SocketAddr; 3]) -> Self {
        let at = |name: &str| folder.join(name);
        Self {
            folder: folder.into(),
            config: at("gateway.toml"),
            state: at("state"),
            log: at("gateway.log"),
            peers,
            national,
            admin,
            ..self.clone()
        }
    }

    /// The address of its metrics.
    #[must_use]
    pub fn metrics_url(&self) -> String {
        format!("http://{}/metrics", self.admin)
    }
}

impl AdapterPlace {
    fn new(country: &Path, authority: Authority, phones: Option<&[SocketAddr; 3]>) -> Self {
        let name = authority.to_string();
        let folder = country.join(name.split_once('/').map_or(name.as_str(), |(_, state)| state));
        let at = |name: &str| folder.join(name);
        Self {
            authority,
            config: at("adapter.toml"),
            certificate: at("adapter.crt"),
            key: at("adapter.key"),
            list_key: at("lists.key"),
            country_key: at("country.key"),
            key_list: at("authority.keys"),
            outgoing: at("outgoing"),
            answers: at("outgoing/answers"),
            delivered: at("delivered"),
            state: at("state"),
            log: at("adapter.log"),
            phones: phones.map(|addresses| PhonesPlace::new(&at("phones"), *addresses)),
            folder: folder.clone(),
        }
    }
}

impl PhonesPlace {
    /// Everything in a folder, and the three addresses.
    pub(crate) fn new(folder: &Path, [listen, admin, endpoint]: [SocketAddr; 3]) -> Self {
        let at = |name: &str| folder.join(name);
        Self {
            ca: at("ca.crt"),
            certificate: at("server.crt"),
            key: at("server.key"),
            list_key: at("lists.key"),
            lists: at("lists"),
            exports: at("exports"),
            token: at("national.token"),
            dead_letters: at("dead-letters"),
            folder: folder.into(),
            listen,
            endpoint,
            admin,
        }
    }
}
