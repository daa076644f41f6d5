//! What arrives is put where it is needed, once, and what fails a check nowhere.

mod again;
mod of_time;

use std::collections::BTreeMap;

use pki::seal::{PrivateKey, PublicKey, Suite};
use pki::secret::Secret;
use proto::day::Day;
use proto::extended::LeavingData;
use proto::header::EnvelopeHeader;
use proto::ids::StateCode;
use proto::report::{
    Contact as Reported, DiagnosisKey, IllKey, Minutes, QuarterHour, ReportType, Risk, Score, SimpleKey,
    Token, TransmissionRisk,
};

use super::*;
use crate::config::Approach;
use crate::herald::secured::report::ReportToken;
use crate::herald::secured::service::{DailyKey, ServiceContents};
use crate::herald::secured::totp::Step;
use crate::herald::secured::{Area, ConfirmationToken, ModelHash, Receipt, Uuid};
use crate::lists::{Entry, ListKind, queue};
use crate::phones::case_code::Degree;
use crate::receive::{OpenedBatch, verify};
use crate::second_degree::{Edges, edge_folder};
use crate::testing::{World, report};

/// A key of today, again and again the same one.
struct Key(Secret<Vec<u8>>);

impl Key {
    fn new() -> Self {
        Self(PrivateKey::generate(Suite::P256))
    }

    fn private(&self, day: Day) -> DailyKey<PrivateKey> {
        DailyKey {
            number: day.number(),
            days: day..=day,
            key: PrivateKey::parse(Suite::P256, &self.0).unwrap(),
        }
    }

    fn public(&self, day: Day) -> DailyKey<PublicKey> {
        let DailyKey { number, days, key } = self.private(day);
        DailyKey { number, days, key: key.public().clone() }
    }

    fn source(&self, day: Day) -> KeySource {
        let keys = Arc::new(vec![self.private(day)]);
        Arc::new(move || keys.clone())
    }
}

/// The octets of a phone's name, which are no octets of its tokens.
fn uuid(number: u8) -> u8 {
    number.wrapping_add(100)
}

/// A Secured contact with a phone of 826/1, twenty minutes long, that began at a step; `code_step` is the phone's clock.
struct Made {
    token: [u8; ReportToken::LEN],
    step: Step,
    duration: u64,
}

fn made(key: &DailyKey<PublicKey>, number: u8, step: Step, clock: Step) -> Made {
    let header = EnvelopeHeader::new(0x20, World::own()).unwrap();
    let confirmation = ConfirmationToken::new([number; 16]);
    let contents = ServiceContents::with_clock(
        Uuid::new([uuid(number); 16]),
        Area::new(*b"S41\0").unwrap(),
        ModelHash::new([2; 8]),
        (step, clock),
    );
    let service = contents.seal(key, header, &confirmation).unwrap();
    let token = ReportToken { service, confirmation, receipt: Receipt::new([number ^ 0xff; 16]) }.octets();
    Made { token, step, duration: 20 }
}

impl Made {
    fn octets(&self) -> Vec<u8> {
        let header = EnvelopeHeader::new(0x20, World::own()).unwrap();
        let mut octets = Vec::new();
        Report::Contact(Reported {
            token: Token::new(header, &self.token).unwrap(),
            day: self.step.day(),
            start: Some(QuarterHour::of_unix(self.step.unix())),
            duration: Minutes::capped(self.duration),
            proximity: [0, 20, 0, 0].map(Minutes::capped),
            risk: Risk::default(),
            extended: LeavingData::default(),
        })
        .encode(&mut octets);
        octets
    }
}

/// A desk of the United Kingdom's authority 1 in a world of its own.
struct Place {
    world: World,
    key: Key,
    step: Step,
}

impl Place {
    async fn new() -> Self {
        let world = World::start().await;
        // Noon, so that neighbouring steps are of the same day.
        let step = Step::of_unix(world.clock.today().unix() + 43_200);
        Self { world, key: Key::new(), step }
    }

