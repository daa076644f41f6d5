//! What has happened, as far as it can be seen from outside of the gateways: what was pushed and answered, what lies
//! in which stream since when, what was taken, acknowledged and purged. Says what each of them must then be.

use std::collections::{BTreeMap, BTreeSet};

use proto::day::Day;
use proto::ids::{Authority, KeyId};
use proto::report::Report;
use proto::verdict::Verdict;
use proto::wire;

use super::failure::{Failure, Kind, Told};
use super::letters::{Letter, Token, Tokens};

const HOUR: u64 = 3_600;
/// What nobody acknowledges is kept for so long, seconds: 14 days.
pub(super) const UNACKNOWLEDGED: u64 = 14 * 24 * HOUR;
/// A push is known for so long, seconds: 17 days. When it is sent again later, its reports are too old.
const PUSH_IDS: u64 = 17 * 24 * HOUR;
/// What was acknowledged is kept for so long, seconds: 24 hours.
const ACKNOWLEDGED: u64 = 24 * HOUR;

/// All of it.
pub(super) struct Ledger {
    /// Where tokens come from.
    pub(super) tokens: Tokens,
    /// In their order.
    pub(super) pushes: Vec<Pushed>,
    /// The reports that were sealed, by their tokens, and the first push of each.
    pub(super) letters: BTreeMap<Token, (usize, Vec<u8>)>,
    /// By origin and destination country.
    pub(super) outboxes: BTreeMap<(u16, u16), Stream<Sent>>,
    /// By authority.
    pub(super) inboxes: BTreeMap<Authority, Stream<Received>>,
}

/// A push.
pub(super) struct Pushed {
    /// Who pushed.
    pub(super) pusher: Authority,
    /// As it went, each time.
    pub(super) request: wire::PushRequest,
    /// What is in it.
    pub(super) letters: Vec<Letter>,
    /// What was to be answered, each time that nobody said no.
    pub(super) expected: Vec<Vec<(Verdict, Option<Authority>)>>,
    /// The answer.
    pub(super) reply: Option<wire::PushReply>,
    /// When it came, by the clock of the gateway.
    answered: u64,
    /// The accepted tokens, and where they go.
    pub(super) accepted: Vec<(Token, Authority)>,
}

/// Numbered entries from 1 on, and what became of them.
#[derive(Debug)]
pub(super) struct Stream<T> {
    /// All that were ever there.
    pub(super) entries: Vec<Entry<T>>,
    /// Up to this one they are purged.
    pub(super) purged: u64,
    /// Up to which number the reader had acknowledged, since when.
    acknowledged: Vec<(u64, u64)>,
    /// Those that were purged before anybody acknowledged them. Nobody can tell any more whose they were.
    given_up: BTreeSet<u64>,
}

/// One entry.
#[derive(Debug)]
pub(super) struct Entry<T> {
    /// When it was kept, by the clock of the gateway.
    pub(super) at: u64,
    /// What it is.
    pub(super) what: T,
}

/// A batch in an outbox.
#[derive(Debug)]
pub(super) struct Sent {
    /// SHA-256 of its manifest.
    pub(super) hash: [u8; 32],
    /// For whom.
    pub(super) to: Authority,
    /// What it is sealed to.
    pub(super) key: KeyId,
    /// What it holds.
    pub(super) tokens: Vec<Token>,
    /// Where it was kept, if it was received.
    pub(super) position: Option<u64>,
}

/// A batch in an inbox.
#[derive(Debug)]
pub(super) struct Received {
    /// Whose.
    pub(super) origin: u16,
    /// Its number there.
    pub(super) sequence: u64,
    /// What became of it at the adapter, if it got there.
    pub(super) taken: Option<Taken>,
}

/// What an adapter did with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It opened on a day, and its reports were handed over if they were not too old by then.
    Opened(Day),
    /// Its key was destroyed in time, so it was set aside.
    Closed,
}

impl Ledger {
    /// Nothing has happened yet.
    #[must_use]
    pub(super) fn new(tokens: Tokens) -> Self {
        Self {
            tokens,
            pushes: Vec::new(),
            letters: BTreeMap::new(),
            outboxes: BTreeMap::new(),
            inboxes: BTreeMap::new(),
        }
    }

    /// Notes a push that is about to go, and gives its number.
    pub(super) fn note(
        &mut self,
        pusher: Authority,
        request: wire::PushRequest,
        letters: Vec<Letter>,
    ) -> usize {
        let push = self.pushes.len();
        self.letters.extend(letters.iter().map(|letter| (letter.token, (push, letter.octets.clone()))));
        let (expected, accepted) = (Vec::new(), Vec::new());
        self.pushes.push(Pushed { pusher, request, letters, expected, reply: None, answered: 0, accepted });
        push
    }

