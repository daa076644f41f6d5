//! READ FIRST: one token of a French phone, reported by England, on its way to France, stage by stage.

use std::time::Duration;

use harness::direct::{self, Line};
use harness::members::{Node, country};
use harness::reports::{Contact, today};
use harness::{Federation, admin, authority, keys, phones};
use pki::trust::Country;
use prost::Message;
use proto::batch::{self, Receipt, Stage};
use proto::ids::Authority;
use proto::wire;
use serde_json::json;

const SOON: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn one_token_goes_from_england_to_france() {
    let federation = Federation::builder().start().await.unwrap();
    let (england, france) = (authority("826/1"), authority("250/0"));
    let token = phones::met_on(today(), 1).unwrap()[0];
    let contact = Contact::simple(france, &token, today());

    the_gateway_answers_after_its_commit(&federation, england, &contact).await;
    the_outbox_of_the_united_kingdom_holds_one_batch(&federation).await;
    france_pulls_it_and_its_adapter_delivers_it_once(&federation, france, &contact).await;
    both_receipts_come_back_signed(&federation).await;
    nobody_else_got_anything(&federation).await;
    only_the_french_authority_can_open_it(&federation, france, &contact).await;

    for (node, end) in federation.stop().await.unwrap() {
        assert!(end.success(), "{node}: {end}");
    }
}

/// 1 to 4, ingest to outbox: the answer names the push that carried the line.
async fn the_gateway_answers_after_its_commit(
    federation: &Federation,
    england: Authority,
    contact: &Contact,
) {
    let answers = federation.push(england, &[contact.line()]).await.unwrap();
    assert_eq!(answers.len(), 1);
    assert_eq!((answers[0].line, answers[0].verdict.as_str()), (1, "accepted"));
    assert_eq!(answers[0].push.as_ref().map(String::len), Some(32), "a push id is 16 octets");
    assert_eq!(answers[0].message, None);
    let outgoing = &federation.adapter(england).unwrap().outgoing;
    let published = || std::fs::read_dir(outgoing.join("published")).unwrap().count();
    federation
        .wait_until("the file is put away", SOON, async || (published() == 1).then_some(()))
        .await
        .unwrap();
}

/// 4 outbox: one batch for France, none for anybody else.
async fn the_outbox_of_the_united_kingdom_holds_one_batch(federation: &Federation) {
    let metrics = federation.metrics(country(826)).await.unwrap();
    let out =
        |peer| admin::metric(&metrics, "exchange_batches_total", &[("peer", peer), ("direction", "out")]);
    assert_eq!((out("250"), out("36"), out("826")), (1.0, 0.0, 0.0));
    assert_eq!(admin::metric(&metrics, "exchange_envelopes_total", &[("verdict", "accepted")]), 1.0);
}

/// 5 to 9, serve to deliver.
async fn france_pulls_it_and_its_adapter_delivers_it_once(
    federation: &Federation,
    france: Authority,
    contact: &Contact,
) {
    let arrived = async || federation.delivered(france).ok().filter(|delivered| !delivered.is_empty());
    let delivered = federation.wait_until("the token arrives", SOON, arrived).await.unwrap();
    assert_eq!(delivered.len(), 1, "exactly once");
    assert_eq!(delivered[0].report, contact.mirror(), "as it was sent");
    assert_eq!((delivered[0].origin, &delivered[0].token), (826, &contact.token));
    assert_eq!(delivered[0].report["country"], json!(250));
    let counted = async || {
        let metrics = federation.metrics(country(250)).await.ok()?;
        let pulled =
            admin::metric(&metrics, "exchange_batches_total", &[("peer", "826"), ("direction", "in")]);
        let taken = admin::metric(&metrics, "exchange_batches_delivered_total", &[("authority", "250/0")]);
        (pulled == 1.0 && taken == 1.0).then_some(())
    };
    federation.wait_until("the adapter acknowledges", SOON, counted).await.unwrap();
}

/// The origin keeps France's signature that batch 1 was stored, and that it was delivered.
async fn both_receipts_come_back_signed(federation: &Federation) {
    let trust = direct::trust_list(federation).unwrap();
    let signer = signer(trust.country(country(250)).unwrap());
    for (name, stage) in [("stored", Stage::Stored), ("delivered", Stage::Delivered)] {
        let there = async || federation.receipt(country(826), 250, name).await.ok().flatten();
        let octets = federation.wait_until(name, SOON, there).await.unwrap();
        let message = wire::AcknowledgeRequest::decode(octets.as_slice()).unwrap();
        let signature = batch::signature(&message.signature).unwrap();
        signer.check(Receipt::DOMAIN, &message.receipt, &signature).unwrap();
        let receipt = Receipt::parse(&message.receipt).unwrap();
        assert_eq!((receipt.origin, receipt.destination), (country(826), country(250)));
        assert_eq!((receipt.stage, receipt.through.number()), (stage, 1));
    }
}

/// No other authority has a file, and no other gateway offers a batch.
async fn nobody_else_got_anything(federation: &Federation) {
    for other in ["826/0", "826/1", "36/2"].map(authority) {
        assert_eq!(federation.delivered(other).unwrap(), [], "{other}");
        let offered = Line::open(federation, other).await.unwrap().pull(0).await.unwrap();
        assert!(offered.is_empty(), "{other}");
    }
}

/// The batch names origin and destination in the clear and nothing else; one key of all opens it.
async fn only_the_french_authority_can_open_it(
    federation: &Federation,
    france: Authority,
    contact: &Contact,
) {
    let offered = Line::open(federation, france).await.unwrap().pull(0).await.unwrap();
    assert_eq!(offered.len(), 1);
    let message = offered[0].batch.clone().unwrap();
    let trust = direct::trust_list(federation).unwrap();
    let signer = signer(trust.country(country(826)).unwrap());
    let (manifest, batch) = keys::signed_batch(message, &signer).unwrap();
    assert_eq!((manifest.header.origin, manifest.header.destination), (country(826), france));
    let report = contact.octets();
    for (holder, key) in keys::all_private_keys(federation).unwrap() {
        let opened = keys::open(&key, &manifest, &batch.sealed);
        let expected = (holder == Node::Adapter(france)).then(|| vec![report.clone()]);
        assert_eq!(opened, expected, "{holder}");
    }
    assert!(batch.sealed.len() > report.len() + 16, "padded");
}

fn signer(country: &Country) -> pki::sign::VerifyingKey {
    country.signing_keys[0].key
}