    fn intake(&self, disk: Disk, approach: Approach) -> Result<Intake, BackendError> {
        let lines = Folder::open(&self.world.path("delivered"), disk.clone(), ".ndjson", Modes::SHARED)?;
        let mut outlets: Vec<Box<dyn Outlet>> = vec![Box::new(Lines::new(lines, approach))];
        if approach.posts() {
            let folder = queue::folder(&self.world.path("state"));
            let folder = Folder::open(&folder, disk.clone(), queue::ENDING, Modes::PRIVATE)?;
            outlets.push(Box::new(Postings::new(folder)));
        }
        self.world.intake_with(disk, outlets, Some(self.key.source(self.step.day())))
    }

    fn made(&self, number: u8) -> Made {
        made(&self.key.public(self.step.day()), number, self.step, self.step)
    }

    /// Entries of a list that wait to be posted, by token.
    fn posted(&self, kind: ListKind) -> BTreeMap<[u8; 16], usize> {
        let mut found = BTreeMap::new();
        for (_, entry) in self.entries().into_iter().filter(|(of, _)| *of == kind) {
            *found.entry(entry.token()).or_default() += 1;
        }
        found
    }

    /// All entries that wait to be posted.
    fn entries(&self) -> Vec<(ListKind, Entry)> {
        let folder = queue::folder(&self.world.path("state"));
        let names = crate::durable::names(&folder).unwrap_or_default();
        let files = names.iter().filter(|name| name.ends_with(queue::ENDING));
        files.flat_map(|name| queue::parse(&std::fs::read(folder.join(name)).unwrap()).unwrap()).collect()
    }

    fn handed_over(&self) -> usize {
        self.world.lines("delivered").iter().map(|(_, lines)| lines.len()).sum()
    }
}

fn upload(number: u8) -> UploadId {
    UploadId::from([number; 16])
}

fn take(intake: &Intake, id: u8, octets: &[Vec<u8>]) -> Taken {
    let reports: Vec<_> = octets.iter().map(|octets| Report::decode(octets).unwrap()).collect();
    intake.take(upload(id), Degree::First, &reports).unwrap()
}

fn refusals(intake: &Intake) -> BTreeMap<&'static str, u64> {
    let counts = intake.counters.snapshot().tokens_refused;
    let named = Refused::ALL.iter().zip(counts).map(|(refused, count)| (refused.name(), count));
    named.filter(|(_, count)| *count > 0).collect()
}

#[tokio::test]
async fn each_approach_hands_over_and_posts_what_it_should() {
    for (approach, handed_over, posted) in
        [(Approach::Centralised, 2, 0), (Approach::Decentralised, 0, 2), (Approach::Hybrid, 2, 2)]
    {
        let place = Place::new().await;
        let intake = place.intake(Disk::default(), approach).unwrap();
        take(&intake, 1, &[place.made(1).octets(), report(2, &place.world.clock)]);
        assert_eq!(place.handed_over(), handed_over, "{approach:?}");
        assert_eq!(place.posted(ListKind::Contacts).len(), posted, "{approach:?}");
        assert_eq!(intake.counters.snapshot().events, 2);
    }
}

#[tokio::test]
async fn what_only_the_backend_understands_is_handed_over_whatever_the_approach() {
    let place = Place::new().await;
    let intake = place.intake(Disk::default(), Approach::Decentralised).unwrap();
    let custom = crate::testing::report_for(&[0x08, 0x03, 0x3a, 0, 1], 1, &place.world.clock);
    take(&intake, 1, &[custom]);
    assert_eq!(place.handed_over(), 1);
}

#[tokio::test]
async fn the_backend_learns_what_the_phone_told_its_authority() {
    let place = Place::new().await;
    let intake = place.intake(Disk::default(), Approach::Centralised).unwrap();
    take(&intake, 1, &[place.made(7).octets()]);
    let line = &place.world.lines("delivered")[0].1[0];
    assert_eq!((line["batch"].as_str(), line["origin"].as_u64()), (Some("upload"), Some(826)));
    assert_eq!((line["subtotal"].as_u64(), line["mechanism"].as_u64()), (Some(80), Some(1)));
    assert_eq!(line["phone"]["uuid"], hex::encode([uuid(7); 16]));
    assert_eq!(
        (line["phone"]["area"].as_str(), line["phone"]["step"].as_u64()),
        (Some("S41"), Some(place.step.number().into()))
    );
}

