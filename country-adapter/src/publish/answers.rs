//! Verdicts come together: of each line the last one counts, and words go with it.

use std::collections::{BTreeMap, BTreeSet};

use proto::header::EnvelopeHeader;
use proto::verdict::Verdict;

use super::pending::{Pending, PendingPush, Reply};
use crate::backend::BackendError;
use crate::work::{Answer, Outcome, WorkName};

/// What is known of a piece of work, line by line.
#[derive(Debug)]
pub(super) struct Answers {
    lines: BTreeMap<u32, Answer>,
    outcome: Outcome,
    /// The number of the push in which each line was answered last.
    last: BTreeMap<u32, u32>,
    answered: BTreeSet<u32>,
}

impl Answers {
    /// Reads all replies in the order in which their pushes were made.
    pub(super) fn read(pending: &Pending, work: &WorkName) -> Result<Self, BackendError> {
        let lines = pending.local(work)?.into_iter().map(|answer| (answer.line, answer)).collect();
        let mut answers =
            Self { lines, outcome: Outcome::Answered, last: BTreeMap::new(), answered: BTreeSet::new() };
        for number in pending.pushes(work)? {
            if let Some(reply) = pending.reply(work, number)? {
                answers.add(number, &pending.push(work, number)?, &reply);
            }
        }
        Ok(answers)
    }

    fn add(&mut self, number: u32, push: &PendingPush, reply: &Reply) {
        self.answered.insert(number);
        self.last.extend(push.lines.iter().map(|line| (*line, number)));
        let id = hex::encode(&push.request.push_id);
        let headers = push.request.headers.chunks(EnvelopeHeader::LEN);
        for (index, (line, header)) in (0_u32..).zip(push.lines.iter().zip(headers)) {
            let (verdict, message) = match reply {
                Reply::Answered { verdicts, problems } => {
                    let number = usize::try_from(index).ok().and_then(|index| verdicts.get(index).copied());
                    let Some(verdict) = number.and_then(Verdict::from_number) else { continue };
                    (verdict.name(), message(verdict, problems.get(&index), header))
                }
                Reply::Refused { message } => {
                    self.outcome = Outcome::SetAside;
                    (Answer::REFUSED, Some(message.clone()))
                }
            };
            let answer = Answer { line: *line, verdict: verdict.into(), push: Some(id.clone()), message };
            self.lines.insert(*line, answer);
        }
    }

    /// Lines that must be pushed again, once their destination's key has arrived.
    #[must_use]
    pub(super) fn without_key(&self) -> BTreeSet<u32> {
        let waits = |answer: &&Answer| answer.verdict == Verdict::NoKeyYet.name();
        self.lines.values().filter(waits).map(|answer| answer.line).collect()
    }

    /// Pushes of which every line was answered again in a later one: nothing more is to be had of them.
    pub(super) fn superseded(&self) -> impl Iterator<Item = u32> {
        let needed: BTreeSet<u32> = self.last.values().copied().collect();
        self.answered.iter().copied().filter(move |number| !needed.contains(number))
    }

    /// All answers, by line.
    pub(super) fn all(&self) -> impl Iterator<Item = &Answer> {
        self.lines.values()
    }

    /// What becomes of the piece.
    #[must_use]
    pub(super) fn outcome(&self) -> Outcome {
        self.outcome
    }
}

/// The gateway tells the first problems in words; the rest is told here.
fn message(verdict: Verdict, told: Option<&String>, header: &[u8]) -> Option<String> {
    let words = told.cloned().or_else(|| general(verdict).map(Into::into))?;
    let swapped = EnvelopeHeader::parse(header).ok().and_then(|header| header.looks_byte_swapped());
    match swapped {
        Some(country) if verdict == Verdict::Unroutable && !words.contains("swapped") => Some(format!(
            "{words}; the header looks byte-swapped: {country} is a country, so write it big endian"
        )),
        _ => Some(words),
    }
}

