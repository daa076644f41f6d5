//! One line of an outgoing file: a report in JSON, or a frame as a phone advertised it with what is known of the contact.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use proto::header::Frame;
use proto::ids::Authority;
use proto::malformed::Malformed;
use proto::report::{JsonProblem, JsonReport, Report};
use proto::verdict::Verdict;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::herald;
use crate::herald::reference::SourceProfile;
use crate::work::{EncodedReport, Rejected};

/// Fields that a frame says by itself.
const SAID_BY_FRAME: [&str; 8] = ["v", "kind", "code", "country", "state", "authority", "token", "ext"];

/// Reads a line.
pub(crate) fn parse(line: &[u8], profile: SourceProfile) -> Result<EncodedReport, Rejected> {
    let Object { fields, repeated } = serde_json::from_slice(line).map_err(|error| not_json(&error))?;
    if let Some(field) = repeated {
        return Err(JsonProblem::Repeated { field: field.chars().take(40).collect() }.into());
    }
    let report = match fields.get("frame") {
        Some(_) => JsonReport::parse(&mirror(fields, profile)?)?,
        None => JsonReport::parse(line)?,
    };
    let report = report.report()?;
    Ok(EncodedReport::new(&report))
}

/// Puts the parts of a frame in its place, so that one parser reads both forms of a line.
fn mirror(mut fields: Map<String, Value>, profile: SourceProfile) -> Result<Zeroizing<Vec<u8>>, Rejected> {
    if let Some(field) = SAID_BY_FRAME.iter().find(|field| fields.contains_key(**field)) {
        let message = format!("`{field}` stands beside `frame`, which says it already; leave one out");
        return Err(Rejected { verdict: Verdict::Malformed, message });
    }
    let hidden =
        || JsonProblem::Hidden { field: "frame", must: "base64url without padding, 6 to 510 octets" };
    let frame = fields.remove("frame");
    let text = frame.as_ref().and_then(Value::as_str).ok_or_else(hidden)?;
    let octets = Base64UrlUnpadded::decode_vec(text).map_err(|_| hidden())?;
    let octets = Zeroizing::new(profile.frame(octets).map_err(of_frame)?);
    let frame = Frame::parse(&octets).map_err(of_frame)?;
    let parts = herald::split(&frame).map_err(of_frame)?;
    fields.insert("v".into(), json!(Report::VERSION));
    fields.insert("kind".into(), json!("contact"));
    fields.insert("code".into(), json!(frame.header.code()));
    match frame.header.authority() {
        Authority::State(country, state) => {
            fields.insert("country".into(), json!(country.number()));
            fields.insert("state".into(), json!(state.number()));
        }
        opaque @ Authority::Opaque(_) => {
            fields.insert("authority".into(), json!(opaque.to_string()));
        }
    }
    fields.insert("token".into(), json!(Base64UrlUnpadded::encode_string(parts.token)));
    fields.insert("ext".into(), json!(Base64UrlUnpadded::encode_string(&parts.extended)));
    let json = serde_json::to_vec(&fields).expect("a map of JSON values always serialises");
    Ok(Zeroizing::new(json))
}

fn of_frame(malformed: Malformed) -> Rejected {
    let rejected = Rejected::from(malformed);
    Rejected { message: format!("`frame`: {}", rejected.message), ..rejected }
}

fn not_json(error: &serde_json::Error) -> Rejected {
    JsonProblem::NotJson { line: error.line(), column: error.column() }.into()
}

/// The fields of a line. By hand, because a map of serde_json keeps the last of two equal fields and says nothing.
struct Object {
    fields: Map<String, Value>,
    repeated: Option<String>,
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut object = Object { fields: Map::new(), repeated: None };
        while let Some((field, value)) = map.next_entry::<String, Value>()? {
            if object.fields.insert(field.clone(), value).is_some() {
                object.repeated = Some(field);
            }
        }
        Ok(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[u8]) -> Result<EncodedReport, Rejected> {
        super::parse(line, SourceProfile::Specification)
    }

