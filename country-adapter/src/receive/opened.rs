//! An opened batch and its reports, decoded strictly, each for this authority.

use pki::identity::HpkeKeys;
use proto::body::Reports;
use proto::ids::{Authority, BatchId, CountryCode, Sequence, StateCode};
use proto::malformed::Malformed;
use proto::report::Report;
use proto::wiped::Wiped;

use super::verify::{Refused, VerifiedDelivery};

/// A batch for the backend. Wiped when it is dropped.
pub struct OpenedBatch {
    position: u64,
    origin: CountryCode,
    sequence: Sequence,
    id: BatchId,
    own: Authority,
    text: Wiped,
}

/// The reports of an opened batch.
pub struct ReadBatch<'a> {
    /// What they came in.
    pub batch: &'a OpenedBatch,
    /// Those that are handed on.
    pub good: Vec<Report<'a>>,
    /// Those that are not.
    pub bad: Vec<BadReport>,
}

/// A report inside an opened batch that is not handed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadReport {
    /// Its place in the batch, from 1.
    pub place: usize,
    /// Why, without any value of it.
    pub reason: String,
}

impl OpenedBatch {
    /// Opens a verified batch for an authority.
    pub fn open(delivery: &VerifiedDelivery, keys: &HpkeKeys, own: Authority) -> Result<Self, Refused> {
        let text = delivery.open(keys)?;
        let manifest = delivery.manifest();
        Ok(Self {
            position: delivery.position(),
            origin: manifest.header.origin,
            sequence: manifest.sequence,
            id: manifest.header.id,
            own,
            text,
        })
    }

    /// Its place in the delivery stream.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The country that sealed and signed it.
    #[must_use]
    pub fn origin(&self) -> CountryCode {
        self.origin
    }

    /// Its place in the stream from that country.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> BatchId {
        self.id
    }

    /// Reads each of its reports.
    #[must_use]
    pub fn read(&self) -> ReadBatch<'_> {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for (place, octets) in (1..).zip(Reports::of_batch(&self.text)) {
            match octets.and_then(|octets| read(octets, self.own)) {
                Ok(report) => good.push(report),
                Err(malformed) => bad.push(BadReport { place, reason: reason(&malformed) }),
            }
        }
        ReadBatch { batch: self, good, bad }
    }
}

fn read(octets: &[u8], own: Authority) -> Result<Report<'_>, Malformed> {
    #[cfg(test)]
    crate::testing::set_off(octets);
    let report = Report::decode(octets)?;
    if is_for(report.header().authority(), own) {
        return Ok(report);
    }
    Err(Malformed::Field { field: "header", reason: "it is addressed to another authority" })
}

/// Whether an authority answers for a header: its own, or for a national one any state of the country.
///
/// States that have an authority of their own are not told apart: the origin sealed by its trust list, which may be
/// a version older than ours.
#[must_use]
pub fn is_for(issuer: Authority, own: Authority) -> bool {
    match (issuer, own) {
        (Authority::State(issuer, _), Authority::State(country, StateCode::NATIONAL)) => issuer == country,
        _ => issuer == own,
    }
}

fn reason(malformed: &Malformed) -> String {
    match malformed {
        Malformed::Field { field, reason } => format!("{field}: {reason}"),
        other => format!("{} is wrong", other.field()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_national_authority_answers_for_every_state_of_its_country() {
        let is_for = |issuer: &str, own: &str| is_for(issuer.parse().unwrap(), own.parse().unwrap());
        assert!(is_for("826/1", "826/1") && is_for("826/0", "826/0") && is_for("826/7", "826/0"));
        assert!(!is_for("826/2", "826/1") && !is_for("826/0", "826/1") && !is_for("250/7", "826/0"));
        assert!(is_for("x/00000001", "x/00000001") && !is_for("x/00000001", "x/00000002"));
        assert!(!is_for("x/00000001", "826/0"));
    }
}
