//! What a report means to its issuer. Pure: keys, weights and the own authority are arguments.

use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use pki::seal::PrivateKey;
use pki::sign::sha256;
use proto::day::Day;
use proto::ids::{Authority, CountryCode};
use proto::limits;
use proto::malformed::Malformed;
use proto::registry::Family;
use proto::report::{self, Report, ReportType};
use zeroize::Zeroizing;

use super::piece::Source;
use crate::diagnosis;
use crate::herald::secured::ConfirmationToken;
use crate::herald::secured::report::ReportToken;
use crate::herald::secured::service::{self, DailyKey, NotOpened};
use crate::herald::secured::validate::{self, ContactTime, ValidContact, validate};
use crate::receive;
use crate::risk::{self, Mechanism, Subtotal};

/// The keys that open service tokens now.
pub type KeySource = Arc<dyn Fn() -> Arc<Vec<DailyKey<PrivateKey>>> + Send + Sync>;

/// Fewer tokens than this are opened without a thread.
const WORTH_A_THREAD: usize = 16;

/// Seconds by which the clock of another country may be ahead of ours, as those of phones may be.
const SKEW: u64 = 900;

/// How reports are assessed.
pub struct Rules {
    /// Whose tokens count here.
    pub own: Authority,
    /// The authority's country.
    pub country: CountryCode,
    /// What a contact adds to a risk.
    pub mechanism: Mechanism,
    /// What opens service tokens; without it they are handed over closed.
    pub keys: Option<KeySource>,
}

/// Why a report comes to nothing. The sender is not told: it would learn what is a token and what is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refused {
    /// Sealed to a number of no key, or of one that was destroyed.
    UnknownKey,
    /// For another authority, key or contact, or altered.
    NotOpened,
    /// It opened, and holds something else.
    MalformedToken,
    /// Opened, but under the header of another authority.
    OtherAuthority,
    /// Sealed with a key of another day.
    KeyOfAnotherDay,
    /// The time code is not that of the phone at that time.
    WrongTimeCode,
    /// Made more than half an hour before or after the contact.
    OutsideOfContact,
    /// More minutes by distance than the contact lasted.
    ImpossibleMinutes,
    /// More than 15 days old, or later than tomorrow: what is counted is forgotten behind these days.
    OutOfTime,
    /// An ill person's key whose phone may still advertise what follows from it: it would tell who is ill now.
    KeyInUse,
    /// An ill person's key that another country than the sender's is said to have confirmed.
    OtherIssuer,
    /// It takes back an ill person's key that its country has not sent, or not yet.
    NothingToRevoke,
    /// An ill person's key that its country has taken back before it came.
    TakenBack,
    /// Counted already within 15 days.
    AlreadySeen,
    /// More than one country's reports or tokens of a day.
    OverQuota,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::UnknownKey,
        Self::NotOpened,
        Self::MalformedToken,
        Self::OtherAuthority,
        Self::KeyOfAnotherDay,
        Self::WrongTimeCode,
        Self::OutsideOfContact,
        Self::ImpossibleMinutes,
        Self::OutOfTime,
        Self::KeyInUse,
        Self::OtherIssuer,
        Self::NothingToRevoke,
        Self::TakenBack,
        Self::AlreadySeen,
        Self::OverQuota,
    ];

    /// Its place in [`Refused::ALL`].
    #[must_use]
    pub fn place(self) -> usize {
        self as usize
    }

    /// Its stable name, for metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownKey => "unknown_key",
            Self::NotOpened => "not_opened",
            Self::MalformedToken => "malformed_token",
            Self::OtherAuthority => "other_authority",
            Self::KeyOfAnotherDay => "key_of_another_day",
            Self::WrongTimeCode => "wrong_time_code",
            Self::OutsideOfContact => "outside_of_contact",
            Self::ImpossibleMinutes => "impossible_minutes",
            Self::OutOfTime => "out_of_time",
            Self::KeyInUse => "key_in_use",
            Self::OtherIssuer => "other_issuer",
            Self::NothingToRevoke => "nothing_to_revoke",
            Self::TakenBack => "taken_back",
            Self::AlreadySeen => "already_seen",
            Self::OverQuota => "over_quota",
        }
    }
}

impl From<NotOpened> for Refused {
    fn from(cause: NotOpened) -> Self {
        match cause {
            NotOpened::UnknownKey { .. } => Self::UnknownKey,
            NotOpened::Seal(_) => Self::NotOpened,
            NotOpened::Malformed(_) => Self::MalformedToken,
        }
    }
}

impl From<Malformed> for Refused {
    fn from(_: Malformed) -> Self {
        Self::MalformedToken
    }
}

impl From<validate::Refused> for Refused {
    fn from(cause: validate::Refused) -> Self {
        match cause {
            validate::Refused::OtherAuthority { .. } => Self::OtherAuthority,
            validate::Refused::KeyOfAnotherDay => Self::KeyOfAnotherDay,
            validate::Refused::WrongTimeCode => Self::WrongTimeCode,
            validate::Refused::OutsideOfContact => Self::OutsideOfContact,
        }
    }
}

