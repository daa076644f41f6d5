//! The configuration files, as an operator would write them.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};
use cluster::Database;
use country_adapter::config::Approach;

use crate::citizens::{Citizens, Policy};
use crate::members::CountryPlan;
use crate::national;
use crate::place::{AdapterPlace, CountryPlace, FederationPlace, GatewayPlace, PhonesPlace};
use crate::setup::Member;

/// Free space that a gateway leaves on the disk: little, so that tests run on small machines.
const FREE_DISK: u64 = 16 << 20;
/// How often an adapter looks for outgoing files.
const POLL_MS: u32 = 50;
/// How often an adapter posts what has arrived.
const POST_S: u32 = 1;

/// Writes the configurations of a country's processes, with more tables behind those of its gateways.
pub(crate) fn write(
    place: &FederationPlace,
    (plan, country): &Member,
    (log_level, tables): (&str, &str),
) -> Result<()> {
    let common = Common::new(place, country, log_level);
    for replica in country.gateways() {
        save(&replica.config, &(gateway(&common, country, replica) + tables))?;
    }
    for adapter in country.adapters.values() {
        let national = country.gateway.entrance;
        let text = match (&plan.citizens, &adapter.phones) {
            (Some(citizens), Some(phones)) => {
                let [top, backend, tables] = citizens_config(citizens, adapter, phones);
                adapter_config(&common, national, adapter, [&top, &backend, &tables])
            }
            _ => adapter_config(&common, national, adapter, ["", &folder(), ""]),
        };
        save(&adapter.config, &text)?;
    }
    Ok(())
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

fn gateway(common: &Common, country: &CountryPlace, replica: &GatewayPlace) -> String {
    let GatewayPlace { peers, national, admin, certificate, key, ingress_key, signing_key, .. } = replica;
    let Common { passphrase, trust, log } = common;
    let code = country.code;
    let [store, postgres] = store(country);
    format!(
        r#"country = {code}
store = {store:?}
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
{postgres}[limits]
free_disk_bytes = {FREE_DISK}

{log}"#
    )
}

/// The line `store`, and the table that goes with it.
fn store(country: &CountryPlace) -> [String; 2] {
    let Some(Database { url, ca, password_file, .. }) = &country.database else {
        return ["store".into(), String::new()];
    };
    [url.clone(), format!("[postgres]\nca = {ca:?}\npassword_file = {password_file:?}\nconnections = 6\n\n")]
}

/// `top`, `backend` and `tables` are the parts in which authorities differ.
fn adapter_config(
    common: &Common,
    national: SocketAddr,
    adapter: &AdapterPlace,
    [top, backend, tables]: [&str; 3],
) -> String {
    let AdapterPlace { authority, certificate, key, country_key, key_list, .. } = adapter;
    let Common { passphrase, trust, log } = common;
    format!(
        r#"authority = "{authority}"
{top}gateway = "https://{national}"
state = "state"
key_list = {key_list:?}

[identity]
certificate = {certificate:?}
key = {key:?}
{passphrase}hpke_keys = [{country_key:?}]

{trust}
[backend]
{backend}
[publish]
poll_ms = {POLL_MS}

{tables}{log}"#
    )
}

fn folder() -> String {
    "kind = \"folder\"\noutgoing = \"outgoing\"\ndelivered = \"delivered\"\n".into()
}

/// What stands above the tables, inside of `[backend]`, and in tables of its own.
fn citizens_config(citizens: &Citizens, adapter: &AdapterPlace, place: &PhonesPlace) -> [String; 3] {
    let approach = match citizens.approach {
        Approach::Centralised => "centralised",
        Approach::Decentralised => "decentralised",
        Approach::Hybrid => "hybrid",
    };
    let backend = citizens.national.as_ref().map_or_else(folder, |webhook| {
        let (outgoing, address) = (&adapter.outgoing, webhook.address);
        let PhonesPlace { token, dead_letters, .. } = place;
        format!(
            r#"kind = "webhook"
outgoing = {outgoing:?}

[backend.webhook]
url = "http://{address}{}"
token_file = {token:?}
dead_letters = {dead_letters:?}
"#,
            national::EVENTS
        )
    });
    [format!("approach = \"{approach}\"\n"), backend, tables(citizens, place)]
}

fn tables(citizens: &Citizens, place: &PhonesPlace) -> String {
    let PhonesPlace { listen, certificate, key, list_key, lists, exports, admin, .. } = place;
    let (most, enabled) = (citizens.contacts_per_case, citizens.second_degree == Policy::On);
    let tokens_a_day = citizens.tokens_a_day;
    format!(
        r#"[phones]
listen = "{listen}"
certificate = {certificate:?}
key = {key:?}
contacts_per_case = {most}

[lists]
signing_key = {list_key:?}
interval_s = {POST_S}
folder = {lists:?}

[secured]
tokens_per_origin_and_day = {tokens_a_day}

[second_degree]
enabled = {enabled}

[diagnosis_keys]
exports = {exports:?}

[admin]
listen = "{admin}"

"#
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
        let endpoint = country.gateway.endpoint;
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
