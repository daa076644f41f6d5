//! One contact from the radio to the phone that finds itself in its authority's list.

use proto::extended::{ExtendedData, LeavingData};
use proto::report::{Contact, Minutes, QuarterHour, Report, Risk, Token};

use super::block::{Block, Readings};
use super::confirmation::{ConfirmationKey, Entry, Given, GivenTokens};
use super::exchange::{Answering, Asking, Heard, Request};
use super::report::ReportToken;
use super::service::{DailyKey, open};
use super::testing::{STEP, contents, daily_key, header, public};
use super::validate::{ContactTime, validate};
use super::{ModelHash, Receipt};
use pki::seal::PrivateKey;

/// The transmitter's phone answers; it remembers the token, the receiver's phone what it heard.
fn exchange(key: &DailyKey<PrivateKey>) -> (Heard, GivenTokens) {
    let asking = Asking::new("250/3".parse().unwrap()).unwrap();
    let request = Request::parse(asking.request().octets()).unwrap();
    let to = request.header();
    let answering = Answering::new(request, "826/4".parse().unwrap()).unwrap();
    let confirmation = ConfirmationKey::random().token(answering.transcript(), STEP);
    let contents = contents(STEP);
    let service = contents.seal(&public(key), header(), &confirmation).unwrap();
    let tokens = (service, confirmation);
    let model = ModelHash::new([2; 8]);
    let block = Block::new(Readings::default(), tokens, model, ExtendedData::default()).unwrap();
    let answered = answering.close(&block).unwrap();
    let mut given = GivenTokens::default();
    given.insert(confirmation, Given { step: STEP, code: contents.code, to, receipt: answered.receipt });
    (asking.open(&answered.frame).unwrap(), given)
}

/// The receiver's authority reports; the octets are what crosses the border.
fn report(heard: &Heard) -> Vec<u8> {
    let token = ReportToken::from(heard).octets();
    let mut octets = Vec::new();
    Report::Contact(Contact {
        token: Token::new(heard.header, &token).unwrap(),
        day: STEP.day(),
        start: Some(QuarterHour::of_unix(STEP.unix())),
        duration: Minutes::capped(20),
        proximity: [2, 12, 6, 0].map(Minutes::capped),
        risk: Risk::default(),
        extended: LeavingData::default(),
    })
    .encode(&mut octets);
    octets
}

/// The transmitter's authority opens, checks and publishes.
fn published(octets: &[u8], key: DailyKey<PrivateKey>) -> Entry {
    let Report::Contact(contact) = Report::decode(octets).unwrap() else { panic!("a contact was reported") };
    let token = ReportToken::parse(contact.token.octets()).unwrap();
    let opened = open(&token, contact.token.header(), &[key]).unwrap();
    let own = contact.token.header().authority();
    let valid = validate(opened, ContactTime::from(&contact), own);
    *valid.ok().unwrap().entry()
}

#[test]
fn a_contact_finds_its_way_back_to_the_phone() {
    let key = daily_key();
    let (heard, mut given) = exchange(&key);
    let entry = published(&report(&heard), key);
    assert_eq!(given.recognise(&entry).map(|given| given.step), Some(STEP));
    assert_eq!(given.recognise(&entry), None, "a contact counts once");
}

// D6: the relay ended the exchange itself, so it cannot know the receipt of the true one.
#[test]
fn a_token_that_a_relay_carried_elsewhere_is_not_recognised() {
    let key = daily_key();
    let (mut heard, mut given) = exchange(&key);
    heard.receipt = Receipt::new([6; 16]);
    let entry = published(&report(&heard), key);
    assert_eq!(given.recognise(&entry), None);
}
