//! Every entry is posted once, whenever the adapter is killed.

use std::collections::BTreeMap;

use super::super::increment::testing::parameters;
use super::super::reader::Reader;
use super::*;

struct Place {
    dir: tempfile::TempDir,
    key: pki::secret::Secret<Vec<u8>>,
    clock: Clock,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), key: SigningKey::generate(), clock: Clock::default() }
    }

    fn open(&self, disk: Disk) -> Result<Poster, Damaged> {
        self.open_with(disk, parameters())
    }

    fn open_with(&self, disk: Disk, parameters: Parameters) -> Result<Poster, Damaged> {
        let (state, public) = (self.dir.path().join("state"), self.dir.path().join("public"));
        let places = Places { state: &state, public: Some(&public) };
        let key = SigningKey::from_pkcs8(&self.key).unwrap();
        Poster::open(&places, (disk, self.clock.clone()), key, parameters)
    }

    fn steady(&self) -> Arc<SteadyClock> {
        Arc::new(SteadyClock::new(&self.dir.path().join("state"), Disk::default(), self.clock.clone()))
    }

    fn put_down(&self, name: &str, entries: &[(ListKind, u8)]) {
        let folder = queue::folder(&self.dir.path().join("state"));
        std::fs::create_dir_all(&folder).unwrap();
        let octets: Vec<u8> = entries
            .iter()
            .flat_map(|(kind, number)| queue::record(*kind, &Entry::new([*number; 40])))
            .collect();
        std::fs::write(folder.join(format!("{name}{}", queue::ENDING)), octets).unwrap();
    }

    /// How often each real entry of a list is in it, as a phone sees it.
    fn read(&self, poster: &Poster, kind: ListKind) -> BTreeMap<u8, usize> {
        let key = SigningKey::from_pkcs8(&self.key).unwrap();
        let mut reader = Reader::new(kind, "826/0".parse().unwrap(), *key.public());
        let mut found = BTreeMap::new();
        let part = poster.store().since(kind, 0).unwrap();
        let visit = |increment: &super::super::increment::Checked<'_>| {
            assert_eq!(increment.entries().len() % dummies::BUCKET, 0);
            for entry in increment.entries() {
                let [first, rest @ ..] = entry.octets();
                if rest.iter().all(|octet| octet == first) && *first != 0 {
                    *found.entry(*first).or_default() += 1;
                }
            }
        };
        reader.read(&part.read().unwrap(), visit).unwrap();
        found
    }

    /// The static folder has what the lists have.
    fn assert_all_is_public(&self, poster: &Poster, when: &str) {
        for kind in ListKind::ALL {
            let folder = self.dir.path().join("public/v1").join(kind.name());
            let last = poster.store().last(kind);
            for number in 1..=last {
                let copy = std::fs::read(folder.join(format!("{number:010}.inc")));
                let copy = copy.unwrap_or_else(|cause| panic!("{when}: {} {number}: {cause}", kind.name()));
                assert_eq!(copy, std::fs::read(poster.store().path(kind, number)).unwrap(), "{when}");
            }
            if last > 0 {
                let latest = std::fs::read_to_string(folder.join("latest")).unwrap();
                assert!(latest.starts_with(&format!("{last} ")), "{when}: {latest}");
            }
        }
    }

    fn waiting(&self) -> Vec<String> {
        let names = durable::names(&queue::folder(&self.dir.path().join("state"))).unwrap();
        names.into_iter().filter(|name| name.ends_with(queue::ENDING)).collect()
    }
}

fn once(numbers: impl IntoIterator<Item = u8>) -> BTreeMap<u8, usize> {
    numbers.into_iter().map(|number| (number, 1)).collect()
}

#[test]
fn what_was_put_down_is_posted_once_in_the_list_where_it_belongs() {
    let place = Place::new();
    let poster = place.open(Disk::default()).unwrap();
    assert!(poster.post().unwrap().is_empty() && poster.oldest_waiting().is_none());
    place.put_down("a", &[(ListKind::Contacts, 1), (ListKind::Advice, 2), (ListKind::Contacts, 3)]);
    assert!(poster.oldest_waiting().is_some());
    let posted = poster.post().unwrap();
    assert_eq!(posted, BTreeMap::from([(ListKind::Contacts, (1, 2)), (ListKind::Advice, (1, 1))]));
    place.put_down("b", &[(ListKind::Contacts, 4)]);
    assert_eq!(poster.post().unwrap(), BTreeMap::from([(ListKind::Contacts, (2, 1))]));
    assert_eq!(place.read(&poster, ListKind::Contacts), once([1, 3, 4]));
    assert_eq!(place.read(&poster, ListKind::Advice), once([2]));
    assert!(place.waiting().is_empty());
}

