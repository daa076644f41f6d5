//! A case is taken whole and once, whenever the adapter is killed.

use std::collections::BTreeMap;

use proto::extended::ExtendedData;
use proto::header::EnvelopeHeader;
use proto::ids::CountryCode;
use proto::report::{Minutes, QuarterHour, ReportType, SimpleKey, Token, TransmissionRisk};

use super::super::upload::{SIZE, UploadedContact, UploadedKey};
use super::*;
use crate::backend::Backend;
use crate::herald::secured::ModelHash;
use crate::herald::secured::block::Readings;
use crate::herald::secured::client_id::ClientId;
use crate::testing::World;

/// Cases of the United Kingdom's authority 1.
struct Place {
    world: World,
    policy: Policy,
}

fn contact<'a>(issuer: &str, token: &'a [u8; 16], day: Day) -> UploadedContact<'a> {
    let header = EnvelopeHeader::new(0x10, issuer.parse().unwrap()).unwrap();
    UploadedContact {
        token: Token::new(header, token).unwrap(),
        day,
        start: QuarterHour::new(41).ok(),
        duration: Minutes::capped(20),
        proximity: [2, 12, 6, 0].map(Minutes::capped),
        readings: Readings::default(),
        model: ModelHash::new([0; 8]),
        extended: ExtendedData::default(),
    }
}

impl Place {
    async fn new() -> Self {
        Self { world: World::start().await, policy: Policy::Off }
    }

    fn open(&self, disk: Disk) -> Result<Cases, BackendError> {
        let state = self.world.path("state");
        let country = CountryCode::new(826).unwrap();
        let parts = Parts {
            spool: Arc::new(Spool::open(&state, disk.clone(), self.world.clock.clone())?),
            intake: Arc::new(self.world.intake(disk.clone())?),
            fan_out: FanOut { issuer: World::own(), own: country, subscribers: Vec::new() },
            trust: self.world.trust.subscribe(),
            second_degree: self.policy,
            contacts_per_case: 10,
            clock: self.world.clock.clone(),
            wake: Arc::default(),
        };
        Cases::open(&state, disk, parts)
    }

    fn code(&self, degree: Degree) -> CaseCode {
        let codes = CaseCodes::open(&self.world.path("state"), Disk::default()).unwrap();
        codes.create(self.world.clock.now() + 60, degree).unwrap()
    }

    /// Two contacts at home, three abroad, a key of last week and one of today.
    fn upload(&self) -> Zeroizing<Vec<u8>> {
        let today = self.world.clock.today();
        let tokens: Vec<_> = (1..=5).map(|number| [number; 16]).collect();
        let issuers = ["826/1", "826/1", "250/0", "276/0", "250/0"];
        let contacts = issuers.iter().zip(&tokens).map(|(issuer, token)| contact(issuer, token, today));
        let key = |number: u8, day| UploadedKey {
            key: proto::report::IllKey::Simple(SimpleKey::new([number; 32]).unwrap(), day),
            report_type: ReportType::ConfirmedTest,
            onset: None,
            transmission_risk: TransmissionRisk::default(),
            visited: vec![CountryCode::new(250).unwrap()],
        };
        let upload = Upload {
            client: ClientId::new(*b"CANARYclientidxx"),
            contacts: contacts.collect(),
            keys: vec![key(1, today.minus(7)), key(2, today)],
        };
        upload.octets().unwrap()
    }

    fn take(&self, code: &CaseCode, octets: &[u8]) -> Result<Accepted, Refused> {
        self.open(Disk::default())?.take(code, octets)
    }

    /// Lines that are to be published, by the country that they are for.
    fn published(&self) -> BTreeMap<u64, usize> {
        let mut found = BTreeMap::new();
        for (_, lines) in self.world.lines("state/spool") {
            lines.iter().for_each(|line| *found.entry(line["country"].as_u64().unwrap()).or_default() += 1);
        }
        found
    }

    fn files(&self, folder: &str) -> usize {
        let names = durable::names(&self.world.path(folder)).unwrap();
        names.iter().filter(|name| name.ends_with(".ndjson")).count()
    }

    fn handed_over(&self) -> usize {
        self.world.lines("delivered").iter().map(|(_, lines)| lines.len()).sum()
    }
}

use zeroize::Zeroizing;

