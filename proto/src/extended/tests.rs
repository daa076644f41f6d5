use proptest::prelude::*;
use serde_json::Value;

use super::*;

const VECTORS: &str = include_str!("../../vectors/herald-vectors.json");

fn refusal(octets: &[u8]) -> String {
    ExtendedData::parse(octets).unwrap_err().to_string()
}

fn octets(text: &Value) -> Vec<u8> {
    hex::decode(text.as_str().unwrap()).unwrap()
}

#[test]
fn every_extended_data_vector_parses_or_is_refused_as_it_says() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let mut checked = 0;
    for vector in vectors["vectors"].as_array().unwrap() {
        let id = vector["id"].as_str().unwrap();
        if id.starts_with("ext-") {
            check_vector(id, vector);
            checked += 1;
        }
    }
    assert_eq!(checked, 11);
}

fn check_vector(id: &str, vector: &Value) {
    let (inputs, expected) = (&vector["inputs"], &vector["expected"]);
    match id {
        "ext-doc-example" => {
            let built = build(&inputs["sections"], |text| hex::decode(text).unwrap());
            assert_eq!(built, octets(&expected["hex"]));
            assert_eq!(ExtendedData::parse(&built).unwrap().sections().count(), 3);
        }
        "ext-string" => {
            let built = build(&inputs["sections"], |text| text.as_bytes().to_vec());
            assert_eq!(built, octets(&expected["hex"]));
            assert_eq!(built.len(), 13);
        }
        "ext-multi" => {
            // Section 02 is one octet in Herald's own table, so the reference's two are refused in either order.
            for key in ["hex_be", "hex_ref_le"] {
                assert_eq!(
                    refusal(&octets(&expected[key])),
                    "extended data section 0x02: it must be one octet"
                );
            }
        }
        "ext-cpp-u8-bug" => {
            let mut built = Vec::new();
            put_section(&mut built, 0x01, &[3]).unwrap();
            assert_eq!(built, octets(&expected["ours_hex"]));
            assert!(refusal(&octets(&expected["ref_cpp_hex"])).contains("goes past the end"));
        }
        _ => check_parse(id, &octets(&inputs["hex"]), expected["ours"].as_str().unwrap()),
    }
}

fn build(sections: &Value, value: impl Fn(&str) -> Vec<u8>) -> Vec<u8> {
    let mut built = Vec::new();
    for section in sections.as_array().unwrap() {
        let code = u8::from_str_radix(section[0].as_str().unwrap(), 16).unwrap();
        put_section(&mut built, code, &value(section[1].as_str().unwrap())).unwrap();
    }
    built
}

fn check_parse(id: &str, octets: &[u8], ours: &str) {
    match ours {
        "ok: []" => assert_eq!(ExtendedData::parse(octets).unwrap().sections().count(), 0, "{id}"),
        "ok" => assert_eq!(ExtendedData::parse(octets).unwrap().value(0x10), Some(b"ABC".as_slice()), "{id}"),
        "error: truncated header" => assert!(refusal(octets).contains("truncated"), "{id}"),
        "error: zero-length section" => assert!(refusal(octets).contains("it is empty"), "{id}"),
        "error: length exceeds data" => assert!(refusal(octets).contains("past the end"), "{id}"),
        other => panic!("{id}: no test knows {other}"),
    }
}

#[test]
fn each_rule_refuses_with_its_reason() {
    for (octets, reason) in [
        (&[0x01, 1, 0, 0x01, 1, 0][..], "twice"),
        (&[0x01, 1, 0, 0x00, 1, 1], "come first"),
        (&[0x00, 1, 2], "must be 1"),
        (&[0x00, 2, 0, 1], "must be 1"),
        (&[0x40, 2, 0, 200], "one signed octet"),
        (&[0x41, 2, 0, 12], "one signed octet"),
        (&[0x03, 2, 0, 0], "four or eight"),
        (&[0x04, 4, 0, 0, 0, 0], "needs section 0x03"),
        (&[0x04, 4, 0, 0, 0, 0, 0x03, 8, 0, 0, 0, 0, 0, 0, 0, 0], "of the same length"),
        (&[0x06, 3, 0, 0, 0], "two numbers"),
        (&[0x10, 1, 0xff], "UTF-8"),
        (&[0x10, 1, b'\n'], "control"),
        (&[0x42, 2, 0xc2, 0x85], "control"),
        (&[0x14, 1, b'\r'], "control"),
        (b"\x13\x08http://a", "https://"),
        (&[0x20, 2, 0, 0], "four octets"),
        (&[0xff, 1, 0], "not defined"),
    ] {
        assert!(refusal(octets).contains(reason), "{octets:02x?}: {}", refusal(octets));
    }
}

