//! Reports become sealed pushes: checked, gathered until a push is full, sealed to the gateway's ingress key.
//!
//! Plaintext stands in one wiped buffer at a time.

use std::collections::HashSet;

use pki::seal::{self, PublicKey};
use pki::sign::sha256;
use proto::day::Day;
use proto::ids::Authority;
use proto::push::Draft;
use proto::verdict::Verdict;

use super::pending::PendingPush;
use crate::backend::BackendError;
use crate::work::{EncodedReport, Rejected};

/// Where sealed pushes go.
pub type Sink<'a> = dyn FnMut(PendingPush) -> Result<(), BackendError> + 'a;

/// Gathers reports for the push that is being filled.
pub struct Sealer<'a> {
    key: &'a PublicKey,
    authority: Authority,
    draft: Draft,
    lines: Vec<u32>,
    sink: &'a mut Sink<'a>,
}

impl<'a> Sealer<'a> {
    /// Seals pushes of an authority to a key and hands them to a sink.
    #[must_use]
    pub fn new(key: &'a PublicKey, authority: Authority, sink: &'a mut Sink<'a>) -> Self {
        Self { key, authority, draft: Draft::default(), lines: Vec::new(), sink }
    }

    /// Adds a report; seals the push before it if that is full.
    pub fn add(&mut self, line: u32, report: &EncodedReport) -> Result<(), BackendError> {
        if !self.draft.has_room(report.octets().len()) {
            self.seal()?;
        }
        self.draft
            .add(report.header(), report.octets())
            .expect("an encoded report keeps to the bounds that a push sets");
        self.lines.push(line);
        Ok(())
    }

    /// Seals what is left.
    pub fn finish(mut self) -> Result<(), BackendError> {
        self.seal()
    }

    fn seal(&mut self) -> Result<(), BackendError> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let (headers, body) = std::mem::take(&mut self.draft).into_parts();
        let sealed = seal::seal_push(self.key, self.authority, headers, body);
        let request = sealed.expect("a push of 4 MiB is far below what AES-GCM can seal");
        (self.sink)(PendingPush { lines: std::mem::take(&mut self.lines), request })
    }
}

/// The rules on reports, applied before anything is sent: dates, no key that is in use, and no report twice in a piece
/// of work.
pub(super) struct Gate {
    now: u64,
    seen: HashSet<[u8; 32]>,
}

impl Gate {
    /// For one piece of work at a Unix time.
    #[must_use]
    pub(super) fn new(now: u64) -> Self {
        Self { now, seen: HashSet::new() }
    }

    /// Lets a report pass or says why not.
    pub(super) fn check(&mut self, report: &EncodedReport) -> Result<(), Rejected> {
        report.check_age(Day::of_unix(self.now))?;
        report.check_use(self.now)?;
        if !self.seen.insert(sha256(report.octets())) {
            let message = "the same report stands on an earlier line; leave one out".into();
            return Err(Rejected { verdict: Verdict::Duplicate, message });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proto::report::{DiagnosisKey, IllKey, Report, ReportType, SimpleKey, TransmissionRisk};

    use super::*;

    #[test]
    fn a_key_of_the_backend_leaves_two_hours_after_its_day_and_not_before() {
        let day = Day::new(20_000);
        let key = DiagnosisKey {
            destination: ("250".parse().unwrap(), proto::ids::StateCode::NATIONAL),
            issuer: "826/1".parse().unwrap(),
            key: IllKey::Simple(SimpleKey::new([5; 32]).unwrap(), day),
            report_type: ReportType::ConfirmedTest,
            onset: None,
            transmission_risk: TransmissionRisk::default(),
        };
        let report = EncodedReport::new(&Report::DiagnosisKey(key));
        let over = day.plus(1).unix() + 7_200;
        for early in [day.unix(), over - 1] {
            let rejected = Gate::new(early).check(&report).unwrap_err();
            assert_eq!(rejected.verdict, Verdict::FromTheFuture);
            assert!(rejected.message.contains("hand it over again"), "{rejected:?}");
        }
        assert_eq!(Gate::new(over).check(&report), Ok(()));
    }
}