#[tokio::test]
async fn a_case_is_split_between_home_and_abroad_and_its_code_is_used() {
    let place = Place::new().await;
    let (code, octets) = (place.code(Degree::First), place.upload());
    assert_eq!(place.take(&code, &octets).unwrap(), Accepted { domestic: 2, foreign: 3, keys: 2 });
    assert_eq!(place.handed_over(), 3, "two contacts, and the key for the own list");
    let published = BTreeMap::from([(250, 3), (276, 1), (826, 1)]);
    assert_eq!(place.published(), published, "the other authority at home gets the key too; today's is held");
    let again = place.take(&code, &octets).unwrap_err();
    assert!(matches!(again, Refused::UsedCode { same: true }), "{again}");
    let mut other = octets.clone();
    other[1] ^= 1;
    assert!(matches!(place.take(&code, &other), Err(Refused::UsedCode { same: false })));
    assert_eq!((place.handed_over(), place.published().values().sum::<usize>()), (3, 5));
}

#[tokio::test]
async fn killed_between_any_two_steps_a_case_is_taken_once() {
    for steps in 0_isize.. {
        let place = Place::new().await;
        let (code, octets) = (place.code(Degree::First), place.upload());
        let disk = Disk::dying_after(steps);
        let killed =
            place.open(disk.clone()).map_err(Refused::from).and_then(|cases| cases.take(&code, &octets));
        let cases = place.open(Disk::default()).unwrap();
        // The phone got no answer, and asks again.
        match cases.take(&code, &octets) {
            Ok(_) | Err(Refused::UsedCode { same: true }) => {}
            Err(refused) => panic!("killed after step {steps}: {refused}"),
        }
        assert_eq!(place.handed_over(), 3, "killed after step {steps}");
        let published = BTreeMap::from([(250, 3), (276, 1), (826, 1)]);
        assert_eq!(place.published(), published, "killed after step {steps}");
        for held in ["state/spool/held", "state/own-keys"] {
            assert_eq!(place.files(held), 1, "killed after step {steps}: {held}");
        }
        assert!(durable::names(&place.world.path("state/spool/.incoming")).unwrap().is_empty());
        let left = durable::names(&place.world.path("state/uploads")).unwrap();
        assert_eq!(left, ["taken"], "killed after step {steps}");
        if killed.is_ok() && !disk.is_dead() {
            assert!(steps > 40, "{steps} steps cannot be all");
            return;
        }
    }
}

#[tokio::test]
async fn killed_before_midnight_and_resumed_after_it_a_case_is_whole() {
    for steps in 0_isize.. {
        let place = Place::new().await;
        let today = place.world.clock.today();
        let contacts =
            [("826/1", today), ("826/1", today.minus(15)), ("250/0", today.minus(15)), ("250/0", today)];
        let tokens: Vec<_> = (1..=4).map(|number| [number; 16]).collect();
        let contacts =
            contacts.iter().zip(&tokens).map(|((issuer, day), token)| contact(issuer, token, *day));
        let client = ClientId::new([0; 16]);
        let octets = Upload { client, contacts: contacts.collect(), keys: vec![] }.octets().unwrap();
        let (code, disk) = (place.code(Degree::First), Disk::dying_after(steps));
        let killed =
            place.open(disk.clone()).map_err(Refused::from).and_then(|cases| cases.take(&code, &octets));
        place.world.clock.turn(86_400);
        let cases = place.open(Disk::default()).unwrap();
        let taken = match cases.take(&code, &octets) {
            Err(Refused::UsedCode { same: true }) => 2,
            // Nothing of it was kept, and a day later the phone is too late.
            Err(Refused::ExpiredCode) => 0,
            other => panic!("killed after step {steps}: {other:?}"),
        };
        assert_eq!(place.handed_over(), taken, "killed after step {steps}");
        assert_eq!(place.published().values().sum::<usize>(), taken, "killed after step {steps}");
        if killed.is_ok() && !disk.is_dead() {
            assert!(steps > 40, "{steps} steps cannot be all");
            return;
        }
    }
}

#[tokio::test]
async fn of_two_uploads_with_one_code_one_is_taken() {
    let place = Place::new().await;
    let code = place.code(Degree::First);
    let cases = place.open(Disk::default()).unwrap();
    let first = place.upload();
    let mut second = first.clone();
    second[1] ^= 1;
    let taken = std::thread::scope(|scope| {
        let uploads = [&first, &second].map(|octets| scope.spawn(|| cases.take(&code, octets).is_ok()));
        uploads.map(|upload| upload.join().unwrap())
    });
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
    assert_eq!(place.handed_over(), 3);
}

