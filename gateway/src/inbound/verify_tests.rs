//! One batch that passes, and everything that can be wrong with it.

use bytes::Bytes;
use pki::fixture::{Federation, now};
use pki::sign::SigningKey;
use proto::batch::BatchHeader;
use proto::ids::{BatchId, Sequence};

use super::*;

struct World {
    federation: Federation,
    trust: TrustList,
}

impl World {
    fn new() -> Self {
        let federation = Federation::of(&["826/0", "826/1", "250/0"]);
        let trust = federation.trust_list();
        Self { federation, trust }
    }

    fn key(&self) -> &SigningKey {
        &self.federation.country(826).signing
    }

    /// What France expects of the United Kingdom.
    fn expected(&self) -> Expected<'_> {
        let code = |number| CountryCode::new(number).unwrap();
        let origin = self.trust.country(code(826)).unwrap();
        let cursor = Cursor { through: 4, link: [4; 32] };
        Expected { origin, own: code(250), trust: &self.trust, has_inbox: &|_| false, cursor, now: now() }
    }
}

fn manifest() -> Manifest {
    Manifest {
        header: BatchHeader {
            origin: CountryCode::new(826).unwrap(),
            destination: "250/0".parse().unwrap(),
            key: [7; 8].into(),
            id: BatchId::random(),
            sealed_at: u32::try_from(now() / 60).unwrap(),
        },
        sequence: Sequence::new(5).unwrap(),
        previous: [4; 32],
        sealed_hash: sha256(b"sealed"),
        sealed_len: 6,
        enc: Bytes::from_static(&[9; 32]),
    }
}

fn signed(key: &SigningKey, manifest: &Manifest) -> SignedBatch {
    let octets = manifest.octets();
    SignedBatch {
        signature: key.sign(Manifest::DOMAIN, &octets),
        signing_key: key.public().id(),
        manifest: octets.into(),
        sealed: Bytes::from_static(b"sealed"),
    }
}

fn refused(world: &World, batch: SignedBatch) -> Refused {
    verify(batch, &world.expected()).expect_err("refused")
}

/// With the header or manifest altered before it is signed.
fn refused_manifest(alter: impl FnOnce(&mut Manifest)) -> Refused {
    let world = World::new();
    let mut manifest = manifest();
    alter(&mut manifest);
    refused(&world, signed(world.key(), &manifest))
}

#[test]
fn the_next_batch_of_the_called_country_passes() {
    let world = World::new();
    let batch = signed(world.key(), &manifest());
    let verified = verify(batch.clone(), &world.expected()).unwrap();
    assert_eq!(verified.cursor(), Cursor { through: 5, link: sha256(&batch.manifest) });
    assert_eq!(verified.batch(), &batch);
}

#[test]
fn a_signer_that_is_not_the_origins_is_refused() {
    let world = World::new();
    let french = &world.federation.country(250).signing;
    assert_eq!(refused(&world, signed(french, &manifest())), Refused::UnknownSigner(french.public().id()));
}

#[test]
fn a_signer_that_was_not_certified_when_the_batch_was_sealed_is_refused() {
    let world = World::new();
    let expected = Expected { now: now() + 100 * 86_400, ..world.expected() };
    let mut manifest = manifest();
    manifest.header.sealed_at += 100 * 24 * 60;
    let refused = verify(signed(world.key(), &manifest), &expected).unwrap_err();
    assert_eq!(refused, Refused::SignerOutOfTime(world.key().public().id()));
}

#[test]
fn an_altered_manifest_or_signature_is_refused() {
    let world = World::new();
    let batch = signed(world.key(), &manifest());
    for at in 0..batch.manifest.len() {
        let mut octets = batch.manifest.to_vec();
        octets[at] ^= 1;
        let altered = SignedBatch { manifest: octets.into(), ..batch.clone() };
        assert_eq!(refused(&world, altered), Refused::BadSignature(BadSignature), "octet {at}");
    }
    let mut altered = batch;
    altered.signature[10] ^= 1;
    assert_eq!(refused(&world, altered), Refused::BadSignature(BadSignature));
}

