//! 4: seal what waits, one batch for each destination, whichever pushes it came with.
//!
//! No I/O. The reports of all pushes stand mixed in a batch: who abroad opens it learns of none what came together.

use std::collections::BTreeMap;

use bytes::Bytes;
use pki::seal::{self, PublicKey};
use proto::batch::BatchHeader;
use proto::body;
use proto::ids::{BatchId, CountryCode, KeyId};
use proto::wiped::Wiped;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::route::Destination;
use super::sort::{Refused, Sorted};

/// The reports of some pushes for one authority, sealed to its key and not yet numbered.
#[derive(Debug)]
pub struct ResealedBatch {
    /// What the seal is bound to.
    pub header: BatchHeader,
    /// Whose gateway will pull it.
    pub country: CountryCode,
    /// HPKE encapsulated key.
    pub enc: Bytes,
    /// HPKE ciphertext of the shuffled and padded reports.
    pub sealed: Bytes,
    /// SHA-256 of `sealed`.
    pub sealed_hash: [u8; 32],
    /// How many reports are in it.
    pub reports: usize,
}

/// A batch that is not sealed yet.
struct Open<'a> {
    destination: Destination,
    key: &'a PublicKey,
    reports: Vec<&'a [u8]>,
}

/// Seals pushes for all their destinations: by our country, at a time in minutes since 1970.
///
/// All reports of the pushes together are at most 8 MiB long, less the room for lengths and padding.
pub fn seal<'a>(
    pushes: impl IntoIterator<Item = &'a Sorted>,
    (origin, minute): (CountryCode, u32),
) -> Result<Vec<ResealedBatch>, Refused> {
    // In the order of the destinations, so that the order of a push shows nowhere.
    let mut batches = BTreeMap::<(Destination, KeyId), Open<'a>>::new();
    for push in pushes {
        for parcel in &push.parcels {
            let (destination, key) = (parcel.destination, &parcel.key);
            let open = || Open { destination, key, reports: Vec::new() };
            let batch = batches.entry((destination, key.id())).or_insert_with(open);
            batch.reports.extend(push.reports(parcel));
        }
    }
    let mut shuffler = StdRng::from_os_rng();
    let seal = |mut open: Open<'_>| {
        // The order of a push is the order of an ill person's contacts; it says more than it should.
        open.reports.shuffle(&mut shuffler);
        seal_batch(&open, (origin, minute))
    };
    batches.into_values().map(seal).collect()
}

fn seal_batch(open: &Open<'_>, (origin, sealed_at): (CountryCode, u32)) -> Result<ResealedBatch, Refused> {
    let Open { destination: Destination { country, authority }, key, reports } = open;
    let (country, authority) = (*country, *authority);
    let unsealable = || Refused::Unsealable(authority);
    let header =
        BatchHeader { origin, destination: authority, key: key.id(), id: BatchId::random(), sealed_at };
    let len: usize = reports.iter().map(|report| body::framed_len(report.len())).sum();
    // Its full size from the start: a buffer that grows leaves copies of the reports behind.
    let mut text = Wiped::with_capacity(body::bucket(len) + seal::overhead());
    for report in reports {
        body::put_report(&mut text, report).map_err(|_| unsealable())?;
    }
    body::pad(&mut text);
    let enc = seal::seal_batch(key, &header, &mut text).map_err(|_| unsealable())?;
    let sealed = Bytes::from(text.take());
    let sealed_hash = pki::sign::sha256(&sealed);
    Ok(ResealedBatch { header, country, enc: enc.into(), sealed, sealed_hash, reports: reports.len() })
}
