//! What the store's streams, cursors and leases are called. The first octet says the kind.

use proto::batch::Stage;
use proto::ids::{Authority, CountryCode};

use crate::store::{CursorName, LeaseName, Stream};

const OUTBOX: u8 = b'o';
const INBOX: u8 = b'i';
const KEY_LIST: u8 = b'k';
const RECEIPT: u8 = b'r';

/// Batches on their way to a country, numbered for that country.
#[must_use]
pub fn outbox(destination: CountryCode) -> Stream {
    Stream::new(padded(OUTBOX, &destination.number().to_be_bytes()))
}

/// Batches that came for one of our authorities, numbered for its adapter.
#[must_use]
pub fn inbox(authority: Authority) -> Stream {
    Stream::new(padded(INBOX, &authority.octets()))
}

/// An authority's key lists; the last one is in force.
#[must_use]
pub fn key_lists(authority: Authority) -> Stream {
    Stream::new(padded(KEY_LIST, &authority.octets()))
}

/// The last entry of [`key_lists`]: whoever adds one has seen that one.
#[must_use]
pub fn key_list(authority: Authority) -> CursorName {
    CursorName::new(padded(KEY_LIST, &authority.octets()))
}

/// The receipts of a country for a stage; each covers all before it.
#[must_use]
pub fn receipts(destination: CountryCode, stage: Stage) -> Stream {
    let [high, low] = destination.number().to_be_bytes();
    Stream::new(padded(RECEIPT, &[high, low, stage_octet(stage)]))
}

/// What only one replica does at a time: whatever has to do with one country's batches.
#[must_use]
pub fn peer(origin: CountryCode) -> LeaseName {
    LeaseName::new(padded(b'p', &origin.number().to_be_bytes()))
}

/// What only one replica does at a time: purging.
pub const RETENTION: LeaseName = LeaseName::new(*b"purging\0");

/// What only one replica does at a time: fetching the peers' key lists.
pub const KEYS: LeaseName = LeaseName::new(*b"keys\0\0\0\0");

/// A stream of which only the last entry counts, with the cursor that an entry is added under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Newest {
    /// The cursor is the number of the last entry.
    KeyList(CursorName),
    /// The cursor is what the last entry acknowledges.
    Receipt(CursorName),
}

/// Whether only a stream's last entry counts.
#[must_use]
pub fn newest_only(stream: Stream) -> Option<Newest> {
    let [kind, octets @ ..] = stream.octets();
    match (kind, octets) {
        (KEY_LIST, _) => {
            let authority = Authority::parse(&octets[..Authority::LEN]).ok()?;
            Some(Newest::KeyList(key_list(authority)))
        }
        (RECEIPT, [high, low, stage, ..]) => {
            let country = CountryCode::new(u16::from_be_bytes([high, low])).ok()?;
            let stage =
                [Stage::Stored, Stage::Delivered].into_iter().find(|known| stage_octet(*known) == stage)?;
            Some(Newest::Receipt(acknowledged(country, stage)))
        }
        _ => None,
    }
}

/// The country of an outbox stream.
#[must_use]
pub fn outbox_country(stream: Stream) -> Option<CountryCode> {
    let [OUTBOX, high, low, ..] = stream.octets() else { return None };
    CountryCode::new(u16::from_be_bytes([high, low])).ok()
}

/// The authority of an inbox stream.
#[must_use]
pub fn inbox_authority(stream: Stream) -> Option<Authority> {
    let octets = stream.octets();
    (octets[0] == INBOX).then(|| Authority::parse(&octets[1..=Authority::LEN]).ok())?
}