#[test]
fn killed_between_any_two_steps_each_entry_is_posted_once() {
    for steps in 0_isize.. {
        let place = Place::new();
        place.put_down("a", &[(ListKind::Contacts, 1), (ListKind::Venues, 2)]);
        let disk = Disk::dying_after(steps);
        let killed = place.open(disk.clone()).and_then(|poster| {
            poster.post()?;
            place.put_down("b", &[(ListKind::Contacts, 3)]);
            poster.post()
        });
        place.put_down("c", &[(ListKind::Contacts, 5)]);
        let poster = place.open(Disk::default()).unwrap();
        poster.post().unwrap();
        let mut expected = once([1, 5]);
        let put_down = place.read(&poster, ListKind::Contacts).contains_key(&3);
        if killed.is_ok() || put_down {
            expected.insert(3, 1);
        }
        assert_eq!(place.read(&poster, ListKind::Contacts), expected, "killed after step {steps}");
        assert_eq!(place.read(&poster, ListKind::Venues), once([2]), "killed after step {steps}");
        assert!(place.waiting().is_empty(), "killed after step {steps}");
        place.assert_all_is_public(&poster, &format!("killed after step {steps}"));
        if killed.is_ok() && !disk.is_dead() {
            assert!(steps > 30, "{steps} steps cannot be all");
            return;
        }
    }
}

#[test]
fn an_increment_goes_after_15_days_and_the_numbers_go_on() {
    let place = Place::new();
    let poster = place.open(Disk::default()).unwrap();
    place.put_down("a", &[(ListKind::Contacts, 1)]);
    poster.post().unwrap();
    place.clock.turn(15 * 86_400 + 60);
    poster.forget(place.clock.now()).unwrap();
    assert!(place.read(&poster, ListKind::Contacts).is_empty());
    assert_eq!(durable::names(&place.dir.path().join("public/v1/exposures")).unwrap(), ["latest"]);
    drop(poster);
    let poster = place.open(Disk::default()).unwrap();
    place.put_down("b", &[(ListKind::Contacts, 2)]);
    assert_eq!(poster.post().unwrap(), BTreeMap::from([(ListKind::Contacts, (2, 1))]));
    let poster = place.open(Disk::default()).unwrap();
    assert_eq!(place.read(&poster, ListKind::Contacts), once([2]));
}

#[test]
fn a_phone_that_knows_more_than_there_is_is_told_and_one_that_knows_all_gets_nothing() {
    let place = Place::new();
    let poster = place.open(Disk::default()).unwrap();
    let store = poster.store();
    assert!(store.since(ListKind::Contacts, 0).unwrap().files.is_empty());
    place.put_down("a", &[(ListKind::Contacts, 1)]);
    poster.post().unwrap();
    let (all, none) =
        (store.since(ListKind::Contacts, 0).unwrap(), store.since(ListKind::Contacts, 1).unwrap());
    assert!(all.etag.starts_with("\"exposures-0-1-1-") && none.etag.starts_with("\"exposures-1-1-1-"));
    assert_eq!(all.last, 1);
    assert_eq!((none.length(), all.length()), (0, u64::try_from(all.read().unwrap().len()).unwrap()));
    let restarted = store.since(ListKind::Contacts, 2).unwrap_err();
    assert_eq!(restarted.to_string(), "the list ends at number 1, so it was begun anew; begin at 0");
}

#[test]
fn a_posting_whose_end_failed_is_finished_by_the_next_one() {
    for steps in 0_isize.. {
        let place = Place::new();
        place.open(Disk::default()).unwrap();
        place.put_down("a", &[(ListKind::Contacts, 1), (ListKind::Venues, 2)]);
        // The same poster goes on: nothing was killed, a step of its disk has failed.
        let (failing, disk) = Disk::failing_once_after(steps);
        let Ok(poster) = place.open(disk) else { continue };
        // One of the two fails, whichever comes to the step; the next one makes it good.
        let _ = poster.post();
        place.put_down("b", &[(ListKind::Contacts, 3)]);
        let _ = poster.post();
        poster.post().unwrap_or_else(|cause| panic!("failed at step {steps}: {cause}"));
        assert_eq!(place.read(&poster, ListKind::Contacts), once([1, 3]), "failed at step {steps}");
        assert_eq!(place.read(&poster, ListKind::Venues), once([2]), "failed at step {steps}");
        // The queue was empty, and the static folder is complete all the same.
        place.assert_all_is_public(&poster, &format!("failed at step {steps}"));
        place.open(Disk::default()).unwrap_or_else(|cause| panic!("failed at step {steps}: {cause}"));
        if !failing() {
            assert!(steps > 20, "{steps} steps cannot be all");
            return;
        }
    }
}