#[tokio::test]
async fn what_is_refused_is_not_stored_and_the_code_can_still_be_used() {
    let place = Place::new().await;
    let code = place.code(Degree::First);
    let today = place.world.clock.today();
    let upload = |day, count: usize| {
        let contacts = (0..count).map(|_| contact("250/0", &[1; 16], day)).collect();
        Upload { client: ClientId::new([0; 16]), contacts, keys: vec![] }.octets().unwrap()
    };
    let old = place.take(&code, &upload(today.minus(16), 1)).unwrap_err();
    assert_eq!(
        (old.date(), old.place()),
        (Some(DateOut::TooOld), Some(super::super::upload::Place::Contact(1)))
    );
    let future = place.take(&code, &upload(today.plus(2), 1)).unwrap_err();
    assert_eq!(future.date(), Some(DateOut::FromTheFuture));
    assert!(matches!(place.take(&code, &upload(today, 11)), Err(Refused::TooMany { most: 10 })));
    assert!(matches!(place.take(&code, &vec![0; SIZE]), Err(Refused::Upload(_))));
    assert!(matches!(place.take(&CaseCode::random(), &upload(today, 1)), Err(Refused::UnknownCode)));
    assert_eq!((place.handed_over(), place.published().len()), (0, 0));
    assert_eq!(durable::names(&place.world.path("state/uploads")).unwrap(), ["taken"]);
    assert_eq!(place.take(&code, &upload(today, 10)).unwrap().foreign, 1, "the same contact counts once");
    let late = place.code(Degree::First);
    place.world.clock.turn(61);
    assert!(matches!(place.take(&late, &upload(today, 1)), Err(Refused::ExpiredCode)));
}

#[tokio::test]
async fn contacts_of_the_second_degree_stay_in_the_country_if_it_wants_them_at_all() {
    let mut place = Place::new().await;
    let code = place.code(Degree::Second);
    assert!(matches!(place.take(&code, &place.upload()), Err(Refused::SecondDegreeOff)));
    place.policy = Policy::On;
    let accepted = place.take(&code, &place.upload()).unwrap();
    assert_eq!(accepted, Accepted { domestic: 2, foreign: 0, keys: 0 });
    assert!(place.published().is_empty());
    assert!(durable::names(&place.world.path("state/spool/held")).unwrap().is_empty());
}

#[tokio::test]
async fn a_held_key_is_used_two_hours_after_its_day_abroad_and_at_home_once() {
    let place = Place::new().await;
    place.take(&place.code(Degree::First), &place.upload()).unwrap();
    let cases = place.open(Disk::default()).unwrap();
    let over = place.world.clock.today().plus(1).unix() + 7_200;
    assert!(!cases.spool.release(over - 1).unwrap());
    cases.release(over - 1).unwrap();
    assert_eq!(place.handed_over(), 3);
    assert!(cases.spool.release(over).unwrap());
    assert_eq!(place.published(), BTreeMap::from([(250, 4), (276, 1), (826, 2)]));
    for steps in 0.. {
        let disk = Disk::dying_after(steps);
        let released = place.open(disk.clone()).and_then(|cases| cases.release(over));
        if released.is_ok() && !disk.is_dead() {
            break;
        }
    }
    assert_eq!((place.handed_over(), place.files("state/own-keys")), (4, 0));
}

#[tokio::test]
async fn a_damaged_file_of_held_keys_keeps_no_other_waiting() {
    let place = Place::new().await;
    place.take(&place.code(Degree::First), &place.upload()).unwrap();
    let held = place.world.path("state/own-keys");
    let over = place.world.clock.today().plus(1).unix() + 7_200;
    let damaged = held.join(format!("1.{}.ndjson", "0".repeat(32)));
    std::fs::write(&damaged, "no report\n").unwrap();
    let cases = place.open(Disk::default()).unwrap();
    let told = cases.release(over).unwrap_err().to_string();
    assert!(told.contains("is damaged") && told.contains(&"0".repeat(32)), "{told}");
    assert_eq!(place.handed_over(), 4, "the key that was held");
    assert_eq!(place.files("state/own-keys"), 1, "a person looks at the other one");
}

#[tokio::test]
async fn killed_before_its_commit_and_resumed_after_the_embargo_a_key_goes_out_once() {
    for steps in 0_isize.. {
        let place = Place::new().await;
        let (code, octets) = (place.code(Degree::First), place.upload());
        let disk = Disk::dying_after(steps);
        let killed =
            place.open(disk.clone()).map_err(Refused::from).and_then(|cases| cases.take(&code, &octets));
        place.world.clock.turn(3 * 86_400);
        let cases = place.open(Disk::default()).unwrap();
        let now = place.world.clock.now();
        cases.release(now).unwrap();
        cases.spool.release(now).unwrap();
        let published: usize = place.published().values().sum();
        let whole = [(0, 0), (4, 7)].contains(&(place.handed_over(), published));
        assert!(whole, "killed after step {steps}: {} here, {published} leave", place.handed_over());
        if killed.is_ok() && !disk.is_dead() {
            assert_eq!(published, 7);
            return;
        }
    }
}

