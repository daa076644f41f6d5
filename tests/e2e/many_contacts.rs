//! A case of somebody who met thousands reaches the destination's posting queue within seconds.

use std::fs::DirEntry;
use std::time::{Duration, Instant};

use harness::attackers::Junk;
use harness::citizens::Citizens;
use harness::desk::Degree;
use harness::members::CountryPlan;
use harness::national::National;
use harness::phone::Stay;
use harness::story::{FRANCE, Stage, UK};
use harness::{Federation, authority};

const CONTACTS: usize = 5_000;
/// What counts is an optimised build; another one takes its time over curves and hashes.
const LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 15 } else { 5 });

#[tokio::test(flavor = "multi_thread")]
async fn a_case_with_5000_foreign_contacts_is_soon_in_the_posting_queue() {
    let stage = Stage::start(Federation::builder(), countries).await.unwrap();
    let (clara, dan) =
        (stage.secured("Clara", FRANCE).await.unwrap(), stage.secured("Dan", UK).await.unwrap());
    let (stay, keys) = (Stay::new(stage.now - 3_600, 20, 1.5), dan.in_secured().unwrap().keys());
    let mut case = clara.case(stage.now).unwrap();
    // Tokens that no phone has made are opened and checked like all others.
    let contact = |_| Junk::OfNobody.contact(keys, authority(UK), &stay).unwrap();
    case.contacts = (0..CONTACTS).map(contact).collect();
    let code = stage.federation.case_code(authority(FRANCE), Degree::First).await.unwrap();
    let queue = stage.federation.adapter(authority(UK)).unwrap().state.join("postings");

    let (octets, began) = (case.octets().unwrap(), Instant::now());
    let answer = clara.upload_octets(&code, octets).await.unwrap();
    assert_eq!(answer.member("foreign"), Some(CONTACTS.into()), "{}", answer.in_a_word());
    let answered = began.elapsed();
    let queued = async || {
        let waits = std::fs::read_dir(&queue).ok()?.flatten().any(|entry| is_whole(&entry));
        (waits || posted(&stage).await >= CONTACTS).then(|| began.elapsed())
    };
    let (took, _) = stage.wait("the contacts are in the posting queue", queued).await.unwrap();
    println!("answered after {answered:?}, in the posting queue after {took:?}");
    assert!(took < LIMIT, "{took:?}");
    let all = async || (posted(&stage).await >= CONTACTS).then(|| began.elapsed());
    let (posted, _) = stage.wait("all of them are posted", all).await.unwrap();
    println!("posted after {posted:?}");
}

fn countries(_: &National) -> [CountryPlan; 2] {
    let citizens = Citizens::decentralised();
    [
        CountryPlan::new(826, "United Kingdom", &[(UK, "United Kingdom")]).citizens(citizens.clone()),
        CountryPlan::new(250, "France", &[(FRANCE, "France")]).citizens(citizens),
    ]
}

/// A file in the queue that has its name: it was committed.
fn is_whole(entry: &DirEntry) -> bool {
    let hidden = entry.file_name().to_string_lossy().starts_with('.');
    !hidden && entry.metadata().is_ok_and(|file| file.is_file() && file.len() > 0)
}

/// Entries of the list of contacts, dummies and all.
async fn posted(stage: &Stage) -> usize {
    let list = stage.home(UK).unwrap().get("/v1/exposures?since=0", None).await;
    list.map_or(0, |answer| answer.body.len() / 40)
}