#[test]
fn a_static_folder_that_cannot_be_written_keeps_no_phone_waiting_and_is_made_good_without_a_new_entry() {
    let place = Place::new();
    let poster = place.open(Disk::default()).unwrap();
    let (public, away) = (place.dir.path().join("public"), place.dir.path().join("away"));
    std::fs::rename(&public, &away).unwrap();
    std::fs::write(&public, "not a folder").unwrap();
    for (name, number) in [("a", 1), ("b", 2)] {
        place.put_down(name, &[(ListKind::Contacts, number)]);
        assert!(poster.post().is_err());
    }
    assert_eq!(place.read(&poster, ListKind::Contacts), once([1, 2]));
    place.clock.turn(1_000);
    let waiting = poster.oldest_waiting().unwrap();
    assert!(
        waiting >= Duration::from_secs(1_000),
        "whoever reads the static folder has neither: {waiting:?}"
    );
    std::fs::remove_file(&public).unwrap();
    std::fs::rename(&away, &public).unwrap();
    assert!(poster.post().unwrap().is_empty());
    place.assert_all_is_public(&poster, "made good");
    assert!(poster.oldest_waiting().is_none());
}

#[test]
fn a_wrong_clock_leaves_no_hole() {
    let place = Place::new();
    let poster = place.open(Disk::default()).unwrap();
    for (name, number, turn) in [("a", 1, 0), ("b", 2, 40 * 86_400), ("c", 3, -40 * 86_400)] {
        place.clock.turn(turn);
        place.put_down(name, &[(ListKind::Contacts, number)]);
        poster.post().unwrap();
    }
    place.clock.turn(20 * 86_400);
    poster.forget(place.clock.now()).unwrap();
    let poster = place.open(Disk::default()).unwrap();
    assert_eq!(poster.store().last(ListKind::Contacts), 3);
}

#[test]
fn a_clock_that_leaps_removes_nothing_that_was_posted() {
    let place = Place::new();
    let (poster, steady) = (place.open(Disk::default()).unwrap(), place.steady());
    place.put_down("a", &[(ListKind::Contacts, 1)]);
    step(&poster, &steady).unwrap();
    place.clock.turn(40 * 86_400);
    place.put_down("b", &[(ListKind::Contacts, 2)]);
    assert_eq!(step(&poster, &steady).unwrap().len(), 1, "what is new is posted all the same");
    // As after a restart.
    step(&place.open(Disk::default()).unwrap(), &place.steady()).unwrap();
    place.clock.turn(-40 * 86_400);
    step(&poster, &steady).unwrap();
    assert_eq!(place.read(&poster, ListKind::Contacts), once([1, 2]));
    place.assert_all_is_public(&poster, "after the leap");
    // Day by day it is no leap.
    for _ in 0..16 {
        place.clock.turn(86_400);
        step(&poster, &steady).unwrap();
    }
    assert!(!durable::is_there(&poster.store().path(ListKind::Contacts, 1)).unwrap());
}

#[test]
fn a_damaged_file_is_named_with_a_remedy() {
    let place = Place::new();
    let poster = place.open(Disk::default()).unwrap();
    for (name, number) in [("a", 1), ("b", 2), ("c", 3)] {
        place.put_down(name, &[(ListKind::Contacts, number)]);
        poster.post().unwrap();
    }
    let second = poster.store().path(ListKind::Contacts, 2);
    let whole = std::fs::read(&second).unwrap();
    std::fs::write(&second, &whole[..100]).unwrap();
    let refused = place.open(Disk::default()).err().unwrap().to_string();
    assert!(refused.contains("0000000002.inc is damaged") && refused.contains("static copy"), "{refused}");
    std::fs::remove_file(&second).unwrap();
    let refused = place.open(Disk::default()).err().unwrap().to_string();
    assert!(refused.contains("number 3 follows 1"), "{refused}");
    std::fs::write(&second, &whole).unwrap();
    assert!(place.open(Disk::default()).is_ok());
}