#[tokio::test]
async fn a_phone_is_not_found_in_anything_that_is_kept() {
    let place = Place::new().await;
    place.take(&place.code(Degree::First), &place.upload()).unwrap();
    let mut folders = vec![place.world.path("state"), place.world.path("delivered")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let octets = std::fs::read(&path).unwrap();
                assert!(!octets.windows(6).any(|window| window == b"CANARY"), "{}", path.display());
            }
        }
    }
}

#[tokio::test]
async fn what_a_full_disk_has_interrupted_is_finished_without_a_restart_and_without_its_phone() {
    for steps in 0_isize.. {
        let place = Place::new().await;
        let (code, octets) = (place.code(Degree::First), place.upload());
        place.open(Disk::default()).unwrap();
        let (failing, disk) = Disk::failing_once_after(steps);
        let Ok(cases) = place.open(disk) else { continue };
        let taken = cases.take(&code, &octets);
        let names = durable::names(&place.world.path("state/uploads")).unwrap();
        let is_begun = names.iter().any(|name| name.ends_with(".upload"));
        let of = Some(digest(&octets));
        let is_used = matches!(cases.check_code(&code, of), Err(Refused::UsedCode { same: true }));
        cases.resume_all().unwrap_or_else(|cause| panic!("failed at step {steps}: {cause}"));
        let is_whole = taken.is_ok() || is_begun || is_used;
        let published: usize = place.published().values().sum();
        let expected = if is_whole { (3, 5) } else { (0, 0) };
        assert_eq!((place.handed_over(), published), expected, "failed at step {steps}");
        assert_eq!(durable::names(&place.world.path("state/uploads")).unwrap(), ["taken"], "step {steps}");
        // Its phone comes again all the same.
        let again = cases.take(&code, &octets);
        let is_known = matches!(again, Err(Refused::UsedCode { same: true }));
        assert!(if is_whole { is_known } else { again.is_ok() }, "failed at step {steps}: {again:?}");
        assert_eq!(place.handed_over(), 3, "failed at step {steps}");
        if !failing() {
            assert!(steps > 40, "{steps} steps cannot be all");
            return;
        }
    }
}

#[tokio::test]
async fn whoever_has_the_code_of_a_case_finds_nothing_of_what_it_met() {
    let place = Place::new().await;
    let code = place.code(Degree::First);
    place.take(&code, &place.upload()).unwrap();
    let (id, used) = (code.id().to_string(), place.world.path("state/cases/used"));
    let mut folders = vec![place.world.path("state"), place.world.path("delivered")];
    let mut named = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().contains(&id) {
                named.push(path.clone());
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                let octets = std::fs::read(&path).unwrap();
                let has = |name: &[u8]| octets.windows(name.len()).any(|window| window == name);
                assert!(!has(id.as_bytes()) && !has(code.id().octets()), "{}", path.display());
            }
        }
    }
    assert_eq!(named.len(), 1, "{named:?}");
    assert!(named[0].starts_with(&used), "the code itself is known as used");
    let changed = std::fs::metadata(&named[0]).unwrap().modified().unwrap();
    assert_eq!(changed, std::time::UNIX_EPOCH, "no time says which upload was its own");
}

