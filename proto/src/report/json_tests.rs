use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::{contact, contacts, diagnosis_key, diagnosis_keys, gaen_key, simple_key};
use super::*;

fn example() -> Value {
    json!({
        "v": 1, "kind": "contact", "code": 16, "country": 826, "state": 1, "date": "2026-11-20", "start": "10:15",
        "duration_min": 12, "proximity_min": [0, 12, 0, 0], "risk": {"type": 1, "score": 60, "mechanism": 1},
        "token": "4s--sy3pMskXHGWLX1ejNw", "ext": "QAHIQQEM"
    })
}

fn key_example() -> Value {
    json!({
        "v": 1, "kind": "diagnosis_key", "code": 16, "country": 250, "state": 0, "issuer": "826/1",
        "key": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc", "rolling_start": 2991888, "rolling_period": 144,
        "report_type": "confirmed_test", "days_since_onset": -2, "transmission_risk_level": 8
    })
}

fn octets_of(json: &Value) -> Result<Vec<u8>, JsonProblem> {
    JsonReport::parse(json.to_string().as_bytes())?.to_octets()
}

fn encoded(report: &Report<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    report.encode(&mut out);
    out
}

#[test]
fn the_example_is_the_report_in_either_form() {
    let token = hex::decode("e2cfbeb32de932c9171c658b5f57a337").unwrap();
    let report = Report::Contact(contact(&token, &[0x40, 1, 0xc8, 0x41, 1, 12]));
    assert_eq!(octets_of(&example()).unwrap(), encoded(&report));
    assert_eq!(serde_json::to_value(JsonReport::from_report(&report)).unwrap(), example());
    let key = Report::DiagnosisKey(diagnosis_key(simple_key()));
    assert_eq!(octets_of(&key_example()).unwrap(), encoded(&key));
    assert_eq!(serde_json::to_value(JsonReport::from_report(&key)).unwrap(), key_example());
}

#[test]
fn what_is_optional_may_be_null_or_left_out() {
    let mut short = example();
    let object = short.as_object_mut().unwrap();
    object.remove("risk");
    object.remove("ext");
    object.insert("start".into(), Value::Null);
    let octets = octets_of(&short).unwrap();
    let Ok(Report::Contact(contact)) = Report::decode(&octets) else { panic!("decodes") };
    assert_eq!((contact.start, contact.risk, contact.extended.octets()), (None, Risk::default(), &[][..]));
}

#[test]
fn an_opaque_authority_is_one_text() {
    let mut opaque = example();
    let object = opaque.as_object_mut().unwrap();
    object.remove("country");
    object.remove("state");
    object.insert("code".into(), 3.into());
    object.insert("authority".into(), "x/0000abcd".into());
    let octets = octets_of(&opaque).unwrap();
    let report = Report::decode(&octets).unwrap();
    assert_eq!(report.header().authority().to_string(), "x/0000abcd");
    assert_eq!(serde_json::to_value(JsonReport::from_report(&report)).unwrap(), opaque);
}

#[test]
fn a_field_that_may_not_leave_is_named() {
    for field in ["phone_id", "case_id", "location", "model", "client_id", "time"] {
        for mut json in [example(), key_example()] {
            json[field] = "someone".into();
            let problem = octets_of(&json).unwrap_err();
            assert!(matches!(&problem, JsonProblem::Unknown { field: named, .. } if named == field));
            assert!(problem.to_string().contains("may not leave a country"), "{problem}");
        }
    }
    let mut risk = example();
    risk["risk"]["note"] = "tall".into();
    assert_eq!(
        octets_of(&risk).unwrap_err().to_string(),
        "`note` is not a field of risk and may not leave a country; leave it out"
    );
}