#[test]
fn a_damaged_file_of_the_queue_is_set_aside_and_one_that_cannot_be_read_waits_and_the_others_are_posted() {
    let place = Place::new();
    let poster = place.open(Disk::default()).unwrap();
    let folder = queue::folder(&place.dir.path().join("state"));
    place.put_down("b", &[(ListKind::Contacts, 1)]);
    std::fs::write(folder.join("a.entries"), [9; 41]).unwrap();
    std::fs::create_dir(folder.join("c.entries")).unwrap();
    place.put_down("d", &[(ListKind::Contacts, 2)]);
    assert_eq!(poster.post().unwrap(), BTreeMap::from([(ListKind::Contacts, (1, 2))]));
    assert_eq!(place.read(&poster, ListKind::Contacts), once([1, 2]));
    assert_eq!((place.waiting(), poster.set_aside()), (vec!["c.entries".to_owned()], 1));
    assert_eq!(std::fs::read(folder.join("a.entries.damaged")).unwrap(), [9; 41]);
    assert!(poster.oldest_waiting().is_some());
    // It can be read again.
    std::fs::remove_dir(folder.join("c.entries")).unwrap();
    place.put_down("c", &[(ListKind::Contacts, 3)]);
    poster.post().unwrap();
    assert_eq!(place.read(&poster, ListKind::Contacts), once([1, 2, 3]));
}

#[tokio::test]
async fn what_failed_is_tried_again_soon_and_not_after_a_whole_interval() {
    let place = Place::new();
    place.open(Disk::default()).unwrap();
    // The first step behind the opening fails, and no other.
    let poster = (0..).find_map(|steps| place.open(Disk::failing_once_after(steps).1).ok());
    let poster = Arc::new(poster.unwrap());
    place.put_down("a", &[(ListKind::Contacts, 1)]);
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(poster.clone(), place.steady(), Duration::from_secs(840), stop.clone()));
    while poster.store().last(ListKind::Contacts) == 0 || !place.waiting().is_empty() {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    running.await.unwrap();
    assert_eq!(place.read(&poster, ListKind::Contacts), once([1]));
}

#[test]
fn a_large_posting_is_parted_into_increments_that_follow_each_other() {
    let place = Place::new();
    let poster = place.open(Disk::default()).unwrap();
    let numbers: Vec<_> =
        (0..=2 * EACH).map(|place| (ListKind::Contacts, u8::try_from(place % 250 + 1).unwrap())).collect();
    place.put_down("1", &numbers);
    let posted = poster.post().unwrap();
    assert_eq!(posted, [(ListKind::Contacts, (3, 2 * EACH + 1))].into(), "two that are full, and the rest");
    let found = place.read(&poster, ListKind::Contacts);
    assert_eq!(found.values().sum::<usize>(), 2 * EACH + 1, "each entry once, and in one chain");
    place.assert_all_is_public(&poster, "after a large posting");
    // A phone that has read the first goes on with the others.
    let rest = poster.store().since(ListKind::Contacts, 1).unwrap();
    assert_eq!(rest.last, 3);
    place.put_down("2", &[(ListKind::Contacts, 1)]);
    assert_eq!(poster.post().unwrap(), [(ListKind::Contacts, (4, 1))].into());
}

#[test]
fn what_waited_over_a_change_of_weights_is_posted_under_the_number_that_it_was_computed_with() {
    let place = Place::new();
    let mechanisms = |poster: &Poster| {
        let key = SigningKey::from_pkcs8(&place.key).unwrap();
        let mut reader = Reader::new(ListKind::Contacts, "826/0".parse().unwrap(), *key.public());
        let mut found = Vec::new();
        let part = poster.store().since(ListKind::Contacts, 0).unwrap();
        let visit = |increment: &super::super::increment::Checked<'_>| {
            found.push(increment.head.parameters.mechanism);
        };
        reader.read(&part.read().unwrap(), visit).unwrap();
        found
    };
    let (old, new) = (parameters(), Parameters { mechanism: 2, ..parameters() });
    drop(place.open_with(Disk::default(), old).unwrap());
    place.put_down("a", &[(ListKind::Contacts, 1)]);
    let poster = place.open_with(Disk::default(), new).unwrap();
    place.put_down("b", &[(ListKind::Contacts, 2)]);
    poster.post().unwrap();
    assert_eq!(mechanisms(&poster), [1, 2]);
    drop(poster);
    place.put_down("c", &[(ListKind::Contacts, 3)]);
    let poster = place.open_with(Disk::default(), new).unwrap();
    assert_eq!(mechanisms(&poster), [1, 2], "nothing has changed: it waits for its time");
}