#[test]
fn a_signed_manifest_that_does_not_parse_is_refused() {
    let world = World::new();
    let octets = [manifest().octets().as_slice(), &[0]].concat();
    let signature = world.key().sign(Manifest::DOMAIN, &octets);
    let batch = SignedBatch { signature, manifest: octets.into(), ..signed(world.key(), &manifest()) };
    assert!(matches!(refused(&world, batch), Refused::Malformed(Malformed::Trailing { .. })));
}

#[test]
fn a_batch_in_another_countrys_name_is_refused() {
    let refused = refused_manifest(|manifest| manifest.header.origin = CountryCode::new(250).unwrap());
    assert!(matches!(refused, Refused::OtherOrigin { .. }));
}

#[test]
fn a_batch_for_another_country_is_refused() {
    let refused = refused_manifest(|manifest| manifest.header.destination = "826/1".parse().unwrap());
    assert_eq!(refused, Refused::OtherDestination("826/1".parse().unwrap()));
    let refused = refused_manifest(|manifest| manifest.header.destination = "250/3".parse().unwrap());
    assert_eq!(refused, Refused::OtherDestination("250/3".parse().unwrap()), "no authority of ours");
}

#[test]
fn a_batch_for_an_authority_that_left_the_list_is_taken_where_its_inbox_is() {
    let world = World::new();
    let has_inbox = |authority: Authority| authority != "250/4".parse().unwrap();
    let verified = |destination: &str| {
        let mut manifest = manifest();
        manifest.header.destination = destination.parse().unwrap();
        let expected = Expected { has_inbox: &has_inbox, ..world.expected() };
        verify(signed(world.key(), &manifest), &expected).map(drop)
    };
    assert_eq!(verified("250/3"), Ok(()));
    for refused in ["250/4", "826/1"] {
        assert_eq!(verified(refused), Err(Refused::OtherDestination(refused.parse().unwrap())));
    }
}

#[test]
fn a_gap_a_repeat_and_a_broken_chain_are_told_apart() {
    let sequence = |number| Sequence::new(number).unwrap();
    let refused = |number| refused_manifest(|manifest| manifest.sequence = sequence(number));
    assert_eq!(refused(6), Refused::Gap { found: 6, cursor: 4 });
    assert_eq!(refused(4), Refused::Repeat { found: 4, cursor: 4 });
    assert_eq!(refused(1), Refused::Repeat { found: 1, cursor: 4 });
    assert_eq!(refused_manifest(|manifest| manifest.previous[0] ^= 1), Refused::BrokenChain(5));
}

#[test]
fn another_body_than_the_signed_one_is_refused() {
    let world = World::new();
    let batch = signed(world.key(), &manifest());
    for body in ["sealex", "sealed!", ""] {
        let altered = SignedBatch { sealed: Bytes::from(body), ..batch.clone() };
        assert_eq!(refused(&world, altered), Refused::OtherBody(5), "{body}");
    }
    assert_eq!(refused_manifest(|manifest| manifest.sealed_len = 7), Refused::OtherBody(5));
}

#[test]
fn a_batch_from_the_future_or_from_long_ago_is_refused() {
    let world = World::new();
    let now = world.expected().now;
    let minute = u32::try_from(now / 60).unwrap();
    let verified = |sealed_at| {
        let mut manifest = manifest();
        manifest.header.sealed_at = sealed_at;
        verify(signed(world.key(), &manifest), &Expected { now, ..world.expected() }).map(drop)
    };
    assert_eq!(verified(minute + CLOCK_SKEW), Ok(()), "at the limit");
    assert_eq!(verified(minute + CLOCK_SKEW + 1), Err(Refused::FromTheFuture));
    assert_eq!(verified(minute - OLDEST), Ok(()), "at the limit");
    assert_eq!(verified(minute - OLDEST - 1), Err(Refused::TooOld));
}