#[tokio::test]
async fn an_entry_is_what_the_phone_will_recognise_and_nothing_of_who_reported() {
    let place = Place::new().await;
    let intake = place.intake(Disk::default(), Approach::Decentralised).unwrap();
    take(&intake, 1, &[place.made(7).octets()]);
    let folder = queue::folder(&place.world.path("state"));
    let name =
        crate::durable::names(&folder).unwrap().into_iter().find(|name| name.ends_with("entries")).unwrap();
    let octets = std::fs::read(folder.join(name)).unwrap();
    let [(ListKind::Contacts, entry)] = queue::parse(&octets).unwrap()[..] else { panic!("one contact") };
    let (contact, subtotal) = entry.as_contact().unwrap();
    assert_eq!(
        (contact.confirmation, contact.receipt),
        (ConfirmationToken::new([7; 16]), Receipt::new([!7; 16]))
    );
    assert_eq!((contact.day, subtotal.number()), (place.step.day(), 80));
    for (secret, stays) in [(&b"S41\0"[..], "area"), (&[uuid(7); 3], "UUID"), (&[2; 3], "model")] {
        assert!(
            !octets.windows(secret.len()).any(|window| window == secret),
            "the {stays} stays at the authority"
        );
    }
    let _: Entry = entry;
}

#[tokio::test]
async fn a_clock_one_step_away_is_taken_and_two_steps_are_refused_and_counted() {
    for (away, taken) in [(0_u32, 1), (1, 1), (2, 0)] {
        for clock in [place_step(away, i32::MIN), place_step(away, i32::MAX)] {
            let place = Place::new().await;
            let intake = place.intake(Disk::default(), Approach::Decentralised).unwrap();
            let clock = Step::new(place.step.number().checked_add_signed(clock).unwrap());
            let key = place.key.public(place.step.day());
            take(&intake, 1, &[made(&key, 1, place.step, clock).octets()]);
            assert_eq!(place.posted(ListKind::Contacts).len(), taken, "{away}");
            let expected =
                if taken == 1 { BTreeMap::new() } else { BTreeMap::from([("wrong_time_code", 1)]) };
            assert_eq!(refusals(&intake), expected);
        }
    }
}

/// So many steps before or after.
fn place_step(away: u32, direction: i32) -> i32 {
    i32::try_from(away).unwrap() * direction.signum()
}

#[tokio::test]
async fn every_refusal_is_counted_by_its_reason_and_comes_to_nothing() {
    let place = Place::new().await;
    let intake = place.intake(Disk::default(), Approach::Hybrid).unwrap();
    let (day, step) = (place.step.day(), place.step);
    let mut unknown = place.made(1);
    unknown.token[..2].copy_from_slice(&(day.number() + 1).to_be_bytes());
    let mut junk = place.made(2);
    junk.token[70] ^= 1;
    let stranger = made(&Key::new().public(day), 3, step, step);
    let mut moved = place.made(4);
    moved.step = Step::new(step.number() + 8);
    let late = made(&place.key.public(day), 5, step, Step::new(step.number() + 2));
    let other_day =
        made(&place.key.public(day), 6, Step::new(step.number() - 96), Step::new(step.number() - 96));
    // Twenty minutes at 1-2 m, in a contact of seventeen.
    let mut brief = place.made(8);
    brief.duration = 17;
    let good = place.made(7);
    take(
        &intake,
        1,
        &[&unknown, &junk, &stranger, &moved, &late, &other_day, &brief, &good].map(Made::octets),
    );
    take(&intake, 2, &[good.octets()]);
    let expected = [
        ("already_seen", 1),
        ("impossible_minutes", 1),
        ("key_of_another_day", 1),
        ("not_opened", 2),
        ("outside_of_contact", 1),
        ("unknown_key", 1),
        ("wrong_time_code", 1),
    ];
    assert_eq!(refusals(&intake), BTreeMap::from(expected));
    assert_eq!((place.handed_over(), place.posted(ListKind::Contacts).len()), (1, 1));
}

