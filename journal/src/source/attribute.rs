//! DynamoDB JSON: attribute values as streams, exports and the service itself spell them.
//!
//! What enters are bytes of any serde deserializer; what leaves are the model's attributes, and their text again. Strict:
//! exactly one type key to a value, no name twice, no empty set, no member twice, at most 32 levels. The depth is counted
//! here, so that no parser's own limit, or lack of one, decides. Knows nothing of records.
//!
//! Source: "DynamoDB low-level API" in the Amazon DynamoDB Developer Guide.

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use thiserror::Error;

use crate::error::{Classify, Kind};
use crate::model::{AttributeValue, Attributes, NESTING_MAX, Number};

/// Text that is not an item in DynamoDB JSON.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("not an item in DynamoDB JSON: {reason}")]
pub struct ItemJsonError {
    /// What is wrong and where.
    pub reason: String,
}

impl Classify for ItemJsonError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some("write every value with its type, as in {\"id\":{\"S\":\"a\"},\"count\":{\"N\":\"1\"}}".to_owned())
    }
}

/// Reads an item: an object of names and typed values, `{"id":{"S":"a"}}`.
///
/// # Errors
/// When the bytes are not JSON, or not attribute values as the module describes them.
pub fn parse_item(bytes: &[u8]) -> Result<Attributes, ItemJsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let item = Item.deserialize(&mut deserializer).and_then(|item| deserializer.end().map(|()| item));
    item.map_err(|error| ItemJsonError { reason: error.to_string() })
}

/// Writes an item as compact DynamoDB JSON, names in the order of their bytes.
///
/// # Errors
/// When `to` cannot be written.
pub fn write_dynamodb_json(item: &Attributes, to: &mut impl io::Write) -> io::Result<()> {
    serde_json::to_writer(to, &ItemJson(item)).map_err(io::Error::from)
}

/// An attribute value as a `serde_json` value in DynamoDB JSON.
///
/// # Errors
/// Never for a value of the model; the encoder's error is passed on.
pub fn to_dynamodb_json(value: &AttributeValue) -> serde_json::Result<serde_json::Value> {
    serde_json::to_value(ValueJson(value))
}

/// An item that serialises as DynamoDB JSON.
#[derive(Debug, Clone, Copy)]
pub struct ItemJson<'a>(pub &'a Attributes);

/// A value that serialises as DynamoDB JSON.
#[derive(Debug, Clone, Copy)]
pub struct ValueJson<'a>(pub &'a AttributeValue);

impl Serialize for ItemJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, ValueJson(value))))
    }
}

impl Serialize for ValueJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_key(self.0.type_name())?;
        match self.0 {
            AttributeValue::S(text) => map.serialize_value(text)?,
            AttributeValue::N(number) => map.serialize_value(number.as_str())?,
            AttributeValue::B(bytes) => map.serialize_value(&Base64(bytes))?,
            AttributeValue::Ss(set) => map.serialize_value(set)?,
            AttributeValue::Ns(set) => map.serialize_value(&Sequence(|| set.iter().map(Number::as_str)))?,
            AttributeValue::Bs(set) => map.serialize_value(&Sequence(|| set.iter().map(|bytes| Base64(bytes))))?,
            AttributeValue::M(item) => map.serialize_value(&ItemJson(item))?,
            AttributeValue::L(list) => map.serialize_value(&Sequence(|| list.iter().map(ValueJson)))?,
            AttributeValue::Null => map.serialize_value(&true)?,
            AttributeValue::Bool(value) => map.serialize_value(value)?,
        }
        map.end()
    }
}

struct Base64<'a>(&'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(self.0))
    }
}

struct Sequence<F>(F);

impl<F, I> Serialize for Sequence<F>
where
    F: Fn() -> I,
    I: ExactSizeIterator<Item: Serialize>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let members = (self.0)();
        let mut sequence = serializer.serialize_seq(Some(members.len()))?;
        for member in members {
            sequence.serialize_element(&member)?;
        }
        sequence.end()
    }
}

/// Reads an item's attributes at the top level.
pub(super) struct Item;

impl<'de> DeserializeSeed<'de> for Item {
    type Value = Attributes;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Attributes, D::Error> {
        deserializer.deserialize_map(MapVisitor { levels: NESTING_MAX })
    }
}

/// Reads a map of attributes that may go down `levels` more levels.
struct MapVisitor {
    levels: usize,
}

impl<'de> Visitor<'de> for MapVisitor {
    type Value = Attributes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of attribute names and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attributes, A::Error> {
        let mut attributes = Attributes::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(Value { levels: self.levels })?;
            if let Some((name, _)) = attributes.get_key_value(&name) {
                return Err(A::Error::custom(format_args!("attribute name {:?} comes twice", cut(name))));
            }
            attributes.insert(name, value);
        }
        Ok(attributes)
    }
}