    const UK: [u8; 5] = [0x10, 0x03, 0x3a, 0, 1];

    fn line(frame: &[u8]) -> Value {
        json!({
            "frame": Base64UrlUnpadded::encode_string(frame), "date": "2026-11-20", "start": "10:15",
            "duration_min": 12, "proximity_min": [0, 12, 0, 0], "risk": {"type": 1, "score": 60, "mechanism": 1}
        })
    }

    fn good() -> Value {
        line(&[&UK[..], &[7; 16], &[0x40, 1, 0xc8]].concat())
    }

    fn rejected(line: &Value) -> (Verdict, String) {
        rejected_text(line.to_string().as_bytes())
    }

    fn rejected_text(line: &[u8]) -> (Verdict, String) {
        let rejected = parse(line).err().expect("rejected");
        (rejected.verdict, rejected.message)
    }

    fn with(field: &str, value: Value) -> Value {
        let mut line = good();
        line.as_object_mut().unwrap().insert(field.into(), value);
        line
    }

    #[test]
    fn a_frame_and_its_mirror_are_the_same_report() {
        let framed = parse(good().to_string().as_bytes()).ok().unwrap();
        let mut mirrored = good();
        let object = mirrored.as_object_mut().unwrap();
        object.remove("frame");
        let token = Base64UrlUnpadded::encode_string(&[7; 16]);
        let fields = json!({"v": 1, "kind": "contact", "code": 16, "country": 826, "state": 1, "token": token, "ext": "QAHI"});
        object.extend(fields.as_object().unwrap().clone());
        let mirrored = parse(mirrored.to_string().as_bytes()).ok().unwrap();
        assert_eq!(framed.octets(), mirrored.octets());
        assert_eq!(framed.header().octets(), UK);
    }

    #[test]
    fn a_frame_of_an_opaque_authority_is_read() {
        let parsed = parse(line(&[0x01, 0, 0, 0xab, 0xcd, 9, 9]).to_string().as_bytes()).ok().unwrap();
        assert_eq!(parsed.header().authority().to_string(), "x/0000abcd");
    }

    #[test]
    fn every_bad_frame_says_what_is_wrong() {
        for (frame, says) in [
            (&UK[..3], "`frame`: frame is truncated: 2 more"),
            (&UK[..], "`frame`: frame body is 0 octets long; it must be 16 to 505"),
            (&[&UK[..], &[7; 15]].concat()[..], "frame body is 15 octets long"),
            (&[&UK[..], &[0; 16]].concat(), "contact identifier is all zeros"),
            (&[&[0x10, 0, 0, 0, 1][..], &[7; 16]].concat(), "country is 0; it must be"),
            (
                &[&[0x11, 3, 0x3a, 0, 1][..], &[7; 16]].concat(),
                "payload code 0x11 is not assigned (a known family",
            ),
            (&[&[0x40, 3, 0x3a, 0, 1][..], &[7; 16]].concat(), "payload code 0x40 is not assigned;"),
            (&[&UK[..], &[7; 506]].concat(), "frame is 511 octets long; it must be 6 to 510"),
            (&[&UK[..], &[7; 16], &[0x40]].concat(), "`frame`: extended data"),
            (&[&[0x20, 3, 0x3a, 0, 1][..], &[7; 65]].concat(), "Secured frame"),
        ] {
            let (verdict, message) = rejected(&line(frame));
            assert_eq!(verdict, Verdict::Malformed, "{message}");
            assert!(message.contains(says), "{message}");
        }
        assert!(
            parse(line(&[&UK[..], &[7; 16], &[0x3f, 255], &[7; 255]].concat()).to_string().as_bytes())
                .is_ok()
        );
    }

