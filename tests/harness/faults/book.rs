//! The exact account of a run: which numbered token was handed to whom, what was answered, and where it arrived.
//!
//! Pure: answers and arrivals are arguments. An account is closed after every fault; what comes later of a token
//! that was closed is still judged, in the account that is open then.

use std::collections::BTreeSet;

use proto::day::Day;
use proto::ids::Authority;
use proto::verdict::Verdict;
use serde::Serialize;

use crate::backend::Delivered;
use crate::reports::Contact;

/// What all tokens of a run begin with. Whatever holds it holds a token.
pub(super) type Mark = [u8; 8];

/// Tokens from their sending to their arrival.
pub(super) struct Book {
    mark: Mark,
    day: Day,
    /// By number.
    tokens: Vec<Token>,
    /// Those that wait for their answer or their arrival.
    open: BTreeSet<usize>,
    account: Account,
}

struct Token {
    by: Authority,
    to: Authority,
    answer: Option<Answer>,
    arrived: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Accepted,
    Refused,
}

/// What was found between two faults. The last six must be 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Tokens that were answered: accepted.
    pub accepted: usize,
    /// Tokens that were answered otherwise.
    pub refused: usize,
    /// Tokens that arrived.
    pub delivered: usize,
    /// Tokens that were accepted and did not arrive.
    pub lost: usize,
    /// Copies beyond the first at the right authority.
    pub duplicated_in_effect: usize,
    /// Tokens at an authority that must not have them, or that were refused, or that nobody sent.
    pub misdelivered: usize,
    /// Tokens whose report is not as it was sent.
    pub altered: usize,
    /// Tokens that were never answered.
    pub unanswered: usize,
    /// Files that hold a token and must not.
    pub leaked: usize,
}

impl Account {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let Self { lost, duplicated_in_effect, misdelivered, altered, unanswered, leaked, .. } = self;
        lost + duplicated_in_effect + misdelivered + altered + unanswered + leaked == 0
    }

    /// Both together.
    #[must_use]
    pub fn with(self, other: &Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            refused: self.refused + other.refused,
            delivered: self.delivered + other.delivered,
            lost: self.lost + other.lost,
            duplicated_in_effect: self.duplicated_in_effect + other.duplicated_in_effect,
            misdelivered: self.misdelivered + other.misdelivered,
            altered: self.altered + other.altered,
            unanswered: self.unanswered + other.unanswered,
            leaked: self.leaked + other.leaked,
        }
    }
}

impl Book {
    /// An empty book for contacts of a day.
    pub(super) fn new(mark: Mark, day: Day) -> Self {
        Self { mark, day, tokens: Vec::new(), open: BTreeSet::new(), account: Account::default() }
    }

    /// A contact that nobody has sent yet, with its number.
    pub(super) fn next(&mut self, by: Authority, to: Authority) -> (usize, Contact) {
        let number = self.tokens.len();
        self.tokens.push(Token { by, to, answer: None, arrived: false });
        self.open.insert(number);
        (number, self.contact(number, to))
    }

    fn contact(&self, number: usize, to: Authority) -> Contact {
        let token = [self.mark, (number as u64).to_be_bytes()].concat();
        Contact::simple(to, &token, self.day)
    }

    /// Notes what was answered, by a verdict's name.
    pub(super) fn answered(&mut self, number: usize, verdict: &str) {
        let Some(token) = self.tokens.get_mut(number).filter(|token| token.answer.is_none()) else { return };
        let is_accepted = verdict == Verdict::Accepted.name();
        token.answer = Some(if is_accepted { Answer::Accepted } else { Answer::Refused });
        match (is_accepted, token.arrived) {
            (true, _) => self.account.accepted += 1,
            (false, arrived) => {
                self.account.refused += 1;
                self.account.misdelivered += usize::from(arrived);
            }
        }
        self.settle(number);
    }

    /// Notes what lies in an authority's folder of delivered reports.
    pub(super) fn arrived(&mut self, at: Authority, delivered: &Delivered) {
        let Some((number, as_sent)) = self.sent(at, delivered) else {
            self.account.misdelivered += 1;
            return;
        };
        let token = &mut self.tokens[number];
        let was_there = std::mem::replace(&mut token.arrived, true);
        let is_refused = token.answer == Some(Answer::Refused);
        let account = &mut self.account;
        account.delivered += usize::from(!was_there);
        account.duplicated_in_effect += usize::from(was_there);
        account.misdelivered += usize::from(is_refused);
        account.altered += usize::from(!as_sent);
        self.settle(number);
    }

    /// The token that was sent to this authority, and whether the report is what was sent with it.
    fn sent(&self, at: Authority, delivered: &Delivered) -> Option<(usize, bool)> {
        let number = delivered.token.strip_prefix(&self.mark)?.try_into().ok().map(u64::from_be_bytes)?;
        let number = usize::try_from(number).ok()?;
        let token = self.tokens.get(number).filter(|token| token.to == at)?;
        let is_its_origin = u64::from(country(token.by)?) == delivered.origin;
        Some((number, is_its_origin && self.contact(number, at).mirror() == delivered.report))
    }

