//! The canary: texts that are easy to recognise pass through every process, and nobody between may hold them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::direct::Line;
use harness::leaks::{self, Secrets};
use harness::reports::{Contact, today};
use harness::{Federation, authority};

/// What the phone advertised: 16 octets, like a contact identifier.
const TOKEN: &[u8; 16] = b"CANARY-IN-TOKEN!";
/// The same of another phone, whose report does not come through the adapter.
const STRAIGHT: &[u8; 16] = b"CANARY-STRAIGHT!";
/// The phone's model beside it, which must not leave the sender.
const MODEL: &[u8] = b"CANARY-PHONE-MODEL";
/// Tokens of reports that are refused, each for a reason of its own.
const TOO_OLD: &[u8; 16] = b"CANARY-TOO-OLD-1";
const BAD_HEADER: &[u8; 16] = b"CANARY-BAD-HEAD2";
const FORBIDDEN: &[u8; 16] = b"CANARY-FORBIDDEN";
/// A place in a report's extended data.
const PREMISES: &[u8] = b"CANARY-PREMISES";

const ALL: [&[u8]; 7] = [TOKEN, MODEL, TOO_OLD, BAD_HEADER, FORBIDDEN, PREMISES, STRAIGHT];

#[tokio::test(flavor = "multi_thread")]
async fn no_process_writes_what_it_must_not_read() {
    let federation = Federation::builder().log_level("trace").start().await.unwrap();
    push_through_the_adapter(&federation).await;
    push_straight_to_the_gateway(&federation).await;
    let arrived =
        async || federation.delivered(authority("250/0")).ok().filter(|delivered| delivered.len() == 2);
    federation.wait_until("both good canaries arrive", Duration::from_secs(15), arrived).await.unwrap();
    no_metric_names_them(&federation).await;
    federation.stop().await.unwrap();
    no_file_holds_them(&federation);
}

/// One that is good, three that are refused before or behind the adapter.
fn canaries(good: &[u8; 16]) -> [Contact; 4] {
    let france = authority("250/0");
    let good = Contact::simple(france, good, today());
    let too_old = Contact::simple(france, TOO_OLD, today().minus(20));
    let mut bad_header = Contact::simple(france, BAD_HEADER, today());
    bad_header.header[0] = 0x11;
    let mut forbidden = Contact::simple(france, FORBIDDEN, today());
    forbidden.extended = section(0x10, PREMISES);
    [good, too_old, bad_header, forbidden]
}

async fn push_through_the_adapter(federation: &Federation) {
    let [good, too_old, bad_header, forbidden] = canaries(TOKEN);
    let mut framed = good.clone();
    framed.extended = section(0x42, MODEL);
    let lines = [framed.line(), too_old.line(), bad_header.line(), forbidden.full_line()];
    let answers = federation.push(authority("826/1"), &lines).await.unwrap();
    let verdicts: Vec<_> = answers.iter().map(|answer| answer.verdict.as_str()).collect();
    assert_eq!(verdicts, ["accepted", "too_old", "malformed", "forbidden_field"]);
}

async fn push_straight_to_the_gateway(federation: &Federation) {
    let line = Line::open(federation, authority("826/1")).await.unwrap();
    let verdicts = line.verdicts(&canaries(STRAIGHT)).await.unwrap();
    let names: Vec<_> = verdicts.iter().map(|verdict| verdict.name()).collect();
    assert_eq!(names, ["accepted", "too_old", "malformed", "forbidden_field"]);
    // A seal that does not open must not be printed either.
    let mut altered = line.seal(&canaries(STRAIGHT)).unwrap();
    let mut headers = altered.headers.to_vec();
    headers[4] ^= 1;
    altered.headers = headers.into();
    assert!(line.push(altered).await.is_err());
}

async fn no_metric_names_them(federation: &Federation) {
    let secrets = Secrets::new(&ALL).unwrap();
    for (plan, _) in federation.countries() {
        let text = federation.metrics(plan.code).await.unwrap();
        assert!(text.contains("exchange_pushes_total"), "{text}");
        assert!(secrets.find(text.as_bytes()).is_empty(), "{}", plan.name);
    }
}

fn no_file_holds_them(federation: &Federation) {
    let secrets = Secrets::new(&ALL).unwrap();
    let outgoing = &federation.adapter(authority("826/1")).unwrap().outgoing;
    let delivered = &federation.adapter(authority("250/0")).unwrap().delivered;
    let found = secrets.find_below(federation.folder()).unwrap();
    let at = |folder: &Path| {
        let mut secrets: Vec<_> =
            found.iter().filter(|found| found.file.starts_with(folder)).map(|found| found.secret).collect();
        secrets.sort_unstable();
        secrets.dedup();
        secrets
    };
    // The search finds what is there: all that the backend sent, in its folder; the good tokens alone in France's.
    assert_eq!(at(outgoing), [0, 1, 2, 3, 4, 5]);
    assert_eq!(at(delivered), [0, 6]);
    let elsewhere: Vec<_> = found
        .iter()
        .filter(|found| !found.file.starts_with(outgoing) && !found.file.starts_with(delivered))
        .map(|found| (&found.file, String::from_utf8_lossy(ALL[found.secret])))
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    every_kind_of_file_was_searched(federation);
}

fn every_kind_of_file_was_searched(federation: &Federation) {
    let files = leaks::files_below(federation.folder()).unwrap();
    for (plan, country) in federation.countries() {
        let has = |folder: &PathBuf| files.iter().any(|file| file.starts_with(folder));
        let gateway = &country.gateway;
        assert!(has(&gateway.store.join("segments")) && has(&gateway.store.join("index")), "{}", plan.name);
        assert!(has(&gateway.state), "{}", plan.name);
        let log = std::fs::read_to_string(&gateway.log).unwrap();
        assert!(log.contains("TRACE") && log.contains("h2"), "the libraries below tell all: {}", plan.name);
    }
}

fn section(code: u8, value: &[u8]) -> Vec<u8> {
    [&[code, u8::try_from(value.len()).unwrap()], value].concat()
}
