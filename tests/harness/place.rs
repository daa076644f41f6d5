//! Where everything of a federation lies in its folder, and at which addresses its gateways answer.
//!
//! ```text
//! anchors/       1.key 2.key 3.key, each with its .pub
//! trust/         draft.toml, trust.json
//! 826/ca/        ca.crt ca.key
//! 826/gateway/   gateway.toml, certificate, keys, store/, state/, gateway.log
//! 826/1/         adapter.toml, certificate, keys, outgoing/, delivered/, state/, adapter.log
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

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
    /// Its gateway.
    pub gateway: GatewayPlace,
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
    /// For adapters.
    pub national: SocketAddr,
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
        }
    }
}

impl CountryPlace {
    pub(crate) fn new(root: &Path, plan: &CountryPlan, ports: [SocketAddr; 3]) -> Self {
        let folder = root.join(plan.code.to_string());
        let adapters = plan.authorities.iter().map(|(authority, _)| AdapterPlace::new(&folder, *authority));
        Self {
            code: plan.code,
            ca: folder.join("ca"),
            passphrase: (plan.keys == KeyFiles::Encrypted).then(|| folder.join("passphrase")),
            gateway: GatewayPlace::new(&folder.join("gateway"), ports),
            adapters: adapters.map(|place| (place.authority, place)).collect(),
            folder,
        }
    }
}

impl GatewayPlace {
    fn new(folder: &Path, [peers, national, admin]: [SocketAddr; 3]) -> Self {
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
            national,
            admin,
        }
    }

    /// The address of its metrics.
    #[must_use]
    pub fn metrics_url(&self) -> String {
        format!("http://{}/metrics", self.admin)
    }
}

impl AdapterPlace {
    fn new(country: &Path, authority: Authority) -> Self {
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
            folder: folder.clone(),
        }
    }
}
