//! 4: number, chain, sign and keep: one entry for each destination, all of a push in one commit.

use std::sync::Arc;

use bytes::Bytes;
use pki::sign::{SigningKey, sha256};
use prost::Message;
use proto::batch::{Manifest, SignedBatch};
use proto::ids::{Authority, PushId, Sequence};
use proto::wire;

use super::reseal::{Problem, Resealed, ResealedBatch};
use crate::names;
use crate::node::Node;
use crate::store::{Append, Change, Committed, Number, Numbered, Once, OnceId, StoreError, Tail};

/// Names a push in the store: its authority and its id. Two authorities that use the same id never meet.
#[must_use]
pub fn once_id(pusher: Authority, push: &PushId) -> OnceId {
    OnceId::new(&[pusher.octets().as_slice(), push.octets()].concat())
        .expect("21 octets are within its bounds")
}

/// Keeps a resealed push and its answer. Returns what is to be answered: the answer of the push that was kept
/// first, if this one came twice at the same time.
pub async fn keep(node: &Node, push: (OnceId, [u8; 32]), resealed: Resealed) -> Result<Kept, StoreError> {
    let reply = reply(&resealed);
    let (id, digest) = push;
    let once = Once { id, digest, answer: reply.encode_to_vec().into() };
    let appends = resealed.batches.into_iter().map(|batch| append(&node.signing, batch)).collect();
    let change = Change { at: node.clock.now(), once: Some(once), appends, ..Change::default() };
    Ok(match node.store.commit(change).await? {
        Committed::Done { .. } => Kept::Now(reply),
        Committed::Before(answered) => Kept::Before { digest: answered.digest, answer: answered.answer },
    })
}

/// What keeping a push came to.
pub enum Kept {
    /// It is kept; this is its answer.
    Now(wire::PushReply),
    /// A push with this id was kept earlier.
    Before {
        /// The digest of the earlier push.
        digest: [u8; 32],
        /// The encoded answer that it got.
        answer: Bytes,
    },
}

fn reply(resealed: &Resealed) -> wire::PushReply {
    let verdicts: Vec<u8> = resealed.verdicts.iter().map(|verdict| verdict.number()).collect();
    let problem = |problem: &Problem| wire::Problem {
        index: u32::try_from(problem.index).unwrap_or(u32::MAX),
        verdict: problem.verdict.to_wire().into(),
        message: problem.message.clone(),
    };
    wire::PushReply { verdicts: verdicts.into(), problems: resealed.problems.iter().map(problem).collect() }
}

fn append(signing: &Arc<SigningKey>, batch: ResealedBatch) -> Append {
    let (stream, body) = (names::outbox(batch.country), batch.sealed.clone());
    let signing = signing.clone();
    let number: Number = Arc::new(move |tail| signed(&signing, &batch, tail));
    Append { stream, number, body }
}

/// The manifest that follows a tail. Called at commit: only then is the number known, and it has no gaps.
fn signed(signing: &SigningKey, batch: &ResealedBatch, tail: Tail) -> Numbered {
    let manifest = Manifest {
        header: batch.header,
        sequence: Sequence::new(tail.last + 1).expect("one more than another number is not 0"),
        previous: tail.link,
        sealed_hash: batch.sealed_hash,
        sealed_len: u32::try_from(batch.sealed.len()).expect("a batch is at most 8 MiB long"),
        enc: batch.enc.clone(),
    };
    let manifest = manifest.octets();
    let link = sha256(&manifest);
    let signature = signing.sign(Manifest::DOMAIN, &manifest);
    let signing_key = signing.public().id();
    let signed = SignedBatch { manifest: manifest.into(), signature, signing_key, sealed: Bytes::new() };
    Numbered { head: signed.head(), link }
}