/// What opening a report's token gave; nothing if there is none to open.
pub type Unopened = Option<Result<ValidContact, Refused>>;

/// A report that passed.
pub enum Event<'a> {
    /// Somebody ill met a phone of this authority.
    Contact(Box<Contact<'a>>),
    /// Somebody ill was at a place of this authority.
    Visit(report::Contact<'a>),
    /// An ill person's own key.
    Key(report::DiagnosisKey),
    /// Only the backend understands it.
    Closed(report::Contact<'a>),
}

/// A contact with what it adds to the phone owner's risk.
pub struct Contact<'a> {
    /// As it was reported.
    pub report: report::Contact<'a>,
    /// What it adds.
    pub subtotal: Subtotal,
    /// The number of the weights that it was computed with.
    pub mechanism: u16,
    /// What was in the service token; nothing for Herald Simple, whose phones know their identifiers.
    pub opened: Option<ValidContact>,
}

impl Event<'_> {
    /// The report that it came from.
    #[must_use]
    pub fn report(&self) -> Report<'_> {
        match self {
            Self::Contact(contact) => Report::Contact(contact.report),
            Self::Visit(report) | Self::Closed(report) => Report::Contact(*report),
            Self::Key(key) => Report::DiagnosisKey(*key),
        }
    }

    /// By what this may count only once, of whichever source it is, and the day on which it was made.
    ///
    /// An identifier of Simple counts once on phones too, whoever reports it. A key that comes again with another report
    /// type says something new. Two ill persons at the same place look alike, and both were there: a visit counts once
    /// of each batch or case, and so does what only the backend understands.
    pub(super) fn counts_once(&self, source: Source) -> (ConfirmationToken, Day) {
        let report = self.report();
        let encoded = |before: &[u8]| {
            let mut octets = Zeroizing::new(Vec::with_capacity(limits::REPORT_LEN + before.len()));
            octets.extend_from_slice(before);
            report.encode(&mut octets);
            (name(&octets), report.day())
        };
        match self {
            Self::Contact(contact) => match &contact.opened {
                Some(opened) => (opened.entry().confirmation, opened.contents().step().day()),
                None => (name(contact.report.token.octets()), report.day()),
            },
            Self::Key(_) => encoded(&[]),
            Self::Visit(_) | Self::Closed(_) => encoded(&source.counted_of()),
        }
    }
}

/// What is remembered of a key, under names that say who sent it: nobody takes back another's, so that phones would no
/// longer be warned by it. A revocation may come before its key, since reports go out shuffled.
pub(super) struct OfKey {
    /// That it was sent.
    pub(super) sent: ConfirmationToken,
    /// That it was taken back before.
    pub(super) taken_back: ConfirmationToken,
    /// Whether this takes it back.
    pub(super) is_revocation: bool,
}

impl Event<'_> {
    /// For a key: what is remembered of it.
    pub(super) fn of_key(&self, source: Source) -> Option<OfKey> {
        let Self::Key(key) = self else { return None };
        let origin = source.origin().number().to_be_bytes();
        let named = |what: &[u8]| name(&[what, &origin, &[key.key.code()], key.key.octets()].concat());
        let is_revocation = key.report_type == ReportType::Revoked;
        Some(OfKey { sent: named(b"sent"), taken_back: named(b"taken back"), is_revocation })
    }
}

/// Whether a key's issuer may be of a country. The name of an opaque authority says no country.
fn is_confirmed_in(key: &report::DiagnosisKey, origin: CountryCode) -> bool {
    match key.issuer {
        Authority::State(country, _) => country == origin,
        Authority::Opaque(_) => true,
    }
}

/// What has no confirmation token is named by a hash, so that nobody can choose another's name.
fn name(octets: &[u8]) -> ConfirmationToken {
    let hash = sha256(&[b"exchange/v1 counts once", octets].concat());
    ConfirmationToken::new(*hash.first_chunk().expect("a hash has more than 16 octets"))
}

/// When something arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// What the clock shows, Unix seconds.
    pub(super) now: u64,
    /// The day by which what was counted is forgotten: that of a clock which does not leap.
    pub(super) forgotten_by: Day,
}

impl Moment {
    /// Whether reports of a day are taken: none that was forgotten and could be counted again, and none of a day that
    /// has not come.
    ///
    /// A clock that leapt may be right: what is of its days is no report from the future.
    fn takes(self, day: Day) -> bool {
        let latest = self.forgotten_by.max(Day::of_unix(self.now)).plus(1);
        (self.forgotten_by.minus(Report::MAX_AGE)..=latest).contains(&day)
    }

    /// Whether a key came before it may be used, although its country's clock was right.
    fn is_in_use(self, key: &report::DiagnosisKey) -> bool {
        diagnosis::over(&key.key) > self.now + SKEW
    }
}

