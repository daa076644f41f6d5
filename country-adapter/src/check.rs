//! `country-adapter check`: everything that can be wrong with a configuration, found at once.
//!
//! Changes nothing on the disk.

use std::fs;
use std::path::{Path, PathBuf};

use pki::identity::{NodeKeys, signing_key};
use pki::keylist::KeyList;
use pki::trust::{KeeperError, TrustKeeper, TrustList};
use rustix::fs::{Access, access};

use crate::adapter::{OpenError, check_identity, remembered};
use crate::backends::webhook;
use crate::config::{Config, ConfigFile, Problem};
use crate::keys::{self, KeysError};
use crate::outage::chain;
use crate::phones::Certificate;

/// Finds every problem. `now` is in seconds since 1970.
#[must_use]
pub fn problems(file: &ConfigFile, now: u64) -> Vec<Problem> {
    let mut found = Found { file, problems: Vec::new() };
    for (key, wrong, remedy) in file.config.contradictions() {
        found.add(key, wrong, remedy);
    }
    found.folders();
    let keys = found.identity(now);
    let trust = found.trust(now);
    if let (Some(keys), Some(trust)) = (&keys, &trust) {
        found.who(keys, trust);
    }
    found.phones();
    found.webhook();
    if let Some(trust) = &trust {
        found.key_list(trust, keys.as_ref(), now);
    }
    found.problems
}

struct Found<'a> {
    file: &'a ConfigFile,
    problems: Vec<Problem>,
}

