//! What earlier releases kept as files in the state folder is taken over into the store, once: key lists of all
//! authorities, and the peers' last receipts.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use pki::disk;
use pki::keylist::SignedKeyList;
use pki::trust::TrustList;
use prost::Message;
use proto::batch::{Receipt, Stage};
use proto::ids::{Authority, CountryCode};
use proto::{limits, wire};
use tracing::{info, warn};

use crate::keylists::{KeyListError, KeyLists};
use crate::names;
use crate::store::{Advance, Append, Change, Cursor, Numbered, Room, Store, StoreError};

/// The longest receipt, octets.
const RECEIPT: usize = 16 * 1_024;

/// Takes over what there is; a file that is taken over, or that says nothing new, is removed.
pub(crate) async fn take_over(
    state: &Path,
    store: &Arc<dyn Store>,
    lists: &KeyLists,
    (trust, now): (&TrustList, u64),
) -> Result<(), StoreError> {
    for path in files(&state.join("keylists"), "keys") {
        let Some((authority, signed)) = key_list(&path) else { continue };
        match lists.take(authority, &signed, trust, now).await {
            Ok(_) | Err(KeyListError::Refused(_) | KeyListError::UnknownAuthority(_)) => taken(&path),
            Err(KeyListError::Store(error)) => return Err(error),
        }
    }
    for path in files(&state.join("receipts"), "receipt") {
        let Some((receipt, octets)) = receipt(&path) else { continue };
        if keep(store, &receipt, octets, now).await? == Kept::Yes {
            taken(&path);
        } else {
            warn!(file = %path.display(), "a receipt is for more than this store has sent; it stays where it is");
        }
    }
    Ok(())
}

#[derive(PartialEq)]
enum Kept {
    Yes,
    No,
}

/// The file was written before the acknowledgement moved, so it may be a step ahead of it.
async fn keep(store: &Arc<dyn Store>, receipt: &Receipt, body: Bytes, now: u64) -> Result<Kept, StoreError> {
    let Receipt { destination, stage, manifest_hash, .. } = *receipt;
    let stream = names::receipts(destination, stage);
    if store.latest(stream).await?.last > 0 {
        return Ok(Kept::Yes);
    }
    let cursor = names::acknowledged(destination, stage);
    let from = store.cursor(cursor).await?;
    let to = Cursor { through: receipt.through.number(), link: manifest_hash };
    if to.through > store.latest(names::outbox(destination)).await?.last || to.through < from.through {
        return Ok(Kept::No);
    }
    let numbered = Numbered { head: Bytes::new(), link: to.link };
    let append = Append { stream, number: Arc::new(move |_| numbered.clone()), body };
    let advance = Advance { cursor, from, to };
    let (advances, appends, room) = (vec![advance], vec![append], Room::Reserve);
    let change = Change { at: now, room, advances, appends, ..Change::default() };
    store.commit(change).await.map(|_| Kept::Yes)
}

fn taken(path: &Path) {
    match fs::remove_file(path) {
        Ok(()) => info!(file = %path.display(), "taken over into the store"),
        Err(cause) => warn!(file = %path.display(), %cause, "taken over into the store, and still there"),
    }
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

fn key_list(path: &Path) -> Option<(Authority, SignedKeyList)> {
    let authority = path.file_stem()?.to_str()?.replace('-', "/").parse().ok()?;
    let octets = disk::read(path, limits::KEY_LIST_LEN * 2).ok()?;
    let message = wire::SignedKeyList::decode(octets.as_slice()).ok()?;
    SignedKeyList::parse(message).ok().map(|signed| (authority, signed))
}

fn receipt(path: &Path) -> Option<(Receipt, Bytes)> {
    let (peer, stage) = path.file_stem()?.to_str()?.split_once('-')?;
    let peer = CountryCode::new(peer.parse().ok()?).ok()?;
    let stage = match stage {
        "stored" => Stage::Stored,
        "delivered" => Stage::Delivered,
        _ => return None,
    };
    let octets = Bytes::from(disk::read(path, RECEIPT).ok()?);
    let message = wire::AcknowledgeRequest::decode(octets.clone()).ok()?;
    // It was checked before it was written; who could change it could change the store as well.
    let receipt = Receipt::parse(&message.receipt).ok()?;
    (receipt.destination == peer && receipt.stage == stage).then_some((receipt, octets))
}

#[cfg(test)]
mod tests {
    use pki::fixture::{Federation, now};
    use pki::keylist::{KeyList, Kind, ListedKey};
    use pki::seal::{PrivateKey, Suite};
    use proto::ids::Sequence;

    use super::*;
    use crate::store::sled::{SledOptions, SledStore};

    fn france() -> CountryCode {
        CountryCode::new(250).unwrap()
    }

    fn signed_list(federation: &Federation, authority: Authority) -> SignedKeyList {
        let private = PrivateKey::parse(Suite::P256, &PrivateKey::generate(Suite::P256)).unwrap();
        let keys = vec![ListedKey { key: private.public().clone(), not_before: 0, not_after: u64::MAX }];
        let list = KeyList { kind: Kind::Authority, authority, version: 7, issued: now(), keys };
        list.sign(&federation.country(250).authorities[&authority])
    }

    fn receipt_file(through: u64) -> Vec<u8> {
        let receipt = Receipt {
            origin: CountryCode::new(826).unwrap(),
            destination: france(),
            through: Sequence::new(through).unwrap(),
            manifest_hash: [7; 32],
            stage: Stage::Stored,
        };
        let receipt = receipt.octets().into();
        wire::AcknowledgeRequest { receipt, ..wire::AcknowledgeRequest::default() }.encode_to_vec()
    }

    async fn sent(store: &Arc<dyn Store>) {
        let number = Arc::new(|_| Numbered { head: Bytes::new(), link: [7; 32] });
        let append = Append { stream: names::outbox(france()), number, body: Bytes::new() };
        store.commit(Change { appends: vec![append], ..Change::default() }).await.unwrap();
    }

    #[tokio::test]
    async fn files_of_an_earlier_release_are_in_the_store_afterwards_and_only_there() {
        let federation = Federation::of(&["826/0", "250/0"]);
        let (trust, authority) = (federation.trust_list(), "250/0".parse().unwrap());
        let state = federation.folder().join("state");
        let options = SledOptions { free_floor_bytes: 0, ..SledOptions::default() };
        let store: Arc<dyn Store> =
            Arc::new(SledStore::open(&federation.folder().join("store"), options).unwrap());
        let lists = KeyLists::open(store.clone(), &trust, now()).await.unwrap();
        let again = async || take_over(&state, &store, &lists, (&trust, now())).await.unwrap();
        again().await;
        let (list, receipt) = (state.join("keylists/250-0.keys"), state.join("receipts/250-stored.receipt"));
        for file in [&list, &receipt] {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
        }
        let signed = signed_list(&federation, authority);
        fs::write(&list, signed.clone().into_wire().encode_to_vec()).unwrap();
        fs::write(&receipt, receipt_file(1)).unwrap();
        again().await;
        assert_eq!(lists.signed(authority), Some(signed));
        assert!(
            !list.exists() && receipt.exists(),
            "nothing was sent yet, so the receipt is of another store"
        );
        sent(&store).await;
        again().await;
        assert!(!receipt.exists());
        let kept = store.find(names::receipts(france(), Stage::Stored), 1).await.unwrap().unwrap();
        assert_eq!(kept.body, receipt_file(1));
        let cursor = store.cursor(names::acknowledged(france(), Stage::Stored)).await.unwrap();
        assert_eq!((cursor.through, cursor.link), (1, [7; 32]));
    }
}
