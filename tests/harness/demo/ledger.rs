//! What was sent, what must become of it, and what the answers were.

use proto::ids::Authority;
use proto::verdict::Verdict;

use crate::reports::Contact;

/// A report before it is sent: its contact, and what must become of it.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) contact: Contact,
    pub(super) expected: Verdict,
    /// Who must get it, if it is accepted.
    pub(super) to: Option<Authority>,
}

/// A report that was sent, and the answer.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) by: Authority,
    pub(super) plan: Plan,
    /// A verdict's name.
    pub(super) verdict: String,
}

/// Everything that was sent.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    sent: Vec<Sent>,
    /// Texts inside frames that must not leave the sender, and who the sender was.
    canaries: Vec<(Authority, Vec<u8>)>,
}

impl Plan {
    pub(super) fn accepted(contact: Contact, to: Authority) -> Self {
        Self { contact, expected: Verdict::Accepted, to: Some(to) }
    }

    pub(super) fn refused(contact: Contact, expected: Verdict) -> Self {
        Self { contact, expected, to: None }
    }
}

impl Sent {
    pub(super) fn is_accepted(&self) -> bool {
        self.verdict == Verdict::Accepted.name()
    }

    pub(super) fn is_as_expected(&self) -> bool {
        self.verdict == self.plan.expected.name()
    }

    pub(super) fn token(&self) -> &[u8] {
        &self.plan.contact.token
    }
}

impl Ledger {
    pub(super) fn add(&mut self, by: Authority, plan: Plan, verdict: &str) {
        self.sent.push(Sent { by, plan, verdict: verdict.into() });
    }

    pub(super) fn add_canary(&mut self, by: Authority, text: Vec<u8>) {
        self.canaries.push((by, text));
    }

    pub(super) fn sent(&self) -> &[Sent] {
        &self.sent
    }

    pub(super) fn sent_by(&self, authority: Authority) -> impl Iterator<Item = &Sent> {
        self.sent.iter().filter(move |sent| sent.by == authority)
    }

    pub(super) fn canaries(&self) -> &[(Authority, Vec<u8>)] {
        &self.canaries
    }

    pub(super) fn accepted(&self) -> usize {
        self.sent.iter().filter(|sent| sent.is_accepted()).count()
    }
}
