//! An authority, two phones and what they said, for the tests of this folder.

use pki::seal::{PrivateKey, PublicKey, Suite};
use pki::secret::Secret;
use proto::day::Day;
use proto::extended::ExtendedData;
use proto::header::EnvelopeHeader;

use super::block::{Block, Readings};
use super::exchange::{Answering, Asking, EphemeralKey};
use super::float16::Half;
use super::report::ReportToken;
use super::service::{DailyKey, ServiceContents};
use super::totp::Step;
use super::vectors::one;
use super::{Area, ConfirmationToken, ModelHash, Receipt, ServiceToken, Uuid};

/// 2023-11-14T22:15:00Z.
pub(super) const STEP: Step = Step::new(1_888_889);
pub(super) const CONFIRMATION: ConfirmationToken = ConfirmationToken::new([9; 16]);

pub(super) fn block(extended: &[u8]) -> Block {
    let readings = Readings { rssi: Half::nearest(-61.0), power: Half::nearest(12.0) };
    let tokens = (ServiceToken::new([4; 119]), CONFIRMATION);
    Block::new(readings, tokens, ModelHash::new([2; 8]), ExtendedData::parse(extended).unwrap()).unwrap()
}

pub(super) fn header() -> EnvelopeHeader {
    EnvelopeHeader::new(0x20, "826/4".parse().unwrap()).unwrap()
}

/// The authority's key of the day on which [`STEP`] lies.
pub(super) fn daily_key() -> DailyKey<PrivateKey> {
    let key = PrivateKey::parse(Suite::P256, &PrivateKey::generate(Suite::P256)).unwrap();
    DailyKey { number: 0x0102, days: STEP.day()..=STEP.day(), key }
}

pub(super) fn public(key: &DailyKey<PrivateKey>) -> DailyKey<PublicKey> {
    DailyKey { number: key.number, days: key.days.clone(), key: key.key.public().clone() }
}

pub(super) fn contents(step: Step) -> ServiceContents {
    ServiceContents::new(Uuid::new([3; 16]), Area::new(*b"S41\0").unwrap(), ModelHash::new([2; 8]), step)
}

/// What a receiver's authority sends of a contact with these contents.
pub(super) fn reported(
    contents: &ServiceContents,
    key: &DailyKey<PrivateKey>,
    issuer: EnvelopeHeader,
) -> ReportToken {
    let service = contents.seal(&public(key), issuer, &CONFIRMATION).unwrap();
    ReportToken { service, confirmation: CONFIRMATION, receipt: Receipt::new([5; 16]) }
}

/// Both sides of the exchange in the vectors, before the response.
pub(super) fn published_exchange() -> (Asking, Answering) {
    let vector = one("ours-secured-response");
    let key = |field: &str| EphemeralKey::fixed(&vector.array(field));
    let receiver = Asking::with(key("receiver_private_key"), "250/3".parse().unwrap()).unwrap();
    let request = receiver.request().clone();
    let transmitter =
        Answering::with(key("transmitter_private_key"), request, "826/4".parse().unwrap()).unwrap();
    (receiver, transmitter)
}

/// The authority's key in the vectors.
pub(super) fn published_daily_key() -> DailyKey<PrivateKey> {
    let private = Secret::new(one("ours-est").octets("authority_private_key"));
    let key = PrivateKey::parse(Suite::P256, &private).unwrap();
    let day = Day::of_unix(1_700_000_123);
    DailyKey { number: 0x0102, days: day..=day, key }
}