#[test]
fn any_order_and_codes_not_yet_defined_are_taken() {
    for octets in [
        &b"\x02\x01\x05\x01\x01\x00"[..],
        b"\x04\x04\0\0\0\0\x03\x04\0\0\0\0",
        b"\x00\x01\x01\x14\x03a\nb",
        b"\x13\x0ahttps://ab",
        b"\x22\x01\x00\x7f\x01\x00\x80\x01\x00\xfe\x01\x00\x09\x01\x00\x3e\x01\x00",
    ] {
        let data = ExtendedData::parse(octets).unwrap();
        assert_eq!(data.octets(), octets);
    }
}

#[test]
fn a_section_is_built_from_1_to_255_octets() {
    let mut out = Vec::new();
    assert!(put_section(&mut out, 0x80, &[]).is_err());
    assert!(put_section(&mut out, 0x80, &[0; 256]).is_err());
    assert!(put_section(&mut out, 0x01, &[0; 2]).is_err(), "its type is checked too");
    assert!(out.is_empty());
    put_section(&mut out, 0x80, &[0; 255]).unwrap();
    assert_eq!(out.len(), 257);
}

#[test]
fn each_code_that_may_not_leave_is_named_and_stripped() {
    for code in 0..=0xfe {
        let Some(octets) = example(code) else { panic!("{code:#04x} has no example") };
        let data = ExtendedData::parse(&octets).unwrap();
        for to in [Recipient::Issuer, Recipient::Other] {
            let permitted = matches!((code, to), (0x01 | 0x02 | 0x40 | 0x41, _) | (0x3f, Recipient::Issuer));
            assert_eq!(data.forwardable(to) == octets, permitted, "{code:#04x}");
            let named = match data.leaving(to) {
                Ok(leaving) => leaving.octets() == octets,
                Err(Malformed::Forbidden { field }) => !field.contains(&format!("section {code:#04x} (")),
                Err(other) => panic!("{other}"),
            };
            assert_eq!(named, permitted, "{code:#04x}");
        }
    }
}

/// Octets with a section of this code.
fn example(code: u8) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    if code == 0x04 {
        put_section(&mut out, 0x03, &[0; 4]).unwrap();
        put_section(&mut out, 0x04, &[0; 4]).unwrap();
        // 03 is named before 04.
        out.rotate_left(6);
        return Some(out);
    }
    [&[1][..], &[0; 4], b"https://a"].iter().find(|value| put_section(&mut out, code, value).is_ok())?;
    Some(out)
}

#[test]
fn stripping_keeps_the_order_of_what_is_left() {
    let data =
        ExtendedData::parse(b"\x41\x01\x0c\x42\x01m\x40\x01\xc8\x05\x03S41\x3f\x01\x07\x01\x01\x00").unwrap();
    assert_eq!(data.forwardable(Recipient::Issuer), b"\x41\x01\x0c\x40\x01\xc8\x3f\x01\x07\x01\x01\x00");
    assert_eq!(data.forwardable(Recipient::Other), b"\x41\x01\x0c\x40\x01\xc8\x01\x01\x00");
}

#[test]
fn no_value_is_printed() {
    let data = ExtendedData::parse(b"\x42\x06CANARY").unwrap();
    let section = data.sections().next().unwrap();
    assert_eq!(format!("{data:?} {section:?}"), "extended data: 8 octets section 0x42: 6 octets");
}

proptest! {
    #[test]
    fn any_octets_are_parsed_or_refused(octets in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(data) = ExtendedData::parse(&octets) {
            let rebuilt: Vec<u8> = data.sections().flat_map(|section| {
                let mut out = Vec::new();
                section.put(&mut out);
                out
            }).collect();
            prop_assert_eq!(rebuilt, octets);
        }
    }

    #[test]
    fn what_is_forwardable_may_leave(
        codes in prop::collection::btree_set(0x09_u8..=0xfe, 0..20),
        value in prop::collection::vec(any::<u8>(), 1..9),
    ) {
        let mut out = Vec::new();
        for code in codes {
            // Values that the code's type refuses are left out.
            let _ = put_section(&mut out, code, &value);
        }
        let data = ExtendedData::parse(&out).unwrap();
        for to in [Recipient::Issuer, Recipient::Other] {
            let left = data.forwardable(to);
            prop_assert!(ExtendedData::parse(&left).unwrap().leaving(to).is_ok());
        }
    }
}
