//! Nothing that was accepted is lost or doubled, whoever is killed, and whenever.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use harness::direct::Line;
use harness::place::AdapterPlace;
use harness::process::Signal;
use harness::reports::{Contact, today};
use harness::{Federation, Node, admin, authority, backend, members, phones};
use proto::ids::Authority;
use proto::wire;
use tonic::Code;

const SOON: Duration = Duration::from_secs(30);
/// What a process may take to stop.
const GRACE: Duration = Duration::from_secs(15);
/// Tokens in each file.
const TOKENS: usize = 40;

/// When a process is killed, seen from outside.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Submitted,
    Claimed,
    Answered,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_moment_loses_and_doubles_nothing() {
    let federation = Federation::builder().start().await.unwrap();
    let (england, france) = (authority("826/1"), authority("250/0"));
    let mut sent = Vec::new();
    for node in [Node::adapter("826/1"), Node::gateway(826), Node::gateway(250), Node::adapter("250/0")] {
        for moment in [Moment::Submitted, Moment::Claimed, Moment::Answered] {
            let contacts = contacts(france, TOKENS);
            let lines: Vec<_> = contacts.iter().map(Contact::line).collect();
            let sender = federation.adapter(england).unwrap();
            let name = backend::submit(sender, &lines).unwrap();
            reached(&federation, (sender, &name), moment).await;
            federation.kill_now(node).await.unwrap();
            federation.restart(node).await.unwrap();
            let answers = backend::answers(sender, &name, lines.len()).await.unwrap();
            assert!(
                answers.iter().all(|answer| answer.verdict == "accepted"),
                "{node}, {moment:?}: {answers:?}"
            );
            sent.extend(contacts);
            all_arrive_once(&federation, france, &sent).await;
        }
    }
    the_other_authorities_have_nothing(&federation, france);
}

async fn reached(federation: &Federation, (sender, name): (&AdapterPlace, &str), moment: Moment) {
    let waits = sender.outgoing.join(format!("{name}.ndjson"));
    let is_reached = async || {
        let is = match moment {
            Moment::Submitted => true,
            Moment::Claimed => !waits.exists(),
            Moment::Answered => backend::read_answers(sender, name).unwrap().is_some(),
        };
        is.then_some(())
    };
    federation.wait_until(&format!("{moment:?}"), SOON, is_reached).await.unwrap();
}

