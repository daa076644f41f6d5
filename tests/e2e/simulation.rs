//! Whatever happens in whatever order: nothing is lost, doubled, misdelivered or readable by others. The engine is
//! `harness::simulation`; a plan that failed once stands here under the name of what it showed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::simulation::{Account, Kind, Plan, Simulation, StoreKind};

/// The runs of every test run: their seeds, and how many operations each has.
const SEEDS: std::ops::Range<u64> = 0..44;
const OPERATIONS: usize = 80;
/// Runs at the same time.
const AT_ONCE: usize = 2;
/// The longest that they may take together.
const LONGEST: Duration = Duration::from_secs(5 * 60);

fn simulation() -> Simulation {
    Simulation::new(StoreKind::Embedded).unwrap()
}

/// The same over a database, which takes longer.
const DATABASE_SEEDS: std::ops::Range<u64> = 100..106;

#[test]
fn random_operations_over_databases_lose_double_misdeliver_and_leak_nothing() {
    let simulation = Simulation::new(StoreKind::Postgres).unwrap();
    for seed in DATABASE_SEEDS {
        let outcome = simulation.seed(seed, OPERATIONS).unwrap_or_else(|finding| panic!("{finding}"));
        assert!(outcome.account.accepted > 0, "{outcome:?}");
    }
}