#[tokio::test]
async fn the_publisher_takes_the_spool_first_and_removes_what_was_answered() {
    let place = Place::new().await;
    place.take(&place.code(Degree::First), &place.upload()).unwrap();
    place.world.drop_file("a.ndjson", &[crate::testing::line(1, &place.world.clock).to_string()]);
    let cases = place.open(Disk::default()).unwrap();
    let sources =
        crate::publish::Sources::new(cases.spool.clone(), place.world.backend(Disk::default()).unwrap());
    assert_eq!(sources.waiting().unwrap(), 2);
    let case = sources.outgoing().unwrap().unwrap();
    assert!(case.as_str().starts_with("case-"));
    let mut lines = 0;
    sources
        .read(&case, &mut |outgoing| {
            assert!(outgoing.report.is_ok());
            lines += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(lines, 5);
    let backends = sources.outgoing().unwrap().unwrap();
    assert!(backends.as_str().starts_with("a."));
    assert_eq!(sources.claimed().unwrap().len(), 2);
    sources.answer(&case, &mut std::iter::empty()).unwrap();
    sources.finish(&case, crate::work::Outcome::Answered).unwrap();
    for folder in ["published", "answers", ".working"] {
        assert!(
            durable::names(&place.world.path("state/spool").join(folder)).unwrap().is_empty(),
            "{folder}"
        );
    }
    assert_eq!(sources.claimed().unwrap(), [backends]);
}

/// What the gateway says of the lines of a piece.
fn answers(verdicts: &[proto::verdict::Verdict]) -> Vec<crate::work::Answer> {
    let answer = |(line, verdict): (u32, &proto::verdict::Verdict)| crate::work::Answer {
        line,
        verdict: verdict.name().into(),
        push: None,
        message: None,
    };
    (1..).zip(verdicts).map(answer).collect()
}

#[tokio::test]
async fn what_a_suspended_country_should_have_is_pushed_again_and_other_refusals_are_kept() {
    use proto::verdict::Verdict::{Accepted, Suspended, Unroutable};
    let place = Place::new().await;
    place.take(&place.code(Degree::First), &place.upload()).unwrap();
    let spooled = place.world.lines("state/spool").remove(0).1;
    let verdicts = answers(&[Accepted, Suspended, Accepted, Suspended, Unroutable]);
    let mut work = None;
    for steps in 0.. {
        let disk = Disk::dying_after(steps);
        let finished = place.open(disk.clone()).and_then(|cases| {
            let national = place.world.backend(disk.clone())?;
            let sources = crate::publish::Sources::new(cases.spool.clone(), national);
            if work.is_none() {
                work = sources.outgoing()?;
            }
            let Some(work) = &work else { return Ok(()) };
            sources.answer(work, &mut verdicts.iter())?;
            sources.finish(work, crate::work::Outcome::Answered)
        });
        if finished.is_ok() && !disk.is_dead() {
            break;
        }
        // A claim that nobody could note is found in the folder.
        let claimed = place.open(Disk::default()).unwrap().spool.claimed();
        work = work.or(claimed.into_iter().next());
    }
    assert!(
        place.world.lines("outgoing/answers").is_empty(),
        "the national system is told of its own work alone"
    );
    let kept: Vec<_> =
        place.world.lines("state/spool/answers").into_iter().flat_map(|(_, lines)| lines).collect();
    assert_eq!((kept.len(), &kept[0]["verdict"]), (1, &"unroutable".into()));
    assert!(place.world.lines("state/spool/published").is_empty());
    let cases = place.open(Disk::default()).unwrap();
    let now = place.world.clock.now();
    assert!(!cases.spool.release(now + 3_590).unwrap());
    assert!(cases.spool.release(now + 3_610).unwrap());
    let again = place.world.lines("state/spool").remove(0).1;
    assert_eq!(again, [spooled[1].clone(), spooled[3].clone()]);
    std::fs::write(place.world.path("state/spool/failed/case.ndjson"), "{}\n").unwrap();
    for (days, kept) in [(14, 1), (16, 0)] {
        cases.spool.forget(now + days * 86_400).unwrap();
        for folder in ["state/spool/answers", "state/spool/failed"] {
            assert_eq!(place.world.lines(folder).len(), kept, "{folder} after {days} days");
        }
    }
}

#[tokio::test]
async fn whichever_step_fails_what_a_suspended_country_should_have_is_pushed_again_once() {
    use proto::verdict::Verdict::{Accepted, Suspended};
    let verdicts = answers(&[Accepted, Suspended, Accepted, Suspended, Accepted]);
    for steps in 0.. {
        let place = Place::new().await;
        place.take(&place.code(Degree::First), &place.upload()).unwrap();
        let (has_failed, disk) = Disk::failing_once_after(steps);
        let cases = place.open(disk.clone()).or_else(|_| place.open(disk.clone())).unwrap();
        let spool = cases.spool.clone();
        let sources =
            crate::publish::Sources::new(spool.clone(), place.world.backend(Disk::default()).unwrap());
        let work = sources.outgoing().or_else(|_| sources.outgoing()).unwrap();
        let work = work.or_else(|| spool.claimed().into_iter().next()).unwrap();
        for _ in 0..2 {
            if sources.answer(&work, &mut verdicts.iter()).is_ok()
                && sources.finish(&work, crate::work::Outcome::Answered).is_ok()
            {
                break;
            }
            // By the next try it is a second later.
            place.world.clock.turn(1);
        }
        let later = place.world.clock.now() + 3_610;
        spool.release(later).or_else(|_| spool.release(later)).unwrap();
        let again: Vec<_> =
            place.world.lines("state/spool").into_iter().flat_map(|(_, lines)| lines).collect();
        assert_eq!(again.len(), 2, "step {steps} failed");
        if !has_failed() {
            assert!(steps > 10, "{steps} steps cannot be all");
            return;
        }
    }
}