struct Map {
    levels: usize,
}

impl<'de> DeserializeSeed<'de> for Map {
    type Value = Attributes;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Attributes, D::Error> {
        deserializer.deserialize_map(MapVisitor { levels: self.levels })
    }
}

/// Reads one typed value, itself being on the first of `levels` levels.
struct Value {
    levels: usize,
}

impl<'de> DeserializeSeed<'de> for Value {
    type Value = AttributeValue;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<AttributeValue, D::Error> {
        // Refused before the parser enters the value: the stack is bounded whatever the parser does.
        if self.levels == 0 {
            return Err(D::Error::custom(format_args!("attributes are nested deeper than {NESTING_MAX} levels")));
        }
        deserializer.deserialize_map(self)
    }
}

/// The type key of a value.
#[derive(Clone, Copy, serde::Deserialize)]
#[serde(field_identifier, rename_all = "UPPERCASE")]
pub(super) enum Type {
    S,
    N,
    B,
    Ss,
    Ns,
    Bs,
    M,
    L,
    Null,
    Bool,
}

impl<'de> Visitor<'de> for Value {
    type Value = AttributeValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an attribute value with its type, as in {\"S\":\"text\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AttributeValue, A::Error> {
        let below = self.levels.saturating_sub(1);
        let Some(type_name) = map.next_key::<Type>()? else {
            return Err(A::Error::custom("an attribute value has no type"));
        };
        let value = match type_name {
            Type::S => AttributeValue::S(map.next_value()?),
            Type::N => AttributeValue::N(map.next_value_seed(NumberText)?),
            Type::B => AttributeValue::B(map.next_value_seed(BytesText)?),
            Type::Ss => AttributeValue::Ss(map.next_value_seed(Set(|| std::marker::PhantomData::<String>))?),
            Type::Ns => AttributeValue::Ns(map.next_value_seed(Set(|| NumberText))?),
            Type::Bs => AttributeValue::Bs(map.next_value_seed(Set(|| BytesText))?),
            Type::M => AttributeValue::M(map.next_value_seed(Map { levels: below })?),
            Type::L => AttributeValue::L(map.next_value_seed(List { levels: below })?),
            Type::Null if map.next_value::<bool>()? => AttributeValue::Null,
            Type::Null => return Err(A::Error::custom("an attribute value of type NULL is not true")),
            Type::Bool => AttributeValue::Bool(map.next_value()?),
        };
        // The name is taken as text: a second type key may be one that is not known.
        if map.next_key::<std::borrow::Cow<'_, str>>()?.is_some() {
            return Err(A::Error::custom("an attribute value has more than one type"));
        }
        Ok(value)
    }
}

struct List {
    levels: usize,
}

impl<'de> DeserializeSeed<'de> for List {
    type Value = Vec<AttributeValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List {
    type Value = Vec<AttributeValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of attribute values")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = sequence.next_element_seed(Value { levels: self.levels })? {
            list.push(value);
        }
        Ok(list)
    }
}

/// Reads a set whose members `F` makes the seeds of.
pub(super) struct Set<F>(pub(super) F);

impl<'de, F, M> DeserializeSeed<'de> for Set<F>
where
    F: Fn() -> M,
    M: DeserializeSeed<'de, Value: Ord>,
{
    type Value = BTreeSet<M::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, F, M> Visitor<'de> for Set<F>
where
    F: Fn() -> M,
    M: DeserializeSeed<'de, Value: Ord>,
{
    type Value = BTreeSet<M::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a set as a list of its members")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut set = BTreeSet::new();
        while let Some(member) = sequence.next_element_seed((self.0)())? {
            if !set.insert(member) {
                return Err(A::Error::custom("a set has a member twice"));
            }
        }
        if set.is_empty() {
            return Err(A::Error::custom("a set is empty"));
        }
        Ok(set)
    }
}

/// Reads a number, spelled as a string.
pub(super) struct NumberText;