fn general(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Accepted => None,
        Verdict::OwnAuthority => Some("this authority issued the token itself; handle it in the own backend"),
        Verdict::Unroutable => Some("nobody in the trust list answers for the header's country and state"),
        Verdict::Suspended => {
            Some("the destination is suspended in the trust list; hand it over again later")
        }
        Verdict::Malformed => Some("the gateway cannot read the report"),
        Verdict::ForbiddenField => {
            Some("the report carries something that may not leave a country; leave it out")
        }
        Verdict::TooOld => Some("the date is more than 15 days ago; leave the report out"),
        Verdict::FromTheFuture => Some("the date is later than tomorrow; check the clock"),
        Verdict::Duplicate => Some("the same report stands earlier in its push; leave one out"),
        Verdict::NoKeyYet => Some("the destination's key has not arrived yet; it is pushed again by itself"),
    }
}

#[cfg(test)]
mod tests {
    use proto::wire;

    use super::*;
    use crate::durable::Disk;

    fn push(id: u8, lines: &[u32], header: [u8; 5]) -> PendingPush {
        let headers = header.repeat(lines.len());
        let request =
            wire::PushRequest { push_id: vec![id; 16].into(), headers: headers.into(), ..Default::default() };
        PendingPush { lines: lines.into(), request }
    }

    fn answered(verdicts: &[Verdict]) -> Reply {
        let verdicts = verdicts.iter().map(|verdict| verdict.number()).collect();
        Reply::Answered { verdicts, problems: BTreeMap::new() }
    }

    const UK: [u8; 5] = [0x10, 0x03, 0x3a, 0, 1];
    const SWAPPED: [u8; 5] = [0x10, 0x3a, 0x03, 1, 0];

    fn read(pushes: &[(PendingPush, Reply)]) -> Answers {
        let dir = tempfile::tempdir().unwrap();
        let pending = Pending::open(dir.path(), Disk::default()).unwrap();
        let work = WorkName::new("a").unwrap();
        let mut draft = pending.begin(&work).unwrap();
        pushes.iter().for_each(|(push, _)| draft.push(push).unwrap());
        draft.commit().unwrap();
        for (number, (_, reply)) in (0..).zip(pushes) {
            pending.put_reply(&work, number, reply).unwrap();
        }
        Answers::read(&pending, &work).unwrap()
    }

    #[test]
    fn the_last_verdict_of_a_line_counts() {
        let first =
            (push(1, &[1, 2, 3], UK), answered(&[Verdict::Accepted, Verdict::NoKeyYet, Verdict::NoKeyYet]));
        assert_eq!(read(std::slice::from_ref(&first)).without_key(), [2, 3].into());
        let second = (push(2, &[2, 3], UK), answered(&[Verdict::Accepted, Verdict::NoKeyYet]));
        let answers = read(&[first, second]);
        assert_eq!(answers.without_key(), [3].into());
        let verdicts: Vec<_> = answers.all().map(|answer| (answer.line, answer.verdict.as_str())).collect();
        assert_eq!(verdicts, [(1, "accepted"), (2, "accepted"), (3, "no_key_yet")]);
        assert_eq!(answers.outcome(), Outcome::Answered);
    }

    #[test]
    fn a_push_refused_whole_sets_the_piece_aside() {
        let refused = Reply::Refused { message: "the push id was used before".into() };
        let answers =
            read(&[(push(1, &[1], UK), answered(&[Verdict::Accepted])), (push(2, &[2], UK), refused)]);
        let last = answers.all().last().unwrap();
        assert_eq!(
            (last.verdict.as_str(), last.message.as_deref()),
            ("refused", Some("the push id was used before"))
        );
        assert_eq!(answers.outcome(), Outcome::SetAside);
    }

    #[test]
    fn an_unroutable_header_that_looks_swapped_says_so() {
        let answers = read(&[(push(1, &[1], SWAPPED), answered(&[Verdict::Unroutable]))]);
        let message = answers.all().next().unwrap().message.clone().unwrap();
        assert!(message.contains("byte-swapped: 826 is a country"), "{message}");
        let answers = read(&[(push(1, &[1], UK), answered(&[Verdict::Unroutable]))]);
        assert!(!answers.all().next().unwrap().message.clone().unwrap().contains("swapped"));
    }
}
