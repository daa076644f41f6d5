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
        let lists = Self { folder: folder.clone(), lists: RwLock::default() };
        for country in trust.countries() {
            for authority in country.authorities.keys() {
                let path = lists.path(*authority);
                if let Some(signed) = read(&path)?
                    && let Err(error) = lists.check(*authority, &signed, trust, now)
                {
                    warn!(%authority, %error, "a kept key list is no longer good");
                }
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
        let before = self.signed(authority);
        self.check(authority, signed, trust, now)?;
        let is_news = before.as_ref() != Some(signed);
        if is_news {
            disk::replace_public(&self.path(authority), &signed.clone().into_wire().encode_to_vec())?;
        }
        Ok(is_news)
    }

    fn check(
        &self,
        authority: Authority,
        signed: &SignedKeyList,
        trust: &TrustList,
        now: u64,
    ) -> Result<(), KeyListError> {
        let (_, entry) = trust.authority(authority).ok_or(KeyListError::UnknownAuthority(authority))?;
        let expected = Expected { kind: Kind::Authority, authority, signers: &entry.signing_keys, now };
        let mut lists = self.lists.write().unwrap_or_else(PoisonError::into_inner);
        let list = signed.check_newer(expected, lists.get(&authority).map(|(known, _)| known))?;
        lists.insert(authority, (list, signed.clone()));
        Ok(())
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

fn read(path: &Path) -> Result<Option<SignedKeyList>, DiskError> {
    if !path.exists() {
        return Ok(None);
    }
    let octets = disk::read(path, limits::KEY_LIST_LEN * 2)?;
    Ok(wire::SignedKeyList::decode(octets.as_slice()).ok().and_then(|message| SignedKeyList::parse(message).ok()))
}
