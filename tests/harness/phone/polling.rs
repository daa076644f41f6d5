//! A phone reads what its authority has posted since it asked last: every entry, for everybody, and finds its own.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Result, bail};
use bytes::Bytes;
use country_adapter::lists::reader::{Reader, Refused};
use country_adapter::lists::{Advice, Entry, Head, ListKind, Parameters};
use http::StatusCode;
use proto::day::Day;
use proto::report::ReportType;
use serde::{Deserialize, Serialize};

use super::recognise::Exposure;
use super::secured::{Mismatch, Recognised};
use super::{Phone, Speaks};

/// Answers of up to 64 MiB that a phone reads of one list at once: more than it has octets within 15 days.
const ANSWERS: usize = 64;

/// How far a phone has read a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    last: u32,
    hash: [u8; 32],
    etag: Option<String>,
}

/// What an authority answers.
enum Answered {
    /// What is new.
    Increments(Bytes),
    /// It has lost its lists and begun new ones.
    Restarted,
}

/// What a phone has found in what was new. Its owner sees it later: [`Phone::shown`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Entries that it read of each list, dummies and all.
    pub entries: BTreeMap<ListKind, usize>,
    /// Octets that it downloaded.
    pub octets: usize,
    /// Contacts that were its own, and were counted.
    pub own: usize,
    /// Its own tokens, about which it stays silent.
    pub silent: Vec<Mismatch>,
    /// Minutes that its owner was at a venue together with somebody ill.
    pub venue_minutes: u64,
    /// Tokens that it heard of somebody ill.
    pub heard: usize,
    /// Tokens of these that it does not count any more, because their owner was not ill.
    pub revoked: usize,
    /// What its authority advises it.
    pub advice: Vec<Advice>,
    /// Lists that it could not read, and why.
    pub missed: BTreeMap<ListKind, String>,
    /// Why it has no newer keys to seal to; nothing if it has, or needs none.
    pub keys_missed: Option<String>,
}

impl Found {
    /// Adds what another look has found.
    pub fn add(&mut self, other: Self) {
        let Self { entries, octets, own, silent, venue_minutes, heard, revoked, .. } = other;
        let Self { advice, missed, keys_missed, .. } = other;
        entries.into_iter().for_each(|(kind, count)| *self.entries.entry(kind).or_default() += count);
        self.octets += octets;
        self.own += own;
        self.silent.extend(silent);
        self.venue_minutes += venue_minutes;
        self.heard += heard;
        self.revoked += revoked;
        self.advice.extend(advice);
        self.missed.extend(missed);
        self.keys_missed = keys_missed.or(self.keys_missed.take());
    }
}

impl Phone {
    /// Looks at the clock: asks for the lists if the time has come that the phone has set itself, and sets the next.
    /// Nothing else decides when a phone asks.
    pub async fn wake(&mut self, now: u64) -> Result<Option<Found>> {
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due || self.due.is_none() {
            self.due = Some(self.next_poll(now)?);
        }
        Ok(if is_due { Some(self.poll(now).await?) } else { None })
    }

    /// Asks for the keys that it seals to and for all lists, and reads what is new. What is wrong with one does not concern
    /// the others.
    pub async fn poll(&mut self, now: u64) -> Result<Found> {
        self.forget(Day::of_unix(now))?;
        let mut found = Found::default();
        if let Speaks::Secured(_) = self.speaks
            && let Err(error) = self.fetch_keys(now).await
        {
            found.keys_missed = Some(format!("{error:#}"));
        }
        for kind in ListKind::ALL {
            if let Err(error) = self.poll_one(kind, now, &mut found).await {
                found.missed.insert(kind, format!("{error:#}"));
            }
        }
        Ok(found)
    }

    /// Asks until nothing more comes: an answer has a bound, and who was away for long is behind by more than one. What
    /// was begun anew is read from its beginning, once; what was counted stays counted.
    async fn poll_one(&mut self, kind: ListKind, now: u64, found: &mut Found) -> Result<()> {
        let mut is_anew = false;
        for _ in 0..ANSWERS {
            let body = match self.ask_for(kind).await? {
                Answered::Increments(body) => body,
                Answered::Restarted if is_anew => {
                    bail!("{}: it was begun anew, and cannot be read from its beginning", kind.name())
                }
                Answered::Restarted => {
                    is_anew = true;
                    continue;
                }
            };
            found.octets += body.len();
            let read = self.read(kind, &body, now, found);
            // Only the beginning leads on.
            let is_lost = !self.places.contains_key(kind.name());
            if !is_lost || is_anew {
                read?;
            }
            if body.is_empty() && !is_lost {
                return Ok(());
            }
            is_anew |= is_lost;
        }
        bail!("{}: it does not come to an end", kind.name())
    }

    /// Reads the octets of a list, wherever they come from: the authority, or a network that carries static files.
    /// What is not signed by the authority, or does not follow what was read before, is refused.
    pub fn read_list(&mut self, kind: ListKind, octets: &[u8], now: u64) -> Result<Found, Refused> {
        let mut found = Found { octets: octets.len(), ..Found::default() };
        self.read(kind, octets, now, &mut found)?;
        Ok(found)
    }

    /// Forgets how far it has read a list. What was counted stays counted.
    pub fn read_anew(&mut self, kind: ListKind) {
        self.places.remove(kind.name());
    }