#[test]
fn thousands_of_random_operations_lose_double_misdeliver_and_leak_nothing() {
    let (simulation, began) = (simulation(), Instant::now());
    // They wait for disks more than they work.
    let (next, outcomes) = (AtomicU64::new(SEEDS.start), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !SEEDS.contains(&seed) {
                        break;
                    }
                    let outcome = simulation.seed(seed, OPERATIONS);
                    let outcome = outcome.unwrap_or_else(|finding| panic!("{finding}"));
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    let (mut operations, mut idle, mut delivered, mut expired) = (0, 0, 0, 0);
    for outcome in outcomes.into_inner().unwrap() {
        operations += outcome.operations.values().sum::<usize>();
        idle += outcome.idle;
        delivered += outcome.account.delivered;
        expired += outcome.account.expired;
    }
    eprintln!("{operations} operations, and {idle} that did nothing, in {:?}", began.elapsed());
    assert!(operations >= 2_000, "{operations} did something, and {idle} nothing");
    assert!(began.elapsed() <= LONGEST, "{operations} operations took {:?}", began.elapsed());
    assert!(delivered > 1_000, "{delivered}: the runs say little if little arrives");
    assert!(expired > 0, "what the protocol allows to go missing does, and is accounted for");
}

fn plan(text: &str) -> Plan {
    text.parse().unwrap()
}

/// Nothing special.
const QUIET: &str = "countries 2
    push 826/1 x5 mix 1
    push 250/0 x5 mix 2
    pull 250 826
    receive 250/0";

fn noticed(tamper: impl FnOnce(&Path)) -> Kind {
    simulation().play_and(&plan(QUIET), tamper).expect_err("the oracle is blind").kind
}

/// A file that a backend got.
fn delivered(folder: &Path, authority: &str) -> PathBuf {
    let files = fs::read_dir(folder.join(authority).join("delivered")).unwrap();
    let mut files = files.map(|file| file.unwrap().path()).filter(|path| path.is_file());
    files.next().expect("something was delivered")
}

#[test]
fn a_quiet_run_is_as_it_must_be() {
    let outcome = simulation().play(&plan(QUIET)).unwrap();
    assert!(outcome.account.delivered > 0 && outcome.account.expired == 0, "{outcome:?}");
    assert_eq!(outcome.account.delivered, outcome.account.accepted);
}

#[test]
fn the_oracle_notices_a_report_that_did_not_arrive() {
    assert_eq!(noticed(|folder| fs::remove_file(delivered(folder, "250-0")).unwrap()), Kind::Lost);
}

#[test]
fn the_oracle_notices_a_report_that_arrived_twice() {
    let double = |folder: &Path| {
        let file = delivered(folder, "250-0");
        fs::copy(&file, file.with_file_name("again.ndjson")).unwrap();
    };
    assert_eq!(noticed(double), Kind::Doubled);
}

#[test]
fn the_oracle_notices_a_report_that_arrived_elsewhere() {
    let misdeliver = |folder: &Path| {
        let file = delivered(folder, "250-0");
        fs::copy(&file, folder.join("826-0/delivered/stray.ndjson")).unwrap();
    };
    assert_eq!(noticed(misdeliver), Kind::Misdelivered);
}

#[test]
fn the_oracle_notices_a_report_in_a_gateways_log() {
    let leak = |folder: &Path| {
        let text = fs::read(delivered(folder, "250-0")).unwrap();
        fs::write(folder.join("826/log"), text).unwrap();
    };
    assert_eq!(noticed(leak), Kind::Leaked);
}

#[test]
fn the_oracle_notices_a_receipt_that_is_not_true() {
    let boast = plan("countries 2\npush 826/1 x5 mix 1\npull 250 826\nboast 250 826");
    assert_eq!(simulation().play(&boast).expect_err("nothing was delivered").kind, Kind::Receipt);
}

fn complains(text: &str) -> Kind {
    simulation().play(&plan(text)).expect_err("the oracle is blind").kind
}

#[test]
fn the_oracle_notices_a_chain_that_does_not_follow() {
    assert_eq!(complains("countries 2\npush 826/1 x5 mix 1\nbreak 826"), Kind::Chain);
}

#[test]
fn the_oracle_notices_what_is_kept_longer_than_it_may_be() {
    let hoarding = "countries 2\npush 826/1 x5 mix 1\nhoard 826\nturn 20170\npurge 826";
    assert_eq!(complains(hoarding), Kind::Retention);
}

#[test]
fn the_oracle_notices_a_verdict_that_is_not_by_the_rules() {
    for pushers in ["push 826/1 x5 mix 1", "push 250/0 x1 mix 1 | 826/1 x5 mix 1"] {
        assert_eq!(complains(&format!("countries 2\nmisjudge 826/1\n{pushers}")), Kind::Verdict);
    }
}

#[test]
fn what_does_nothing_is_not_counted() {
    let outcome = simulation().play(&plan(
        "countries 2
        pull 250 826
        receive 250/0
        receipts 250 826
        keys 250
        purge 826
        heal 250>826
        free 826
        start 826
        trust 826
        readmit 826
        retire 826/0
        retry 3
        kill 250 after 3",
    ));
    let outcome = outcome.unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!((outcome.operations, outcome.idle), ([].into(), 13));
    let outcome = simulation().play(&plan(
        "countries 2
        push 826/1 x5 mix 1
        retry 0
        pull 250 826
        receive 250/0
        receipts 250 826
        rotate 826/0
        keys 250
        kill 250 before 1
        fault 826>250 cut
        pull 826 250
        push 250/0 x5 mix 2
        start 250
        turn 20170
        purge 826",
    ));
    let outcome = outcome.unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!((outcome.operations.values().sum::<usize>(), outcome.idle), (14, 0), "{outcome:?}");
}

#[test]
fn the_oracle_notices_a_store_that_forgets_what_it_has_answered_and_the_plan_shrinks() {
    let simulation = simulation();
    let plan = plan(
        "countries 2
        push 250/0 x2 mix 1
        pull 826 250
        turn 60
        forget 826
        keys 826
        push 826/0 x4 mix 5
        receive 250/0
        push 250/0 x1 mix 2
        kill 826 now
        turn 30
        start 826
        pull 250 826",
    );
    let failure = simulation.play(&plan).expect_err("an answered push is gone");
    assert_eq!(failure.kind, Kind::Lost, "{failure}");
    let finding = simulation.shortened(0, &plan, failure);
    let names: Vec<_> = finding.plan.operations.iter().map(|operation| operation.name()).collect();
    assert_eq!(names, ["forget", "push", "kill"], "{finding}");
}

// What the protocol allows to go missing: exactly that does, and the oracle has worked it out.

#[test]
fn what_nobody_fetches_for_14_days_is_given_up_and_what_follows_is_not() {
    let account = goes_well(
        "countries 2
        push 826/1 x8 mix 3
        turn 20170
        purge 826
        push 826/1 x3 mix 4
        pull 250 826",
    );
    assert!(account.expired > 0 && account.delivered > 0, "{account:?}");
}

#[test]
fn what_an_adapter_does_not_take_for_14_days_is_given_up() {
    let account = goes_well(
        "countries 2
        push 826/1 x8 mix 3
        pull 250 826
        pull 826 826
        turn 20170
        purge 250
        purge 826",
    );
    assert!(account.accepted > 0 && account.expired == account.accepted, "{account:?}");
}

#[test]
fn what_is_fetched_after_its_key_was_destroyed_is_set_aside() {
    let account = goes_well(
        "countries 2
        push 826/1 x8 mix 3
        rotate 250/0
        turn 18720
        pull 250 826
        turn 4320
        retire 250/0
        receive 250/0",
    );
    assert!(account.closed > 0, "{account:?}");
}

#[test]
fn a_gateway_without_room_purges_and_goes_on_when_it_has_room_again() {
    let account = goes_well(
        "countries 2
        push 826/1 x8 mix 3
        turn 60
        fill 826
        push 826/1 x3 mix 5
        turn 20170
        purge 826
        free 826
        push 826/1 x3 mix 6",
    );
    assert!(account.expired > 0 && account.delivered > 0 && account.without_room > 0, "{account:?}");
}

#[test]
fn a_disk_that_fills_up_under_a_gateway_that_runs_refuses_pushes_and_pulls_until_it_has_room() {
    let outcome = simulation().play(&plan(
        "countries 2
        push 250/0 x3 mix 1
        fill 826
        free 826
        push 826/1 x3 mix 2
        fill 826
        push 826/1 x3 mix 3
        pull 826 250
        kill 826 now
        start 826
        push 826/1 x3 mix 4
        free 826
        pull 826 250
        push 826/1 x3 mix 5",
    ));
    let outcome = outcome.unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(outcome.account.without_room, 2, "{outcome:?}");
    assert_eq!((outcome.operations["pull"], outcome.operations["fill"]), (1, 2), "{outcome:?}");
}

// Plans that showed something. Each goes well now.

/// A plan in which something was found goes well.
fn goes_well(text: &str) -> Account {
    simulation().play(&plan(text)).unwrap_or_else(|failure| panic!("{failure}")).account
}

/// The gateway forgot push ids after 14 days, and took reports that were up to 15 days old.
#[test]
fn a_push_that_was_kept_and_not_answered_is_not_kept_again_after_14_days() {
    let account = goes_well(
        "countries 2
        kill 826 after 1
        push 826/1 x8 mix 3
        start 826
        pull 250 826
        receive 250/0
        turn 20220
        purge 826
        retry 0",
    );
    assert!(account.delivered > 0, "{account:?}");
}

/// Its answer is then that of a push that comes for the first time, and nothing of it is kept.
#[test]
fn a_push_that_comes_again_after_its_id_was_forgotten_is_too_old() {
    let account = goes_well(
        "countries 4
        kill 826 after 1
        push 276/0 x4 mix 60781 | 826/1 x4 mix 18194 | 826/1 x4 mix 50835 | 276/0 x1 mix 62956
        turn 18720
        turn 7200",
    );
    assert!(account.forgotten > 0, "{account:?}");
}

/// Its own gateway gave it up when it came back: it had not heard that the adapter took it, and tells the origin nothing.
#[test]
fn a_batch_that_was_taken_and_given_up_before_the_gateway_heard_of_it_has_no_receipt() {
    let account = goes_well(
        "countries 3
        push 826/1 x47 mix 9829
        pull 826 826
        kill 826 before 2
        turn 21600
        push 826/0 x3 mix 20476
        receive 826/0",
    );
    assert!(account.accepted > 0, "{account:?}");
}

/// It believed the other stream's oldest number, and asked beyond the end of its own from then on.
#[test]
fn a_gateway_that_is_shown_another_stream_in_which_all_was_purged_stays_in_its_own() {
    goes_well(
        "countries 2
        kill 250 after 1
        push 250/0 x5 mix 56857 | 826/1 x7 mix 51683
        turn 23040
        start 250
        fault 250>250 lie misaddress
        pull 250 250",
    );
}

#[test]
fn clocks_that_were_all_set_back_come_to_the_time_of_the_newest_key_list_again() {
    goes_well(
        "countries 2
        back 826
        back 250",
    );
}