    #[test]
    fn every_bad_field_says_what_is_wrong() {
        for (field, value, says) in [
            ("frame", json!(5), "`frame` must be base64url"),
            ("frame", json!("!!!"), "`frame` must be base64url"),
            ("frame", Value::Null, "`frame` must be base64url"),
            ("date", json!("20.11.2026"), "`date` is \"20.11.2026\"; it must be a date as 2026-11-20"),
            ("start", json!("10:16"), "`start` is \"10:16\""),
            ("duration_min", json!(361), "duration_min is 361; it must be 0 to 360"),
            ("duration_min", json!(-1), "`duration_min` is -1"),
            ("proximity_min", json!([1, 2]), "`proximity_min` is a list of 2"),
            ("token", json!("AAAA"), "`token` stands beside `frame`"),
            ("country", json!(250), "`country` stands beside `frame`"),
        ] {
            let (verdict, message) = rejected(&with(field, value));
            assert_eq!(verdict, Verdict::Malformed, "{message}");
            assert!(message.contains(says), "{message}");
        }
    }

    #[test]
    fn what_may_not_leave_is_forbidden_by_name() {
        let (verdict, message) = rejected(&with("case_id", json!("CANARY")));
        assert_eq!(verdict, Verdict::ForbiddenField);
        assert!(message.contains("`case_id`") && !message.contains("CANARY"), "{message}");
    }

    #[test]
    fn a_frame_loses_what_may_not_leave_and_a_mirror_is_refused_with_it() {
        let phone_model = [0x42, 6, b'C', b'A', b'N', b'A', b'R', b'Y'];
        let stripped = parse(line(&[&UK[..], &[7; 16], &phone_model].concat()).to_string().as_bytes());
        assert!(!stripped.ok().unwrap().octets().windows(6).any(|octets| octets == b"CANARY"));
        let mirrored = json!({
            "v": 1, "kind": "contact", "code": 16, "country": 826, "state": 1, "date": "2026-11-20",
            "duration_min": 12, "proximity_min": [0, 12, 0, 0],
            "token": Base64UrlUnpadded::encode_string(&[7; 16]),
            "ext": Base64UrlUnpadded::encode_string(&phone_model)
        });
        let (verdict, message) = rejected(&mirrored);
        assert_eq!(verdict, Verdict::ForbiddenField);
        assert!(message.contains("0x42 (phone model)") && !message.contains("CANARY"), "{message}");
    }

    #[test]
    fn what_is_no_object_or_says_a_field_twice_is_refused() {
        for text in ["", "[]", "5", "{", "{\"frame\":\"AAAA\"", "\u{0}"] {
            let (verdict, message) = rejected_text(text.as_bytes());
            assert_eq!(verdict, Verdict::Malformed);
            assert!(message.contains("this is not a JSON object"), "{text}: {message}");
        }
        assert!(rejected_text(&[b'{', 0xff, b'}']).1.contains("not a JSON object"));
        let (_, message) = rejected_text(br#"{"date":"2026-11-20","date":"2026-11-21","frame":"AAAA"}"#);
        assert_eq!(message, "`date` stands there twice; leave one out");
    }

    #[test]
    fn no_octet_of_a_token_is_told() {
        let mut wrong = good();
        wrong
            .as_object_mut()
            .unwrap()
            .insert("duration_min".into(), json!(Base64UrlUnpadded::encode_string(&[7; 16])));
        let (_, message) = rejected(&wrong);
        assert!(message.contains("a text of 22 characters") && !message.contains("BwcH"), "{message}");
    }

    #[test]
    fn frames_of_todays_libraries_are_read_as_the_configuration_says() {
        let little = [0x10, 0xfa, 0x00, 0x01, 0x00];
        let text = line(&[&little[..], &[7; 16]].concat()).to_string();
        let read = super::parse(text.as_bytes(), SourceProfile::Libraries).ok().unwrap();
        assert_eq!(read.header().octets(), [0x10, 0x00, 0xfa, 0x00, 0x01]);
        let guessed = parse(text.as_bytes()).ok().unwrap();
        assert_eq!(guessed.header().octets(), little, "an order is never guessed");
        let alpha: SourceProfile = serde_json::from_str("\"herald-ref-le\"").unwrap();
        assert_eq!(alpha, SourceProfile::Libraries);
    }
}