/// A stream's name for people.
#[must_use]
pub fn of_stream(stream: Stream) -> String {
    match (outbox_country(stream), inbox_authority(stream)) {
        (Some(country), _) => format!("outbox {country}"),
        (None, Some(authority)) => format!("inbox {authority}"),
        (None, None) => match (stream.octets(), newest_only(stream)) {
            ([_, high, low, ..], Some(Newest::Receipt(_))) => {
                format!("receipts of {}", u16::from_be_bytes([high, low]))
            }
            ([_, octets @ ..], Some(Newest::KeyList(_))) => {
                let authority = Authority::parse(&octets[..Authority::LEN]);
                authority.map_or_else(|_| stream.to_string(), |authority| format!("key lists of {authority}"))
            }
            _ => stream.to_string(),
        },
    }
}

/// Which way a stream goes, for metrics.
#[must_use]
pub fn kind_of_stream(stream: Stream) -> &'static str {
    match stream.octets()[0] {
        OUTBOX => "outbox",
        INBOX => "inbox",
        _ => "other",
    }
}

/// How far we have pulled a country's batches: its last sequence and that manifest's hash.
#[must_use]
pub fn pulled(origin: CountryCode) -> CursorName {
    CursorName::new(padded(b'p', &origin.number().to_be_bytes()))
}

/// The last sequence from an origin that is stored for an authority.
#[must_use]
pub fn stored(origin: CountryCode, authority: Authority) -> CursorName {
    pair(b's', origin, authority)
}

/// The last sequence from an origin that an authority's adapter has taken.
#[must_use]
pub fn delivered(origin: CountryCode, authority: Authority) -> CursorName {
    pair(b'd', origin, authority)
}

/// How far an authority's adapter has come in its inbox.
#[must_use]
pub fn position(authority: Authority) -> CursorName {
    CursorName::new(padded(b'a', &authority.octets()))
}

/// Moves to show that the store can be written.
#[must_use]
pub fn health() -> CursorName {
    CursorName::new(padded(b'h', &[]))
}

/// How far a country has acknowledged our batches.
#[must_use]
pub fn acknowledged(destination: CountryCode, stage: Stage) -> CursorName {
    CursorName::new(padded(stage_octet(stage), &destination.number().to_be_bytes()))
}

/// How far a stream was acknowledged when hour `slot` of the ring of [`crate::retention`] began.
#[must_use]
pub fn acknowledged_at(stream: Stream, slot: u8) -> CursorName {
    let mut octets: [u8; 16] = padded(b'm', &stream.octets());
    octets[15] = slot;
    CursorName::new(octets)
}

/// Its link carries the day by whose time was purged last.
#[must_use]
pub fn purged_on() -> CursorName {
    CursorName::new(padded(b'g', &[]))
}

fn stage_octet(stage: Stage) -> u8 {
    match stage {
        Stage::Stored => b'S',
        Stage::Delivered => b'D',
    }
}

fn pair(kind: u8, origin: CountryCode, authority: Authority) -> CursorName {
    let mut octets: [u8; 16] = padded(kind, &origin.number().to_be_bytes());
    octets[3..3 + Authority::LEN].copy_from_slice(&authority.octets());
    CursorName::new(octets)
}

fn padded<const N: usize>(kind: u8, name: &[u8]) -> [u8; N] {
    let mut octets = [0; N];
    octets[0] = kind;
    octets[1..=name.len()].copy_from_slice(name);
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_tells_whose_it_is() {
        let (country, authority) = (CountryCode::new(826).unwrap(), "826/1".parse().unwrap());
        assert_eq!(outbox_country(outbox(country)), Some(country));
        assert_eq!(inbox_authority(inbox(authority)), Some(authority));
        assert_eq!(outbox_country(inbox(authority)), None);
        assert_eq!(inbox_authority(outbox(country)), None);
        assert_eq!(newest_only(key_lists(authority)), Some(Newest::KeyList(key_list(authority))));
        for stage in [Stage::Stored, Stage::Delivered] {
            let newest = Some(Newest::Receipt(acknowledged(country, stage)));
            assert_eq!(newest_only(receipts(country, stage)), newest);
        }
        assert_eq!(newest_only(outbox(country)).or(newest_only(inbox(authority))), None);
    }
}
