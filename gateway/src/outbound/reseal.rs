//! 3: open a push with our key, check every report, seal again for each destination.
//!
//! No I/O, and the only place outside of an adapter where a report stands in the clear (invariant 2): its buffers
//! are wiped, and nothing of a report's content goes into a verdict, an error or a log.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use foldhash::quality::RandomState;
use pki::identity::HpkeKeys;
use pki::seal::{self, PublicKey, SealError};
use proto::batch::BatchHeader;
use proto::body::{self, Reports};
use proto::day::Day;
use proto::extended::Recipient;
use proto::header::EnvelopeHeader;
use proto::ids::{Authority, BatchId, CountryCode, KeyId};
use proto::malformed::Malformed;
use proto::push::Push;
use proto::report::{DateOut, Report};
use proto::verdict::Verdict;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use zeroize::Zeroizing;

use super::route::{Destination, Routes};

/// What resealing needs to know; all of it stays the same during one push.
pub struct Desk<'a> {
    /// Our country, the origin of what is sealed.
    pub origin: CountryCode,
    /// Our ingress keys.
    pub ingress: &'a HpkeKeys,
    /// Where tokens go.
    pub routes: &'a Routes,
    /// The key of an authority that is in force now, if it is known.
    pub key: &'a dyn Fn(Authority) -> Option<PublicKey>,
    /// Today in UTC.
    pub today: Day,
    /// Minutes since 1970.
    pub minute: u32,
}

/// What became of a push: a verdict for each envelope, and a sealed body for each destination.
pub struct Resealed {
    /// In the order of the envelopes.
    pub verdicts: Vec<Verdict>,
    /// Why, for the first [`PROBLEMS`] envelopes that were not accepted.
    pub problems: Vec<Problem>,
    /// One for each destination authority.
    pub batches: Vec<ResealedBatch>,
}

/// Why an envelope was not accepted, in words that say nothing of its report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which envelope, from 0.
    pub index: usize,
    /// Its verdict.
    pub verdict: Verdict,
    /// The field that decided, and what would do.
    pub message: String,
}

/// The reports of one push for one authority, sealed to its key and not yet numbered.
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

/// How many problems are told in words; the verdicts are told for all.
pub const PROBLEMS: usize = 100;

/// Why a push is refused whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Sealed to a key that this gateway does not have.
    #[error("ingress key {0} is not in use here; ask for the current ingress keys and seal the push anew")]
    UnknownIngressKey(KeyId),
    /// The seal does not open.
    #[error(
        "the push does not open: its headers, its id or its reports were altered, or another authority sealed it"
    )]
    DoesNotOpen(SealError),
    /// What is sealed is not one report for each header.
    #[error("the sealed reports do not match the headers: {reason}")]
    Mismatch {
        /// Which way.
        reason: Malformed,
    },
    /// A destination's key cannot be sealed to.
    #[error("the batch for {0} cannot be sealed")]
    Unsealable(Authority),
}

/// Opens, checks and seals a push.
pub fn reseal(push: &Push, pusher: Authority, desk: &Desk<'_>) -> Result<Resealed, Refused> {
    let key = desk.ingress.find(push.key).ok_or(Refused::UnknownIngressKey(push.key))?;
    let opened = key.open_push(push, pusher).map_err(Refused::DoesNotOpen)?;
    let mut sorting = Sorting::new(desk, pusher, push.envelopes());
    let mut reports = Reports::of_push(&opened);
    for (index, header) in push.headers().enumerate() {
        let report = reports.next().unwrap_or(Err(Malformed::Truncated { what: "push body", missing: 1 }));
        let report = report.map_err(|reason| Refused::Mismatch { reason })?;
        sorting.add(index, header, report)?;
    }
    if reports.next().is_some() {
        return Err(Refused::Mismatch { reason: Malformed::Trailing { what: "push body", extra: 1 } });
    }
    sorting.seal()
}

/// The reports of one push on their way into batches. Borrows the opened body.
struct Sorting<'a> {
    desk: &'a Desk<'a>,
    pusher: Authority,
    /// By the octets of a readable header: most reports of a push share one with others.
    ways: HashMap<&'a [u8], Way>,
    seen: HashSet<&'a [u8], RandomState>,
    verdicts: Vec<Verdict>,
    problems: Vec<Problem>,
    batches: Vec<Open<'a>>,
}