/// What there is to do with a report before it is assessed.
enum Task<'a> {
    Nothing,
    OverQuota,
    Open(report::Contact<'a>),
}

impl Rules {
    /// What a report means at a moment, once its token was opened.
    pub(super) fn assess<'a>(
        &self,
        report: Report<'a>,
        opened: Unopened,
        (source, moment): (Source, Moment),
    ) -> Result<Event<'a>, Refused> {
        // What an own case brought was looked at when it came, and may have waited for its time since.
        let is_looked_at = matches!(source, Source::Upload { .. });
        if !is_looked_at && !moment.takes(report.day()) {
            return Err(Refused::OutOfTime);
        }
        let origin = source.origin();
        let report = match report {
            Report::DiagnosisKey(key) if !is_confirmed_in(&key, origin) => return Err(Refused::OtherIssuer),
            Report::DiagnosisKey(key) if !is_looked_at && moment.is_in_use(&key) => {
                return Err(Refused::KeyInUse);
            }
            Report::DiagnosisKey(key) => return Ok(Event::Key(key)),
            Report::Contact(contact) => contact,
        };
        let subtotal = self.mechanism.subtotal(&report.proximity);
        let opened = opened.transpose()?;
        Ok(match report.token.header().assignment().family {
            Family::Secured if opened.is_none() => Event::Closed(report),
            Family::Secured | Family::Simple | Family::Venue
                if !risk::is_possible(report.duration, &report.proximity) =>
            {
                return Err(Refused::ImpossibleMinutes);
            }
            Family::Secured | Family::Simple => Event::Contact(Box::new(Contact {
                report,
                subtotal,
                mechanism: self.mechanism.number,
                opened,
            })),
            Family::Venue => Event::Visit(self.bounded(report)),
            Family::CustomOpaque
            | Family::Custom
            | Family::Gaen
            | Family::Robert
            | Family::BlueTraceText
            | Family::BlueTraceBinary
            | Family::Dp3t
            | Family::Pact => Event::Closed(report),
        })
    }

    /// A visit whose score is no more than any visit of its length adds: who reports it computes it, and may be anybody.
    fn bounded<'a>(&self, mut visit: report::Contact<'a>) -> report::Contact<'a> {
        let most = report::Score::new(self.mechanism.most_of(visit.duration).number()).ok();
        visit.risk.score = visit.risk.score.map(|score| most.map_or(score, |most| score.min(most)));
        visit
    }

    /// Whether a report has a service token that is opened here.
    #[must_use]
    pub fn opens(&self, report: &Report<'_>) -> bool {
        let Report::Contact(contact) = report else { return false };
        self.keys.is_some() && contact.token.header().assignment().family == Family::Secured
    }

    /// Opens and validates the service tokens among some reports, on all cores: the first so many, and no more.
    #[must_use]
    pub fn open_all(&self, reports: &[Report<'_>], allowed: usize) -> Vec<Unopened> {
        let mut used = 0;
        let tasks: Vec<_> = reports.iter().map(|report| self.task(report, allowed, &mut used)).collect();
        let Some(keys) = &self.keys else { return tasks.iter().map(|_| None).collect() };
        let keys = keys();
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let each = tasks.len().div_ceil(threads).max(WORTH_A_THREAD);
        let open = |part: &[Task<'_>]| part.iter().map(|task| self.open(task, &keys)).collect::<Vec<_>>();
        if tasks.len() <= each {
            return open(&tasks);
        }
        thread::scope(|scope| {
            let open = &open;
            let parts: Vec<_> = tasks.chunks(each).map(|part| scope.spawn(move || open(part))).collect();
            let opened = parts.into_iter().map(|part| part.join().expect("opening a token does not panic"));
            opened.flatten().collect()
        })
    }

    fn task<'a>(&self, report: &Report<'a>, allowed: usize, used: &mut usize) -> Task<'a> {
        let Report::Contact(contact) = report else { return Task::Nothing };
        if !self.opens(report) {
            return Task::Nothing;
        }
        *used += 1;
        if *used > allowed { Task::OverQuota } else { Task::Open(*contact) }
    }

    fn open(&self, task: &Task<'_>, keys: &[DailyKey<PrivateKey>]) -> Unopened {
        match task {
            Task::Nothing => None,
            Task::OverQuota => Some(Err(Refused::OverQuota)),
            Task::Open(contact) => Some(self.check(contact, keys)),
        }
    }

    fn check(
        &self,
        contact: &report::Contact<'_>,
        keys: &[DailyKey<PrivateKey>],
    ) -> Result<ValidContact, Refused> {
        let header = contact.token.header();
        let opened = service::open(&ReportToken::parse(contact.token.octets())?, header, keys)?;
        // A national authority answers for the states that have none of their own.
        let issuer = header.authority();
        let own = if receive::is_for(issuer, self.own) { issuer } else { self.own };
        Ok(validate(opened, ContactTime::from(contact), own)?)
    }
}