    /// Takes the answer to a push in, if it is one that could be given.
    pub(super) fn answered(&mut self, push: usize, reply: wire::PushReply, now: u64) -> Told<()> {
        let pushed = &mut self.pushes[push];
        if let Some(before) = &pushed.reply {
            // When its id is forgotten, its reports are too old to be taken again.
            let is_news = reply.verdicts.iter().any(|verdict| *verdict == Verdict::Accepted.number());
            if *before == reply || !is_news {
                return Ok(());
            }
            return Err(Failure::new(Kind::Verdict, format!("push {push} was answered in two ways")));
        }
        let found: Vec<_> = reply.verdicts.iter().map(|number| Verdict::from_number(*number)).collect();
        let fits = |expected: &&Vec<(Verdict, Option<Authority>)>| {
            expected.len() == found.len()
                && expected.iter().zip(&found).all(|((verdict, _), found)| Some(*verdict) == *found)
        };
        let Some(expected) = pushed.expected.iter().find(fits) else {
            let detail = format!("push {push}: {found:?}, expected one of {:?}", pushed.expected);
            return Err(Failure::new(Kind::Verdict, detail));
        };
        let tokens = pushed.letters.iter().map(|letter| letter.token);
        pushed.accepted = tokens.zip(expected).filter_map(|(token, (_, to))| Some((token, (*to)?))).collect();
        (pushed.reply, pushed.answered) = (Some(reply), now);
        Ok(())
    }

    /// Whether a push was forgotten when it was answered: what was kept of it at this time, and not answered then, is
    /// answered as if it came for the first time.
    pub(super) fn was_forgotten(&self, token: &Token, at: u64) -> bool {
        let push = self.letters.get(token).and_then(|(push, _)| self.pushes.get(*push));
        push.is_some_and(|push| at + PUSH_IDS < push.answered)
    }

    /// Whether an adapter takes a report's day no more, or not yet, on its own day.
    pub(super) fn is_out_of_time(&self, token: &Token, today: Day) -> bool {
        let report = self.letters.get(token).and_then(|(_, octets)| Report::decode(octets).ok());
        report.is_some_and(|report| report.check_age(today).is_err())
    }

    /// All accepted tokens, and where they go.
    pub(super) fn accepted(&self) -> impl Iterator<Item = (Token, Authority)> {
        self.pushes.iter().flat_map(|pushed| pushed.accepted.iter().copied())
    }
}

impl<T> Default for Stream<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), purged: 0, acknowledged: Vec::new(), given_up: BTreeSet::new() }
    }
}

impl<T> Stream<T> {
    /// The number of the last entry.
    pub(super) fn last(&self) -> u64 {
        u64::try_from(self.entries.len()).unwrap_or(u64::MAX)
    }

    /// The entry of this number.
    pub(super) fn entry(&self, number: u64) -> Option<&Entry<T>> {
        self.entries.get(usize::try_from(number.checked_sub(1)?).ok()?)
    }

    /// The same, to note what became of it.
    pub(super) fn entry_mut(&mut self, number: u64) -> Option<&mut Entry<T>> {
        self.entries.get_mut(usize::try_from(number.checked_sub(1)?).ok()?)
    }

    /// How far its reader has acknowledged it.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.last().map_or(0, |(through, _)| *through)
    }

    /// Notes how far that is now.
    pub(super) fn note_acknowledged(&mut self, through: u64, now: u64) {
        if through > self.acknowledged() {
            self.acknowledged.push((through, now));
        }
    }

    /// Notes which entry is the first that is still kept, and checks that those before it could go by `latest`.
    pub(super) fn note_purged(&mut self, first: u64, latest: u64) -> Result<(), String> {
        for number in self.purged + 1..first {
            let at = self.entry(number).map_or(0, |entry| entry.at);
            let known = self.acknowledged.iter().find(|(through, _)| *through >= number);
            let is_done = known.is_some_and(|(_, since)| since + ACKNOWLEDGED <= latest);
            let is_over = at + UNACKNOWLEDGED < latest;
            if !is_done && !is_over {
                let days = latest.saturating_sub(at) / (24 * HOUR);
                return Err(format!("entry {number} was purged after {days} days, acknowledged {known:?}"));
            }
            if known.is_none() {
                self.given_up.insert(number);
            }
        }
        self.purged = self.purged.max(first.saturating_sub(1));
        Ok(())
    }

    /// Whether an entry went before it was acknowledged.
    pub(super) fn was_given_up(&self, number: u64) -> bool {
        self.given_up.contains(&number)
    }

    /// The first entry that should be gone by now and is not.
    pub(super) fn overdue(&self, now: u64) -> Option<u64> {
        let next = self.entry(self.purged + 1)?;
        (next.at + UNACKNOWLEDGED < now).then_some(self.purged + 1)
    }
}
