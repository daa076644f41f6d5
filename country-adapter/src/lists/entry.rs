//! Entries of a list: forty octets, whatever they say, so that their size tells nothing.
//!
//! | list | octets |
//! |---|---|
//! | contacts | token 16, day 2, subtotal 2, time code 4, receipt 16 (`herald.md` D15) |
//! | daily keys | key 32, day 2, report type 1, days since onset 1, transmission risk 1, zeros 3 |
//! | venues | country 2, state 2, location 4, area 1, day 2, from 1, minutes 2, risk kind 1, score 2, zeros 23 |
//! | advice | token 16, day 2, advice 1, zero 1, time code 4, zeros 16 |

use std::fmt;

use proto::day::Day;
use proto::ids::{Authority, CountryCode, StateCode};
use proto::report::{
    Contact, DiagnosisKey, IllKey, Minutes, OnsetDays, QuarterHour, ReportType, Score, SimpleKey,
};
use serde::{Deserialize, Serialize};

use crate::herald::secured::confirmation;
use crate::herald::secured::totp::TimeCode;
use crate::herald::secured::{ConfirmationToken, Receipt, random};
use crate::risk::Subtotal;

/// The lists of an authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ListKind {
    /// Contacts that count, for the phones that were there.
    Contacts = 1,
    /// Keys of ill persons whose phones speak Herald Simple.
    DailyKeys = 2,
    /// Places where ill persons were.
    Venues = 3,
    /// What the authority advises single phones to do, from its analyses.
    Advice = 4,
}

impl ListKind {
    /// All lists.
    pub const ALL: [Self; 4] = [Self::Contacts, Self::DailyKeys, Self::Venues, Self::Advice];

    /// The name of its folder and of its path; contacts are at `/v1/exposures`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Contacts => "exposures",
            Self::DailyKeys => "daily-keys",
            Self::Venues => "venues",
            Self::Advice => "advice",
        }
    }

    /// Its number in an increment.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The list with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// One entry. Never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry([u8; Self::LEN]);

/// What an authority advises one phone, without saying who else is concerned (`herald.md` 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum Advice {
    /// Many who fell ill have met this phone.
    AsymptomaticCarrier = 1,
    /// The same, and many more of its contacts than usual fell ill.
    SuperSpreader = 2,
    /// A contact of this phone was exposed.
    SecondDegree = 3,
}

/// A time at a place at which somebody ill was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visit {
    /// Country and state of the place.
    pub place: (CountryCode, StateCode),
    /// The place, by its authority's own number.
    pub location: u32,
    /// Which of its areas; nothing for all of it.
    pub area: Option<u8>,
    /// The UTC day on which the visit began.
    pub day: Day,
    /// When on that day; without it, any time.
    pub start: Option<QuarterHour>,
    /// How long it lasted.
    pub minutes: Minutes,
    /// What kind of risk, as the authority defines it.
    pub kind: u8,
    /// How much of it.
    pub score: Option<Score>,
}

impl Entry {
    /// Octets of an entry.
    pub const LEN: usize = 40;

    /// The entry that these octets are.
    #[must_use]
    pub const fn new(octets: [u8; Self::LEN]) -> Self {
        Self(octets)
    }