#[tokio::test]
async fn an_upload_is_taken_once_and_its_tokens_are_known_after_a_restart() {
    let place = Place::new().await;
    let open = || place.intake(Disk::default(), Approach::Decentralised).unwrap();
    let octets = [place.made(1).octets()];
    assert_eq!([take(&open(), 1, &octets), take(&open(), 1, &octets)], [Taken::Now, Taken::Before]);
    let intake = open();
    assert_eq!(take(&intake, 2, &octets), Taken::Now);
    assert_eq!(refusals(&intake), BTreeMap::from([("already_seen", 1)]));
    assert_eq!(place.posted(ListKind::Contacts).into_values().collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn killed_between_any_two_steps_each_outlet_has_each_event_once() {
    let place = Place::new().await;
    let octets: Vec<_> = (1..=3).map(|number| place.made(number).octets()).collect();
    for steps in 0_isize.. {
        for folder in ["state", "delivered"] {
            let _ = std::fs::remove_dir_all(place.world.path(folder));
        }
        let reports: Vec<_> = octets.iter().map(|octets| Report::decode(octets).unwrap()).collect();
        let disk = Disk::dying_after(steps);
        let killed = place
            .intake(disk.clone(), Approach::Hybrid)
            .and_then(|intake| intake.take(upload(1), Degree::First, &reports));
        let intake = place.intake(Disk::default(), Approach::Hybrid).unwrap();
        intake.take(upload(1), Degree::First, &reports).unwrap();
        assert_eq!(place.handed_over(), 3, "killed after step {steps}");
        let posted = place.posted(ListKind::Contacts);
        assert_eq!(posted.into_values().collect::<Vec<_>>(), [1, 1, 1], "killed after step {steps}");
        if killed.is_ok() && !disk.is_dead() {
            assert!(steps > 15, "{steps} steps cannot be all");
            return;
        }
    }
}

#[tokio::test]
async fn what_is_kept_of_a_case_for_the_analysis_cannot_be_told_to_be_of_its_upload() {
    let place = Place::new().await;
    let edges =
        |disk| vec![Box::new(Edges::open(&place.world.path("state"), disk).unwrap()) as Box<dyn Outlet>];
    let open = || {
        let disk = Disk::default();
        let keys = Some(place.key.source(place.step.day()));
        place.world.intake_with(disk.clone(), edges(disk), keys).unwrap()
    };
    take(&open(), 1, &[place.made(7).octets()]);
    take(&open(), 1, &[place.made(7).octets()]);
    take(&open(), 2, &[place.made(8).octets()]);
    let folder = edge_folder(&place.world.path("state"));
    let names = crate::durable::names(&folder).unwrap();
    let names: Vec<_> = names.iter().filter(|name| name.ends_with(".edges")).collect();
    assert_eq!(names.len(), 2, "one file a case");
    for name in names {
        assert!(!name.contains(&upload(1).to_string()) && !name.contains(&upload(2).to_string()), "{name}");
        let written = std::fs::metadata(folder.join(name)).unwrap().modified().unwrap();
        assert_eq!(written, std::time::SystemTime::UNIX_EPOCH);
    }
}

#[tokio::test]
async fn who_was_only_exposed_gives_advice_without_a_score() {
    let place = Place::new().await;
    let intake = place.intake(Disk::default(), Approach::Hybrid).unwrap();
    let octets = [place.made(1).octets()];
    let reports: Vec<_> = octets.iter().map(|octets| Report::decode(octets).unwrap()).collect();
    intake.take(upload(1), Degree::Second, &reports).unwrap();
    assert!(place.posted(ListKind::Contacts).is_empty());
    assert_eq!(place.posted(ListKind::Advice).len(), 1);
    let line = &place.world.lines("delivered")[0].1[0];
    assert_eq!((line["degree"].as_u64(), line.get("subtotal")), (Some(2), None));
}

/// A batch from France at a position, opened.
fn batch(place: &Place, position: u64, reports: &[Vec<u8>]) -> OpenedBatch {
    batch_from(250, place, position, reports)
}

fn batch_from(country: u16, place: &Place, position: u64, reports: &[Vec<u8>]) -> OpenedBatch {
    let (trust, batch) = (place.world.federation.trust_list(), place.world.plan_from(country, position));
    let verified = verify(position, batch.seal(reports), &trust, World::own()).unwrap();
    OpenedBatch::open(&verified, &place.world.keys.hpke, World::own()).unwrap()
}

fn accept(intake: &Intake, batch: &OpenedBatch) -> Result<Accepted, BackendError> {
    let through = Mark { position: batch.position(), manifest_hash: None };
    intake.accept(through, &[batch.read()], |_| Ok(()))
}

fn over_quota(accepted: Result<Accepted, BackendError>) -> usize {
    accepted.unwrap().over_quota.into_values().sum()
}

/// Service tokens that nobody opens.
fn junk(place: &Place) -> Vec<Vec<u8>> {
    let broken = (0..250_u8).map(|number| {
        let mut made = place.made(number);
        made.token[70] ^= 1;
        made.octets()
    });
    broken.collect()
}

#[tokio::test]
async fn who_was_exposed_and_then_is_ill_still_warns_with_the_same_contacts() {
    let place = Place::new().await;
    let octets = [place.made(1).octets()];
    let reports: Vec<_> = octets.iter().map(|octets| Report::decode(octets).unwrap()).collect();
    let counted = |id, degree| {
        let intake = place.intake(Disk::default(), Approach::Decentralised).unwrap();
        intake.take(upload(id), degree, &reports).unwrap();
        (place.posted(ListKind::Advice).len(), place.posted(ListKind::Contacts).len())
    };
    assert_eq!(counted(1, Degree::Second), (1, 0));
    assert_eq!(counted(2, Degree::First), (1, 1));
    assert_eq!(counted(3, Degree::First), (1, 1), "but once");
    assert_eq!(counted(4, Degree::Second), (1, 1));
}

#[tokio::test]
async fn a_country_over_its_quota_is_refused_and_a_case_of_this_authority_is_not() {
    let place = Place::new().await;
    let intake = place.intake(Disk::default(), Approach::Decentralised).unwrap();
    let junk = junk(&place);
    for position in 1..=4 {
        assert_eq!(over_quota(accept(&intake, &batch(&place, position, &junk))), 0);
    }
    let simple: Vec<_> = (0..100).map(|number| report(number, &place.world.clock)).collect();
    let fifth = [&[place.made(7).octets()], &simple[..]].concat();
    assert_eq!(over_quota(accept(&intake, &batch(&place, 5, &fifth))), 2, "a token, and the last report");
    assert_eq!(refusals(&intake), BTreeMap::from([("not_opened", 1_000), ("over_quota", 2)]));
    assert_eq!(place.posted(ListKind::Contacts).len(), 99);
    take(&intake, 1, &[place.made(7).octets()]);
    take(&intake, 2, &[report(1_000, &place.world.clock)]);
    assert_eq!(place.posted(ListKind::Contacts).len(), 101);
}

#[tokio::test]
async fn a_batch_that_the_disk_refuses_again_and_again_costs_its_quota_once_and_counts_once() {
    let place = Place::new().await;
    let (good, _) = (place.made(7), place.intake(Disk::default(), Approach::Decentralised).unwrap());
    // The first disk that opens fails at each further step.
    let opened = (0..).find_map(|steps| {
        let disk = Disk::dying_after(steps);
        Some((place.intake(disk.clone(), Approach::Decentralised).ok()?, disk))
    });
    let (intake, disk) = opened.unwrap();
    let full = [junk(&place), vec![good.octets()]].concat();
    let batch = batch(&place, 1, &full);
    for _ in 0..6 {
        assert!(accept(&intake, &batch).is_err());
    }
    assert!(refusals(&intake).is_empty() && intake.counters.snapshot().events == 0);
    disk.heal();
    assert_eq!(over_quota(accept(&intake, &batch)), 0);
    assert_eq!(refusals(&intake), BTreeMap::from([("not_opened", 250)]));
    assert_eq!((place.posted(ListKind::Contacts).len(), intake.counters.snapshot().events), (1, 1));
}

/// Somebody ill was at a venue of 826/1.
fn somewhere(day: Day) -> Vec<u8> {
    visit(day, [0; 4], None)
}

/// A visit of twenty minutes, with its minutes by distance and its score.
fn visit(day: Day, proximity: [u64; 4], score: Option<u16>) -> Vec<u8> {
    let header = EnvelopeHeader::new(0x30, World::own()).unwrap();
    let mut octets = Vec::new();
    Report::Contact(Reported {
        token: Token::new(header, &7_u32.to_be_bytes()).unwrap(),
        day,
        start: None,
        duration: Minutes::capped(20),
        proximity: proximity.map(Minutes::capped),
        risk: Risk { score: score.map(|score| Score::new(score).unwrap()), ..Risk::default() },
        extended: LeavingData::default(),
    })
    .encode(&mut octets);
    octets
}

/// A daily key of somebody ill, for 826/1.
fn key(report_type: ReportType, day: Day) -> Vec<u8> {
    key_of("250/0", report_type, day)
}

/// The same, of a case that some authority has confirmed.
fn key_of(issuer: &str, report_type: ReportType, day: Day) -> Vec<u8> {
    let mut octets = Vec::new();
    Report::DiagnosisKey(DiagnosisKey {
        destination: ("826".parse().unwrap(), StateCode::new(1)),
        issuer: issuer.parse().unwrap(),
        key: IllKey::Simple(SimpleKey::new([5; 32]).unwrap(), day),
        report_type,
        onset: None,
        transmission_risk: TransmissionRisk::default(),
    })
    .encode(&mut octets);
    octets
}

#[tokio::test]
async fn an_identifier_of_simple_and_an_ill_persons_key_count_once_and_a_place_as_often_as_somebody_ill_was_there()
 {
    let place = Place::new().await;
    let open = || place.intake(Disk::default(), Approach::Decentralised).unwrap();
    let clock = &place.world.clock;
    let day = clock.today().minus(2);
    let reports = |issuer: &str| {
        let key = key_of(issuer, ReportType::ConfirmedTest, day);
        [report(1, clock), key, somewhere(clock.today())]
    };
    take(&open(), 1, &reports("826/1"));
    // Another case, behind a restart, and another country, twice.
    let intake = open();
    take(&intake, 2, &reports("826/1"));
    accept(&intake, &batch(&place, 1, &reports("250/0"))).unwrap();
    accept(&intake, &batch(&place, 2, &reports("250/0"))).unwrap();
    assert_eq!(refusals(&intake), BTreeMap::from([("already_seen", 5)]));
    let posted = |kind| place.posted(kind).into_values().sum::<usize>();
    assert_eq!(
        (posted(ListKind::Contacts), posted(ListKind::DailyKeys)),
        (1, 2),
        "each country confirms for itself"
    );
    assert_eq!(posted(ListKind::Venues), 4);
    // Its owner takes it back.
    take(&intake, 3, &[key_of("826/1", ReportType::Revoked, day)]);
    assert_eq!(refusals(&intake), BTreeMap::from([("already_seen", 5)]));
}

#[tokio::test]
async fn a_key_counts_only_if_its_sender_is_the_country_that_confirmed_the_case() {
    let place = Place::new().await;
    let intake = place.intake(Disk::default(), Approach::Decentralised).unwrap();
    let day = place.world.clock.today().minus(2);
    for (position, issuer) in (1..).zip(["276/0", "826/1", "250/7", "x/0000abcd"]) {
        let key = key_of(issuer, ReportType::ConfirmedTest, day);
        accept(&intake, &batch(&place, position, &[key])).unwrap();
    }
    take(&intake, 1, &[key_of("250/0", ReportType::ConfirmedTest, day)]);
    assert_eq!(refusals(&intake).get("other_issuer"), Some(&3));
    assert_eq!(place.posted(ListKind::DailyKeys).len(), 1);
}
