//! The reports of a push, and what a true gateway says to each: worked out here anew, from the rules.

use std::collections::{BTreeMap, HashSet};

use proto::day::Day;
use proto::ids::{Authority, CountryCode, StateCode};
use proto::verdict::Verdict;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::operations::Load;
use crate::reports::Contact;

/// Octets of a Simple token.
pub(super) const TOKEN: usize = 16;

/// What a phone advertised: 8 octets that all tokens of a run begin with and nothing else does, and a number.
pub(super) type Token = [u8; TOKEN];

/// Draws tokens that no other run has.
#[derive(Debug)]
pub(super) struct Tokens {
    mark: [u8; 8],
    next: u64,
}

impl Tokens {
    /// Tokens with this mark.
    #[must_use]
    pub(super) fn new(mark: [u8; 8]) -> Self {
        Self { mark, next: 0 }
    }

    /// What all of them begin with.
    #[must_use]
    pub(super) fn mark(&self) -> [u8; 8] {
        self.mark
    }

    fn draw(&mut self) -> Token {
        self.next += 1;
        let mut token = [0; TOKEN];
        token[..8].copy_from_slice(&self.mark);
        token[8..].copy_from_slice(&self.next.to_be_bytes());
        token
    }
}

/// One report of a push.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    /// What it names.
    pub(super) token: Token,
    /// Whose it is.
    issuer: Authority,
    day: Day,
    /// Its readable header.
    pub(super) header: [u8; 5],
    /// As it is sealed.
    pub(super) octets: Vec<u8>,
    is_malformed: bool,
}

/// Draws the reports of a push. The same load gives the same issuers, days and flaws.
pub(super) fn draw(load: &Load, today: Day, known: &[Authority], tokens: &mut Tokens) -> Vec<Letter> {
    let mut rng = StdRng::seed_from_u64(u64::from(load.mix));
    let mut letters: Vec<Letter> = Vec::with_capacity(load.reports.into());
    for _ in 0..load.reports {
        let letter = match letters.choose(&mut rng) {
            Some(earlier) if rng.random_bool(0.04) => earlier.clone(),
            _ => letter(&mut rng, today, known, tokens.draw()),
        };
        letters.push(letter);
    }
    letters
}

fn letter(rng: &mut StdRng, today: Day, known: &[Authority], token: Token) -> Letter {
    let (issuer, day) = (issuer(rng, known), day(rng, today));
    let contact = Contact::simple(issuer, &token, day);
    let (header, mut octets) = (contact.header, contact.octets());
    let is_malformed = rng.random_bool(0.03);
    if is_malformed {
        octets.pop();
    }
    Letter { token, issuer, day, header, octets, is_malformed }
}

/// Mostly an authority of the federation; now and then a state or a country that nobody answers for.
fn issuer(rng: &mut StdRng, known: &[Authority]) -> Authority {
    let some = *known.choose(rng).expect("every federation has authorities");
    let Authority::State(country, _) = some else { return some };
    match rng.random_range(0..20) {
        0 | 1 => Authority::State(country, StateCode::new(77)),
        2 => Authority::national(CountryCode::new(999).expect("it is not 0")),
        _ => some,
    }
}

fn day(rng: &mut StdRng, today: Day) -> Day {
    match rng.random_range(0..30) {
        0 => today.minus(16),
        1 => today.minus(15),
        2 => today.plus(1),
        3 => today.plus(2),
        _ => today.minus(rng.random_range(0..12)),
    }
}

/// What a gateway knows when a push comes.
pub(super) struct View<'a> {
    /// Who pushes.
    pub(super) pusher: Authority,
    /// Today at that gateway.
    pub(super) today: Day,
    /// The authorities of its trust list, and whether their country is suspended there.
    pub(super) suspended: &'a BTreeMap<Authority, bool>,
    /// Whether it has a key of an authority that is in force.
    pub(super) has_key: &'a dyn Fn(Authority) -> bool,
}

/// The verdict on each report, and where it goes if it is accepted.
#[must_use]
pub(super) fn expected(letters: &[Letter], view: &View<'_>) -> Vec<(Verdict, Option<Authority>)> {
    let mut seen = HashSet::new();
    letters
        .iter()
        .map(|letter| match verdict(letter, view, &mut seen) {
            Ok(to) => (Verdict::Accepted, Some(to)),
            Err(verdict) => (verdict, None),
        })
        .collect()
}

fn verdict<'a>(
    letter: &'a Letter,
    view: &View<'_>,
    seen: &mut HashSet<&'a [u8]>,
) -> Result<Authority, Verdict> {
    if letter.is_malformed {
        return Err(Verdict::Malformed);
    }
    let Authority::State(country, _) = letter.issuer else { return Err(Verdict::Unroutable) };
    let mut ways = [letter.issuer, Authority::national(country)].into_iter();
    let to = ways.find(|way| view.suspended.contains_key(way)).ok_or(Verdict::Unroutable)?;
    if to == view.pusher {
        return Err(Verdict::OwnAuthority);
    }
    if view.suspended[&to] {
        return Err(Verdict::Suspended);
    }
    if letter.day < view.today.minus(15) {
        return Err(Verdict::TooOld);
    }
    if letter.day > view.today.plus(1) {
        return Err(Verdict::FromTheFuture);
    }
    if !seen.insert(&letter.octets) {
        return Err(Verdict::Duplicate);
    }
    if (view.has_key)(to) { Ok(to) } else { Err(Verdict::NoKeyYet) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority;

    #[test]
    fn the_same_load_gives_the_same_reports_but_for_their_tokens() {
        let known = [authority("826/0"), authority("36/2")];
        let load = Load { pusher: known[0], reports: 400, mix: 7 };
        let today = Day::new(20_000);
        let letters = |mark: u8| draw(&load, today, &known, &mut Tokens::new([mark; 8]));
        let (one, other) = (letters(1), letters(2));
        assert!(
            one.iter().zip(&other).all(|(one, other)| one.header == other.header && one.day == other.day)
        );
        assert!(one.iter().all(|letter| letter.token[..8] == [1; 8]));
    }

    #[test]
    fn a_large_push_has_every_verdict_that_may_come() {
        let known = [authority("826/0"), authority("250/0"), authority("36/2"), authority("276/5")];
        let suspended = known.iter().map(|one| (*one, *one == authority("250/0"))).collect();
        let (today, no_key) = (Day::new(20_000), authority("276/5"));
        let load = Load { pusher: known[0], reports: 600, mix: 3 };
        let letters = draw(&load, today, &known, &mut Tokens::new([1; 8]));
        let has_key = |one: Authority| one != no_key;
        let view = View { pusher: known[0], today, suspended: &suspended, has_key: &has_key };
        let found: HashSet<_> = expected(&letters, &view).into_iter().map(|(verdict, _)| verdict).collect();
        let missing: Vec<_> = Verdict::ALL.into_iter().filter(|verdict| !found.contains(verdict)).collect();
        assert_eq!(missing, [Verdict::ForbiddenField]);
    }
}