/// Everybody on the way is killed while the token waits: each holds it durably when it says that it has it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_outlives_every_process_in_turn() {
    let federation = Federation::builder().start().await.unwrap();
    let (england, france) = (authority("826/1"), authority("250/0"));
    let way = [Node::adapter("826/1"), Node::gateway(826), Node::gateway(250), Node::adapter("250/0")];
    let contacts = contacts(france, TOKENS);
    let lines: Vec<_> = contacts.iter().map(Contact::line).collect();

    // Nobody takes it from the outbox of the United Kingdom.
    federation.kill_now(way[2]).await.unwrap();
    federation.push(england, &lines).await.unwrap();
    federation.kill_now(way[0]).await.unwrap();
    federation.kill_now(way[1]).await.unwrap();
    // Nobody takes it from the inbox of France.
    federation.kill_now(way[3]).await.unwrap();
    federation.restart(way[1]).await.unwrap();
    federation.restart(way[2]).await.unwrap();
    let pulled = async || {
        let metrics = federation.metrics(members::country(250)).await.ok()?;
        let batches =
            admin::metric(&metrics, "exchange_batches_total", &[("peer", "826"), ("direction", "in")]);
        (batches == 1.0).then_some(())
    };
    federation.wait_until("France pulls the batch", SOON, pulled).await.unwrap();
    federation.kill_now(way[2]).await.unwrap();
    federation.restart(way[2]).await.unwrap();
    assert_eq!(federation.delivered(france).unwrap(), []);
    federation.restart(way[3]).await.unwrap();
    all_arrive_once(&federation, france, &contacts).await;
    // Whoever comes back has nothing left to send again.
    federation.restart(way[0]).await.unwrap();
    let again = self::contacts(france, 1);
    federation.push(england, &[again[0].line()]).await.unwrap();
    all_arrive_once(&federation, france, &[contacts, again].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_every_process_gracefully_under_load() {
    let federation = Federation::builder().start().await.unwrap();
    let (england, france) = (authority("826/1"), authority("250/0"));
    let mut sent = Vec::new();
    for node in federation.nodes().collect::<Vec<_>>() {
        let contacts = contacts(france, TOKENS);
        let lines: Vec<_> = contacts.iter().map(Contact::line).collect();
        let sender = federation.adapter(england).unwrap();
        let name = backend::submit(sender, &lines).unwrap();
        federation.kill(node, Signal::TERM).unwrap();
        let end = federation.ended(node, GRACE).await.unwrap();
        assert_eq!(end.code(), Some(0), "{node}");
        federation.restart(node).await.unwrap();
        backend::answers(sender, &name, lines.len()).await.unwrap();
        sent.extend(contacts);
    }
    all_arrive_once(&federation, france, &sent).await;
    for (node, end) in federation.stop().await.unwrap() {
        assert_eq!(end.code(), Some(0), "{node}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_stops_nobody() {
    let federation = Federation::builder().log_level("debug").start().await.unwrap();
    let (england, france) = (authority("826/1"), authority("250/0"));
    for node in [Node::gateway(826), Node::gateway(250), Node::adapter("826/1"), Node::adapter("250/0")] {
        federation.kill_now(node).await.unwrap();
        federation.launch_logging_to(node, Path::new("/dev/full")).unwrap();
        if node.is_gateway() {
            federation.wait_gateway(node, SOON).await.unwrap();
        }
    }
    let contacts = contacts(france, TOKENS);
    let lines: Vec<_> = contacts.iter().map(Contact::line).collect();
    federation.push(england, &lines).await.unwrap();
    all_arrive_once(&federation, france, &contacts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_push_is_stored_once_however_often_it_comes() {
    let federation = Federation::builder().start().await.unwrap();
    let france = authority("250/0");
    let lines = [england(&federation).await, england(&federation).await];
    let contacts = contacts(france, TOKENS);
    let push = lines[0].seal(&contacts).unwrap();

    let mut calls = tokio::task::JoinSet::new();
    for number in 0..16 {
        let (line, push) = (lines[number % 2].clone(), push.clone());
        calls.spawn(async move { line.push(push).await });
    }
    let replies: Vec<_> = calls.join_all().await.into_iter().map(Result::unwrap).collect();
    assert!(replies.iter().all(|reply| *reply == replies[0]), "one answer for all");
    assert_eq!(replies[0].verdicts.to_vec(), vec![1; TOKENS]);
    assert_eq!(lines[0].push(push.clone()).await.unwrap(), replies[0], "later as well");
    federation.kill_now(Node::gateway(826)).await.unwrap();
    federation.restart(Node::gateway(826)).await.unwrap();
    let after = england(&federation).await.push(push.clone()).await.unwrap();
    assert_eq!(after, replies[0], "after a restart as well");
    all_arrive_once(&federation, france, &contacts).await;
    other_octets_under_the_same_id_are_refused(&federation, &push, &contacts).await;
    all_arrive_once(&federation, france, &contacts).await;
}

async fn other_octets_under_the_same_id_are_refused(
    federation: &Federation,
    push: &wire::PushRequest,
    contacts: &[Contact],
) {
    let line = england(federation).await;
    let mut other = line.seal(contacts).unwrap();
    other.push_id = push.push_id.clone();
    let refused = line.push(other).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    // The id is England's alone: under another authority it names nothing, and the seal, made for England, stays shut.
    let other = Line::open(federation, authority("826/0")).await.unwrap();
    let refused = other.push(push.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
}

async fn england(federation: &Federation) -> Line {
    Line::open(federation, authority("826/1")).await.unwrap()
}

pub(crate) fn contacts(issuer: Authority, count: usize) -> Vec<Contact> {
    let met = phones::met_on(today(), count).unwrap();
    met.iter().map(|token| Contact::simple(issuer, token, today())).collect()
}

/// Waits for as many reports as were sent, and compares them with what was sent.
pub(crate) async fn all_arrive_once(federation: &Federation, to: Authority, sent: &[Contact]) {
    let adapter = federation.adapter(to).unwrap();
    let all_there = async || (backend::count_delivered(adapter).ok()? >= sent.len()).then_some(());
    federation.wait_until("all accepted tokens arrive", SOON, all_there).await.unwrap();
    let mut counts: BTreeMap<String, i32> = BTreeMap::new();
    for delivered in federation.delivered(to).unwrap() {
        *counts.entry(delivered.report.to_string()).or_default() += 1;
    }
    for contact in sent {
        *counts.entry(contact.mirror().to_string()).or_default() -= 1;
    }
    counts.retain(|_, count| *count != 0);
    assert!(counts.is_empty(), "{} reports lost (-) or doubled (+): {:?}", counts.len(), counts.values());
}

fn the_other_authorities_have_nothing(federation: &Federation, but: Authority) {
    for adapter in federation.adapters().filter(|adapter| adapter.authority != but) {
        assert_eq!(federation.delivered(adapter.authority).unwrap(), [], "{}", adapter.authority);
    }
}
