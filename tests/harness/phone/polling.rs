//! A phone reads what its authority has posted since it asked last: every entry, for everybody, and finds its own.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Result, bail};
use bytes::Bytes;
use country_adapter::lists::reader::{Reader, Refused};
use country_adapter::lists::{Advice, Entry, ListKind};
use http::StatusCode;
use proto::day::Day;
use serde::{Deserialize, Serialize};

use super::recognise::Exposure;
use super::secured::{Mismatch, Recognised};
use super::{Phone, Speaks};

/// How far a phone has read a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    last: u32,
    hash: [u8; 32],
    etag: Option<String>,
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
    /// What its authority advises it.
    pub advice: Vec<Advice>,
}

impl Found {
    /// Adds what another look has found.
    pub fn add(&mut self, other: Self) {
        let Self { entries, octets, own, silent, venue_minutes, heard, advice } = other;
        entries.into_iter().for_each(|(kind, count)| *self.entries.entry(kind).or_default() += count);
        self.octets += octets;
        self.own += own;
        self.silent.extend(silent);
        self.venue_minutes += venue_minutes;
        self.heard += heard;
        self.advice.extend(advice);
    }
}

impl Phone {
    /// Asks for all lists and reads what is new.
    pub async fn poll(&mut self, now: u64) -> Result<Found> {
        let mut found = Found::default();
        for kind in ListKind::ALL {
            let body = self.ask_for(kind).await?;
            found.octets += body.len();
            self.read(kind, &body, now, &mut found)?;
        }
        Ok(found)
    }

    /// Reads the octets of a list, wherever they come from: the authority, or a network that carries static files.
    /// What is not signed by the authority, or does not follow what was read before, is refused.
    pub fn read_list(&mut self, kind: ListKind, octets: &[u8], now: u64) -> Result<Found, Refused> {
        let mut found = Found { octets: octets.len(), ..Found::default() };
        self.read(kind, octets, now, &mut found)?;
        Ok(found)
    }

    async fn ask_for(&mut self, kind: ListKind) -> Result<Bytes> {
        let place = self.places.entry(kind.name().into()).or_default().clone();
        let path = format!("/v1/{}?since={}", kind.name(), place.last);
        let answer = self.home.get(&path, place.etag.as_deref()).await?;
        match answer.status {
            StatusCode::OK => {
                let place = self.places.entry(kind.name().into()).or_default();
                place.etag = answer.etag().map(str::to_owned);
                Ok(answer.body)
            }
            StatusCode::NOT_MODIFIED => Ok(Bytes::new()),
            // The authority has lost its lists: from the beginning at the next question. What was counted stays counted.
            StatusCode::NOT_FOUND if answer.problem().as_deref() == Some("list-restarted") => {
                self.places.remove(kind.name());
                Ok(Bytes::new())
            }
            _ => bail!("{}: {}", kind.name(), answer.in_a_word()),
        }
    }

    fn read(&mut self, kind: ListKind, octets: &[u8], now: u64, found: &mut Found) -> Result<(), Refused> {
        let place = self.places.get(kind.name()).cloned().unwrap_or_default();
        let reader = Reader::new(kind, self.authority(), *self.home.list_key());
        let mut reader = reader.behind(place.last, place.hash);
        let (mut entries, mut policy) = (Vec::new(), None);
        let read = reader.read(octets, |increment| {
            entries.extend(increment.entries());
            policy = Some(increment.head.parameters.threshold);
        });
        // What stands before a wrong increment is good.
        let (last, hash) = reader.place();
        // A validator is good for the same question only.
        let etag = place.etag.filter(|_| last == place.last);
        self.places.insert(kind.name().into(), Place { last, hash, etag });
        policy.into_iter().for_each(|policy| self.warnings.take_policy(policy));
        *found.entries.entry(kind).or_default() += entries.len();
        match kind {
            ListKind::Contacts => self.contacts(&entries, now, found),
            ListKind::DailyKeys => self.daily_keys(&entries, found),
            ListKind::Venues => self.venues(&entries, found),
            ListKind::Advice => self.advice(&entries, now, found),
        }
        self.look_at_the_sum(now);
        read
    }

    fn contacts(&mut self, entries: &[Entry], now: u64, found: &mut Found) {
        let advertised = match &self.speaks {
            Speaks::Simple(simple) => simple.advertised(Day::of_unix(now)).unwrap_or_default(),
            Speaks::Secured(_) => HashSet::new(),
        };
        for (entry, subtotal) in entries.iter().filter_map(Entry::as_contact) {
            let recognised = match self.speaks {
                Speaks::Secured(_) => self.take_contact(&entry, subtotal),
                Speaks::Simple(_) => self.take_identifier(&advertised, &entry, subtotal),
            };
            match recognised {
                Recognised::Own => found.own += 1,
                Recognised::NotMine => {}
                Recognised::Silent(mismatch) => found.silent.push(mismatch),
            }
        }
    }

    fn daily_keys(&mut self, entries: &[Entry], found: &mut Found) {
        for (key, day) in entries.iter().filter_map(Entry::as_daily_key) {
            found.heard += self.take_daily_key(&key, day);
        }
    }

    fn venues(&mut self, entries: &[Entry], found: &mut Found) {
        for visit in entries.iter().filter_map(Entry::as_visit) {
            found.venue_minutes += self.take_venue(&Exposure::of(&visit));
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
