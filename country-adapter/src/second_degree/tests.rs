//! From cases to advice, and nothing of it elsewhere.

use super::edges::Edge;
use super::*;
use crate::durable::Disk;
use crate::herald::secured::ConfirmationToken;
use crate::herald::secured::totp::TimeCode;
use crate::lists::{Advice, ListKind, queue};
use crate::risk::Subtotal;
use proto::day::Day;
use std::path::Path;

const NOW: u64 = 1_795_000_000;

fn today() -> Day {
    Day::of_unix(NOW)
}

fn edge(phone: u8, case: u8, day: Day) -> Edge {
    Edge {
        phone: [phone; 16],
        token: ConfirmationToken::new([phone ^ case; 16]),
        code: TimeCode::new(u32::from(case)).unwrap(),
        day,
        subtotal: Subtotal::new(60),
    }
}

/// A case as the desk keeps it.
fn keep(state: &Path, case: u8, edges: &[Edge]) {
    let folder = edge_folder(state);
    std::fs::create_dir_all(&folder).unwrap();
    let octets: Vec<u8> = edges.iter().flat_map(edges::octets_for_tests).collect();
    std::fs::write(folder.join(format!("upload-{case:032x}.edges")), octets).unwrap();
}

fn desk(state: &Path) -> Desk {
    Desk::open(state, 5, Disk::default()).unwrap()
}

#[test]
fn five_distinct_cases_make_a_candidate_and_four_do_not() {
    let dir = tempfile::tempdir().unwrap();
    for case in 1..=4 {
        // Twice in one case is one case.
        keep(
            dir.path(),
            case,
            &[edge(9, case, today()), edge(9, case, today().minus(3)), edge(8, case, today())],
        );
    }
    assert!(desk(dir.path()).candidates(today()).unwrap().0.is_empty());
    keep(dir.path(), 5, &[edge(9, 5, today().minus(13))]);
    let (found, overview) = desk(dir.path()).candidates(today()).unwrap();
    let [candidate] = found[..] else { panic!("{found:?}") };
    assert_eq!((candidate.cases, candidate.risk), (5, 9 * 60));
    assert_eq!(candidate.days, (today().minus(13), today()));
    assert_eq!((overview.cases, overview.phones, overview.contacts_per_case), (Some(5), None, Some(2)));
    assert_eq!(desk(dir.path()).candidates(today().plus(1)).unwrap().0.len(), 0, "the fifth is over");
}

#[test]
fn a_candidates_number_stays_and_says_nothing_of_its_phone() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    for state in [dir.path(), elsewhere.path()] {
        (1..=5).for_each(|case| keep(state, case, &[edge(9, case, today())]));
    }
    let number = |state: &Path| desk(state).candidates(today()).unwrap().0[0].number;
    assert_eq!(number(dir.path()), number(dir.path()));
    assert_ne!(number(dir.path()), number(elsewhere.path()), "another authority, the same phone");
    assert_eq!(number(dir.path()).to_string().parse(), Ok(number(dir.path())));
    assert!("0123".parse::<CandidateNumber>().is_err());
}

#[test]
fn what_is_signed_off_is_an_entry_that_the_phone_knows_and_a_line_in_a_chained_log() {
    let dir = tempfile::tempdir().unwrap();
    (1..=5).for_each(|case| keep(dir.path(), case, &[edge(9, case, today().minus(5 - u16::from(case)))]));
    let desk = desk(dir.path());
    let number = desk.candidates(today()).unwrap().0[0].number;
    let signed = desk.sign_off(number, Advise::SuperSpreader, "Dr. A. Lovelace", NOW).unwrap();
    assert_eq!((signed.cases, signed.previous.as_str()), (5, "0".repeat(64).as_str()));
    let folder = queue::folder(dir.path());
    let names = crate::durable::names(&folder).unwrap();
    let entries = queue::parse(&std::fs::read(folder.join(&names[0])).unwrap()).unwrap();
    let [(ListKind::Advice, entry)] = entries[..] else { panic!("one advice") };
    let expected =
        (ConfirmationToken::new([9 ^ 5; 16]), TimeCode::new(5).unwrap(), today(), Advice::SuperSpreader);
    assert_eq!(entry.as_advice(), Some(expected), "the newest contact");
    let again = desk.sign_off(number, Advise::SuperSpreader, "B", NOW).unwrap_err().to_string();
    assert!(again.contains("was signed off by Dr. A. Lovelace"), "{again}");
    assert_eq!(desk.signed_off().unwrap(), [signed]);
}

