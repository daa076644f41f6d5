//! A delivered batch: verified, then opened with each of its reports decoded.

use country_adapter::receive::{OpenedBatch, verify as check};
use divan::Bencher;
use divan::counter::ItemsCount;
use pki::fixture::{Federation, now, report};
use pki::identity::HpkeKeys;
use pki::seal::{PrivateKey, Suite, seal_batch};
use pki::sign::sha256;
use pki::trust::TrustList;
use proto::batch::{BatchHeader, Manifest, SignedBatch};
use proto::body;
use proto::ids::{Authority, BatchId, CountryCode, Sequence};

use crate::PUSHES;

/// A batch from the United Kingdom to France, and what France needs to open it.
struct Delivered {
    trust: TrustList,
    own: Authority,
    keys: HpkeKeys,
    batch: SignedBatch,
}

impl Delivered {
    fn with(reports: usize) -> Self {
        let federation = Federation::of(&["826/0", "250/0"]);
        let own: Authority = "250/0".parse().unwrap();
        let private = PrivateKey::parse(Suite::XWing, &PrivateKey::generate(Suite::XWing)).unwrap();
        let header = BatchHeader {
            origin: CountryCode::new(826).unwrap(),
            destination: own,
            key: private.id(),
            id: BatchId::random(),
            sealed_at: u32::try_from(now() / 60).unwrap(),
        };
        let mut text = Vec::new();
        for number in 0..reports {
            body::put_report(&mut text, &report(own, 200, number as u64).1).unwrap();
        }
        body::pad(&mut text);
        let enc = seal_batch(private.public(), &header, &mut text).unwrap();
        let manifest = Manifest {
            header,
            sequence: Sequence::FIRST,
            previous: [0; 32],
            sealed_hash: sha256(&text),
            sealed_len: u32::try_from(text.len()).unwrap(),
            enc: enc.into(),
        };
        let octets = manifest.octets();
        let signing = &federation.country(826).signing;
        let batch = SignedBatch {
            signature: signing.sign(Manifest::DOMAIN, &octets),
            signing_key: signing.public().id(),
            manifest: octets.into(),
            sealed: text.into(),
        };
        Self { trust: federation.trust_list(), own, keys: HpkeKeys::new(vec![private]), batch }
    }
}

#[divan::bench(args = PUSHES)]
fn verify(bencher: Bencher<'_, '_>, reports: usize) {
    let delivered = Delivered::with(reports);
    bencher
        .counter(ItemsCount::new(reports))
        .with_inputs(|| delivered.batch.clone())
        .bench_values(|batch| check(1, batch, &delivered.trust, delivered.own).unwrap());
}

#[divan::bench(args = PUSHES)]
fn open(bencher: Bencher<'_, '_>, reports: usize) {
    let Delivered { trust, own, keys, batch } = Delivered::with(reports);
    let verified = check(1, batch, &trust, own).unwrap();
    bencher.counter(ItemsCount::new(reports)).bench(|| {
        let opened = OpenedBatch::open(&verified, &keys, own).unwrap();
        assert!(opened.read().bad.is_empty());
        opened
    });
}