#[test]
fn each_wrong_value_is_named_with_what_would_do() {
    for (field, value, says) in [
        ("v", json!(2), "version 2"),
        ("kind", json!("rumour"), "`kind` is \"rumour\"; it must be contact or diagnosis_key"),
        ("code", json!(256), "`code` is 256; it must be a number of 0 to 255"),
        ("code", json!(24), "payload code 0x18 is not assigned"),
        ("country", json!(0), "country is 0"),
        ("country", json!("GB"), "`country` is \"GB\""),
        ("country", Value::Null, "`country` is missing"),
        ("state", Value::Null, "`state` is missing; it must be there, 0 for national"),
        (
            "authority",
            json!("x/0000abcd"),
            "`country` is missing; it must be there with state, or authority alone",
        ),
        ("date", json!("20-11-2026"), "`date` is \"20-11-2026\"; it must be a date as 2026-11-20"),
        ("date", json!(20_000), "`date` is 20000"),
        ("start", json!("10:14"), "`start` is \"10:14\"; it must be a quarter hour as 10:15"),
        ("duration_min", json!(361), "duration_min is 361"),
        ("duration_min", json!(1.5), "`duration_min` is 1.5"),
        ("proximity_min", json!([1, 2, 3]), "`proximity_min` is a list of 3; it must be four numbers"),
        ("proximity_min", json!([1, 2, 3, 361]), "proximity_min is 361"),
        ("risk", json!(true), "`risk` is true; it must be an object"),
        ("risk", json!({"type": 1, "score": 65_535}), "score is 65535"),
        ("risk", json!({}), "`type` is missing"),
        ("ext", json!("QgFt"), "section 0x42 (phone model) may not leave a country"),
        ("token", json!("AAAA"), "token is 3 octets long; it must be 16 to 16"),
        ("token", json!("AAAAAAAAAAAAAAAAAAAAAA"), "contact identifier is all zeros"),
        ("token", Value::Null, "`token` is missing"),
    ] {
        let mut json = example();
        json[field] = value;
        let problem = octets_of(&json).unwrap_err().to_string();
        assert!(problem.contains(says), "{field}: {problem}");
    }
}

#[test]
fn each_wrong_value_of_a_key_is_named_too() {
    for (field, value, says) in [
        ("code", json!(128), "`key` must be 32 octets for code 16, 16 octets for code 128"),
        ("code", json!(8), "`key` must be 32 octets for code 16, 16 octets for code 128"),
        ("issuer", json!("826"), "`issuer` is \"826\"; it must be an authority as 826/1"),
        ("key", json!("AA=="), "`key` must be base64url without padding"),
        ("rolling_start", json!(2_991_889), "a multiple of 144"),
        ("rolling_period", json!(0), "rolling period is 0"),
        ("report_type", json!("maybe"), "`report_type` is \"maybe\""),
        ("days_since_onset", json!(22), "days since onset is 22"),
        ("transmission_risk_level", json!(9), "transmission risk level is 9"),
    ] {
        let mut json = key_example();
        json[field] = value;
        let problem = octets_of(&json).unwrap_err().to_string();
        assert!(problem.contains(says), "{field}: {problem}");
    }
}

#[test]
fn a_gaen_key_under_another_familys_code_is_refused() {
    let mut json =
        serde_json::to_value(JsonReport::from_report(&Report::DiagnosisKey(diagnosis_key(gaen_key()))))
            .unwrap();
    assert!(octets_of(&json).is_ok());
    json["code"] = 0x91.into();
    assert!(octets_of(&json).unwrap_err().to_string().contains("a GAEN key with 0x80"));
}

#[test]
fn a_field_that_stands_twice_is_refused() {
    let text = example().to_string().replacen("\"code\":16", "\"code\":16,\"code\":16", 1);
    assert_eq!(JsonReport::parse(text.as_bytes()), Err(JsonProblem::Repeated { field: "code".into() }));
}

#[test]
fn what_is_no_json_object_says_where() {
    for text in ["", "{", "[]", "\"CANARYCANARYCANARY\"", "{\"v\":1}x"] {
        let problem = JsonReport::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(problem, JsonProblem::NotJson { line: 0..=1, .. }), "{problem}");
        assert!(!problem.to_string().contains("CANARY"));
    }
}

#[test]
fn no_error_and_no_debug_output_shows_a_token() {
    let secret = "4s--sy3pMskXHGWLX1ejNw";
    let shown = format!("{:?}", JsonReport::parse(example().to_string().as_bytes()).unwrap());
    assert!(!shown.contains(secret) && shown.contains("16 octets"), "{shown}");
    // Wherever a token stands by mistake, the error does not repeat it.
    for field in ["kind", "authority", "code", "date", "start", "risk", "duration_min", "ext"] {
        let mut json = example();
        json[field] = secret.into();
        let problem = octets_of(&json).unwrap_err();
        assert!(!format!("{problem} {problem:?}").contains(secret), "{problem}");
    }
}

#[test]
fn a_list_is_right_or_wrong_one_by_one() {
    let mut wrong = example();
    wrong["phone_id"] = 1.into();
    let list =
        JsonReport::parse_list(json!([example(), wrong, key_example()]).to_string().as_bytes()).unwrap();
    assert_eq!(list.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert!(JsonReport::parse_list(b"{}").is_err());
}

proptest! {
    #[test]
    fn every_report_reads_back_through_json(contact in contacts(), key in diagnosis_keys()) {
        for report in [contact.report(), Report::DiagnosisKey(key)] {
            let json = serde_json::to_string(&JsonReport::from_report(&report)).unwrap();
            let read = JsonReport::parse(json.as_bytes()).unwrap();
            prop_assert_eq!(read.report().unwrap(), report);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
        let _ = JsonReport::parse(text.as_bytes());
    }
}