#[test]
fn a_log_that_was_altered_stops_everything() {
    let dir = tempfile::tempdir().unwrap();
    for phone in [8, 9] {
        (1..=5).for_each(|case| keep(dir.path(), phone * 10 + case, &[edge(phone, case, today())]));
    }
    let desk = desk(dir.path());
    for candidate in desk.candidates(today()).unwrap().0 {
        desk.sign_off(candidate.number, Advise::AsymptomaticCarrier, "A", NOW).unwrap();
    }
    assert_eq!(desk.signed_off().unwrap().len(), 2);
    let path = dir.path().join("second-degree/sign-offs.log");
    let text = std::fs::read_to_string(&path).unwrap();
    let (first, second) = text.split_at(text.find('\n').unwrap() + 1);
    let by_hand = first.replace("\"A\"", "\"Z\"");
    for (what, altered) in [
        ("the first line", text.replacen("\"A\"", "\"B\"", 1)),
        ("the last line", format!("{first}{}", second.replace("\"A\"", "\"B\""))),
        ("the first line is gone", second.to_owned()),
        ("the last line is gone", first.to_owned()),
        ("the last line is half gone", format!("{first}{}", &second[..20])),
        ("something is behind it", format!("{text}x")),
        ("another log", by_hand),
        ("no log", String::new()),
        ("none of ours", "x".into()),
    ] {
        std::fs::write(&path, altered).unwrap();
        assert!(matches!(desk.signed_off(), Err(advice::NotSignedOff::Altered { .. })), "{what}");
        let refused = desk.sign_off("00000000000000ff".parse().unwrap(), Advise::SuperSpreader, "C", NOW);
        assert!(matches!(refused, Err(advice::NotSignedOff::Altered { .. })), "{what}");
    }
    std::fs::write(&path, &text).unwrap();
    assert_eq!(desk.signed_off().unwrap().len(), 2);
    std::fs::remove_file(dir.path().join("second-degree/sign-offs.head")).unwrap();
    assert!(desk.signed_off().is_err(), "a log without a seal");
}

#[test]
fn a_line_that_no_sign_off_wrote_gives_no_advice() {
    let dir = tempfile::tempdir().unwrap();
    let desk = desk(dir.path());
    let line = SignOff {
        at: NOW,
        by: "Z".into(),
        candidate: "00000000000000ff".into(),
        advice: Advise::SuperSpreader,
        cases: 5,
        previous: "0".repeat(64),
    };
    let text = format!("{}\n", serde_json::to_string(&line).unwrap());
    std::fs::write(dir.path().join("second-degree/sign-offs.log"), text).unwrap();
    assert!(matches!(desk.signed_off(), Err(advice::NotSignedOff::Altered { line: 1, .. })));
}

/// Entries of advice that wait to be posted.
fn put_down(state: &Path) -> usize {
    let folder = queue::folder(state);
    let names = if folder.is_dir() { crate::durable::names(&folder).unwrap() } else { Vec::new() };
    let entries = names.iter().map(|name| queue::parse(&std::fs::read(folder.join(name)).unwrap()).unwrap());
    entries.map(|entries| entries.len()).sum()
}

