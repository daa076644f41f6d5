//! The proofs that our batches arrived: of every country, the last receipt for each stage, in a file of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pki::disk::{self, DiskError};
use pki::sign::BadSignature;
use pki::trust::Country;
use prost::Message;
use proto::batch::{self, Receipt, Stage};
use proto::ids::{CountryCode, KeyId};
use proto::malformed::Malformed;
use proto::wire;

use crate::damage;
use crate::names;
use crate::node::Node;
use crate::store::{Advance, Change, Cursor, StoreError};

/// Where receipts are kept, below the state folder.
const FOLDER: &str = "receipts";

/// Why a receipt is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// The octets.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The key that signed is none of the caller's.
    #[error("signing key {0} is not certified now for the calling country")]
    UnknownSigner(KeyId),
    /// The signature does not fit.
    #[error(transparent)]
    BadSignature(#[from] BadSignature),
    /// It is about another stream.
    #[error(
        "the receipt is for batches from {origin} to {destination}; the caller may acknowledge only what it gets from here"
    )]
    OtherStream {
        /// Who sent.
        origin: CountryCode,
        /// Who received.
        destination: CountryCode,
    },
    /// It acknowledges what was never sent.
    #[error("sequence {through} was never sent; the last one is {last}")]
    NeverSent {
        /// What it says.
        through: u64,
        /// Our last one.
        last: u64,
    },
    /// It acknowledges another manifest than ours.
    #[error("the manifest hash for sequence {through} is not the one that was sent")]
    OtherManifest {
        /// What it says.
        through: u64,
    },
    /// It would take an acknowledgement back.
    #[error(
        "{through} is before {known}, which was acknowledged already; acknowledgements only move forward"
    )]
    Backwards {
        /// What it says.
        through: u64,
        /// What we have.
        known: u64,
    },
    /// It could not be kept.
    #[error("the receipt could not be kept")]
    Disk(#[from] DiskError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Checks a receipt of a peer, keeps it, and moves the peer's acknowledgement forward.
pub async fn take(
    node: &Node,
    caller: CountryCode,
    message: wire::AcknowledgeRequest,
) -> Result<(), ReceiptError> {
    let receipt = check(node, caller, &message)?;
    let through = receipt.through.number();
    let stream = names::outbox(caller);
    let last = node.store.tail(stream).borrow().last;
    if through > last {
        return Err(ReceiptError::NeverSent { through, last });
    }
    let cursor = names::acknowledged(caller, receipt.stage);
    let from = node.store.cursor(cursor).await?;
    if through < from.through {
        return Err(ReceiptError::Backwards { through, known: from.through });
    }
    // An entry that is purged was acknowledged or given up before; there is nothing left to compare with.
    let link = damage::link(node, stream, through).await?;
    if link.is_some_and(|link| link != receipt.manifest_hash) {
        return Err(ReceiptError::OtherManifest { through });
    }
    if through == from.through {
        return Ok(());
    }
    write(node, caller, receipt.stage, &message)?;
    let advances = vec![Advance { cursor, from, to: Cursor { through, link: receipt.manifest_hash } }];
    node.store.commit(Change { at: node.clock.now(), advances, ..Change::default() }).await?;
    Ok(())
}

/// How far each country has acknowledged our batches, as the receipts below a state folder prove. Those that do not
/// parse prove nothing.
#[must_use]
pub fn kept(state: &Path) -> BTreeMap<CountryCode, u64> {
    let mut proven = BTreeMap::new();
    for file in fs::read_dir(state.join(FOLDER)).into_iter().flatten().flatten() {
        let message = fs::read(file.path()).ok();
        let message = message.and_then(|octets| wire::AcknowledgeRequest::decode(octets.as_slice()).ok());
        let Some(receipt) = message.and_then(|message| Receipt::parse(&message.receipt).ok()) else {
            continue;
        };
        let through = proven.entry(receipt.destination).or_insert(0);
        *through = receipt.through.number().max(*through);
    }
    proven
}

fn check(
    node: &Node,
    caller: CountryCode,
    message: &wire::AcknowledgeRequest,
) -> Result<Receipt, ReceiptError> {
    let key = KeyId::parse(&message.signing_key)?;
    let trust = node.trust_list();
    let now = node.clock.now();
    let certified = trust.country(caller).and_then(|country: &Country| country.signing_key(key));
    let certified = certified.filter(|certified| certified.is_valid_at(now));
    let certified = certified.ok_or(ReceiptError::UnknownSigner(key))?;
    certified.key.check(Receipt::DOMAIN, &message.receipt, &batch::signature(&message.signature)?)?;
    let receipt = Receipt::parse(&message.receipt)?;
    let Receipt { origin, destination, .. } = receipt;
    if origin != node.country || destination != caller {
        return Err(ReceiptError::OtherStream { origin, destination });
    }
    Ok(receipt)
}

// Kept before the cursor moves: nothing is purged on an acknowledgement that cannot be shown. Each receipt covers
// all before it, so the last one of each stage proves everything.
fn write(
    node: &Node,
    caller: CountryCode,
    stage: Stage,
    message: &wire::AcknowledgeRequest,
) -> Result<(), ReceiptError> {
    let name = match stage {
        Stage::Stored => "stored",
        Stage::Delivered => "delivered",
    };
    let folder = node.state_folder(FOLDER);
    let unwritable = |source| DiskError::Write { path: PathBuf::from(&folder), source };
    fs::create_dir_all(&folder).map_err(unwritable)?;
    let octets = message.encode_to_vec();
    Ok(disk::replace_public(&folder.join(format!("{caller}-{name}.receipt")), &octets)?)
}
