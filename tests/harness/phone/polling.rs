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

    async fn poll_one(&mut self, kind: ListKind, now: u64, found: &mut Found) -> Result<()> {
        let answer = self.ask_for(kind).await?;
        let read = match answer {
            Answered::Increments(body) => {
                found.octets += body.len();
                self.read(kind, &body, now, found)
            }
            Answered::Restarted => Ok(()),
        };
        // Once more, from the beginning. What was counted stays counted.
        if self.places.contains_key(kind.name()) {
            return Ok(read?);
        }
        let Answered::Increments(body) = self.ask_for(kind).await? else {
            bail!("{}: it was begun anew, and cannot be read from its beginning", kind.name())
        };
        found.octets += body.len();
        Ok(self.read(kind, &body, now, found)?)
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
mod tests {
    use country_adapter::risk::Threshold;
    use pki::sign::SigningKey;
    use proto::extended::LeavingData;
    use proto::header::EnvelopeHeader;
    use proto::ids::Authority;
    use proto::report::{Contact, DiagnosisKey, IllKey, Minutes, QuarterHour, Risk, Token, TransmissionRisk};

    use super::super::testing::{NOW, simple};
    use super::super::{Air, Home, Stay, meet, visit};
    use super::*;

    /// An authority's lists, and a phone that pins its key.
    fn list_and_phone() -> (SigningKey, Phone) {
        let key = SigningKey::from_pkcs8(&SigningKey::generate()).unwrap();
        let home = Home::pinning(crate::authority("826/0"), *key.public());
        (key, Phone::simple("Gwen", home, NOW).unwrap())
    }

    fn increment(number: u32, previous: [u8; 32], key: &SigningKey) -> (Vec<u8>, [u8; 32]) {
        sealed((ListKind::Contacts, number, previous), &[Entry::new([7; Entry::LEN]); 64], key)
    }

    fn sealed(
        (kind, number, previous): (ListKind, u32, [u8; 32]),
        entries: &[Entry],
        key: &SigningKey,
    ) -> (Vec<u8>, [u8; 32]) {
        let parameters = Parameters {
            authority: crate::authority("826/0"),
            mechanism: 1,
            threshold: Threshold::default(),
        };
        let head = Head { kind, number, posted_at: NOW, previous, parameters };
        let sealed = head.seal(entries, key);
        let length = u32::try_from(sealed.octets.len()).unwrap().to_be_bytes();
        ([&length[..], &sealed.octets].concat(), sealed.hash)
    }

    #[test]
    fn after_a_gap_or_a_fork_a_phone_begins_at_the_beginning() {
        let (key, mut phone) = list_and_phone();
        let mut read =
            |octets: &[u8]| phone.read_list(ListKind::Contacts, octets, NOW).map(|found| found.entries);
        let (one, hash) = increment(1, [0; 32], &key);
        assert!(read(&one).is_ok());
        // It was away, and what came next is not served any more.
        let (twenty, _) = increment(20, [9; 32], &key);
        assert_eq!(read(&twenty).unwrap_err(), Refused::Gap { found: 20, last: 1 });
        assert_eq!(read(&twenty).unwrap(), [(ListKind::Contacts, 64)].into());

        let (key, mut phone) = list_and_phone();
        let mut read =
            |octets: &[u8]| phone.read_list(ListKind::Contacts, octets, NOW).map(|found| found.entries);
        let (first, _) = increment(1, [0; 32], &key);
        assert!(read(&first).is_ok());
        // The list was begun anew, and has grown beyond what the phone has read.
        let (one, other) = increment(1, [0; 32], &key);
        let (two, _) = increment(2, [8; 32], &key);
        assert_eq!(read(&two).unwrap_err(), Refused::Forked { number: 2 });
        assert!(other == hash || read(&one).is_ok());
    }

    /// An entry for a key of the day of a phone on Simple.
    fn daily_key(ill: &Phone, report_type: ReportType) -> Entry {
        let day = Day::of_unix(NOW);
        let Authority::State(country, state) = crate::authority("826/0") else {
            panic!("826/0 is a state's")
        };
        let key = IllKey::Simple(ill.in_simple().unwrap().key(day).unwrap(), day);
        let (issuer, transmission_risk) = (ill.authority(), TransmissionRisk::default());
        let destination = (country, state);
        let key = DiagnosisKey { destination, issuer, key, report_type, onset: None, transmission_risk };
        Entry::daily_key(&key).unwrap()
    }

    #[test]
    fn a_revoked_key_warns_nobody_and_what_it_had_added_is_taken_back_once() {
        use ReportType::{ConfirmedTest as Test, Revoked, SelfReport, Unknown};
        for (posted, own, revoked, risk) in [
            (vec![vec![Test]], 2, 0, 48),
            (vec![vec![Unknown]], 0, 0, 0),
            (vec![vec![Revoked]], 0, 0, 0),
            (vec![vec![Test], vec![Revoked]], 2, 2, 0),
            (vec![vec![Revoked], vec![Test]], 0, 0, 0),
            (vec![vec![Test, Revoked]], 0, 0, 0),
            (vec![vec![Test], vec![Revoked], vec![Revoked], vec![SelfReport]], 2, 2, 0),
        ] {
            let ((key, mut gwen), mut mia) = (list_and_phone(), simple("36/2"));
            meet(&mut Air::default(), [&mut gwen, &mut mia], &Stay::new(NOW, 12, 1.5)).unwrap();
            let (mut found, mut previous) = (Found::default(), [0; 32]);
            for (number, types) in (1..).zip(&posted) {
                let entries: Vec<_> = types.iter().map(|of| daily_key(&mia, *of)).collect();
                let (octets, hash) = sealed((ListKind::DailyKeys, number, previous), &entries, &key);
                found.add(gwen.read_list(ListKind::DailyKeys, &octets, NOW).unwrap());
                previous = hash;
            }
            assert_eq!((found.heard, found.revoked), (own, revoked), "{posted:?}");
            assert_eq!(gwen.warnings().risk(Day::of_unix(NOW)), risk, "{posted:?}");
        }
    }

    #[test]
    fn a_revoked_key_takes_back_nothing_of_another_ill_person() {
        let ((key, mut gwen), [mut mia, mut noah]) = (list_and_phone(), [simple("36/2"), simple("36/2")]);
        for other in [&mut mia, &mut noah] {
            meet(&mut Air::default(), [&mut gwen, other], &Stay::new(NOW, 12, 1.5)).unwrap();
        }
        let test = [&mia, &noah].map(|ill| daily_key(ill, ReportType::ConfirmedTest));
        let (octets, hash) = sealed((ListKind::DailyKeys, 1, [0; 32]), &test, &key);
        gwen.read_list(ListKind::DailyKeys, &octets, NOW).unwrap();
        let revoked = [daily_key(&mia, ReportType::Revoked)];
        let (octets, _) = sealed((ListKind::DailyKeys, 2, hash), &revoked, &key);
        assert_eq!(gwen.read_list(ListKind::DailyKeys, &octets, NOW).unwrap().revoked, 2);
        assert_eq!(gwen.warnings().risk(Day::of_unix(NOW)), 48);
    }

    #[test]
    fn each_ill_person_at_a_venue_counts_once_also_if_their_entries_look_alike() {
        let (key, mut gwen) = list_and_phone();
        let beacon = [&[0x30, 3, 0x3a, 0, 0][..], &7_u32.to_be_bytes()].concat();
        visit(&mut Air::default(), &mut gwen, &beacon, &Stay::new(NOW, 60, 1.0)).unwrap();
        let there = |minutes| {
            let start = u8::try_from(NOW % Day::SECONDS / 900).unwrap();
            let token = [7_u32.to_be_bytes()].concat();
            Entry::visit(&Contact {
                token: Token::new(EnvelopeHeader::parse(&beacon[..5]).unwrap(), &token).unwrap(),
                day: Day::of_unix(NOW),
                start: QuarterHour::new(start).ok(),
                duration: Minutes::capped(minutes),
                proximity: [0; 4].map(Minutes::capped),
                risk: Risk::default(),
                extended: LeavingData::default(),
            })
            .unwrap()
        };
        let risk = |gwen: &Phone| gwen.warnings().risk(Day::of_unix(NOW));
        let zeros = Entry::new([0; Entry::LEN]);
        let (one, hash) =
            sealed((ListKind::Venues, 1, [0; 32]), &[there(30), zeros, there(30), there(15), zeros], &key);
        assert_eq!(gwen.read_list(ListKind::Venues, &one, NOW).unwrap().venue_minutes, 75);
        assert_eq!(risk(&gwen), 75, "three persons, two of whom came and went together");
        let (two, _) = sealed((ListKind::Venues, 2, hash), &[there(30)], &key);
        gwen.read_list(ListKind::Venues, &two, NOW).unwrap();
        assert_eq!(risk(&gwen), 105, "a fourth, who tested positive later");
        gwen.read_anew(ListKind::Venues);
        let again = gwen.read_list(ListKind::Venues, &[one, two].concat(), NOW).unwrap();
        assert_eq!((risk(&gwen), again.silent), (105, vec![Mismatch::Counted; 4]));
    }

    #[test]
    fn what_somebody_else_signed_does_not_move_a_phone() {
        let (key, mut phone) = list_and_phone();
        let (one, hash) = increment(1, [0; 32], &key);
        phone.read_list(ListKind::Contacts, &one, NOW).unwrap();
        let (forged, _) = increment(9, hash, &SigningKey::from_pkcs8(&SigningKey::generate()).unwrap());
        assert!(phone.read_list(ListKind::Contacts, &forged, NOW).is_err());
        assert_eq!(phone.places["exposures"].last, 1);
    }

    #[tokio::test]
    async fn an_authority_that_does_not_answer_leaves_every_list_where_it_is() {
        let (key, mut phone) = list_and_phone();
        phone.read_list(ListKind::Contacts, &increment(1, [0; 32], &key).0, NOW).unwrap();
        let places = phone.places.clone();
        let found = phone.poll(NOW).await.unwrap();
        assert_eq!((found.missed.len(), &phone.places), (ListKind::ALL.len(), &places), "each was asked for");
    }

    #[tokio::test]
    async fn a_phone_asks_at_the_time_that_it_has_set_itself_and_at_no_other() {
        let (_, mut phone) = list_and_phone();
        assert_eq!(phone.wake(NOW).await.unwrap(), None, "not when it is switched on");
        let due = phone.due.unwrap();
        assert!((NOW + 1..=NOW + 3_960).contains(&due), "within an hour and a tenth");
        let again = Phone::load(&phone.save().unwrap(), phone.home().clone()).unwrap();
        assert_eq!(again.due, Some(due), "nor after a restart");
        for early in [NOW, due - 1] {
            assert_eq!(phone.wake(early).await.unwrap(), None);
        }
        assert!(
            phone.wake(due).await.unwrap().is_some_and(|found| found.missed.len() == ListKind::ALL.len())
        );
        assert!(phone.due.unwrap() > due);
    }
}