impl<'de> DeserializeSeed<'de> for NumberText {
    type Value = Number;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Number, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NumberText {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number as a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Number, E> {
        Number::parse(text).map_err(E::custom)
    }
}

/// Reads bytes, spelled in base64.
pub(super) struct BytesText;

impl<'de> DeserializeSeed<'de> for BytesText {
    type Value = Vec<u8>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<u8>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for BytesText {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes as a base64 string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<u8>, E> {
        STANDARD.decode(text).map_err(|error| E::custom(format_args!("bytes are not base64: {error}")))
    }
}

/// The first 64 characters, for a message.
pub(super) fn cut(text: &str) -> &str {
    text.char_indices().nth(64).and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Attributes, String> {
        parse_item(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn all_ten_types_are_read_and_written_back() {
        let text = concat!(
            r#"{"b":{"B":"AP8="},"bool":{"BOOL":false},"bs":{"BS":["AA==","AQ=="]},"e":{"S":""},"#,
            r#""l":{"L":[{"N":"1"},{"L":[]}]},"m":{"M":{"x":{"NULL":true}}},"n":{"N":"1.50"},"#,
            r#""ns":{"NS":["-1","2"]},"s":{"S":"é\"\n"},"ss":{"SS":["a","b"]}}"#
        );
        let item = parse(text).unwrap();
        assert_eq!(item.len(), 10);
        assert_eq!(item["n"], AttributeValue::N(Number::parse("1.50").unwrap()));
        let mut bytes = Vec::new();
        write_dynamodb_json(&item, &mut bytes).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
    }

    #[test]
    fn what_is_not_exactly_one_value_is_refused_with_its_reason() {
        for (text, reason) in [
            (r#"{"a":{}}"#, "no type"),
            (r#"{"a":{"S":"x","N":"1"}}"#, "more than one type"),
            (r#"{"a":{"S":"x","S":"x"}}"#, "more than one type"),
            (r#"{"a":{"S":"x","Q":1}}"#, "more than one type"),
            (r#"{"a":{"X":"x"}}"#, "unknown field"),
            (r#"{"a":{"s":"x"}}"#, "unknown field"),
            (r#"{"a":{"S":1}}"#, "expected a string"),
            (r#"{"a":{"S":null}}"#, "expected a string"),
            (r#"{"a":{"N":1}}"#, "expected a number as a string"),
            (r#"{"a":{"N":"one"}}"#, "not decimal"),
            (r#"{"a":{"N":"123456789012345678901234567890123456789"}}"#, "39 significant digits"),
            (r#"{"a":{"B":"@@"}}"#, "not base64"),
            (r#"{"a":{"B":"AA"}}"#, "not base64"),
            (r#"{"a":{"SS":[]}}"#, "empty"),
            (r#"{"a":{"SS":["x","x"]}}"#, "twice"),
            (r#"{"a":{"NS":["1","1"]}}"#, "twice"),
            (r#"{"a":{"BS":["AA==","AA=="]}}"#, "twice"),
            (r#"{"a":{"NULL":false}}"#, "not true"),
            (r#"{"a":{"BOOL":"true"}}"#, "expected a boolean"),
            (r#"{"a":{"S":"1"},"a":{"S":"1"}}"#, "comes twice"),
            (r#"{"a":{"M":{"b":{"S":"1"},"b":{"S":"2"}}}}"#, "comes twice"),
            (r#"{"a":"x"}"#, "with its type"),
            (r"[]", "a map of attribute names"),
            (r#"{"a":{"S":"x"}} {"#, "trailing"),
            (r#"{"a":{"S":"x"}"#, "EOF"),
        ] {
            let found = parse(text).unwrap_err();
            assert!(found.contains(reason), "{text}: {found}");
        }
    }

    fn nested(levels: usize, open: &str, close: &str) -> String {
        format!("{{\"a\":{}{{\"NULL\":true}}{}}}", open.repeat(levels - 1), close.repeat(levels - 1))
    }

    #[test]
    fn thirty_two_levels_are_read_and_thirty_three_refused() {
        for (open, close) in [("{\"L\":[", "]}"), ("{\"M\":{\"x\":", "}}")] {
            assert!(parse(&nested(32, open, close)).is_ok());
            assert!(parse(&nested(33, open, close)).unwrap_err().contains("deeper than 32"));
        }
    }

    #[test]
    fn a_bomb_of_nesting_is_an_error_and_not_an_exhausted_stack() {
        for (open, close) in [("{\"L\":[", "]}"), ("{\"M\":{\"x\":", "}}")] {
            assert!(parse(&nested(200_000, open, close)).unwrap_err().contains("deeper than 32"));
        }
    }

    #[test]
    fn the_depth_is_bounded_under_a_parser_that_has_no_limit_of_its_own() {
        // A tree that was never parsed from text: nothing but our own count stands between it and the stack.
        let mut value = serde_json::json!({"NULL": true});
        for _ in 0..40 {
            value = serde_json::json!({"L": [value]});
        }
        let error = Item.deserialize(serde_json::json!({"a": value})).unwrap_err();
        assert!(error.to_string().contains("deeper than 32"), "{error}");
    }

    #[test]
    fn a_long_name_is_cut_in_a_message_at_a_character() {
        assert_eq!(cut(&"é".repeat(100)).chars().count(), 64);
        assert_eq!(cut("short"), "short");
    }

    proptest! {
        #[test]
        fn every_item_round_trips(item in crate::model::test_strategies::any_attributes()) {
            let mut bytes = Vec::new();
            write_dynamodb_json(&item, &mut bytes).unwrap();
            prop_assert_eq!(parse_item(&bytes).unwrap(), item);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_item(&bytes);
        }
    }
}