#[test]
fn killed_between_any_two_steps_advice_is_given_once_if_and_only_if_it_was_signed_off() {
    for steps in 0_isize.. {
        let dir = tempfile::tempdir().unwrap();
        (1..=5).for_each(|case| keep(dir.path(), case, &[edge(9, case, today())]));
        let number = desk(dir.path()).candidates(today()).unwrap().0[0].number;
        let disk = Disk::dying_after(steps);
        let killed = Desk::open(dir.path(), 5, disk.clone())
            .map_err(advice::NotSignedOff::from)
            .and_then(|desk| desk.sign_off(number, Advise::SuperSpreader, "A", NOW));
        // Nobody has to give the command again.
        sweep(dir.path(), NOW).unwrap();
        let signed = desk(dir.path()).signed_off().unwrap().len();
        assert_eq!(put_down(dir.path()), signed, "killed after step {steps}");
        let again = desk(dir.path()).sign_off(number, Advise::SuperSpreader, "B", NOW + 60);
        assert_eq!(again.is_ok(), signed == 0, "killed after step {steps}");
        assert_eq!(put_down(dir.path()), 1, "killed after step {steps}");
        sweep(dir.path(), NOW).unwrap();
        let names = crate::durable::names(&dir.path().join("second-degree")).unwrap();
        assert_eq!(names, ["candidates.key", "edges", "sign-offs.head", "sign-offs.log"]);
        if killed.is_ok() && !disk.is_dead() {
            assert!(steps > 8, "{steps} steps cannot be all");
            return;
        }
    }
}

#[test]
fn a_line_that_was_written_in_part_is_no_alteration_after_the_next_sweep_either() {
    let dir = tempfile::tempdir().unwrap();
    let desk = desk(dir.path());
    let (_, log) = (desk.signed_off().unwrap(), dir.path().join("second-degree/sign-offs.log"));
    std::fs::write(&log, r#"{"at":17950000"#).unwrap();
    std::fs::write(dir.path().join("second-degree/advice-1-1795000000.pending"), "x").unwrap();
    sweep(dir.path(), NOW).unwrap();
    assert!(desk.signed_off().unwrap().is_empty());
    assert_eq!(std::fs::read(log).unwrap(), b"");
}

#[test]
fn an_operators_command_that_was_stopped_stops_no_sweep() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().to_owned();
    desk(&state);
    let folder = sign_offs::folder(&state);
    std::fs::write(folder.join("advice-1-1.pending"), "x").unwrap();
    let lock = sign_offs::lock(&folder).unwrap();
    let (done, swept) = std::sync::mpsc::channel();
    let of = state.clone();
    std::thread::spawn(move || done.send(sweep(&of, NOW)));
    let swept = swept.recv_timeout(std::time::Duration::from_secs(20));
    swept.expect("it does not wait for the operator").unwrap();
    let is_pending = || crate::durable::is_there(&folder.join("advice-1-1.pending")).unwrap();
    assert!(is_pending(), "the operator's command may still finish it");
    drop(lock);
    sweep(&state, NOW).unwrap();
    assert!(!is_pending());
}

#[test]
fn nobody_is_advised_by_a_number_that_is_none_or_by_no_name() {
    let dir = tempfile::tempdir().unwrap();
    let desk = desk(dir.path());
    let number = "00000000000000ff".parse().unwrap();
    let refused = desk.sign_off(number, Advise::SuperSpreader, "A", NOW).unwrap_err().to_string();
    assert!(refused.contains("no candidate has the number 00000000000000ff"), "{refused}");
    for name in ["", "two\nlines", &"x".repeat(101)] {
        assert!(matches!(
            desk.sign_off(number, Advise::SuperSpreader, name, NOW),
            Err(advice::NotSignedOff::Name)
        ));
    }
    assert!(desk.signed_off().unwrap().is_empty());
}

#[test]
fn counts_below_five_are_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(desk(dir.path()).candidates(today()).unwrap().1, Overview::default());
    (1..=4).for_each(|case| keep(dir.path(), case, &[edge(case, case, today())]));
    assert_eq!(desk(dir.path()).candidates(today()).unwrap().1, Overview::default());
    keep(dir.path(), 5, &[edge(5, 5, today())]);
    let overview = desk(dir.path()).candidates(today()).unwrap().1;
    assert_eq!((overview.cases, overview.phones, overview.spikes), (Some(5), Some(5), Some(0)));
}

#[test]
fn cases_are_forgotten_after_14_days() {
    let dir = tempfile::tempdir().unwrap();
    keep(dir.path(), 1, &[edge(1, 1, today())]);
    edges::forget(dir.path(), &Disk::default(), today().plus(13)).unwrap();
    assert_eq!(crate::durable::names(&edge_folder(dir.path())).unwrap().len(), 1);
    edges::forget(dir.path(), &Disk::default(), today().plus(14)).unwrap();
    assert!(crate::durable::names(&edge_folder(dir.path())).unwrap().is_empty());
}