    /// Its octets.
    #[must_use]
    pub const fn octets(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// A contact of Herald Secured.
    #[must_use]
    pub fn contact(entry: &confirmation::Entry, subtotal: Subtotal) -> Self {
        joined(&[
            entry.confirmation.octets(),
            &entry.day.number().to_be_bytes(),
            &subtotal.number().to_be_bytes(),
            &entry.code.number().to_be_bytes(),
            entry.receipt.octets(),
        ])
    }

    /// A contact of Herald Simple: the phone knows its identifier. The rest is random, so that it looks the same.
    #[must_use]
    pub fn identifier(identifier: [u8; 16], day: Day, subtotal: Subtotal) -> Self {
        let (code, receipt) = (random::<4>(), random::<16>());
        let code = u32::from_be_bytes(*code) >> 1;
        let (day, subtotal) = (day.number().to_be_bytes(), subtotal.number().to_be_bytes());
        joined(&[&identifier, &day, &subtotal, &code.to_be_bytes(), &*receipt])
    }

    /// What a phone compares with the exchanges in which it gave a token; nothing if no phone made this.
    #[must_use]
    pub fn as_contact(&self) -> Option<(confirmation::Entry, Subtotal)> {
        let code = TimeCode::new(u32::from_be_bytes(self.array(20))).ok()?;
        let (confirmation, receipt) = (ConfirmationToken::new(self.array(0)), Receipt::new(self.array(24)));
        let entry = confirmation::Entry { confirmation, code, receipt, day: self.day(16) };
        Some((entry, Subtotal::new(u16::from_be_bytes(self.array(18)))))
    }

    /// The token or identifier by which a phone knows a contact, or its own advice.
    #[must_use]
    pub fn token(&self) -> [u8; 16] {
        self.array(0)
    }

    /// A daily key of Herald Simple; nothing for keys of other families.
    #[must_use]
    pub fn daily_key(key: &DiagnosisKey) -> Option<Self> {
        let IllKey::Simple(simple, day) = key.key else { return None };
        let onset = key.onset.map_or(127, OnsetDays::number);
        Some(joined(&[
            simple.octets(),
            &day.number().to_be_bytes(),
            &[key.report_type as u8],
            &onset.to_be_bytes(),
            &[key.transmission_risk.number()],
            &[0; 3],
        ]))
    }

    /// The key of a daily key, its day, and how its owner's status is known: a key that was revoked is on the list
    /// again, and says that nobody was ill.
    #[must_use]
    pub fn as_daily_key(&self) -> Option<(SimpleKey, Day, ReportType)> {
        let [report_type] = self.array::<1>(34);
        let report_type = ReportType::from_number(report_type).ok()?;
        Some((SimpleKey::new(self.array(0)).ok()?, self.day(32), report_type))
    }

    /// A venue contact, as it was reported; nothing if its token names no place.
    #[must_use]
    pub fn visit(report: &Contact<'_>) -> Option<Self> {
        let Authority::State(country, state) = report.token.header().authority() else { return None };
        let (location, area) = report.token.octets().split_first_chunk::<4>()?;
        Some(joined(&[
            &country.number().to_be_bytes(),
            &state.number().to_be_bytes(),
            location,
            &[area.first().copied().unwrap_or_default()],
            &report.day.number().to_be_bytes(),
            &[report.start.map_or(u8::MAX, QuarterHour::number)],
            &report.duration.number().to_be_bytes(),
            &[report.risk.kind],
            &report.risk.score.map_or(u16::MAX, Score::number).to_be_bytes(),
            &[0; 23],
        ]))
    }

    /// The visit of a venue entry; nothing for what fills a list up.
    #[must_use]
    pub fn as_visit(&self) -> Option<Visit> {
        let country = CountryCode::new(u16::from_be_bytes(self.array(0))).ok()?;
        let state = StateCode::new(u16::from_be_bytes(self.array(2)));
        let [area, day @ ..] = self.array::<3>(8);
        let [start, minutes @ .., kind] = self.array::<4>(11);
        Some(Visit {
            place: (country, state),
            location: u32::from_be_bytes(self.array(4)),
            area: (area != 0).then_some(area),
            day: Day::new(u16::from_be_bytes(day)),
            start: QuarterHour::new(start).ok(),
            minutes: Minutes::new("minutes", u16::from_be_bytes(minutes)).ok()?,
            kind,
            score: Score::new(u16::from_be_bytes(self.array(15))).ok(),
        })
    }

    /// Advice for the phone that gave a token.
    #[must_use]
    pub fn advice(token: ConfirmationToken, code: TimeCode, day: Day, advice: Advice) -> Self {
        let (day, code) = (day.number().to_be_bytes(), code.number().to_be_bytes());
        joined(&[token.octets(), &day, &[advice as u8, 0], &code, &[0; 16]])
    }

    /// Token, time code, day and advice of an advice entry; nothing for what fills a list up.
    #[must_use]
    pub fn as_advice(&self) -> Option<(ConfirmationToken, TimeCode, Day, Advice)> {
        let all = [Advice::AsymptomaticCarrier, Advice::SuperSpreader, Advice::SecondDegree];
        let [number] = self.array::<1>(18);
        let advice = all.into_iter().find(|advice| *advice as u8 == number)?;
        let code = TimeCode::new(u32::from_be_bytes(self.array(20))).ok()?;
        Some((ConfirmationToken::new(self.array(0)), code, self.day(16), advice))
    }

    fn day(&self, at: usize) -> Day {
        Day::new(u16::from_be_bytes(self.array(at)))
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(&self.0[at..at + N]);
        array
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("entry: 40 octets")
    }
}

fn joined(parts: &[&[u8]]) -> Entry {
    let mut octets = [0; Entry::LEN];
    let mut rest = &mut octets[..];
    for part in parts {
        let (to, behind) = rest.split_at_mut(part.len());
        to.copy_from_slice(part);
        rest = behind;
    }
    assert!(rest.is_empty(), "the parts of every entry have forty octets");
    Entry(octets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proto::header::EnvelopeHeader;
    use proto::report::{Risk, Token, TransmissionRisk};

    use super::*;

    #[test]
    fn a_contact_of_either_family_reads_back_and_looks_the_same() {
        let entry = confirmation::Entry {
            confirmation: ConfirmationToken::new([1; 16]),
            code: TimeCode::new(0x7fff_ffff).unwrap(),
            receipt: Receipt::new([2; 16]),
            day: Day::new(20_000),
        };
        let secured = Entry::contact(&entry, Subtotal::new(71));
        assert_eq!(secured.as_contact(), Some((entry, Subtotal::new(71))));
        assert_eq!(hex::encode(&secured.octets()[16..24]), "4e2000477fffffff");
        let simple = Entry::identifier([3; 16], Day::new(20_000), Subtotal::new(60));
        let (read, subtotal) = simple.as_contact().unwrap();
        assert_eq!((simple.token(), read.day, subtotal.number()), ([3; 16], Day::new(20_000), 60));
        assert_ne!(
            simple,
            Entry::identifier([3; 16], Day::new(20_000), Subtotal::new(60)),
            "filled up randomly"
        );
    }

    #[test]
    fn a_daily_key_reads_back() {
        let key = DiagnosisKey {
            destination: (CountryCode::new(826).unwrap(), StateCode::NATIONAL),
            issuer: "36/2".parse().unwrap(),
            key: IllKey::Simple(SimpleKey::new([5; 32]).unwrap(), Day::new(20_001)),
            report_type: ReportType::ConfirmedTest,
            onset: OnsetDays::new(-2).ok(),
            transmission_risk: TransmissionRisk::new(3).unwrap(),
        };
        let entry = Entry::daily_key(&key).unwrap();
        let read = (SimpleKey::new([5; 32]).unwrap(), Day::new(20_001), ReportType::ConfirmedTest);
        assert_eq!(entry.as_daily_key(), Some(read));
        assert_eq!(hex::encode(&entry.octets()[32..]), "4e2101fe03000000");
    }

    #[test]
    fn a_visit_reads_back() {
        let header = EnvelopeHeader::new(0x30, "826/1".parse().unwrap()).unwrap();
        let report = Contact {
            token: Token::new(header, &[0, 1, 0xe2, 0x40, 7]).unwrap(),
            day: Day::new(20_002),
            start: QuarterHour::new(41).ok(),
            duration: Minutes::capped(90),
            proximity: [Minutes::default(); 4],
            risk: Risk { kind: 2, score: Score::new(9).ok(), mechanism: 0 },
            extended: proto::extended::LeavingData::default(),
        };
        let visit = Entry::visit(&report).unwrap().as_visit().unwrap();
        let place = (CountryCode::new(826).unwrap(), StateCode::new(1));
        assert_eq!((visit.place, visit.location, visit.area), (place, 123_456, Some(7)));
        assert_eq!((visit.day, visit.start, visit.minutes), (report.day, report.start, report.duration));
        assert_eq!((visit.kind, visit.score), (2, Score::new(9).ok()));
        assert!(Entry::new([0; 40]).as_visit().is_none(), "what fills a list up is no place");
    }

    #[test]
    fn advice_reads_back() {
        let (token, code) = (ConfirmationToken::new([6; 16]), TimeCode::new(77).unwrap());
        for advice in [Advice::AsymptomaticCarrier, Advice::SuperSpreader, Advice::SecondDegree] {
            let entry = Entry::advice(token, code, Day::new(3), advice);
            assert_eq!(entry.as_advice(), Some((token, code, Day::new(3), advice)));
        }
        assert!(Entry::new([0; 40]).as_advice().is_none());
    }

    #[test]
    fn a_list_is_known_by_its_number() {
        assert!(ListKind::ALL.iter().all(|kind| ListKind::from_number(kind.number()) == Some(*kind)));
        assert_eq!([0, 5].map(ListKind::from_number), [None, None]);
    }

    proptest! {
        #[test]
        fn any_daily_key_reads_back(
            (key, day) in (any::<[u8; 32]>(), any::<u16>()),
            onset in prop::option::of(-14..=14_i8),
            report_type in prop::sample::select(&ReportType::ALL[..]),
        ) {
            prop_assume!(key != [0; 32]);
            let simple = SimpleKey::new(key).unwrap();
            let key = DiagnosisKey {
                destination: (CountryCode::new(826).unwrap(), StateCode::NATIONAL),
                issuer: "36/2".parse().unwrap(),
                key: IllKey::Simple(simple, Day::new(day)),
                report_type,
                onset: onset.map(|days| OnsetDays::new(days).unwrap()),
                transmission_risk: TransmissionRisk::new(3).unwrap(),
            };
            let entry = Entry::daily_key(&key).unwrap();
            prop_assert!(entry.as_daily_key() == Some((simple, Day::new(day), report_type)));
        }

        #[test]
        fn any_visit_reads_back(
            (country, state, location) in (1..=999_u16, any::<u16>(), any::<u32>()),
            (area, day, start) in (any::<u8>(), any::<u16>(), prop::option::of(0..=95_u8)),
            (minutes, kind, score) in (0..=360_u64, any::<u8>(), prop::option::of(0..=65_534_u16)),
        ) {
            let header = EnvelopeHeader::new(0x30, format!("{country}/{state}").parse().unwrap()).unwrap();
            let token = [&location.to_be_bytes()[..], &[area]].concat();
            let report = Contact {
                token: Token::new(header, &token).unwrap(),
                day: Day::new(day),
                start: start.map(|start| QuarterHour::new(start).unwrap()),
                duration: Minutes::capped(minutes),
                proximity: [Minutes::default(); 4],
                risk: Risk { kind, score: score.map(|score| Score::new(score).unwrap()), mechanism: 0 },
                extended: proto::extended::LeavingData::default(),
            };
            let visit = Visit {
                place: (CountryCode::new(country).unwrap(), StateCode::new(state)),
                location,
                area: (area != 0).then_some(area),
                day: report.day,
                start: report.start,
                minutes: report.duration,
                kind,
                score: report.risk.score,
            };
            prop_assert_eq!(Entry::visit(&report).unwrap().as_visit(), Some(visit));
        }

        #[test]
        fn any_advice_reads_back(token in any::<[u8; 16]>(), code in 0..=0x7fff_ffff_u32, day in any::<u16>(), which in 0..3_usize) {
            let advice = [Advice::AsymptomaticCarrier, Advice::SuperSpreader, Advice::SecondDegree][which];
            let written = (ConfirmationToken::new(token), TimeCode::new(code).unwrap(), Day::new(day), advice);
            let (token, code, day, advice) = written;
            prop_assert_eq!(Entry::advice(token, code, day, advice).as_advice(), Some(written));
        }

        #[test]
        fn any_forty_octets_are_read_or_passed_over(octets in any::<[u8; 32]>(), rest in any::<[u8; 8]>()) {
            let mut all = [0; 40];
            all[..32].copy_from_slice(&octets);
            all[32..].copy_from_slice(&rest);
            let entry = Entry::new(all);
            if let Some((contact, subtotal)) = entry.as_contact() {
                prop_assert_eq!(Entry::contact(&contact, subtotal), entry);
            }
            let _ = (entry.as_daily_key(), entry.as_visit(), entry.as_advice());
        }
    }
}
