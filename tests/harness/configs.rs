//! The configuration files, as an operator would write them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::members::CountryPlan;
use crate::place::{AdapterPlace, CountryPlace, FederationPlace, GatewayPlace};
use crate::setup::Member;

/// Free space that a gateway leaves on the disk: little, so that tests run on small machines.
const FREE_DISK: u64 = 16 << 20;
/// How often an adapter looks for outgoing files.
const POLL_MS: u32 = 50;

/// Writes the configurations of a country's processes.
pub(crate) fn write(place: &FederationPlace, country: &CountryPlace, log_level: &str) -> Result<()> {
    let common = Common::new(place, country, log_level);
    save(&country.gateway.config, &gateway(&common, country))?;
    country
        .adapters
        .values()
        .try_for_each(|adapter| save(&adapter.config, &adapter_config(&common, country, adapter)))
}

fn save(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// What all configurations of a country share. Paths are absolute, so that any of the files may be copied elsewhere.
struct Common {
    passphrase: String,
    trust: String,
    log: String,
}

impl Common {
    fn new(place: &FederationPlace, country: &CountryPlace, log_level: &str) -> Self {
        let passphrase = country.passphrase.as_ref();
        let passphrase = passphrase.map_or(String::new(), |file| format!("passphrase_file = {file:?}\n"));
        let anchors: Vec<_> = place.anchors.iter().map(|anchor| format!("{:?}", public(anchor))).collect();
        let trust = format!(
            "[trust]\nlist = {:?}\nanchors = [{}]\nthreshold = {}\n",
            place.trust_list,
            anchors.join(", "),
            place.threshold
        );
        let log = format!("[log]\nlevel = \"{log_level}\"\n");
        Self { passphrase, trust, log }
    }
}

fn gateway(common: &Common, country: &CountryPlace) -> String {
    let GatewayPlace { peers, national, admin, certificate, key, ingress_key, signing_key, .. } =
        &country.gateway;
    let Common { passphrase, trust, log } = common;
    let code = country.code;
    format!(
        r#"country = {code}
store = "store"
state = "state"
signing_key = {signing_key:?}

[listen]
peers = "{peers}"
national = "{national}"
admin = "{admin}"

[identity]
certificate = {certificate:?}
key = {key:?}
{passphrase}hpke_keys = [{ingress_key:?}]

{trust}
[limits]
free_disk_bytes = {FREE_DISK}

{log}"#
    )
}

fn adapter_config(common: &Common, country: &CountryPlace, adapter: &AdapterPlace) -> String {
    let AdapterPlace { authority, certificate, key, country_key, key_list, .. } = adapter;
    let Common { passphrase, trust, log } = common;
    let national = country.gateway.national;
    format!(
        r#"authority = "{authority}"
gateway = "https://{national}"
state = "state"
key_list = {key_list:?}

[identity]
certificate = {certificate:?}
key = {key:?}
{passphrase}hpke_keys = [{country_key:?}]

{trust}
[backend]
kind = "folder"
outgoing = "outgoing"
delivered = "delivered"

[publish]
poll_ms = {POLL_MS}

{log}"#
    )
}

/// The draft of the trust list, with paths relative to it.
pub(crate) fn trust_draft(place: &FederationPlace, members: &[Member]) -> String {
    let from = |path: &Path| format!("\"../{}\"", path.strip_prefix(&place.folder).unwrap_or(path).display());
    let anchors: Vec<_> = place.anchors.iter().map(|anchor| from(&public(anchor))).collect();
    let mut text =
        format!("version = 1\nthreshold = {}\nanchors = [{}]\n", place.threshold, anchors.join(", "));
    for (plan, country) in members {
        let (ca, signing) = (from(&country.ca.join("ca.crt")), from(&public(&country.gateway.signing_key)));
        let CountryPlan { code, name, authorities, .. } = plan;
        let endpoint = country.gateway.peers;
        // Writing into a string cannot fail.
        let _ = write!(
            text,
            "\n[[country]]\ncountry = {code}\nname = \"{name}\"\nendpoints = [\"https://{endpoint}\"]\nca = {ca}\nsigning_keys = [{signing}]\n"
        );
        for (authority, name) in authorities {
            let key = country.adapters.get(authority).map(|adapter| from(&public(&adapter.list_key)));
            let key = key.unwrap_or_default();
            let _ = write!(
                text,
                "\n[[country.authority]]\nauthority = \"{authority}\"\nname = \"{name}\"\nsigning_keys = [{key}]\n"
            );
        }
    }
    text
}

/// The public half beside a key file.
fn public(key: &Path) -> std::path::PathBuf {
    let mut path = key.as_os_str().to_os_string();
    path.push(".pub");
    path.into()
}
