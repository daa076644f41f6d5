//! Whether the batches that a store keeps are what their origins signed, in the order in which they were chained.
//!
//! The store knows no batches: it finds octets that changed. This finds entries that were never right.

use std::collections::BTreeMap;

use pki::sign::sha256;
use proto::batch::{Manifest, SignedBatch};
use proto::ids::CountryCode;

use crate::names;
use crate::store::{Entry, Store, StoreError, Stream};

/// Octets that are read at once.
const STEP_BYTES: usize = 4 << 20;

/// A batch that is not right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// In which stream.
    pub stream: Stream,
    /// Its number there.
    pub sequence: u64,
    /// What is wrong with it.
    pub what: &'static str,
}

/// The beginnings of the hashes of a manifest and of the one before it: enough to see that they do not belong together.
#[derive(Debug, Clone, Copy)]
struct Link {
    own: [u8; 8],
    before: [u8; 8],
    at: (Stream, u64),
}

/// Reads all batches, and gives those that are not right. Damaged entries are left to the store.
pub async fn check(store: &dyn Store) -> Result<Vec<Broken>, StoreError> {
    let mut check = Check::default();
    for stream in store.streams().await? {
        let mut after = 0;
        loop {
            match store.after(stream, after, STEP_BYTES).await {
                Ok(page) => {
                    let Some(last) = page.last() else { break };
                    after = last.sequence;
                    page.iter().for_each(|entry| check.entry(stream, entry));
                }
                Err(StoreError::Damaged { sequence, .. }) => after = sequence,
                Err(error) => return Err(error),
            }
        }
    }
    check.chains();
    Ok(check.broken)
}

#[derive(Default)]
struct Check {
    broken: Vec<Broken>,
    outboxes: BTreeMap<CountryCode, BTreeMap<u64, Link>>,
    inboxes: BTreeMap<CountryCode, BTreeMap<u64, Link>>,
}

impl Check {
    fn entry(&mut self, stream: Stream, entry: &Entry) {
        let (outbox, inbox) = (names::outbox_country(stream), names::inbox_authority(stream));
        if outbox.is_none() && inbox.is_none() {
            return;
        }
        let mut wrong = |what| self.broken.push(Broken { stream, sequence: entry.sequence, what });
        let batch = SignedBatch::from_parts(&entry.head, entry.body.clone());
        let Some((batch, manifest)) = batch.ok().and_then(|batch| {
            let manifest = Manifest::parse(&batch.manifest).ok()?;
            Some((batch, manifest))
        }) else {
            return wrong("it does not parse");
        };
        if sha256(&batch.manifest) != entry.link {
            wrong("its link is not the hash of its manifest");
        }
        if manifest.sealed_hash != sha256(&batch.sealed) || manifest.sealed_len as usize != batch.sealed.len()
        {
            wrong("its body is not the one in its manifest");
        }
        let sequence = manifest.sequence.number();
        if outbox.is_some() && sequence != entry.sequence {
            wrong("its manifest has another number");
        }
        if inbox.is_some_and(|authority| authority != manifest.header.destination) {
            wrong("it is for another authority");
        }
        let link = Link {
            own: beginning(&entry.link),
            before: beginning(&manifest.previous),
            at: (stream, entry.sequence),
        };
        match outbox {
            Some(country) => self.outboxes.entry(country).or_default().insert(sequence, link),
            None => self.inboxes.entry(manifest.header.origin).or_default().insert(sequence, link),
        };
    }

    fn chains(&mut self) {
        for chain in self.outboxes.values().chain(self.inboxes.values()) {
            for ((before, first), (sequence, second)) in chain.iter().zip(chain.iter().skip(1)) {
                if before + 1 == *sequence && second.before != first.own {
                    let (stream, sequence) = second.at;
                    let what = "it is not chained to the one before it";
                    self.broken.push(Broken { stream, sequence, what });
                }
            }
        }
    }
}

fn beginning(hash: &[u8; 32]) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = *hash;
    [a, b, c, d, e, f, g, h]
}
