//! The public keys of all authorities: ours as their adapters publish them, the others' as their gateways give them.
//!
//! Each list is checked against the trust list when it comes, and kept in the store, so that a restart does not have
//! to wait for anybody and all replicas have the same. A stream for each authority: its last entry is in force.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use bytes::Bytes;
use pki::keylist::{Expected, KeyList, KeyListRefused, Kind, SignedKeyList};
use pki::seal::PublicKey;
use pki::sign::sha256;
use pki::trust::TrustList;
use prost::Message;
use proto::ids::Authority;
use proto::wire;
use tracing::warn;

use crate::names;
use crate::store::{Advance, Append, Change, Cursor, Numbered, Room, Store, StoreError};

/// The lists that are known.
pub struct KeyLists {
    store: Arc<dyn Store>,
    lists: RwLock<HashMap<Authority, Known>>,
}

/// What is known of an authority's list.
#[derive(Debug, Clone, Default)]
struct Known {
    /// The entry that it was read from.
    at: Cursor,
    /// The list and how it was signed, if the trust list supports it.
    good: Option<(KeyList, SignedKeyList)>,
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
    Store(#[from] StoreError),
}

impl KeyLists {
    /// Reads what was kept before; lists that the trust list no longer supports are left out.
    pub async fn open(store: Arc<dyn Store>, trust: &TrustList, now: u64) -> Result<Self, StoreError> {
        let lists = Self { store, lists: RwLock::default() };
        lists.recheck(trust, now).await?;
        Ok(lists)
    }