    fn settle(&mut self, number: usize) {
        let token = &self.tokens[number];
        if token.answer == Some(Answer::Refused) || token.answer.is_some() && token.arrived {
            self.open.remove(&number);
        }
    }

    /// How many tokens wait for their answer or their arrival.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Whether a token has arrived.
    pub(super) fn has_arrived(&self, number: usize) -> bool {
        self.tokens.get(number).is_some_and(|token| token.arrived)
    }

    /// Which of the first tokens wait, for people.
    pub(super) fn waits(&self) -> Vec<String> {
        let waits = self.open.iter().take(3).map(|number| {
            let Token { by, to, answer, .. } = &self.tokens[*number];
            let what = if answer.is_some() { "accepted, not arrived" } else { "not answered" };
            format!("token {number} from {by} to {to}: {what}")
        });
        waits.collect()
    }

    /// Closes the account: what still waits is lost, or was never answered.
    pub(super) fn close(&mut self) -> Account {
        for number in std::mem::take(&mut self.open) {
            match self.tokens[number].answer {
                Some(_) => self.account.lost += 1,
                None => self.account.unanswered += 1,
            }
        }
        std::mem::take(&mut self.account)
    }
}

fn country(authority: Authority) -> Option<u16> {
    match authority {
        Authority::State(country, _) => Some(country.number()),
        Authority::Opaque(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority;
    use crate::reports::today;

    const ACCEPTED: &str = "accepted";

    fn book() -> (Book, Contact) {
        let mut book = Book::new(*b"\xf1markers", today());
        let (number, contact) = book.next(authority("826/1"), authority("250/0"));
        assert_eq!((number, book.open()), (0, 1));
        (book, contact)
    }

    fn comes(book: &mut Book, at: &str, contact: &Contact) {
        let (token, report) = (contact.token.clone(), contact.mirror());
        book.arrived(authority(at), &Delivered { file: "file".into(), origin: 826, report, token });
    }

    /// Lost, duplicated, misdelivered, altered, unanswered.
    fn wrong(mut book: Book) -> [usize; 5] {
        let account = book.close();
        let Account { lost, duplicated_in_effect, misdelivered, altered, unanswered, .. } = account;
        let wrong = [lost, duplicated_in_effect, misdelivered, altered, unanswered];
        assert_eq!(account.is_good(), wrong == [0; 5]);
        wrong
    }

    #[test]
    fn a_token_that_arrives_once_where_it_should_is_good() {
        let (mut book, contact) = book();
        book.answered(0, ACCEPTED);
        comes(&mut book, "250/0", &contact);
        assert_eq!(book.open(), 0);
        let good = Account { accepted: 1, delivered: 1, ..Account::default() };
        assert_eq!(book.close(), good);
        assert_eq!(book.close(), Account::default(), "the next account begins with nothing");
    }

    #[test]
    fn an_accepted_token_that_does_not_arrive_is_lost() {
        let (mut book, _) = book();
        book.answered(0, ACCEPTED);
        assert_eq!(book.open(), 1);
        assert_eq!(wrong(book), [1, 0, 0, 0, 0]);
    }

    #[test]
    fn a_token_that_arrives_twice_is_duplicated_also_after_its_account_was_closed() {
        let (mut book, contact) = book();
        comes(&mut book, "250/0", &contact);
        book.answered(0, ACCEPTED);
        assert!(book.close().is_good());
        comes(&mut book, "250/0", &contact);
        assert_eq!(wrong(book), [0, 1, 0, 0, 0]);
    }

    #[test]
    fn a_token_at_another_authority_is_misdelivered_and_lost() {
        let (mut book, contact) = book();
        book.answered(0, ACCEPTED);
        comes(&mut book, "36/2", &contact);
        assert_eq!(wrong(book), [1, 0, 1, 0, 0]);
    }

    #[test]
    fn a_refused_token_that_arrives_is_misdelivered_whichever_comes_first() {
        let (mut first, contact) = book();
        first.answered(0, "too_old");
        comes(&mut first, "250/0", &contact);
        let (mut second, contact) = book();
        comes(&mut second, "250/0", &contact);
        second.answered(0, "refused");
        assert_eq!((wrong(first), wrong(second)), ([0, 0, 1, 0, 0], [0, 0, 1, 0, 0]));
    }

    #[test]
    fn a_token_that_nobody_sent_is_misdelivered() {
        let (mut book, mut contact) = book();
        book.answered(0, ACCEPTED);
        comes(&mut book, "250/0", &contact);
        contact.token[15] ^= 1;
        comes(&mut book, "250/0", &contact);
        contact.token[0] ^= 1;
        comes(&mut book, "250/0", &contact);
        assert_eq!(wrong(book), [0, 0, 2, 0, 0]);
    }

    #[test]
    fn a_report_with_another_day_is_altered() {
        let (mut book, contact) = book();
        book.answered(0, ACCEPTED);
        comes(&mut book, "250/0", &Contact { day: today().minus(1), ..contact });
        assert_eq!(wrong(book), [0, 0, 0, 1, 0]);
    }

    #[test]
    fn a_token_without_an_answer_is_told() {
        assert_eq!(wrong(book().0), [0, 0, 0, 0, 1]);
    }
}