/// A header, and where it leads.
#[derive(Clone, Copy)]
struct Way {
    header: EnvelopeHeader,
    destination: Result<Destination, Verdict>,
    /// Its place among the open batches, once a report goes there.
    batch: Option<usize>,
}

/// A batch that is not sealed yet.
struct Open<'a> {
    destination: Destination,
    key: PublicKey,
    reports: Vec<&'a [u8]>,
}

impl<'a> Sorting<'a> {
    fn new(desk: &'a Desk<'a>, pusher: Authority, envelopes: usize) -> Self {
        // Keyed anew for each push, so nobody can choose reports that meet in one place of the table.
        let seen = HashSet::with_capacity_and_hasher(envelopes, RandomState::default());
        let (verdicts, ways) = (Vec::with_capacity(envelopes), HashMap::new());
        Self { desk, pusher, ways, seen, verdicts, problems: Vec::new(), batches: Vec::new() }
    }

    fn add(&mut self, index: usize, header: &'a [u8], report: &'a [u8]) -> Result<(), Refused> {
        let verdict = match self.check(header, report)? {
            Ok(()) => Verdict::Accepted,
            Err(rejected) => {
                if self.problems.len() < PROBLEMS {
                    self.problems.push(Problem { index, verdict: rejected.0, message: rejected.1 });
                }
                rejected.0
            }
        };
        self.verdicts.push(verdict);
        Ok(())
    }

    /// The outer error refuses the push, the inner one the envelope.
    fn check(&mut self, header: &'a [u8], octets: &'a [u8]) -> Result<Result<(), Rejected>, Refused> {
        let way = match self.way(header) {
            Ok(way) => way,
            Err(malformed) => return Ok(Err(Rejected::malformed(&malformed))),
        };
        let report = match Report::decode(octets) {
            Ok(report) => report,
            Err(malformed) => return Ok(Err(Rejected::sealed(&malformed))),
        };
        if report.header() != way.header {
            let reason = "a report's own header differs from the readable one; they must be the same";
            return Err(Refused::Mismatch { reason: Malformed::Field { field: "header", reason } });
        }
        Ok(self.place(header, way, &report, octets))
    }

    fn way(&mut self, octets: &'a [u8]) -> Result<Way, Malformed> {
        if let Some(way) = self.ways.get(octets) {
            return Ok(*way);
        }
        let header = EnvelopeHeader::parse(octets)?;
        let destination = self.desk.routes.destination(&header, self.pusher);
        let way = Way { header, destination, batch: None };
        self.ways.insert(octets, way);
        Ok(way)
    }

    fn place(
        &mut self,
        header: &'a [u8],
        way: Way,
        report: &Report<'_>,
        octets: &'a [u8],
    ) -> Result<(), Rejected> {
        let destination = way.destination.map_err(|verdict| Rejected::route(verdict, &way.header))?;
        report.check_age(self.desk.today).map_err(Rejected::age)?;
        check_encrypted_section(report, &way.header, destination)?;
        if !self.seen.insert(octets) {
            return Err(Rejected(Verdict::Duplicate, "the same report stands earlier in this push".into()));
        }
        let batch = match way.batch {
            Some(batch) => batch,
            None => {
                let batch = self.batch(destination)?;
                self.ways.insert(header, Way { batch: Some(batch), ..way });
                batch
            }
        };
        self.batches[batch].reports.push(octets);
        Ok(())
    }

    /// The place of the open batch for a destination; a new one if there is none yet.
    fn batch(&mut self, destination: Destination) -> Result<usize, Rejected> {
        if let Some(batch) = self.batches.iter().position(|open| open.destination == destination) {
            return Ok(batch);
        }
        let authority = destination.authority;
        let key = (self.desk.key)(authority).ok_or_else(|| {
            Rejected(
                Verdict::NoKeyYet,
                format!("no key of {authority} is in force here yet; push it again later"),
            )
        })?;
        self.batches.push(Open { destination, key, reports: Vec::new() });
        Ok(self.batches.len() - 1)
    }