    /// Takes a list over if it is good and not older than the one that is known. Gives whether it is news.
    pub async fn take(
        &self,
        authority: Authority,
        signed: &SignedKeyList,
        trust: &TrustList,
        now: u64,
    ) -> Result<bool, KeyListError> {
        trust.authority(authority).ok_or(KeyListError::UnknownAuthority(authority))?;
        loop {
            // What another replica has taken meanwhile counts as well.
            let known = self.load(authority, trust, now).await?;
            let good = known.good.as_ref();
            let list = check((authority, signed), good.map(|(list, _)| list), trust, now)?;
            if good.is_some_and(|(_, known)| known == signed) {
                self.remember(authority, known);
                return Ok(false);
            }
            match self.keep(authority, signed, known.at, now).await {
                Ok(at) => {
                    self.remember(authority, Known { at, good: Some((list, signed.clone())) });
                    return Ok(true);
                }
                Err(StoreError::Moved) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Drops every list whose signer a new trust list no longer certifies: nothing more is sealed to its keys, and
    /// its version stands in nobody's way. A list that a new trust list supports is in force at once.
    pub async fn recheck(&self, trust: &TrustList, now: u64) -> Result<(), StoreError> {
        self.lists().retain(|authority, _| trust.authority(*authority).is_some());
        for authority in authorities(trust) {
            let known = self.load(authority, trust, now).await?;
            self.remember(authority, known);
        }
        Ok(())
    }

    /// Reads the lists that other replicas have taken.
    pub async fn refresh(&self, trust: &TrustList, now: u64) -> Result<(), StoreError> {
        for authority in authorities(trust) {
            let last = self.store.tail(names::key_lists(authority)).borrow().last;
            if last > self.lists().get(&authority).map_or(0, |known| known.at.through) {
                let known = self.load(authority, trust, now).await?;
                self.remember(authority, known);
            }
        }
        Ok(())
    }

    /// The list of an authority as it was signed.
    #[must_use]
    pub fn signed(&self, authority: Authority) -> Option<SignedKeyList> {
        let lists = self.lists.read().unwrap_or_else(PoisonError::into_inner);
        lists.get(&authority)?.good.as_ref().map(|(_, signed)| signed.clone())
    }

    /// The key that a batch to an authority is sealed to now.
    #[must_use]
    pub fn in_force(&self, authority: Authority, now: u64) -> Option<PublicKey> {
        let lists = self.lists.read().unwrap_or_else(PoisonError::into_inner);
        lists.get(&authority)?.good.as_ref()?.0.in_force(now).cloned()
    }

    /// Until when there is a key to seal to, of every authority whose list is known: seconds since 1970.
    #[must_use]
    pub fn ends(&self) -> Vec<(Authority, u64)> {
        let lists = self.lists.read().unwrap_or_else(PoisonError::into_inner);
        let end = |list: &KeyList| list.keys.iter().map(|key| key.not_after).max().unwrap_or_default();
        let good = lists.iter().filter_map(|(authority, known)| Some((*authority, known.good.as_ref()?)));
        good.map(|(authority, (list, _))| (authority, end(list))).collect()
    }

    /// How many authorities have a key now that can be sealed to.
    #[must_use]
    pub fn ready(&self, now: u64) -> usize {
        let lists = self.lists.read().unwrap_or_else(PoisonError::into_inner);
        let good = lists.values().filter_map(|known| known.good.as_ref());
        good.filter(|(list, _)| list.in_force(now).is_some()).count()
    }

    /// The last list in the store.
    async fn load(&self, authority: Authority, trust: &TrustList, now: u64) -> Result<Known, StoreError> {
        let (name, stream) = (names::key_list(authority), names::key_lists(authority));
        let mut at = self.store.cursor(name).await?;
        while at.through > 0 {
            let found = match self.store.find(stream, at.through).await {
                Err(error @ (StoreError::Corrupt { .. } | StoreError::Damaged { .. })) => {
                    warn!(%authority, %error, "a kept key list cannot be read; a new one takes its place");
                    break;
                }
                found => found?,
            };
            let Some(entry) = found else {
                // It gave way to another one between the two reads.
                let next = self.store.cursor(name).await?;
                if next == at {
                    break;
                }
                at = next;
                continue;
            };
            let signed = parsed(entry.body);
            let good = signed.and_then(|signed| match check((authority, &signed), None, trust, now) {
                Ok(list) => Some((list, signed)),
                Err(error) => {
                    warn!(%authority, %error, "a kept key list is no longer good");
                    None
                }
            });
            return Ok(Known { at, good });
        }
        Ok(Known { at, good: None })
    }

    async fn keep(
        &self,
        authority: Authority,
        signed: &SignedKeyList,
        from: Cursor,
        now: u64,
    ) -> Result<Cursor, StoreError> {
        let body = Bytes::from(signed.clone().into_wire().encode_to_vec());
        let to = Cursor { through: from.through + 1, link: sha256(&body) };
        let numbered = Numbered { head: Bytes::new(), link: to.link };
        let append =
            Append { stream: names::key_lists(authority), number: Arc::new(move |_| numbered.clone()), body };
        let advance = Advance { cursor: names::key_list(authority), from, to };
        let change = Change {
            at: now,
            // Without a key nothing more can be sealed, and nothing more leaves.
            room: Room::Reserve,
            advances: vec![advance],
            appends: vec![append],
            ..Change::default()
        };
        self.store.commit(change).await.map(|_| to)
    }

    fn remember(&self, authority: Authority, known: Known) {
        let mut lists = self.lists();
        let newest = lists.entry(authority).or_default();
        if known.at.through >= newest.at.through {
            *newest = known;
        }
    }

    fn lists(&self) -> RwLockWriteGuard<'_, HashMap<Authority, Known>> {
        self.lists.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn authorities(trust: &TrustList) -> Vec<Authority> {
    trust.countries().flat_map(|country| country.authorities.keys().copied()).collect()
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

fn parsed(octets: Bytes) -> Option<SignedKeyList> {
    wire::SignedKeyList::decode(octets).ok().and_then(|message| SignedKeyList::parse(message).ok())
}

#[cfg(test)]
mod tests {
    use pki::fixture::{Federation, now};
    use pki::keylist::ListedKey;
    use pki::seal::{PrivateKey, Suite};

    use super::*;
    use crate::store::sled::{SledOptions, SledStore};

    fn store(federation: &Federation) -> Arc<dyn Store> {
        let options = SledOptions { free_floor_bytes: 0, ..SledOptions::default() };
        Arc::new(SledStore::open(&federation.folder().join("store"), options).unwrap())
    }

    fn list(federation: &Federation, version: u64) -> SignedKeyList {
        let private = PrivateKey::parse(Suite::P256, &PrivateKey::generate(Suite::P256)).unwrap();
        let keys = vec![ListedKey { key: private.public().clone(), not_before: 0, not_after: u64::MAX }];
        let authority = "250/0".parse().unwrap();
        let list = KeyList { kind: Kind::Authority, authority, version, issued: now(), keys };
        list.sign(&federation.country(250).authorities[&authority])
    }

    #[tokio::test]
    async fn a_list_is_kept_over_a_restart_and_never_replaced_by_an_older_one() {
        let federation = Federation::of(&["826/0", "250/0"]);
        let (trust, authority) = (federation.trust_list(), "250/0".parse().unwrap());
        let store = store(&federation);
        let open = async || KeyLists::open(store.clone(), &trust, now()).await.unwrap();
        let lists = open().await;
        assert!(lists.in_force(authority, now()).is_none());
        let second = list(&federation, 2);
        assert!(lists.take(authority, &second, &trust, now()).await.unwrap());
        assert!(!lists.take(authority, &second, &trust, now()).await.unwrap(), "no news");
        let reopened = open().await;
        assert_eq!(reopened.in_force(authority, now()), lists.in_force(authority, now()));
        assert_eq!(reopened.signed(authority), Some(second));
        let refused = reopened.take(authority, &list(&federation, 1), &trust, now()).await;
        assert!(matches!(refused, Err(KeyListError::Refused(KeyListRefused::Older { .. }))));
        assert!(reopened.take(authority, &list(&federation, 3), &trust, now()).await.unwrap());
    }

    #[tokio::test]
    async fn a_list_whose_signer_is_withdrawn_is_dropped_whatever_its_version() {
        let federation = Federation::of(&["826/0", "250/0"]);
        let (trust, authority) = (federation.trust_list(), "250/0".parse().unwrap());
        let lists = KeyLists::open(store(&federation), &trust, now()).await.unwrap();
        lists.take(authority, &list(&federation, u64::MAX), &trust, now()).await.unwrap();
        let other = Federation::of(&["826/0", "250/0"]);
        lists.recheck(&other.trust_list(), now()).await.unwrap();
        assert!(lists.in_force(authority, now()).is_none());
        assert!(lists.take(authority, &list(&other, 1), &other.trust_list(), now()).await.unwrap());
    }

    #[tokio::test]
    async fn a_list_of_an_authority_that_nobody_knows_is_refused() {
        let federation = Federation::of(&["826/0", "250/0"]);
        let trust = federation.trust_list();
        let lists = KeyLists::open(store(&federation), &trust, now()).await.unwrap();
        let refused = lists.take("250/9".parse().unwrap(), &list(&federation, 1), &trust, now()).await;
        assert!(matches!(refused, Err(KeyListError::UnknownAuthority(_))));
        // Nor may one authority's list stand for another.
        let refused = lists.take("826/0".parse().unwrap(), &list(&federation, 1), &trust, now()).await;
        assert!(matches!(refused, Err(KeyListError::Refused(KeyListRefused::UnknownSigner { .. }))));
    }

    #[tokio::test]
    async fn two_replicas_agree_on_the_newest_list() {
        let federation = Federation::of(&["826/0", "250/0"]);
        let (trust, authority) = (federation.trust_list(), "250/0".parse().unwrap());
        let store = store(&federation);
        let one = KeyLists::open(store.clone(), &trust, now()).await.unwrap();
        let two = KeyLists::open(store.clone(), &trust, now()).await.unwrap();
        let lists: Vec<_> = (1..=8).map(|version| list(&federation, version)).collect();
        for pair in lists.chunks_exact(2) {
            // Both come at the same time: the older one is taken first, or not at all.
            let (older, newer) = tokio::join!(
                one.take(authority, &pair[0], &trust, now()),
                two.take(authority, &pair[1], &trust, now()),
            );
            assert!(newer.unwrap());
            let refused = matches!(older, Err(KeyListError::Refused(KeyListRefused::Older { .. })));
            assert!(refused || matches!(older, Ok(true)), "{older:?}");
            for replica in [&one, &two] {
                replica.refresh(&trust, now()).await.unwrap();
                assert_eq!(replica.signed(authority).as_ref(), Some(&pair[1]));
            }
        }
        assert!(
            !one.take(authority, &lists[7], &trust, now()).await.unwrap(),
            "known from the other replica"
        );
    }
}