impl Found<'_> {
    fn add(&mut self, key: &str, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(self.file.problem(key, message, help));
    }

    fn folders(&mut self) {
        let config = &self.file.config;
        let mut folders = vec![("state", &config.state), ("backend.outgoing", &config.backend.outgoing)];
        folders.extend(config.backend.delivered.iter().map(|path| ("backend.delivered", path)));
        for (key, path) in folders.clone() {
            if let Err((message, help)) = writable(path) {
                self.add(key, message, help);
            }
        }
        for (at, (key, path)) in folders.iter().enumerate() {
            if let Some((other, _)) = folders[..at].iter().find(|(_, other)| other == path) {
                let message = format!("{} is {other} as well", path.display());
                self.add(key, message, "name another directory; what is delivered would go out again");
            }
        }
    }

    fn identity(&mut self, now: u64) -> Option<NodeKeys> {
        let identity = &self.file.config.identity;
        let mut files =
            vec![("identity.certificate", &identity.certificate), ("identity.key", &identity.key)];
        files.extend(identity.passphrase_file.iter().map(|path| ("identity.passphrase_file", path)));
        files.extend(identity.hpke_keys.iter().map(|path| ("identity.hpke_keys", path)));
        if !self.all_there(&files) {
            return None;
        }
        match NodeKeys::read(identity) {
            Ok(keys) => {
                if i64::try_from(now).is_ok_and(|now| keys.certificate.not_after() < now) {
                    self.add(
                        "identity.certificate",
                        "the certificate has expired",
                        "ask the country for a new one",
                    );
                }
                Some(keys)
            }
            Err(error) => {
                self.add("identity", chain(&error), "the message names the file and what would do");
                None
            }
        }
    }

    /// What phones are served with.
    fn phones(&mut self) {
        let config = &self.file.config;
        let passphrase = config.identity.passphrase_file.as_deref();
        if let Some(lists) = &config.lists
            && let Err(error) = signing_key(&lists.signing_key, passphrase)
        {
            self.add("lists.signing_key", chain(&error), "make one with `pki key create --kind signing`");
        }
        if let Some(phones) = &config.phones {
            let certificate = Certificate { chain: phones.certificate.clone(), key: phones.key.clone() };
            if let Err(error) = certificate.read() {
                self.add("phones", chain(&error), "phones.certificate and phones.key belong together");
            }
        }
        if let Some(admin) = &config.admin
            && !admin.listen.ip().is_loopback()
        {
            let message = format!("{} can be reached from elsewhere", admin.listen);
            self.add(
                "admin.listen",
                message,
                "a loopback address as 127.0.0.1:7446: this listener has no TLS",
            );
        }
    }

    /// The way to the national system.
    fn webhook(&mut self) {
        let Some(webhook) = &self.file.config.backend.webhook else { return };
        if let Err(error) = webhook::check(webhook) {
            self.add(
                "backend.webhook",
                chain(&error),
                "deploy/country-adapter.webhook.example.toml explains every key",
            );
        }
        if let Err((message, help)) = writable(&webhook.dead_letters) {
            self.add("backend.webhook.dead_letters", message, help);
        }
    }

    fn trust(&mut self, now: u64) -> Option<TrustList> {
        let trust = &self.file.config.trust;
        let mut files = vec![("trust.list", &trust.list)];
        files.extend(trust.anchors.iter().map(|path| ("trust.anchors", path)));
        if !self.all_there(&files) {
            return None;
        }
        match trust_list(&self.file.config, now) {
            Ok(list) => Some(list),
            Err(error) => {
                self.add(
                    "trust",
                    chain(&error),
                    "get the current list from the federation, and anchors in person",
                );
                None
            }
        }
    }

    fn who(&mut self, keys: &NodeKeys, trust: &TrustList) {
        let checked = check_identity(self.file.config.authority, keys.certificate.identity(), trust);
        if let Err(error) = checked {
            let help = match error {
                OpenError::OtherIdentity { .. } => {
                    "use the certificate that was issued for this authority's adapter"
                }
                _ => "write the authority as it stands in the trust list",
            };
            self.add(error.key(), chain(&error), help);
        }
    }

    fn key_list(&mut self, trust: &TrustList, keys: Option<&NodeKeys>, now: u64) {
        let path = &self.file.config.key_list;
        if !self.all_there(&[("key_list", path)]) {
            return;
        }
        let checked = keys::read(path).and_then(|signed| {
            let checked = keys::check(&signed, self.file.config.authority, trust, now);
            checked.map_err(|reason| KeysError::Refused { path: path.clone(), reason })
        });
        match checked {
            Ok(list) => self.listed_keys(&list, keys, now),
            Err(error) => self.add("key_list", chain(&error), "sign it anew: pki key-list create"),
        }
    }

    fn listed_keys(&mut self, list: &KeyList, keys: Option<&NodeKeys>, now: u64) {
        if list.in_force(now).is_none() {
            let help = "no peer can seal to this authority; sign a list with a key whose time has begun";
            self.add("key_list", "none of its keys is in force now", help);
        }
        let Some(keys) = keys else { return };
        let missing =
            list.keys.iter().map(|listed| listed.key.id()).filter(|id| keys.hpke.find(*id).is_none());
        for id in missing {
            let message = format!("the key list offers key {id}, and none of these is its private half");
            self.add(
                "identity.hpke_keys",
                message,
                "add its key file; what peers seal to it could not be opened",
            );
        }
    }

    fn all_there(&mut self, files: &[(&str, &PathBuf)]) -> bool {
        let mut all = true;
        for (key, path) in files {
            if let Err(error) = fs::File::open(path) {
                all = false;
                self.add(
                    key,
                    format!("cannot read {}: {error}", path.display()),
                    "name a file that this user can read",
                );
            }
        }
        all
    }
}

/// Whether a directory can be written to, or made.
fn writable(path: &Path) -> Result<(), (String, &'static str)> {
    let there = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    if !there.is_dir() {
        return Err((format!("{} is not a directory", there.display()), "name a directory"));
    }
    access(there, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        (format!("cannot write to {}: {error}", there.display()), "give it to the adapter's user")
    })
}

/// The trust list that an adapter with this configuration would follow; writes nothing.
pub fn trust_list(config: &Config, now: u64) -> Result<TrustList, KeeperError> {
    TrustKeeper::preview(&config.trust, &remembered(config), now)
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
