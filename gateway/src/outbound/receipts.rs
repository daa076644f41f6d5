//! The proofs that our batches arrived: of every country the last receipt for each stage, in a stream of its own.

use std::sync::Arc;

use bytes::Bytes;
use pki::sign::BadSignature;
use pki::trust::Country;
use proto::batch::{self, Receipt, Stage};
use proto::ids::{CountryCode, KeyId};
use proto::malformed::Malformed;
use proto::wire;

use crate::node::Node;
use crate::store::{Advance, Append, Change, Cursor, Numbered, Room, StoreError};
use crate::{names, page};

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
    let octets = Bytes::from(prost::Message::encode_to_vec(&message));
    loop {
        match keep(node, caller, (&receipt, &octets)).await {
            // Another one came at the same time, here or to another replica.
            Err(ReceiptError::Store(StoreError::Moved)) => {}
            done => return done,
        }
    }
}

/// The last receipt of a country for a stage, as it was signed.
pub async fn last(node: &Node, peer: CountryCode, stage: Stage) -> Result<Option<Bytes>, StoreError> {
    let stream = names::receipts(peer, stage);
    let last = node.store.latest(stream).await?.last;
    Ok(node.store.find(stream, last).await?.map(|entry| entry.body))
}

async fn keep(
    node: &Node,
    caller: CountryCode,
    (receipt, octets): (&Receipt, &Bytes),
) -> Result<(), ReceiptError> {
    let through = receipt.through.number();
    let stream = names::outbox(caller);
    let last = page::last(node, stream, through).await?;
    if through > last {
        return Err(ReceiptError::NeverSent { through, last });
    }
    let cursor = names::acknowledged(caller, receipt.stage);
    let from = node.store.cursor(cursor).await?;
    if through < from.through {
        return Err(ReceiptError::Backwards { through, known: from.through });
    }
    // An entry that is purged was acknowledged or given up before; there may be nothing left to compare with.
    let link = node.store.link(stream, through).await?;
    if link.is_some_and(|link| link != receipt.manifest_hash) {
        return Err(ReceiptError::OtherManifest { through });
    }
    if through == from.through {
        return Ok(());
    }
    // Kept with the move: nothing is purged on an acknowledgement that cannot be shown. Each receipt covers all
    // before it, so the last one of each stage proves everything.
    let to = Cursor { through, link: receipt.manifest_hash };
    let numbered = Numbered { head: Bytes::new(), link: to.link };
    let change = Change {
        at: node.clock.now(),
        // A full store is purged by what peers acknowledge.
        room: Room::Reserve,
        advances: vec![Advance { cursor, from, to }],
        appends: vec![Append {
            stream: names::receipts(caller, receipt.stage),
            number: Arc::new(move |_| numbered.clone()),
            body: octets.clone(),
        }],
        ..Change::default()
    };
    node.store.commit(change).await?;
    Ok(())
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
