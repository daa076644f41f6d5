//! Each rule broken alone; what is at its edge passes.

use proto::header::EnvelopeHeader;

use super::super::Receipt;
use super::super::service::{ServiceContents, open};
use super::super::testing::{CONFIRMATION, STEP, contents, daily_key, header, reported};
use super::super::totp::TimeCode;
use super::*;

const OWN: &str = "826/4";

fn own() -> Authority {
    OWN.parse().unwrap()
}

/// Sealed by a phone, opened by its authority.
fn opened(contents: &ServiceContents, issuer: EnvelopeHeader) -> OpenedServiceToken {
    let key = daily_key();
    open(&reported(contents, &key, issuer), issuer, &[key]).unwrap()
}

/// A contact of half an hour that began at [`STEP`], which is 22:15.
fn contact() -> ContactTime {
    ContactTime {
        day: STEP.day(),
        start: Some(QuarterHour::of_unix(STEP.unix())),
        duration: Minutes::capped(30),
    }
}

fn checked(contents: &ServiceContents, contact: ContactTime) -> Result<Entry, Refused> {
    entry(validate(opened(contents, header()), contact, own()))
}

fn entry(validated: Result<ValidContact, Refused>) -> Result<Entry, Refused> {
    validated.map(|valid| *valid.entry())
}

#[test]
fn a_token_that_keeps_every_rule_counts() {
    let valid = checked(&contents(STEP), contact()).unwrap();
    let (code, receipt) = (contents(STEP).code, Receipt::new([5; 16]));
    assert_eq!(valid, Entry { confirmation: CONFIRMATION, code, receipt, day: STEP.day() });
}

#[test]
fn a_token_of_another_authority_is_refused() {
    let named: Authority = "826/5".parse().unwrap();
    let issuer = EnvelopeHeader::new(0x20, named).unwrap();
    let refused = entry(validate(opened(&contents(STEP), issuer), contact(), own()));
    assert_eq!(refused, Err(Refused::OtherAuthority { named, own: own() }));
}

#[test]
fn a_key_of_another_day_is_refused() {
    for days in [STEP.day().plus(1)..=STEP.day().plus(1), STEP.day().minus(2)..=STEP.day().minus(1)] {
        let mut opened = opened(&contents(STEP), header());
        opened.days = days;
        let refused = entry(validate(opened, contact(), own()));
        assert_eq!(refused, Err(Refused::KeyOfAnotherDay));
    }
}

#[test]
fn a_time_code_of_another_phone_or_time_is_refused() {
    let mut forged = contents(STEP);
    forged.code = TimeCode::new(forged.code.number() ^ 1).unwrap();
    assert_eq!(checked(&forged, contact()), Err(Refused::WrongTimeCode));
    for (away, taken) in [(0, true), (1, true), (2, false)] {
        for step in [STEP.number() - away, STEP.number() + away] {
            let mut late = contents(STEP);
            late.code = contents(Step::new(step)).code;
            assert_eq!(checked(&late, contact()).is_ok(), taken, "{step}");
        }
    }
}

#[test]
fn a_token_from_before_or_after_the_contact_is_refused() {
    // 30 minutes and the tolerance on either side are steps -2 to 4.
    for (away, taken) in [(-3, false), (-2, true), (0, true), (4, true), (5, false)] {
        let step = Step::new(STEP.number().checked_add_signed(away).unwrap());
        let expected = if taken { None } else { Some(Refused::OutsideOfContact) };
        assert_eq!(checked(&contents(step), contact()).err(), expected, "{away}");
    }
}

#[test]
fn without_a_start_the_whole_day_will_do() {
    let whole = ContactTime { start: None, ..contact() };
    let midnight = u32::try_from(STEP.day().unix() / Step::SECONDS).unwrap();
    for (step, taken) in
        [(midnight - 3, false), (midnight - 2, true), (midnight + 100, true), (midnight + 101, false)]
    {
        assert_eq!(whole.allows(Step::new(step)), taken, "{step}");
    }
    let first = ContactTime { day: Day::new(0), start: None, duration: Minutes::default() };
    assert!(first.allows(Step::new(0)));
}

#[test]
fn times_come_from_a_report() {
    let token = [7; 151];
    let report = Contact {
        token: proto::report::Token::new(header(), &token).unwrap(),
        day: STEP.day(),
        start: contact().start,
        duration: Minutes::capped(30),
        proximity: [Minutes::default(); 4],
        risk: proto::report::Risk::default(),
        extended: proto::extended::LeavingData::default(),
    };
    assert_eq!(ContactTime::from(&report), contact());
}

#[test]
fn a_refusal_does_not_say_when_the_contact_was() {
    let early = contents(Step::new(STEP.number() - 3));
    let refused = checked(&early, contact()).unwrap_err().to_string();
    assert_eq!(refused, "the token was made more than half an hour before or after the contact");
}
