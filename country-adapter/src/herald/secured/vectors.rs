//! Reads the published values; each is checked beside the code that must give it.

use serde_json::Value;

const VECTORS: &str = include_str!("../../../../proto/vectors/herald-vectors.json");

pub(crate) struct Vector {
    pub(crate) id: String,
    pub(crate) inputs: Value,
    pub(crate) expected: Value,
}

impl Vector {
    pub(crate) fn number(&self, field: &str) -> u64 {
        self.inputs[field].as_u64().unwrap_or_else(|| panic!("{}: {field}", self.id))
    }

    pub(crate) fn octets(&self, field: &str) -> Vec<u8> {
        hex::decode(self.inputs[field].as_str().unwrap()).unwrap()
    }

    pub(crate) fn array<const N: usize>(&self, field: &str) -> [u8; N] {
        self.octets(field).try_into().unwrap()
    }

    pub(crate) fn expected_octets(&self, field: &str) -> Vec<u8> {
        hex::decode(self.expected[field].as_str().unwrap()).unwrap()
    }
}

/// Checks all vectors whose id begins so, and that none went missing.
pub(crate) fn each(prefix: &str, count: usize, check: impl Fn(&Vector)) {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let all = vectors["vectors"].as_array().unwrap().iter().map(|vector| Vector {
        id: vector["id"].as_str().unwrap().to_owned(),
        inputs: vector["inputs"].clone(),
        expected: vector["expected"].clone(),
    });
    let checked = all.filter(|vector| vector.id.starts_with(prefix)).inspect(|vector| check(vector)).count();
    assert_eq!(checked, count, "{prefix}");
}

/// The vector with this id.
pub(crate) fn one(id: &str) -> Vector {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let vector = vectors["vectors"].as_array().unwrap().iter().find(|vector| vector["id"] == id).unwrap();
    Vector { id: id.to_owned(), inputs: vector["inputs"].clone(), expected: vector["expected"].clone() }
}

#[test]
fn every_vector_of_our_own_has_a_test() {
    // totp, confirmation, service_tests and exchange_tests, in this order.
    let tested = ["ours-totp31", "ours-ect", "ours-est", "ours-secured-response"];
    each("ours-", tested.len(), |vector| assert!(tested.contains(&&*vector.id), "{}", vector.id));
}

#[test]
fn half_floats_have_the_published_octets() {
    use super::float16::Half;
    each("float16", 1, |vector| {
        let expected = vector.expected.as_array().unwrap();
        assert_eq!(expected.len(), 17);
        for (given, row) in vector.inputs["values"].as_array().unwrap().iter().zip(expected) {
            assert_eq!(*given, row["value"]);
            let half = Half::nearest(given.as_f64().unwrap()).unwrap();
            assert_eq!(format!("{:04x}", Half::to_bits(Some(half))), row["ieee_half_even"], "{given}");
            // serde_json may read a number one step beside the nearest, so they are not compared exactly.
            let decoded = row["ieee_decodes_to"].as_f64().unwrap();
            assert!((half.value() - decoded).abs() <= f64::EPSILON * decoded.abs(), "{given}");
        }
    });
}
