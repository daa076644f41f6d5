//! 3: open a push with our key, check every report, sort them by destination.
//!
//! No I/O. From here to `reseal`, and nowhere else outside of an adapter, a report stands in the clear (invariant 2):
//! its buffers are wiped, and nothing of a report's content goes into a verdict, an error or a log.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use foldhash::quality::RandomState;
use pki::identity::HpkeKeys;
use pki::seal::{PublicKey, SealError};
use proto::body::{self, Reports};
use proto::day::Day;
use proto::extended::Recipient;
use proto::header::EnvelopeHeader;
use proto::ids::{Authority, KeyId};
use proto::malformed::Malformed;
use proto::push::Push;
use proto::report::{DateOut, Report};
use proto::verdict::Verdict;
use proto::wiped::Wiped;

use super::route::{Destination, Routes};

/// What sorting needs to know; all of it stays the same during one push.
pub struct Desk<'a> {
    /// Our ingress keys.
    pub ingress: &'a HpkeKeys,
    /// Where tokens go.
    pub routes: &'a Routes,
    /// The key of an authority that is in force now, if it is known.
    pub key: &'a dyn Fn(Authority) -> Option<PublicKey>,
    /// Today in UTC.
    pub today: Day,
}

/// A push that is opened and checked: a verdict for each envelope, and what was accepted, by destination.
pub struct Sorted {
    /// In the order of the envelopes.
    pub verdicts: Vec<Verdict>,
    /// Why, for the first [`PROBLEMS`] envelopes that were not accepted.
    pub problems: Vec<Problem>,
    /// One for each destination authority.
    pub parcels: Vec<Parcel>,
    text: Wiped,
}

/// The reports of one push for one authority.
pub struct Parcel {
    /// Where they go.
    pub destination: Destination,
    /// The key that was in force when they came.
    pub key: PublicKey,
    /// Where each stands in the text of the push.
    reports: Vec<Range<usize>>,
}

impl Sorted {
    /// The encoded reports of one of its parcels, in the order of the push.
    pub fn reports<'a>(&'a self, parcel: &'a Parcel) -> impl Iterator<Item = &'a [u8]> {
        parcel.reports.iter().map(|range| &self.text[range.clone()])
    }

    /// Octets of all its reports, accepted or not.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.text.len()
    }
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

/// Opens, checks and sorts a push.
pub fn sort(push: &Push, pusher: Authority, desk: &Desk<'_>) -> Result<Sorted, Refused> {
    let key = desk.ingress.find(push.key).ok_or(Refused::UnknownIngressKey(push.key))?;
    let text = key.open_push(push, pusher).map_err(Refused::DoesNotOpen)?;
    let mut sorting = Sorting::new(desk, pusher, push.envelopes());
    let (mut reports, mut end) = (Reports::of_push(&text), 0);
    let short = || Err(Malformed::Truncated { what: "push body", missing: 1 });
    for header in push.headers() {
        let report = reports.next().unwrap_or_else(short);
        let report = report.map_err(|reason| Refused::Mismatch { reason })?;
        end += body::framed_len(report.len());
        sorting.add(header, report, end - report.len()..end)?;
    }
    if reports.next().is_some() {
        return Err(Refused::Mismatch { reason: Malformed::Trailing { what: "push body", extra: 1 } });
    }
    let Sorting { verdicts, problems, parcels, .. } = sorting;
    Ok(Sorted { verdicts, problems, parcels, text })
}

/// The reports of one push on their way into parcels. Borrows the opened body.
struct Sorting<'a> {
    desk: &'a Desk<'a>,
    pusher: Authority,
    /// By the octets of a readable header: most reports of a push share one with others.
    ways: HashMap<&'a [u8], Way, RandomState>,
    seen: HashSet<&'a [u8], RandomState>,
    verdicts: Vec<Verdict>,
    problems: Vec<Problem>,
    parcels: Vec<Parcel>,
}

/// A header, and where it leads.
#[derive(Clone, Copy)]
struct Way {
    header: EnvelopeHeader,
    destination: Result<Destination, Verdict>,
    /// The place of its parcel, once a report goes there.
    parcel: Option<usize>,
}

impl<'a> Sorting<'a> {
    fn new(desk: &'a Desk<'a>, pusher: Authority, envelopes: usize) -> Self {
        // Keyed anew for each push, so nobody can choose reports that meet in one place of the table.
        let seen = HashSet::with_capacity_and_hasher(envelopes, RandomState::default());
        let (verdicts, ways) = (Vec::with_capacity(envelopes), HashMap::default());
        Self { desk, pusher, ways, seen, verdicts, problems: Vec::new(), parcels: Vec::new() }
    }

    fn add(&mut self, header: &'a [u8], report: &'a [u8], at: Range<usize>) -> Result<(), Refused> {
        let index = self.verdicts.len();
        let verdict = match self.check(header, report, at)? {
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
    fn check(
        &mut self,
        header: &'a [u8],
        octets: &'a [u8],
        at: Range<usize>,
    ) -> Result<Result<(), Rejected>, Refused> {
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
        Ok(self
            .admit(way, &report, octets)
            .and_then(|destination| self.place((header, way), destination, at)))
    }

    fn way(&mut self, octets: &'a [u8]) -> Result<Way, Malformed> {
        if let Some(way) = self.ways.get(octets) {
            return Ok(*way);
        }
        let header = EnvelopeHeader::parse(octets)?;
        let destination = self.desk.routes.destination(&header, self.pusher);
        let way = Way { header, destination, parcel: None };
        self.ways.insert(octets, way);
        Ok(way)
    }

    /// Where a report goes, if it may.
    fn admit(&mut self, way: Way, report: &Report<'_>, octets: &'a [u8]) -> Result<Destination, Rejected> {
        let destination = way.destination.map_err(|verdict| Rejected::route(verdict, &way.header))?;
        report.check_age(self.desk.today).map_err(Rejected::age)?;
        check_encrypted_section(report, &way.header, destination)?;
        if !self.seen.insert(octets) {
            return Err(Rejected(Verdict::Duplicate, "the same report stands earlier in this push".into()));
        }
        Ok(destination)
    }

    fn place(
        &mut self,
        (header, way): (&'a [u8], Way),
        destination: Destination,
        at: Range<usize>,
    ) -> Result<(), Rejected> {
        let parcel = match way.parcel {
            Some(parcel) => parcel,
            None => {
                let parcel = self.parcel(destination)?;
                self.ways.insert(header, Way { parcel: Some(parcel), ..way });
                parcel
            }
        };
        self.parcels[parcel].reports.push(at);
        Ok(())
    }

    /// The place of a destination's parcel; a new one if there is none yet.
    fn parcel(&mut self, destination: Destination) -> Result<usize, Rejected> {
        if let Some(parcel) = self.parcels.iter().position(|parcel| parcel.destination == destination) {
            return Ok(parcel);
        }
        let authority = destination.authority;
        let key = (self.desk.key)(authority).ok_or_else(|| {
            Rejected(
                Verdict::NoKeyYet,
                format!("no key of {authority} is in force here yet; push it again later"),
            )
        })?;
        self.parcels.push(Parcel { destination, key, reports: Vec::new() });
        Ok(self.parcels.len() - 1)
    }
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
#[path = "sort_tests.rs"]
mod tests;
