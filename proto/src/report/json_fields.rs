//! The fields of a JSON object, taken one by one until none is left over.
//!
//! A field that nobody takes is one that may not leave a country. Long texts are never repeated in an error: one
//! could be a token in the wrong place.

use std::collections::BTreeMap;
use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::malformed::Malformed;

/// Why some JSON is not a report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonProblem {
    /// Not JSON, or not an object.
    #[error("line {line}, column {column}: this is not JSON, or not the object or list that must stand here")]
    NotJson {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// A field that must be there is not.
    #[error("`{field}` is missing; it must be {must}")]
    Missing {
        /// The field.
        field: &'static str,
        /// What would do.
        must: &'static str,
    },
    /// A field has a value that does not do.
    #[error("`{field}` is {value}; it must be {must}")]
    Wrong {
        /// The field.
        field: &'static str,
        /// Its value, or what it is where that is long.
        value: String,
        /// What would do.
        must: &'static str,
    },
    /// A token, key or extended data that does not read. Its value is not told.
    #[error("`{field}` must be {must}")]
    Hidden {
        /// The field.
        field: &'static str,
        /// What would do.
        must: &'static str,
    },
    /// A field that the layout does not have.
    #[error("`{field}` is not a field of {place} and may not leave a country; leave it out")]
    Unknown {
        /// The field's name, cut to 40 characters.
        field: String,
        /// The object that it stands in.
        place: &'static str,
    },
    /// A field that stands there twice.
    #[error("`{field}` stands there twice; leave one out")]
    Repeated {
        /// The field's name, cut to 40 characters.
        field: String,
    },
    /// The fields read, but what they say breaks a rule of the octets.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// Octets that JSON shows as base64url without padding. Never printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Base64(Vec<u8>);

impl Base64 {
    /// Takes octets as they are.
    #[must_use]
    pub fn new(octets: &[u8]) -> Self {
        Self(octets.to_vec())
    }

    /// The octets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Base64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} octets", self.0.len())
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Base64UrlUnpadded::encode_string(&self.0))
    }
}

/// The fields of one object that were not taken yet.
pub(super) struct Fields {
    rest: BTreeMap<String, Value>,
    repeated: Option<String>,
}

impl Fields {
    /// A whole number that `T` holds.
    pub(super) fn number<T: TryFrom<i64>>(
        &mut self,
        field: &'static str,
        must: &'static str,
    ) -> Result<T, JsonProblem> {
        self.optional_number(field, must)?.ok_or(JsonProblem::Missing { field, must })
    }

    /// The same, where null or nothing means none.
    pub(super) fn optional_number<T: TryFrom<i64>>(
        &mut self,
        field: &'static str,
        must: &'static str,
    ) -> Result<Option<T>, JsonProblem> {
        self.take(field).map(|value| whole(&value).ok_or_else(|| wrong(field, &value, must))).transpose()
    }

    /// As many whole numbers as `N`.
    pub(super) fn numbers<const N: usize>(
        &mut self,
        field: &'static str,
        must: &'static str,
    ) -> Result<[u16; N], JsonProblem> {
        let value = self.take(field).ok_or(JsonProblem::Missing { field, must })?;
        let numbers: Option<Vec<u16>> =
            value.as_array().and_then(|list| list.iter().map(whole).collect::<Option<_>>());
        numbers.and_then(|list| list.try_into().ok()).ok_or_else(|| wrong(field, &value, must))
    }

    /// A text.
    pub(super) fn text(&mut self, field: &'static str, must: &'static str) -> Result<String, JsonProblem> {
        self.optional_text(field, must)?.ok_or(JsonProblem::Missing { field, must })
    }

    /// The same, where null or nothing means none.
    pub(super) fn optional_text(
        &mut self,
        field: &'static str,
        must: &'static str,
    ) -> Result<Option<String>, JsonProblem> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(field, &other, must)),
        }
    }

    /// Octets in base64url without padding; null or nothing means none.
    pub(super) fn base64(&mut self, field: &'static str) -> Result<Option<Base64>, JsonProblem> {
        let hidden = || JsonProblem::Hidden { field, must: "base64url without padding" };
        let Some(value) = self.take(field) else { return Ok(None) };
        let octets = value.as_str().and_then(|text| Base64UrlUnpadded::decode_vec(text).ok());
        octets.map(|octets| Some(Base64(octets))).ok_or_else(hidden)
    }

    /// An object within this one.
    pub(super) fn object(&mut self, field: &'static str) -> Result<Option<Self>, JsonProblem> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Self { rest: map.into_iter().collect(), repeated: None })),
            Some(other) => Err(wrong(field, &other, "an object")),
        }
    }

    /// Nothing may be left of `place`.
    pub(super) fn finish(mut self, place: &'static str) -> Result<(), JsonProblem> {
        if let Some(field) = self.repeated {
            return Err(JsonProblem::Repeated { field: cut(&field) });
        }
        match self.rest.pop_first() {
            None => Ok(()),
            Some((field, _)) => Err(JsonProblem::Unknown { field: cut(&field), place }),
        }
    }

    fn take(&mut self, field: &str) -> Option<Value> {
        self.rest.remove(field).filter(|value| !value.is_null())
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    // By hand, because a map of serde_json keeps the last of two equal fields and says nothing.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields { rest: BTreeMap::new(), repeated: None };
        while let Some((field, value)) = map.next_entry::<String, Value>()? {
            if fields.rest.insert(field.clone(), value).is_some() {
                fields.repeated = Some(field);
            }
        }
        Ok(fields)
    }
}

/// A field's text that does not say what it must.
pub(super) fn wrong_text(field: &'static str, text: &str, must: &'static str) -> JsonProblem {
    wrong(field, &Value::from(text), must)
}

fn wrong(field: &'static str, value: &Value, must: &'static str) -> JsonProblem {
    JsonProblem::Wrong { field, value: shown(value), must }
}

fn whole<T: TryFrom<i64>>(value: &Value) -> Option<T> {
    value.as_i64().and_then(|number| T::try_from(number).ok())
}

fn shown(value: &Value) -> String {
    // Shorter than any contact identifier in base64.
    const LONGEST: usize = 16;
    match value {
        Value::String(text) if text.chars().count() <= LONGEST => format!("{text:?}"),
        Value::String(text) => format!("a text of {} characters", text.chars().count()),
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(_) => "an object".into(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn cut(name: &str) -> String {
    name.chars().take(40).collect()
}
