//! A store that is not as it was left: what is found, what is brought back, and what is said of the rest.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use gateway::store::sled::rebuild;
use harness::binaries::Binaries;
use harness::place::GatewayPlace;
use harness::process::Signal;
use harness::reports::Contact;
use harness::{Federation, Node, admin, authority, members};

use crate::recovery::{all_arrive_once, contacts};

const SOON: Duration = Duration::from_secs(60);
const TOKENS: usize = 10;

/// `gateway store ...`, and what it said.
fn store_command(arguments: &[&str], config: &Path) -> (i32, String) {
    let gateway = Binaries::find().unwrap().gateway;
    let ended = Command::new(gateway).arg("store").args(arguments).arg(config).output().unwrap();
    said(&ended)
}

fn said(ended: &Output) -> (i32, String) {
    let said = [&ended.stdout[..], &ended.stderr].concat();
    (ended.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
}

fn gateway(federation: &Federation, country: u16) -> GatewayPlace {
    federation.country(members::country(country)).unwrap().gateway.clone()
}

async fn push(federation: &Federation, tokens: usize) -> Vec<Contact> {
    push_from(federation, "826/1", tokens).await
}

async fn push_from(federation: &Federation, pusher: &str, tokens: usize) -> Vec<Contact> {
    let contacts = contacts(authority("250/0"), tokens);
    let lines: Vec<_> = contacts.iter().map(Contact::line).collect();
    let answers = federation.push(authority(pusher), &lines).await.unwrap();
    assert!(answers.iter().all(|answer| answer.verdict == "accepted"), "{answers:?}");
    contacts
}

async fn counted(federation: &Federation, country: u16, name: &str, labels: &[(&str, &str)], least: f64) {
    let reached = async || {
        let metrics = federation.metrics(members::country(country)).await.ok()?;
        (admin::metric(&metrics, name, labels) >= least).then_some(())
    };
    federation.wait_until(&format!("{name} of {country}"), SOON, reached).await.unwrap();
}

/// Stops a gateway as its supervisor does: then the index has all that the segments have. Of what it has not, as after
/// a kill, a damaged record is one that may never have been whole, and the store asks for a person.
async fn stopped(federation: &Federation, node: Node) {
    federation.kill(node, Signal::TERM).unwrap();
    federation.ended(node, SOON).await.unwrap();
}

/// Where the head of the first batch begins in the first segment of a store, in an inbox (`i`) or outbox (`o`), and how
/// long it is.
fn batch(store: &Path, stream: u8) -> (usize, usize) {
    batches(store, stream)[0]
}

/// The same of all batches.
fn batches(store: &Path, stream: u8) -> Vec<(usize, usize)> {
    let octets = fs::read(store.join("segments/0000000001.seg")).unwrap();
    let (mut found, mut at) = (Vec::new(), 0);
    // After a kill zeros fill the last block up.
    while octets.get(at).is_some_and(|kind| *kind != 0) {
        let number = |from: usize| u32::from_be_bytes(octets[from..from + 4].try_into().unwrap()) as usize;
        let label = match octets[at] {
            b'e' => 56,
            b'a' => 40,
            b'g' => 20,
            _ => 0,
        };
        let (head, body) = (number(at + 1), number(at + 5));
        if octets[at] == b'e' && octets[at + 13] == stream {
            found.push((at + 13 + label, head));
        }
        at += 13 + label + head + body;
    }
    found
}

fn flip(store: &Path, at: usize) {
    let path = store.join("segments/0000000001.seg");
    let mut octets = fs::read(&path).unwrap();
    octets[at] ^= 0x20;
    fs::write(path, octets).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_batch_of_an_inbox_is_fetched_again_from_its_origin() {
    let federation = Federation::builder().start().await.unwrap();
    let (france, adapter) = (Node::gateway(250), Node::adapter("250/0"));
    let place = gateway(&federation, 250);
    federation.kill_now(adapter).await.unwrap();
    let mut sent = push(&federation, TOKENS).await;
    sent.extend(push(&federation, TOKENS).await);
    counted(&federation, 250, "exchange_batches_total", &[("direction", "in"), ("peer", "826")], 2.0).await;
    stopped(&federation, france).await;
    // In the sealed body of the first batch, so that its manifest still says where it is from.
    let (head, length) = batch(&place.store, b'i');
    flip(&place.store, head + length + 100);
    let (code, said) = store_command(&["verify"], &place.config);
    assert!(code == 4 && said.contains("inbox 250/0 1 is damaged at "), "{code}: {said}");
    federation.restart(france).await.unwrap();
    federation.restart(adapter).await.unwrap();
    all_arrive_once(&federation, authority("250/0"), &sent).await;
    counted(&federation, 250, "exchange_batches_damaged_total", &[("stream", "inbox")], 1.0).await;
    counted(&federation, 250, "exchange_batches_mended_total", &[], 1.0).await;
    federation.kill_now(france).await.unwrap();
    let (code, said) = store_command(&["verify"], &place.config);
    assert!(code == 0 && said.contains("nothing needs them"), "{code}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_batch_whose_manifest_is_gone_is_searched_at_all_origins() {
    let federation = Federation::builder().start().await.unwrap();
    let (france, adapter) = (Node::gateway(250), Node::adapter("250/0"));
    let place = gateway(&federation, 250);
    federation.kill_now(adapter).await.unwrap();
    let mut sent = Vec::new();
    for batches in [1.0, 2.0, 3.0] {
        sent.extend(push(&federation, TOKENS).await);
        let labels = [("direction", "in"), ("peer", "826")];
        counted(&federation, 250, "exchange_batches_total", &labels, batches).await;
    }
    stopped(&federation, france).await;
    let (head, _) = batch(&place.store, b'i');
    flip(&place.store, head + 80);
    federation.restart(france).await.unwrap();
    federation.restart(adapter).await.unwrap();
    all_arrive_once(&federation, authority("250/0"), &sent).await;
    counted(&federation, 250, "exchange_batches_mended_total", &[], 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_does_not_answer_keeps_no_batch_of_another_from_being_mended() {
    let federation = Federation::builder().start().await.unwrap();
    let (france, adapter, australia) = (Node::gateway(250), Node::adapter("250/0"), Node::gateway(36));
    let place = gateway(&federation, 250);
    federation.kill_now(adapter).await.unwrap();
    let mut sent = push(&federation, TOKENS).await;
    counted(&federation, 250, "exchange_batches_total", &[("direction", "in"), ("peer", "826")], 1.0).await;
    let late = push_from(&federation, "36/2", TOKENS).await;
    counted(&federation, 250, "exchange_batches_total", &[("direction", "in"), ("peer", "36")], 1.0).await;
    stopped(&federation, france).await;
    federation.kill_now(australia).await.unwrap();
    for (head, _) in batches(&place.store, b'i') {
        flip(&place.store, head + 80);
    }
    federation.restart(france).await.unwrap();
    federation.restart(adapter).await.unwrap();
    counted(&federation, 250, "exchange_batches_mended_total", &[], 1.0).await;
    all_arrive_once(&federation, authority("250/0"), &sent).await;
    federation.restart(australia).await.unwrap();
    sent.extend(late);
    all_arrive_once(&federation, authority("250/0"), &sent).await;
    counted(&federation, 250, "exchange_batches_mended_total", &[], 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_damaged_outbox_the_rest_goes_on_and_the_loss_is_named_on_both_sides() {
    let federation = Federation::builder().start().await.unwrap();
    let (uk, france) = (Node::gateway(826), Node::gateway(250));
    let place = gateway(&federation, 826);
    federation.kill_now(france).await.unwrap();
    push(&federation, TOKENS).await;
    let sent = push(&federation, TOKENS).await;
    stopped(&federation, uk).await;
    let (head, length) = batch(&place.store, b'o');
    flip(&place.store, head + length + 100);
    federation.restart(uk).await.unwrap();
    federation.restart(france).await.unwrap();
    all_arrive_once(&federation, authority("250/0"), &sent).await;
    counted(&federation, 826, "exchange_batches_lost_total", &[("stream", "outbox")], 1.0).await;
    let labels = [("peer", "826"), ("reason", "damaged_at_origin")];
    counted(&federation, 250, "exchange_batches_refused_total", &labels, 1.0).await;
    let lost = fs::read_to_string(place.state.join("lost.log")).unwrap();
    assert!(lost.starts_with("outbox 250 sequence 1 ") && lost.lines().count() == 1, "{lost}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_index_is_made_anew_at_start_and_nothing_is_lost() {
    let federation = Federation::builder().start().await.unwrap();
    let (uk, france) = (Node::gateway(826), Node::gateway(250));
    let place = gateway(&federation, 826);
    federation.kill_now(france).await.unwrap();
    let mut sent = push(&federation, TOKENS).await;
    federation.kill_now(uk).await.unwrap();
    fs::remove_dir_all(place.store.join("index")).unwrap();
    federation.restart(uk).await.unwrap();
    sent.extend(push(&federation, TOKENS).await);
    federation.restart(france).await.unwrap();
    all_arrive_once(&federation, authority("250/0"), &sent).await;
    let aside = fs::read_dir(&place.store).unwrap();
    let aside =
        aside.filter(|item| item.as_ref().unwrap().file_name().to_string_lossy().starts_with("set-aside-"));
    assert_eq!(aside.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_lost_something_does_not_start_and_is_made_anew_on_request() {
    let federation = Federation::builder().start().await.unwrap();
    let (uk, france) = (Node::gateway(826), Node::gateway(250));
    let place = gateway(&federation, 826);
    federation.kill_now(france).await.unwrap();
    push(&federation, TOKENS).await;
    let mut sent = push(&federation, TOKENS).await;
    federation.kill_now(uk).await.unwrap();
    let (head, length) = batch(&place.store, b'o');
    flip(&place.store, head + length + 100);
    fs::remove_dir_all(place.store.join("index")).unwrap();
    federation.launch(uk).unwrap();
    assert_eq!(federation.ended(uk, SOON).await.unwrap().code(), Some(1));
    let log = fs::read_to_string(&place.log).unwrap();
    assert!(log.contains("1 places are damaged and 1 entries are missing"), "{log}");
    let (code, said) = store_command(&["rebuild"], &place.config);
    assert!(
        code == 4 && said.contains("outbox 250 1 to 1: LOST") && said.contains("nothing was changed"),
        "{said}"
    );
    let (code, said) = store_command(&["rebuild", "--accept-losses"], &place.config);
    assert!(code == 0 && said.contains("1048579"), "{code}: {said}");
    let (code, said) = store_command(&["verify"], &place.config);
    assert_eq!(code, 0, "{said}");
    federation.restart(uk).await.unwrap();
    federation.restart(france).await.unwrap();
    sent.extend(push(&federation, TOKENS).await);
    all_arrive_once(&federation, authority("250/0"), &sent).await;
}

/// A store that was made anew shows no loss: a kill before what has to follow must not let it go on as if there were none.
#[tokio::test(flavor = "multi_thread")]
async fn losses_that_were_accepted_are_dealt_with_before_the_gateway_starts() {
    let federation = Federation::builder().start().await.unwrap();
    let (uk, france) = (Node::gateway(826), Node::gateway(250));
    let place = gateway(&federation, 826);
    federation.kill_now(france).await.unwrap();
    let mut sent = push(&federation, TOKENS).await;
    sent.extend(push(&federation, TOKENS).await);
    stopped(&federation, uk).await;

    rebuild::owe(&place.store, "").unwrap();
    federation.launch(uk).unwrap();
    assert_eq!(federation.ended(uk, SOON).await.unwrap().code(), Some(1));
    let log = fs::read_to_string(&place.log).unwrap();
    assert!(log.contains("finish it with `gateway store rebuild CONFIG --accept-losses`"), "{log}");
    for refused in [&["verify"][..], &["export", "--to", "/dev/null"]] {
        let (code, said) = store_command(refused, &place.config);
        assert!(code == 1 && said.contains("finish it with"), "{refused:?}: {code}: {said}");
    }
    let checked =
        Command::new(Binaries::find().unwrap().gateway).arg("check").arg(&place.config).output().unwrap();
    let (code, said) = said(&checked);
    assert!(code != 0 && said.contains("finish it with"), "{code}: {said}");
    let (code, said) = store_command(&["rebuild"], &place.config);
    assert!(code == 4 && said.contains("an earlier run accepted losses and did not end"), "{code}: {said}");
    let (code, said) = store_command(&["rebuild", "--accept-losses"], &place.config);
    assert!(code == 0 && said.contains("1048579"), "{code}: {said}");

    // Without a trust list nothing is begun.
    let far = ["rebuild", "--accept-losses", "--at-least", "250=3000000"];
    let trust = &federation.place().trust_list;
    let elsewhere = trust.with_extension("elsewhere");
    fs::rename(trust, &elsewhere).unwrap();
    let (code, said) = store_command(&far, &place.config);
    assert!(code == 1 && said.contains("nothing was changed"), "{code}: {said}");
    assert_eq!(rebuild::owed(&place.store).unwrap(), None);
    fs::rename(&elsewhere, trust).unwrap();
    // What a run was told that broke off is not forgotten.
    let format = place.store.join("FORMAT");
    fs::rename(&format, place.store.join("elsewhere")).unwrap();
    fs::create_dir(&format).unwrap();
    let (code, said) = store_command(&far, &place.config);
    assert_eq!(code, 1, "{said}");
    fs::remove_dir(&format).unwrap();
    fs::rename(place.store.join("elsewhere"), &format).unwrap();
    let (code, said) = store_command(&["rebuild", "--accept-losses"], &place.config);
    assert!(code == 0 && said.contains("4048577"), "{code}: {said}");
    assert_eq!(rebuild::owed(&place.store).unwrap(), None);
    federation.restart(uk).await.unwrap();
    federation.restart(france).await.unwrap();
    sent.extend(push(&federation, TOKENS).await);
    all_arrive_once(&federation, authority("250/0"), &sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_lost_of_an_inbox_comes_again_and_so_does_what_follows_it() {
    for lost in [0, 1] {
        let federation = Federation::builder().start().await.unwrap();
        let (france, adapter) = (Node::gateway(250), Node::adapter("250/0"));
        let (place, mut sent) = (gateway(&federation, 250), Vec::new());
        federation.kill_now(adapter).await.unwrap();
        for batches in [1.0, 2.0, 3.0] {
            sent.extend(push(&federation, TOKENS).await);
            let labels = [("direction", "in"), ("peer", "826")];
            counted(&federation, 250, "exchange_batches_total", &labels, batches).await;
        }
        federation.kill_now(france).await.unwrap();
        let (head, length) = batches(&place.store, b'i')[lost];
        flip(&place.store, head + length + 100);
        fs::remove_dir_all(place.store.join("index")).unwrap();
        let (code, said) = store_command(&["rebuild", "--accept-losses"], &place.config);
        assert!(code == 0 && said.contains("pulled again from their origins"), "{code}: {said}");
        let (code, said) = store_command(&["verify"], &place.config);
        assert_eq!(code, 0, "{said}");
        federation.restart(france).await.unwrap();
        federation.restart(adapter).await.unwrap();
        all_arrive_once(&federation, authority("250/0"), &sent).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_loss_of_a_whole_store_numbers_go_on_behind_all_that_peers_have() {
    let federation = Federation::builder().start().await.unwrap();
    let uk = Node::gateway(826);
    let place = gateway(&federation, 826);
    let mut sent = push(&federation, TOKENS).await;
    all_arrive_once(&federation, authority("250/0"), &sent).await;
    let written = async || {
        let numbers = fs::read_to_string(place.state.join("numbers")).unwrap_or_default();
        numbers.contains("250 1\n").then_some(())
    };
    federation.wait_until("the numbers are written down", SOON, written).await.unwrap();
    federation.kill_now(uk).await.unwrap();
    fs::remove_dir_all(&place.store).unwrap();
    federation.launch(uk).unwrap();
    assert_eq!(federation.ended(uk, SOON).await.unwrap().code(), Some(1));
    let log = fs::read_to_string(&place.log).unwrap();
    assert!(log.contains("the state folder says that it has been 1"), "{log}");
    fs::remove_dir_all(&place.store).unwrap();
    let (code, said) = store_command(&["rebuild", "--accept-losses"], &place.config);
    assert_eq!(code, 0, "{said}");
    federation.restart(uk).await.unwrap();
    sent.extend(push(&federation, TOKENS).await);
    all_arrive_once(&federation, authority("250/0"), &sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_moved_in_one_file_and_goes_on_where_it_was() {
    let federation = Federation::builder().start().await.unwrap();
    let (uk, france) = (Node::gateway(826), Node::gateway(250));
    let place = gateway(&federation, 826);
    federation.kill_now(france).await.unwrap();
    let mut sent = push(&federation, TOKENS).await;
    let archive = place.folder.join("store.archive");
    let file = archive.to_str().unwrap();
    let (code, said) = store_command(&["export", "--to", file], &place.config);
    assert!(code == 1 && said.contains("in use by another process"), "{code}: {said}");
    federation.kill_now(uk).await.unwrap();
    let (code, said) = store_command(&["export", "--to", file], &place.config);
    assert_eq!(code, 0, "{said}");
    let (code, said) = store_command(&["import", "--from", file], &place.config);
    assert!(code == 1 && said.contains("not empty"), "{code}: {said}");
    fs::rename(&place.store, place.folder.join("old")).unwrap();
    let (code, said) = store_command(&["import", "--from", file], &place.config);
    assert_eq!(code, 0, "{said}");
    let (code, said) = store_command(&["verify", "--json"], &place.config);
    assert!(code == 0 && said.contains("\"good\": true"), "{code}: {said}");
    federation.restart(uk).await.unwrap();
    federation.restart(france).await.unwrap();
    sent.extend(push(&federation, TOKENS).await);
    all_arrive_once(&federation, authority("250/0"), &sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_store_and_state_are_gone_the_numbers_go_on_behind_what_a_peer_says_it_has() {
    let federation = Federation::builder().start().await.unwrap();
    let uk = Node::gateway(826);
    let place = gateway(&federation, 826);
    federation.kill_now(uk).await.unwrap();
    // As after more than a million batches.
    let far = ["rebuild", "--accept-losses", "--at-least", "250=3000000"];
    let (code, said) = store_command(&far, &place.config);
    assert!(code == 0 && said.contains("4048577"), "{code}: {said}");
    federation.restart(uk).await.unwrap();
    let mut sent = push(&federation, TOKENS).await;
    all_arrive_once(&federation, authority("250/0"), &sent).await;

    federation.kill_now(uk).await.unwrap();
    fs::remove_dir_all(&place.store).unwrap();
    fs::create_dir(&place.store).unwrap();
    fs::remove_dir_all(&place.state).unwrap();
    let (code, said) = store_command(&["rebuild"], &place.config);
    assert!(code == 4 && said.contains("the whole store: it is not there"), "{code}: {said}");
    let (code, said) = store_command(&["rebuild", "--accept-losses"], &place.config);
    assert_eq!(code, 0, "{said}");
    federation.restart(uk).await.unwrap();
    let labels = [("peer", "250"), ("reason", "our_store_went_back")];
    counted(&federation, 826, "exchange_batches_refused_total", &labels, 1.0).await;
    let log = fs::read_to_string(&place.log).unwrap();
    assert!(log.contains("after=4048577"), "the log says what the peer has");
    federation.kill_now(uk).await.unwrap();
    let said = store_command(&["rebuild", "--accept-losses", "--at-least", "250=4048577"], &place.config);
    assert!(said.0 == 0 && said.1.contains("5097154"), "{said:?}");
    federation.restart(uk).await.unwrap();
    sent.extend(push(&federation, TOKENS).await);
    all_arrive_once(&federation, authority("250/0"), &sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_moved_into_a_database_and_back_and_goes_on_where_it_was() {
    let federation = Federation::builder().start().await.unwrap();
    let (uk, france) = (Node::gateway(826), Node::gateway(250));
    let (place, database) = (gateway(&federation, 826), cluster::shared().unwrap().database().unwrap());
    let in_a_folder = fs::read_to_string(&place.config).unwrap();
    let line = format!("store = {:?}\n", database.url);
    let in_a_database = format!(
        "{}\n[postgres]\nca = {:?}\npassword_file = {:?}\n",
        in_a_folder.replace("store = \"store\"\n", &line),
        database.ca,
        database.password_file
    );
    federation.kill_now(france).await.unwrap();
    let mut sent = push(&federation, TOKENS).await;
    for (turn, config) in [&in_a_database, &in_a_folder].into_iter().enumerate() {
        let archive = place.folder.join(format!("{turn}.archive"));
        let file = archive.to_str().unwrap();
        federation.kill_now(uk).await.unwrap();
        let (code, said) = store_command(&["export", "--to", file], &place.config);
        assert_eq!(code, 0, "{said}");
        let _ = fs::rename(&place.store, place.folder.join("old"));
        fs::write(&place.config, config).unwrap();
        let (code, said) = store_command(&["import", "--from", file], &place.config);
        assert_eq!(code, 0, "{said}");
        let (code, said) = store_command(&["import", "--from", file], &place.config);
        assert!(code == 1 && said.contains("not empty"), "{code}: {said}");
        federation.restart(uk).await.unwrap();
        sent.extend(push(&federation, TOKENS).await);
    }
    federation.restart(france).await.unwrap();
    all_arrive_once(&federation, authority("250/0"), &sent).await;
}
