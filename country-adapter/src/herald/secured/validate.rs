//! What a transmitter's authority checks before a contact counts (`herald.md` 4.5, phase 3).
//!
//! Pure: the contact's times and the own authority are arguments. Anybody can seal a service token (D11); what
//! passes here was made by a phone for this time. Whether it was counted before, `intake::seen` knows.

use proto::day::Day;
use proto::ids::Authority;
use proto::report::{Contact, Minutes, QuarterHour};

use super::confirmation::Entry;
use super::service::{OpenedServiceToken, ServiceContents};
use super::totp::Step;

/// Seconds by which clocks and rounded times may differ, before and after a contact.
const TOLERANCE: u64 = 30 * 60;

/// Why a contact does not count. Counted at the authority; the phone is told nothing. None says when it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Opened, but under the header of another authority.
    #[error("the token was issued for authority {named}, and this is {own}")]
    OtherAuthority {
        /// Whom the header names.
        named: Authority,
        /// Who checks.
        own: Authority,
    },
    /// Sealed with a key of another day.
    #[error("the service token was sealed with a key that was not valid on its day")]
    KeyOfAnotherDay,
    /// Made by nobody who knows how, or altered before it was sealed.
    #[error("the time code is not that of the phone at that time")]
    WrongTimeCode,
    /// Another contact's token, or replayed.
    #[error("the token was made more than half an hour before or after the contact")]
    OutsideOfContact,
}

/// When a report says that the contact was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContactTime {
    /// The UTC day on which it began.
    pub day: Day,
    /// When on that day; without it, any time of the day.
    pub start: Option<QuarterHour>,
    /// How long it lasted.
    pub duration: Minutes,
}

impl From<&Contact<'_>> for ContactTime {
    fn from(contact: &Contact<'_>) -> Self {
        Self { day: contact.day, start: contact.start, duration: contact.duration }
    }
}

impl ContactTime {
    /// Whether a step begins from half an hour before the contact to half an hour after it.
    fn allows(&self, step: Step) -> bool {
        let day = self.day.unix();
        let (first, last) = match self.start {
            Some(start) => {
                let start = day + u64::from(start.number()) * Step::SECONDS;
                (start, start)
            }
            None => (day, day + Day::SECONDS),
        };
        let end = last + u64::from(self.duration.number()) * 60;
        (first.saturating_sub(TOLERANCE)..=end + TOLERANCE).contains(&step.unix())
    }
}

/// A contact that counts; only [`validate`] makes one.
pub struct ValidContact {
    entry: Entry,
    contents: ServiceContents,
}

impl ValidContact {
    /// What to publish of it, beside its risk.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// What the phone told its authority; wiped with this.
    #[must_use]
    pub fn contents(&self) -> &ServiceContents {
        &self.contents
    }
}

/// Checks an opened service token against the contact that it came with.
pub fn validate(
    opened: OpenedServiceToken,
    contact: ContactTime,
    own: Authority,
) -> Result<ValidContact, Refused> {
    let OpenedServiceToken { header, days, contents, confirmation, receipt } = opened;
    let (named, step) = (header.authority(), contents.step);
    if named != own {
        return Err(Refused::OtherAuthority { named, own });
    }
    if !days.contains(&step.day()) {
        return Err(Refused::KeyOfAnotherDay);
    }
    if !contents.code.fits(&contents.uuid, step) {
        return Err(Refused::WrongTimeCode);
    }
    if !contact.allows(step) {
        return Err(Refused::OutsideOfContact);
    }
    let entry = Entry { confirmation, code: contents.code, receipt, day: contact.day };
    Ok(ValidContact { entry, contents })
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
