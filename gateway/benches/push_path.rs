//! The way of a push through the gateway, without a network: decoded, accepted, opened, sealed again, numbered, signed and
//! kept.
//!
//! `tests/instructions` counts its instructions with `push_path none`, `small` and `large`. The set-up is the same, so what
//! one has more than another is the pushes alone, and large ones have more than small ones by the reports alone.

use std::process::ExitCode;

use bytes::Bytes;
use gateway::caller::Caller;
use gateway::fixture;
use gateway::outbound::ingest::Ingest;
use pki::seal::Suite;
use pki::tls::Role;
use prost::Message;
use proto::verdict::Verdict;
use proto::wire;
use proto::wire::ingest_server::Ingest as _;

/// Pushes of each size.
const PUSHES: usize = 24;
/// Reports in a small push, and in a large one.
const REPORTS: [usize; 2] = [500, 4_500];

fn main() -> ExitCode {
    // `cargo bench` adds a flag, and names no size.
    let size = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let used = match size.as_deref() {
        Some("none") => [0, 0],
        Some("small") => [PUSHES, 0],
        Some("large") => [0, PUSHES],
        None => [PUSHES, PUSHES],
        Some(_) => {
            eprintln!("which pushes? none, small or large");
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let accepted = runtime.expect("a runtime needs no more than a few descriptors").block_on(run(used));
    println!("{accepted}");
    let pushed: usize = used.into_iter().zip(REPORTS).map(|(pushes, reports)| pushes * reports).sum();
    if accepted == pushed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How many reports were accepted.
async fn run(used: [usize; 2]) -> usize {
    let fixture = fixture::node_among(&["826/0", "250/0", "36/2"]);
    fixture.publish_keys(Suite::XWing).await;
    let traffic = fixture.traffic();
    let caller = fixture.caller(fixture.node.country, Role::Adapter(traffic.pusher));
    let made = REPORTS.map(|reports| {
        let encoded = |_| Bytes::from(traffic.push(reports, 0).encode_to_vec());
        (0..PUSHES).map(encoded).collect::<Vec<_>>()
    });
    let ingest = Ingest::new(fixture.node.clone());
    let mut accepted = 0;
    for (pushes, used) in made.into_iter().zip(used) {
        for push in pushes.into_iter().take(used) {
            accepted += push_one(&ingest, &caller, push).await;
        }
    }
    fixture.node.store.close().await.expect("the store closes");
    accepted
}

async fn push_one(ingest: &Ingest, caller: &Caller, push: Bytes) -> usize {
    let message = wire::PushRequest::decode(push).expect("it was just encoded");
    let reply = ingest.push(caller.call(message)).await.expect("a good push is answered").into_inner();
    let reply = wire::PushReply::decode(reply.encode_to_vec().as_slice()).expect("it was just encoded");
    reply.verdicts.iter().filter(|verdict| **verdict == Verdict::Accepted.number()).count()
}