    async fn ask_for(&mut self, kind: ListKind) -> Result<Answered> {
        let place = self.places.get(kind.name()).cloned().unwrap_or_default();
        let path = format!("/v1/{}?since={}", kind.name(), place.last);
        let answer = self.home.get(&path, place.etag.as_deref()).await?;
        match answer.status {
            StatusCode::OK => {
                let place = self.places.entry(kind.name().into()).or_default();
                place.etag = answer.etag().map(str::to_owned);
                Ok(Answered::Increments(answer.body))
            }
            StatusCode::NOT_MODIFIED => Ok(Answered::Increments(Bytes::new())),
            StatusCode::NOT_FOUND if answer.problem().as_deref() == Some("list-restarted") => {
                self.places.remove(kind.name());
                Ok(Answered::Restarted)
            }
            _ => bail!("{}: {}", kind.name(), answer.in_a_word()),
        }
    }

    fn read(&mut self, kind: ListKind, octets: &[u8], now: u64, found: &mut Found) -> Result<(), Refused> {
        let place = self.places.get(kind.name()).cloned().unwrap_or_default();
        let reader = Reader::new(kind, self.authority(), *self.home.list_key());
        let mut reader = reader.behind(place.last, place.hash);
        let mut increments = Vec::new();
        let read = reader.read(octets, |increment| {
            increments.push((increment.head, increment.entries().collect::<Vec<_>>()));
        });
        if let Err(Refused::Gap { .. } | Refused::Forked { .. }) = read {
            // The phone was away for longer than a list reaches back, or the list was begun anew, or somebody leaves
            // increments out: whatever it was, only the beginning leads on.
            self.places.remove(kind.name());
        } else {
            // What stands before a wrong increment is good.
            let (last, hash) = reader.place();
            // A validator is good for the same question only.
            let etag = place.etag.filter(|_| last == place.last);
            self.places.insert(kind.name().into(), Place { last, hash, etag });
        }
        for (Head { number, parameters, .. }, entries) in increments {
            self.warnings.take_policy(parameters.mechanism, parameters.threshold);
            *found.entries.entry(kind).or_default() += entries.len();
            match kind {
                ListKind::Contacts => self.contacts(&entries, parameters, now, found),
                ListKind::DailyKeys => self.daily_keys(&entries, found),
                ListKind::Venues => self.venues(&entries, number, found),
                ListKind::Advice => self.advice(&entries, now, found),
            }
        }
        self.look_at_the_sum(now);
        read
    }

    fn contacts(&mut self, entries: &[Entry], parameters: Parameters, now: u64, found: &mut Found) {
        let advertised = match &self.speaks {
            Speaks::Simple(simple) => simple.advertised(Day::of_unix(now)).unwrap_or_default(),
            Speaks::Secured(_) => HashMap::new(),
        };
        for (entry, subtotal) in entries.iter().filter_map(Entry::as_contact) {
            let adds = (subtotal, parameters.mechanism);
            let recognised = match self.speaks {
                Speaks::Secured(_) => self.take_contact(&entry, adds),
                Speaks::Simple(_) => self.take_identifier(&advertised, &entry, adds),
            };
            match recognised {
                Recognised::Own => found.own += 1,
                Recognised::NotMine => {}
                Recognised::Silent(mismatch) => found.silent.push(mismatch),
            }
        }
    }

    fn daily_keys(&mut self, entries: &[Entry], found: &mut Found) {
        let (mut ill, mut revoked) = (Vec::new(), Vec::new());
        for (key, day, report_type) in entries.iter().filter_map(Entry::as_daily_key) {
            match report_type {
                // Nobody says that its owner is ill.
                ReportType::Unknown => {}
                ReportType::ConfirmedTest
                | ReportType::ConfirmedClinical
                | ReportType::SelfReport
                | ReportType::Recursive => ill.push((key, day)),
                ReportType::Revoked => revoked.push((key, day)),
            }
        }
        found.revoked += self.take_back_daily_keys(&revoked);
        found.heard += self.take_daily_keys(&ill);
    }

    /// Two ill persons may have been somewhere at the same time. Their entries look alike, and both count: each by its
    /// place among those of its increment, so that an increment which is read again adds nothing.
    fn venues(&mut self, entries: &[Entry], number: u32, found: &mut Found) {
        let mut alike = HashMap::<_, usize>::new();
        for entry in entries {
            let Some(exposure) = entry.as_visit().map(|visit| Exposure::of(&visit)) else { continue };
            let minutes = self.minutes_within(&exposure);
            if minutes == 0 {
                continue;
            }
            let before = alike.entry(entry.octets()).or_default();
            let name = format!("venue {number} {} {before}", hex::encode(entry.octets()));
            *before += 1;
            match self.take_venue(&exposure, minutes, name) {
                Recognised::Silent(mismatch) => found.silent.push(mismatch),
                Recognised::Own | Recognised::NotMine => found.venue_minutes += minutes,
            }
        }
    }

    fn advice(&mut self, entries: &[Entry], now: u64, found: &mut Found) {
        for own in entries.iter().filter_map(Entry::as_advice) {
            if self.is_own_advice(&own) {
                let (token, .., advice) = own;
                self.showing.advised(token.octets(), advice, now);
                found.advice.push(advice);
            }
        }
    }
}

#[cfg(test)]
#[path = "polling_tests.rs"]
mod tests;
