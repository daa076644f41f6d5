//! The public keys of all authorities: ours as their adapters publish them, the others' as their gateways give them.
//!
//! Each list is checked against the trust list when it comes, and kept in a file, so that a restart does not have to
//! wait for anybody.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use pki::disk::{self, DiskError};
use pki::keylist::{Expected, KeyList, KeyListRefused, Kind, SignedKeyList};
use pki::seal::PublicKey;
use pki::trust::TrustList;
use prost::Message;
use proto::ids::Authority;
use proto::{limits, wire};
use tracing::warn;

/// The lists that are known.
pub struct KeyLists {
    folder: PathBuf,
    lists: RwLock<HashMap<Authority, (KeyList, SignedKeyList)>>,
}

/// Why a list is not taken.
#[derive(Debug, thiserror::Error)]
pub enum KeyListError {
    /// The authority is not in the trust list.
    #[error("{0} is not in the trust list")]
    UnknownAuthority(Authority),
    /// The list itself.
    #[error(transparent)]
    Refused(#[from] KeyListRefused),
    /// It could not be kept.
    #[error("the key list could not be kept: {0}")]
    Disk(#[from] DiskError),
}

impl KeyLists {
    /// Reads what was kept before; lists that the trust list no longer supports are left out.
    pub fn open(folder: PathBuf, trust: &TrustList, now: u64) -> Result<Self, DiskError> {
        let failed = |source| DiskError::Read { path: folder.clone(), source };
        fs::create_dir_all(&folder).map_err(failed)?;
        let mut lists = Self { folder, lists: RwLock::default() };
        for authority in trust.countries().flat_map(|country| country.authorities.keys()) {
            let Some(signed) = read(&lists.path(*authority))? else { continue };
            match check((*authority, &signed), None, trust, now) {
                Ok(list) => {
                    let known = lists.lists.get_mut().unwrap_or_else(PoisonError::into_inner);
                    known.insert(*authority, (list, signed));
                }
                Err(error) => warn!(%authority, %error, "a kept key list is no longer good"),
            }
        }
        Ok(lists)
    }

    /// Takes a list over if it is good and not older than the one that is known. Gives whether it is news.
    pub fn take(
        &self,
        authority: Authority,
        signed: &SignedKeyList,
        trust: &TrustList,
        now: u64,
    ) -> Result<bool, KeyListError> {
        let mut lists = self.lists.write().unwrap_or_else(PoisonError::into_inner);
        let known = lists.get(&authority);
        let list = check((authority, signed), known.map(|(list, _)| list), trust, now)?;
        if known.is_some_and(|(_, known)| known == signed) {
            return Ok(false);
        }
        // The file first, under the same lock: what is in memory is on the disk, in the same order.
        disk::replace_public(&self.path(authority), &signed.clone().into_wire().encode_to_vec())?;
        lists.insert(authority, (list, signed.clone()));
        Ok(true)
    }

    /// Drops every list whose signer a new trust list no longer certifies: nothing more is sealed to its keys, and
    /// its version stands in nobody's way.
    pub fn recheck(&self, trust: &TrustList, now: u64) {
        let mut lists = self.lists.write().unwrap_or_else(PoisonError::into_inner);
        lists.retain(|authority, (_, signed)| match check((*authority, signed), None, trust, now) {
            Ok(_) => true,
            Err(error) => {
                warn!(%authority, %error, "a key list is no longer good");
                false
            }
        });
    }

    /// The list of an authority as it was signed.
    #[must_use]
    pub fn signed(&self, authority: Authority) -> Option<SignedKeyList> {
        let lists = self.lists.read().unwrap_or_else(PoisonError::into_inner);
        lists.get(&authority).map(|(_, signed)| signed.clone())
    }

    /// The key that a batch to an authority is sealed to now.
    #[must_use]
    pub fn in_force(&self, authority: Authority, now: u64) -> Option<PublicKey> {
        let lists = self.lists.read().unwrap_or_else(PoisonError::into_inner);
        lists.get(&authority).and_then(|(list, _)| list.in_force(now)).cloned()
    }

    fn path(&self, authority: Authority) -> PathBuf {
        self.folder.join(format!("{}.keys", authority.to_string().replace('/', "-")))
    }
}

fn check(
    (authority, signed): (Authority, &SignedKeyList),
    known: Option<&KeyList>,
    trust: &TrustList,
    now: u64,
) -> Result<KeyList, KeyListError> {
    let (_, entry) = trust.authority(authority).ok_or(KeyListError::UnknownAuthority(authority))?;
    let expected = Expected { kind: Kind::Authority, authority, signers: &entry.signing_keys, now };
    Ok(signed.check_newer(expected, known)?)
}

fn read(path: &Path) -> Result<Option<SignedKeyList>, DiskError> {
    if !path.exists() {
        return Ok(None);
    }
    let octets = disk::read(path, limits::KEY_LIST_LEN * 2)?;
    Ok(wire::SignedKeyList::decode(octets.as_slice())
        .ok()
        .and_then(|message| SignedKeyList::parse(message).ok()))
}

#[cfg(test)]
mod tests {
    use pki::fixture::{Federation, now};
    use pki::keylist::ListedKey;
    use pki::seal::{PrivateKey, Suite};

    use super::*;

    fn list(federation: &Federation, version: u64) -> SignedKeyList {
        let private = PrivateKey::parse(Suite::P256, &PrivateKey::generate(Suite::P256)).unwrap();
        let keys = vec![ListedKey { key: private.public().clone(), not_before: 0, not_after: u64::MAX }];
        let authority = "250/0".parse().unwrap();
        let list = KeyList { kind: Kind::Authority, authority, version, issued: now(), keys };
        list.sign(&federation.country(250).authorities[&authority])
    }

    #[test]
    fn a_list_is_kept_over_a_restart_and_never_replaced_by_an_older_one() {
        let federation = Federation::of(&["826/0", "250/0"]);
        let (trust, authority) = (federation.trust_list(), "250/0".parse().unwrap());
        let open = || KeyLists::open(federation.folder().join("keylists"), &trust, now()).unwrap();
        let lists = open();
        assert!(lists.in_force(authority, now()).is_none());
        let second = list(&federation, 2);
        assert!(lists.take(authority, &second, &trust, now()).unwrap());
        assert!(!lists.take(authority, &second, &trust, now()).unwrap(), "no news");
        let reopened = open();
        assert_eq!(reopened.in_force(authority, now()), lists.in_force(authority, now()));
        assert_eq!(reopened.signed(authority), Some(second));
        let refused = reopened.take(authority, &list(&federation, 1), &trust, now());
        assert!(matches!(refused, Err(KeyListError::Refused(KeyListRefused::Older { .. }))));
        assert!(reopened.take(authority, &list(&federation, 3), &trust, now()).unwrap());
    }

    #[test]
    fn a_list_whose_signer_is_withdrawn_is_dropped_whatever_its_version() {
        let federation = Federation::of(&["826/0", "250/0"]);
        let (trust, authority) = (federation.trust_list(), "250/0".parse().unwrap());
        let lists = KeyLists::open(federation.folder().join("keylists"), &trust, now()).unwrap();
        lists.take(authority, &list(&federation, u64::MAX), &trust, now()).unwrap();
        let other = Federation::of(&["826/0", "250/0"]);
        lists.recheck(&other.trust_list(), now());
        assert!(lists.in_force(authority, now()).is_none());
        assert!(lists.take(authority, &list(&other, 1), &other.trust_list(), now()).unwrap());
    }

    #[test]
    fn a_list_of_an_authority_that_nobody_knows_is_refused() {
        let federation = Federation::of(&["826/0", "250/0"]);
        let trust = federation.trust_list();
        let lists = KeyLists::open(federation.folder().join("keylists"), &trust, now()).unwrap();
        let refused = lists.take("250/9".parse().unwrap(), &list(&federation, 1), &trust, now());
        assert!(matches!(refused, Err(KeyListError::UnknownAuthority(_))));
        // Nor may one authority's list stand for another.
        let refused = lists.take("826/0".parse().unwrap(), &list(&federation, 1), &trust, now());
        assert!(matches!(refused, Err(KeyListError::Refused(KeyListRefused::UnknownSigner { .. }))));
    }
}
