//! 4, behind the seal: number, chain, sign and keep: one entry for each batch, and all that goes with it in one commit.

use std::sync::Arc;

use bytes::Bytes;
use pki::sign::{SigningKey, sha256};
use prost::Message;
use proto::batch::{Manifest, SignedBatch};
use proto::ids::{Authority, PushId, Sequence};
use proto::wire;

use super::gather::Ready;
use super::reseal::ResealedBatch;
use super::sort::{Problem, Sorted};
use crate::names;
use crate::node::Node;
use crate::store::{Answered, Append, Change, Committed, Number, Numbered, Once, OnceId, StoreError, Tail};

/// Names a push in the store: its authority and its id. Two authorities that use the same id never meet.
#[must_use]
pub fn once_id(pusher: Authority, push: &PushId) -> OnceId {
    OnceId::new(&[pusher.octets().as_slice(), push.octets()].concat())
        .expect("21 octets are within its bounds")
}

/// Keeps batches, and the answers of the pushes that they are made of: all, or nothing if one of these was kept
/// before, in another process or a moment ago. Then it gives the answer that was kept. `at` is when they were sealed.
pub async fn keep(
    node: &Node,
    pushes: &[Arc<Ready>],
    (at, batches): (u64, Vec<ResealedBatch>),
) -> Result<Option<Answered>, StoreError> {
    let once = pushes.iter().map(|push| Once {
        id: push.id.clone(),
        digest: push.digest,
        answer: push.reply.encode_to_vec().into(),
    });
    let appends = batches.into_iter().map(|batch| append(&node.signing, batch)).collect();
    let change = Change { at, once: once.collect(), appends, ..Change::default() };
    Ok(match node.store.commit(change).await? {
        Committed::Done { .. } => None,
        Committed::Before(answered) => Some(answered),
    })
}

/// What a push is answered that is sorted so.
#[must_use]
pub fn reply(sorted: &Sorted) -> wire::PushReply {
    let verdicts: Vec<u8> = sorted.verdicts.iter().map(|verdict| verdict.number()).collect();
    let problem = |problem: &Problem| wire::Problem {
        index: u32::try_from(problem.index).unwrap_or(u32::MAX),
        verdict: problem.verdict.to_wire().into(),
        message: problem.message.clone(),
    };
    wire::PushReply { verdicts: verdicts.into(), problems: sorted.problems.iter().map(problem).collect() }
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