    fn seal(self) -> Result<Resealed, Refused> {
        let Self { desk, verdicts, problems, mut batches, .. } = self;
        // In the order of the destinations, so that the order of a push shows nowhere.
        batches.sort_unstable_by_key(|open| open.destination);
        let mut shuffler = StdRng::from_os_rng();
        let seal = |mut open: Open<'_>| {
            // The order of a push is the order of an ill person's contacts; it says more than it should.
            open.reports.shuffle(&mut shuffler);
            seal_batch(desk, &open)
        };
        let batches = batches.into_iter().map(seal).collect::<Result<_, _>>()?;
        Ok(Resealed { verdicts, problems, batches })
    }
}

fn seal_batch(desk: &Desk<'_>, open: &Open<'_>) -> Result<ResealedBatch, Refused> {
    let Open { destination: Destination { country, authority }, key, reports } = open;
    let (country, authority) = (*country, *authority);
    let unsealable = || Refused::Unsealable(authority);
    let (origin, id, sealed_at) = (desk.origin, BatchId::random(), desk.minute);
    let header = BatchHeader { origin, destination: authority, key: key.id(), id, sealed_at };
    let len: usize = reports.iter().map(|report| body::framed_len(report.len())).sum();
    // Its full size from the start: a buffer that grows leaves copies of the reports behind.
    let mut text = Zeroizing::new(Vec::with_capacity(body::bucket(len) + seal::overhead()));
    for report in reports {
        body::put_report(&mut text, report).map_err(|_| unsealable())?;
    }
    body::pad(&mut text);
    let enc = seal::seal_batch(key, &header, &mut text).map_err(|_| unsealable())?;
    let sealed = Bytes::from(std::mem::take(&mut *text));
    let sealed_hash = pki::sign::sha256(&sealed);
    Ok(ResealedBatch { header, country, enc: enc.into(), sealed, sealed_hash, reports: reports.len() })
}

// A section encrypted for the issuer's eyes goes to the issuer only, not to a national authority in its place.
fn check_encrypted_section(
    report: &Report<'_>,
    header: &EnvelopeHeader,
    destination: Destination,
) -> Result<(), Rejected> {
    let Report::Contact(contact) = report else { return Ok(()) };
    let recipient =
        if destination.authority == header.authority() { Recipient::Issuer } else { Recipient::Other };
    let leaving = contact.extended.data().leaving(recipient);
    leaving.map(drop).map_err(|malformed| Rejected::sealed(&malformed))
}

/// A verdict on one envelope, and words for it.
struct Rejected(Verdict, String);

impl Rejected {
    /// What the readable header says may be told.
    fn malformed(malformed: &Malformed) -> Self {
        Self(Verdict::Malformed, malformed.to_string())
    }

    /// What a sealed report says may not: the field is named, its value is not.
    fn sealed(malformed: &Malformed) -> Self {
        match malformed {
            Malformed::Forbidden { field } => {
                Self(Verdict::ForbiddenField, format!("{field} may not leave a country; leave it out"))
            }
            other => Self(Verdict::Malformed, format!("report: {} is wrong", other.field())),
        }
    }

    fn route(verdict: Verdict, header: &EnvelopeHeader) -> Self {
        let issuer = header.authority();
        let message = match (verdict, header.looks_byte_swapped()) {
            (Verdict::Unroutable, Some(swapped)) => format!(
                "{issuer} is not in the trust list; the header looks byte-swapped: {swapped} is a country, so write it big endian"
            ),
            (Verdict::Unroutable, None) => {
                format!("{issuer} is not in the trust list, nor its national authority")
            }
            (Verdict::OwnAuthority, _) => format!("{issuer} is answered for by the pushing authority itself"),
            (other, _) => format!("{issuer}: {other}"),
        };
        Self(verdict, message)
    }

    fn age(out: DateOut) -> Self {
        match out {
            DateOut::TooOld => Self(Verdict::TooOld, out.to_string()),
            DateOut::FromTheFuture => Self(Verdict::FromTheFuture, out.to_string()),
        }
    }
}

#[cfg(test)]
#[path = "reseal_tests.rs"]
mod tests;
